//! RELP, the Reliable Event Logging Protocol (rsyslog, "librelp: RELP specification"): each message is answered once
//! the receiver has it. Messages of several hosts are on their way at once.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::{Arc, Mutex as Shared, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::address::Address;
use super::socket;
use crate::failure::Failure;
use crate::net::response::interrupted;
use crate::net::wire::{Allowance, Wire, dial};

/// Number of messages without an answer that receivers accept.
const WINDOW: usize = 128;
/// Highest number of a transaction; then they begin again.
const MAX_NUMBER: u32 = 999_999_999;
/// Limits of an answer, and of what a receiver may send without being asked, in bytes.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TALK: usize = 256 << 10;
/// Time limit of the answer to the end of a session.
const GOODBYE: Duration = Duration::from_secs(1);

/// Sender of messages with answers.
pub struct Relp {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    session: Mutex<Option<Session>>,
    window: Semaphore,
}

/// An open session.
struct Session {
    wire: WriteHalf<Wire>,
    waiting: Waiting,
    /// Number of the last transaction.
    number: u32,
    reader: JoinHandle<()>,
}

/// Transactions without an answer, by number.
type Waiting = Arc<Shared<HashMap<u32, oneshot::Sender<Answer>>>>;

/// Answer to a transaction: a code such as 200, and a text.
struct Answer {
    code: u16,
    text: String,
}

impl Relp {
    /// Creates a sender that is not connected yet.
    pub fn new(address: &Address, tls: Option<Arc<ClientConfig>>) -> Relp {
        Relp {
            host: address.host.clone(),
            port: address.port,
            tls,
            session: Mutex::default(),
            window: Semaphore::new(WINDOW),
        }
    }

    /// Sends a message, and waits for its answer.
    pub async fn send(&self, message: &[u8]) -> std::result::Result<(), Failure> {
        let failed = |error: Error| Failure::retry(interrupted(&error));
        let _place = self.window.acquire().await;
        let answer = self.begin(message).await.map_err(failed)?;
        let answer = answer.await.map_err(|_| failed(closed()))?;
        match answer.code {
            200 => Ok(()),
            500..=599 => Err(Failure::retry(answer.refusal())),
            _ => Err(Failure::permanent(answer.refusal())),
        }
    }

    /// Opens a session, and closes it again.
    pub async fn reach(&self) -> std::result::Result<(), Failure> {
        match self.open().await {
            Ok(session) => session.close().await,
            Err(error) => return Err(Failure::retry(interrupted(&error))),
        }
        Ok(())
    }

    /// Closes the session, if there is one.
    pub async fn close(&self) {
        let session = self.session.lock().await.take();
        if let Some(session) = session {
            session.close().await;
        }
    }

    /// Drops the session if it is not in use, because an answer did not come in time.
    pub fn give_up(&self) {
        if let Ok(mut session) = self.session.try_lock() {
            session.take();
        }
    }

    /// Writes a message, and returns the place where its answer arrives.
    async fn begin(&self, message: &[u8]) -> Result<oneshot::Receiver<Answer>> {
        let mut slot = self.session.lock().await;
        // While it is being written, a message is in nobody's session: if that is given up, so is the session.
        let known = slot.take().filter(|session| !session.reader.is_finished());
        let is_known = known.is_some();
        let mut session = match known {
            Some(session) => session,
            None => self.open().await?,
        };
        let mut begun = session.begin("syslog", message).await;
        if begun.is_err() && is_known {
            session = self.open().await?;
            begun = session.begin("syslog", message).await;
        }
        *slot = begun.is_ok().then_some(session);
        begun
    }

    async fn open(&self) -> Result<Session> {
        let allowance = Allowance::Request(MAX_TALK);
        let wire = dial(&self.host, self.port, self.tls.clone(), allowance).await?;
        let (reading, writing) = tokio::io::split(wire);
        let waiting = Waiting::default();
        let reader = tokio::spawn(read(reading, waiting.clone()));
        let mut session = Session {
            wire: writing,
            waiting,
            number: 0,
            reader,
        };
        let offers = concat!(
            "relp_version=0\nrelp_software=ansible-notify,",
            env!("CARGO_PKG_VERSION"),
            "\ncommands=syslog"
        );
        let answer = session.begin("open", offers.as_bytes()).await?;
        let answer = answer.await.map_err(|_| closed())?;
        match answer.code {
            200 => Ok(session),
            _ => Err(Error::other(answer.refusal())),
        }
    }
}

impl Session {
    async fn begin(&mut self, command: &str, data: &[u8]) -> Result<oneshot::Receiver<Answer>> {
        let (sender, receiver) = oneshot::channel();
        self.number = self.number % MAX_NUMBER + 1;
        lock(&self.waiting).insert(self.number, sender);
        let mut frame = format!("{} {command} {}", self.number, data.len()).into_bytes();
        if !data.is_empty() {
            frame.push(b' ');
            frame.extend_from_slice(data);
        }
        frame.push(b'\n');
        self.wire.write_all(&frame).await?;
        self.wire.flush().await?;
        if self.reader.is_finished() {
            return Err(closed());
        }
        Ok(receiver)
    }

