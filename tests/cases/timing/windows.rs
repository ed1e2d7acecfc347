//! `mute` and `digest`: messages that wait for a time.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{CHAT, NIGHT, World, expect, run};
use crate::sandbox::{Sandbox, outcome};
use crate::server::{OK, pagerduty};

#[test]
fn muted_events_are_sent_in_one_message_when_the_window_ends() {
    let world = World::new(&format!("{CHAT}{NIGHT}"), "");
    // Friday evening in Berlin, already winter time.
    let outcome = world.stream(
        "2026-11-27T21:30:00Z",
        &run("r1", &["h1 A failed"], "error"),
    );
    outcome.expect(
        0,
        "ansible-notify: 2 events, 2 deliveries: 2 held until Mon 2026-11-30 05:00 UTC\n",
    );
    world.stream("2026-11-28T12:00:00Z", &run("r2", &["h1 A ok"], "success"));
    let flushed = world.flush("2026-11-30T04:59:59Z");
    assert_eq!(
        (flushed.code, world.server.requests().len()),
        (0, 0),
        "{}",
        flushed.stderr
    );
    assert!(
        flushed
            .stderr
            .contains("4 held until Mon 2026-11-30 05:00 UTC"),
        "{}",
        flushed.stderr
    );
    let status = world.status();
    assert_eq!(
        (&status["waiting"], &status["held"]),
        (&json!(4), &json!(4))
    );
    let flushed = world.flush("2026-11-30T05:00:00Z");
    flushed.expect(0, "ansible-notify: 4 deliveries: all delivered\n");
    let told = world.told(0);
    expect(&told, &["4 events were held, 2 failed"]);
    let lines: Vec<&str> = told[0].1.lines().collect();
    assert_eq!(lines.len(), 4, "{told:?}");
    // In the order of their times: results have those of the samples, ends that of the test.
    let expected = [
        " UTC h1: A: failed: no space left",
        " UTC h1: A: ok",
        " UTC site.yml failed: h1: A: no space left",
        " UTC site.yml recovered",
    ];
    for (line, end) in lines.iter().zip(expected) {
        assert!(line.ends_with(end), "{lines:?}");
    }
    assert_eq!(world.status()["delivered"], 4);
}

#[test]
fn muted_events_can_be_dropped() {
    let world = World::new(&format!("{CHAT}{NIGHT}muted = drop\n"), "");
    let outcome = world.stream("2026-11-28T12:00:00Z", &run("r1", &[], "error"));
    outcome.expect(
        0,
        "ansible-notify: 1 event, 1 delivery: 1 suppressed by `after`, `repeat` or `muted`\n",
    );
    let history = world.history();
    assert_eq!(
        history[0].1,
        "dropped: muted until Mon 2026-11-30 05:00 UTC (`muted = drop`)"
    );
    world.flush("2026-12-01T12:00:00Z");
    assert_eq!(world.server.requests().len(), 0);
    world.stream("2026-12-01T12:00:00Z", &run("r2", &[], "error"));
    assert_eq!(world.server.requests().len(), 1);
    world.status();
}

#[test]
fn windows_follow_their_time_zone() {
    for (mute, at, until) in [
        // Summer time begins in Berlin on 2026-03-29 at 01:00 UTC, in New York on 2026-03-08 at 07:00 UTC.
        (
            "22:00-06:00 Europe/Berlin",
            "2026-03-28T21:30:00Z",
            "2026-03-29T04:00:00Z",
        ),
        (
            "22:00-02:30 Europe/Berlin",
            "2026-03-28T21:30:00Z",
            "2026-03-29T01:00:00Z",
        ),
        (
            "02:30-04:00 Europe/Berlin",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ),
        (
            "22:00-06:00 America/New_York",
            "2026-03-08T03:00:00Z",
            "2026-03-08T10:00:00Z",
        ),
        // It ends in Berlin on 2026-10-25 at 01:00 UTC, in New York on 2026-11-01 at 06:00 UTC.
        (
            "22:00-06:00 Europe/Berlin",
            "2026-10-24T20:30:00Z",
            "2026-10-25T05:00:00Z",
        ),
        (
            "01:00-02:30 Europe/Berlin",
            "2026-10-25T00:45:00Z",
            "2026-10-25T01:30:00Z",
        ),
        (
            "22:00-01:30 America/New_York",
            "2026-11-01T03:00:00Z",
            "2026-11-01T06:30:00Z",
        ),
        (
            "Sun America/New_York",
            "2026-11-01T04:00:00Z",
            "2026-11-02T05:00:00Z",
        ),
        (
            "22:00-06:00 Asia/Kathmandu",
            "2026-11-28T16:15:00Z",
            "2026-11-29T00:15:00Z",
        ),
    ] {
        let world = World::new(&format!("{CHAT}mute = {mute}\n"), "");
        world.stream(at, &run("r1", &[], "error"));
        let until: jiff::Timestamp = until.parse().unwrap();
        let before = until - jiff::SignedDuration::from_secs(1);
        world.flush(&before.to_string());
        assert_eq!(world.server.requests().len(), 0, "{mute} at {at}");
        world.flush(&until.to_string());
        assert_eq!(world.server.requests().len(), 1, "{mute} at {at}");
    }
}

