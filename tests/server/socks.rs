//! A SOCKS5 proxy (RFC 1928), without a login or with a name and a password (RFC 1929).

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub struct Socks {
    address: String,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// Connects to `server`, whatever it is asked for, those who show this login.
    pub fn start(server: &str, login: Option<(&'static str, &'static str)>) -> Socks {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let targets = Arc::new(Mutex::new(Vec::new()));
        let (shared, server) = (targets.clone(), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (targets, server) = (shared.clone(), server.clone());
                std::thread::spawn(move || serve(client.unwrap(), &server, login, &targets));
            }
        });
        Socks { address, targets }
    }

    /// Its URL, with `user:password@` or nothing before the address.
    pub fn url(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}{}", self.address)
    }

    /// The hosts that it was asked for.
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap().clone()
    }
}

fn bytes(client: &mut TcpStream, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).ok().map(|()| bytes)
}

fn text(client: &mut TcpStream) -> Option<String> {
    let length = bytes(client, 1)?[0];
    String::from_utf8(bytes(client, length.into())?).ok()
}

fn serve(
    mut client: TcpStream,
    server: &str,
    login: Option<(&str, &str)>,
    targets: &Mutex<Vec<String>>,
) -> Option<()> {
    let methods = bytes(&mut client, 2)?[1];
    bytes(&mut client, methods.into())?;
    if let Some((user, password)) = login {
        client.write_all(&[5, 2]).ok()?;
        bytes(&mut client, 1)?;
        let shown = (text(&mut client)?, text(&mut client)?);
        let good = (shown.0.as_str(), shown.1.as_str()) == (user, password);
        client.write_all(&[1, u8::from(!good)]).ok()?;
        if !good {
            return None;
        }
    } else {
        client.write_all(&[5, 0]).ok()?;
    }
    let target = match bytes(&mut client, 4)?[3] {
        3 => text(&mut client)?,
        _ => bytes(&mut client, 4)?
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join("."),
    };
    bytes(&mut client, 2)?;
    targets.lock().unwrap().push(target);
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let mut upstream = TcpStream::connect(server).ok()?;
    let (mut back, mut answers) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut client, &mut upstream);
    let _ = upstream.shutdown(Shutdown::Write);
    Some(())
}
