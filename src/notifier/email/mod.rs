//! The kind `email`: a mail over SMTP (RFC 5321), with STARTTLS (RFC 3207) or TLS from the start (RFC 8314).

mod login;
pub mod mail;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;

use super::{Kind, Notifier, Sent};
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::http::{ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, Http};
use crate::net::response::{explained, innermost};
use crate::net::tls::{Channel, Trust};
use crate::net::wire::{self, Allowance, Wire};
use crate::notifier::email::login::{Credential, Login, bearer};
use crate::notifier::email::mail::MailTemplate;
use crate::notifier::recipients::{NOBODY, unreachable};
use crate::panics;
use crate::secret::{self, MASK, Secret};
use crate::text;
use crate::text::{characters, cut, one_line};

/// Mail over SMTP, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "email",
    about: "sends email over SMTP",
    form: MessageFormat::Mail,
    build,
};

/// Time limit for closing the session; the mail is delivered by then.
const FAREWELL: Duration = Duration::from_secs(1);
/// Maximum length of a server's text in an error, in characters.
const SAID: usize = 200;

/// Maximum size of a reply, in bytes: four of the longest lines, or dozens of usual ones. lettre parses it
/// again from its start with each line.
const MAX_REPLY: usize = 2 << 10;
/// Maximum size of a server's part of the STARTTLS handshake, in bytes.
const MAX_CERTIFICATES: usize = 64 << 10;

struct Email {
    server: Server,
    letterhead: MailTemplate,
}

struct Server {
    host: String,
    port: u16,
    encryption: Encryption,
    /// Used for STARTTLS.
    upgrade: Option<TlsParameters>,
    /// Used for TLS from the first byte.
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
    timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    None,
    /// Starts in the clear and is encrypted before anything else is said; never sent unencrypted.
    Starttls,
    /// Encrypted from the first byte.
    Tls,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let server = Server::read(section, http);
    let letterhead = MailTemplate::read(section);
    Some(Rc::new(Email {
        server: server?,
        letterhead: letterhead?,
    }))
}

impl Encryption {
    const NAMES: [(&str, Encryption); 3] = [
        ("none", Encryption::None),
        ("starttls", Encryption::Starttls),
        ("tls", Encryption::Tls),
    ];

    fn port(self) -> usize {
        match self {
            Encryption::None => 25,
            Encryption::Starttls => 587,
            Encryption::Tls => 465,
        }
    }
}

impl Server {
    fn read(section: &Section, http: &Http) -> Option<Server> {
        let host = section.required_host("host");
        let port = section.count("port", 0, usize::from(u16::MAX));
        let default = if port == Encryption::Tls.port() {
            Encryption::Tls
        } else {
            Encryption::Starttls
        };
        let encryption = section.choice("encryption", default, &Encryption::NAMES);
        let port = if port == 0 { encryption.port() } else { port };
        let trust = Trust::read(
            section,
            Channel::encrypted_if(encryption != Encryption::None),
        );
        let timeout = section.time_limit(ATTEMPT_TIMEOUT);
        let login = Login::read(section, http, host.unwrap_or_default());
        let (host, login) = (host?, login?);
        if encryption == Encryption::None && login.is_some() && !is_local(host) {
            section.warning(
                "encryption",
                "the credentials are sent unencrypted; use starttls or tls",
            );
        }
        let trust = trust?;
        let upgrade = (encryption == Encryption::Starttls).then(|| upgrade(host, &trust));
        let tls = (encryption == Encryption::Tls).then(|| trust.config(None));
        let problem = |problem| section.problem("ca_file", problem);
        let (upgrade, tls) = (upgrade.transpose(), tls.transpose());
        let (upgrade, tls) = (upgrade.map_err(problem), tls.map_err(problem));
        Some(Server {
            host: host.to_owned(),
            port: u16::try_from(port).ok()?,
            encryption,
            upgrade: upgrade.ok()?,
            tls: tls.ok()?.map(Arc::new),
            login,
            timeout,
        })
    }

    /// Connects, encrypts and logs in, noting each step; repeats this with a new token if the token is
    /// rejected, because nothing of the mail has been sent by then.
    async fn connect(&self, steps: &mut Vec<String>) -> Result<AsyncSmtpConnection, Failure> {
        let credential = self.login.as_ref().map(|login| &login.credential);
        let oauth = match credential {
            None => return self.connect_with(steps, None).await,
            Some(Credential::Fixed(secret)) => return self.connect_with(steps, Some(secret)).await,
            Some(Credential::Fetched(oauth)) => oauth,
        };
        let token = oauth.token(None).await?;
        steps.push(oauth.step());
        match self.connect_with(steps, Some(&token)).await {
            Err(Failure::Denied(_)) => {
                let token = oauth.token(Some(&token)).await?;
                self.connect_with(steps, Some(&token)).await
            }
            connected => connected,
        }
    }

