//! The kind `zeromq`: the payload as JSON to ZeroMQ's PULL or SUB sockets, over TCP or a unix socket.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::{Check, Failure, Format, Kind, Notifier};
use crate::config::section::Section;
use crate::http::Http;
use crate::message::{Form, Message};
use crate::secret;
use crate::zmtp::{Peer, Socket, Wire};

pub const KIND: Kind = Kind {
    name: "zeromq",
    about: "sends the [outputs] as JSON to ZeroMQ's PULL or SUB sockets",
    form: Form::Data,
    build,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the other side is, or where it comes to.
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
    timeout: Duration,
    /// One message at a time: the order of the connection is the order of the messages.
    link: Mutex<Link>,
}

/// What connects to the other side, at first nothing.
#[derive(Default)]
struct Link {
    listener: Option<Listener>,
    peers: Vec<Peer>,
    /// The peer that had the last message.
    last: usize,
}

enum Listener {
    Tcp(TcpListener),
    Ipc(UnixListener),
}

fn build(section: &Section, _http: &Http) -> Option<Rc<dyn Notifier>> {
    let socket = section.parsed("socket", Socket::Push, |text| match text {
        "push" => Ok(Socket::Push),
        "pub" => Ok(Socket::Pub),
        _ => Err("`socket` is push or pub".to_owned()),
    });
    let bind = section.flag("bind", false);
    let format = Format::of(section);
    let timeout = section.duration("timeout", ATTEMPT_TIMEOUT);
    let (_, url) = section.url("url").or_else(|| section.missing("url"))?;
    let Some(address) = parse(&url) else {
        section.problem("url", "`url` is tcp://HOST:PORT or ipc:///PATH");
        return None;
    };
    Some(Rc::new(ZeroMq {
        address,
        socket,
        bind,
        format,
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
    async fn connect(&self) -> Result<Box<dyn Wire>> {
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
                // What a former process left behind, as nobody listens on it.
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
    async fn accept(&self) -> Result<Box<dyn Wire>> {
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

impl ZeroMq {
    /// Connects, or takes in who has come meanwhile.
    async fn meet(&self, link: &mut Link) -> Result<()> {
        if !self.bind {
            if link.peers.is_empty() {
                let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.address.connect());
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
        let listener = link.listener.as_ref().expect("it was just made");
        // Who waits is there at once; only the first of all may take a moment to come back.
        let mut patience = Duration::from_millis(if link.peers.is_empty() { 500 } else { 1 });
        while let Ok(wire) = tokio::time::timeout(patience, listener.accept()).await {
            patience = Duration::from_millis(1);
            // One that is no receiver, or goes away, hinders nobody.
            if let Ok(peer) = Peer::greet(wire?, self.socket).await {
                link.peers.push(peer);
            }
        }
        Ok(())
    }

    /// To one peer, the next in turn; those that are gone are left out.
    async fn push(&self, link: &mut Link, message: &[u8]) -> Result<usize> {
        let mut error = None;
        while !link.peers.is_empty() {
            let next = (link.last + 1) % link.peers.len();
            match link.peers[next].send(message).await {
                Ok(()) => {
                    link.last = next;
                    return Ok(1);
                }
                Err(gone) => {
                    error = Some(gone);
                    link.peers.remove(next);
                }
            }
        }
        error.map_or(Ok(0), Err)
    }

    /// To all peers that have subscribed to it.
    async fn publish(&self, link: &mut Link, message: &[u8]) -> usize {
        let mut reached = 0;
        let mut staying = Vec::new();
        for mut peer in std::mem::take(&mut link.peers) {
            let sent = match peer.wants(message).await {
                Ok(true) => peer.send(message).await.map(|()| reached += 1),
                Ok(false) => Ok(()),
                Err(gone) => Err(gone),
            };
            if sent.is_ok() {
                staying.push(peer);
            }
        }
        link.peers = staying;
        reached
    }

    async fn attempt(&self, message: &[u8]) -> Result<()> {
        let mut link = self.link.lock().await;
        let known = !link.peers.is_empty();
        let mut result = self.once(&mut link, message).await;
        if known && result.is_err() && link.peers.is_empty() {
            // The peer may have been started again since the last message.
            result = self.once(&mut link, message).await;
        }
        result
    }

    async fn once(&self, link: &mut Link, message: &[u8]) -> Result<()> {
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

    fn failure(&self, error: &Error) -> String {
        format!("{}: {}", self.address.shown(), explain(error))
    }
}

fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the peer has gone away".to_owned(),
        ErrorKind::TimedOut => "no connection in time".to_owned(),
        _ => error.to_string(),
    }
}

#[async_trait(?Send)]
impl Notifier for ZeroMq {
    async fn send(&self, message: &Message) -> std::result::Result<(), Failure> {
        let body = self.format.body(message);
        let error = match tokio::time::timeout(self.timeout, self.attempt(&body)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => self.failure(&error),
            Err(_) => {
                // What it had of the message is unknown: it is told again over a new connection.
                self.link.lock().await.peers.clear();
                let limit = self.timeout;
                format!("{}: not taken within {limit:?}", self.address.shown())
            }
        };
        Err(Failure::retry(error))
    }

    fn preview(&self, message: &Message) -> std::result::Result<String, Failure> {
        let body = self.format.body(message);
        let text = secret::redact(&String::from_utf8_lossy(&body));
        let (socket, address) = (self.socket.name(), self.address.shown());
        Ok(format!(
            "{socket} {address}\n\n{}",
            crate::report::visible_lines(&text)
        ))
    }

    async fn check(&self) -> Check {
        let mut link = self.link.lock().await;
        let met = tokio::time::timeout(self.timeout, self.meet(&mut link)).await;
        let met = met.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        let peers = link.peers.len();
        let verb = if self.bind {
            "bound to"
        } else {
            "connected to"
        };
        Check {
            steps: vec![format!(
                "{verb} {}: {peers} of the other side",
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
