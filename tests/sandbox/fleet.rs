//! A relay with TLS and its tenants, and nodes that send their events to it, each with a spool of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ExitStatus};
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
    relay: Option<Running>,
}

/// A relay that listens.
struct Running {
    child: Child,
    port: String,
    /// What it prints after the line with its address.
    said: JoinHandle<String>,
}

impl Fleet {
    /// A sandbox with a certificate for the relay, which does not run yet.
    pub fn new() -> Fleet {
        Fleet {
            sandbox: certified_sandbox(),
            tenants: String::new(),
            relay: None,
        }
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
        let text = format!(
            "[relay]\nlisten = localhost:0\ncert = server.pem\nkey = server.key\nspool = {SPOOL}\n{lines}\n{}",
            self.tenants
        );
        self.sandbox.file("relay.ini", text);
        let mut command = self.sandbox.command(&["relay", "--config", "relay.ini"]);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", failpoint);
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        if line.is_empty() {
            child.wait().unwrap();
            return false;
        }
        assert!(line.contains("listening on https://"), "{line}");
        let port = line.trim_end().rsplit(':').next().unwrap().to_owned();
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = stderr.read_to_string(&mut rest);
            rest
        });
        self.relay = Some(Running { child, port, said });
        true
    }

    pub fn port(&self) -> &str {
        &self.relay.as_ref().unwrap().port
    }

    /// Ends the relay, and returns how it ended and what it had printed.
    pub fn end(&mut self, signal: Signal) -> (ExitStatus, String) {
        let pid = self.relay.as_ref().unwrap().child.id();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        self.ended()
    }

    /// Waits for the end of the relay.
    #[track_caller]
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let mut relay = self.relay.take().unwrap();
        let status = relay.child.wait().unwrap();
        let said = relay.said.join().unwrap();
        assert!(!said.contains("panicked"), "{said}");
        (status, said)
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

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(relay) = &mut self.relay {
            let _ = relay.child.kill();
            let _ = relay.child.wait();
        }
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
