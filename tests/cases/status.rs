//! Questions to the spool: answered at once, whatever else goes on in it.

use std::time::Instant;

use rusqlite::Connection;

use serde_json::Value;

use super::spool::{configure, event, only_status, run};
use crate::sandbox::{PATIENCE, Sandbox};
use crate::server::{OK, Reply, Server, dead_url, status};

#[test]
fn questions_do_not_wait_for_who_writes() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    assert_eq!(run(&sandbox, &["send", "-"], &event("web1")).code, 75);
    let folder = sandbox.path("state/ansible-notify");
    let lock = std::fs::File::open(folder.join("spool.lock")).unwrap();
    lock.lock().unwrap();
    let writer = Connection::open(folder.join("spool.db")).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; UPDATE event SET host = 'unfinished'")
        .unwrap();
    for (arguments, expected) in [
        (
            &["status"][..],
            "\ncallback         1          0        1     0        0\n",
        ),
        (&["history"], "  pending  callback  failed  web1  install"),
        (&["history", "1"], " ms  "),
    ] {
        let started = Instant::now();
        let answer = run(&sandbox, arguments, "").stdout;
        assert!(answer.contains(expected), "{answer}");
        assert!(started.elapsed() < PATIENCE, "{arguments:?}");
    }
}

#[test]
fn nothing_is_said_of_a_spool_that_is_not_there() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("state/ansible-notify");
    let folder = folder.display();
    for json in [&[][..], &["--json"]] {
        let asked = run(&sandbox, &[&["status"], json].concat(), "");
        let said =
            format!("ansible-notify: nothing has been sent from the spool in {folder} yet\n");
        assert_eq!(asked.stdout, if json.is_empty() { "" } else { "[]\n" });
        assert_eq!((asked.code, asked.stderr), (0, said));
        let asked = run(&sandbox, &[&["history"], json].concat(), "");
        let said = format!("ansible-notify: no deliveries in the spool in {folder}\n");
        assert_eq!((asked.code, asked.stdout.as_str()), (0, ""));
        assert_eq!(asked.stderr, said);
    }
    run(&sandbox, &["history", "--failed", "--host", "h"], "").expect(
        0,
        "ansible-notify: no delivery matches --failed and --host\n",
    );
    run(&sandbox, &["flush"], "").expect(
        0,
        "ansible-notify: 0 deliveries: nothing to deliver
",
    );
    run(&sandbox, &["discard", "--dead"], "").expect(0, "ansible-notify: 0 discarded\n");
    assert_eq!(run(&sandbox, &["status", "--json"], "").stdout, "[]\n");
    assert!(!sandbox.path("state").exists(), "nothing is made by asking");

    for arguments in [
        &["status"][..],
        &["history"],
        &["flush"],
        &["flush", "--watch"],
        &["discard", "1"],
        &["discard", "--dead"],
    ] {
        let named = [arguments, &["--spool", "typo"]].concat();
        run(&sandbox, &named, "").expect(66, "ansible-notify: no spool in `typo`\n");
        assert!(!sandbox.path("typo").exists());
    }
}

/// Lets two projects send an event each, the first to `first`, the other to nobody who answers.
fn two_projects(sandbox: &Sandbox, first: &str) {
    for (project, url) in [("a", first), ("b", &dead_url())] {
        let config = format!(
            "[delivery]\ndrain = 200ms\n[notifier:{project}]\ntype = webhook\nurl = {url}\non = failed\n\
             [inputs]\ncallback_url = {url}\n"
        );
        sandbox.file(&format!("{project}/plugin_config.ini"), config);
        run(
            sandbox,
            &["send", "-", "--project", project],
            &event(project),
        );
    }
}

#[test]
fn notifiers_of_the_same_name_are_told_apart() {
    let sandbox = Sandbox::new();
    two_projects(&sandbox, &dead_url());
    let text = run(&sandbox, &["status"], "").stdout;
    let rows = text.lines().skip(1).filter(|line| !line.starts_with(' '));
    let rows: Vec<Vec<&str>> = rows.map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row[0], row.get(6).unwrap_or(&"")))
        .collect();
    let config = |project: &str| {
        sandbox
            .path(&format!("{project}/plugin_config.ini"))
            .display()
            .to_string()
    };
    let callback = |project: &str| format!("callback {}", config(project));
    assert_eq!(names, [&*callback("a"), "a ", &callback("b"), "b "]);
    let rows: Value =
        serde_json::from_str(&run(&sandbox, &["status", "--json"], "").stdout).unwrap();
    assert_eq!(rows[1]["config"], config("a"));

    let own = Sandbox::new();
    own.file(
        "home/.config/ansible-notify/plugin_config.ini",
        "[inputs]\ncallback_url = http://127.0.0.1:1/\n[delivery]\ndrain = 0\n",
    );
    run(&own, &["send", "-"], &event("h"));
    assert_eq!(only_status(&own)["config"], Value::Null);
}

#[test]
fn a_notifier_that_nobody_knows_is_said() {
    let server = Server::start([status(503), status(503), OK]);
    let sandbox = Sandbox::new();
    two_projects(&sandbox, &server.url());
    let unknown = "ansible-notify: unknown notifier `nosuch`; notifiers that have had events: a, b, callback\n";
    run(&sandbox, &["flush", "--notifier", "nosuch"], "").expect(2, unknown);
    run(&sandbox, &["history", "--notifier", "nosuch"], "").expect(2, unknown);
    // What became of those that were not chosen is not asked for.
    run(&sandbox, &["flush", "--notifier", "a"], "")
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn what_failed_before_it_was_delivered_has_failed() {
    let server = Server::start([OK, status(503), OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    run(&sandbox, &["send", "-"], &event("good"));
    run(&sandbox, &["send", "-"], &event("late"));
    let shown = run(&sandbox, &["history", "--failed"], "").stdout;
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(
        shown.contains("delivered  callback  failed  late"),
        "{shown}"
    );
}

#[test]
fn json_stays_json_whatever_a_text_holds() {
    let server = Server::start([Reply::Full(400, "", "no\u{7f}")]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let host = "a\u{202e}b\u{9b}";
    run(&sandbox, &["send", "-"], &event(host));
    for arguments in [
        &["status", "--json"][..],
        &["history", "--json"],
        &["history", "1", "--json"],
    ] {
        let shown = run(&sandbox, arguments, "").stdout;
        assert!(!shown.contains(['\u{7f}', '\u{202e}', '\u{9b}']), "{shown}");
        let parsed: Value = serde_json::from_str(&shown).expect(&shown);
        assert!(parsed.to_string().contains("no\u{7f}"), "{parsed}");
    }
    let rows = run(&sandbox, &["history", "--json"], "").stdout;
    assert_eq!(serde_json::from_str::<Value>(&rows).unwrap()["host"], host);
}
