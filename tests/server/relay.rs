//! A TCP port in front of a unix socket, which records every byte that goes towards the socket.
//!
//! Real servers listen on a socket in the sandbox, where no other test can take the address, and
//! are reached through a relay, whose record shows what was on the wire whatever the server says.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub struct Relay {
    port: u16,
    /// What each connection brought, in the order of the connections.
    record: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Relay {
    pub fn to(socket: PathBuf) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Mutex::new(Vec::new()));
        let shared = record.clone();
        std::thread::spawn(move || {
            for (connection, client) in listener.incoming().enumerate() {
                shared.lock().unwrap().push(Vec::new());
                let (socket, record) = (socket.clone(), shared.clone());
                std::thread::spawn(move || pass(client.unwrap(), &socket, connection, &record));
            }
        });
        Relay { port, record }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/events", self.port)
    }

    pub fn record(&self) -> Vec<Vec<u8>> {
        self.record.lock().unwrap().clone()
    }
}

/// Passes bytes both ways until both sides have ended.
fn pass(client: TcpStream, socket: &Path, connection: usize, record: &Mutex<Vec<Vec<u8>>>) {
    client.set_nodelay(true).unwrap();
    // A server that went away closes the connection, as it would without a relay.
    let Ok(server) = UnixStream::connect(socket) else {
        return;
    };
    let (mut from_server, mut to_client) =
        (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Write);
    });
    let (mut client, mut server) = (client, server);
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = client.read(&mut piece) {
        record.lock().unwrap()[connection].extend(&piece[..length]);
        // What the server no longer reads was on the wire all the same.
        let _ = server.write_all(&piece[..length]);
    }
    let _ = server.shutdown(Shutdown::Write);
}
