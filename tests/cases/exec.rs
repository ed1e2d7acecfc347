//! The kind `exec`, with small scripts and with Apprise.

use std::time::Instant;

use serde_json::{Value, json};

use super::chat::failed_run;
use crate::sandbox::{Outcome, PATIENCE, Sandbox, outcome};
use crate::server::{OK, Server};

const FAILED: &str =
    r#"{"id":"e-1","state":"failed","host":"web1","task":"Install","result":{"msg":"no"}}"#;

/// A script next to the configuration, which it changes to, and a notifier that runs it.
fn sandbox(script: &str, keys: &str) -> Sandbox {
    let command = match keys.contains("command = ") {
        true => "",
        false => "command = ./hook.sh",
    };
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:hook]\ntype = exec\non = any\n{command}\n{keys}\n[delivery]\ndrain = 20\n"
    ));
    sandbox.file(
        "hook.sh",
        format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{script}\n"),
    );
    sandbox.mode("hook.sh", 0o700);
    sandbox.file("event.json", FAILED);
    sandbox
}

fn send(sandbox: &Sandbox) -> Outcome {
    sandbox.run_on_spool(&["send", "event.json"])
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path(name)).unwrap()
}

#[test]
fn a_command_gets_the_event_and_few_variables() {
    let sandbox = sandbox(
        "cat > got; env > environment; pwd > /dev/null",
        "environment = WANTED",
    );
    let mut command = sandbox.command_on_spool(&["send", "event.json"]);
    command.env("SECRET_TOKEN", "canary").env("WANTED", "yes");
    assert_eq!(outcome(command.spawn().unwrap()).code, 0);
    let got: Value = serde_json::from_str(&read(&sandbox, "got")).unwrap();
    assert_eq!(got["host"], "web1");
    let environment = read(&sandbox, "environment");
    for line in [
        "NOTIFY_ID=e-1",
        "NOTIFY_EVENT=runner_on_failed",
        "NOTIFY_LEVEL=error",
        "NOTIFY_HOST=web1",
        "NOTIFY_TASK=Install",
        "WANTED=yes",
    ] {
        assert!(
            environment.lines().any(|known| known == line),
            "{line}: {environment}"
        );
    }
    assert!(environment.contains("PATH="), "{environment}");
    assert!(!environment.contains("canary"), "{environment}");
}

#[test]
fn the_words_are_those_that_are_written() {
    let keys = "command = ./hook.sh 'a b' '$HOME;touch x' \"*\"";
    let sandbox = sandbox("printf '%s\\n' \"$#\" \"$@\" > got", keys);
    assert_eq!(send(&sandbox).code, 0);
    assert_eq!(read(&sandbox, "got"), "3\na b\n$HOME;touch x\n*\n");
    let checked = sandbox_with("command = ./hook.sh | cat").run(&["check-config"]);
    checked.expect_line(
        0,
        &["`|` has no special meaning, as `command` does not run in a shell"],
    );
    let checked = sandbox_with("command = ./hook.sh 'a").run(&["check-config"]);
    checked.expect_line(78, &["`command`: a quote is not closed"]);
}

fn sandbox_with(keys: &str) -> Sandbox {
    sandbox("", keys)
}

#[test]
fn the_exit_code_decides() {
    for (script, code, parts) in [
        ("exit 0", 0, &["delivered"][..]),
        // It need not read what it gets.
        ("exec <&-; exit 0", 0, &["delivered"]),
        (
            "echo later >&2; exit 75",
            75,
            &["failed: exit status: 75: later"],
        ),
        ("kill -9 $$", 75, &["failed: signal: 9 (SIGKILL)"]),
        (
            "echo first >&2; echo 'no such room' >&2; exit 1",
            69,
            &["1 dead", "failed: exit status: 1: no such room"],
        ),
        ("exit 69", 69, &["1 dead", "failed: exit status: 69"]),
        // More than a pipe holds, and nothing that ends a line.
        (
            "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 3",
            69,
            &["exit status: 3: xxxx", " […]"],
        ),
        // Someone else holds the standard error open.
        (
            "sleep 100 & echo $! > pid; exit 4",
            69,
            &["failed: exit status: 4"],
        ),
    ] {
        let sandbox = sandbox(script, "");
        let drained = read(&sandbox, "plugin_config.ini");
        if code == 75 {
            sandbox.file(
                "plugin_config.ini",
                drained.replace("drain = 20", "drain = 2"),
            );
        }
        let large =
            json!({"state": "failed", "host": "web1", "result": {"msg": "x".repeat(300_000)}});
        sandbox.file("event.json", large.to_string());
        let sent = send(&sandbox);
        assert_eq!(sent.code, code, "{script}: {sent:?}");
        for part in parts {
            match code {
                75 => sandbox.expect_reason(part),
                _ => assert!(sent.stderr.contains(part), "{script}: {sent:?}"),
            }
        }
        assert!(sent.stderr.len() < 1000, "{script}: {}", sent.stderr.len());
        if let Ok(pid) = std::fs::read_to_string(sandbox.path("pid")) {
            let _ = std::process::Command::new("kill").arg(pid.trim()).status();
        }
    }
}

