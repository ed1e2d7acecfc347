//! A sandbox whose commands share one spool, and what must hold after every fault: all that was answered
//! as safe arrives as it was given, nothing else does, and the numbers add up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::{Outcome, Sandbox, outcome};
use crate::server::{Request, dead_url};

pub struct Spooled {
    pub sandbox: Sandbox,
    /// The text of each event that was given, by its id.
    given: BTreeMap<String, String>,
    /// The ids that the program has answered for.
    safe: BTreeSet<String>,
}

/// How a `stream` ended.
#[derive(Debug)]
pub struct Streamed {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Spooled {
    /// Its events go to `url`; `inputs` and `delivery` are further lines of these sections.
    pub fn new(url: &str, inputs: &str, delivery: &str) -> Spooled {
        let spooled = Spooled::with("");
        spooled.configure(url, inputs, delivery);
        spooled
    }

    /// Configured by this text.
    pub fn with(config: &str) -> Spooled {
        Spooled {
            sandbox: Sandbox::with_config(config),
            given: BTreeMap::new(),
            safe: BTreeSet::new(),
        }
    }

    /// With so many events that wait.
    pub fn waiting(count: usize) -> Spooled {
        let mut spooled = Spooled::new(&dead_url(), "", "drain = 0");
        let command = spooled.command(&["stream"]);
        spooled.stream(command, "r", count, |_, _| ());
        assert_eq!(spooled.safe(), count);
        spooled
    }

    /// The same, of a process that was killed: its log is there, and all of it was answered for.
    pub fn killed(count: usize) -> Spooled {
        let mut spooled = Spooled::new(&dead_url(), "", "drain = 0");
        let lines = spooled.records("r", count);
        let mut child = spooled
            .command(&["stream"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (_end, events) = lines.split_last().unwrap();
        stdin.write_all(events.concat().as_bytes()).unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = format!("{{\"safe\":{count}}}");
        assert!(answers.any(|answer| answer.unwrap() == last));
        child.kill().unwrap();
        child.wait().unwrap();
        spooled
            .safe
            .extend((1..=count).map(|seq| format!("r-{seq}")));
        spooled
    }

    pub fn configure(&self, url: &str, inputs: &str, delivery: &str) {
        let text = format!("[inputs]\ncallback_url = {url}\n{inputs}\n[delivery]\n{delivery}\n");
        self.sandbox.file("plugin_config.ini", text);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.sandbox.command_on_spool(arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.sandbox.run_on_spool(arguments)
    }

    pub fn file(&self) -> PathBuf {
        self.sandbox.path("state/ansible-notify/spool.db")
    }

    /// Feeds a `stream` as the plugin does, one event after the other, and notes what it answers as
    /// safe. `before` is called with the number of each event, and of the last safe one, before it goes.
    pub fn stream(
        &mut self,
        mut command: Command,
        run: &str,
        count: usize,
        before: impl Fn(usize, &AtomicU64) + Send,
    ) -> Streamed {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let lines = self.records(run, count);
        let last = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let safe = &last;
            scope.spawn(move || {
                for (number, line) in lines.iter().enumerate() {
                    before(number, safe);
                    // Whoever reads it may be gone.
                    if stdin.write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
            for line in BufReader::new(child.stdout.take().unwrap()).lines() {
                let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
                if let Some(safe) = answer["safe"].as_u64() {
                    last.store(safe, Ordering::Relaxed);
                }
            }
        });
        let output = child.wait_with_output().unwrap();
        self.safe
            .extend((1..=last.into_inner().min(count as u64)).map(|seq| format!("{run}-{seq}")));
        Streamed {
            status: output.status,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The records of a run whose events are of five hosts in turn.
    fn records(&mut self, run: &str, count: usize) -> Vec<String> {
        let hello = json!({"hello": {"protocol": 1, "run": {"id": run}}});
        let mut lines = vec![format!("{hello}\n")];
        for seq in 1..=count {
            let text = format!("{run} says {seq}");
            self.given.insert(format!("{run}-{seq}"), text.clone());
            let host = json!({"name": format!("h{}", seq % 5)});
            let event = json!({"event": {"seq": seq, "event": "runner_on_ok", "time": 1.0,
                "host": host, "result": {"stdout": text}}});
            lines.push(format!("{event}\n"));
        }
        lines.push("{\"end\":{}}\n".to_owned());
        lines
    }

    /// Sends events; the program has answered for them if it does not say otherwise.
    pub fn send(&mut self, ids: &[&str]) -> Outcome {
        let mut child = self
            .command(&["send", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for id in ids {
            let text = format!("{id} says hello");
            let event =
                json!({"id": id, "state": "failed", "host": "h", "result": {"stdout": text}});
            stdin.write_all(format!("{event}\n").as_bytes()).unwrap();
            self.given.insert((*id).to_owned(), text);
        }
        drop(stdin);
        let outcome = outcome(child);
        if outcome.code != 74 {
            self.safe.extend(ids.iter().map(|id| (*id).to_owned()));
        }
        outcome
    }

    pub fn safe(&self) -> usize {
        self.safe.len()
    }

    /// What arrived was given, and as it is. Gives the ids.
    #[track_caller]
    pub fn check_given<'a>(&self, requests: &'a [Request]) -> BTreeSet<&'a str> {
        let check = |request: &'a Request| {
            let id = request.header("webhook-id").unwrap();
            let body = request.json();
            assert_eq!(body["id"], id);
            let text = body["task_output"].as_str();
            assert_eq!(self.given.get(id).map(String::as_str), text, "{id}");
            id
        };
        requests.iter().map(check).collect()
    }

    /// What arrived is what was promised; gives how many came more than once.
    #[track_caller]
    pub fn check_arrived(&self, requests: &[Request]) -> usize {
        let arrived = self.check_given(requests);
        let lost: Vec<&String> = self
            .safe
            .iter()
            .filter(|id| !arrived.contains(id.as_str()))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        requests.len() - arrived.len()
    }

    /// accepted = delivered + waiting + dead + dropped, counted and row by row, in a sound file.
    #[track_caller]
    pub fn check_numbers(&self) {
        let status = self.run(&["status", "--json"]);
        assert_eq!(status.code, 0, "{status:?}");
        let rows: Value = serde_json::from_str(&status.stdout).unwrap();
        let spool = rusqlite::Connection::open(self.file()).unwrap();
        for row in rows.as_array().unwrap() {
            let number = |key: &str| row[key].as_i64().unwrap();
            let states = ["waiting", "delivered", "dead", "dropped"].map(number);
            assert_eq!(number("accepted"), states.iter().sum::<i64>(), "{row}");
            for (state, counted) in states.into_iter().enumerate() {
                let query = "SELECT count(*) FROM delivery WHERE destination = ?1 AND state = ?2";
                let found: i64 = spool
                    .query_row(query, (number("id"), state as i64), |row| row.get(0))
                    .unwrap();
                // What is finished may have made room for others.
                let fits = found == counted || state > 0 && found < counted;
                assert!(fits, "{found} of state {state}: {row}");
            }
        }
        let sound: String = spool
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}
