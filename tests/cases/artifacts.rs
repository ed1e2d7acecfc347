//! The end of a run that ansible-runner leaves to be found: in its artifacts, and in what it prints.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

fn job_event(counter: u64, name: &str, data: &Value) -> Value {
    json!({"uuid": format!("u{counter}"), "counter": counter, "stdout": "", "runner_ident": "job-7", "event": name,
        "created": format!("2026-11-20T20:22:{counter:02}+00:00"), "event_data": data})
}

fn verbose(counter: u64, stdout: &str) -> Value {
    json!({"uuid": format!("u{counter}"), "counter": counter, "stdout": stdout, "runner_ident": "job-7",
        "event": "verbose", "created": "2026-11-20T20:22:01+00:00"})
}

/// A playbook in which one of two hosts failed.
fn failed() -> Vec<Value> {
    let task = json!({"playbook": "site.yml", "play": "all", "task": "install", "host": "web1", "res": {"msg": "no"}});
    let counts = json!({"changed": {"web2": 1}, "failures": {"web1": 1}, "ok": {"web2": 1},
        "processed": {"web1": 1, "web2": 1}});
    vec![
        job_event(1, "playbook_on_start", &json!({"playbook": "site.yml"})),
        job_event(2, "runner_on_failed", &task),
        job_event(5, "playbook_on_stats", &counts),
    ]
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

const OUTPUTS: &str = "[outputs]\nstatus = status\nplaybook = playbook\nfailures = failures\nchanged = changed_hosts\n\
                       reason = reason\ncode = exit_code\nelapsed = elapsed\ntasks = failed_tasks | map(attribute='task') | list\n";

/// What a notifier with the default triggers of a run hears, of an input or of these files.
fn heard(input: &str, files: &[(&str, &str)], arguments: &[&str]) -> (Vec<Value>, String) {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\non = error, success, canceled\n{OUTPUTS}",
        server.url()
    ));
    for (path, text) in files {
        let path = sandbox.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let arguments = [&["send"], arguments].concat();
    let outcome = sandbox.run_with_input(&arguments, input);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    (server.bodies(), outcome.stderr)
}

#[test]
fn the_end_is_made_of_the_counts() {
    let (ends, _) = heard(&lines(&failed()), &[], &["-"]);
    let expected = json!({"status": "error", "playbook": "site.yml", "failures": 1, "changed": ["web2"],
        "reason": "web1: install: no", "code": null, "elapsed": 4.0, "tasks": ["install"]});
    assert_eq!(ends, std::slice::from_ref(&expected));
    // A status among the records is the end, and no other one is made.
    let said = json!({"status": "failed", "runner_ident": "job-7"}).to_string();
    let (ends, _) = heard(&(lines(&failed()) + &said), &[], &["-"]);
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["failures"], expected["failures"]);
    assert_eq!(ends[0]["changed"], expected["changed"]);
}

#[test]
fn a_run_without_counts_ends_as_its_output_says() {
    let began = lines(&failed()[..1]);
    let (ends, _) = heard(&began, &[], &["-"]);
    assert_eq!(ends[0]["status"], "canceled");
    let error = "\u{1b}[0;31m[ERROR]: the role 'x' was not found\u{1b}[0m\r\n\u{1b}[0;31mOrigin: site.yml:3:7\u{1b}[0m\r\n\r\nmore\n";
    let (ends, said) = heard(&(began + error), &[], &["-"]);
    assert_eq!(ends[0]["status"], "error");
    let reason = "the role 'x' was not found\nOrigin: site.yml:3:7";
    assert_eq!(ends[0]["reason"], reason);
    assert!(said.contains("that are not JSON"), "{said}");
    // Of a playbook that cannot be read, nothing but text comes.
    for (text, reason) in [
        (error, reason),
        (
            "ERROR! Syntax Error while loading YAML.\n  did not find\n",
            "Syntax Error while loading YAML.\ndid not find",
        ),
        ("[ERROR]: no end of line", "no end of line"),
    ] {
        let (ends, _) = heard(text, &[], &["-"]);
        assert_eq!(ends.len(), 1, "{text}");
        assert_eq!(
            (&ends[0]["status"], &ends[0]["reason"]),
            (&json!("error"), &json!(reason))
        );
    }
}

