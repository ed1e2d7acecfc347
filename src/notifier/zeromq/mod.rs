//! The kind `zeromq`: the payload as JSON to ZeroMQ's PULL or SUB sockets, over TCP or a Unix socket.

pub mod zmtp;

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Kind, Notifier, Sent};
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::http::Http;
use crate::net::response::explained;
use crate::net::wire::Stream;
use crate::notifier::format::Format;
use crate::notifier::recipients::{CHANNELS, Each, NOBODY, Recipients, any, split, unreachable};
use crate::notifier::zeromq::zmtp::{Frames, Peer, Socket};
use crate::secret;
use crate::text;

/// ZeroMQ, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "zeromq",
    about: "sends the [outputs] as JSON to ZeroMQ PULL or SUB sockets",
    form: MessageFormat::Data,
    build,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for a new connection to a bound socket to identify itself.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of peers of a bound socket, and of further connections that are not identified yet.
const MAX_PEERS: usize = 64;
const MAX_STRANGERS: usize = 32;
/// Time for which a message waits for the first peer of a bound socket, for another one to connect, and for a
/// new one to identify itself.
const FIRST_PEER: Duration = Duration::from_millis(500);
const NEXT_PEER: Duration = Duration::from_millis(1);
const NEXT_GREETING: Duration = Duration::from_millis(10);
/// Time limit for a peer to take a message while there are other peers.
const LAGGARD: Duration = Duration::from_secs(2);

/// Address of the other side, or of the bound socket.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    /// `host:port`
    Tcp(String),
    Ipc(PathBuf),
}

struct ZeroMq {
    address: Address,
    socket: Socket,
    bind: bool,
    format: Format,
    /// Topics, if each message has its topic in a separate frame.
    topics: Option<Recipients>,
    timeout: Duration,
    /// Locked for one message at a time: messages are sent in the order of the connection.
    link: Mutex<Link>,
}

/// Connections to the other side, none at first.
#[derive(Default)]
struct Link {
    listener: Option<Listener>,
    /// Connections that are not identified yet.
    strangers: JoinSet<Option<Peer>>,
    peers: Vec<Peer>,
    /// Index of the peer that had the last message.
    last: usize,
}

enum Listener {
    Tcp(TcpListener),
    Ipc(UnixListener),
}

fn build(section: &Section, _http: &Http) -> Option<Rc<dyn Notifier>> {
    let sockets = [("push", Socket::Push), ("pub", Socket::Pub)];
    let socket = section.choice("socket", Socket::Push, &sockets);
    let bind = section.flag("bind", false);
    let format = Format::of(section);
    let topics = Recipients::optional(section, "topic", &CHANNELS, any);
    if topics.as_ref().is_some_and(Recipients::has_template) {
        section.no_batch("`batch` cannot be used with templates in `topic`");
    }
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    let (_, url) = section.url("url").or_else(|| section.missing("url"))?;
    if !section.is_plain("url", &url) {
        return None;
    }
    let Some(address) = parse(&url) else {
        section.problem("url", "`url` must be tcp://HOST:PORT or ipc:///PATH");
        return None;
    };
    Some(Rc::new(ZeroMq {
        address,
        socket,
        bind,
        format,
        topics,
        timeout,
        link: Mutex::default(),
    }))
}

fn parse(url: &str) -> Option<Address> {
    if let Some(path) = url.strip_prefix("ipc://") {
        return path.starts_with('/').then(|| Address::Ipc(path.into()));
    }
    let place = url.strip_prefix("tcp://")?;
    let (host, port) = place.rsplit_once(':')?;
    let host = if host == "*" { "0.0.0.0" } else { host };
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| Address::Tcp(format!("{host}:{port}")))
}

