//! When a notifier sends: `after`, `repeat`, `mute`, `digest`, with a clock that the test sets.

mod processes;
mod settings;
mod streak;
mod windows;

use std::process::Command;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{Reply, Server};

/// A spool, a clock, and a server that gets the messages.
pub(super) struct World {
    pub sandbox: Sandbox,
    pub server: Server,
}

/// Keys of a chat that gets results and the ends of runs.
pub(super) const CHAT: &str = "type = mattermost\non = failed, unreachable, ok, error, success\n";

impl World {
    /// Creates one whose notifier `ops` has these keys, followed by other sections.
    pub fn new(keys: &str, rest: &str) -> World {
        World::answering(keys, rest, [Reply::Full(200, "", "ok")])
    }

    pub fn answering(keys: &str, rest: &str, replies: impl Into<Vec<Reply>>) -> World {
        let server = Server::start(replies);
        let url = server.url();
        let config = format!("[notifier:ops]\nurl = {url}\n{keys}\n{rest}\n");
        World {
            sandbox: Sandbox::with_config(&config),
            server,
        }
    }

    pub fn at(&self, time: &str) {
        self.sandbox.file("clock", time);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command_on_spool(arguments);
        command.env("ANSIBLE_NOTIFY_CLOCK", self.sandbox.path("clock"));
        command.env("TZ", "UTC");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments).spawn().unwrap())
    }

    /// Starts a process that accepts a run at this time.
    fn start(&self, time: &str, input: &str) -> std::process::Child {
        self.at(time);
        let name = format!("input{}", uuid::Uuid::now_v7().simple());
        self.sandbox.file(&name, input);
        let mut command = self.command(&["stream"]);
        command.stdin(std::fs::File::open(self.sandbox.path(&name)).unwrap());
        command.spawn().unwrap()
    }

    pub fn stream(&self, time: &str, input: &str) -> Outcome {
        outcome(self.start(time, input))
    }

    pub fn flush(&self, time: &str) -> Outcome {
        self.at(time);
        self.run(&["flush"])
    }

    /// Returns titles and texts of the messages since the last call.
    pub fn told(&self, from: usize) -> Vec<(String, String)> {
        let bodies = self.server.bodies();
        let text = |body: &Value, key: &str| {
            let text = body["attachments"][0][key].as_str();
            text.unwrap_or_default().to_owned()
        };
        let told = bodies.iter().skip(from);
        told.map(|body| (text(body, "title"), text(body, "text")))
            .collect()
    }

    /// Returns the only destination, whose counts must add up.
    pub fn status(&self) -> Value {
        let outcome = self.run(&["status", "--json"]);
        let mut all: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let status = all[0].take();
        let count = |key: &str| status[key].as_i64().unwrap();
        let sum = ["delivered", "dead", "dropped", "waiting"].map(count);
        assert_eq!(count("accepted"), sum.iter().sum::<i64>(), "{status}");
        status
    }

    /// Returns the only destination; null as long as there is none.
    pub fn status_if_any(&self) -> Value {
        let outcome = self.run(&["status", "--json"]);
        let all: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
        all[0].clone()
    }

    /// Returns the states and reasons in `history`, oldest first.
    pub fn history(&self) -> Vec<(String, String)> {
        let outcome = self.run(&["history", "--json"]);
        let rows = outcome
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let rows: Vec<Value> = rows.collect();
        let rows = match rows.first() {
            Some(Value::Array(all)) => all.clone(),
            _ => rows,
        };
        rows.iter()
            .rev()
            .map(|row| (text(row, "state"), text(row, "error")))
            .collect()
    }
}

/// A run of `site.yml`: results as `host task state`, then its end.
pub(super) fn run(id: &str, results: &[&str], status: &str) -> String {
    let mut lines = vec![json!({"hello": {"protocol": 1, "run": {
        "id": id, "playbook": "site.yml", "path": "/srv/site.yml", "inventory": ["prod"]}}})];
    let mut stats = json!({});
    let mut number = 0;
    for result in results {
        let [host, task, state] = result.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{result}");
        };
        lines.push(json!({"task": {"id": format!("{id}-{task}"), "name": task, "path": "/srv/site.yml:3"}}));
        number += 1;
        lines.push(json!({"event": {"seq": number, "event": format!("runner_on_{state}"), "time": time_of(id),
            "task": format!("{id}-{task}"), "host": {"name": host}, "result": {"msg": "no space left"}}}));
        stats[host] = json!({"ok": 1});
    }
    if status == "error" {
        stats["h1"] = json!({"failures": 1});
    } else {
        stats["h1"] = json!({"ok": 1});
    }
    lines.push(
        json!({"event": {"seq": number + 1, "event": "playbook_on_stats", "time": time_of(id) + 0.5,
        "result": {"stats": stats}}}),
    );
    lines.push(json!({"end": {"reason": "exit"}}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Returns a later time for each run, by the number in its id.
fn time_of(id: &str) -> f64 {
    let number: f64 = id.trim_start_matches(char::is_alphabetic).parse().unwrap();
    1e9 + number
}

/// Expects these beginnings of titles.
pub(super) fn expect(told: &[(String, String)], titles: &[&str]) {
    let found: Vec<&str> = told.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(found, titles);
}

const NIGHT: &str = "mute = Sat-Sun, 22:00-06:00 Europe/Berlin\n";