    /// Tells the receiver that nothing follows, and waits until it has understood: otherwise it logs an error.
    async fn close(mut self) {
        let closed = async {
            if let Ok(answer) = self.begin("close", &[]).await {
                let _ = answer.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, closed).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
        socket::part(&mut self.wire);
    }
}

impl Answer {
    fn of(data: &[u8]) -> Option<Answer> {
        let text = String::from_utf8_lossy(data);
        let line = text.lines().next().unwrap_or_default();
        let (code, text) = line.split_once(' ').unwrap_or((line, ""));
        Some(Answer {
            code: code.parse().ok()?,
            text: text.to_owned(),
        })
    }

    fn refusal(&self) -> String {
        let text = format!("the receiver answered {} {}", self.code, self.text);
        text.trim_end().to_owned()
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, HashMap<u32, oneshot::Sender<Answer>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    ErrorKind::UnexpectedEof.into()
}

/// Passes on answers until the connection ends; those without one learn of the end.
async fn read(mut wire: ReadHalf<Wire>, waiting: Waiting) {
    let mut unread = Vec::new();
    'reading: while matches!(wire.read_buf(&mut unread).await, Ok(count) if count > 0) {
        loop {
            match frame(&unread) {
                Ok(None) => break,
                Ok(Some((answered, length))) => {
                    unread.drain(..length);
                    let Some((number, answer)) = answered else {
                        continue;
                    };
                    let sender = lock(&waiting).remove(&number);
                    sender.map(|sender| sender.send(answer));
                }
                Err(_) => break 'reading,
            }
        }
    }
    lock(&waiting).clear();
}

/// Number of a transaction, its answer, and the length of the frame; nothing answered by other frames.
type Frame = (Option<(u32, Answer)>, usize);

/// Reads the first frame, `TXNR COMMAND DATALEN[ DATA]` and a line break; None if it is not whole yet.
fn frame(bytes: &[u8]) -> Result<Option<Frame>> {
    let wrong = || Error::from(ErrorKind::InvalidData);
    let end = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\n'));
        end.map(|end| from + end)
    };
    let ends = end(0).and_then(|first| Some((first, end(first + 1)?)));
    let ends = ends.and_then(|(first, second)| Some((first, second, end(second + 1)?)));
    let Some((first, second, third)) = ends else {
        return if bytes.len() > 64 {
            Err(wrong())
        } else {
            Ok(None)
        };
    };
    let text = |from: usize, to: usize| std::str::from_utf8(&bytes[from..to]).map_err(|_| wrong());
    let number: u32 = text(0, first)?.parse().map_err(|_| wrong())?;
    let length: usize = text(second + 1, third)?.parse().map_err(|_| wrong())?;
    if length > MAX_ANSWER {
        return Err(wrong());
    }
    // Without data, the line break may follow at once.
    let start = if bytes[third] == b' ' {
        third + 1
    } else {
        third
    };
    let Some(last) = bytes.get(start + length) else {
        return Ok(None);
    };
    let command = text(first + 1, second)?;
    if *last != b'\n' || command == "serverclose" {
        return Err(wrong());
    }
    let answer = Answer::of(&bytes[start..start + length]).filter(|_| command == "rsp");
    Ok(Some((
        answer.map(|answer| (number, answer)),
        start + length + 1,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        let said = "200 OK\nrelp_version=0\nrelp_software=librelp,1.11.0,http://librelp.adiscon.com\ncommands=syslog";
        let first = format!("1 rsp {} {said}\n", said.len());
        let bytes = format!("{first}2 rsp 6 200 OK\n").into_bytes();
        for end in 0..first.len() {
            assert!(matches!(frame(&bytes[..end]), Ok(None)), "{end}");
        }
        let (answered, length) = frame(&bytes).ok().flatten().unwrap();
        let (number, answer) = answered.unwrap();
        assert_eq!((number, answer.code, length), (1, 200, first.len()));
        let (answered, _) = frame(b"7 rsp 14 500 not enough\n").ok().flatten().unwrap();
        let answer = answered.unwrap().1;
        assert_eq!(answer.refusal(), "the receiver answered 500 not enough");
        let (answered, length) = frame(b"8 rsp 0\n").ok().flatten().unwrap();
        assert!(answered.is_none() && length == 8);
        for wrong in [
            &b"0 serverclose 0\n"[..],
            b"x rsp 6 200 OK\n",
            b"7 rsp 5 200 OK\n",
            &[b'1'; 100],
        ] {
            assert!(frame(wrong).is_err());
        }
    }
}
