//! ZeroMQ's protocol between two sockets, ZMTP 3.1 (rfc.zeromq.org/spec/37), as far as a sender needs it:
//! PUSH and PUB, without security. A message counts as sent when the peer has answered the PING after it: by
//! then it is in the peer's own queue, not in transit.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};

use crate::net::wire::{Allowance, Stream, Wire};

/// Signature, version 3.1, the mechanism NULL, not a server, and padding.
const GREETING: [u8; 64] = {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
    let mechanism = b"NULL";
    let mut at = 0;
    while at < mechanism.len() {
        greeting[12 + at] = mechanism[at];
        at += 1;
    }
    greeting
};
/// Flags of a frame: more frames follow, its length has 8 bytes, it is a command.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;
/// Maximum size of a frame, in bytes; a peer that only receives never sends more.
const MAX_FRAME: u64 = 8 << 10;
/// Maximum amount that a peer may send before it gets the next message, in bytes.
const MAX_TALK: usize = 128 << 10;
/// Maximum memory for the subscriptions of a peer, in bytes, and the overhead of each.
const MAX_TOPICS: usize = 32 << 10;
const TOPIC: usize = size_of::<Vec<u8>>();
/// Time limit for a new peer to send its subscriptions.
const SUBSCRIBE: Duration = Duration::from_millis(300);

/// Type of a sending socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Socket {
    /// Sends each message to one peer.
    #[default]
    Push,
    /// Sends each message to every peer that has subscribed to it.
    Pub,
}

impl Socket {
    /// Returns the name in the handshake (ZMTP 3.1, `Socket-Type`).
    pub fn name(self) -> &'static str {
        match self {
            Socket::Push => "PUSH",
            Socket::Pub => "PUB",
        }
    }
}

/// A message of one frame, or of two if it has a topic, which subscriptions then match.
#[derive(Clone)]
pub struct Frames {
    pub topic: Option<String>,
    pub body: Bytes,
}

impl Frames {
    /// Returns the first frame.
    fn first(&self) -> &[u8] {
        self.topic.as_deref().map_or(&self.body, str::as_bytes)
    }
}

/// A connection to a receiving socket.
pub struct Peer {
    wire: Wire,
    /// Bytes that were read and are no whole frame yet.
    unread: Vec<u8>,
    /// Subscriptions: the beginnings of the messages that it wants.
    topics: Vec<Vec<u8>>,
    /// True if it answers a PING: version 3.1.
    answers: bool,
    pings: u32,
}

struct Frame {
    flags: u8,
    body: Vec<u8>,
}

impl Peer {
    /// Greets the other side as a socket of this type.
    pub async fn greet(stream: impl Stream + 'static, socket: Socket) -> Result<Peer> {
        let mut wire = Wire::new(stream, Allowance::Request(MAX_TALK));
        wire.write_all(&GREETING).await?;
        let mut theirs = [0; 64];
        wire.read_exact(&mut theirs).await?;
        if theirs[0] != 0xff || theirs[9] & 1 == 0 || theirs[10] < 3 {
            return Err(protocol("it does not support ZMTP 3"));
        }
        if &theirs[12..17] != b"NULL\0" {
            return Err(protocol(
                "it requires a security mechanism; only NULL is supported",
            ));
        }
        let mut peer = Peer {
            wire,
            unread: Vec::new(),
            topics: Vec::new(),
            answers: (theirs[10], theirs[11]) >= (3, 1),
            pings: 0,
        };
        let mut ready = b"\x05READY".to_vec();
        for (name, value) in [("Socket-Type", socket.name()), ("Identity", "")] {
            ready.push(name.len() as u8);
            ready.extend(name.as_bytes());
            ready.extend((value.len() as u32).to_be_bytes());
            ready.extend(value.as_bytes());
        }
        peer.write(COMMAND, &ready).await?;
        let reply = peer.read().await?;
        if let Some(reason) = reply.body.strip_prefix(b"\x05ERROR") {
            let reason = String::from_utf8_lossy(reason.get(1..).unwrap_or_default());
            return Err(protocol(&format!("it refused: {reason}")));
        }
        if reply.flags & COMMAND == 0 || !reply.body.starts_with(b"\x05READY") {
            return Err(protocol("it is not ready"));
        }
        peer.check_type(&reply.body, socket)?;
        if socket == Socket::Pub {
            // A peer that sends nothing wants nothing yet.
            let _ = tokio::time::timeout(SUBSCRIBE, peer.first_topic()).await;
        }
        Ok(peer)
    }

    fn check_type(&self, ready: &[u8], socket: Socket) -> Result<()> {
        let fits: &[&[u8]] = match socket {
            Socket::Push => &[b"PULL"],
            Socket::Pub => &[b"SUB", b"XSUB"],
        };
        let has = |name: &&[u8]| {
            let property = [b"\x0bSocket-Type\0\0\0", &[name.len() as u8][..], name].concat();
            ready
                .windows(property.len())
                .any(|window| window == property)
        };
        if fits.iter().any(has) {
            return Ok(());
        }
        let names = if socket == Socket::Push {
            "PULL"
        } else {
            "SUB"
        };
        Err(protocol(&format!("its socket is no {names}")))
    }

