//! The kind `syslog`, against a real rsyslog and a real systemd journal.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::syslog::{Answer, Journald, Relp, Rsyslog, SCHEMES};

fn configured(sandbox: &Sandbox, url: &str, keys: &str) {
    let config =
        format!("[notifier:logs]\ntype = syslog\nurl = {url}\n{keys}\n[delivery]\ndrain = 60\n");
    sandbox.file("plugin_config.ini", config);
}

fn trusting(sandbox: &Sandbox, url: &str, keys: &str) {
    // The input for RELP with TLS wants to know its clients.
    let identity = "client_cert = server.pem\nclient_key = server.key";
    configured(
        sandbox,
        url,
        &format!("ca_file = ca.pem\n{identity}\n{keys}"),
    );
}

fn event(id: &str, host: &str, text: &str) -> Value {
    json!({"id": id, "time": "2026-11-20T20:42:01.123456Z", "state": "failed", "host": host, "task": "Install",
        "run": {"id": "run-7", "playbook": "site.yml"}, "result": {"msg": text}})
}

fn send(sandbox: &Sandbox, events: &[Value]) -> Outcome {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    sandbox.file("events.json", lines);
    sandbox.run_on_spool(&["send", "events.json"])
}

/// The text of a message as rsyslog has it: control characters are octal there.
fn text(message: &Value) -> &str {
    message["msg"]
        .as_str()
        .unwrap()
        .trim_start_matches('\u{feff}')
}

