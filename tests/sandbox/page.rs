//! A running `serve`, and a client that says exactly what it is given.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Child;

use super::{PATIENCE, Sandbox};

/// The page of a sandbox's spool, stopped when dropped.
pub struct Served {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`, or the path of a socket.
    pub place: String,
    pub token: Option<String>,
    /// The line that it printed.
    pub line: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Served {
    /// Starts it on the one spool of the sandbox, on a free port unless the arguments say where.
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> Served {
        let mut all = vec!["serve"];
        if !arguments.contains(&"--socket") && !arguments.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        let mut child = sandbox.command_on_spool(&all).spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let said = line.strip_prefix("ansible-notify: listening on ");
        let said = said.expect(&line).trim_end();
        let (name, token) = match said.split_once("/#token=") {
            Some((name, token)) => (name, Some(token.to_owned())),
            None => (said.split(';').next().unwrap(), None),
        };
        let place = name.split_once("://").map_or(name, |(_, place)| place);
        Served {
            child,
            place: place.to_owned(),
            token,
            line: line.clone(),
        }
    }

    pub fn port(&self) -> &str {
        self.place.rsplit(':').next().unwrap()
    }

    /// Says these bytes on a connection of their own, and returns what comes until it is closed.
    pub fn talk(&self, said: &[u8]) -> String {
        if self.place.starts_with('/') {
            let stream = UnixStream::connect(&self.place).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            return exchange(stream, said);
        }
        let stream = TcpStream::connect(&self.place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, said)
    }

    /// Asks with these lines of headers and no others.
    pub fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let said = format!(
            "{method} {target} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        answer(&self.talk(said.as_bytes()))
    }

    /// Asks as a program that has the token does.
    pub fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &self.allowed(), "")
    }

    /// The headers of a request that is answered.
    pub fn allowed(&self) -> String {
        let token = self.token.as_deref().unwrap_or_default();
        format!("{}Authorization: Bearer {token}\r\n", self.host())
    }

    pub fn host(&self) -> String {
        match self.place.starts_with('/') {
            true => "Host: localhost\r\n".to_owned(),
            false => format!("Host: {}\r\n", self.place),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Already stopped where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(mut stream: impl Read + Write, said: &[u8]) -> String {
    // It may be closed before all is said.
    let _ = stream.write_all(said);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads an answer that ends with its connection.
pub fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").expect(text);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    });
    Answer {
        status: status.parse().unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}
