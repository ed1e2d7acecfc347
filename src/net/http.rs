//! Set-up and use of the HTTP client, all in one place.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use jiff::Timestamp;
use url::Url;

use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::net::connector::{Client, Connector, PROXIES};
use crate::net::response::{classify, describe, reason, redirect_target, retry_after};
use crate::net::tls::{Channel, Trust, read_identity};
use crate::net::urls::origin;
use crate::net::wire::read_body;
use crate::secret::{self, MASK};
use crate::text;

/// Default time limit of a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Default time limit of an attempt.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of the bytes that are read of a reply.
pub const MAX_REPLY: usize = 64 << 10;
/// User agent of the program.
const AGENT: &str = concat!("ansible-notify/", env!("CARGO_PKG_VERSION"));

/// Clients in use; notifiers with the same settings share one and its connections.
#[derive(Default)]
pub struct Http {
    clients: RefCell<Vec<(Settings, Link)>>,
}

/// A client and its connector.
#[derive(Clone)]
struct Link {
    connector: Connector,
    client: Client,
}

/// Connection keys common to every kind that uses HTTP.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    /// Loading the system's certificates takes longer than a request, so it is done only when needed.
    tls: bool,
    trust: Trust,
    identity: Option<Vec<u8>>,
    proxy: Option<String>,
    socket: Option<PathBuf>,
}

/// A client with its timeout.
#[derive(Clone)]
pub struct Endpoint {
    link: Link,
    timeout: Duration,
    /// Name of the destination in errors: never its path, which may be a secret.
    origin: String,
    /// Environment variable that names a proxy, if none is used.
    unused_proxy: Option<&'static str>,
    /// Limit of the bytes that are read of a reply.
    max_reply: usize,
}

/// A request as built by a notifier; the preview shows exactly this.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// True if the URL was given as a secret: only its origin is shown.
    pub secret_url: bool,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Response to a request.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The first 64 KiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// Checks the status alone.
    pub fn check_status(&self) -> Result<(), Failure> {
        self.check_status_with(&self.body)
    }

    /// Checks the status; an error quotes `words`, taken from the body.
    pub fn check_status_with(&self, words: &[u8]) -> Result<(), Failure> {
        classify(self.status, self.pause(), self.location(), words).map_or(Ok(()), Err)
    }

    /// Checks a reply from a service whose replies can be recognised. Any other reply, even with a success
    /// status, came from something in between, and the message has not arrived.
    pub fn from(&self, service: &str, is_its_own: bool) -> Result<(), Failure> {
        match self.status.as_u16() {
            200..=299 if is_its_own => Ok(()),
            200..=299 | 302 | 303 | 307 => {
                let said = describe(self.status, self.location(), &self.body);
                let problem = "is a proxy or login portal in between?";
                Err(Failure::retry(format!(
                    "{said}; not a response from {service}: {problem}"
                )))
            }
            _ => self.check_status(),
        }
    }

    fn location(&self) -> Option<&str> {
        self.headers.get("location")?.to_str().ok()
    }

    /// Returns the delay that the headers ask for.
    pub fn pause(&self) -> Option<Duration> {
        retry_after(&self.headers, Timestamp::now())
    }

    /// Returns the body as text, trimmed.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default().trim()
    }

    /// Returns the body as JSON; null if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Remedy for an endpoint that requires credentials.
pub const CREDENTIALS: &str = "asks for credentials; set `username` and `password`, or `token`";

impl Http {
    /// Reads the connection keys from a section and returns the client for them.
    pub fn endpoint(&self, section: &Section, url: &Url) -> Option<Endpoint> {
        let settings = Settings::read(section, url)?;
        self.endpoint_with(section, url, &settings)
    }

    /// Returns the client for an address other than the notifier's own: without its socket.
    pub fn endpoint_beside(&self, section: &Section, url: &Url) -> Option<Endpoint> {
        let settings = Settings {
            socket: None,
            ..Settings::read(section, url)?
        };
        self.endpoint_with(section, url, &settings)
    }

    fn endpoint_with(&self, section: &Section, url: &Url, settings: &Settings) -> Option<Endpoint> {
        let timeout = section.time_limit(ATTEMPT_TIMEOUT);
        let link = match self.link(settings) {
            Ok(link) => link,
            Err(problem) => {
                section.problem("", problem);
                return None;
            }
        };
        let proxy = settings.proxy.as_deref().and_then(proxy_url);
        Some(Endpoint {
            link,
            timeout,
            origin: match (&settings.socket, proxy) {
                (Some(socket), _) => format!("{} (socket {})", origin(url), socket.display()),
                (None, Some(proxy)) => format!("{} (proxy {})", origin(url), origin(&proxy)),
                (None, None) => origin(url),
            },
            unused_proxy: match settings.proxy.is_none() && settings.socket.is_none() {
                true => proxy_variable(url.scheme()),
                false => None,
            },
            max_reply: MAX_REPLY,
        })
    }

