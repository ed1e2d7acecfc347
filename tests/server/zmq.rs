//! ZeroMQ's receiving sockets, as far as a test wants them to behave.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// The greeting of ZMTP 3.1.
pub fn greeting() -> Vec<u8> {
    let mut greeting = vec![0; 64];
    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// The command that says which socket it is.
pub fn ready(socket: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    body.extend((socket.len() as u32).to_be_bytes());
    body.extend(socket.as_bytes());
    [&[4, body.len() as u8][..], &body].concat()
}

/// A subscription to everything that begins so.
pub fn subscribe(topic: &[u8]) -> Vec<u8> {
    let body = [b"\x09SUBSCRIBE", topic].concat();
    [&[4, body.len() as u8][..], &body].concat()
}

/// Comes to a bound socket, as soon as it is there, and says this.
pub fn come(port: u16, said: &[u8]) -> TcpStream {
    for _ in 0..1000 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.write_all(said).unwrap();
            return stream;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody listens on port {port}");
}

/// Receives messages on a connection until it ends.
pub fn receive(mut stream: TcpStream) -> Vec<String> {
    let mut messages = Vec::new();
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs).unwrap();
    while let Some((flags, body)) = frame(&mut stream) {
        if flags & 4 == 0 {
            messages.push(String::from_utf8(body).unwrap());
        } else if let Some(context) = body.strip_prefix(b"\x04PING\0\0") {
            let pong = [b"\x04PONG", context].concat();
            let pong = [&[4, pong.len() as u8][..], &pong].concat();
            stream.write_all(&pong).unwrap();
        }
    }
    messages
}

fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut flags = [0];
    stream.read_exact(&mut flags).ok()?;
    let length = if flags[0] & 2 == 0 {
        let mut length = [0];
        stream.read_exact(&mut length).ok()?;
        u64::from(length[0])
    } else {
        let mut length = [0; 8];
        stream.read_exact(&mut length).ok()?;
        u64::from_be_bytes(length)
    };
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).ok()?;
    Some((flags[0], body))
}
