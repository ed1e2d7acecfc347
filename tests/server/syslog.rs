//! Receivers of logs: a real rsyslog, a real systemd journal, and one that speaks RELP as badly as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::sandbox::{PATIENCE, Sandbox};

/// Rsyslog with all of its inputs; its certificate is `server.pem` and `server.key` of the sandbox.
pub struct Rsyslog {
    process: Option<Child>,
    config: PathBuf,
    out: PathBuf,
    internal: PathBuf,
    /// Ports of the inputs, in the order of [`SCHEMES`].
    ports: [u16; 5],
}

/// Schemes of the addresses at which it listens.
pub const SCHEMES: [&str; 5] = ["udp", "tcp", "tls", "relp", "relps"];

impl Rsyslog {
    /// Starts it with a limit of its messages, in bytes.
    pub fn start(sandbox: &Sandbox, limit: usize) -> Rsyslog {
        let ports = free_ports();
        let [udp, tcp, tls, relp, relps] = ports;
        let root = sandbox.root().display();
        let config = format!(
            r#"global(workDirectory="{root}" maxMessageSize="{limit}" processInternalMessages="on"
  defaultNetstreamDriverCAFile="{root}/ca.pem" defaultNetstreamDriverCertFile="{root}/server.pem"
  defaultNetstreamDriverKeyFile="{root}/server.key")
module(load="imudp") module(load="imtcp") module(load="imrelp")
template(name="whole" type="string" string="%jsonmesg%\n")
ruleset(name="kept") {{ action(type="omfile" file="{root}/kept.json" template="whole") }}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="kept")
input(type="imtcp" address="127.0.0.1" port="{tcp}" ruleset="kept")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="kept" streamdriver.name="gtls"
  streamdriver.mode="1" streamdriver.authmode="anon")
input(type="imrelp" address="127.0.0.1" port="{relp}" ruleset="kept")
input(type="imrelp" address="127.0.0.1" port="{relps}" ruleset="kept" tls="on" tls.authmode="certvalid"
  tls.cacert="{root}/ca.pem" tls.mycert="{root}/server.pem" tls.myprivkey="{root}/server.key"
  tls.permittedpeer=["localhost"])
