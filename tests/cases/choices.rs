//! What the commands on the spool take: which deliveries, since when, and of which configuration.

use std::process::Stdio;

use serde_json::Value;

use super::spool::{event, only_status, run};
use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server, dead_url, status};

/// An event of a run, of a host each.
fn of_run(run: &str, host: &str) -> String {
    format!("{{\"state\":\"failed\",\"host\":\"{host}\",\"run\":{{\"id\":\"{run}\"}}}}\n")
}

/// Two runs of two events each to two notifiers: one refuses for good (dead, 1 to 4), one is not there
/// (waiting, 5 to 8).
fn two_runs() -> (Sandbox, Server) {
    let refuses = Server::start([status(400)]);
    let sandbox = Sandbox::with_config(&format!(
        "[delivery]\ndrain = 300ms\n\
         [notifier:a-dead]\ntype = webhook\nurl = {}\non = failed\n\
         [notifier:b-waits]\ntype = webhook\nurl = {}\non = failed\n",
        refuses.url(),
        dead_url()
    ));
    let events: String = [("r1", "h1"), ("r1", "h2"), ("r2", "h1"), ("r2", "h2")]
        .into_iter()
        .map(|(run, host)| of_run(run, host))
        .collect();
    run(
        &sandbox,
        &["send", "-", "--wait", "--notifier", "a-dead"],
        &events,
    );
    run(
        &sandbox,
        &["send", "-", "--no-wait", "--notifier", "b-waits"],
        &events,
    );
    (sandbox, refuses)
}

/// The state of each delivery, the oldest first.
fn states(sandbox: &Sandbox) -> String {
    let rows = run(sandbox, &["history", "--json"], "").stdout;
    let state = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["state"].as_str().unwrap()[..2].to_owned()
    };
    let mut states: Vec<String> = rows.lines().map(state).collect();
    states.reverse();
    states.join(" ")
}

#[test]
fn discard_takes_what_was_chosen_and_nothing_else() {
    let (sandbox, _server) = two_runs();
    assert_eq!(states(&sandbox), "de de de de wa wa wa wa");
    let discard = |arguments: &[&str]| run(&sandbox, &[&["discard"], arguments].concat(), "");
    let count = |number: usize| format!("ansible-notify: {number} discarded\n");

    discard(&["1", "5"]).expect(0, &count(2));
    assert_eq!(states(&sandbox), "di de de de di wa wa wa");
    // Those that are there, all the same.
    discard(&["1", "2", "99"]).expect(
        66,
        "ansible-notify: 1 discarded\nansible-notify: no pending or dead delivery: 1, 99\n",
    );
    assert_eq!(states(&sandbox), "di di de de di wa wa wa");
    discard(&["--run", "r2", "--dead"]).expect(0, &count(2));
    assert_eq!(states(&sandbox), "di di di di di wa wa wa");
    discard(&["--run", "r2", "--dead"]).expect(
        66,
        "ansible-notify: no selected delivery of run `r2` is pending or dead\n",
    );
    discard(&["--notifier", "a-dead"]).expect(0, &count(0));
    discard(&["--notifier", "b-waits", "--run", "r1"]).expect(0, &count(1));
    assert_eq!(states(&sandbox), "di di di di di di wa wa");
    discard(&["--notifier", "nosuch"]).expect(
        2,
        "ansible-notify: unknown notifier `nosuch`; notifiers that have had events: a-dead, b-waits\n",
    );
    discard(&["--pending"]).expect(0, &count(2));
    assert_eq!(states(&sandbox), "di di di di di di di di");
    discard(&["--all"]).expect(0, &count(0));

    let rows = run(&sandbox, &["status", "--json"], "").stdout;
    let rows: Value = serde_json::from_str(&rows).unwrap();
    for row in rows.as_array().unwrap() {
        let numbers = ["accepted", "dropped", "waiting", "dead"].map(|key| row[key].as_i64());
        assert_eq!(numbers, [Some(4), Some(4), Some(0), Some(0)], "{row}");
    }
}

#[test]
fn discard_takes_the_names_of_runs_that_other_commands_take() {
    for name in ["last", "0a1b", "0a1b2c3d-run"] {
        let sandbox = Sandbox::sending_to(&dead_url());
        let lines = [
            r#"{"hello": {"protocol": 1, "run": {"id": "0a1b2c3d-run", "playbook": "site.yml"}}}"#,
            r#"{"task": {"id": "t", "name": "task"}}"#,
            r#"{"event": {"seq": 1, "event": "runner_on_failed", "time": 1.0, "task": "t", "host": {"name": "h"}, "result": {}}}"#,
            r#"{"end": {"reason": "exit", "code": 2}}"#,
        ];
        run(&sandbox, &["stream"], &(lines.join("\n") + "\n"));
        assert_eq!(states(&sandbox), "wa");
        let discarded = run(&sandbox, &["discard", "--run", name], "");
        discarded.expect(0, "ansible-notify: 1 discarded\n");
    }
}

