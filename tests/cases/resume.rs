//! What becomes of a run whose `stream` process ends before it, and of its notifiers' secrets meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::spool::run;
use super::stream::{END, event, greeting as hello};
use crate::sandbox::{Config, Outcome, Sandbox, outcome};
use crate::server::{OK, Server, dead_url, status};

fn result(seq: u64) -> String {
    event(seq, "runner_on_ok", json!({"host": {"name": "h"}}))
}

fn config(url: &str) -> String {
    format!(
        "[inputs]\ncallback_url = {url}\non = any\n[delivery]\ndrain = 2s\n\
         [outputs]\nid = event.id\nstatus = status\nchanged = changed_hosts\nelapsed = elapsed\n"
    )
}

fn ids(server: &Server) -> Vec<Value> {
    let requests = server.requests();
    let ids = requests.iter().map(|request| request.json()["id"].clone());
    let mut ids: Vec<Value> = ids.collect();
    ids.sort_by_key(Value::to_string);
    ids
}

fn stream(sandbox: &Sandbox, input: &str) -> Outcome {
    run(sandbox, &["stream"], input)
}

#[test]
fn the_end_of_a_run_is_said_by_whoever_goes_on_with_it() {
    let stats = json!({"h": {"ok": 2, "changed": 1}, "i": {"ok": 1, "changed": 0}});
    let failed = json!({"h": {"ok": 2, "failures": 1}});
    for (stats, status, changed) in [
        (stats, "success", json!(["h"])),
        (failed, "error", json!([])),
        (Value::Null, "canceled", json!([])),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&config(&server.url()));
        let resumed = json!({"after": 7, "began": 1763670121.5, "stats": stats});
        let outcome = stream(&sandbox, &(hello(json!({"resumed": resumed})) + END));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let said = server.requests()[0].json();
        assert_eq!(
            (&said["id"], &said["status"]),
            (&json!("r-end"), &json!(status))
        );
        assert_eq!(said["changed"], changed);
        assert!(said["elapsed"].as_f64().unwrap() > 1e6, "{said}");
    }
}

#[test]
fn what_a_process_left_behind_is_waited_for() {
    let sandbox =
        Sandbox::with_config(&Config::from(config(&dead_url())).delivery("drain = 100ms"));
    assert_eq!(stream(&sandbox, &(hello(json!({})) + &result(1))).code, 75);
    let server = Server::start([OK]);
    sandbox.file("plugin_config.ini", config(&server.url()));
    let resumed = json!({"resumed": {"after": 1, "began": 1.0, "stats": {}}});
    assert_eq!(stream(&sandbox, &(hello(resumed) + END)).code, 0);
    assert!(ids(&server).contains(&json!("r-1")), "{:?}", ids(&server));
}

#[test]
fn what_is_owed_by_one_setting_is_not_sent_by_another() {
    let server = Server::start([OK]);
    let dead = json!({"callback_url": dead_url(), "generation": 2});
    let alive = json!({"callback_url": server.url(), "generation": 3});
    let sandbox = Sandbox::with_config("[delivery]\ndrain = 300ms\n[outputs]\nid = event.id\n");
    let changed = format!("{}\n", json!({"overrides": alive}));
    let before = hello(json!({"overrides": dead})) + &result(1) + &changed + &result(2);
    assert_eq!(stream(&sandbox, &before).code, 75);
    let resumed = json!({"overrides": alive, "resumed": {"after": 2, "began": 1.0}});
    stream(&sandbox, &(hello(resumed) + &result(3) + END));
    let ids = ids(&server);
    assert!(
        ids.contains(&json!("r-2")) && ids.contains(&json!("r-3")),
        "{ids:?}"
    );
    assert!(!ids.contains(&json!("r-1")), "{ids:?}");
}

#[test]
fn settings_taken_back_after_bad_ones_hold_again() {
    let server = Server::start([OK]);
    let overrides = |overrides: Value| format!("{}\n", json!({"overrides": overrides}));
    let bad = overrides(json!({"callback_url": "nonsense", "generation": 2}));
    for back in [json!({"generation": 3}), json!({})] {
        let sandbox = Sandbox::with_config(&config(&server.url()));
        let (start, back) = (hello(json!({})), overrides(back));
        let input = start + &result(1) + &bad + &result(2) + &back + &result(3) + END;
        stream(&sandbox, &input);
    }
    let twice = ["r-1", "r-1", "r-3", "r-3", "r-end", "r-end"];
    assert_eq!(ids(&server), twice);
}

