//! When a notifier is told: `after`, `repeat`, `mute`, `digest`, with a clock that the test sets.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Reply, Server, pagerduty};

/// A spool, a clock, and a server that is told.
pub(super) struct World {
    pub sandbox: Sandbox,
    pub server: Server,
}

/// Keys of a chat that is told results and the ends of runs.
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

#[test]
fn a_playbook_is_told_from_its_third_failure_in_a_row() {
    let world = World::new("type = mattermost\non = error, recovered\nafter = 3", "");
    let day = |hour: u32| format!("2026-11-28T{hour:02}:00:00Z");
    for (number, status, told) in [
        (1, "error", 0),
        (2, "error", 0),
        (3, "success", 0),
        (4, "error", 0),
        (5, "error", 0),
        (6, "error", 1),
        (7, "error", 2),
        (8, "success", 3),
        (9, "success", 3),
        (10, "error", 3),
    ] {
        let outcome = world.stream(&day(number), &run(&format!("r{number}"), &[], status));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(world.server.requests().len(), told, "after run {number}");
    }
    let told = world.told(0);
    expect(
        &told,
        &["site.yml failed", "site.yml failed", "site.yml recovered"],
    );
    assert!(
        told[0]
            .1
            .ends_with("\n2 earlier failures of the same kind were held back"),
        "{told:?}"
    );
    assert!(!told[1].1.contains("held back"), "{told:?}");
    let status = world.status();
    assert_eq!(
        (&status["delivered"], &status["dropped"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(status["suppressed"], 6);
    let history = world.history();
    assert_eq!(history[0].0, "suppressed");
    assert_eq!(
        history[0].1,
        "not told: failure 1 in a row, told from 3 on (`after`)"
    );
    assert_eq!(
        history[2].1,
        "not told: no failure before it was told (`after`)"
    );
}

#[test]
fn each_task_on_each_host_counts_for_itself() {
    let world = World::new("type = mattermost\non = failed, unreachable\nafter = 2", "");
    let told = |number: u32, results: &[&str]| {
        let before = world.server.requests().len();
        let id = format!("r{number}");
        world.stream("2026-11-28T08:00:00Z", &run(&id, results, "success"));
        let mut titles: Vec<String> = world.told(before).into_iter().map(|one| one.0).collect();
        titles.sort();
        titles.join("; ")
    };
    assert_eq!(told(1, &["h1 A failed", "h2 A failed", "h1 B ok"]), "");
    assert_eq!(
        told(2, &["h1 A failed", "h2 A ok", "h1 B failed"]),
        "h1: A: failed"
    );
    assert_eq!(
        told(3, &["h1 A unreachable", "h2 A failed", "h1 B ok"]),
        "h1 is unreachable"
    );
    assert_eq!(
        told(4, &["h1 A ok", "h2 A failed", "h1 B failed"]),
        "h2: A: failed"
    );
    assert_eq!(
        told(5, &["h1 A failed", "h2 A skipped", "h1 B failed"]),
        "h1: B: failed"
    );
    assert_eq!(told(6, &["h2 A failed"]), "h2: A: failed");
    world.status();
}

#[test]
fn a_group_counts_once_in_each_run() {
    let world = World::new(
        "type = mattermost\non = failed\nafter = 2\nrepeat = 4h\ngroup_by = task\ngroup_wait = 0",
        "",
    );
    let told = |number: u32, time: &str, results: &[&str]| {
        let before = world.server.requests().len();
        let time = format!("2026-11-28T{time}:00Z");
        world.stream(&time, &run(&format!("r{number}"), results, "success"));
        world.told(before).len()
    };
    let many = ["h1 A failed", "h2 A failed", "h3 A ok"];
    assert_eq!(told(1, "01:00", &many), 0);
    assert!(told(2, "02:00", &many) > 0);
    // All of its failures in the run are one group, those that came later, too.
    let suppressed = world.status()["suppressed"].as_i64().unwrap();
    assert_eq!(suppressed, 2);
    assert_eq!(told(3, "03:00", &many), 0);
    assert!(told(4, "06:30", &["h3 A failed"]) > 0);
    assert_eq!(told(5, "06:40", &["h1 A ok", "h2 A ok", "h3 A ok"]), 0);
    assert_eq!(told(6, "12:00", &many), 0, "it was well in between");
    assert!(told(7, "13:00", &many) > 0);
}

#[test]
fn the_same_failure_is_repeated_after_a_time_and_says_how_many_were_held_back() {
    let world = World::new("type = mattermost\non = error, success\nrepeat = 4h", "");
    for (number, time, status, told) in [
        (1, "01:00", "error", 1),
        (2, "02:00", "error", 1),
        (3, "04:59", "error", 1),
        (4, "05:00", "error", 2),
        (5, "06:00", "error", 2),
        (6, "06:30", "success", 3),
        (7, "06:40", "error", 4),
    ] {
        let time = format!("2026-11-28T{time}:00Z");
        let outcome = world.stream(&time, &run(&format!("r{number}"), &[], status));
        assert_eq!(outcome.code, 0);
        assert_eq!(world.server.requests().len(), told, "after run {number}");
    }
    let told = world.told(0);
    expect(
        &told,
        &[
            "site.yml failed",
            "site.yml failed",
            "site.yml recovered",
            "site.yml failed",
        ],
    );
    assert!(
        told[1]
            .1
            .ends_with("2 earlier failures of the same kind were held back"),
        "{told:?}"
    );
    assert!(
        told[2]
            .1
            .ends_with("1 earlier failure of the same kind was held back"),
        "{told:?}"
    );
    assert!(!told[3].1.contains("held back"), "{told:?}");
    assert_eq!(world.status()["suppressed"], 3);
    assert_eq!(
        world.history()[1].1,
        "not told: the same failure was told Sat 2026-11-28 01:00 UTC, again after Sat 2026-11-28 05:00 UTC (`repeat`)"
    );
}

#[test]
fn a_success_that_no_notifier_wants_ends_the_row() {
    let world = World::new("type = mattermost\non = error\nafter = 2", "");
    for (number, status) in (1..).zip(["error", "success", "error", "success"]) {
        world.stream(
            "2026-11-28T08:00:00Z",
            &run(&format!("r{number}"), &[], status),
        );
    }
    assert_eq!(world.server.requests().len(), 0);
    assert_eq!(world.status()["accepted"], 2);
}

const NIGHT: &str = "mute = Sat-Sun, 22:00-06:00 Europe/Berlin\n";

#[test]
fn what_is_muted_is_told_in_one_message_when_the_window_ends() {
    let world = World::new(&format!("{CHAT}{NIGHT}"), "");
    // Friday evening in Berlin, already winter time.
    let outcome = world.stream(
        "2026-11-27T21:30:00Z",
        &run("r1", &["h1 A failed"], "error"),
    );
    outcome.expect(
        0,
        "ansible-notify: 2 events, 2 deliveries: 2 held until Mon 2026-11-30 05:00 UTC\n",
    );
    world.stream("2026-11-28T12:00:00Z", &run("r2", &["h1 A ok"], "success"));
    let flushed = world.flush("2026-11-30T04:59:59Z");
    assert_eq!(
        (flushed.code, world.server.requests().len()),
        (0, 0),
        "{}",
        flushed.stderr
    );
    assert!(
        flushed
            .stderr
            .contains("4 held until Mon 2026-11-30 05:00 UTC"),
        "{}",
        flushed.stderr
    );
    let status = world.status();
    assert_eq!(
        (&status["waiting"], &status["held"]),
        (&json!(4), &json!(4))
    );
    let flushed = world.flush("2026-11-30T05:00:00Z");
    flushed.expect(0, "ansible-notify: 4 deliveries: all delivered\n");
    let told = world.told(0);
    expect(&told, &["4 events were held, 2 failed"]);
    let lines: Vec<&str> = told[0].1.lines().collect();
    assert_eq!(lines.len(), 4, "{told:?}");
    assert!(
        lines[0].ends_with(" UTC h1: A: failed: no space left")
            && lines[1].contains(" UTC site.yml failed: "),
        "{lines:?}"
    );
    assert!(
        lines[2].ends_with(" UTC h1: A: ok") && lines[3].ends_with(" UTC site.yml recovered"),
        "{lines:?}"
    );
    assert_eq!(world.status()["delivered"], 4);
}

#[test]
fn what_is_muted_can_be_dropped() {
    let world = World::new(&format!("{CHAT}{NIGHT}muted = drop\n"), "");
    let outcome = world.stream("2026-11-28T12:00:00Z", &run("r1", &[], "error"));
    outcome.expect(
        0,
        "ansible-notify: 1 event, 1 delivery: 1 suppressed by `after`, `repeat` or `muted`\n",
    );
    let history = world.history();
    assert_eq!(
        history[0].1,
        "dropped: muted until Mon 2026-11-30 05:00 UTC (`muted = drop`)"
    );
    world.flush("2026-12-01T12:00:00Z");
    assert_eq!(world.server.requests().len(), 0);
    world.stream("2026-12-01T12:00:00Z", &run("r2", &[], "error"));
    assert_eq!(world.server.requests().len(), 1);
    world.status();
}

#[test]
fn windows_follow_the_clocks_of_their_zone() {
    for (mute, at, until) in [
        // Summer time begins in Berlin on 2026-03-29 at 01:00 UTC, in New York on 2026-03-08 at 07:00 UTC.
        (
            "22:00-06:00 Europe/Berlin",
            "2026-03-28T21:30:00Z",
            "2026-03-29T04:00:00Z",
        ),
        (
            "22:00-02:30 Europe/Berlin",
            "2026-03-28T21:30:00Z",
            "2026-03-29T01:00:00Z",
        ),
        (
            "02:30-04:00 Europe/Berlin",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ),
        (
            "22:00-06:00 America/New_York",
            "2026-03-08T03:00:00Z",
            "2026-03-08T10:00:00Z",
        ),
        // It ends in Berlin on 2026-10-25 at 01:00 UTC, in New York on 2026-11-01 at 06:00 UTC.
        (
            "22:00-06:00 Europe/Berlin",
            "2026-10-24T20:30:00Z",
            "2026-10-25T05:00:00Z",
        ),
        (
            "01:00-02:30 Europe/Berlin",
            "2026-10-25T00:45:00Z",
            "2026-10-25T01:30:00Z",
        ),
        (
            "22:00-01:30 America/New_York",
            "2026-11-01T03:00:00Z",
            "2026-11-01T06:30:00Z",
        ),
        (
            "Sun America/New_York",
            "2026-11-01T04:00:00Z",
            "2026-11-02T05:00:00Z",
        ),
        (
            "22:00-06:00 Asia/Kathmandu",
            "2026-11-28T16:15:00Z",
            "2026-11-29T00:15:00Z",
        ),
    ] {
        let world = World::new(&format!("{CHAT}mute = {mute}\n"), "");
        world.stream(at, &run("r1", &[], "error"));
        let until: jiff::Timestamp = until.parse().unwrap();
        let before = until - jiff::SignedDuration::from_secs(1);
        world.flush(&before.to_string());
        assert_eq!(world.server.requests().len(), 0, "{mute} at {at}");
        world.flush(&until.to_string());
        assert_eq!(world.server.requests().len(), 1, "{mute} at {at}");
    }
}

#[test]
fn named_windows_and_periods() {
    let sections = "[time:weekend]\ndays = Sat, Sun\nzone = Europe/Berlin\n\
        [time:holidays]\ndates = 12-24..01-02\nzone = Europe/Berlin\n\
        [time:move]\nmute_start = 2026-12-01 08:00\nmute_until = 2026-12-01T12:00:00+01:00\nzone = Europe/Berlin\n";
    let keys = format!("{CHAT}mute = time:weekend, time:holidays, time:move\n");
    for (at, until) in [
        ("2026-11-28T12:00:00Z", "2026-11-29T23:00:00Z"),
        ("2026-12-31T12:00:00Z", "2027-01-03T23:00:00Z"),
        ("2026-12-01T07:30:00Z", "2026-12-01T11:00:00Z"),
    ] {
        let world = World::new(&keys, sections);
        world.stream(at, &run("r1", &[], "error"));
        let status = world.status();
        let until: jiff::Timestamp = until.parse().unwrap();
        assert_eq!(status["held_until"], until.as_millisecond(), "{at}");
    }
    let world = World::new(&keys, sections);
    world.stream("2026-12-01T06:59:00Z", &run("r1", &[], "error"));
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn a_digest_is_told_at_its_time() {
    let world = World::new(&format!("{CHAT}digest = 1d at 08:00 Europe/Berlin\n"), "");
    for (number, time) in [(1, "07:00"), (2, "12:00"), (3, "23:30")] {
        let time = format!("2026-11-28T{time}:00Z");
        world.stream(&time, &run(&format!("r{number}"), &[], "success"));
    }
    // The next run tells it, too.
    world.at("2026-11-29T07:00:00Z");
    let mut command = world.command(&["stream"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(run("r4", &[], "success").as_bytes())
        .unwrap();
    world.server.wait_for(1);
    drop(stdin);
    assert_eq!(outcome(child).code, 0);
    expect(&world.told(0), &["3 events were held, none failed"]);
    assert_eq!(world.status()["held"], 1);
    world.flush("2026-11-30T07:00:00Z");
    expect(&world.told(1), &["site.yml succeeded"]);
    world.status();
}

#[test]
fn a_digest_waits_for_the_end_of_a_mute() {
    let world = World::new(&format!("{CHAT}digest = 1h\nmute = 22:00-06:00 UTC\n"), "");
    world.stream("2026-11-28T20:30:00Z", &run("r1", &[], "error"));
    world.stream("2026-11-28T21:30:00Z", &run("r2", &[], "error"));
    world.flush("2026-11-28T21:30:00Z");
    expect(&world.told(0), &["site.yml failed"]);
    world.flush("2026-11-28T23:00:00Z");
    assert_eq!(world.server.requests().len(), 1);
    assert_eq!(world.status()["held"], 1);
    world.flush("2026-11-29T06:00:00Z");
    assert_eq!(world.server.requests().len(), 2);
}

#[test]
fn a_change_of_the_rules_concerns_what_is_held() {
    let world = World::new(&format!("{CHAT}mute = Sat-Sun UTC\n"), "");
    world.stream("2026-11-28T12:00:00Z", &run("r1", &[], "error"));
    let without = format!("[notifier:ops]\nurl = {}\n{CHAT}", world.server.url());
    world.sandbox.file("plugin_config.ini", &without);
    world
        .flush("2026-11-28T12:01:00Z")
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!(world.status()["held"], 0);
}

#[test]
fn kinds_with_a_record_for_each_event_get_each_one() {
    let world = World::answering(
        "type = webhook\non = error, success\nmute = Sat-Sun UTC\n",
        "",
        [OK],
    );
    for (number, status) in (1..).zip(["error", "success", "error"]) {
        world.stream(
            "2026-11-28T12:00:00Z",
            &run(&format!("r{number}"), &[], status),
        );
    }
    world.flush("2026-11-30T00:00:00Z");
    let told: Vec<Value> = world
        .server
        .bodies()
        .into_iter()
        .map(|mut body| body["run_id"].take())
        .collect();
    assert_eq!(told, ["r1", "r2", "r3"]);
}

#[test]
fn processes_share_what_they_count() {
    let world = World::new("type = mattermost\non = error\nafter = 5\nrepeat = 4h", "");
    let runs: Vec<_> = (1..=12)
        .map(|number| {
            world.start(
                "2026-11-28T08:00:00Z",
                &run(&format!("r{number}"), &[], "error"),
            )
        })
        .collect();
    for one in runs {
        assert_eq!(outcome(one).code, 0);
    }
    // Of twelve in a row, the fifth is told, and none of the later ones again.
    assert_eq!(world.server.requests().len(), 1);
    let status = world.status();
    assert_eq!(
        (&status["accepted"], &status["suppressed"]),
        (&json!(12), &json!(11))
    );
    world.stream("2026-11-28T12:00:00Z", &run("r13", &[], "error"));
    let told = world.told(1);
    assert!(
        told[0]
            .1
            .ends_with("7 earlier failures of the same kind were held back"),
        "{told:?}"
    );
}

#[test]
fn a_killed_process_neither_counts_twice_nor_tells_twice() {
    for place in [
        "before_commit",
        "after_commit",
        "before_send",
        "after_send",
        "before_mark",
        "after_mark",
    ] {
        for number in 1..=4 {
            let world = World::new(
                "type = mattermost\non = error, success\nafter = 2\nmute = Sat UTC",
                "",
            );
            world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
            let input = run("r2", &[], "error");
            let killed = |arguments: &[&str]| {
                let mut command = world.command(arguments);
                command.env(
                    "ANSIBLE_NOTIFY_FAILPOINTS",
                    format!("{place}=abort@{number}"),
                );
                command
            };
            world.sandbox.file("r2", &input);
            let mut command = killed(&["stream"]);
            command.stdin(std::fs::File::open(world.sandbox.path("r2")).unwrap());
            let aborted = command.output().unwrap();
            // The plugin sends it again unless it was accepted.
            world.stream("2026-11-28T08:00:00Z", &input);
            let status = world.status();
            assert_eq!(
                (&status["accepted"], &status["suppressed"], &status["held"]),
                (&json!(2), &json!(1), &json!(1)),
                "{place}@{number}: {aborted:?}"
            );
            world.at("2026-11-29T00:00:00Z");
            let aborted = killed(&["flush"]).output().unwrap();
            world.flush("2026-11-29T00:00:00Z");
            let status = world.status();
            assert_eq!(
                (&status["delivered"], &status["held"]),
                (&json!(1), &json!(0)),
                "{place}@{number}"
            );
            // What was sent and not recorded is sent again, as ever.
            let is_repeated = !aborted.status.success() && place != "before_send";
            let most = 1 + usize::from(is_repeated);
            assert!(
                (1..=most).contains(&world.server.requests().len()),
                "{place}@{number}"
            );
        }
    }
}

#[test]
fn a_group_that_was_released_stays_one_message() {
    let world = World::answering(
        &format!("{CHAT}mute = Sat UTC\n"),
        "",
        [Reply::Full(503, "", "later"), Reply::Full(200, "", "ok")],
    );
    for number in 1..=3 {
        world.stream(
            "2026-11-28T08:00:00Z",
            &run(&format!("r{number}"), &["h1 A failed"], "error"),
        );
    }
    world.at("2026-11-29T00:00:00Z");
    let mut command = world.command(&["flush"]);
    command.env("ANSIBLE_NOTIFY_FAILPOINTS", "after_mark=abort");
    assert!(!command.output().unwrap().status.success());
    assert_eq!(world.status()["waiting"], 6);
    assert_eq!(world.flush("2026-11-29T00:00:00Z").code, 0);
    expect(
        &world.told(0),
        &[
            "6 events were held, 6 failed",
            "6 events were held, 6 failed",
        ],
    );
    world.status();
}

#[test]
fn a_pager_gets_each_incident_after_the_night() {
    let (pagerduty, incidents) = pagerduty::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\non = error, recovered\nmute = Sat UTC\n",
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
    ));
    let world = World {
        sandbox,
        server: pagerduty,
    };
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    world.stream(
        "2026-11-28T09:00:00Z",
        &run("r2", &[], "error").replace("site.yml", "db.yml"),
    );
    world.stream("2026-11-28T10:00:00Z", &run("r3", &[], "success"));
    world
        .flush("2026-11-29T00:00:00Z")
        .expect(0, "ansible-notify: 3 deliveries: all delivered\n");
    assert_eq!(incidents.lock().unwrap().len(), 1, "site.yml is well again");
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (keys, text) in [
        (
            "after = 0",
            "3: `after` must be a whole number from 1 to 1000, not `0`",
        ),
        (
            "repeat = often",
            "3: `repeat` must be a duration such as 500ms, 30s, 5m or 72h, not `often`",
        ),
        (
            "digest = daily",
            "3: `digest` must be a time such as `1h`, `1d at 08:00`",
        ),
        (
            "digest = 1d at 08:00 Europe/Berln",
            "3: `digest`: no time zone `Europe/Berln` exists",
        ),
        (
            "mute = Satt",
            "3: `mute`: `Satt` is no day, time, date or time zone; write windows such as",
        ),
        (
            "mute = 22:00",
            "3: `mute`: `22:00` is no time of day; write a start and an end",
        ),
        (
            "mute = 08:00-08:00",
            "3: `mute`: `08:00-08:00` starts and ends at the same time",
        ),
        (
            "mute = Europe/Berlin",
            "3: `mute`: `Europe/Berlin` is no window",
        ),
        (
            "mute = Mon Tue",
            "3: `mute`: `Mon Tue` has two parts of the same kind",
        ),
        ("mute = 2026-02-30", "3: `mute`: `2026-02-30` is no date"),
        (
            "mute = Mon-Sun",
            "3: `mute`: its windows leave no time at which anything is sent",
        ),
        (
            "mute = time:nite",
            "3: `mute`: there is no section [time:nite]; did you mean `time:night`?",
        ),
        (
            "mute_start = soon",
            "3: `mute_start` must be a time such as",
        ),
        (
            "mute_start = 2026-12-01 08:00",
            "3: `mute_start` requires `mute_until`",
        ),
        (
            "mute_start = 2026-12-02 08:00\nmute_until = 2026-12-01 08:00",
            "4: `mute_until` must be later than `mute_start`",
        ),
        ("muted = drop", "3: `muted` requires `mute`"),
        ("mute = time:bad", "`mute`: [time:bad] has a mistake"),
    ] {
        let config = format!(
            "[notifier:ops]\ntype = webhook\n{keys}\nurl = http://127.0.0.1:1/\n[time:night]\ntimes = 22:00-06:00\n[time:bad]\ntimes = late\n"
        );
        let outcome = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{keys}");
        assert!(outcome.stderr.contains(text), "{keys}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(":8: `late` is no time of day")
                || outcome.stderr.contains(":9: `late` is no time of day"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn check_config_and_routes_explain_what_would_happen_now() {
    let world = World::new(&format!("{CHAT}after = 3\nrepeat = 4h\n{NIGHT}"), "");
    world.at("2026-11-28T12:00:00Z");
    let checked = world.run(&["check-config"]).stdout;
    for line in [
        "  told from failure 3 in a row of the same thing (`after`)\n",
        "  the same failure is not told again for 4h (`repeat`)\n",
        "  muted until Mon 2026-11-30 05:00 UTC; events are kept\n",
    ] {
        assert!(checked.contains(line), "{checked}");
    }
    world.at("2026-11-30T12:00:00Z");
    world
        .sandbox
        .file("event", r#"{"event": "runner_on_failed"}"#);
    let routes = world.run(&["routes", "event"]).stdout;
    assert!(
        routes.contains("matches its trigger `failed`; told from failure 3"),
        "{routes}"
    );
    let next = "; not muted now; next from Mon 2026-11-30 21:00 UTC until Tue 2026-12-01 05:00 UTC, when events are kept";
    assert!(routes.contains(next), "{routes}");
    let checked = world.run(&["check-config"]).stdout;
    assert!(checked.contains(&next[2..]), "{checked}");
}

#[test]
fn what_is_held_can_be_told_by_hand() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\n"), "");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    assert_eq!(world.run(&["flush", "--notifier", "ops"]).code, 0);
    assert_eq!(world.server.requests().len(), 0);
    world
        .run(&["flush", "--held"])
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    expect(&world.told(0), &["site.yml failed"]);
    world.status();
}

#[test]
fn a_watching_flush_tells_when_the_window_ends() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\n"), "");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    let mut watch = world.command(&["flush", "--watch"]).spawn().unwrap();
    world.stream("2026-11-28T23:59:00Z", &run("r2", &[], "success"));
    world.at("2026-11-29T00:00:00Z");
    world.server.wait_for(1);
    expect(&world.told(0), &["2 events were held, 1 failed"]);
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(watch.wait().unwrap().success());
    assert_eq!(world.status()["delivered"], 2);
}

#[test]
fn without_a_spool_events_are_told_at_once() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\nafter = 3\n"), "");
    world.sandbox.file("state", "not a directory");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    expect(&world.told(0), &["site.yml failed"]);
}

#[test]
fn a_time_without_a_unit_warns_that_it_is_in_seconds() {
    for (keys, time) in [
        (
            "repeat = 4",
            Some("`repeat`: 4 means 4 seconds; write `4s`, or the unit that is meant"),
        ),
        ("digest = 3600", Some("`digest`: 3600 means 3600 seconds")),
        (
            "on = error, missing\nexpect = site.yml every 24 within 1h",
            Some("`expect`: 24 means 24 seconds"),
        ),
        (
            "on = error, overdue\noverdue_after = 90",
            Some("`overdue_after`: 90 means 90 seconds"),
        ),
        ("repeat = 4h\ntimeout = 1.5s\ndigest = 1d at 08:00", None),
        (
            "repeat = 0\ntimeout = 30\ngroup_wait = 2\ngroup_by = run",
            None,
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\nurl = http://localhost/\n{keys}\n"
        ));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{keys}: {checked:?}");
        match time {
            Some(warning) => assert!(checked.stderr.contains(warning), "{keys}: {checked:?}"),
            None => assert_eq!(checked.stderr, "", "{keys}"),
        }
    }
}