#[test]
fn part_of_a_run_has_no_end() {
    for event in &failed() {
        if event["event"] != "playbook_on_start" {
            assert_eq!(heard(&event.to_string(), &[], &["-"]).0, [json!(null); 0]);
        }
    }
}

#[test]
fn the_artifacts_say_how_the_run_ended() {
    let events: Vec<String> = failed().iter().map(Value::to_string).collect();
    let job_events = [
        ("artifacts/job-7/job_events/1-a.json", events[0].as_str()),
        ("artifacts/job-7/job_events/2-b.json", events[1].as_str()),
        ("artifacts/job-7/job_events/10-c.json", events[2].as_str()),
    ];
    let beside = [
        ("artifacts/job-7/status", "failed"),
        ("artifacts/job-7/rc", "2"),
    ];
    let whole = [&job_events[..], &beside].concat();
    for folder in [
        "artifacts/job-7",
        "artifacts/job-7/",
        "artifacts/job-7/job_events",
    ] {
        let (ends, _) = heard("", &whole, &[folder]);
        assert_eq!(ends.len(), 1, "{folder}");
        let end = (&ends[0]["status"], &ends[0]["code"], &ends[0]["changed"]);
        assert_eq!(end, (&json!("error"), &json!(2), &json!(["web2"])));
    }
    for (status, code, expected) in [
        ("canceled", "254", "canceled"),
        ("timeout", "254", "error"),
        ("successful", "0", "success"),
    ] {
        let beside = [
            ("artifacts/job-7/status", status),
            ("artifacts/job-7/rc", code),
        ];
        let (ends, _) = heard(
            "",
            &[&job_events[..1], &beside].concat(),
            &["artifacts/job-7"],
        );
        assert_eq!(ends[0]["status"], expected);
    }
    // It is still running.
    assert!(
        heard("", &job_events[..2], &["artifacts/job-7"])
            .0
            .is_empty()
    );
}

#[test]
fn a_playbook_that_cannot_be_read_failed() {
    let error = verbose(1, "\u{1b}[0;31m[ERROR]: YAML parsing failed.\u{1b}[0m").to_string();
    let origin = verbose(2, "Origin: /srv/site.yml:3:1").to_string();
    let command = json!({"command": ["ansible-playbook", "-i", "hosts", "site.yml"], "env": {"KEY": "canary"}}).to_string();
    let files = [
        ("artifacts/job-7/job_events/1-a.json", error.as_str()),
        ("artifacts/job-7/job_events/2-b.json", origin.as_str()),
        ("artifacts/job-7/status", "failed"),
        ("artifacts/job-7/rc", "4"),
        ("artifacts/job-7/command", command.as_str()),
    ];
    let (ends, _) = heard("", &files, &["artifacts/job-7"]);
    assert_eq!(ends.len(), 1);
    let end = &ends[0];
    assert_eq!(
        end["reason"],
        "YAML parsing failed.\nOrigin: /srv/site.yml:3:1"
    );
    let said = (&end["status"], &end["playbook"], &end["code"]);
    assert_eq!(said, (&json!("error"), &json!("site.yml"), &json!(4)));
    // From ansible-core 2.19 on it is an event of its own.
    let named = error.replace("\"verbose\"", "\"error\"");
    let files = [&[(files[0].0, named.as_str())], &files[1..]].concat();
    let (ends, _) = heard("", &files, &["artifacts/job-7"]);
    assert_eq!(
        ends[0]["reason"],
        "YAML parsing failed.\nOrigin: /srv/site.yml:3:1"
    );
    // Ansible itself could not be started: there is no event at all.
    let (ends, _) = heard("", &files[2..], &["artifacts/job-7"]);
    assert_eq!(
        (&ends[0]["status"], &ends[0]["code"]),
        (&json!("error"), &json!(4))
    );
}
