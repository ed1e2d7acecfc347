//! A proxy for CONNECT, which records the head of every request it gets.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Lets everybody through, or only those who show this value of `Proxy-Authorization`.
    pub fn start(credentials: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = heads.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let heads = shared.clone();
                std::thread::spawn(move || tunnel(client.unwrap(), credentials, &heads));
            }
        });
        Proxy { address, heads }
    }

    /// Its URL, with `user:password@` or nothing before the address.
    pub fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, credentials: Option<&str>, heads: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    heads.lock().unwrap().push(head.clone());
    let shown = |credentials| head.lines().any(|line| line.ends_with(credentials));
    if !credentials.is_none_or(shown) {
        let _ = client.write_all(b"HTTP/1.1 407 Denied\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let target = head.split_whitespace().nth(1).unwrap();
    let mut server = TcpStream::connect(target).unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from_server, mut to_client) =
        (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut reader, &mut server);
    let _ = server.shutdown(Shutdown::Write);
}
