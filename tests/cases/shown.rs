//! Secrets of the configuration are masked wherever the content of the spool is shown, from the first time on.

use serde_json::json;

use super::spool::run;
use crate::sandbox::Sandbox;
use crate::sandbox::page::Served;
use crate::server::{OK, Server};

/// The secret, which is in a file of its own: only the configuration leads to it.
const SECRET: &str = "pA55-of-the-hook";

/// A spool with a run in whose names, texts and reasons the secret of its notifier is.
fn world() -> (Sandbox, Server) {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    sandbox.file("token", SECRET);
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[notifier:hook]\ntype = webhook\nurl = {}\ntoken_file = token\non = any\n\
             [delivery]\ndrain = 30s\nkeep_bodies = true\nrecord = all\n",
            server.url()
        ),
    );
    let host = json!({"name": format!("web-{SECRET}")});
    let result = json!({"msg": format!("cannot use {SECRET}"), "stdout": SECRET, "rc": 1});
    let stats = json!({"stats": {format!("web-{SECRET}"): {"failures": 1}}});
    let lines = [
        json!({"hello": {"protocol": 1, "run": {"id": "r-1", "playbook": "site.yml"}}}),
        json!({"play": {"id": "p", "name": format!("play {SECRET}")}}),
        json!({"task": {"id": "t", "name": format!("task {SECRET}"), "action": "command"}}),
        json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1_790_000_000.0}}),
        json!({"event": {"seq": 2, "event": "runner_on_failed", "time": 1_790_000_001.0, "play": "p", "task": "t", "host": host, "result": result}}),
        json!({"event": {"seq": 3, "event": "playbook_on_stats", "time": 1_790_000_002.0, "result": stats}}),
        json!({"end": {"reason": "exit", "code": 2}}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(run(&sandbox, &["stream"], &lines).code, 0);
    let why = format!("we rotate {SECRET}");
    let muted = run(
        &sandbox,
        &["mute", "hook", "--until", "1h", "--why", &why],
        "",
    );
    muted.expect_line(0, &["hook: muted until "]);
    (sandbox, server)
}

#[test]
fn no_command_shows_a_secret() {
    let (sandbox, _server) = world();
    let report = sandbox.path("report.html");
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["history"],
        &["history", "--json"],
        &["history", "1"],
        &["history", "1", "--json"],
        &["history", "2"],
        &["history", "--actions"],
        &["history", "--actions", "--json"],
        &["runs"],
        &["runs", "--json"],
        &["runs", "last"],
        &["runs", "last", "--json"],
        &["report", "last"],
        &["check-config"],
        &["doctor"],
    ] {
        let shown = run(&sandbox, command, "");
        assert!(!shown.stdout.is_empty(), "{command:?}: {shown:?}");
        assert!(
            !format!("{shown:?}").contains(SECRET),
            "{command:?}: {shown:?}"
        );
    }
    let path = report.display().to_string();
    assert_eq!(run(&sandbox, &["report", "last", "-o", &path], "").code, 0);
    let written = std::fs::read_to_string(report).unwrap();
    assert!(written.contains("[redacted]") && !written.contains(SECRET));
}

#[test]
fn a_page_that_was_just_started_shows_no_secret() {
    let (sandbox, _server) = world();
    for path in [
        "/",
        "/runs/r-1",
        "/runs/r-1/results",
        "/runs/r-1/results/2",
        "/deliveries",
        "/deliveries/1",
        "/notifiers",
        "/notifiers/1",
        "/notifiers/1/preview",
        "/actions",
        "/trends",
        "/api/v1/runs",
        "/api/v1/runs/r-1",
        "/api/v1/runs/r-1/hosts",
        "/api/v1/runs/r-1/tasks",
        "/api/v1/runs/r-1/results",
        "/api/v1/runs/r-1/results/2",
        "/api/v1/deliveries",
        "/api/v1/deliveries/1",
        "/api/v1/notifiers",
        "/api/v1/notifiers/1",
        "/api/v1/actions",
    ] {
        let served = Served::start(&sandbox, &[]);
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.contains(SECRET), "{path}: {}", answer.body);
    }
}

#[test]
fn a_page_that_runs_learns_the_secrets_of_a_new_notifier() {
    let (sandbox, server) = world();
    let served = Served::start(&sandbox, &[]);
    assert!(!served.get("/deliveries").body.contains(SECRET));
    sandbox.file(
        "other.ini",
        format!(
            "[notifier:other]\ntype = webhook\nurl = {}\ntoken = another-S3cret\non = failed\n",
            server.url()
        ),
    );
    let event = json!({"state": "failed", "host": "another-S3cret", "result": {}}).to_string();
    let sent = run(&sandbox, &["send", "--config", "other.ini", "-"], &event);
    assert_eq!(sent.code, 0, "{sent:?}");
    let page = served.get("/deliveries").body;
    assert!(
        page.contains("other") && !page.contains("another-S3cret"),
        "{page}"
    );
}
