//! A TCP server that goes wrong as it is told until it is mended; from then on it answers 200. All of it
//! at one address, so that what waits for it meets it again.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{listen, sockopt};

use super::{Request, closed_socket, read_request};

/// What is wrong.
pub enum Fault {
    /// Nobody listens.
    Refused,
    /// A connection is neither taken nor refused, as where something on the way drops all packets.
    BlackHole,
    /// Takes connections and reads, and says nothing.
    Silent,
    /// Resets the connection when it has read so many bytes of the request.
    ResetAfter(usize),
    /// Reads the request, says these bytes, and resets the connection.
    ThenReset(Vec<u8>),
    /// Reads the request, says these bytes, and ends the connection.
    ThenEnd(Vec<u8>),
    /// Says these bytes one by one, one a second.
    Drip(Vec<u8>),
    /// Says the first bytes, and then the others without end.
    Endless(Vec<u8>, Vec<u8>),
    /// An orderly answer that depends on the request.
    Answer(fn(&Request) -> String),
}

pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Held until it is mended: the socket on which nobody listens yet, and who fills its queue.
    closed: Mutex<Option<OwnedFd>>,
    filler: Mutex<Option<TcpStream>>,
}

struct Shared {
    fault: Fault,
    mended: AtomicBool,
    /// The requests that were read whole and answered with a success, or the beginning of one.
    arrived: Mutex<Vec<Request>>,
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl FaultServer {
    pub fn start(fault: Fault) -> FaultServer {
        let (socket, address) = closed_socket();
        let server = FaultServer {
            address,
            shared: Arc::new(Shared {
                fault,
                mended: AtomicBool::new(false),
                arrived: Mutex::default(),
            }),
            closed: Mutex::new(None),
            filler: Mutex::new(None),
        };
        match server.shared.fault {
            Fault::Refused => *server.closed.lock().unwrap() = Some(socket),
            Fault::BlackHole => {
                // The queue has room for one connection; the packets of all others are dropped.
                listen(&socket, 0).unwrap();
                *server.filler.lock().unwrap() = Some(TcpStream::connect(address).unwrap());
                *server.closed.lock().unwrap() = Some(socket);
            }
            _ => server.serve(socket),
        }
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// The fault ends.
    pub fn mend(&self) {
        self.shared.mended.store(true, Ordering::Relaxed);
        self.filler.lock().unwrap().take();
        if let Some(socket) = self.closed.lock().unwrap().take() {
            self.serve(socket);
        }
    }

    pub fn arrived(&self) -> Vec<Request> {
        self.shared.arrived.lock().unwrap().clone()
    }

    fn serve(&self, socket: OwnedFd) {
        listen(&socket, 128).unwrap();
        let listener = TcpListener::from(socket);
        let shared = self.shared.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.converse(stream.unwrap(), connection));
            }
        });
    }
}

impl Shared {
    fn converse(&self, mut stream: TcpStream, connection: usize) {
        stream.set_nodelay(true).unwrap();
        if let (Fault::ResetAfter(length), false) = (&self.fault, self.mended()) {
            let _ = stream.read_exact(&mut vec![0; *length]);
            return reset(stream);
        }
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader, connection) {
            // A client that does not wait for the end of it is what the test is about.
            let goes_on = self.answer(&mut stream, request);
            if !goes_on {
                return;
            }
        }
    }

    fn mended(&self) -> bool {
        self.mended.load(Ordering::Relaxed)
    }

    /// Answers as the fault wants it; whether the connection goes on.
    fn answer(&self, stream: &mut TcpStream, request: Request) -> bool {
        if self.mended() {
            return self.say(stream, GOOD, request);
        }
        match &self.fault {
            Fault::Answer(answer) => {
                let answer = answer(&request);
                return self.say(stream, answer.as_bytes(), request);
            }
            Fault::ThenEnd(bytes) => {
                self.say(stream, bytes, request);
            }
            Fault::ThenReset(bytes) => {
                self.say(stream, bytes, request);
                // What was said has to be on the other side before it is taken back.
                std::thread::sleep(Duration::from_millis(50));
                reset(stream.try_clone().unwrap());
            }
            Fault::Drip(bytes) => {
                for byte in bytes {
                    if stream.write_all(&[*byte]).is_err() {
                        break;
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            Fault::Endless(first, then) => {
                self.say(stream, first, request);
                while stream.write_all(then).is_ok() {
                    // No more than makes the point: the tests share the machine.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            // Until the client has enough of it.
            _ => drop(stream.read(&mut [0])),
        }
        false
    }

    fn say(&self, stream: &mut TcpStream, bytes: &[u8], request: Request) -> bool {
        if bytes.starts_with(b"HTTP/1.1 2") {
            self.arrived.lock().unwrap().push(request);
        }
        stream.write_all(bytes).is_ok()
    }
}

/// Ends a connection with a reset in place of an end.
fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}
