//! A real IRC server (InspIRCd) with a configuration of its own, and a user who reads along.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

pub struct Inspircd {
    process: Child,
    /// The port in the clear, and the one with TLS.
    pub plain: u16,
    pub tls: u16,
}

/// How long a server or a user has for what is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Inspircd {
    /// Starts a server with this password, where there is one. Its certificate is server.pem and
    /// server.key of the sandbox. Who says too much at once over TLS is thrown out.
    pub fn start(sandbox: &Sandbox, password: &str) -> Inspircd {
        let (plain, tls) = (free_port(), free_port());
        let root = sandbox.root().display();
        let password = match password {
            "" => String::new(),
            password => format!(" password=\"{password}\""),
        };
        let limits = "allow=\"*\" timeout=\"10\" resolvehostnames=\"no\" fakelag=\"no\" hardsendq=\"1M\" \
                      softsendq=\"8192\" recvq=\"8192\" localmax=\"100\" globalmax=\"100\"";
        let config = sandbox.file("inspircd.conf", format!(
            "<server name=\"irc.example\" description=\"test\" network=\"Test\">\n\
             <admin name=\"a\" nick=\"a\" email=\"a@example.com\">\n\
             <module name=\"ssl_gnutls\">\n\
             <sslprofile name=\"tls\" provider=\"gnutls\" certfile=\"{root}/server.pem\" keyfile=\"{root}/server.key\">\n\
             <bind address=\"127.0.0.1\" port=\"{plain}\" type=\"clients\">\n\
             <bind address=\"127.0.0.1\" port=\"{tls}\" type=\"clients\" sslprofile=\"tls\">\n\
             <connect name=\"plain\" port=\"{plain}\" threshold=\"100\" {limits}{password}>\n\
             <connect name=\"tls\" port=\"{tls}\" threshold=\"10\" {limits}{password}>\n\
             <dns server=\"127.0.0.1\" timeout=\"1\">\n<files motd=\"/dev/null\">\n"
        ));
        let process = Command::new("inspircd")
            .arg("--config")
            .arg(config)
            .args(["--nofork", "--nopid", "--nolog", "--runasroot"])
            .current_dir(sandbox.root())
            // Debian has it where an ordinary user's PATH does not look.
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("inspircd cannot be run; is it installed? {error}"));
        let mut server = Inspircd {
            process,
            plain,
            tls,
        };
        until("inspircd listens", || {
            assert_eq!(server.process.try_wait().unwrap(), None, "inspircd ended");
            TcpStream::connect(("127.0.0.1", tls)).is_ok()
        });
        server
    }
}

impl Drop for Inspircd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A user at a server, who keeps every line that comes.
pub struct Reader {
    stream: TcpStream,
    heard: Arc<Mutex<Vec<String>>>,
    asked: usize,
}

impl Reader {
    /// Logs in under a nickname and says these lines, and waits until the server has dealt with them.
    pub fn start(port: u16, nickname: &str, lines: &[&str]) -> Reader {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (mut answers, kept) = (stream.try_clone().unwrap(), heard.clone());
        let incoming = BufReader::new(stream.try_clone().unwrap());
        std::thread::spawn(move || {
            for line in incoming.lines().map_while(Result::ok) {
                if let Some(token) = line.strip_prefix("PING ") {
                    let _ = answers.write_all(format!("PONG {token}\r\n").as_bytes());
                }
                kept.lock().unwrap().push(line);
            }
        });
        let mut reader = Reader {
            stream,
            heard,
            asked: 0,
        };
        reader.say(&format!("NICK {nickname}\r\nUSER {nickname} 0 * :reader"));
        reader.wait_for(&format!(" 001 {nickname} "));
        lines.iter().for_each(|line| reader.say(line));
        reader.settle();
        reader
    }

    fn say(&mut self, line: &str) {
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .unwrap();
    }

    /// Waits until the server has dealt with all that was said to it.
    fn settle(&mut self) {
        self.asked += 1;
        self.say(&format!("PING :asked-{}", self.asked));
        self.wait_for(&format!("PONG irc.example :asked-{}", self.asked));
    }

    fn wait_for(&self, text: &str) {
        until(text, || {
            self.heard
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(text))
        });
    }

    /// What was said so far by PRIVMSG or NOTICE, as `nickname target text`, the server's own left out.
    pub fn messages(&mut self) -> Vec<String> {
        self.settle();
        let heard = self.heard.lock().unwrap();
        let message = |line: &String| {
            let (prefix, rest) = line.strip_prefix(':')?.split_once(' ')?;
            let (nickname, _) = prefix.split_once('!')?;
            let (command, rest) = rest.split_once(' ')?;
            let (target, text) = rest.split_once(" :")?;
            ["PRIVMSG", "NOTICE"]
                .contains(&command)
                .then(|| format!("{nickname} {target} {text}"))
        };
        heard.iter().filter_map(message).collect()
    }

    /// Whether a line with these words came.
    pub fn heard(&self, text: &str) -> bool {
        self.heard
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.contains(text))
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
