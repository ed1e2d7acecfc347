//! The kind `redis`, against a real Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::{Outcome, PATIENCE, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::redis::{Entry, PASSWORD, Redis};

fn configured(sandbox: &Sandbox, url: &str, keys: &str) {
    let login = match keys.contains("password") {
        true => String::new(),
        false => format!("password = {PASSWORD}\n"),
    };
    let config = format!(
        "[notifier:log]\ntype = redis\nurl = {url}\n{login}{keys}\n[delivery]\ndrain = 60\n"
    );
    sandbox.file("plugin_config.ini", config);
}

fn event(id: usize, host: &str) -> Value {
    json!({"id": format!("e{id}"), "time": "2026-11-20T20:42:01.123456Z", "state": "failed", "host": host,
        "task": "Install", "run": {"id": "run7", "playbook": "site.yml"}, "result": {"msg": "no"}})
}

fn send(sandbox: &Sandbox, events: &[Value]) -> Outcome {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    sandbox.file("events.json", lines);
    sandbox.run_on_spool(&["send", "events.json"])
}

fn field<'a>(entry: &'a Entry, name: &str) -> &'a str {
    let found = entry.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

/// The numbers of the events in a stream, in order.
fn numbers(entries: &[Entry]) -> Vec<usize> {
    let number = |entry: &Entry| field(entry, "id").trim_start_matches('e').parse().unwrap();
    entries.iter().map(number).collect()
}

#[test]
fn an_entry_has_the_event_with_its_id_its_time_and_its_host() {
    let sandbox = certified_sandbox();
    let server = Redis::start(&sandbox);
    for (place, url) in [server.url(), server.tls_url()].into_iter().enumerate() {
        configured(
            &sandbox,
            &url,
            "ca_file = ca.pem\nstream = ansible:{{ playbook }}",
        );
        send(&sandbox, &[event(place, "web1")]).expect_line(0, &["1 delivery: delivered"]);
    }
    let entries = server.entries("ansible:site.yml");
    assert_eq!(numbers(&entries), [0, 1]);
    let payload: Value = serde_json::from_str(field(&entries[0], "event")).unwrap();
    assert_eq!(
        (&payload["id"], &payload["state"]),
        (&json!("e0"), &json!("failed"))
    );
    assert_eq!(field(&entries[0], "time"), "2026-11-20T20:42:01.123456Z");
    assert_eq!(field(&entries[0], "host"), "web1");
    // Without the authority, the server is a stranger.
    configured(&sandbox, &server.tls_url(), "");
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.code != 0 && checked.printed().contains("certificate"),
        "{checked:?}"
    );
}

#[test]
fn a_refused_event_takes_no_other_with_it() {
    let sandbox = certified_sandbox();
    let server = Redis::start(&sandbox);
    server.ask(&["SET", "web1", "not a stream"]);
    configured(&sandbox, &server.url(), "stream = {{ host }}\norder = run");
    let events: Vec<Value> = (0..20)
        .map(|number| event(number, &format!("web{}", number % 4)))
        .collect();
    send(&sandbox, &events).expect_line(69, &["5 dead", "15 delivered", "WRONGTYPE"]);
    for host in [0, 2, 3] {
        let expected: Vec<usize> = (host..20).step_by(4).collect();
        assert_eq!(numbers(&server.entries(&format!("web{host}"))), expected);
    }
}

#[test]
fn a_wrong_password_is_said_and_a_check_logs_in() {
    let sandbox = certified_sandbox();
    let server = Redis::start(&sandbox);
    configured(&sandbox, &server.url(), "");
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.code == 0 && checked.stdout.contains("logged in"),
        "{checked:?}"
    );
    let refused = "the server refused the login; check `username` and `password`";
    for (keys, said) in [
        ("# no password", "NOAUTH"),
        ("password = canary-other", refused),
    ] {
        configured(&sandbox, &server.url(), keys);
        let checked = sandbox.run(&["check-config", "--connect"]);
        let printed = checked.printed();
        assert!(checked.code != 0 && printed.contains(said), "{checked:?}");
        assert!(!printed.contains("canary"), "{checked:?}");
    }
    // Events wait for the right one.
    sandbox.file("events.json", format!("{}\n", event(0, "web1")));
    let sent = sandbox.run_on_spool(&["send", "events.json", "--no-wait"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    sandbox.expect_reason(refused);
    configured(&sandbox, &server.url(), "");
    let flushed = sandbox.run_on_spool(&["flush"]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert_eq!(numbers(&server.entries("ansible")), [0]);
}

#[test]
fn kills_of_program_and_server_lose_nothing_and_keep_the_order_of_a_host() {
    let sandbox = certified_sandbox();
    let mut server = Redis::start(&sandbox);
    configured(&sandbox, &server.url(), "batch = 10");
    server.kill();
    let count = 400;
    let events: String = (0..count)
        .map(|number| format!("{}\n", event(number, &format!("web{}", number % 8))))
        .collect();
    sandbox.file("events.json", events);
    let sent = sandbox.run_on_spool(&["send", "events.json", "--no-wait"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    sandbox.expect_reason("nothing listens there");
    server.run();
    for least in [1, count / 4, count / 2] {
        // Dropped, it is killed.
        let flushing = sandbox.start_on_spool(&["flush"]);
        let deadline = Instant::now() + PATIENCE;
        while server.entries("ansible").len() < least {
            assert!(Instant::now() < deadline, "{least} events do not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(flushing);
        server.kill();
        server.run();
    }
    let flushed = sandbox.run_on_spool(&["flush"]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    // A repeat has the id of the first.
    for number in numbers(&server.entries("ansible")) {
        if seen.insert(number) {
            let before = last.insert(number % 8, number);
            assert!(before < Some(number), "{number} after {before:?}");
        }
    }
    assert_eq!(seen.len(), count);
}

#[test]
fn a_mistake_is_named() {
    let sandbox = Sandbox::new();
    for (url, keys, problem) in [
        ("http://redis", "", "`url` must begin with redis://"),
        ("redis://redis/x", "", "with the number of the database"),
        ("redis://redis/?x", "", "with the number of the database"),
        (
            "redis://u:p@redis",
            "",
            "cannot contain a user or a password",
        ),
        ("redis://redis", "max_length = 0", "`max_length` must be"),
        ("redis://redis", "group_by = host", "unknown key `group_by`"),
    ] {
        configured(&sandbox, url, keys);
        let checked = sandbox.run(&["check-config"]);
        assert!(
            checked.code == 78 && checked.stderr.contains(problem),
            "{url} {keys}: {checked:?}"
        );
    }
}