impl Address {
    async fn connect(&self) -> Result<Box<dyn Stream>> {
        Ok(match self {
            Address::Tcp(place) => {
                let stream = TcpStream::connect(place).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Address::Ipc(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    async fn listen(&self) -> Result<Listener> {
        match self {
            Address::Tcp(place) => TcpListener::bind(place).await.map(Listener::Tcp),
            Address::Ipc(path) => {
                // Left behind by an earlier process: nobody listens on it.
                if path.exists() && UnixStream::connect(path).await.is_err() {
                    std::fs::remove_file(path)?;
                }
                UnixListener::bind(path).map(Listener::Ipc)
            }
        }
    }

    fn shown(&self) -> String {
        match self {
            Address::Tcp(place) => format!("tcp://{place}"),
            Address::Ipc(path) => format!("ipc://{}", path.display()),
        }
    }
}

impl Listener {
    async fn accept(&self) -> Result<Box<dyn Stream>> {
        Ok(match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Listener::Ipc(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

impl Link {
    /// Accepts new connections to the bound socket. They identify themselves in parallel: one that is no
    /// receiver, sends nothing, or goes away delays nobody.
    async fn welcome(&mut self, socket: Socket) -> Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        let first = self.peers.is_empty();
        let mut deadline = Instant::now() + if first { FIRST_PEER } else { NEXT_PEER };
        loop {
            let has_room = self.strangers.len() < MAX_STRANGERS && self.peers.len() < MAX_PEERS;
            tokio::select! {
                accepted = listener.accept(), if has_room => {
                    let stream = accepted?;
                    self.strangers.spawn(async move {
                        let greeted = timeout(GREETING_TIMEOUT, Peer::greet(stream, socket)).await;
                        greeted.ok()?.ok()
                    });
                    if !first {
                        deadline = Instant::now() + NEXT_GREETING;
                    }
                }
                Some(greeted) = self.strangers.join_next() => {
                    if let Ok(Some(peer)) = greeted && self.peers.len() < MAX_PEERS {
                        self.peers.push(peer);
                        deadline = deadline.min(Instant::now() + NEXT_GREETING);
                    }
                }
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            }
        }
    }
}

impl ZeroMq {
    /// Returns the messages to send: one per topic.
    fn messages(&self, message: &Message) -> std::result::Result<Each<Frames>, Failure> {
        let body = self.format.body(message)?;
        let frames = |topic| Frames {
            topic,
            body: body.clone(),
        };
        let Some(topics) = &self.topics else {
            return Ok(vec![(String::new(), Ok(frames(None)))]);
        };
        topics.each(message, |topic| Ok(frames(Some(topic.clone()))))
    }

    /// Connects, or accepts new connections.
    async fn meet(&self, link: &mut Link) -> Result<()> {
        if !self.bind {
            if link.peers.is_empty() {
                let connected = timeout(CONNECT_TIMEOUT, self.address.connect());
                let wire = connected
                    .await
                    .map_err(|_| Error::from(ErrorKind::TimedOut))??;
                link.peers.push(Peer::greet(wire, self.socket).await?);
            }
            return Ok(());
        }
        if link.listener.is_none() {
            link.listener = Some(self.address.listen().await?);
        }
        link.welcome(self.socket).await
    }

    /// Sends to one peer, the next in turn; those that are gone, or too slow, are dropped.
    async fn push(&self, link: &mut Link, message: &Frames) -> Result<usize> {
        let mut error = None;
        while !link.peers.is_empty() {
            let share = match link.peers.len() as u32 {
                1 => self.timeout,
                several => LAGGARD.min(self.timeout / several),
            };
            let next = (link.last + 1) % link.peers.len();
            // A peer that was interrupted in the middle of a message is of no further use.
            let mut peer = link.peers.remove(next);
            match timeout(share, peer.send(message)).await {
                Ok(Ok(())) => {
                    link.peers.insert(next, peer);
                    link.last = next;
                    return Ok(1);
                }
                Ok(Err(gone)) => error = Some(gone),
                Err(_) => error = Some(self.not_taken()),
            }
        }
        error.map_or(Ok(0), Err)
    }

    /// Sends to all peers that have subscribed to the message, in parallel. Once one of them has it, the
    /// others have limited time: a peer that takes nothing delays nobody.
    async fn publish(&self, link: &mut Link, message: &Frames) -> usize {
        let mut sending = JoinSet::new();
        for mut peer in std::mem::take(&mut link.peers) {
            let message = message.clone();
            sending.spawn(async move {
                let wanted = peer.wants(&message).await?;
                if wanted {
                    peer.send(&message).await?;
                }
                Ok::<_, Error>((peer, wanted))
            });
        }
        let (mut reached, mut deadline) = (0, Instant::now() + self.timeout);
        while let Ok(Some(sent)) = timeout_at(deadline, sending.join_next()).await {
            let Ok(Ok((peer, wanted))) = sent else {
                continue;
            };
            link.peers.push(peer);
            if wanted {
                reached += 1;
                deadline = deadline.min(Instant::now() + LAGGARD);
            }
        }
        reached
    }

    async fn attempt(&self, message: &Frames) -> Result<()> {
        let mut link = self.link.lock().await;
        let known = !link.peers.is_empty();
        let mut result = self.once(&mut link, message).await;
        if known && result.is_err() && link.peers.is_empty() {
            // The peer may have been restarted since the last message.
            result = self.once(&mut link, message).await;
        }
        result
    }

    async fn once(&self, link: &mut Link, message: &Frames) -> Result<()> {
        self.meet(link).await?;
        let reached = match self.socket {
            Socket::Push => self.push(link, message).await?,
            Socket::Pub => self.publish(link, message).await,
        };
        if reached > 0 {
            return Ok(());
        }
        let text = match self.socket {
            Socket::Push => "no PULL socket is connected",
            Socket::Pub => "nobody has subscribed",
        };
        Err(Error::new(ErrorKind::NotConnected, text))
    }

    fn not_taken(&self) -> Error {
        let text = format!("not accepted within {:?}", self.timeout);
        Error::new(ErrorKind::WouldBlock, text)
    }

    fn failure(&self, error: &Error) -> String {
        format!("{}: {}", self.address.shown(), explain(error))
    }
}

fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the peer disconnected".to_owned(),
        ErrorKind::TimedOut => "the connection timed out".to_owned(),
        _ => explained(&error.to_string()),
    }
}

#[async_trait(?Send)]
impl Notifier for ZeroMq {
    async fn send(&self, message: &Message) -> std::result::Result<Sent, Failure> {
        let messages = self.messages(message)?;
        let recipients = messages.len();
        let (messages, mut failures) = split(messages);
        let mut reached = Receipts::new();
        for (topic, frames) in messages {
            if message.reached.contains_key(&topic) {
                continue;
            }
            let error = match timeout(self.timeout, self.attempt(&frames)).await {
                Ok(Ok(())) => {
                    reached.insert(topic, None);
                    continue;
                }
                Ok(Err(error)) => self.failure(&error),
                Err(_) => self.failure(&self.not_taken()),
            };
            failures.push((topic, Failure::retry(error)));
        }
        Ok(Sent::to(recipients, reached, failures))
    }

    fn preview(&self, message: &Message) -> std::result::Result<String, Failure> {
        let (socket, address) = (self.socket.name(), self.address.shown());
        let preview = |(_, frames): &(String, std::result::Result<Frames, Failure>)| {
            let frames = match frames {
                Ok(frames) => frames,
                Err(failure) => return unreachable(failure),
            };
            let topic = frames.topic.as_deref().unwrap_or_default();
            let text = secret::redact(&String::from_utf8_lossy(&frames.body));
            let text = text::visible_lines(&text);
            let line = format!("{socket} {address} {}", text::visible(topic));
            format!("{}\n\n{text}", line.trim_end())
        };
        let messages = self.messages(message)?;
        let previews: Vec<String> = messages.iter().map(preview).collect();
        match previews.is_empty() {
            true => Ok(NOBODY.to_owned()),
            false => Ok(previews.join("\n\n")),
        }
    }

    async fn check(&self) -> Check {
        let mut link = self.link.lock().await;
        let met = timeout(self.timeout, self.meet(&mut link)).await;
        let met = met.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let peers = link.peers.len();
        let verb = if self.bind {
            "bound to"
        } else {
            "connected to"
        };
        Check {
            steps: vec![format!(
                "{verb} {}: {peers} connected",
                self.address.shown()
            )],
            error: match met {
                Err(error) => Some(self.failure(&error)),
                Ok(()) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_zeromq() {
        let tcp = |place: &str| Some(Address::Tcp(place.to_owned()));
        assert_eq!(parse("tcp://127.0.0.1:5556"), tcp("127.0.0.1:5556"));
        assert_eq!(parse("tcp://*:5556"), tcp("0.0.0.0:5556"));
        assert_eq!(parse("tcp://[::1]:5556"), tcp("[::1]:5556"));
        assert_eq!(parse("ipc:///run/x"), Some(Address::Ipc("/run/x".into())));
        for wrong in [
            "",
            "tcp://h",
            "tcp://:1",
            "tcp://h:0",
            "tcp://h:x",
            "ipc://x",
            "http://h:1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
