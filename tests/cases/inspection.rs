//! Looking at a configuration runs nothing of it, and a spool that a stranger brought along gets nothing.

use std::path::Path;

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server};

/// A project whose commands leave a trace.
fn project(url: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let trace = sandbox.path("trace");
    let script = format!("#!/bin/sh\necho run >> {}\necho $1\n", trace.display());
    sandbox.file("command", script);
    sandbox.mode("command", 0o700);
    let command = sandbox.path("command").display().to_string();
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[inputs]\ncallback_url = {url}\nusername = anna\npassword_command = {command} canary-password\n\
             [notifier:hook]\ntype = webhook\nurl_command = {command} {url}\non = any\n\
             [notifier:signed]\ntype = webhook\nurl = {url}\nsign = standard\nsigning_secret_command = {command} YWJj\non = any\n\
             [notifier:slack]\ntype = slack\nurl_command = {command} {url}\non = any\n\
             [notifier:pager]\ntype = pagerduty\nrouting_key_command = {command} canary-key\non = any\napi_url = {url}\n"
        ),
    );
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    sandbox
}

fn runs(trace: &Path) -> usize {
    std::fs::read_to_string(trace).map_or(0, |text| text.lines().count())
}

#[test]
fn an_inspection_says_which_commands_there_are_and_runs_none() {
    let server = Server::start([OK]);
    let sandbox = project(&server.url());
    let inspections: [&[&str]; 4] = [
        &["check-config"],
        &["check-config", "--json"],
        &["routes", "event.json"],
        &["send", "--dry-run", "event.json"],
    ];
    for arguments in inspections {
        let inspected = sandbox.run(arguments);
        assert_eq!(inspected.code, 0, "{inspected:?}");
        let said = inspected.printed();
        for (line, key) in [
            (4, "password"),
            (7, "url"),
            (13, "signing_secret"),
            (17, "url"),
            (21, "routing_key"),
        ] {
            let note = format!("`{key}_command` is not run here; use --run-commands to run it");
            let place = format!("plugin_config.ini:{line}");
            assert!(said.contains(&note) && said.contains(&place), "{said}");
        }
        assert_eq!(runs(&sandbox.path("trace")), 0, "{arguments:?}");
        let many = [arguments, &["--run-commands"]].concat();
        let inspected = sandbox.run(&many);
        assert_eq!(
            (inspected.code, inspected.stderr.as_str()),
            (0, ""),
            "{inspected:?}"
        );
        // Two keys have the same command, which runs once.
        assert_eq!(runs(&sandbox.path("trace")), 4, "{arguments:?}");
        std::fs::remove_file(sandbox.path("trace")).unwrap();
    }
    assert_eq!(server.requests().len(), 0);
    // The request is shown as it would be, but for what is not known.
    let shown = sandbox.run(&["send", "--dry-run", "event.json"]).stdout;
    assert!(shown.contains("authorization: [redacted]"), "{shown}");
    assert!(shown.contains("\"routing_key\":\"[redacted]\""), "{shown}");
    sandbox.run(&["check-config", "--connect"]);
    assert_eq!(runs(&sandbox.path("trace")), 4);
}

/// A checkout with a spool of its own in which something waits, made by somebody else.
fn checkout(keys: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file(
        "checkout/plugin_config.ini",
        format!("{keys}\n[delivery]\nspool = ./spool\ndrain = 0\n"),
    );
    sandbox.file("checkout/event.json", r#"{"state":"failed","host":"h"}"#);
    let mut command = sandbox.command(&["send", "event.json", "--no-wait"]);
    command
        .current_dir(sandbox.path("checkout"))
        .env("TOKEN", "a-stranger-s");
    assert_eq!(outcome(command.spawn().unwrap()).code, 0);
    sandbox
}

fn flush(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    let mut command = sandbox.command(&[&["flush"], arguments].concat());
    command
        .current_dir(sandbox.path("checkout"))
        .env("TOKEN", "canary-token");
    outcome(command.spawn().unwrap())
}

#[test]
fn a_spool_that_a_checkout_names_gets_nothing_of_the_user_s() {
    let server = Server::start([OK]);
    let url = server.url();
    let inputs = format!("[inputs]\ncallback_url = {url}");
    let trace = "sh -c 'touch trace; echo t'";
    for keys in [
        format!("{inputs}\ntoken_command = {trace}"),
        format!("{inputs}\ntoken_env = TOKEN"),
        format!("[inputs]\ncallback_url_command = echo {url}"),
        format!("{inputs}\ntoken_file = event.json"),
    ] {
        let sandbox = checkout(&keys);
        // Who made it ran its commands.
        let ran = std::fs::remove_file(sandbox.path("checkout/trace")).is_ok();
        assert_eq!(ran, keys.contains("touch"), "{keys}");
        let flushed = flush(&sandbox, &[]);
        assert_eq!(flushed.code, 78, "{keys}: {flushed:?}");
        let reason = "checkout/plugin_config.ini selects this spool";
        assert!(flushed.stderr.contains(reason), "{keys}: {flushed:?}");
        assert!(!sandbox.path("checkout/trace").exists());
    }
    // Nor does it use what the levels above have.
    let sandbox = checkout(&inputs);
    sandbox.file(
        "home/.config/ansible-notify/plugin_config.ini",
        format!("[inputs]\ncallback_url = {url}\ntoken = canary-token\n"),
    );
    assert_eq!(flush(&sandbox, &[]).code, 78);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_spool_that_the_user_names_is_flushed_whole() {
    let server = Server::start([OK]);
    let keys = format!(
        "[inputs]\ncallback_url = {}\ntoken_env = TOKEN",
        server.url()
    );
    let sandbox = checkout(&keys);
    flush(&sandbox, &["--spool", "spool"]).expect(0, "ansible-notify: 1 delivery: delivered\n");
    let token = server.requests()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(token.as_deref(), Some("Bearer canary-token"));
}
