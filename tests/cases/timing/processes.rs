//! Counts and held events, shared by processes and kept through a kill.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;

use super::{CHAT, World, expect, run};
use crate::sandbox::{PATIENCE, outcome};
use crate::server::Reply;

#[test]
fn processes_share_what_they_count() {
    let world = World::new("type = mattermost\non = error\nafter = 5\nrepeat = 4h", "");
    let runs: Vec<_> = (1..=12)
        .map(|number| {
            world.start(
                "2026-11-28T08:00:00Z",
                &run(&format!("r{number}"), &[], "error"),
            )
        })
        .collect();
    for one in runs {
        assert_eq!(outcome(one).code, 0);
    }
    // Of twelve in a row, only the fifth is sent.
    assert_eq!(world.server.requests().len(), 1);
    let status = world.status();
    assert_eq!(
        (&status["accepted"], &status["suppressed"]),
        (&json!(12), &json!(11))
    );
    world.stream("2026-11-28T12:00:00Z", &run("r13", &[], "error"));
    let told = world.told(1);
    assert!(
        told[0]
            .1
            .ends_with("7 earlier failures of the same kind were held back"),
        "{told:?}"
    );
}

#[test]
fn a_killed_process_neither_counts_nor_sends_twice() {
    for place in [
        "before_commit",
        "after_commit",
        "before_send",
        "after_send",
        "before_mark",
        "after_mark",
    ] {
        for number in 1..=4 {
            let world = World::new(
                "type = mattermost\non = error, success\nafter = 2\nmute = Sat UTC",
                "",
            );
            world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
            let input = run("r2", &[], "error");
            let killed = |arguments: &[&str]| {
                let mut command = world.command(arguments);
                command.env(
                    "ANSIBLE_NOTIFY_FAILPOINTS",
                    format!("{place}=abort@{number}"),
                );
                command
            };
            world.sandbox.file("r2", &input);
            let mut command = killed(&["stream"]);
            command.stdin(std::fs::File::open(world.sandbox.path("r2")).unwrap());
            let aborted = command.output().unwrap();
            // The plugin sends it again unless it was accepted.
            world.stream("2026-11-28T08:00:00Z", &input);
            let status = world.status();
            assert_eq!(
                (&status["accepted"], &status["suppressed"], &status["held"]),
                (&json!(2), &json!(1), &json!(1)),
                "{place}@{number}: {aborted:?}"
            );
            world.at("2026-11-29T00:00:00Z");
            let aborted = killed(&["flush"]).output().unwrap();
            world.flush("2026-11-29T00:00:00Z");
            let status = world.status();
            assert_eq!(
                (&status["delivered"], &status["held"]),
                (&json!(1), &json!(0)),
                "{place}@{number}"
            );
            // An unrecorded delivery is sent again, as always.
            let is_repeated = !aborted.status.success() && place != "before_send";
            let most = 1 + usize::from(is_repeated);
            assert!(
                (1..=most).contains(&world.server.requests().len()),
                "{place}@{number}"
            );
        }
    }
}

#[test]
fn a_group_that_was_released_stays_one_message() {
    let world = World::answering(
        &format!("{CHAT}mute = Sat UTC\n"),
        "",
        [Reply::Full(503, "", "later"), Reply::Full(200, "", "ok")],
    );
    for number in 1..=3 {
        world.stream(
            "2026-11-28T08:00:00Z",
            &run(&format!("r{number}"), &["h1 A failed"], "error"),
        );
    }
    world.at("2026-11-29T00:00:00Z");
    let mut command = world.command(&["flush"]);
    command.env("ANSIBLE_NOTIFY_FAILPOINTS", "after_mark=abort");
    assert!(!command.output().unwrap().status.success());
    assert_eq!(world.status()["waiting"], 6);
    assert_eq!(world.flush("2026-11-29T00:00:00Z").code, 0);
    expect(
        &world.told(0),
        &[
            "6 events were held, 6 failed",
            "6 events were held, 6 failed",
        ],
    );
    world.status();
}

#[test]
fn held_events_can_be_sent_by_hand() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\n"), "");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    assert_eq!(world.run(&["flush", "--notifier", "ops"]).code, 0);
    assert_eq!(world.server.requests().len(), 0);
    world
        .run(&["flush", "--held"])
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    expect(&world.told(0), &["site.yml failed"]);
    world.status();
}

#[test]
fn flush_watch_sends_when_the_window_ends() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\n"), "");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    let mut watch = world.command(&["flush", "--watch"]).spawn().unwrap();
    world.stream("2026-11-28T23:59:00Z", &run("r2", &[], "success"));
    world.at("2026-11-29T00:00:00Z");
    world.server.wait_for(1);
    expect(&world.told(0), &["2 events were held, 1 failed"]);
    let pid = rustix::process::Pid::from_child(&watch);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(watch.wait().unwrap().success());
    assert_eq!(world.status()["delivered"], 2);
}

#[test]
fn without_a_spool_events_are_sent_immediately() {
    let world = World::new(&format!("{CHAT}mute = Sat UTC\nafter = 3\n"), "");
    world.sandbox.file("state", "not a directory");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "error"));
    expect(&world.told(0), &["site.yml failed"]);
}

#[test]
fn what_another_process_released_counts_as_what_became_of_it() {
    for (status, expected) in [
        (200, "1 event, 1 delivery: delivered"),
        (400, "1 event, 1 delivery: 1 dead"),
    ] {
        let keys = "type = mattermost\non = failed\nmute = Sat UTC";
        let world = World::answering(keys, "", [Reply::Full(status, "", "ok")]);
        world.at("2026-11-28T08:00:00Z");
        let mut command = world.command(&["stream"]);
        let mut stream = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = stream.stdin.take().unwrap();
        let records = run("r1", &["h1 A failed"], "error");
        let is_result = |line: &&str| !line.contains("playbook_on_stats");
        let first: Vec<&str> = records.lines().take_while(is_result).collect();
        let first = first.join("\n") + "\n";
        input.write_all(first.as_bytes()).unwrap();
        let begun = Instant::now();
        while world.status_if_any()["held"] != 1 {
            assert!(begun.elapsed() < PATIENCE);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        world.run(&["flush", "--held"]);
        world.server.wait_for(1);
        input.write_all(&records.as_bytes()[first.len()..]).unwrap();
        drop(input);
        let ended = outcome(stream);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}
