//! `history` and `status` as text: filtered by run and state, and the message that would be sent.

use std::process::Stdio;

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Reply, Server, dead_url, status};

/// Results and ends of two runs, which a notifier for everything gets.
const EVENTS: &str = r#"
{"id":"r1-1","event":"runner_on_ok","changed":true,"host":"web1","task":"write","run":{"id":"r1"}}
{"id":"r1-2","event":"runner_on_failed","host":"web2","task":"install","run":{"id":"r1"},"result":{"msg":"no space"}}
{"id":"r1-3","event":"runner_on_failed","ignored":true,"host":"web1","task":"probe","run":{"id":"r1"}}
{"id":"r1-4","event":"runner_on_unreachable","host":"db1","task":"ping","run":{"id":"r1"}}
{"id":"chosen","event":"run_end","status":"error","run":{"id":"r1"}}
{"id":"r1-2-1","event":"run_end","status":"success","run":{"id":"r1-2"}}
"#;

fn history(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    run(sandbox, &[&["history"], arguments].concat(), "")
}

/// The cells of a row of the table, from the column of the state on.
fn rows(text: &str) -> Vec<String> {
    let cells = |line: &str| {
        let cells = line
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty());
        cells.skip(2).collect::<Vec<_>>().join("|")
    };
    text.lines().skip(1).map(cells).collect()
}

fn waiting() -> Sandbox {
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:hook]\ntype = webhook\nurl = {}\non = any\n[delivery]\ndrain = 0\n",
        dead_url()
    ));
    assert_eq!(run(&sandbox, &["send", "-", "--no-wait"], EVENTS).code, 0);
    sandbox
}

#[test]
fn events_are_shown_as_words() {
    let sandbox = waiting();
    let shown = history(&sandbox, &[]).stdout;
    assert_eq!(
        rows(&shown),
        [
            "pending|hook|run ok",
            "pending|hook|run failed",
            "pending|hook|unreachable|db1|ping",
            "pending|hook|failed, ignored|web1|probe",
            "pending|hook|failed|web2|install",
            "pending|hook|changed|web1|write",
        ],
        "{shown}"
    );
    let heads: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        heads,
        [
            "ID", "ACCEPTED", "STATE", "NOTIFIER", "EVENT", "HOST", "TASK"
        ]
    );
    // Each column begins at the same place in every row.
    let at = shown.lines().next().unwrap().find("EVENT").unwrap();
    assert!(
        shown
            .lines()
            .skip(1)
            .all(|line| !line[at..].starts_with(' ') && line[..at].ends_with("  ")),
        "{shown}"
    );
    // The other fields of the JSON are as they were.
    let lines = history(&sandbox, &["--json", "--state", "waiting", "--limit", "1"]).stdout;
    let row: Value = serde_json::from_str(&lines).unwrap();
    let added = ["result", "run"].map(|key| row[key].as_str());
    assert_eq!(added, [Some("run ok"), Some("r1-2")]);
    assert_eq!(row["callback"], "run_end");
    assert_eq!(row["state"], "waiting");
}

#[test]
fn deliveries_are_filtered_by_run_and_state() {
    let server = Server::start([OK, status(400), OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:hook]\ntype = webhook\nurl = {}\non = any\nconcurrency = 1\n[delivery]\ndrain = 60\n",
        server.url()
    ));
    assert_eq!(run(&sandbox, &["send", "-"], EVENTS).code, 69);
    let count = |arguments: &[&str]| rows(&history(&sandbox, arguments).stdout).len();
    assert_eq!(count(&["--run", "r1-2"]), 1);
    // The text of a delivered event is deleted, and the id of the end was chosen by a user.
    assert_eq!(count(&["--run", "r1"]), 4);
    assert_eq!(count(&["--run", "r1", "--state", "dead"]), 1);
    assert_eq!(count(&["--run", "r1", "--state", "dead,delivered"]), 4);
    assert_eq!(count(&["--run", "r1", "--limit", "2"]), 2);
    assert_eq!(count(&["--state", "pending,held"]), 0);
    history(&sandbox, &["--run", "r", "--state", "dead"])
        .expect(0, "ansible-notify: no delivery matches --run and --state\n");
    let wrong = history(&sandbox, &["--state", "failed"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("pending, delivered, dead"),
        "{wrong:?}"
    );

    let counts = |arguments: &[&str]| {
        let text = run(&sandbox, &[&["status", "--json"], arguments].concat(), "").stdout;
        let rows: Value = serde_json::from_str(&text).unwrap();
        let keys = ["accepted", "delivered", "waiting", "dead"];
        keys.map(|key| rows[0][key].as_i64())
    };
    assert_eq!(counts(&[]), [Some(6), Some(5), Some(0), Some(1)]);
    assert_eq!(
        counts(&["--run", "r1"]),
        [Some(4), Some(3), Some(0), Some(1)]
    );
    assert_eq!(
        counts(&["--run", "r1-2"]),
        [Some(1), Some(1), Some(0), Some(0)]
    );
    assert_eq!(counts(&["--run", "r1-2", "--state", "dead"]), [None; 4]);
    run(&sandbox, &["status", "--run", "r"], "")
        .expect(0, "ansible-notify: no delivery is of run `r`\n");
    run(&sandbox, &["status", "--state", "waiting"], "")
        .expect(0, "ansible-notify: no delivery matches --state\n");
    let shown = run(&sandbox, &["status", "--state", "dead"], "").stdout;
    assert!(shown.contains("\n    last error: 400"), "{shown}");
}

