//! Events go where they were meant to go: an address that the environment or a play's vars gave is waited
//! for, whatever the files and the environment say by then.

use std::process::Stdio;

use serde_json::json;

use crate::sandbox::{Config, Outcome, Sandbox, config_for, outcome};
use crate::server::{OK, Server, dead_url};

const EVENT: &str = r#"{"state":"failed","host":"h"}"#;

/// Runs a command on the common spool, with these variables.
fn run(sandbox: &Sandbox, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
    sandbox.file("event.json", EVENT);
    let mut command = sandbox.command_on_spool(arguments);
    command.envs(variables.iter().copied());
    outcome(command.spawn().unwrap())
}

/// Something is accepted with these variables while nobody answers.
fn accept(sandbox: &Sandbox, variables: &[(&str, &str)]) {
    let sent = run(sandbox, &["send", "event.json", "--no-wait"], variables);
    assert_eq!(sent.code, 0, "{sent:?}");
}

fn waits(sandbox: &Sandbox, arguments: &[&str], variables: &[(&str, &str)], reason: &str) {
    let flushed = run(sandbox, arguments, variables);
    assert_eq!(flushed.code, 75, "{flushed:?}");
    assert!(flushed.stderr.contains(reason), "{flushed:?}");
}

#[test]
fn what_the_environment_addressed_waits_for_it() {
    let (file, tenant) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::sending_to(&file.url());
    let url = tenant.url();
    let variables = [("ANSIBLE_NOTIFY_CALLBACK_URL", url.as_str())];
    accept(&sandbox, &variables);
    for arguments in [&["flush"][..], &["flush", "--due"], &["flush", "--dead"]] {
        let reason =
            "the play's vars set values that are not stored; set ANSIBLE_NOTIFY_CALLBACK_URL\n";
        waits(&sandbox, arguments, &[], reason);
    }
    // Neither does another run of the same project take it along.
    let sent = run(&sandbox, &["send", "event.json"], &[]);
    assert_eq!((sent.code, file.requests().len()), (0, 1), "{sent:?}");
    assert_eq!(tenant.requests().len(), 0);
    run(&sandbox, &["flush"], &variables).expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!((file.requests().len(), tenant.requests().len()), (1, 1));
}

#[test]
fn the_summary_names_what_flush_needs() {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 100ms\n",
        dead_url()
    ));
    let other = dead_url();
    let variables = [("ANSIBLE_NOTIFY_CALLBACK_URL", other.as_str())];
    let said = "1 delivery: 1 pending until `flush` runs with ANSIBLE_NOTIFY_CALLBACK_URL set (";
    waits(&sandbox, &["send", "event.json"], &variables, said);
    waits(&sandbox, &["flush"], &[], said);
    let usual = "1 delivery: 1 pending until the next run, `flush` or the timer (";
    waits(&sandbox, &["send", "event.json"], &[], usual);
}

#[test]
fn each_setting_of_the_environment_is_waited_for() {
    let server = Server::start([OK]);
    let values = [
        ("ANSIBLE_NOTIFY_USERNAME", "other"),
        ("ANSIBLE_NOTIFY_PASSWORD", "canary-other"),
        ("ANSIBLE_NOTIFY_VALIDATE_CERTS", "false"),
    ];
    for (name, value) in values {
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = {}\nusername = anna\npassword = canary-file\n",
            server.url()
        ));
        accept(&sandbox, &[(name, value)]);
        let reason = format!("set {name}\n");
        waits(&sandbox, &["flush"], &[], &reason);
        waits(&sandbox, &["flush", "--due"], &[], &reason);
        let flushed = run(&sandbox, &["flush", "--due"], &[(name, value)]);
        flushed.expect(0, "ansible-notify: 1 delivery: delivered\n");
    }
    let credentials: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    let expected = [
        "b3RoZXI6Y2FuYXJ5LWZpbGU=",
        "YW5uYTpjYW5hcnktb3RoZXI=",
        "YW5uYTpjYW5hcnktZmlsZQ==",
    ];
    assert_eq!(credentials, expected.map(|text| format!("Basic {text}")));
}

#[test]
fn the_environment_changes_nothing_of_what_was_accepted_without_it() {
    let (file, other) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::sending_to(&file.url());
    accept(&sandbox, &[]);
    let elsewhere = sandbox.file("elsewhere.ini", config_for(&other.url()));
    let url = other.url();
    let variables = [
        ("ANSIBLE_NOTIFY_CALLBACK_URL", url.as_str()),
        ("ANSIBLE_NOTIFY_USERNAME", "anna"),
        ("ANSIBLE_NOTIFY_PASSWORD", "canary-password"),
        ("ANSIBLE_NOTIFY_CONFIG", elsewhere.to_str().unwrap()),
    ];
    run(&sandbox, &["flush"], &variables).expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!((file.requests().len(), other.requests().len()), (1, 0));
    assert_eq!(file.requests()[0].header("authorization"), None);
}

#[test]
fn one_tenant_s_variable_sends_nothing_of_another_s() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::sending_to(&dead_url());
    let urls = [first.url(), second.url()];
    let variables = urls
        .each_ref()
        .map(|url| [("ANSIBLE_NOTIFY_CALLBACK_URL", url.as_str())]);
    accept(&sandbox, &variables[0]);
    accept(&sandbox, &variables[1]);
    let reason = "ANSIBLE_NOTIFY_CALLBACK_URL had another value when they were accepted";
    waits(&sandbox, &["flush"], &variables[0], reason);
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
    // Nobody is there who could mean it so.
    waits(&sandbox, &["flush", "--due"], &variables[0], reason);
    run(&sandbox, &["flush", "--due"], &variables[1])
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 1));
}

#[test]
fn what_a_play_addressed_waits_for_the_variable() {
    let (file, play) = (Server::start([OK]), dead_url());
    let config = Config::to(&file.url()).delivery("drain = 0").text();
    let sandbox = Sandbox::with_config(&config);
    let overrides = json!({"callback_url": play, "validate_certs": false});
    let input = [
        json!({"hello": {"protocol": 1, "run": {"id": "r"}, "overrides": overrides}}),
        json!({"event": {"seq": 1, "event": "runner_on_ok", "time": 1.0, "host": {"name": "h"}}}),
        json!({"end": {}}),
    ];
    let input: String = input.iter().map(|line| format!("{line}\n")).collect();
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(Stdio::from(
        std::fs::File::open(sandbox.file("input", input)).unwrap(),
    ));
    assert_eq!(outcome(command.spawn().unwrap()).code, 75);
    let reason = "set ANSIBLE_NOTIFY_CALLBACK_URL, ANSIBLE_NOTIFY_VALIDATE_CERTS\n";
    waits(&sandbox, &["flush"], &[], reason);
    waits(
        &sandbox,
        &["flush"],
        &[("ANSIBLE_NOTIFY_CALLBACK_URL", file.url().as_str())],
        "set ANSIBLE_NOTIFY_VALIDATE_CERTS\n",
    );
    assert_eq!(file.requests().len(), 0);
}
