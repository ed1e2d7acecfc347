//! `stream`: the protocol of docs/protocol.md, fed by hand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::time::{Duration, Instant};

use crate::sandbox::{Config, Outcome, PATIENCE, Sandbox, config_for, outcome};
use crate::server::{OK, Reply, Server, dead_url};
use serde_json::{Value, json};

fn hello(overrides: Value) -> String {
    greeting(json!({"overrides": overrides}))
}

/// The first record of the run `r`, with what else it says.
pub fn greeting(more: Value) -> String {
    let run = json!({"id": "r", "playbook": "site.yml", "check": false, "tags": []});
    let mut hello = json!({"protocol": 1, "run": run});
    let more = more.as_object().unwrap().clone();
    hello.as_object_mut().unwrap().extend(more);
    format!("{}\n", json!({"hello": hello}))
}

pub fn event(seq: u64, name: &str, more: Value) -> String {
    let mut event = json!({"seq": seq, "event": name, "time": 1763670121.5});
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    format!("{}\n", json!({"event": event}))
}

pub const END: &str = "{\"end\":{\"reason\":\"exit\"}}\n";

fn run(config: &str, input: &str) -> Outcome {
    Sandbox::with_config(config).run_with_input(&["stream"], input)
}

fn run_in_little_memory(config: &str, input: String) -> Outcome {
    let sandbox = Sandbox::with_config(config);
    let input = std::fs::File::open(sandbox.file("records", input)).unwrap();
    let mut limited = sandbox.command_in_little_memory(&["stream"]);
    outcome(limited.stdin(input).spawn().unwrap())
}

#[test]
fn records_are_completed_and_answered() {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\non = any, playbook_on_task_start\n[outputs]\ne = event\n",
        server.url()
    );
    let stats = json!({"result": {"stats": {"h": {"ok": 1, "failures": 0}}}});
    let input = [
        hello(json!({})),
        json!({"play": {"id": "p1", "name": "web"}}).to_string() + "\n",
        json!({"task": {"id": "t1", "name": "install", "action": "dnf", "path": "site.yml:3", "role": null, "tags": ["a"], "handler": false}}).to_string() + "\n",
        event(1, "playbook_on_start", json!({})),
        event(2, "playbook_on_task_start", json!({"play": "p1", "task": "t1"})),
        event(3, "runner_on_ok", json!({"play": "p1", "task": "t1", "changed": true, "duration": 0.5, "host": {"name": "h"}, "result": {"changed": true}})),
        event(4, "playbook_on_stats", stats),
        END.to_owned(),
    ];
    let outcome = run(&config, &input.concat());
    outcome.expect(0, "ansible-notify: 3 events, 3 deliveries: all delivered\n");
    let answers: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers[0], json!({"config": {"vars": [], "groups": false}}));
    assert_eq!(
        answers[1],
        json!({"ready": {"protocol": 1, "version": env!("CARGO_PKG_VERSION"), "drain": 5.0}})
    );
    assert_eq!(answers.last().unwrap(), &json!({"safe": 4}));

    let events: Vec<Value> = server
        .requests()
        .iter()
        .map(|request| request.json()["e"].clone())
        .collect();
    let result = events
        .iter()
        .find(|event| event["event"] == "runner_on_ok")
        .unwrap();
    assert_eq!(result["id"], "r-3");
    assert_eq!(result["time"], "2025-11-20T20:22:01.500000Z");
    assert_eq!(result["task"]["path"], "site.yml:3");
    assert_eq!(
        (&result["play"]["name"], &result["run"]["playbook"]),
        (&json!("web"), &json!("site.yml"))
    );
    let end = events
        .iter()
        .find(|event| event["event"] == "run_end")
        .unwrap();
    assert_eq!(
        (&end["status"], &end["changed"], &end["stats"]["h"]["ok"]),
        (&json!("success"), &json!(true), &json!(1))
    );
}

#[test]
fn how_a_run_ended() {
    let failed = json!({"result": {"stats": {"h": {"ok": 1, "failures": 1}}}});
    let rescued = json!({"result": {"stats": {"h": {"ok": 1, "failures": 0, "rescued": 1}}}});
    let start = event(1, "playbook_on_start", json!({}));
    let bad = event(2, "runner_on_failed", json!({"host": {"name": "h"}}));
    for (records, status) in [
        (
            vec![
                start.clone(),
                event(3, "playbook_on_stats", failed),
                END.to_owned(),
            ],
            "error",
        ),
        (
            vec![
                start.clone(),
                bad.clone(),
                event(3, "playbook_on_stats", rescued),
                END.to_owned(),
            ],
            "success",
        ),
        (vec![start.clone(), bad.clone(), END.to_owned()], "canceled"),
        (vec![start, bad.clone()], "canceled"),
        (vec![bad, END.to_owned()], "error"),
    ] {
        let server = Server::start([OK]);
        let config = format!(
            "[notifier:x]\ntype = webhook\nurl = {}\non = success, error, canceled\n[outputs:x]\nstatus = status\n",
            server.url()
        );
        run(&config, &(hello(json!({})) + &records.concat()))
            .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
        assert_eq!(server.requests()[0].json()["status"], status);
    }
}

#[test]
fn the_play_wins_over_the_environment_and_that_over_the_file() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = http://127.0.0.1:1/file\nusername = file\npassword = file-password\n",
    );
    let mut command = sandbox.command(&["stream"]);
    command
        .env(
            "ANSIBLE_NOTIFY_CALLBACK_URL",
            "http://127.0.0.1:1/environment",
        )
        .env("ANSIBLE_NOTIFY_USERNAME", "environment");
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let overrides =
        json!({"callback_url": server.url(), "password": "play-password", "validate_certs": false});
    let input = hello(overrides) + &event(1, "runner_on_ok", json!({"host": {"name": "h"}})) + END;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    crate::sandbox::outcome(child).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some("Basic ZW52aXJvbm1lbnQ6cGxheS1wYXNzd29yZA==")
    );
}