#[test]
fn a_delivery_shows_its_message() {
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = slack\nurl = {}\non = failed\nmessage = {{{{ host }}}}: canary of {{{{ reason }}}}\n\
         [notifier:hook]\ntype = webhook\nurl = {}\ntoken = canary-token\non = failed\n[outputs:hook]\nwhy = reason\n\
         [delivery]\ndrain = 0\n",
        dead_url(),
        dead_url()
    ));
    run(&sandbox, &["send", "-", "--no-wait"], EVENTS);
    let one = |id: &str| history(&sandbox, &[id]).stdout;
    let texts = [one("1"), one("2")];
    for text in &texts {
        assert!(text.starts_with("delivery "), "{text}");
        assert!(
            text.contains("  event     failed  web2  install\n"),
            "{text}"
        );
        assert!(text.contains("  run       r1\n"), "{text}");
        assert!(text.contains("\nattempts\n  none\n"), "{text}");
        assert!(
            text.contains("\nmessage, as it would be sent now\n"),
            "{text}"
        );
        assert!(!text.contains("canary-token"), "{text}");
    }
    let all = texts.concat();
    assert!(all.contains("web2: canary of no space"), "{all}");
    assert!(
        all.contains("{\"why\":\"no space\"}") && all.contains("[redacted]"),
        "{all}"
    );

    let shown = history(&sandbox, &["2", "--json"]).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(
        shown["message"]["now"]
            .as_str()
            .unwrap()
            .contains("no space"),
        "{shown}"
    );
    assert_eq!(shown["message"]["problem"], Value::Null);

    // The current settings apply.
    sandbox.file(
        "plugin_config.ini",
        "[notifier:other]\ntype = webhook\nurl = http://localhost/\n",
    );
    let gone = one("2");
    assert!(
        gone.contains("cannot be shown: the notifier is no longer configured\n"),
        "{gone}"
    );
    std::fs::remove_file(sandbox.path("plugin_config.ini")).unwrap();
    let gone = one("2");
    assert!(
        gone.contains("cannot be shown: ") && gone.contains("is missing"),
        "{gone}"
    );
}

#[test]
fn a_message_is_shown_as_it_was_sent() {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = slack\nurl = {url}/canary-path\non = any\nmessage = first {{{{ host }}}}\n\
         [notifier:hook]\ntype = webhook\nurl = {url}/hook\ntoken = canary-token\non = failed\nbatch = 10\n\
         [delivery]\ndrain = 60\n",
        url = server.url()
    ));
    run(&sandbox, &["send", "-"], EVENTS);
    // Neither the settings of now nor a missing file change what was sent.
    std::fs::remove_file(sandbox.path("plugin_config.ini")).unwrap();
    let rows = history(&sandbox, &["--json", "--limit", "100"]).stdout;
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    let detail = |notifier: &str, event: &str| -> Value {
        let is_it = |row: &&Value| row["notifier"] == notifier && row["event_id"] == event;
        let id = rows.iter().find(is_it).unwrap()["id"].to_string();
        let shown = history(&sandbox, &[&id]).stdout;
        let detail: Value =
            serde_json::from_str(&history(&sandbox, &[&id, "--json"]).stdout).unwrap();
        let is_kept = detail["message"]["sent"] != Value::Null;
        assert_eq!(
            shown.contains("\nmessage, as sent at 20"),
            is_kept,
            "{shown}"
        );
        assert!(
            !shown.contains("canary") && !detail.to_string().contains("canary"),
            "{shown}"
        );
        detail["message"]["sent"].clone()
    };
    let failed = detail("chat", "r1-2");
    assert!(
        failed["text"].as_str().unwrap().contains("first web2"),
        "{failed}"
    );
    assert!(
        failed["time"].as_i64().unwrap() > 1_700_000_000_000,
        "{failed}"
    );
    let end = detail("chat", "chosen");
    assert!(end["text"].as_str().unwrap().starts_with("POST "), "{end}");
    assert_ne!(detail("chat", "r1-3"), Value::Null, "an ignored failure");
    // Only failures, and what concerns the run, unless `record` says otherwise.
    assert_eq!(detail("chat", "r1-1"), Value::Null);
    assert_eq!(
        detail("hook", "r1-2")["text"]
            .as_str()
            .map(|text| text.contains("web2")),
        Some(true)
    );
}

