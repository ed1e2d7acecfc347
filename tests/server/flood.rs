//! A TCP server that talks without end, as fast as it is listened to.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What it says.
pub struct Talk {
    /// Bytes that it waits for first.
    pub after: usize,
    /// What comes once, and what comes again and again.
    pub first: Vec<u8>,
    pub then: Vec<u8>,
}

impl Talk {
    /// Without a word of the other side.
    pub fn at_once(first: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> Talk {
        Talk {
            after: 0,
            first: first.into(),
            then: then.into(),
        }
    }

    /// As an answer.
    pub fn answer(first: impl Into<Vec<u8>>, then: impl Into<Vec<u8>>) -> Talk {
        Talk {
            after: 1,
            ..Talk::at_once(first, then)
        }
    }

    /// Talks to everybody who comes; gives the port.
    pub fn start(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let times = (64 << 10) / self.then.len().max(1) + 1;
        let talk = Arc::new(Talk {
            then: self.then.repeat(times),
            ..self
        });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let talk = talk.clone();
                std::thread::spawn(move || talk.to(stream.unwrap()));
            }
        });
        port
    }

    fn to(&self, mut stream: TcpStream) {
        // One that takes nothing for so long has had enough.
        let patience = Some(Duration::from_secs(60));
        stream.set_write_timeout(patience).unwrap();
        if self.after > 0 && stream.read(&mut [0; 4096]).is_err() {
            return;
        }
        // It is over when the other side goes away.
        let _ = stream.write_all(&self.first);
        while !self.then.is_empty() && stream.write_all(&self.then).is_ok() {}
        // With nothing to say it waits for the other side to go.
        while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {}
    }
}