    fn link(&self, settings: &Settings) -> Result<Link, String> {
        let mut clients = self.clients.borrow_mut();
        if let Some((_, link)) = clients.iter().find(|(known, _)| known == settings) {
            return Ok(link.clone());
        }
        let connector = settings.connector()?;
        let client = connector.clone().client();
        let link = Link { connector, client };
        clients.push((settings.clone(), link.clone()));
        Ok(link)
    }
}

impl Settings {
    fn read(section: &Section, url: &Url) -> Option<Settings> {
        let tls = url.scheme() == "https";
        let trust = Trust::read(section, Channel::encrypted_if(tls));
        let proxy = section.url("proxy").map(|(_, proxy)| proxy);
        let proxy = proxy.filter(|proxy| section.is_plain("proxy", proxy));
        if let Some(proxy) = proxy.as_deref().and_then(proxy_url) {
            secret::mask_user(&proxy);
            if proxy.password().is_some() {
                section.holds_secret("proxy");
            }
        }
        let identity = read_identity(section);
        let socket = section.path("socket");
        let settings = Settings {
            tls,
            trust: trust?,
            identity,
            proxy,
            socket,
        };
        if settings.identity.is_some()
            && let Err(problem) = settings.trust.config(settings.identity.as_deref())
        {
            section.problem("client_cert", problem);
            return None;
        }
        if let Some(proxy) = settings.proxy.as_deref().filter(|proxy| *proxy != "env")
            && !proxy_url(proxy).is_some_and(|url| PROXIES.contains(&url.scheme()))
        {
            // The text before the `@` may be a password, whatever its form.
            if proxy.contains('@') {
                secret::mask(proxy);
            }
            section.problem(
                "proxy",
                "`proxy` must be `env`, or a URL such as http://proxy.example.com:3128 (also https, socks4a, socks5, socks5h)",
            );
            return None;
        }
        Some(settings)
    }

    fn connector(&self) -> Result<Connector, String> {
        let through_tls = |proxy: &String| proxy == "env" || proxy.starts_with("https:");
        let tls = self.tls || self.proxy.as_ref().is_some_and(through_tls);
        let config = || self.trust.config(self.identity.as_deref());
        let tls = tls.then(config).transpose()?;
        let connector = Connector::new(CONNECT_TIMEOUT, tls, self.socket.clone());
        Ok(match self.proxy.as_deref() {
            Some("env") => connector.through(Matcher::from_system()),
            Some(proxy) => {
                let variable = |name| std::env::var(name).ok();
                let none = variable("NO_PROXY").or_else(|| variable("no_proxy"));
                let proxies = Matcher::builder().all(proxy.to_owned());
                connector.through(proxies.no(none.unwrap_or_default()).build())
            }
            // A proxy set in the environment for Ansible's modules is not meant for this.
            None => connector,
        })
    }
}

/// Parses a proxy's URL; None for `env`, and for a URL without a scheme before the host.
fn proxy_url(proxy: &str) -> Option<Url> {
    Url::parse(proxy).ok().filter(Url::has_host)
}

impl Endpoint {
    /// Returns the same client, which reads this many bytes of a reply.
    pub fn reading(self, max_reply: usize) -> Endpoint {
        Endpoint { max_reply, ..self }
    }

    /// Sends a request and returns the reply, whatever its status.
    pub async fn exchange(&self, request: Request) -> Result<Reply, Failure> {
        match tokio::time::timeout(self.timeout, self.reply(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::retry(format!(
                "{}: no answer within {:?}",
                self.origin, self.timeout
            ))),
        }
    }

