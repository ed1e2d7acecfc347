//! A notifier can be muted until a time, from a terminal or the page: what happens meanwhile is kept, and told when
//! the mute ends, by whichever process delivers then.

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::timing::{World, run};
use crate::sandbox::page::Served;
use crate::sandbox::{PATIENCE, outcome};

const CHAT: &str = "type = mattermost\non = error, success\n";

/// A chat that was told of a run at eight, so that the spool knows it.
fn world() -> World {
    let world = World::new(CHAT, "[delivery]\ndrain = 1s\n");
    assert_eq!(
        world
            .stream("2026-11-28T08:00:00Z", &run("r1", &[], "success"))
            .code,
        0
    );
    assert_eq!(world.told(0).len(), 1);
    world
}

fn mute(world: &World, until: &str) {
    let muted = world.run(&[
        "mute",
        "ops",
        "--until",
        until,
        "--why",
        "we move the database",
    ]);
    muted.expect_line(0, &["ops: muted until ", "sends what is held"]);
}

/// Waits until the server has got this many messages.
#[track_caller]
fn wait_for(world: &World, messages: usize) {
    let begin = Instant::now();
    while world.told(0).len() < messages {
        assert!(begin.elapsed() < PATIENCE, "{:?}", world.status());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that delivers for as long as it is not stopped.
struct Watch(Child);

impl Watch {
    fn of(world: &World) -> Watch {
        Watch(world.command(&["flush", "--watch"]).spawn().unwrap())
    }

    fn stop(self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(outcome(self.0).code, 0);
    }
}

#[test]
fn what_happens_meanwhile_is_kept_and_told_at_the_end() {
    let world = world();
    mute(&world, "2h");
    let sent = world.stream("2026-11-28T08:30:00Z", &run("r2", &[], "error"));
    sent.expect_line(0, &["1 held until Sat 2026-11-28 10:00 UTC"]);
    world.stream("2026-11-28T09:30:00Z", &run("r3", &[], "error"));
    assert_eq!(world.flush("2026-11-28T09:59:59Z").code, 0);
    let status = world.status();
    assert_eq!(
        (&status["held"], &status["delivered"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(status["muted"]["why"], "we move the database");
    let shown = world.run(&["status"]).stdout;
    assert!(
        shown.contains("muted until Sat 2026-11-28 10:00 UTC by "),
        "{shown}"
    );
    assert_eq!(world.told(1).len(), 0);
    world.flush("2026-11-28T10:00:00Z");
    let told = world.told(1);
    assert_eq!(told.len(), 2, "in their order: {told:?}");
    let status = world.status();
    assert_eq!(
        (&status["held"], &status["delivered"]),
        (&json!(0), &json!(3))
    );
    world.stream("2026-11-28T10:30:00Z", &run("r4", &[], "success"));
    assert_eq!(world.told(3).len(), 1, "it has ended by itself");
}

#[test]
fn it_reaches_a_process_that_runs_already_and_ends_there_by_itself() {
    let world = world();
    let watch = Watch::of(&world);
    mute(&world, "2026-11-28T12:00:00Z");
    world.stream("2026-11-28T09:00:00Z", &run("r2", &[], "error"));
    assert_eq!(world.status()["held"], 1);
    // Someone needs longer.
    mute(&world, "14:00");
    world.at("2026-11-28T13:00:00Z");
    world.stream("2026-11-28T13:00:00Z", &run("r3", &[], "success"));
    assert_eq!(
        (&world.status()["held"], world.told(1).len()),
        (&json!(2), 0)
    );
    world.at("2026-11-28T14:00:00Z");
    wait_for(&world, 3);
    watch.stop();
    let status = world.status();
    assert_eq!(
        (&status["held"], &status["delivered"]),
        (&json!(0), &json!(3))
    );
}

#[test]
fn it_can_be_ended_early() {
    let world = world();
    let nothing = world.run(&["unmute", "ops"]);
    nothing.expect_line(66, &["no such notifier is muted"]);
    mute(&world, "3d");
    world.stream("2026-11-28T09:00:00Z", &run("r2", &[], "error"));
    let watch = Watch::of(&world);
    assert_eq!(world.run(&["unmute", "ops"]).code, 0);
    wait_for(&world, 2);
    watch.stop();
    let listed = world.run(&["history", "--actions", "--json"]).stdout;
    let rows: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&rows[0]["what"], &rows[1]["what"]),
        (&json!("unmute"), &json!("mute"))
    );
    let note = rows[1]["note"].as_str().unwrap();
    assert_eq!(note, "until Tue 2026-12-01 08:00 UTC: we move the database");
}

#[test]
fn what_is_shown_follows_the_mute() {
    let world = world();
    let end = "muted until Sat 2026-11-28 18:00 UTC by ";
    mute(&world, "18:00");
    world.stream("2026-11-28T09:00:00Z", &run("r2", &[], "error"));
    let config = world.sandbox.path("plugin_config.ini");
    let config = config.to_str().unwrap();
    let event = json!({"event": "playbook_on_stats", "status": "error"}).to_string();
    world.sandbox.file("event.json", &event);
    for command in [
        &["status"][..],
        &["check-config", "--config", config],
        &["routes", "--config", config, "event.json"],
    ] {
        let shown = world.run(command);
        assert!(shown.stdout.contains(end), "{command:?}: {shown:?}");
    }
    let held = || {
        let shown = world.run(&["status"]).stdout;
        let line = shown.lines().find(|line| line.contains("1 held "));
        line.map(str::trim).unwrap_or_default().to_owned()
    };
    assert_eq!(held(), "1 held until Sat 2026-11-28 18:00 UTC");
    mute(&world, "12:00");
    assert_eq!(held(), "1 held until Sat 2026-11-28 12:00 UTC");
    let due = "to be sent by the next run, `flush` or the timer";
    world.at("2026-11-28T12:00:01Z");
    assert_eq!(
        held(),
        format!("1 held until Sat 2026-11-28 12:00 UTC, {due}")
    );
    mute(&world, "18:00");
    world
        .run(&["unmute", "ops"])
        .expect_line(0, &["ops: no longer muted"]);
    assert!(held().ends_with(due), "{}", held());
    assert_eq!(world.flush("2026-11-28T12:00:02Z").code, 0);
    assert_eq!((held().as_str(), world.told(1).len()), ("", 1));
}

#[test]
fn windows_and_mutes_hold_together() {
    let keys = format!("{CHAT}mute = 22:00-06:00 UTC\n");
    let world = World::new(&keys, "[delivery]\ndrain = 1s\n");
    world.stream("2026-11-28T08:00:00Z", &run("r1", &[], "success"));
    mute(&world, "23:00");
    world.stream("2026-11-28T09:00:00Z", &run("r2", &[], "error"));
    world.flush("2026-11-28T23:00:00Z");
    assert_eq!(world.told(1).len(), 0, "the window has begun meanwhile");
    world.at("2026-11-29T05:00:00Z");
    mute(&world, "2026-11-29T08:00");
    world.flush("2026-11-29T06:00:00Z");
    assert_eq!(world.told(1).len(), 0, "the mute goes on after the window");
    world.flush("2026-11-29T08:00:00Z");
    assert_eq!(world.told(1).len(), 1, "as for windows, in one message");
    world.status();
}

#[test]
fn its_end_and_its_reason_must_be_given() {
    let world = world();
    let refused = |arguments: &[&str]| {
        let outcome = world.run(arguments);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        outcome.stderr
    };
    for (until, reason) in [
        ("2026-11-28T07:00:00Z", "is in the past"),
        ("06:00", "for tomorrow, write 2026-11-29T06:00"),
        ("400d", "at most 366 days"),
        ("soon", "is not a time"),
    ] {
        let said = refused(&["mute", "ops", "--until", until, "--why", "x"]);
        assert!(said.contains(reason), "{said}");
    }
    refused(&["mute", "ops", "--why", "x"]);
    refused(&["mute", "ops", "--until", "1h"]);
    refused(&["mute", "ops", "--until", "1h", "--why", " "]);
    refused(&["mute", "--until", "1h", "--why", "x"]);
    refused(&["mute", "nobody", "--until", "1h", "--why", "x"]);
}

#[test]
fn the_page_and_its_api_mute_too() {
    let world = world();
    let served = Served::start(&world.sandbox, &[]);
    let ask =
        |method: &str, path: &str, body: &str| served.ask(method, path, &served.allowed(), body);
    let path = "/api/v1/notifiers/1/mute";
    let muted = ask("POST", path, r#"{"until": "2h", "why": "<b> --all"}"#);
    assert_eq!(
        (muted.status, &muted.json()["exit"]),
        (200, &json!(0)),
        "{muted:?}"
    );
    let shown = served.get("/api/v1/notifiers/1").json();
    assert_eq!(shown["notifier"]["muted"]["why"], "<b> --all", "{shown}");
    assert_eq!(shown["notifier"]["state"], "muted");
    let page = served.get("/notifiers/1").body;
    assert!(page.contains("&lt;b&gt; --all"), "{page}");
    let ended = ask("DELETE", path, "");
    assert_eq!(
        (ended.status, &ended.json()["exit"]),
        (200, &json!(0)),
        "{ended:?}"
    );
    let form = ask("POST", "/notifiers/1/mute", "until=8h&why=night+work");
    assert_eq!(form.status, 303, "{form:?}");
    let page = served.get(form.header("location").unwrap()).body;
    assert!(
        page.contains("night work") && page.contains("/notifiers/1/unmute"),
        "{page}"
    );
    assert_eq!(ask("POST", "/notifiers/1/unmute", "").status, 303);
    for (body, status) in [
        ("{}", 400),
        (r#"{"until": "2h"}"#, 400),
        (r#"{"until": "2h", "why": "x", "all": true}"#, 400),
    ] {
        assert_eq!(ask("POST", path, body).status, status, "{body}");
    }
    let refused = ask("POST", path, r#"{"until": "-h", "why": "x"}"#);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("`-h` is not a time"), "{refused:?}");
    assert_eq!(served.ask("POST", path, &served.host(), "").status, 401);
    let foreign = format!("{}Origin: http://evil.example\r\n", served.allowed());
    assert_eq!(served.ask("DELETE", path, &foreign, "").status, 403);
    let read_only = Served::start(&world.sandbox, &["--read-only"]);
    let headers = read_only.allowed();
    for method in ["POST", "DELETE"] {
        assert_eq!(read_only.ask(method, path, &headers, "{}").status, 403);
    }
}
