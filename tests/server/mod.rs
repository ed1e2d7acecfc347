//! An HTTP endpoint that records what it gets and answers as it is told, faults included.

pub mod certificates;
pub mod daemon;
pub mod discord;
pub mod elasticsearch;
pub mod fault;
pub mod flood;
pub mod googlechat;
pub mod gotify;
pub mod grafana;
pub mod hipchat;
pub mod irc;
pub mod loki;
pub mod matrix;
pub mod mattermost;
pub mod nats;
pub mod nginx;
pub mod ntfy;
pub mod oauth;
pub mod otlp;
pub mod pagerduty;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod relay;
pub mod rocketchat;
pub mod slack;
pub mod smtp;
pub mod sns;
pub mod socks;
pub mod splunk;
pub mod store;
pub mod syslog;
pub mod teams;
pub mod telegram;
pub mod twilio;
pub mod vendors;
pub mod webex;
pub mod zmq;
pub mod zulip;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, header lines and body.
    Full(u16, &'static str, &'static str),
    /// The same, made for the request.
    Made(u16, String, String),
    /// Bytes as they are, then the end of the connection.
    Raw(&'static [u8]),
    /// Bytes, and then others without end.
    Endless(&'static [u8], &'static [u8]),
    /// The end of the connection without an answer.
    Close,
    /// No answer at all.
    Silence,
    /// An answer of 200 after this time.
    After(Duration),
}

pub const OK: Reply = Reply::Full(200, "", "");

pub fn status(code: u16) -> Reply {
    Reply::Full(code, "", "")
}

/// A reply of JSON.
pub fn json(code: u16, body: &serde_json::Value) -> Reply {
    let content_type = "Content-Type: application/json\r\n";
    Reply::Made(code, content_type.to_owned(), body.to_string())
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers the requests with `replies` in their order, the last one for all that follow.
    pub fn start(replies: impl Into<Vec<Reply>>) -> Server {
        let replies = replies.into();
        let next = AtomicUsize::new(0);
        Server::answering(move |_| {
            let number = next.fetch_add(1, Ordering::Relaxed);
            replies[number.min(replies.len() - 1)].clone()
        })
    }

    /// Answers each request as `answer` says.
    pub fn answering(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = (requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (requests, answer) = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), connection, &requests, &*answer));
            }
        });
        Server { address, requests }
    }

    pub fn url(&self) -> String {
        self.at("/events")
    }

    /// The URL of a path on this server.
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// What the requests brought, as JSON.
    pub fn bodies(&self) -> Vec<serde_json::Value> {
        self.requests().iter().map(Request::json).collect()
    }
}

impl Server {
    /// The requests, once there are `count`.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Request> {
        let deadline = Instant::now() + crate::sandbox::PATIENCE;
        while self.requests.lock().unwrap().len() < count {
            assert!(Instant::now() < deadline, "only {:?}", self.requests());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.requests()
    }
}

/// A socket on which nobody listens, and its address.
pub fn closed_socket() -> (OwnedFd, SocketAddr) {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    (socket, address)
}

/// An address on which nothing listens, and nobody else can while the test runs.
pub fn dead_url() -> String {
    let (socket, address) = closed_socket();
    std::mem::forget(socket);
    format!("http://{address}/events")
}

fn serve(
    stream: TcpStream,
    connection: usize,
    requests: &Mutex<Vec<Request>>,
    make: &dyn Fn(&Request) -> Reply,
) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader, connection) {
        let reply = {
            // One at a time, in the order in which they are recorded.
            let mut requests = requests.lock().unwrap();
            requests.push(request);
            make(&requests[requests.len() - 1])
        };
        // A client that gave up before the answer is part of what is tested.
        if !answer(&mut writer, &reply) {
            return;
        }
    }
}

/// Gives the answer; whether the connection goes on.
fn answer(writer: &mut TcpStream, reply: &Reply) -> bool {
    match reply {
        Reply::Full(code, headers, body) => write_reply(writer, *code, headers, body),
        Reply::Made(code, headers, body) => write_reply(writer, *code, headers, body),
        Reply::Raw(bytes) => {
            let _ = writer.write_all(bytes);
            false
        }
        Reply::Endless(first, then) => {
            let _ = writer.write_all(first);
            while writer.write_all(then).is_ok() {}
            false
        }
        Reply::Close => false,
        Reply::Silence => {
            std::thread::sleep(Duration::from_secs(60));
            false
        }
        Reply::After(delay) => {
            std::thread::sleep(*delay);
            answer(writer, &OK)
        }
    }
}

fn write_reply(writer: &mut TcpStream, code: u16, headers: &str, body: &str) -> bool {
    let length = body.len();
    let text = format!("HTTP/1.1 {code} Status\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    writer.write_all(text.as_bytes()).is_ok()
}

/// The text of a body that is compressed.
fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    let read = GzDecoder::new(body).read_to_string(&mut text);
    read.map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |_| text)
}

fn read_request(reader: &mut BufReader<TcpStream>, connection: usize) -> Option<Request> {
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    // Other protocols have lines of one word.
    let target = words.next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let is_packed = headers.iter().any(|(name, _)| name == "content-encoding");
    let body = match is_packed {
        true => unpacked(&body),
        false => String::from_utf8(body).unwrap(),
    };
    Some(Request {
        method,
        target,
        headers,
        body,
        at: Instant::now(),
        connection,
    })
}