    async fn reply(&self, request: Request) -> Result<Reply, Failure> {
        let (parts, body) = self.request(request).await?.into_parts();
        // The body of a success must arrive whole: a truncated reply proves nothing.
        let body = match read_body(body, self.max_reply).await {
            Ok(body) => body,
            Err(error) if parts.status.is_success() => {
                return Err(Failure::retry(format!(
                    "{}: the reply was cut off: {}",
                    self.origin,
                    reason(&error)
                )));
            }
            Err(_) => Vec::new(),
        };
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    async fn request(&self, request: Request) -> Result<Response<Incoming>, Failure> {
        let request = self.wire_form(request).map_err(|error| {
            let text = format!("{}: cannot build the request: {error}", self.origin);
            Failure::Permanent(text)
        })?;
        self.link.client.request(request).await.map_err(|error| {
            let mut text = format!("{}: {}", self.origin, reason(&error));
            if let Some(variable) = self.unused_proxy.filter(|_| error.is_connect()) {
                let _ = write!(text, "; `{variable}` is only used with `proxy = env`");
            }
            // The response to a CONNECT arrives as an error, and means the same as a 407.
            if text.contains("proxy authorization required") {
                Failure::Denied(text)
            } else {
                Failure::retry(text)
            }
        })
    }

    /// Returns the request with the common headers; credentials in its URL become a header.
    fn wire_form(
        &self,
        request: Request,
    ) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let (mut url, mut headers) = (request.url, request.headers);
        if let Some(credentials) = take_credentials(&mut url) {
            headers.entry(AUTHORIZATION).or_insert(credentials);
        }
        let uri = Uri::try_from(url.as_str())?;
        if let Some(credentials) = self.link.connector.proxy_authorization(&uri) {
            headers.entry(PROXY_AUTHORIZATION).or_insert(credentials);
        }
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("*/*"));
        let agent = headers.entry(USER_AGENT);
        agent.or_insert(HeaderValue::from_static(AGENT));
        let mut made = hyper::Request::new(Full::new(request.body));
        *made.method_mut() = request.method;
        *made.uri_mut() = uri;
        *made.headers_mut() = headers;
        Ok(made)
    }

    /// Resolves, connects, does the TLS handshake and verifies the credentials, with a request that changes
    /// nothing.
    pub async fn check(&self, request: impl Fn(Method) -> Request) -> Check {
        let mut check = Check::default();
        for method in [Method::OPTIONS, Method::HEAD] {
            let request = request(method.clone());
            let anonymous = request.is_anonymous();
            let attempt = tokio::time::timeout(self.timeout, self.request(request)).await;
            let response = match attempt {
                Ok(Ok(response)) => response,
                Ok(Err(failure)) => {
                    check.error = Some(failure.error().to_owned());
                    return check;
                }
                Err(_) => {
                    check.error = Some(format!(
                        "{}: no answer within {:?}",
                        self.origin, self.timeout
                    ));
                    return check;
                }
            };
            let status = response.status();
            check
                .steps
                .push(format!("{method} {} answered {status}", self.origin));
            match status.as_u16() {
                401 if anonymous => {
                    check.error = Some(format!("{}: {status}: {CREDENTIALS}", self.origin));
                }
                401 | 403 | 407 => {
                    check.error = Some(format!(
                        "{}: the credentials were refused: {status}",
                        self.origin
                    ))
                }
                405 | 501 if method == Method::OPTIONS => continue,
                // It answers, and only a POST would show more.
                501 => {}
                300..=399 => {
                    let location = response.headers().get("location");
                    let target = redirect_target(location.and_then(|value| value.to_str().ok()));
                    check.error = Some(format!(
                        "{}: redirects ({status}) to {target}; set the final URL",
                        self.origin
                    ))
                }
                404 | 410 => {
                    check.error = Some(format!("{}: nothing found: {status}", self.origin))
                }
                500..=599 => {
                    check.error = Some(format!(
                        "{}: the endpoint reports an error: {status}",
                        self.origin
                    ))
                }
                _ => {}
            }
            break;
        }
        check
    }
}

/// Removes the user information from a URL and returns it as a header value.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = secret::percent_decoded(url.username());
    let password = secret::percent_decoded(url.password().unwrap_or_default());
    url.set_username("")
        .and_then(|()| url.set_password(None))
        .ok()?;
    let pair = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns the environment variable that names a proxy for this scheme.
fn proxy_variable(scheme: &str) -> Option<&'static str> {
    let names = match scheme {
        "https" => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names.into_iter().find(is_set)
}

impl Request {
    /// Returns true if the request contains no credential and its URL is not a secret either.
    fn is_anonymous(&self) -> bool {
        !self.secret_url && !self.headers.keys().any(is_credential)
    }

    /// Returns the request as text, secrets masked.
    pub fn preview(&self) -> String {
        let mut text = format!("{} {}\n", self.method, self.shown_url());
        for (name, value) in &self.headers {
            let value = if is_credential(name) {
                MASK.to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.body));
        text::visible_lines(&secret::redact(&text))
    }

    /// Returns the URL with its query values and user information masked.
    fn shown_url(&self) -> String {
        if self.secret_url {
            return format!("{}/{MASK}", origin(&self.url));
        }
        let mut text = format!("{}{}", origin(&self.url), self.url.path());
        for (index, (name, _)) in self.url.query_pairs().enumerate() {
            let _ = write!(text, "{}{name}={MASK}", if index == 0 { '?' } else { '&' });
        }
        text
    }
}

/// Returns true if the value of this header must not be shown.
pub fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    *name == AUTHORIZATION
        || *name == PROXY_AUTHORIZATION
        || [
            "token",
            "key",
            "secret",
            "cookie",
            "auth",
            "pass",
            "credential",
            "signature",
            "session",
        ]
        .iter()
        .any(|word| name.contains(word) && name != "idempotency-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_keeps_its_secrets() {
        let request = |url: &str, secret_url| Request {
            method: Method::POST,
            url: url.parse().unwrap(),
            secret_url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let shown = request("https://user:pass@h:8443/a/b?token=canary&x=", false).shown_url();
        assert_eq!(shown, "https://h:8443/a/b?token=[redacted]&x=[redacted]");
        assert_eq!(
            request("https://h/services/canary", true).shown_url(),
            "https://h/[redacted]"
        );
    }
}
