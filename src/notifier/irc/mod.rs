//! The kind `irc`: a few lines to channels and users.

pub mod client;

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Kind, Notifier, Sent};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::http::{ATTEMPT_TIMEOUT, Http};
use crate::net::tls::{Channel, Trust, read_identity};
use crate::notifier::irc::client::{Login, Server, Session};
use crate::notifier::recipients::{CHANNELS, NOBODY, Recipients, split, unreachable};
use crate::panics;
use crate::secret::{self, Secret};
use crate::text;
use crate::text::{Escape, bytes, cut, one_line};

/// IRC, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "irc",
    about: "posts messages to IRC channels and users",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of a protocol line, in bytes, without the line break (RFC 2812, section 2.3).
const LINE: usize = 510;
/// Maximum length of the host name that a server puts before a line, in bytes.
const HOST: usize = 63;
/// Minimum room for a text, whatever comes before it.
const LEAST: usize = 40;

struct Irc {
    server: Server,
    /// Key for the channels that need one.
    key: Option<Secret>,
    targets: Recipients,
    /// `PRIVMSG`, or `NOTICE`, which other programs do not answer.
    command: &'static str,
    /// Maximum number of lines of a message.
    lines: usize,
}

fn build(section: &Section, _: &Http) -> Option<Rc<dyn Notifier>> {
    let key = section.secret("channel_key");
    if key.as_ref().is_some_and(|key| !is_word(key.expose())) {
        section.problem(
            "channel_key",
            "`channel_key` cannot contain a space or comma",
        );
    }
    let targets = Recipients::required(section, "targets", &CHANNELS, target);
    let notice = section.flag("notice", false);
    let lines = section.count("lines", 4, 50);
    let server = server(section);
    Some(Rc::new(Irc {
        server: server?,
        key,
        targets: targets?,
        command: if notice { "NOTICE" } else { "PRIVMSG" },
        lines,
    }))
}

fn server(section: &Section) -> Option<Server> {
    let host = section.required_host("server");
    let encrypted = section.flag("tls", true);
    let port = section.count(
        "port",
        if encrypted { 6697 } else { 6667 },
        usize::from(u16::MAX),
    );
    let nickname = section.text("nickname").unwrap_or("ansible-notify");
    if !is_word(nickname) || nickname.starts_with(|first: char| first.is_ascii_digit()) {
        section.problem("nickname", format!("`{nickname}` is not a valid nickname"));
    }
    let trust = Trust::read(section, Channel::encrypted_if(encrypted));
    let identity = read_identity(section);
    // A certificate that cannot be read is a different problem.
    let has_certificate = identity.is_some() || section.is_given("client_cert");
    let login = login(section, encrypted && has_certificate);
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    let (host, trust) = (host?, trust?);
    if !encrypted && login.is_some() {
        section.warning("tls", "the password is sent unencrypted; use TLS");
    }
    let config = encrypted.then(|| trust.config(identity.as_deref()));
    let tls = config
        .transpose()
        .map_err(|problem| section.problem("client_cert", problem));
    Some(Server {
        host: host.to_owned(),
        port: u16::try_from(port).ok()?,
        tls: tls.ok()?.map(Arc::new),
        timeout,
        nickname: nickname.to_owned(),
        login,
    })
}

/// Reads the login: the server's password, or an account for `sasl`.
fn login(section: &Section, has_certificate: bool) -> Option<Login> {
    let username = section.text("username");
    let names = ["plain", "external"].map(|name| (name, Some(name)));
    match section.choice("sasl", None, &names) {
        Some("plain") => {
            let password = section.required_secret("password");
            let username = username.or_else(|| section.missing("username"))?;
            let password = password?;
            // The form in which both are sent together.
            secret::mask(&format!("{username}\0{username}\0{}", password.expose()));
            Some(Login::Plain(username.to_owned(), password))
        }
        Some(_) => {
            if !has_certificate {
                section.problem("sasl", "`sasl = external` needs `client_cert`, and `tls`");
            }
            Some(Login::External)
        }
        None => {
            if username.is_some() {
                section.needs("username", "sasl");
            }
            section.secret("password").map(Login::Password)
        }
    }
}

/// Returns true if a text is exactly one parameter of a command.
fn is_word(text: &str) -> bool {
    let bad =
        |character: char| character.is_whitespace() || character.is_control() || character == ',';
    !text.is_empty() && !text.starts_with(':') && !text.contains(bad)
}

