//! Reports during a run: that it is overdue or has stalled, and that tasks are slow.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};

use serde_json::{Value, json};

use super::stream::{END, event, greeting as hello};
use crate::sandbox::{Sandbox, outcome};
use crate::server::{OK, Request, Server};

const TIMES: &str = "overdue_after = 300ms\nstalled_after = 300ms\nslow_task_after = 300ms\n";

fn config(url: &str, on: &str, times: &str) -> String {
    format!(
        "[notifier:x]\ntype = webhook\nurl = {url}\non = {on}, success, error\n{times}\n\
         [outputs:x]\nevent = event\nreason = reason\nwaiting_for = waiting_for\n"
    )
}

/// A process that a test feeds.
struct Fed {
    child: Child,
    input: ChildStdin,
}

impl Fed {
    fn start(sandbox: &Sandbox) -> Fed {
        let mut command = sandbox.command_on_spool(&["stream"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        Fed { child, input }
    }

    fn say(&mut self, lines: &[String]) {
        self.input.write_all(lines.concat().as_bytes()).unwrap();
    }

    /// Writes the rest at once: between two writes a stall may be reported.
    fn end(self, rest: &[String], seq: u64) {
        let stats = json!({"result": {"stats": {"web1": {"ok": 1}, "web2": {"ok": 1}}}});
        let mut input = self.input;
        let end = rest.concat() + &event(seq, "playbook_on_stats", stats) + END;
        input.write_all(end.as_bytes()).unwrap();
        drop(input);
        let outcome = outcome(self.child);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn on_host(seq: u64, name: &str, host: &str) -> String {
    let about = json!({"play": "p", "task": "t", "host": {"name": host}});
    event(seq, name, about)
}

/// A play whose task has begun on two hosts, and ended on one of them.
fn beginning(more: Value) -> Vec<String> {
    let about = json!({"play": "p", "task": "t"});
    vec![
        hello(more),
        format!("{}\n", json!({"play": {"id": "p", "name": "web"}})),
        format!(
            "{}\n",
            json!({"task": {"id": "t", "name": "Install", "path": "site.yml:3"}})
        ),
        event(1, "playbook_on_start", json!({})),
        event(2, "playbook_on_task_start", about),
        on_host(3, "runner_on_start", "web1"),
        on_host(4, "runner_on_start", "web2"),
        on_host(5, "runner_on_ok", "web1"),
    ]
}

fn bodies(requests: &[Request]) -> Vec<Value> {
    requests.iter().map(Request::json).collect()
}

fn ids(bodies: &[Value]) -> Vec<&str> {
    let ids = bodies.iter().map(|body| body["event"]["id"].as_str());
    let mut ids: Vec<&str> = ids.map(Option::unwrap).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn delays_are_reported_once_and_before_the_end() {
    let server = Server::start([OK]);
    let on = "overdue, stalled, slow_task";
    let sandbox = Sandbox::with_config(&config(&server.url(), on, TIMES));
    let mut fed = Fed::start(&sandbox);
    fed.say(&beginning(json!({})));
    // The play continues only when everything has arrived.
    let bodies = bodies(&server.wait_for(3));
    let expected = ["r-overdue-300", "r-slow-300-t", "r-stalled-300-5"];
    assert_eq!(ids(&bodies), expected);
    for body in &bodies {
        assert_eq!(body["waiting_for"], json!(["web2"]), "{body}");
        let event = &body["event"];
        assert_eq!(event["task"]["name"], "Install");
        assert_eq!(event["threshold"], 0.3);
        assert!(event["duration"].as_f64().unwrap() >= 0.3, "{event}");
        assert_eq!(event["state"], Value::Null);
        let reason = body["reason"].as_str().unwrap();
        assert!(reason.contains("web2"), "{reason}");
    }
    fed.end(&[on_host(6, "runner_on_ok", "web2")], 7);
    let requests = server.requests();
    let end = requests.last().unwrap().json()["event"].clone();
    assert_eq!((requests.len(), &end["event"]), (4, &json!("run_end")));
    assert_eq!(end["overdue"], true);
    for list in ["stalls", "slow_tasks"] {
        let found = end[list].as_array().unwrap();
        assert_eq!(found.len(), 1, "{end}");
        assert_eq!(
            (&found[0]["task"], &found[0]["hosts"]),
            (&json!("Install"), &json!(["web2"]))
        );
        assert!(found[0]["seconds"].as_f64().unwrap() >= 0.3);
    }
}

#[test]
fn a_stall_is_reported_again_only_after_an_event() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url(), "stalled", "stalled_after = 300ms"));
    let mut fed = Fed::start(&sandbox);
    fed.say(&beginning(json!({})));
    server.wait_for(1);
    fed.say(&[on_host(6, "runner_on_async_poll", "web2")]);
    let both = bodies(&server.wait_for(2));
    assert_eq!(ids(&both), ["r-stalled-300-5", "r-stalled-300-6"]);
    fed.end(&[on_host(7, "runner_on_ok", "web2")], 8);
    let all = bodies(&server.requests());
    assert_eq!(all.len(), 3);
    assert_eq!(all[2]["event"]["stalls"].as_array().unwrap().len(), 2);
}

#[test]
fn each_notifier_has_its_own_times() {
    let servers = [
        Server::start([OK]),
        Server::start([OK]),
        Server::start([OK]),
    ];
    let times = [
        "overdue_after = 300ms",
        "overdue_after = 600ms",
        "overdue_after = 1h",
    ];
    let texts = servers.iter().zip(times).enumerate();
    let texts = texts.map(|(number, (server, times))| {
        config(&server.url(), "overdue", times).replace(":x]", &format!(":x{number}]"))
    });
    let sandbox = Sandbox::with_config(&texts.collect::<String>());
    let mut fed = Fed::start(&sandbox);
    fed.say(&beginning(json!({})));
    for (server, id) in servers.iter().zip(["r-overdue-300", "r-overdue-600"]) {
        assert_eq!(ids(&bodies(&server.wait_for(1))), [id]);
    }
    fed.end(&[], 6);
    for (server, count) in servers.iter().zip([2, 2, 1]) {
        let all = bodies(&server.requests());
        assert_eq!(all.len(), count, "{all:?}");
        assert_eq!(all[count - 1]["event"]["overdue"], true);
    }
}

#[test]
fn a_process_that_resumes_a_run_reports_nothing_twice() {
    let server = Server::start([OK]);
    let on = "overdue, stalled, slow_task";
    let sandbox = Sandbox::with_config(&config(&server.url(), on, TIMES));
    let mut first = Fed::start(&sandbox);
    first.say(&beginning(json!({})));
    server.wait_for(3);
    // A delivery that is not recorded would be made again, with the same id.
    let delivered = || sandbox.run_on_spool(&["history"]).stdout;
    while delivered().matches(" delivered").count() < 3 {}
    first.kill();
    // Unanswered records are sent again.
    let now = jiff_now();
    let mut lines = beginning(json!({"resumed": {"after": 0, "began": now - 60.0}}));
    lines.iter_mut().for_each(|line| *line = dated(line, now));
    let mut second = Fed::start(&sandbox);
    second.say(&lines);
    let mut answers = BufReader::new(second.child.stdout.take().unwrap()).lines();
    assert!(answers.any(|line| line.unwrap().contains("\"safe\":5")));
    second.say(&[on_host(6, "runner_on_async_poll", "web2")]);
    let all = bodies(&server.wait_for(4));
    assert_eq!(all[3]["event"]["id"], "r-stalled-300-6");
    second.end(&[], 7);
    let mut all = bodies(&server.requests());
    assert_eq!(all.len(), 5, "{all:?}");
    let end = all.pop().unwrap();
    assert_eq!(
        (&end["event"]["event"], &end["event"]["overdue"]),
        (&json!("run_end"), &json!(true))
    );
}

fn jiff_now() -> f64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.unwrap().as_secs_f64()
}

/// The record with the current time.
fn dated(line: &str, now: f64) -> String {
    line.replace("1763670121.5", &now.to_string())
}

#[test]
fn hosts_are_requested_only_if_a_notifier_needs_them() {
    let server = Server::start([OK]);
    for (on, times, starts) in [
        ("stalled", "", json!(true)),
        ("slow_task", "", json!(true)),
        ("overdue", "overdue_after = 1d", json!(true)),
        ("failed", "", Value::Null),
    ] {
        let sandbox = Sandbox::with_config(&config(&server.url(), on, times));
        let mut fed = Fed::start(&sandbox);
        fed.say(&beginning(json!({})));
        let mut answers = BufReader::new(fed.child.stdout.take().unwrap()).lines();
        let mut answer = || serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        let [_config, ready]: [Value; 2] = [answer(), answer()];
        assert_eq!(ready["ready"]["starts"], starts, "{on}");
        fed.end(&[], 6);
    }
    let ends = bodies(&server.requests());
    assert!(ends.iter().all(|end| end["event"]["event"] == "run_end"));
    assert!(ends.iter().all(|end| end["event"].get("overdue").is_none()));
}

#[test]
fn a_time_without_its_trigger_is_a_mistake_and_vice_versa() {
    for (on, times, line, problem) in [
        (
            "overdue",
            "",
            4,
            "`overdue` in `on` requires `overdue_after`, such as `overdue_after = 30m`",
        ),
        (
            "failed",
            "stalled_after = 5m",
            5,
            "`stalled_after` requires `stalled` in `on`",
        ),
        (
            "failed",
            "slow_task_after = 5m",
            5,
            "`slow_task_after` requires `slow_task` in `on`",
        ),
        (
            "overdue",
            "overdue_after = 0s",
            5,
            "`overdue_after` must be a duration such as 30s, 10m or 2h, longer than 0, not `0s`",
        ),
        (
            "stalled",
            "stalled_after = soon",
            5,
            "`stalled_after` must be a duration such as 30s, 10m or 2h, longer than 0, not `soon`",
        ),
    ] {
        let sandbox = Sandbox::with_config(&config("http://127.0.0.1:1", on, times));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 78, "{checked:?}");
        let expected = format!("plugin_config.ini:{line}: {problem}");
        assert!(
            checked.stderr.contains(&expected) || checked.stdout.contains(&expected),
            "{checked:?}"
        );
    }
}

