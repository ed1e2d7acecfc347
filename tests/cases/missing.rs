//! Playbooks that were expected to run and have not, with a clock of the test's own.

use std::process::Stdio;

use serde_json::{Value, json};

use super::stream::{END, event};
use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Request, Server};

const DAY: i64 = 86_400;
const START: i64 = 1_795_000_000;

fn config(url: &str, expect: &str) -> String {
    format!(
        "[notifier:x]\ntype = webhook\nurl = {url}\non = missing\nexpect = {expect}\n\
         [outputs:x]\nevent = event\nreason = reason\nlast_run = last_run\nplaybook = playbook\n"
    )
}

/// A sandbox whose processes take the time from a file.
struct Faked {
    sandbox: Sandbox,
    server: Server,
}

impl Faked {
    fn new(expect: &str) -> Faked {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&config(&server.url(), expect));
        let faked = Faked { sandbox, server };
        faked.set(0);
        faked
    }

    fn set(&self, seconds: i64) {
        self.sandbox.file("clock", (START + seconds).to_string());
    }

    fn start(&self, arguments: &[&str], input: Option<&str>) -> std::process::Child {
        let mut command = self.sandbox.command_on_spool(arguments);
        command.env("ANSIBLE_NOTIFY_CLOCK", self.sandbox.path("clock"));
        command.env("TZ", "UTC");
        if let Some(input) = input {
            let input = self.sandbox.file("records", input);
            command.stdin(Stdio::from(std::fs::File::open(input).unwrap()));
        }
        command.spawn().unwrap()
    }

    fn flush(&self) -> Outcome {
        let flushed = outcome(self.start(&["flush", "--due"], None));
        assert_eq!(flushed.code, 0, "{flushed:?}");
        flushed
    }

    /// A run of a playbook, with this number of failures.
    fn run(&self, playbook: &str, check: bool, failures: u64) {
        let run = json!({"id": format!("r-{playbook}"), "playbook": playbook,
            "path": format!("/srv/{playbook}"), "check": check, "inventory": ["hosts"]});
        let hello = json!({"hello": {"protocol": 1, "run": run}});
        let stats = json!({"result": {"stats": {"h": {"ok": 1, "failures": failures}}}});
        let input = format!("{hello}\n")
            + &event(1, "playbook_on_start", json!({}))
            + &event(2, "playbook_on_stats", stats)
            + END;
        let streamed = outcome(self.start(&["stream"], Some(&input)));
        assert_eq!(streamed.code, 0, "{streamed:?}");
    }

    fn count(&self) -> usize {
        self.server.requests().len()
    }

    fn last(&self) -> Value {
        self.server.requests().last().unwrap().json()
    }
}

