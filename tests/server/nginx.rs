//! A real nginx as the endpoint, with a directory, a socket and logs of its own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::relay::Relay;
use crate::sandbox::Sandbox;

pub struct Nginx {
    process: Child,
    root: PathBuf,
    pub relay: Relay,
}

impl Nginx {
    /// Starts a server with these directives, its files in the sandbox. `listen` is `""` or `" ssl"`.
    ///
    /// It hands each request to an inner server, which reads the body and answers with 204: a bare
    /// `return` would answer before nginx asks for credentials.
    pub fn start(sandbox: &Sandbox, listen: &str, directives: &str) -> Nginx {
        let root = sandbox.root().to_owned();
        let shown = root.display();
        let fields = [
            "connection",
            "request",
            "status",
            "http_authorization",
            "request_body",
        ];
        let log: Vec<String> = fields
            .map(|field| format!("\"{field}\":\"${field}\""))
            .into();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};\n"))
            .concat();
        let log = log.join(",");
        // `user` counts for root alone, whose workers could not enter the sandbox as somebody else.
        sandbox.file(
            "nginx.conf",
            format!(
                "daemon off; user root; pid nginx.pid; error_log error.log notice;\nevents {{}}\n\
                 http {{\n{temporary}log_format seen escape=json '{{{log}}}';\naccess_log off;\n\
                 server {{ listen unix:{shown}/inner.sock; location / {{ return 204; }} }}\n\
                 server {{ listen unix:{shown}/nginx.sock{listen}; access_log access.log seen;\n\
                 location / {{ proxy_pass http://unix:{shown}/inner.sock; }}\n{directives}\n}} }}\n"
            ),
        );
        let process = Command::new("nginx")
            .arg("-p")
            .arg(&root)
            .args(["-c", "nginx.conf"])
            // Debian has it where an ordinary user's PATH does not look.
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("nginx cannot be run; is it installed? {error}"));
        let relay = Relay::to(root.join("nginx.sock"));
        let mut nginx = Nginx {
            process,
            root,
            relay,
        };
        nginx.wait_until("it listens", |nginx| {
            UnixStream::connect(nginx.root.join("nginx.sock")).is_ok()
        });
        nginx
    }

    pub fn url(&self) -> String {
        self.relay.url("http")
    }

    pub fn https(&self) -> String {
        self.relay.url("https")
    }

    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    /// Stops the server and gives what its access log holds.
    pub fn requests(mut self) -> Vec<Value> {
        self.stop();
        self.log("access.log")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Makes it read its configuration and certificates again, and waits until it is at it.
    pub fn reload(&mut self) {
        self.signal(Signal::HUP);
        self.wait_until("it reloads", |nginx| {
            nginx.log("error.log").contains("reconfiguring")
        });
    }

    fn stop(&mut self) {
        // Ends its workers too, unlike a kill. A second time it has ended already.
        if self.process.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.process.wait().unwrap();
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn log(&self, name: &str) -> String {
        // What was no request may be no text.
        String::from_utf8_lossy(&std::fs::read(self.root.join(name)).unwrap()).into_owned()
    }

    fn wait_until(&mut self, what: &str, condition: impl Fn(&Nginx) -> bool) {
        let started = Instant::now();
        while !condition(self) {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < Duration::from_secs(10),
                "nginx: not before {what}: {ended:?}: {}",
                self.log("error.log")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}