#[test]
fn a_later_play_can_go_elsewhere() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let result = |seq| event(seq, "runner_on_ok", json!({"host": {"name": "h"}}));
    let overrides = |url: String| json!({"overrides": {"callback_url": url}}).to_string() + "\n";
    let input = hello(json!({"callback_url": first.url()}))
        + &result(1)
        + &overrides(second.url())
        + &result(2)
        + &overrides("nonsense".into())
        + &result(3)
        + END;
    let outcome = run("[outputs]\nhost = host\n", &input);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
    assert!(
        outcome
            .stderr
            .contains("the play's vars: `callback_url` must begin with http://"),
        "{outcome:?}"
    );
}

#[test]
fn a_broken_configuration_is_said_once() {
    let input = hello(json!({})) + &event(1, "runner_on_ok", json!({})) + END;
    let outcome = run("[inputs]\ncallback_url = nonsense\n", &input);
    outcome.expect_warning(75, &["`callback_url` must begin with http://"]);
    let outcome = run("callback_url = nonsense\n", &input);
    assert_eq!(outcome.code, 78);
    assert!(!outcome.stdout.contains("ready"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:?}");
}

#[test]
fn what_is_no_record_is_counted() {
    let server = Server::start([OK]);
    let input = hello(json!({}))
        + "{\"event\":{\"seq\":1}}\nnonsense\n"
        + &event(2, "runner_on_ok", json!({}))
        + END;
    let outcome = run(&config_for(&server.url()), &input);
    assert_eq!(outcome.code, 65);
    assert!(
        outcome
            .stderr
            .contains("line 2 of the stream is not a record")
            && outcome
                .stderr
                .ends_with("2 lines of the stream were not records\n"),
        "{outcome:?}"
    );
    assert_eq!(server.requests().len(), 1);
    run("", "").expect(0, "");
}

#[test]
fn what_is_nested_too_deeply_costs_only_its_depth() {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\n[outputs]\nitem = item\nrc = result.rc\n",
        server.url()
    );
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let record = event(
        1,
        "runner_on_ok",
        json!({"item": 1, "result": {"rc": 2, "deep": 3}}),
    );
    let record = record
        .replace("\"item\":1", &format!("\"item\":{deep}"))
        .replace("\"deep\":3", &format!("\"deep\":{deep}"));
    run(&config, &(hello(json!({})) + &record + END))
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!(server.requests()[0].json()["rc"], 2);
}

#[test]
fn a_dead_endpoint_costs_the_drain_and_no_more() {
    let config = Config::to(&dead_url()).delivery("drain = 500ms").text();
    let input = hello(json!({})) + &event(1, "runner_on_ok", json!({"host": {"name": "h"}})) + END;
    let started = Instant::now();
    let outcome = run(&config, &input);
    outcome.expect_line(
        75,
        &[
            "1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: ",
            "Connection refused",
        ],
    );
    let spent = started.elapsed();
    assert!(
        spent >= Duration::from_millis(450) && spent < PATIENCE,
        "{spent:?}"
    );
}

#[test]
fn results_arrive_while_the_play_goes_on() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    let mut child = sandbox
        .command(&["stream"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    stdin.write_all(hello(json!({})).as_bytes()).unwrap();
    assert!(answers.next().unwrap().unwrap().contains("config"));
    assert!(answers.next().unwrap().unwrap().contains("ready"));
    stdin
        .write_all(event(1, "runner_on_ok", json!({"host": {"name": "h"}})).as_bytes())
        .unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "{\"safe\":1}");
    server.wait_for(1);

    drop(stdin);
    outcome(child).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
}

#[test]
fn a_burst_stays_within_bounded_memory() {
    let server = Server::start([Reply::After(Duration::from_millis(1))]);
    let config = Config::to(&server.url()).delivery("drain = 60s").text();
    let mut input = hello(json!({}));
    for seq in 1..=5000 {
        input += &event(
            seq,
            "runner_on_ok",
            json!({"host": {"name": format!("h{}", seq % 10)}, "result": {"stdout": "x".repeat(2000)}}),
        );
    }
    run_in_little_memory(&config, input + END).expect(
        0,
        "ansible-notify: 5000 events, 5000 deliveries: all delivered\n",
    );
    let mut ids: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("webhook-id").unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5000);
}

#[test]
fn large_parts_of_results_take_little_memory_while_they_are_sent() {
    let server = Server::start([Reply::After(Duration::from_secs(2))]);
    let config = format!(
        "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 60\n[outputs]\npackages = result.ansible_facts.packages\n",
        server.url()
    );
    let package = json!([{"name": "bash", "version": "5.2.15", "release": "2", "source": "apt"}]);
    let packages: Value = (0..3000)
        .map(|number| (format!("package-{number}"), package.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut input = hello(json!({}));
    for seq in 1..=16 {
        let host = json!({"name": format!("h{seq}")});
        let result = json!({"ansible_facts": {"packages": packages}});
        input += &event(seq, "runner_on_ok", json!({"host": host, "result": result}));
    }
    run_in_little_memory(&config, input + END).expect(
        0,
        "ansible-notify: 16 events, 16 deliveries: all delivered\n",
    );
    assert_eq!(server.requests()[15].json()["packages"], packages);
}