    async fn connect_with(
        &self,
        steps: &mut Vec<String>,
        secret: Option<&Secret>,
    ) -> Result<AsyncSmtpConnection, Failure> {
        let hello = ClientId::default();
        let allowance = Allowance::Request(MAX_REPLY);
        let dialed = wire::dial(&self.host, self.port, self.tls.clone(), allowance);
        let wire = match tokio::time::timeout(CONNECT_TIMEOUT, dialed).await {
            Ok(wire) => wire.map_err(|error| {
                let text = explained(&error.to_string());
                Failure::retry(format!("{}: {text}", self.name()))
            })?,
            Err(_) => {
                let text = format!("{}: no connection within {CONNECT_TIMEOUT:?}", self.name());
                return Err(Failure::retry(text));
            }
        };
        let limit = wire.limit();
        let connected = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &hello).await;
        let mut connection = connected.map_err(|error| self.not_now(&error))?;
        steps.push(format!("{} answered", self.name()));
        if let Some(tls) = &self.upgrade {
            if !connection.can_starttls() {
                let text = "the server does not offer STARTTLS; set `encryption = none` to send unencrypted";
                return Err(Failure::retry(format!("{}: {text}", self.name())));
            }
            limit.set(MAX_CERTIFICATES);
            let encrypted = connection.starttls(tls.clone(), &hello).await;
            encrypted.map_err(|error| self.not_now(&error))?;
            limit.set(4 * MAX_REPLY);
        }
        if connection.is_encrypted() || self.tls.is_some() {
            steps.push("the connection is encrypted".to_owned());
        }
        if let (Some(login), Some(secret)) = (&self.login, secret) {
            let mechanism = login.show(&mut connection, self, secret).await?;
            steps.push(format!("logged in as {} ({mechanism})", login.username));
        }
        Ok(connection)
    }

    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Maps an error to a failure of the delivery: 4yz is temporary, 5yz permanent (RFC 5321, section 4.2.1).
    fn failure(&self, error: &Error) -> Failure {
        let said = match innermost(error) {
            said if said.is_empty() => error.to_string(),
            said => said,
        };
        // Masked before it is cut: half of a secret would not be recognised.
        let said = secret::redact(&one_line(&said));
        let said = cut(&said, SAID, characters);
        let Some(code) = error.status() else {
            return Failure::retry(format!("{}: {said}", self.name()));
        };
        let text = format!("{}: {code} {said}", self.name());
        match code.to_string().as_str() {
            // Credentials are required, too weak, refused, or need encryption (RFC 4954).
            "530" | "534" | "535" | "538" => Failure::Denied(text),
            _ if error.is_permanent() => Failure::Permanent(text),
            _ => Failure::retry(text),
        }
    }

    /// Maps an error before anything of the mail was sent: it is no rejection of the mail.
    fn not_now(&self, error: &Error) -> Failure {
        Failure::retry(self.failure(error).error())
    }

    /// Requires a reply to have this code: an answer to something else would be a lie about the mail.
    fn expect(&self, code: u16, reply: Result<Response, Error>) -> Result<(), Failure> {
        let reply = reply.map_err(|error| self.failure(&error))?;
        if reply.has_code(code) {
            return Ok(());
        }
        let text = format!("answered {} instead of {code}", reply.code());
        Err(Failure::retry(format!("{}: {text}", self.name())))
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        // Never called.
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.starts_with("127.") || host == "::1"
}

fn upgrade(host: &str, trust: &Trust) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned())
        .dangerous_accept_invalid_certs(!trust.validate_certs);
    if let Some(bundle) = &trust.ca_file {
        let certificates = Certificate::from_pem(bundle).map_err(|error| error.to_string())?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificates);
    }
    builder.build().map_err(|error| {
        format!(
            "TLS is not available ({error}); install the system's ca-certificates or set `ca_file`"
        )
    })
}

impl Login {
    /// Logs in, and returns the mechanism that was used.
    async fn show(
        &self,
        connection: &mut AsyncSmtpConnection,
        server: &Server,
        secret: &Secret,
    ) -> Result<Mechanism, Failure> {
        let offered = connection.server_info();
        let Some(mechanism) = offered.get_auth_mechanism(self.mechanisms) else {
            let names: Vec<String> = self.mechanisms.iter().map(Mechanism::to_string).collect();
            let text = format!("the server does not offer AUTH {}", names.join(" or "));
            return Err(Failure::retry(format!(
                "{}: {text}; see `auth` and `encryption`",
                server.name()
            )));
        };
        let reply = if mechanism == Mechanism::Xoauth2 {
            self.show_token(connection, secret).await
        } else {
            let credentials = Credentials::new(self.username.clone(), secret.expose().to_owned());
            connection.auth(&[mechanism], &credentials).await
        };
        match server.expect(235, reply) {
            // Whatever the code: the credentials are not valid here and now.
            Err(Failure::Permanent(error)) => Err(Failure::Denied(error)),
            other => other.map(|()| mechanism),
        }
    }