    /// Returns true if the peer has subscribed to the message, according to what has arrived so far.
    pub async fn wants(&mut self, message: &Frames) -> Result<bool> {
        while let Some(bytes) = self.arrived().await? {
            self.unread.extend(bytes);
            while let Some(frame) = self.frame()? {
                self.take(&frame)?;
            }
        }
        let first = message.first();
        Ok(self.topics.iter().any(|topic| first.starts_with(topic)))
    }

    /// Sends a message, and waits until it has arrived.
    pub async fn send(&mut self, message: &Frames) -> Result<()> {
        if let Some(topic) = &message.topic {
            self.write(MORE, topic.as_bytes()).await?;
        }
        self.write(0, &message.body).await?;
        if !self.answers {
            return Ok(());
        }
        self.pings += 1;
        let context = self.pings.to_be_bytes();
        let ping = [b"\x04PING\0\0", &context[..]].concat();
        self.write(COMMAND, &ping).await?;
        let pong = [b"\x04PONG", &context[..]].concat();
        loop {
            let frame = self.read().await?;
            if frame.flags & COMMAND != 0 && frame.body == pong {
                return Ok(());
            }
            self.take(&frame)?;
        }
    }

    async fn first_topic(&mut self) -> Result<()> {
        while self.topics.is_empty() {
            let frame = self.read().await?;
            self.take(&frame)?;
        }
        Ok(())
    }

    /// Handles a frame that the other side sends unasked: a subscription, or its end.
    fn take(&mut self, frame: &Frame) -> Result<()> {
        let command = frame.flags & COMMAND != 0;
        let (on, topic) = match frame.body.as_slice() {
            // As a command in 3.1, as a message in 3.0.
            [9, rest @ ..] if command && rest.starts_with(b"SUBSCRIBE") => (true, &rest[9..]),
            [6, rest @ ..] if command && rest.starts_with(b"CANCEL") => (false, &rest[6..]),
            [1, topic @ ..] if !command => (true, topic),
            [0, topic @ ..] if !command => (false, topic),
            _ => return Ok(()),
        };
        if on {
            let taken: usize = self.topics.iter().map(|topic| TOPIC + topic.len()).sum();
            if taken + TOPIC + topic.len() > MAX_TOPICS {
                return Err(protocol("it has too many subscriptions"));
            }
            self.topics.push(topic.to_vec());
        } else if let Some(at) = self.topics.iter().position(|known| known == topic) {
            self.topics.remove(at);
        }
        Ok(())
    }

    async fn write(&mut self, flags: u8, body: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(body.len() + 9);
        match u8::try_from(body.len()) {
            Ok(length) => frame.extend([flags, length]),
            Err(_) => {
                frame.push(flags | LONG);
                frame.extend((body.len() as u64).to_be_bytes());
            }
        }
        frame.extend(body);
        self.wire.write_all(&frame).await?;
        self.wire.flush().await
    }

    async fn read(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.frame()? {
                return Ok(frame);
            }
            if self.wire.read_buf(&mut self.unread).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Returns the next whole frame of what was read.
    fn frame(&mut self) -> Result<Option<Frame>> {
        let (flags, length, begin) = match self.unread.as_slice() {
            [flags, rest @ ..] if flags & LONG != 0 => match rest.first_chunk() {
                Some(length) => (*flags, u64::from_be_bytes(*length), 9),
                None => return Ok(None),
            },
            [flags, length, ..] => (*flags, u64::from(*length), 2),
            _ => return Ok(None),
        };
        if length > MAX_FRAME || flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(protocol("it sent something that a receiver must not send"));
        }
        let end = begin + length as usize;
        if self.unread.len() < end {
            return Ok(None);
        }
        let body = self.unread[begin..end].to_vec();
        self.unread.drain(..end);
        Ok(Some(Frame { flags, body }))
    }

    /// Returns the bytes that are available now, without waiting.
    async fn arrived(&mut self) -> Result<Option<Vec<u8>>> {
        let mut piece = [0; 512];
        let mut buffer = ReadBuf::new(&mut piece);
        let wire = &mut self.wire;
        let read = std::future::poll_fn(|context| {
            let polled = Pin::new(&mut *wire).poll_read(context, &mut buffer);
            Poll::Ready(match polled {
                Poll::Ready(result) => Some(result),
                Poll::Pending => None,
            })
        });
        match read.await {
            None => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(())) if buffer.filled().is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            Some(Ok(())) => Ok(Some(buffer.filled().to_vec())),
        }
    }
}

fn protocol(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_owned())
}