#[test]
fn samples_of_delays_can_be_sent() {
    let server = Server::start([OK]);
    let on = "overdue, stalled, slow_task";
    let text = format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = {on}\ncontent = text\n{TIMES}",
        server.url()
    );
    let sandbox = Sandbox::with_config(&text);
    for trigger in ["overdue", "stalled", "slow_task"] {
        let sent = sandbox.run(&["test", "--trigger", trigger]);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let texts: Vec<String> = server
        .requests()
        .iter()
        .map(|one| one.body.clone())
        .collect();
    let task = "a test message from ansible-notify";
    assert_eq!(
        texts,
        [
            format!(
                "Test: test.yml is overdue\nstill running after 30 min; the task {task} waits for test-host\n/srv/ansible/test.yml:3"
            ),
            format!(
                "Test: test.yml has stalled\nno event for 10 min; the task {task} waits for test-host\n/srv/ansible/test.yml:3"
            ),
            format!(
                "Test: test.yml: {task} is slow\nthe task has taken 5 min, no result yet from test-host\n/srv/ansible/test.yml:3"
            ),
        ]
    );
}

#[test]
fn a_slow_job_of_ansible_runner_has_its_hosts() {
    let server = Server::start([OK]);
    let on = "overdue, stalled, slow_task";
    let sandbox = Sandbox::with_config(&config(&server.url(), on, TIMES));
    let record = |seq: u64, record: Value| {
        let record = json!({"runner": {"seq": seq, "time": 1763670121.1, "record": record}});
        format!("{record}\n")
    };
    let job = |seq: u64, name: &str, more: Value| {
        let mut data = json!({"playbook": "site.yml", "play": "web", "play_uuid": "p"});
        data.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let uuid = format!("u{seq}");
        record(
            seq,
            json!({"uuid": uuid, "counter": seq, "event": name, "event_data": data}),
        )
    };
    let on_host = |host: &str| json!({"task": "Install", "task_uuid": "t", "host": host});
    let run = json!({"id": "r", "ident": "job-7"});
    let runner = json!({"settings": "", "emitters": {}, "environment": []});
    let hello = json!({"hello": {"protocol": 1, "run": run, "runner": runner}});
    let lines = [
        format!("{hello}\n"),
        record(1, json!({"status": "starting", "runner_ident": "job-7"})),
        job(2, "playbook_on_start", json!({})),
        job(
            3,
            "playbook_on_task_start",
            json!({"task": "Install", "task_uuid": "t"}),
        ),
        job(4, "runner_on_start", on_host("web1")),
        job(5, "runner_on_start", on_host("web2")),
        job(6, "runner_on_ok", on_host("web1")),
    ];
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.env("ANSIBLE_NOTIFY_CONFIG", sandbox.path("plugin_config.ini"));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.concat().as_bytes()).unwrap();
    let bodies = bodies(&server.wait_for(3));
    let expected = ["r-overdue-300", "r-slow-300-t", "r-stalled-300-6"];
    assert_eq!(ids(&bodies), expected);
    assert!(
        bodies
            .iter()
            .all(|body| body["waiting_for"] == json!(["web2"])),
        "{bodies:?}"
    );
    let end = json!({"status": "successful", "runner_ident": "job-7"});
    let rest = job(7, "runner_on_ok", on_host("web2")) + &record(8, end) + END;
    input.write_all(rest.as_bytes()).unwrap();
    drop(input);
    let ended = outcome(child);
    assert_eq!(ended.code, 0, "{ended:?}");
    let end = server.requests().last().unwrap().json()["event"].clone();
    assert_eq!(
        (&end["event"], &end["overdue"]),
        (&json!("run_end"), &json!(true))
    );
    assert_eq!(end["slow_tasks"][0]["task"], "Install");
}