#[test]
fn a_signal_in_the_middle_says_no_end_and_takes_no_number() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let mut command = sandbox.command_on_spool(&["stream"]);
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        input.write_all(hello(json!({})).as_bytes()).unwrap();
        input.write_all(result(1).as_bytes()).unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(answers.any(|line| line.unwrap().contains("safe")));
        kill_process(Pid::from_child(&process), signal).unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(number));
    }
    let resumed = json!({"resumed": {"after": 1, "began": 1.0, "stats": {}}});
    stream(&sandbox, &(hello(resumed) + &result(2) + END));
    assert_eq!(ids(&server), ["r-1", "r-2", "r-end"]);
}

#[test]
fn a_secret_that_cannot_be_read_holds_up_no_other_notifier() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let text = format!(
        "[inputs]\ncallback_url = {}\nusername = anna\npassword_file = password\n[outputs]\nhost = host\n\
         [notifier:other]\ntype = webhook\nurl = {}\non = any\n",
        first.url(),
        second.url()
    );
    let sandbox = Sandbox::with_config(&text);
    let event = json!({"state": "failed", "host": "h"}).to_string();
    let sent = run(&sandbox, &["send", "-"], &event);
    assert_eq!(sent.code, 75, "{sent:?}");
    let reason = "plugin_config.ini:4: cannot read `";
    assert!(sent.stderr.contains(reason), "{sent:?}");
    assert!(
        sent.stderr
            .contains("2 deliveries: 1 delivered, 1 pending until the next run, `flush` or the timer (callback: "),
        "{sent:?}"
    );
    assert_eq!((first.requests().len(), second.requests().len()), (0, 1));
    let status = run(&sandbox, &["status"], "");
    assert!(status.stdout.contains(reason), "{status:?}");
    let flushed = run(&sandbox, &["flush"], "");
    assert!(
        flushed.code == 75 && flushed.stderr.contains(reason),
        "{flushed:?}"
    );
    let strict = run(&sandbox, &["stream", "--strict"], &hello(json!({})));
    assert_eq!(strict.code, 78);
    assert!(!strict.stdout.contains("ready"), "{strict:?}");

    sandbox.file("password", "canary");
    sandbox.mode("password", 0o600);
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert!(first.requests()[0].header("authorization").is_some());
}

#[test]
fn a_secret_that_comes_and_goes_is_that_of_its_play() {
    for first in [true, false] {
        let (main, other) = (Server::start([OK]), Server::start([OK]));
        let more = format!(
            "[notifier:other]\ntype = webhook\nurl = {}\ntoken_file = token\non = any\n[outputs:other]\nid = event.id\n",
            other.url()
        );
        let sandbox = Sandbox::with_config(&(config(&main.url()) + &more));
        let token = sandbox.file("token", "canary");
        sandbox.mode("token", if first { 0o600 } else { 0o644 });
        let strict: &[&str] = if first { &["--strict"] } else { &[] };
        let mut command = sandbox.command(&[&["stream"], strict].concat());
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        let start = hello(json!({})) + &result(1);
        input.write_all(start.as_bytes()).unwrap();
        main.wait_for(1);
        sandbox.mode("token", if first { 0o644 } else { 0o600 });
        let changed = json!({"overrides": {"username": "a", "password": "b", "generation": 2}});
        let rest = format!("{changed}\n{}{END}", result(2));
        input.write_all(rest.as_bytes()).unwrap();
        drop(input);
        outcome(process);
        assert_eq!(ids(&main), ["r-1", "r-2", "r-end"], "{first} {token:?}");
        // Where it was read once, it is used to the end; else it is read when it can be.
        assert_eq!(ids(&other), ["r-1", "r-2", "r-end"], "{first}");
    }
}

#[test]
fn credentials_that_are_no_good_when_read_anew_are_not_left_out() {
    let server = Server::start([status(401), OK]);
    let text = format!(
        "[inputs]\ncallback_url = {}\nsign = standard\nsigning_secret_command = sh secret\n[delivery]\ndrain = 1s\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&text);
    let good = "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5";
    let script = format!("if [ -e read ]; then echo whsec_; else touch read; echo {good}; fi\n");
    sandbox.file("secret", script);
    let event = json!({"state": "failed", "host": "h"}).to_string();
    assert_eq!(run(&sandbox, &["send", "-"], &event).code, 75);
    let requests = server.requests();
    let signed = requests
        .iter()
        .filter(|request| request.header("webhook-signature").is_some());
    assert_eq!((requests.len(), signed.count()), (1, 1));
}

#[test]
fn a_command_for_a_secret_is_not_waited_for_for_ever() {
    let config =
        "[inputs]\ncallback_url = https://localhost/\nusername = a\npassword_command = sleep 600\n";
    let checked = Sandbox::with_config(config).run(&["check-config", "--run-commands"]);
    checked.expect_line(78, &["`sleep` timed out after 5 s"]);
}
