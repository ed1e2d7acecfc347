//! Client side of IRC (RFC 2812; IRCv3 "SASL 3.2"): logs in, joins, sends a few lines, leaves.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::net::http::CONNECT_TIMEOUT;
use crate::net::response::explained;
use crate::net::wire::{self, Allowance, Wire};
use crate::secret::{self, Secret};
use crate::text::{characters, cut, one_line};

/// Maximum length of a line that is read, in bytes: 512, and tags before them (IRCv3, "Message Tags").
const LINE: u64 = 8191 + 512;
/// Maximum amount that a server may send between two awaited answers, in bytes: its rules, the names in a
/// large channel, and messages that arrive meanwhile.
const MAX_TALK: usize = 1 << 20;
/// Number of lines that may be sent in a row; servers disconnect those who send more.
const BURST: usize = 5;
/// Pause before each further line.
const PAUSE: Duration = Duration::from_secs(2);
/// Time limit for closing the session; the server has confirmed the lines by then.
const FAREWELL: Duration = Duration::from_secs(2);
/// Number of other nicknames that are tried if one is taken.
const NICKNAMES: usize = 9;
/// Maximum length of a server's text in an error, in characters.
const SAID: usize = 200;

/// Server, and the account on it.
pub struct Server {
    pub host: String,
    pub port: u16,
    /// None for an unencrypted connection.
    pub tls: Option<Arc<ClientConfig>>,
    /// Time limit for each answer.
    pub timeout: Duration,
    pub nickname: String,
    pub login: Option<Login>,
}

/// Method of authentication.
pub enum Login {
    /// Password of the server.
    Password(Secret),
    /// SASL PLAIN: name and password of the account.
    Plain(String, Secret),
    /// SASL EXTERNAL: the client certificate.
    External,
}

/// A connection to a server that has accepted the login.
pub struct Session<'a> {
    server: &'a Server,
    stream: BufReader<Wire>,
    nickname: String,
    /// Number of lines sent since the login.
    sent: usize,
    /// True if the connection failed, and not a recipient: nothing more can be sent.
    pub broken: bool,
}

/// A line from a server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    /// Nickname that it comes from, or the server.
    from: String,
    /// A word, or three digits.
    command: String,
    parameters: Vec<String>,
}

impl Line {
    fn parse(text: &str) -> Line {
        let mut rest = text.trim_end_matches(['\r', '\n']);
        if rest.starts_with('@') {
            rest = word(rest).1;
        }
        let mut line = Line::default();
        if let Some(after) = rest.strip_prefix(':') {
            let (prefix, after) = word(after);
            let name = prefix.split(['!', '@']).next();
            line.from = name.unwrap_or_default().to_owned();
            rest = after;
        }
        let (command, mut rest) = word(rest);
        line.command = command.to_ascii_uppercase();
        while !rest.is_empty() {
            if let Some(last) = rest.strip_prefix(':') {
                line.parameters.push(last.to_owned());
                break;
            }
            let (parameter, after) = word(rest);
            line.parameters.push(parameter.to_owned());
            rest = after;
        }
        line
    }

    fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// Returns the part meant for people: the last parameter.
    fn said(&self) -> &str {
        self.parameters.last().map_or("", String::as_str)
    }
}

fn word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim_start_matches(' '))
}

impl Server {
    /// Returns `host:port`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Connects and logs in.
    pub async fn open(&self) -> Result<Session<'_>, Failure> {
        let allowance = Allowance::Connection(MAX_TALK);
        let dialed = wire::dial(&self.host, self.port, self.tls.clone(), allowance);
        let stream = match timeout(CONNECT_TIMEOUT, dialed).await {
            Ok(connected) => connected.map_err(|error| {
                let text = explained(&error.to_string());
                Failure::retry(format!("{}: {text}", self.name()))
            })?,
            Err(_) => return Err(self.silent(CONNECT_TIMEOUT)),
        };
        let mut session = Session {
            server: self,
            stream: BufReader::new(stream),
            nickname: self.nickname.clone(),
            sent: 0,
            broken: false,
        };
        match timeout(self.timeout, session.register()).await {
            Ok(registered) => registered.map(|()| session),
            Err(_) => Err(self.silent(self.timeout)),
        }
    }

    fn silent(&self, limit: Duration) -> Failure {
        Failure::retry(format!("{}: no answer within {limit:?}", self.name()))
    }

    /// Returns the lines that the client sends before the server sends anything, secrets included.
    pub fn greeting(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.login {
            Some(Login::Password(password)) => lines.push(format!("PASS :{}", password.expose())),
            // The server withholds its welcome until this negotiation ends.
            Some(Login::Plain(..) | Login::External) => lines.push("CAP REQ :sasl".to_owned()),
            None => {}
        }
        lines.push(format!("NICK {}", self.nickname));
        lines.push(format!("USER {} 0 * :ansible-notify", self.nickname));
        lines
    }
}