fn target(name: &str) -> Result<String, String> {
    match is_word(name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "{} must be a channel such as `#ops` or a nickname, without spaces",
            quoted(name)
        )),
    }
}

/// Returns true for a channel; channels begin with one of these (RFC 2812, section 1.3).
fn is_channel(target: &str) -> bool {
    target.starts_with(['#', '&', '+', '!'])
}

impl Irc {
    /// Returns the room for a text to `target`, in bytes: a line also contains the command, and the server
    /// puts `:nickname!~user@host ` before it. The user name is the nickname, to which a digit may be
    /// appended.
    fn room(&self, target: &str) -> usize {
        let sender = 2 * (self.server.nickname.len() + 1) + HOST + ":!~@ ".len();
        let command = self.command.len() + target.len() + "  :".len();
        LINE.saturating_sub(sender + command).max(LEAST)
    }

    /// Returns the subject and what fits of the text, each line short enough for the server.
    fn lines(&self, message: &Message, target: &str) -> Vec<String> {
        let room = self.room(target);
        let text = message.text.lines().map(one_line);
        let all: Vec<String> = [one_line(&message.subject)]
            .into_iter()
            .chain(text)
            .filter(|line| !line.is_empty())
            .collect();
        let mut lines: Vec<String> = all
            .iter()
            .take(self.lines)
            .map(|line| cut(line, room, bytes).into_owned())
            .collect();
        if let (Some(last), true) = (lines.last_mut(), all.len() > self.lines) {
            let mark = format!(" [… {} more lines]", all.len() - self.lines);
            *last = format!(
                "{}{mark}",
                cut(last, room.saturating_sub(mark.len()), bytes)
            );
        }
        lines
    }

    async fn tell(
        &self,
        session: &mut Session<'_>,
        target: &str,
        message: &Message,
    ) -> Result<(), Failure> {
        let lines = self.lines(message, target);
        if is_channel(target) {
            session.join(target, self.key.as_ref()).await?;
        }
        session.say(self.command, target, &lines).await
    }
}

#[async_trait(?Send)]
impl Notifier for Irc {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let targets = self.targets.each(message, |_| Ok(()))?;
        let count = targets.len();
        let (mut waiting, mut failures) = split(targets);
        waiting.retain(|(target, ())| !message.reached.contains_key(target));
        let mut reached = Receipts::new();
        if waiting.is_empty() {
            return Ok(Sent::to(count, reached, failures));
        }
        let mut session = self.server.open().await?;
        for (target, ()) in waiting {
            let told = panics::caught_async(self.tell(&mut session, &target, message)).await;
            session.broken |= told.is_err();
            match told.unwrap_or_else(|fault| Err(Failure::Permanent(fault))) {
                Ok(()) => drop(reached.insert(target, None)),
                Err(failure) => failures.push((target, failure)),
            }
            if session.broken {
                // The others are retried together with this one.
                return Ok(Sent::to(count, reached, failures));
            }
        }
        let _ = panics::caught_async(session.quit()).await;
        Ok(Sent::to(count, reached, failures))
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let tls = if self.server.tls.is_some() {
            " (TLS)"
        } else {
            ""
        };
        let (targets, failures) = split(self.targets.each(message, |_| Ok(()))?);
        if targets.is_empty() && failures.is_empty() {
            return Ok(NOBODY.to_owned());
        }
        let mut shown = vec![format!("IRC to {}{tls}", self.server.name())];
        shown.extend(self.server.greeting());
        for (target, ()) in &targets {
            if is_channel(target) {
                let key = self.key.as_ref().map_or("", |_| " [redacted]");
                shown.push(format!("JOIN {target}{key}"));
            }
            let lines = self.lines(message, target).into_iter();
            shown.extend(lines.map(|line| format!("{} {target} :{line}", self.command)));
        }
        shown.push("QUIT".to_owned());
        shown.extend(failures.iter().map(|(_, failure)| unreachable(failure)));
        Ok(text::visible_lines(&secret::redact(&shown.join("\n"))))
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        match self.server.open().await {
            Ok(session) => {
                let name = self.server.name();
                check.steps.push(format!("{name}: logged in"));
                session.quit().await;
            }
            Err(failure) => check.error = Some(failure.error().to_owned()),
        }
        check
    }
}