#[test]
fn a_missing_run_is_reported_once_per_interval() {
    let faked = Faked::new("site.yml every 1d within 1h");
    faked.run("site.yml", false, 0);
    for (time, count) in [
        (DAY, 0),
        (DAY + 3599, 0),
        (DAY + 3600, 1),
        (DAY + 7200, 1),
        (2 * DAY + 3599, 1),
        (2 * DAY + 3600, 2),
        // Nothing checked for a week: one message.
        (9 * DAY + 4000, 3),
        (9 * DAY + 5000, 3),
    ] {
        faked.set(time);
        faked.flush();
        assert_eq!(faked.count(), count, "{time}");
    }
    let said = faked.last();
    assert_eq!(said["event"]["event"], "run_missing");
    assert_eq!(said["playbook"], "site.yml");
    assert_eq!(said["event"]["threshold"], 86400.0);
    assert_eq!(said["event"]["run"]["inventory"], json!(["hosts"]));
    assert_eq!(said["last_run"], "2026-11-18T11:06:40.000000Z");
    let reason = "no run for 9 d 1 h; the last run was at Wed 2026-11-18 11:06:40 UTC";
    assert_eq!(said["reason"], reason);
    // It runs again, and then stops.
    faked.run("site.yml", false, 1);
    faked.flush();
    assert_eq!(faked.count(), 3);
    faked.set(10 * DAY + 5000 + 3600);
    faked.flush();
    assert_eq!(faked.count(), 4);
    let ids: std::collections::HashSet<String> = faked
        .server
        .requests()
        .iter()
        .map(|request| request.json()["event"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn only_a_run_of_that_playbook_counts_and_no_check() {
    let faked = Faked::new("b.yml every 1d within 0s");
    faked.run("b.yml", false, 0);
    faked.set(DAY / 2);
    faked.run("a.yml", false, 0);
    faked.run("b.yml", true, 0);
    faked.set(DAY);
    faked.flush();
    assert_eq!(faked.count(), 1);
}

#[test]
fn a_failed_run_does_not_meet_an_expected_success() {
    let faked = Faked::new("a.yml every 1d within 0s successful\n  b.yml every 1d within 0s");
    faked.run("a.yml", false, 0);
    faked.set(DAY / 2);
    faked.run("a.yml", false, 1);
    faked.run("b.yml", false, 1);
    faked.set(DAY);
    faked.flush();
    assert_eq!(faked.count(), 1);
    assert_eq!(faked.last()["playbook"], "a.yml");
}

#[test]
fn the_first_interval_counts_from_when_it_was_configured() {
    let faked = Faked::new("site.yml every 7d within 0s");
    faked.sandbox.run_on_spool(&["status"]);
    // No run was ever seen: the timer has found the configuration.
    faked.run("other.yml", false, 0);
    faked.set(3 * DAY);
    let closer = config(&faked.server.url(), "site.yml every 1d within 0s");
    faked.sandbox.file("plugin_config.ini", closer);
    faked.flush();
    assert_eq!(faked.count(), 0);
    faked.set(4 * DAY);
    faked.flush();
    assert_eq!(faked.count(), 1);
    let said = faked.last();
    assert_eq!(said["event"]["run"]["playbook"], "site.yml");
    assert_eq!(said["reason"], "no run for 1 d; no run is known");
    // Removed expectations are not reported.
    let none = config(&faked.server.url(), "other.yml every 30d");
    faked.sandbox.file("plugin_config.ini", none);
    faked.set(6 * DAY);
    faked.flush();
    assert_eq!(faked.count(), 1);
}

#[test]
fn concurrent_processes_report_it_once() {
    let faked = Faked::new("site.yml every 1d within 0s");
    faked.run("site.yml", false, 0);
    for day in 1..4 {
        faked.set(day * DAY);
        let both = [0, 1, 2].map(|_| faked.start(&["flush", "--due"], None));
        // Either of them may deliver it, while the others see it pending.
        for process in both {
            outcome(process);
        }
        faked.flush();
        assert_eq!(faked.count(), usize::try_from(day).unwrap());
    }
}

#[test]
fn flush_watch_notices_it() {
    let faked = Faked::new("site.yml every 1d within 0s");
    let mut watch = faked.start(&["flush", "--watch"], None);
    faked.run("site.yml", false, 0);
    faked.set(DAY);
    let requests: Vec<Request> = faked.server.wait_for(1);
    assert_eq!(requests[0].json()["event"]["event"], "run_missing");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn an_expectation_that_cannot_be_read_is_a_mistake() {
    for (on, expect, line, problem) in [
        (
            "missing",
            "",
            4,
            "`missing` in `on` requires `expect`, such as `expect = site.yml every 1d`",
        ),
        (
            "failed",
            "expect = a.yml every 1d",
            5,
            "`expect` requires `missing` in `on`",
        ),
        (
            "missing",
            "expect = a.yml daily",
            5,
            "`expect` must be a playbook and its interval, such as `site.yml every 1d`, optionally with `within 2h` and `successful`, not `a.yml daily`",
        ),
        (
            "missing",
            "expect = a.yml every 1d, a.yml every 2d",
            5,
            "`expect` names `a.yml` twice",
        ),
    ] {
        let text = format!(
            "[notifier:x]\ntype = webhook\nurl = http://127.0.0.1:1\non = {on}\n{expect}\n"
        );
        let sandbox = Sandbox::with_config(&text);
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 78, "{checked:?}");
        let expected = format!("plugin_config.ini:{line}: {problem}");
        let said = checked.stdout + &checked.stderr;
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn a_playbook_that_never_ran_on_a_new_machine_is_missing() {
    let faked = Faked::new("site.yml every 1d within 1h");
    let spool = faked.sandbox.path("state/ansible-notify/spool.db");
    assert!(!spool.exists());
    let flushed = faked.flush();
    assert_eq!(
        flushed.stderr,
        "ansible-notify: 0 deliveries: nothing to deliver\n"
    );
    assert!(spool.exists());
    for (time, count) in [(DAY, 0), (DAY + 3600, 1), (2 * DAY + 3600, 2)] {
        faked.set(time);
        faked.flush();
        assert_eq!(faked.count(), count, "{time}");
    }
    assert_eq!(
        faked.last()["reason"],
        "no run for 2 d 1 h; no run is known"
    );
}

#[test]
fn a_machine_on_which_nothing_is_expected_gets_no_spool() {
    let sandbox = Sandbox::with_config(&config("http://127.0.0.1:1/", "site.yml every 1d"));
    let plain = "[inputs]\ncallback_url = http://127.0.0.1:1/\n";
    sandbox.file("plugin_config.ini", plain);
    sandbox.run_on_spool(&["flush", "--due"]);
    assert!(!sandbox.path("state/ansible-notify").exists());
    // A project's own file names the spool: somebody else may have put it there.
    let own = config("http://127.0.0.1:1/", "site.yml every 1d") + "[delivery]\nspool = spool\n";
    sandbox.file("plugin_config.ini", own);
    sandbox.run_on_spool(&["flush", "--due"]);
    assert!(!sandbox.path("spool").exists());
}