#[test]
fn a_reason_shows_no_secret() {
    let sandbox = sandbox("cat >&2; exit 1", "body.key = canary-key");
    let sent = send(&sandbox);
    sent.expect_line(69, &["exit status: 1: {", "[redacted]"]);
    sandbox.expect_no_canary();
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_that_it_started() {
    let script = "sleep 1000 &\necho $! > pid.new; mv pid.new pid; sleep 1000";
    let sandbox = sandbox(script, "timeout = 2s");
    let config = read(&sandbox, "plugin_config.ini").replace("drain = 20", "drain = 6");
    sandbox.file("plugin_config.ini", config);
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    sandbox.expect_reason("did not end within 2s");
    let process = format!("/proc/{}/stat", read(&sandbox, "pid").trim());
    let deadline = Instant::now() + PATIENCE;
    let runs = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
    while runs() {
        assert!(Instant::now() < deadline, "{process}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_is_missing_is_found_by_the_check_and_waited_for() {
    let sandbox = sandbox_with("command = ./missing.sh");
    let config = read(&sandbox, "plugin_config.ini").replace("drain = 20", "drain = 2");
    sandbox.file("plugin_config.ini", config);
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert_ne!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stderr.contains("is no program that can be run"),
        "{checked:?}"
    );
    // Its line says that it failed, among those that did not.
    let mut lines = checked.stdout.lines();
    let is_marked =
        |line: &str| line.contains(": failed: ") && line.contains("is no program that can be run");
    assert!(lines.any(is_marked), "{checked:?}");
    assert_eq!(send(&sandbox).code, 75);
    sandbox.expect_reason("missing.sh`: No such file or directory");
    let good = sandbox_with("");
    let checked = good.run(&["check-config", "--connect"]);
    checked.expect(0, "");
    assert!(checked.stdout.contains("can be run"), "{checked:?}");
    sandbox_with("command = {{ host }}")
        .run(&["check-config"])
        .expect_line(78, &["`command` cannot be a template"]);
}

#[test]
fn a_time_limit_leaves_some_time() {
    for kind in ["exec\ncommand = true", "webhook\nurl = http://127.0.0.1:9"] {
        let config = format!("[notifier:x]\ntype = {kind}\ntimeout = 0\n");
        Sandbox::with_config(&config)
            .run(&["check-config"])
            .expect_line(78, &["plugin_config.ini:4: `timeout` must be more than 0"]);
    }
}

#[test]
fn looking_at_it_does_not_run_it() {
    let sandbox = sandbox("touch trace", "");
    let shown = sandbox.run(&["send", "--dry-run", "event.json"]);
    assert!(
        shown.stdout.contains("RUN /") && shown.stdout.contains("hook.sh"),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("NOTIFY_HOST=web1"), "{shown:?}");
    assert!(shown.stdout.contains("\"host\":\"web1\""), "{shown:?}");
    for arguments in [
        &["check-config"][..],
        &["routes", "event.json"],
        &["check-config", "--connect"],
    ] {
        sandbox.run(arguments);
    }
    assert!(!sandbox.path("trace").exists());
}

/// A checkout with a spool of its own in which something waits, made by somebody else.
fn checkout(keys: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let config = format!("{keys}\n[delivery]\nspool = ./spool\ndrain = 0\n");
    sandbox.file("checkout/plugin_config.ini", config);
    sandbox.file("checkout/event.json", FAILED);
    sandbox.file("home/mine", "");
    assert_eq!(at(&sandbox, &["send", "event.json", "--no-wait"]).code, 0);
    sandbox
}

fn at(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    let mut command = sandbox.command(arguments);
    command.current_dir(sandbox.path("checkout"));
    outcome(command.spawn().unwrap())
}

#[test]
fn a_checkout_runs_and_writes_nothing_from_its_own_spool() {
    let trace = "trace";
    for keys in [
        "[notifier:x]\ntype = exec\non = any\ncommand = sh -c 'echo > \"$HOME/trace\"'",
        "[notifier:x]\ntype = file\non = any\npath = ~/trace",
        "[notifier:x]\ntype = file\non = any\npath = ~/{{ 'trace' }}",
    ] {
        let sandbox = checkout(keys);
        let trace = sandbox.path("home").join(trace);
        assert!(!trace.exists(), "{keys}");
        for arguments in [&["flush"][..], &["flush", "--due"], &["flush", "--held"]] {
            let flushed = at(&sandbox, arguments);
            assert!(!trace.exists(), "{keys}: {flushed:?}");
        }
        let flushed = at(&sandbox, &["flush"]);
        assert_eq!(flushed.code, 78, "{keys}: {flushed:?}");
        let reason = "checkout/plugin_config.ini selects this spool";
        assert!(flushed.stderr.contains(reason), "{keys}: {flushed:?}");
        // Who names the spool trusts it.
        let flushed = at(&sandbox, &["flush", "--spool", "spool"]);
        assert_eq!(flushed.code, 0, "{keys}: {flushed:?}");
        assert!(trace.exists(), "{keys}");
    }
}

#[test]
fn apprise_delivers_what_the_page_says() {
    let apprise = concat!(env!("CARGO_MANIFEST_DIR"), "/target/venvs/servers/bin");
    let server = Server::start([OK]);
    let example = include_str!("../../examples/notifiers/exec.ini");
    let sandbox = Sandbox::with_config(&format!(
        "{example}timeout = 120s\n[delivery]\ndrain = 120\n"
    ));
    let url = server.at("/hook").replace("http://", "json://");
    sandbox.file("home/.config/apprise.yml", format!("urls:\n  - {url}\n"));
    let mut event = failed_run(1);
    event["reason"] = json!("web1: no \"space\" left");
    sandbox.file("event.json", event.to_string());
    let path = format!("{apprise}:{}", std::env::var("PATH").unwrap());
    let mut command = sandbox.command_on_spool(&["send", "event.json"]);
    let sent = outcome(command.env("PATH", path).spawn().unwrap());
    assert_eq!(sent.code, 0, "{sent:?}");
    let got = server.requests()[0].json();
    assert_eq!(
        (&got["title"], &got["message"]),
        (&json!("site.yml failed"), &json!("web1: no \"space\" left"))
    );
}