    /// Logs in with XOAUTH2, whose refusal is a challenge that needs an empty answer before the code comes
    /// (Google, "OAuth 2.0 mechanism").
    async fn show_token(
        &self,
        connection: &mut AsyncSmtpConnection,
        token: &Secret,
    ) -> Result<Response, Error> {
        let token = STANDARD.encode(bearer(&self.username, token));
        let reply = connection
            .command(format!("AUTH XOAUTH2 {token}\r\n"))
            .await?;
        if reply.has_code(334) {
            connection.command("\r\n").await
        } else {
            Ok(reply)
        }
    }
}

impl Email {
    /// Sends the mail to these addresses. Returns the connection, and the result at each address.
    async fn deliver(
        &self,
        mail: &[u8],
        waiting: Vec<&Address>,
    ) -> Result<(AsyncSmtpConnection, Receipts, Vec<(String, Failure)>), Failure> {
        let server = &self.server;
        let mut connection = server.connect(&mut Vec::new()).await?;
        let from = Mail::new(Some(self.letterhead.from.email.clone()), vec![]);
        server.expect(250, connection.command(from).await)?;
        let (mut accepted, mut reached, mut failures) = (Vec::new(), Receipts::new(), Vec::new());
        for address in waiting {
            match connection.command(Rcpt::new(address.clone(), vec![])).await {
                Ok(_) => accepted.push(address.to_string()),
                Err(error) if error.status().is_some() => {
                    failures.push((address.to_string(), server.failure(&error)));
                }
                Err(error) => return Err(server.failure(&error)),
            }
        }
        if !accepted.is_empty() {
            match self.hand_over(&mut connection, mail).await {
                Ok(()) => reached.extend(accepted.into_iter().map(|address| (address, None))),
                Err(failure) => {
                    failures.extend(
                        accepted
                            .into_iter()
                            .map(|address| (address, failure.clone())),
                    );
                }
            }
        }
        Ok((connection, reached, failures))
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        mail: &[u8],
    ) -> Result<(), Failure> {
        self.server.expect(354, connection.command(Data).await)?;
        self.server.expect(250, connection.message(mail).await)
    }
}

#[async_trait(?Send)]
impl Notifier for Email {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let addressees = self.letterhead.addressees(message)?;
        let all = addressees.all();
        let count = all.len() + addressees.refused.len();
        let has_it = |address: &&Address| message.reached.contains_key(&address.to_string());
        let waiting: Vec<&Address> = all.iter().copied().filter(|one| !has_it(one)).collect();
        if waiting.is_empty() {
            return Ok(Sent::to(count, Receipts::new(), addressees.refused));
        }
        let mail = self.letterhead.mail(message, &addressees)?;
        let timeout = self.server.timeout;
        let delivered = tokio::time::timeout(timeout, self.deliver(&mail, waiting)).await;
        let silent = |_| {
            let text = format!("{}: no answer within {timeout:?}", self.server.name());
            Failure::retry(text)
        };
        let (mut connection, reached, mut failures) = delivered.map_err(silent)??;
        failures.extend(addressees.refused);
        // The mail is handed over: nothing that happens here may forget that.
        let quit = tokio::time::timeout(FAREWELL, connection.quit());
        let _ = panics::caught_async(quit).await;
        Ok(Sent::to(count, reached, failures))
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let addressees = self.letterhead.addressees(message)?;
        let all = addressees.all();
        let refused = addressees.refused.iter();
        let refused = refused.map(|(_, failure)| format!("\n{}", unreachable(failure)));
        let refused: String = refused.collect();
        if all.is_empty() {
            let nobody = match refused.is_empty() {
                true => NOBODY,
                false => refused.trim_start(),
            };
            return Ok(nobody.to_owned());
        }
        let mut lines = vec![format!("EHLO {}", ClientId::default())];
        match self.server.encryption {
            Encryption::None => {}
            Encryption::Starttls => lines.push("STARTTLS".to_owned()),
            Encryption::Tls => lines.insert(0, "(TLS)".to_owned()),
        }
        lines.insert(0, format!("SMTP to {}", self.server.name()));
        if let Some(login) = &self.server.login {
            lines.push(format!("AUTH {} {MASK}", login.mechanisms[0]));
        }
        lines.push(format!("MAIL FROM:<{}>", self.letterhead.from.email));
        lines.extend(all.iter().map(|address| format!("RCPT TO:<{address}>")));
        let dialogue = secret::redact(&lines.join("\n"));
        let mail = self.letterhead.preview(message, &addressees)?;
        Ok(text::visible_lines(&format!(
            "{dialogue}\nDATA\n{mail}\n.\nQUIT{refused}"
        )))
    }

    fn html(&self, message: &Message) -> Option<String> {
        Some(secret::redact(&mail::html(message)))
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        let timeout = self.server.timeout;
        match tokio::time::timeout(timeout, self.server.connect(&mut check.steps)).await {
            Ok(Ok(mut connection)) => {
                let _ = tokio::time::timeout(FAREWELL, connection.quit()).await;
            }
            Ok(Err(failure)) => check.error = Some(failure.error().to_owned()),
            Err(_) => {
                check.error = Some(format!(
                    "{}: no answer within {timeout:?}",
                    self.server.name()
                ));
            }
        }
        check
    }
}