impl Login {
    fn mechanism(&self) -> &'static str {
        match self {
            Login::External => "EXTERNAL",
            _ => "PLAIN",
        }
    }

    /// Returns the response to the mechanism's name: pieces of 400 bytes, the last one shorter.
    fn response(&self) -> Vec<String> {
        let Login::Plain(username, password) = self else {
            return vec!["+".to_owned()];
        };
        let text = STANDARD.encode(format!("{username}\0{username}\0{}", password.expose()));
        let pieces = text.as_bytes().chunks(400);
        let mut pieces: Vec<String> = pieces
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect();
        if text.len() % 400 == 0 {
            pieces.push("+".to_owned());
        }
        pieces
    }
}

impl Session<'_> {
    /// Logs in, under another nickname if the wanted one is taken, and waits for the end of the welcome.
    async fn register(&mut self) -> Result<(), Failure> {
        for line in self.server.greeting() {
            self.write(&line).await?;
        }
        let mut taken = 0;
        loop {
            let line = self.next().await?;
            match line.command.as_str() {
                "001" => self.nickname = line.parameter(0).to_owned(),
                "376" | "422" => return Ok(()),
                "433" | "436" if taken < NICKNAMES => {
                    taken += 1;
                    self.nickname = format!("{}{taken}", self.server.nickname);
                    self.write(&format!("NICK {}", self.nickname)).await?;
                }
                "433" | "436" => return Err(Failure::retry(self.told(&line))),
                "432" | "463" | "465" => return Err(Failure::Permanent(self.told(&line))),
                "464" | "902" | "904" | "905" | "906" | "908" => {
                    return Err(Failure::Denied(self.told(&line)));
                }
                _ => self.authenticate(&line).await?,
            }
        }
    }

    /// Takes the next step of SASL, in response to a line of the server.
    async fn authenticate(&mut self, line: &Line) -> Result<(), Failure> {
        let server = self.server;
        let Some(login @ (Login::Plain(..) | Login::External)) = &server.login else {
            return Ok(());
        };
        match (line.command.as_str(), line.parameter(1)) {
            ("CAP", "ACK") => {
                self.write(&format!("AUTHENTICATE {}", login.mechanism()))
                    .await
            }
            ("CAP", "NAK") | ("421", "CAP") => Err(Failure::retry(format!(
                "{}: the server does not offer SASL",
                server.name()
            ))),
            ("AUTHENTICATE", _) => {
                for piece in login.response() {
                    self.write(&format!("AUTHENTICATE {piece}")).await?;
                }
                Ok(())
            }
            ("903", _) => self.write("CAP END").await,
            _ => Ok(()),
        }
    }

    /// Joins a channel, and waits for the confirmation.
    pub async fn join(&mut self, channel: &str, key: Option<&Secret>) -> Result<(), Failure> {
        let key = key
            .map(|key| format!(" {}", key.expose()))
            .unwrap_or_default();
        self.send(&format!("JOIN {channel}{key}")).await?;
        self.wait(channel, |line, nickname| {
            line.command == "JOIN"
                && line.from.eq_ignore_ascii_case(nickname)
                && line.parameter(0).eq_ignore_ascii_case(channel)
        })
        .await
    }

    /// Sends lines to a channel or a user. The server answers a question after them once it has processed
    /// them, so that its refusals are known by then.
    pub async fn say(
        &mut self,
        command: &str,
        target: &str,
        lines: &[String],
    ) -> Result<(), Failure> {
        for line in lines {
            self.send(&format!("{command} {target} :{line}")).await?;
        }
        let token = format!("said-{}", self.sent);
        self.write(&format!("PING :{token}")).await?;
        self.wait(target, |line, _| {
            line.command == "PONG" && line.said() == token
        })
        .await
    }

    /// Leaves, and waits until the server has closed the connection: nothing is lost in transit.
    pub async fn quit(mut self) {
        if self.write("QUIT :done").await.is_ok() {
            let _ = timeout(FAREWELL, async { while self.next().await.is_ok() {} }).await;
        }
    }

    /// Reads until `is_it` accepts a line, or the server refuses what was sent to `target`.
    async fn wait(
        &mut self,
        target: &str,
        is_it: impl Fn(&Line, &str) -> bool,
    ) -> Result<(), Failure> {
        self.stream.get_mut().renew();
        let limit = self.server.timeout;
        let answer = timeout(limit, async {
            loop {
                let line = self.next().await?;
                if is_it(&line, &self.nickname) {
                    return Ok(());
                }
                if line.parameter(1).eq_ignore_ascii_case(target)
                    && let Some(failure) = self.refusal(&line)
                {
                    return Err(failure);
                }
            }
        });
        match answer.await {
            Ok(answer) => answer,
            Err(_) => {
                self.broken = true;
                Err(self.server.silent(limit))
            }
        }
    }

    /// Returns the failure for a numeric reply of 400 to 599, which is an error (RFC 2812, section 5.2). Only
    /// too many channels, or a channel that is full or currently unavailable, may be cured by waiting.
    fn refusal(&self, line: &Line) -> Option<Failure> {
        let code: u16 = line.command.parse().ok()?;
        let text = self.told(line);
        match code {
            405 | 437 | 471 => Some(Failure::retry(text)),
            400..600 => Some(Failure::Permanent(text)),
            _ => None,
        }
    }

    fn told(&self, line: &Line) -> String {
        // Masked before it is cut: half of a secret would not be recognised.
        let said = secret::redact(&one_line(line.said()));
        let said = cut(&said, SAID, characters);
        format!("{}: {} {said}", self.server.name(), line.command)
    }

    /// Returns the next line that is not the protocol's own housekeeping.
    async fn next(&mut self) -> Result<Line, Failure> {
        loop {
            // Gives other tasks a turn, however many lines are already there.
            consume_budget().await;
            let mut bytes = Vec::new();
            let mut limited = (&mut self.stream).take(LINE);
            let read = limited.read_until(b'\n', &mut bytes).await;
            let read = read.map_err(|error| error.to_string());
            if let Err(reason) = read.and_then(|length| match length {
                0 => Err("the server closed the connection".to_owned()),
                _ => Ok(()),
            }) {
                self.broken = true;
                return Err(Failure::retry(format!("{}: {reason}", self.server.name())));
            }
            let line = Line::parse(&String::from_utf8_lossy(&bytes));
            match line.command.as_str() {
                "PING" => self.write(&format!("PONG :{}", line.said())).await?,
                "ERROR" => {
                    self.broken = true;
                    return Err(Failure::retry(self.told(&line)));
                }
                "NICK" if line.from == self.nickname => {
                    self.nickname = line.parameter(0).to_owned();
                }
                _ => return Ok(line),
            }
        }
    }

    /// Sends a line, no faster than servers tolerate.
    async fn send(&mut self, line: &str) -> Result<(), Failure> {
        if self.sent >= BURST {
            tokio::time::sleep(PAUSE).await;
        }
        self.sent += 1;
        self.write(line).await
    }

    async fn write(&mut self, line: &str) -> Result<(), Failure> {
        // Whatever a value contains, this remains one command.
        let line = format!("{}\r\n", line.replace(['\r', '\n', '\0'], " "));
        let stream = self.stream.get_mut();
        let written = match stream.write_all(line.as_bytes()).await {
            Ok(()) => stream.flush().await,
            error => error,
        };
        written.map_err(|error| {
            self.broken = true;
            Failure::retry(format!("{}: {error}", self.server.name()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_all_their_forms() {
        let line = |from: &str, command: &str, parameters: &[&str]| Line {
            from: from.into(),
            command: command.into(),
            parameters: parameters.iter().map(|text| (*text).to_owned()).collect(),
        };
        for (text, expected) in [
            ("PING :a b\r\n", line("", "PING", &["a b"])),
            (":n!u@h JOIN #ops\r\n", line("n", "JOIN", &["#ops"])),
            (":n!u@h JOIN :#ops\r\n", line("n", "JOIN", &["#ops"])),
            (
                "@time=x;a=b :irc.example 433 *  ops :Nickname: in use\r\n",
                line("irc.example", "433", &["*", "ops", "Nickname: in use"]),
            ),
            ("authenticate +\n", line("", "AUTHENTICATE", &["+"])),
            (":x", line("x", "", &[])),
            ("", line("", "", &[])),
            ("A :", line("", "A", &[""])),
        ] {
            assert_eq!(Line::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_response_goes_in_pieces() {
        let response =
            |length: usize| Login::Plain(String::new(), Secret::new("x".repeat(length))).response();
        assert_eq!(response(1), ["AAB4"]);
        let lengths = |length| response(length).iter().map(String::len).collect::<Vec<_>>();
        // 298 and 2 bytes are 400 in base64.
        assert_eq!(lengths(298), [400, 1]);
        assert_eq!(lengths(299), [400, 4]);
    }
}