#[test]
fn discard_all_takes_both_states_and_leaves_what_was_delivered() {
    let (sandbox, _server) = two_runs();
    run(&sandbox, &["discard", "--all"], "").expect(0, "ansible-notify: 8 discarded\n");
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    run(&sandbox, &["send", "-"], &event("h"));
    run(&sandbox, &["discard", "--all"], "").expect(0, "ansible-notify: 0 discarded\n");
    assert_eq!(only_status(&sandbox)["delivered"], 1);
}

#[test]
fn discard_without_a_clear_choice_takes_nothing() {
    let (sandbox, _server) = two_runs();
    for arguments in [
        &[][..],
        &["--all", "--dead"],
        &["--all", "--notifier", "b-waits"],
        &["--all", "--run", "r1"],
        &["--dead", "--pending"],
        &["1", "--all"],
        &["1", "--notifier", "b-waits"],
        &["1", "--waiting"],
        &["one"],
    ] {
        let refused = run(&sandbox, &[&["discard"], arguments].concat(), "");
        assert_eq!(refused.code, 2, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("--help"), "{refused:?}");
    }
    assert_eq!(states(&sandbox), "de de de de wa wa wa wa");
    let help = run(&sandbox, &["discard", "--help"], "").stdout;
    assert!(
        help.contains("select both pending and dead deliveries"),
        "{help}"
    );
}

/// Runs a command elsewhere than where the configurations are.
fn elsewhere(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    std::fs::create_dir_all(sandbox.path("elsewhere")).unwrap();
    let mut command = sandbox.command_on_spool(arguments);
    command.current_dir(sandbox.path("elsewhere"));
    outcome(command.spawn().unwrap())
}

/// Two projects that share a spool that both of them name, each with a delivery that waits.
fn two_projects(first: &str, second: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    for (project, url) in [("a", first), ("b", second)] {
        let config =
            format!("[inputs]\ncallback_url = {url}\n[delivery]\nspool = ../common\ndrain = 0\n");
        sandbox.file(&format!("{project}/plugin_config.ini"), config);
        let arguments = ["send", "-", "--no-wait", "--project", project];
        assert_eq!(run(&sandbox, &arguments, &event(project)).code, 0);
    }
    sandbox
}

#[test]
fn config_names_the_spool_of_each_command() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let sandbox = two_projects(&first.url(), &second.url());
    let file = sandbox.path("a/plugin_config.ini").display().to_string();
    let config = ["--config", &file];
    for arguments in [&["status"][..], &["history"]] {
        assert_eq!(elsewhere(&sandbox, arguments).stdout, "");
        let shown = elsewhere(&sandbox, &[arguments, &config].concat());
        let rows = shown
            .stdout
            .lines()
            .filter(|line| line.contains("callback"));
        assert_eq!(rows.count(), 2, "{shown:?}");
    }
    // Only what is of this configuration.
    let flushed = elsewhere(&sandbox, &[&["flush"][..], &config].concat());
    flushed.expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!((first.requests().len(), second.requests().len()), (1, 0));
    let all = [&["discard", "--all"][..], &config].concat();
    elsewhere(&sandbox, &all).expect(0, "ansible-notify: 0 discarded\n");
    let all = ["discard", "--all", "--config", "../b/plugin_config.ini"];
    elsewhere(&sandbox, &all).expect(0, "ansible-notify: 1 discarded\n");
    let number = [&["discard", "2"][..], &config].concat();
    elsewhere(&sandbox, &number).expect(66, "ansible-notify: no pending or dead delivery: 2\n");
}

#[test]
fn config_that_cannot_be_read_names_no_spool() {
    let sandbox = two_projects(&dead_url(), &dead_url());
    for command in [
        &["status"][..],
        &["history"],
        &["history", "1"],
        &["flush"],
        &["discard", "--all"],
    ] {
        let arguments = [command, &["--config", "nosuch.ini"]].concat();
        run(&sandbox, &arguments, "").expect(78, "ansible-notify: nosuch.ini: no such file\n");
    }
}

#[test]
fn since_takes_dates_times_and_ages() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    run(&sandbox, &["send", "-"], &event("h"));
    let history = |since: &str| {
        let mut command = sandbox.command_on_spool(&["history", "--since", since]);
        // Far from the date line, whatever the time is here.
        command.env("TZ", "Etc/UTC").stdin(Stdio::null());
        outcome(command.spawn().unwrap())
    };
    for since in [
        "2026-01-01",
        "2026-01-01T10:00",
        "00:00",
        "5min",
        "2h",
        "3d",
        "2026-01-01T00:00:00Z",
    ] {
        let shown = history(since);
        assert_eq!(
            (shown.code, shown.stdout.lines().count()),
            (0, 2),
            "{since}: {shown:?}"
        );
    }
    history("2226-01-01").expect(0, "ansible-notify: no delivery matches --since\n");
    for (since, says) in [
        ("5", "`5` has no unit; write 5min, 5h or 5d"),
        (
            "soon",
            "`soon` is not a date, time or age; write 2026-11-27, 2026-11-27T10:00, 19:00, 5min, 2h or 3d",
        ),
    ] {
        let refused = history(since);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
}
