//! Messages about several held events: each with its text, time, reason and output.

use serde_json::{Value, json};

use super::timing::{CHAT, World, expect, run};
use crate::sandbox::{Sandbox, outcome};
use crate::server::Server;
use crate::server::smtp::Smtp;

const MORNING: &str = "digest = 1d at 08:00 UTC\n";
const NIGHT: &str = "2026-11-28T03:00:00Z";
const NEXT: &str = "2026-11-28T08:00:00Z";

/// Returns a line without its time, which must have a zone.
fn timeless(line: &str) -> &str {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let [day, date, time, zone, rest] = words[..] else {
        panic!("{line}");
    };
    let is_time = |text: &str| text.split(':').all(|part| part.len() == 2);
    assert!(
        day.len() == 3 && date.len() == 10 && is_time(time),
        "{line}"
    );
    assert_eq!(zone, "UTC", "{line}");
    rest
}

#[test]
fn a_held_command_has_its_name_and_reason() {
    let keys = "type = mattermost\non = started, error, success, canceled\n";
    let world = World::new(&format!("{keys}{MORNING}"), "");
    world.at(NIGHT);
    let failing = "echo 'fatal: no such bucket' >&2; exit 3";
    for command in [
        &["--name", "backup", "sh", "-c", failing][..],
        &["true"],
        &["sh", "-c", "kill -TERM $$"],
    ] {
        world.run(&[&["run", "-q"], command].concat());
    }
    world.flush(NEXT);
    let told = world.told(0);
    expect(&told, &["6 events were held, 1 failed"]);
    let text = told[0].1.replace("\\`", "`");
    let lines: Vec<&str> = text.lines().map(timeless).collect();
    assert_eq!(
        lines,
        [
            "backup started",
            "backup failed: fatal: no such bucket",
            "true started",
            "true succeeded",
            "sh started",
            "sh was canceled: `sh` was ended by SIGTERM",
        ]
    );
}

#[test]
fn no_message_shows_the_internal_name_of_a_callback() {
    let keys = "type = mattermost\non = playbook_on_start, playbook_on_play_start, playbook_on_stats, \
        playbook_on_no_hosts_matched, ok, changed, error\n";
    let world = World::new(&format!("{keys}{MORNING}"), "");
    world.at(NIGHT);
    let run = json!({"playbook": "site.yml"});
    let events = [
        json!({"event": "playbook_on_start", "run": run}),
        json!({"event": "playbook_on_play_start", "run": run, "play": "Web"}),
        json!({"event": "playbook_on_no_hosts_matched", "run": run}),
        json!({"event": "runner_on_ok", "changed": true, "host": "h1", "task": "Install"}),
        json!({"event": "playbook_on_stats", "run": run}),
        json!({"event": "run_end", "status": "error", "reason": "a\nb",
            "run": {"check": true, "playbook": "site.yml"}}),
    ];
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    world.sandbox.file("events", lines);
    let sent = world.run(&["send", "events"]);
    assert_eq!(sent.code, 0, "{}", sent.stderr);
    world.flush(NEXT);
    let told = world.told(0);
    let lines: Vec<&str> = told[0].1.lines().map(timeless).collect();
    assert_eq!(
        lines,
        [
            "site.yml started",
            "site.yml: Web",
            "site.yml: no hosts matched",
            "h1: Install: changed",
            "site.yml: stats",
            "site.yml failed (check mode): a b",
        ]
    );
}

#[test]
fn failures_are_listed_before_other_events() {
    let world = World::new(&format!("{CHAT}{MORNING}"), "");
    let results: Vec<String> = (1..=30)
        .map(|number| format!("h{number} A {}", if number > 25 { "failed" } else { "ok" }))
        .collect();
    let results: Vec<&str> = results.iter().map(String::as_str).collect();
    world.stream(NIGHT, &run("r1", &results, "error"));
    world.flush(NEXT);
    let told = world.told(0);
    expect(&told, &["31 events were held, 6 failed"]);
    let lines: Vec<&str> = told[0].1.lines().collect();
    assert_eq!((lines.len(), lines[20]), (21, "and 11 more"));
    let failed = lines.iter().filter(|line| line.contains(": A: failed"));
    assert_eq!(failed.count(), 5, "{lines:?}");
    assert!(timeless(lines[0]).starts_with("h1: ") && lines[19].contains(" site.yml failed"));
}