#[test]
fn record_says_which_messages_are_kept() {
    let server = Server::start([OK]);
    for (record, kept) in [
        ("all", [true, true]),
        ("failed", [false, true]),
        ("off", [false, false]),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 60\nrecord = {record}\n",
            server.url()
        ));
        let events = r#"[{"state":"success","host":"h"},{"state":"unreachable","host":"h"}]"#;
        run(&sandbox, &["send", "-"], events);
        let is_kept = ["1", "2"].map(|id| history(&sandbox, &[id]).stdout.contains("as sent at"));
        assert_eq!(is_kept, kept, "{record}");
    }
}

#[test]
fn a_batch_is_one_message() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:hook]\ntype = webhook\nurl = {}\non = failed\nbatch = 10\n[delivery]\ndrain = 0\n",
        server.url()
    ));
    let events = r#"[{"state":"failed","host":"one"},{"state":"failed","host":"two"}]"#;
    run(&sandbox, &["send", "-", "--no-wait"], events);
    run(&sandbox, &["flush"], "");
    let shown = ["1", "2"].map(|id| history(&sandbox, &[id]).stdout);
    for text in &shown {
        assert!(
            text.contains(r#""host":"one""#) && text.contains(r#""host":"two""#),
            "{text}"
        );
    }
}

#[test]
fn a_message_of_the_past_is_not_made_up() {
    let server = Server::start([OK]);
    for (keys, expected) in [
        (
            "",
            "cannot be shown: its event is no longer kept; `keep_bodies = true`",
        ),
        (
            "keep_bodies = true\n",
            "\nmessage, as it would be sent now\n",
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 60\nrecord = off\n{keys}",
            server.url()
        ));
        run(&sandbox, &["send", "-"], r#"{"state":"failed","host":"h"}"#);
        let shown = history(&sandbox, &["1"]).stdout;
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn showing_a_message_runs_no_command_and_trusts_no_stranger() {
    let sandbox = Sandbox::new();
    let command = "sh -c 'touch trace; echo canary-token'";
    let keys = [
        format!("token_command = {command}"),
        "token_env = TOKEN".to_owned(),
        "token_file = event.json".to_owned(),
    ];
    for keys in keys {
        let config = format!(
            "[inputs]\ncallback_url = {}\n{keys}\n[delivery]\nspool = ./spool\ndrain = 0\n",
            dead_url()
        );
        sandbox.file("checkout/plugin_config.ini", config);
        sandbox.file("checkout/event.json", r#"{"state":"failed","host":"h"}"#);
        let at = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            command.current_dir(sandbox.path("checkout"));
            command.env("TOKEN", "canary-token").stdin(Stdio::null());
            outcome(command.spawn().unwrap())
        };
        assert_eq!(at(&["send", "event.json", "--no-wait"]).code, 0);
        let _ = std::fs::remove_file(sandbox.path("checkout/trace"));
        let shown = at(&["history", "1"]).stdout;
        assert!(shown.contains("selects this spool"), "{keys}: {shown}");
        // Looking at it runs no command.
        let shown = at(&["history", "1", "--spool", "spool"]);
        assert!(!shown.printed().contains("canary"), "{keys}: {shown:?}");
        assert!(!sandbox.path("checkout/trace").exists(), "{keys}");
        std::fs::remove_dir_all(sandbox.path("checkout/spool")).unwrap();
    }
}

#[test]
fn names_control_no_terminal_and_break_no_row() {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 0\n",
        dead_url()
    ));
    let event = json!({"state": "failed", "host": "a\nb\u{1b}[2J", "task": "日本\u{202e}"});
    run(&sandbox, &["send", "-", "--no-wait"], &event.to_string());
    for arguments in [&[][..], &["1"]] {
        let shown = history(&sandbox, arguments).stdout;
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        assert!(shown.contains("a\\u{a}b\\u{1b}[2J  日本"), "{shown}");
    }
}

#[test]
fn times_are_local() {
    let sandbox = waiting();
    let hour = |zone: &str| {
        let mut command = sandbox.command_on_spool(&["history", "--limit", "1"]);
        command.env("TZ", zone).stdin(Stdio::null());
        let shown = outcome(command.spawn().unwrap()).stdout;
        let time = shown
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .nth(2)
            .unwrap();
        time[..2].parse::<i32>().unwrap()
    };
    let apart = (hour("Etc/GMT-5") - hour("Etc/UTC")).rem_euclid(24);
    assert_eq!(apart, 5);
}