#[test]
fn named_windows_and_periods() {
    let sections = "[time:weekend]\ndays = Sat, Sun\nzone = Europe/Berlin\n\
        [time:holidays]\ndates = 12-24..01-02\nzone = Europe/Berlin\n\
        [time:move]\nmute_start = 2026-12-01 08:00\nmute_until = 2026-12-01T12:00:00+01:00\nzone = Europe/Berlin\n";
    let keys = format!("{CHAT}mute = time:weekend, time:holidays, time:move\n");
    for (at, until) in [
        ("2026-11-28T12:00:00Z", "2026-11-29T23:00:00Z"),
        ("2026-12-31T12:00:00Z", "2027-01-03T23:00:00Z"),
        ("2026-12-01T07:30:00Z", "2026-12-01T11:00:00Z"),
    ] {
        let world = World::new(&keys, sections);
        world.stream(at, &run("r1", &[], "error"));
        let status = world.status();
        let until: jiff::Timestamp = until.parse().unwrap();
        assert_eq!(status["held_until"], until.as_millisecond(), "{at}");
    }
    let world = World::new(&keys, sections);
    world.stream("2026-12-01T06:59:00Z", &run("r1", &[], "error"));
    assert_eq!(world.server.requests().len(), 1);
}

#[test]
fn a_digest_is_sent_at_its_time() {
    let world = World::new(&format!("{CHAT}digest = 1d at 08:00 Europe/Berlin\n"), "");
    for (number, time) in [(1, "07:00"), (2, "12:00"), (3, "23:30")] {
        let time = format!("2026-11-28T{time}:00Z");
        world.stream(&time, &run(&format!("r{number}"), &[], "success"));
    }
    // The next run sends it, too.
    world.at("2026-11-29T07:00:00Z");
    let mut command = world.command(&["stream"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(run("r4", &[], "success").as_bytes())
        .unwrap();
    world.server.wait_for(1);
    drop(stdin);
    assert_eq!(outcome(child).code, 0);
    expect(&world.told(0), &["3 events were held, none failed"]);
    assert_eq!(world.status()["held"], 1);
    world.flush("2026-11-30T07:00:00Z");
    expect(&world.told(1), &["site.yml succeeded"]);
    world.status();
}

#[test]
fn a_digest_waits_for_the_end_of_a_mute() {
    let world = World::new(&format!("{CHAT}digest = 1h\nmute = 22:00-06:00 UTC\n"), "");
    world.stream("2026-11-28T20:30:00Z", &run("r1", &[], "error"));
    world.stream("2026-11-28T21:30:00Z", &run("r2", &[], "error"));
    world.flush("2026-11-28T21:30:00Z");
    expect(&world.told(0), &["site.yml failed"]);
    world.flush("2026-11-28T23:00:00Z");
    assert_eq!(world.server.requests().len(), 1);
    assert_eq!(world.status()["held"], 1);
    world.flush("2026-11-29T06:00:00Z");
    assert_eq!(world.server.requests().len(), 2);
}

#[test]
fn a_change_of_the_rules_applies_to_held_events() {
    let world = World::new(&format!("{CHAT}mute = Sat-Sun UTC\n"), "");
    world.stream("2026-11-28T12:00:00Z", &run("r1", &[], "error"));
    let without = format!("[notifier:ops]\nurl = {}\n{CHAT}", world.server.url());
    world.sandbox.file("plugin_config.ini", &without);
    world
        .flush("2026-11-28T12:01:00Z")
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert_eq!(world.status()["held"], 0);
}

#[test]
fn kinds_with_separate_records_get_each_event() {
    let world = World::answering(
        "type = webhook\non = error, success\nmute = Sat-Sun UTC\n",
        "",
        [OK],
    );
    for (number, status) in (1..).zip(["error", "success", "error"]) {
        world.stream(
            "2026-11-28T12:00:00Z",
            &run(&format!("r{number}"), &[], status),
        );
    }
    world.flush("2026-11-30T00:00:00Z");
    let told: Vec<Value> = world
        .server
        .bodies()
        .into_iter()
        .map(|mut body| body["run_id"].take())
        .collect();
    assert_eq!(told, ["r1", "r2", "r3"]);
}

#[test]
fn a_pager_gets_each_incident_after_the_night() {
    let (pagerduty, incidents) = pagerduty::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\non = error, recovered\nmute = Sat UTC\n",
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
    ));
    let world = World {
        sandbox,
        server: pagerduty,
    };
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    world.stream(
        "2026-11-28T09:00:00Z",
        &run("r2", &[], "error").replace("site.yml", "db.yml"),
    );
    world.stream("2026-11-28T10:00:00Z", &run("r3", &[], "success"));
    world
        .flush("2026-11-29T00:00:00Z")
        .expect(0, "ansible-notify: 3 deliveries: all delivered\n");
    assert_eq!(incidents.lock().unwrap().len(), 1, "site.yml is well again");
}