#[test]
fn custom_templates_have_the_lines() {
    let keys = "type = mattermost\non = error\nmessage = {{ held.lines | join(' / ') if held }}\n";
    let world = World::new(&format!("{keys}{MORNING}"), "");
    for number in 1..=2 {
        world.stream(NIGHT, &run(&format!("r{number}"), &[], "error"));
    }
    world.flush(NEXT);
    let text = &world.told(0)[0].1;
    let parts: Vec<&str> = text.split(" / ").map(timeless).collect();
    assert_eq!(parts.len(), 2, "{text}");
    assert_eq!(parts[0], "site.yml failed");
}

#[test]
fn a_digest_belongs_to_no_single_run() {
    let keys = "type = mattermost\non = error\n";
    let world = World::new(&format!("{keys}{MORNING}"), "");
    let with_url = |id: &str| {
        let url = r#""inventory":["prod"],"url":"https://ci.example/1""#;
        run(id, &[], "error").replace(r#""inventory":["prod"]"#, url)
    };
    world.stream(NIGHT, &with_url("r1"));
    world.flush(NEXT);
    world.stream(NEXT, &with_url("r2"));
    world.stream(NEXT, &with_url("r3"));
    world.flush("2026-11-29T08:00:00Z");
    let link = |body: &Value| body["attachments"][0]["title_link"].clone();
    let links: Vec<Value> = world.server.bodies().iter().map(link).collect();
    assert_eq!(links, [json!("https://ci.example/1"), Value::Null]);
}

#[test]
fn each_output_is_attached_under_the_name_of_its_run() {
    let sandbox = Sandbox::new();
    let server = Smtp::start(&sandbox, &[]);
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[notifier:mail]\ntype = email\nhost = 127.0.0.1\nport = {}\nencryption = none\n\
             from = a@x.example\nto = b@x.example\non = error, success\nattach = output\n{MORNING}",
            server.port()
        ),
    );
    let command = |arguments: &[&str], time: &str| {
        let mut command = sandbox.command_on_spool(arguments);
        command.env("ANSIBLE_NOTIFY_CLOCK", time).env("TZ", "UTC");
        outcome(command.spawn().unwrap())
    };
    let ran = |name: &str, script: &str| {
        command(&["run", "-q", "--name", name, "sh", "-c", script], NIGHT);
    };
    ran("night/ly", "echo first-output");
    ran("backup", "echo second-output; exit 1");
    command(&["run", "-q", "--tail", "0", "true"], NIGHT);
    command(&["flush"], NEXT);
    assert_eq!(server.mails().len(), 1);
    let wire = server.wire();
    for (name, text) in [
        ("output-1-night-ly.txt", "first-output"),
        ("output-2-backup.txt", "second-output"),
    ] {
        let header = format!("Content-Disposition: attachment; filename=\"{name}\"");
        let (_, after) = wire.split_once(&header).unwrap_or_else(|| panic!("{wire}"));
        let part = after.split("--=_ansible-notify-parts_=").next().unwrap();
        assert!(part.contains(text), "{wire}");
    }
    assert_eq!(wire.matches("Content-Disposition").count(), 2, "{wire}");
    assert!(!wire.contains("In-Reply-To"), "{wire}");
}

#[test]
fn the_summary_names_the_first_and_the_last_time() {
    let server = Server::start([crate::server::OK]);
    let more = format!(
        "[notifier:other]\ntype = mattermost\nurl = {}\non = error\nmute = Sat-Sun UTC\n",
        server.url()
    );
    let world = World::new(&format!("{CHAT}{MORNING}"), &more);
    let range =
        "held (the first until Sat 2026-11-28 08:00 UTC, the last until Mon 2026-11-30 00:00 UTC)";
    world.stream(NIGHT, &run("r1", &[], "error")).expect(
        0,
        &format!("ansible-notify: 1 event, 2 deliveries: 2 {range}\n"),
    );
    let flushed = world.flush(NIGHT);
    assert!(
        flushed.stderr.contains(&format!("2 {range}")),
        "{}",
        flushed.stderr
    );
    // Sent events are no longer held.
    let flushed = world.flush(NEXT);
    let rest = "1 delivered, 1 held until Mon 2026-11-30 00:00 UTC\n";
    assert!(flushed.stderr.ends_with(rest), "{}", flushed.stderr);
}

#[test]
fn data_has_held_back_only_after_held_back_failures() {
    let world = World::answering(
        "type = webhook\non = error, success\nafter = 3\n",
        "",
        [crate::server::OK],
    );
    for (number, status) in (1..).zip(["error", "error", "error", "error", "success"]) {
        world.stream(NIGHT, &run(&format!("r{number}"), &[], status));
    }
    let told: Vec<Value> = world.server.bodies();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["held_back"], 2);
    for body in &told[1..] {
        assert!(
            body.as_object().unwrap().get("held_back").is_none(),
            "{body}"
        );
    }
}