#[test]
fn every_protocol_carries_every_part_of_a_message() {
    let sandbox = certified_sandbox();
    let server = Rsyslog::start(&sandbox, 64 << 10);
    let mut changed = event("e-2", "web2", "done");
    changed["state"] = json!("success");
    changed["changed"] = json!(true);
    let hostile = event("e-1", "web1", "no ]\" \\ <ü>\nsecond line");
    let end = json!({"event": "run_end", "id": "e-3", "status": "success", "run": {"id": "run-7", "playbook": "site.yml"}});
    for (number, scheme) in SCHEMES.iter().enumerate() {
        trusting(
            &sandbox,
            &server.url(scheme),
            "facility = local3\napp_name = deploy\nstructured_data = acme@4711",
        );
        let events = [hostile.clone(), changed.clone(), end.clone()].map(|mut event| {
            event["id"] = json!(format!("{scheme}-{}", event["id"].as_str().unwrap()));
            event
        });
        let word = if scheme.starts_with("relp") {
            "delivered"
        } else {
            "sent"
        };
        let sent = send(&sandbox, &events);
        sent.expect_line(0, &["3 events, 3 deliveries: all ", word]);
        let all = server.messages(3 * (number + 1));
        let of = |id: &str| {
            let id = format!("id=\"{scheme}-{id}\"");
            let found = all
                .iter()
                .find(|one| one["structured-data"].as_str().unwrap().contains(&id));
            found.unwrap_or_else(|| panic!("{id}: {all:?}")).clone()
        };
        let (first, second, third) = (of("e-1"), of("e-2"), of("e-3"));
        assert_eq!(
            text(&first),
            "web1: Install: failed: no ]\" \\ <ü>#012second line",
            "{scheme}"
        );
        assert_eq!(text(&second), "web2: Install: changed: done");
        assert_eq!(third["msgid"], "run_end");
        assert_eq!(
            (&first["msgid"], &first["procid"]),
            (&json!("runner_on_failed"), &json!("run-7"))
        );
        assert_eq!(
            (&first["app-name"], &first["syslogfacility"]),
            (&json!("deploy"), &json!("19"))
        );
        let severities =
            [&first, &second, &third].map(|one| one["syslogseverity"].as_str().unwrap());
        assert_eq!(severities, ["3", "5", "6"]);
        assert!(
            first["timereported"]
                .as_str()
                .unwrap()
                .starts_with("2026-11-20T20:42:01.123456"),
            "{first}"
        );
        let node = rustix::system::uname();
        assert_eq!(first["hostname"], node.nodename().to_str().unwrap());
        let data = first["structured-data"].as_str().unwrap();
        assert!(data.starts_with("[acme@4711 id="), "{data}");
        assert!(data.contains(r#" task_output="no \]\" \\ <ü>"#), "{data}");
        assert!(
            data.contains(r#" host="web1" task_name="Install""#),
            "{data}"
        );
    }
    // Connections end as their protocols want it.
    let said = server.internal();
    for mistake in ["error", "not properly", "close", "unexpected"] {
        assert!(!said.to_lowercase().contains(mistake), "{said}");
    }
}

#[test]
fn a_message_is_cut_at_its_limit_and_the_next_one_is_whole() {
    let sandbox = certified_sandbox();
    let server = Rsyslog::start(&sandbox, 256 << 10);
    for (number, (scheme, keys, most)) in [
        ("tcp", "", 8 << 10),
        ("udp", "max_size = 60KiB", 60 << 10),
        ("tls", "max_size = 100KiB", 100 << 10),
        ("relp", "max_size = 100KiB", 100 << 10),
    ]
    .into_iter()
    .enumerate()
    {
        let keys = format!("message = {{{{ result.msg }}}}\n{keys}");
        trusting(&sandbox, &server.url(scheme), &keys);
        let text = format!("{}ü", "x".repeat(150_000));
        let events = [
            event(&format!("{number}-1"), "web1", &text),
            event(&format!("{number}-2"), "web1", "short"),
        ];
        assert_eq!(send(&sandbox, &events).code, 0);
        let all = server.messages(2 * (number + 1));
        let raw = |at: usize| all[2 * number + at]["rawmsg"].as_str().unwrap();
        assert!(
            raw(0).len() <= most && raw(0).len() > most / 2,
            "{scheme}: {}",
            raw(0).len()
        );
        assert!(raw(0).ends_with(" […]"), "{scheme}");
        assert!(raw(1).ends_with("short"), "{scheme}: {}", raw(1));
    }
}

#[test]
fn what_relp_does_not_confirm_is_sent_again() {
    let answer = |number| match number {
        0 => Answer::Refused("500 queue is full"),
        2 => Answer::Closed,
        _ => Answer::Taken,
    };
    let server = Relp::start(answer);
    let sandbox = Sandbox::new();
    configured(&sandbox, &server.url(), "");
    let events: Vec<Value> = (0..4)
        .map(|n| event(&format!("e-{n}"), "web1", &format!("text {n}")))
        .collect();
    assert_eq!(send(&sandbox, &events[..1]).code, 0);
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(
        history.contains("the receiver answered 500 queue is full"),
        "{history}"
    );
    let sent = send(&sandbox, &events[1..]);
    sent.expect_line(0, &["3 deliveries: all delivered"]);
    let texts: Vec<String> = server
        .taken()
        .iter()
        .map(|one| one.rsplit(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["0", "0", "1", "1", "2", "3"]);
    // Anything that is no answer of RELP.
    let refusing = Relp::start(|_| Answer::Refused("403 go away"));
    configured(&sandbox, &refusing.url(), "");
    let refused = send(&sandbox, &[event("e-9", "web1", "x")]);
    refused.expect_line(69, &["1 dead", "the receiver answered 403 go away"]);
}

#[test]
fn messages_of_several_hosts_are_on_their_way_together() {
    // Nobody gets an answer before all are there.
    let server = Relp::start(|_| Answer::Together(8));
    let sandbox = Sandbox::new();
    configured(&sandbox, &server.url(), "");
    let events: Vec<Value> = (0..64)
        .map(|n| event(&format!("e-{n}"), &format!("web{}", n % 8), &n.to_string()))
        .collect();
    let sent = send(&sandbox, &events);
    sent.expect_line(0, &["64 deliveries: all delivered"]);
    let mut last = [None; 8];
    for message in server.taken() {
        let number: usize = message.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(last[number % 8] < Some(number), "{number}");
        last[number % 8] = Some(number);
    }
}

#[test]
fn a_killed_rsyslog_loses_nothing_over_relp() {
    let sandbox = certified_sandbox();
    let mut server = Rsyslog::start(&sandbox, 8 << 10);
    trusting(&sandbox, &server.url("relps"), "");
    let count = 600;
    let events: String = (0..count)
        .map(|n| {
            format!(
                "{}\n",
                event(&format!("e-{n}"), &format!("web{}", n % 20), "x")
            )
        })
        .collect();
    sandbox.file("events.json", events);
    let sending = sandbox.start_on_spool(&["send", "events.json", "--wait"]);
    for part in [50, 200, 350] {
        server.messages(part);
        server.kill();
        server.run();
    }
    let sent = sending.outcome();
    assert_eq!(sent.code, 0, "{sent:?}");
    let ids: BTreeSet<String> = server
        .messages(count)
        .iter()
        .map(|one| {
            one["structured-data"]
                .as_str()
                .unwrap()
                .split('"')
                .nth(1)
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_server_that_is_down_gets_everything_later() {
    let sandbox = certified_sandbox();
    let mut server = Rsyslog::start(&sandbox, 8 << 10);
    server.kill();
    for scheme in ["tcp", "relp"] {
        trusting(&sandbox, &server.url(scheme), "");
        sandbox.file(
            "events.json",
            event(&format!("{scheme}-1"), "web1", "x").to_string(),
        );
        let sent = sandbox.run_on_spool(&["send", "events.json", "--no-wait"]);
        assert_eq!(sent.code, 0, "{sent:?}");
        sandbox.expect_reason("nothing listens there");
    }
    server.run();
    trusting(&sandbox, &server.url("tcp"), "");
    let flushed = sandbox.run_on_spool(&["flush"]);
    flushed.expect_line(0, &["2 deliveries: all sent"]);
    server.messages(2);
    let status = sandbox.run_on_spool(&["status"]).stdout;
    assert!(
        status.contains("sent, not known to be delivered"),
        "{status}"
    );
    let status = sandbox.run_on_spool(&["status", "--json"]).stdout;
    let rows: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(
        (&rows[0]["answered"], &rows[0]["delivered"]),
        (&json!(false), &json!(2))
    );
}

#[test]
fn the_journal_has_an_event_by_its_fields() {
    let journal = Journald::start();
    let sandbox = Sandbox::new();
    let url = format!("journal:{}", journal.socket().display());
    configured(
        &sandbox,
        &url,
        "max_size = 1MiB\nmessage = {{ result.msg }}",
    );
    let large = "y".repeat(800_000);
    let events = [
        event("e-1", "web1", "first\nsecond"),
        event("e-2", "web2", &large),
        event("e-3", "web1", "third"),
    ];
    send(&sandbox, &events).expect_line(0, &["3 deliveries: all sent"]);
    let entries = journal.entries("ANSIBLE_HOST=web1", 2);
    let texts: Vec<&str> = entries
        .iter()
        .map(|one| one["MESSAGE"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["first\nsecond", "third"]);
    let first = &entries[0];
    for (field, value) in [
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "ansible"),
        ("SYSLOG_FACILITY", "1"),
        ("ANSIBLE_STATE", "failed"),
        ("ANSIBLE_TASK_NAME", "Install"),
        ("ANSIBLE_RUN_ID", "run-7"),
        ("ANSIBLE_ID", "e-1"),
    ] {
        assert_eq!(first[field], value, "{field}");
    }
    assert_eq!(first["MESSAGE_ID"].as_str().unwrap().len(), 32);
    assert_eq!(first["MESSAGE_ID"], entries[1]["MESSAGE_ID"]);
    let entries = journal.entries("ANSIBLE_HOST=web2", 1);
    assert_eq!(entries[0]["MESSAGE"].as_str().unwrap().len(), large.len());
}

#[test]
fn a_check_says_what_is_there() {
    let sandbox = certified_sandbox();
    let mut server = Rsyslog::start(&sandbox, 8 << 10);
    let journal = Journald::start();
    let journal = format!("journal:{}", journal.socket().display());
    for (url, said) in [
        (server.url("udp"), "has an address; UDP has no answers"),
        (server.url("tls"), "is connected"),
        (server.url("relps"), "speaks RELP"),
        (journal, "can be written"),
    ] {
        trusting(&sandbox, &url, "");
        let checked = sandbox.run(&["check-config", "--connect"]);
        assert!(
            checked.code == 0 && checked.stdout.contains(said),
            "{checked:?}"
        );
    }
    // Without the authority, the server is a stranger.
    configured(&sandbox, &server.url("relps"), "timeout = 20s");
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.code != 0 && checked.printed().contains("certificate"),
        "{checked:?}"
    );
    server.kill();
    trusting(&sandbox, &server.url("relp"), "");
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.printed().contains("nothing listens there"),
        "{checked:?}"
    );
}

#[test]
fn a_mistake_is_named() {
    let sandbox = Sandbox::new();
    for (url, keys, problem) in [
        ("http://logs", "", "`url` must be udp://HOST:PORT"),
        ("udp://logs/x", "", "`url` must be udp://HOST:PORT"),
        (
            "udp://logs",
            "max_size = 1MiB",
            "`max_size` can be at most 65507 bytes",
        ),
        (
            "tcp://logs",
            "max_size = 2MiB",
            "`max_size` must be a size from 1KiB to 1MiB",
        ),
        ("tcp://logs", "facility = local9", "`facility` must be"),
        (
            "tcp://logs",
            "app_name = my app",
            "`app_name` must have at most 48",
        ),
        (
            "tcp://logs",
            "structured_data = ansible",
            "`structured_data` must be `false` or a name",
        ),
        ("tcp://logs", "batch = 5", "batch"),
    ] {
        configured(&sandbox, url, keys);
        let checked = sandbox.run(&["check-config"]);
        assert!(
            checked.code == 78 && checked.stderr.contains(problem),
            "{keys}: {checked:?}"
        );
    }
    configured(&sandbox, "tls://logs", "structured_data = false");
    sandbox.file("events.json", event("e-1", "web1", "no").to_string());
    let shown = sandbox.run(&["send", "--dry-run", "events.json"]).stdout;
    assert!(
        shown.contains("tls://logs:6514")
            && shown.contains(" runner_on_failed - web1: Install: failed: no"),
        "{shown}"
    );
}
