//! A relay with TLS and its tenants, and nodes that send their events to it, each with a spool of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Outcome, PATIENCE, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::{Request, Server};

/// The directory of the relay's spool, in the sandbox.
pub const SPOOL: &str = "relay-state/ansible-notify";

pub struct Fleet {
    pub sandbox: Sandbox,
    tenants: String,
    /// Sections of a store outside of the relay, and the line that chooses it.
    store: (String, String),
    relay: Option<Running>,
    deliver: Option<Running>,
}

/// A relay that listens, or a process that takes its events.
pub struct Running {
    child: Child,
    port: String,
    /// What it prints after the line with its address.
    said: Option<JoinHandle<String>>,
}

impl Fleet {
    /// A sandbox with a certificate for the relay, which does not run yet.
    pub fn new() -> Fleet {
        Fleet {
            sandbox: certified_sandbox(),
            tenants: String::new(),
            store: (String::new(), String::new()),
            relay: None,
            deliver: None,
        }
    }

    /// Lets the relay store events outside, where `deliver` takes them: the name of the store, and its section.
    pub fn store_in(&mut self, name: &str, section: &str) {
        self.store = (section.to_owned(), format!("store = {name}\n"));
        self.configure("");
        let made = self
            .sandbox
            .run(&["relay", "init", "--config", "relay.ini", "--apply"]);
        assert_eq!(made.code, 0, "{made:?}");
    }

    /// A relay with the tenant `acme`, whose events all go to this server.
    pub fn with_hook(server: &Server) -> Fleet {
        let mut fleet = Fleet::new();
        fleet.tenant("acme", &hook(server));
        fleet.start();
        fleet
    }

    /// Adds a tenant with this configuration.
    pub fn tenant(&mut self, name: &str, config: &str) {
        self.sandbox.file(&format!("{name}.ini"), config);
        self.tenants +=
            &format!("[tenant:{name}]\ntoken = canary-token-of-{name}\nconfig = {name}.ini\n");
    }

    pub fn start(&mut self) {
        self.start_with("", "");
    }

    /// Starts the relay with further lines in `[relay]`.
    pub fn start_with(&mut self, lines: &str, failpoint: &str) {
        assert!(self.try_start(lines, failpoint));
    }

    /// Starts the relay with a failpoint; false if it ends before it listens.
    pub fn try_start(&mut self, lines: &str, failpoint: &str) -> bool {
        self.configure(lines);
        let arguments = ["relay", "--config", "relay.ini"];
        self.relay = self.run(&arguments, "listening on https://", failpoint);
        self.relay.is_some()
    }

    /// Starts to take and deliver what the relay stores outside.
    pub fn deliver(&mut self, failpoint: &str) {
        self.deliver_with(&[], failpoint);
    }

    /// The same with more arguments.
    pub fn deliver_with(&mut self, more: &[&str], failpoint: &str) {
        let arguments = [&["deliver", "--config", "relay.ini"], more].concat();
        self.deliver = self.run(&arguments, "listening on http://", failpoint);
        assert!(self.deliver.is_some());
    }

    fn configure(&self, lines: &str) {
        let (section, store) = &self.store;
        let text = format!(
            "[relay]\nlisten = localhost:0\ncert = server.pem\nkey = server.key\nspool = {SPOOL}\n{store}{lines}\n\
             [deliver]\nlisten = localhost:0\n{section}{}",
            self.tenants
        );
        self.sandbox.file("relay.ini", text);
    }

