//! A real Redis in the sandbox, plain and with TLS; its certificate is `server.pem` and `server.key` of the sandbox.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{PATIENCE, Sandbox};

pub const PASSWORD: &str = "canary-password";

/// A server, which is killed when it is dropped.
pub struct Redis {
    process: Option<Child>,
    root: PathBuf,
    port: u16,
    tls_port: u16,
}

/// An entry of a stream: names and values.
pub type Entry = Vec<(String, String)>;

impl Redis {
    /// Starts it in a sandbox with certificates; every accepted write is on disk.
    pub fn start(sandbox: &Sandbox) -> Redis {
        let listeners = ["127.0.0.1:0"; 2].map(|any| TcpListener::bind(any).unwrap());
        let [port, tls_port] = listeners
            .each_ref()
            .map(|one| one.local_addr().unwrap().port());
        drop(listeners);
        let mut server = Redis {
            process: None,
            root: sandbox.root().to_owned(),
            port,
            tls_port,
        };
        server.run();
        server
    }

    /// Runs it again after it was killed.
    pub fn run(&mut self) {
        let settings = format!(
            "bind 127.0.0.1\nport {}\ntls-port {}\ntls-cert-file server.pem\ntls-key-file server.key\n\
             tls-ca-cert-file ca.pem\ntls-auth-clients no\nrequirepass {PASSWORD}\nappendonly yes\n\
             appendfsync always\nsave \"\"\nlogfile redis.log\n",
            self.port, self.tls_port
        );
        std::fs::write(self.root.join("redis.conf"), settings).unwrap();
        let spawned = Command::new("redis-server")
            .arg("redis.conf")
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = spawned
            .unwrap_or_else(|error| panic!("redis-server cannot be run; is it installed? {error}"));
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while self.ask(&["PING"]) != ["PONG"] {
            let log = || std::fs::read_to_string(self.root.join("redis.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "redis-server: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://localhost:{}", self.port)
    }

    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port)
    }

    /// The lines of its answer to a command.
    pub fn ask(&self, command: &[&str]) -> Vec<String> {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--raw"])
            .args(["--no-auth-warning", "-a", PASSWORD])
            .args(command)
            .output()
            .unwrap_or_else(|error| panic!("redis-cli cannot be run; is it installed? {error}"));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The entries of a stream whose values have one line each.
    pub fn entries(&self, stream: &str) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let lines = self.ask(&["XRANGE", stream, "-", "+"]);
        let mut lines = lines.into_iter();
        while let Some(name) = lines.next() {
            // An empty stream is an empty line.
            if name.is_empty() {
                continue;
            }
            let is_id = name.split_once('-').is_some_and(|(time, number)| {
                time.parse::<u64>().is_ok() && number.parse::<u64>().is_ok()
            });
            if is_id {
                entries.push(Vec::new());
                continue;
            }
            let value = lines.next().unwrap();
            entries.last_mut().unwrap().push((name, value));
        }
        entries
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