action(type="omfile" file="{root}/internal.log")
"#
        );
        let mut server = Rsyslog {
            process: None,
            config: sandbox.file("rsyslog.conf", config),
            out: sandbox.path("kept.json"),
            internal: sandbox.path("internal.log"),
            ports,
        };
        server.run();
        server
    }

    /// Runs it again after it was killed.
    pub fn run(&mut self) {
        let root = self.config.parent().unwrap();
        let mut process = Command::new("rsyslogd")
            .args(["-n", "-i", "NONE", "-f"])
            .arg(&self.config)
            .current_dir(root)
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("rsyslogd cannot be run; is it installed? {error}"));
        let ports = self.ports;
        until("rsyslogd listens", || {
            let ended = process.try_wait().unwrap();
            let said = std::fs::read_to_string(&self.internal).unwrap_or_default();
            assert!(ended.is_none(), "rsyslogd: {said}");
            // A connection that says nothing would be an error in its log.
            let listens = |port| TcpListener::bind(("127.0.0.1", port)).is_err();
            UdpSocket::bind(("127.0.0.1", ports[0])).is_err()
                && ports[1..].iter().copied().all(listens)
        });
        self.process = Some(process);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn url(&self, scheme: &str) -> String {
        let at = SCHEMES.iter().position(|known| *known == scheme).unwrap();
        format!("{scheme}://localhost:{}", self.ports[at])
    }

    /// The messages that it has, as it understood them, once there are as many.
    #[track_caller]
    pub fn messages(&self, count: usize) -> Vec<Value> {
        let read = || {
            let text = std::fs::read_to_string(&self.out).unwrap_or_default();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            lines.collect::<Vec<Value>>()
        };
        until("rsyslogd has the messages", || read().len() >= count);
        read()
    }

    /// What it says of itself.
    pub fn internal(&self) -> String {
        std::fs::read_to_string(&self.internal).unwrap_or_default()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A systemd journal of its own: a namespace, in memory.
pub struct Journald {
    process: Child,
    namespace: String,
}

impl Journald {
    pub fn start() -> Journald {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("ansible-notify-{}-{number}", std::process::id());
        let folder = Journald::folder(&namespace);
        std::fs::create_dir_all(&folder).unwrap();
        let process = Command::new("/lib/systemd/systemd-journald")
            .arg(&namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("systemd-journald cannot be run; is it installed? {error}")
            });
        let journal = Journald { process, namespace };
        until("systemd-journald listens", || {
            std::os::unix::net::UnixDatagram::unbound()
                .unwrap()
                .connect(journal.socket())
                .is_ok()
        });
        journal
    }

    fn folder(namespace: &str) -> PathBuf {
        format!("/run/systemd/journal.{namespace}").into()
    }

    pub fn socket(&self) -> PathBuf {
        Journald::folder(&self.namespace).join("socket")
    }

    /// The entries that match, once there are as many.
    #[track_caller]
    pub fn entries(&self, matches: &str, count: usize) -> Vec<Value> {
        let read = || {
            let output = Command::new("journalctl")
                .args([
                    "--namespace",
                    &self.namespace,
                    "-o",
                    "json",
                    "--all",
                    matches,
                ])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.collect::<Vec<Value>>()
        };
        until("the journal has the entries", || read().len() >= count);
        read()
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(Journald::folder(&self.namespace));
        for base in ["/run/log/journal", "/var/log/journal"] {
            for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
                if entry
                    .file_name()
                    .to_string_lossy()
                    .ends_with(&self.namespace)
                {
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
    }
}

/// What a [`Relp`] does with a message.
#[derive(Clone, Copy)]
pub enum Answer {
    /// It has it.
    Taken,
    /// It refuses it with this text.
    Refused(&'static str),
    /// It has it, and the connection ends without an answer.
    Closed,
    /// Nothing is answered until this many messages wait; then all are.
    Together(usize),
}

/// A server that speaks RELP.
pub struct Relp {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Relp {
    /// Answers each message as `answer` says for its number, from 0.
    pub fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Relp {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (taken.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, answer) = (kept.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &kept, &*answer));
            }
        });
        Relp { port, taken }
    }

    pub fn url(&self) -> String {
        format!("relp://127.0.0.1:{}", self.port)
    }

    /// The messages that it has got.
    pub fn taken(&self) -> Vec<String> {
        self.taken.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, taken: &Mutex<Vec<String>>, answer: &dyn Fn(usize) -> Answer) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut held: Vec<String> = Vec::new();
    while let Some((number, command, data)) = frame(&mut input) {
        let mut say = |number: &str, text: &str| {
            let _ = writeln!(stream, "{number} rsp {} {text}", text.len());
        };
        match command.as_str() {
            "open" => {
                assert!(data.contains("relp_version=0") && data.contains("commands=syslog"));
                say(&number, "200 OK\nrelp_version=0\ncommands=syslog");
            }
            "close" => {
                let _ = writeln!(stream, "{number} rsp 0\n0 serverclose 0");
                return;
            }
            "syslog" => {
                let at = {
                    let mut taken = taken.lock().unwrap();
                    taken.push(data);
                    taken.len() - 1
                };
                match answer(at) {
                    Answer::Taken => say(&number, "200 OK"),
                    Answer::Refused(text) => say(&number, text),
                    Answer::Closed => return,
                    Answer::Together(count) => {
                        held.push(number);
                        if held.len() == count {
                            // Not in their order: an answer names what it is for.
                            held.drain(..).rev().for_each(|one| say(&one, "200 OK"));
                        }
                    }
                }
            }
            other => panic!("unknown command {other}"),
        }
    }
}

/// Reads a frame; None at the end.
fn frame(input: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let mut head = || {
        let mut word = Vec::new();
        loop {
            let mut byte = [0];
            input.read_exact(&mut byte).ok()?;
            match byte[0] {
                b' ' | b'\n' => return Some((String::from_utf8(word).ok()?, byte[0])),
                byte => word.push(byte),
            }
        }
    };
    let ((number, _), (command, _), (length, last)) = (head()?, head()?, head()?);
    let length: usize = length.parse().unwrap();
    let mut data = vec![0; length];
    if last == b' ' {
        input.read_exact(&mut data).ok()?;
        let mut end = Vec::new();
        input.read_until(b'\n', &mut end).ok()?;
        assert_eq!(end, b"\n", "the length of a frame is wrong");
    }
    Some((number, command, String::from_utf8(data).unwrap()))
}

fn free_ports() -> [u16; 5] {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let streams: [TcpListener; 4] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [tcp, tls, relp, relps] = streams
        .each_ref()
        .map(|stream| stream.local_addr().unwrap().port());
    [
        datagrams.local_addr().unwrap().port(),
        tcp,
        tls,
        relp,
        relps,
    ]
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