    /// Starts a process; None if it ends before it listens.
    fn run(&self, arguments: &[&str], listening: &str, failpoint: &str) -> Option<Running> {
        let mut command = self.sandbox.command(arguments);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", failpoint);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        if line.is_empty() {
            child.wait().unwrap();
            return None;
        }
        assert!(line.contains(listening), "{line}");
        let port = line.trim_end().rsplit(':').next().unwrap().to_owned();
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = stderr.read_to_string(&mut rest);
            rest
        });
        Some(Running {
            child,
            port,
            said: Some(said),
        })
    }

    pub fn port(&self) -> &str {
        &self.relay.as_ref().unwrap().port
    }

    /// Sends a signal to the relay.
    pub fn signal(&self, signal: Signal) {
        self.relay.as_ref().unwrap().send(signal);
    }

    /// Ends the relay, and returns how it ended and what it had printed.
    pub fn end(&mut self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        self.ended()
    }

    /// The same for the process that takes its events.
    pub fn end_deliver(&mut self, signal: Signal) -> (ExitStatus, String) {
        self.deliver.as_ref().unwrap().send(signal);
        self.ended_deliver()
    }

    /// Sends a signal to that process.
    pub fn signal_deliver(&self, signal: Signal) {
        self.deliver.as_ref().unwrap().send(signal);
    }

    /// Starts another process beside the one that takes events, and returns that one.
    pub fn replace_deliver(&mut self) -> Running {
        let first = self.deliver.take().unwrap();
        self.deliver("");
        first
    }

    /// Waits for the end of that process.
    #[track_caller]
    pub fn ended_deliver(&mut self) -> (ExitStatus, String) {
        self.deliver.take().unwrap().ended()
    }

    /// What the process that takes events answers to a GET.
    pub fn ask_deliver(&self, path: &str) -> String {
        let url = format!(
            "http://localhost:{}{path}",
            self.deliver.as_ref().unwrap().port
        );
        let output = Command::new("curl")
            .args(["-s", "--noproxy", "*", &url])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for the end of the relay.
    #[track_caller]
    pub fn ended(&mut self) -> (ExitStatus, String) {
        self.relay.take().unwrap().ended()
    }

    /// Configures a node of a tenant: its file and its spool have its name. Sends to the relay that runs now.
    pub fn node(&self, node: &str, tenant: &str, lines: &str) {
        let url = format!("https://localhost:{}", self.port());
        self.node_at(node, tenant, &url, lines);
    }

    /// The same for these addresses.
    pub fn node_at(&self, node: &str, tenant: &str, urls: &str, lines: &str) {
        let drain = if lines.contains("drain") {
            ""
        } else {
            "drain = 20s\n"
        };
        let text = format!(
            "[notifier:relay]\ntype = relay\nurl = {urls}\ntoken = canary-token-of-{tenant}\nca_file = ca.pem\n\
             on = any, started\n[delivery]\n{drain}spool = {node}/ansible-notify\n{lines}\n"
        );
        self.sandbox.file(&format!("{node}.ini"), text);
    }

    /// Lets a node send these lines.
    pub fn send(&self, node: &str, events: &str) -> Outcome {
        self.send_with(node, events, "")
    }

    pub fn send_with(&self, node: &str, events: &str, failpoint: &str) -> Outcome {
        let file = format!("{node}.ndjson");
        self.sandbox.file(&file, events);
        let config = format!("{node}.ini");
        let mut command = self.sandbox.command(&["send", "--config", &config, &file]);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", failpoint);
        super::outcome(command.spawn().unwrap())
    }

    pub fn flush(&self, node: &str) -> Outcome {
        self.sandbox
            .run(&["flush", "--config", &format!("{node}.ini")])
    }

    /// A count over all notifiers of a spool: of the relay, or of a node.
    pub fn count(&self, folder: &str, key: &str) -> u64 {
        let shown = self.sandbox.run(&["status", "--spool", folder, "--json"]);
        let shown: Vec<Value> = serde_json::from_str(&shown.stdout).expect(&shown.stderr);
        shown.iter().map(|row| row[key].as_u64().unwrap()).sum()
    }

    /// Waits until the relay has delivered as many events.
    #[track_caller]
    pub fn wait_for_delivered(&self, count: u64) {
        let until = Instant::now() + PATIENCE;
        while self.count(SPOOL, "delivered") < count {
            assert!(Instant::now() < until, "fewer than {count} delivered");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Running {
    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    #[track_caller]
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let said = self.said.take().unwrap().join().unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (status, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration that sends what identifies an event to a server.
pub fn hook(server: &Server) -> String {
    format!(
        "[notifier:hook]\ntype = webhook\nurl = {}\non = any, started\n[outputs:hook]\nid = event.id\nhost = host\n\
         text = task_output\nprevious = previous | default('')\n",
        server.url()
    )
}

/// Results of a run on three hosts, as lines, and its end.
pub fn events(run: &str, count: usize, text: &str) -> String {
    let about =
        json!({"id": run, "playbook": "site.yml", "path": "/site.yml", "controller": "node"});
    let result = |number: usize| {
        json!({
            "schema": 1, "id": format!("{run}-{number}"), "event": "runner_on_ok", "state": "success",
            "time": "2026-11-28T10:00:00.000000Z", "run": about, "host": {"name": format!("web{}", number % 3)},
            "task": {"id": "t1", "name": "Install"}, "result": {"stdout": text},
        })
        .to_string()
    };
    let mut lines: Vec<String> = (1..=count).map(result).collect();
    lines.push(end(run, "success"));
    lines.join("\n")
}

/// The end of a run.
pub fn end(run: &str, status: &str) -> String {
    let failures = u8::from(status == "error");
    json!({
        "schema": 1, "id": format!("{run}-end"), "event": "run_end", "time": "2026-11-28T10:01:00.000000Z",
        "run": {"id": run, "playbook": "site.yml", "path": "/site.yml", "controller": "node"}, "status": status,
        "stats": {"web0": {"ok": 1, "failures": failures}},
    })
    .to_string()
}

/// The ids that requests brought, in their order.
pub fn ids(requests: &[Request]) -> Vec<String> {
    let id = |request: &Request| request.json()["id"].as_str().unwrap().to_owned();
    requests.iter().map(id).collect()
}
