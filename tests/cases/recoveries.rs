//! A recovery is sent only if its failure was, or would have been.

use super::timing::{World, expect, run};
use crate::server::Reply;

const WEEKEND: &str = "mute = Sat-Sun UTC\nmuted = drop";

/// Streams runs at their times, `08:00 error`, on Friday, and returns the titles that were sent after each.
fn told_after(world: &World, runs: &[(&str, &str)]) -> Vec<String> {
    let stream = |(number, (time, status)): (usize, &(&str, &str))| {
        let before = world.server.requests().len();
        let streamed = world.stream(time, &run(&format!("r{}", number + 1), &[], status));
        assert_eq!(streamed.code, 0, "{}", streamed.stderr);
        let told = world.told(before).into_iter();
        told.map(|(title, _)| title).collect::<Vec<_>>().join("; ")
    };
    runs.iter().enumerate().map(stream).collect()
}

const FRIDAY: &str = "2026-11-27T08:00:00Z";
const SATURDAY: &str = "2026-11-28T08:00:00Z";
const MONDAY: &str = "2026-11-30T08:00:00Z";
const RECOVERED: &str = "site.yml recovered";

#[test]
fn without_errors_a_recovery_follows_failures_that_would_have_been_sent() {
    let world = World::new("type = mattermost\non = recovered\nafter = 3", "");
    let errors = [(FRIDAY, "error"); 3];
    let one = [(FRIDAY, "error"), (FRIDAY, "success")];
    assert_eq!(told_after(&world, &one), ["", ""]);
    let three = [&errors[..], &[(FRIDAY, "success")]].concat();
    let world = World::new("type = mattermost\non = recovered\nafter = 3", "");
    assert_eq!(told_after(&world, &three), ["", "", "", RECOVERED]);
    // None of the failures was held back: the notifier wants none.
    assert!(
        !world.told(0)[0].1.contains("held back"),
        "{:?}",
        world.told(0)
    );
    assert_eq!(world.status()["accepted"], 1);
}

#[test]
fn a_run_that_is_accepted_twice_fails_once() {
    let world = World::new("type = mattermost\non = recovered\nafter = 2", "");
    for _ in 0..3 {
        world.stream(FRIDAY, &run("r1", &[], "error"));
    }
    world.stream(FRIDAY, &run("r2", &[], "success"));
    assert_eq!(world.server.requests().len(), 0);
    let told = world.history();
    assert_eq!(told[0].1, "not sent: its failure was not sent either");
}

#[test]
fn the_recovery_of_a_dropped_failure_is_not_sent() {
    let keys = format!("type = mattermost\non = error, recovered\n{WEEKEND}");
    let world = World::new(&keys, "");
    let runs = [(SATURDAY, "error"), (MONDAY, "success")];
    assert_eq!(told_after(&world, &runs), ["", ""]);
    // It failed before the window, too.
    let world = World::new(&keys, "");
    let runs = [(FRIDAY, "error"), (SATURDAY, "error"), (MONDAY, "success")];
    assert_eq!(
        told_after(&world, &runs),
        ["site.yml failed", "", RECOVERED]
    );
    // It failed again after the window.
    let world = World::new(&keys, "");
    let runs = [(SATURDAY, "error"), (MONDAY, "error"), (MONDAY, "success")];
    assert_eq!(
        told_after(&world, &runs),
        ["", "site.yml failed", RECOVERED]
    );
    let text = &world.told(0)[0].1;
    assert!(
        text.ends_with("1 earlier failure of the same kind was held back"),
        "{text}"
    );
}

/// Notifiers that are muted on Saturday, for which what was held and what comes later take different ways.
const KEPT: [&str; 6] = [
    "",
    "group_by = run",
    "group_by = host",
    "order = run",
    "concurrency = 1",
    "repeat = 4h",
];

/// Returns a muted notifier whose first message is refused for a while.
fn muted(keys: &str) -> World {
    let keys = format!("type = mattermost\non = error, recovered\nmute = Sat-Sun UTC\n{keys}");
    let replies = [Reply::Full(503, "", "later"), Reply::Full(200, "", "ok")];
    World::answering(&keys, "", replies)
}

const IN_ORDER: [&str; 3] = ["site.yml failed", "site.yml failed", RECOVERED];

#[test]
fn a_recovery_comes_after_its_failure_that_was_held() {
    for keys in KEPT {
        let world = muted(keys);
        world.stream(SATURDAY, &run("r1", &[], "error"));
        // However short, the run that releases the failure comes after it.
        assert_eq!(
            world.stream(MONDAY, &run("r2", &[], "success")).code,
            0,
            "{keys}"
        );
        expect(&world.told(0), &IN_ORDER);
        world.status();
    }
}

#[test]
fn a_recovery_comes_after_its_failure_if_rules_end_or_processes_die() {
    for keys in KEPT {
        // The rule that held it is no more.
        let world = muted(keys);
        world.stream(SATURDAY, &run("r1", &[], "error"));
        let config = world.sandbox.path("plugin_config.ini");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("mute = Sat-Sun UTC", "")).unwrap();
        world.stream(SATURDAY, &run("r2", &[], "success"));
        expect(&world.told(0), &IN_ORDER);
        // The process that accepted the recovery, and released the failure, ends.
        let world = muted(keys);
        world.stream(SATURDAY, &run("r1", &[], "error"));
        world.at(MONDAY);
        world.sandbox.file("r2", run("r2", &[], "success"));
        let mut command = world.command(&["stream"]);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", "before_send=abort");
        command.stdin(std::fs::File::open(world.sandbox.path("r2")).unwrap());
        assert!(!command.output().unwrap().status.success());
        world.flush(MONDAY);
        world.flush(MONDAY);
        expect(&world.told(0), &IN_ORDER);
        world.status();
    }
}

#[test]
fn a_recovery_comes_after_its_failure_that_another_process_sends() {
    for keys in KEPT {
        let world = muted(keys);
        world.stream(SATURDAY, &run("r1", &[], "error"));
        let mut watch = world.command(&["flush", "--watch"]).spawn().unwrap();
        let streamed = world.stream(MONDAY, &run("r2", &[], "success"));
        assert_eq!(streamed.code, 0, "{}", streamed.stderr);
        world.server.wait_for(3);
        expect(&world.told(0), &IN_ORDER);
        let pid = rustix::process::Pid::from_child(&watch);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(watch.wait().unwrap().success());
        world.status();
    }
}

#[test]
fn an_excluded_failure_has_no_recovery() {
    let keys = "type = mattermost\non = error, recovered\nafter = 2\nwhen = exit_code != 4";
    let world = World::new(keys, "");
    let failed =
        run("r1", &[], "error").replace(r#""reason":"exit""#, r#""reason":"exit","code":4"#);
    for number in 1..4 {
        world.stream(FRIDAY, &failed.replace("r1", &format!("r{number}")));
    }
    world.stream(FRIDAY, &run("r5", &[], "success"));
    assert_eq!(world.server.requests().len(), 0, "{:?}", world.history());
}

#[test]
fn the_time_of_a_repetition_has_its_seconds() {
    let world = World::new("type = mattermost\non = error\nrepeat = 4s", "");
    world.stream("2026-11-27T08:00:58Z", &run("r1", &[], "error"));
    world.stream("2026-11-27T08:01:01Z", &run("r2", &[], "error"));
    world.stream("2026-11-27T08:01:02Z", &run("r3", &[], "error"));
    assert_eq!(world.server.requests().len(), 2);
    assert_eq!(
        world.history()[1].1,
        "not sent: the same failure was sent at Fri 2026-11-27 08:00:58 UTC; next after Fri 2026-11-27 08:01:02 UTC (`repeat`)"
    );
}

#[test]
fn commands_without_a_playbook_count_by_name_and_directory() {
    let world = World::new("type = mattermost\non = error, recovered\nafter = 2", "");
    world.at(FRIDAY);
    let told = |arguments: &[&str]| {
        let before = world.server.requests().len();
        world.run(&[&["run", "-q"], arguments].concat());
        let told = world.told(before).into_iter();
        told.map(|(title, _)| title).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told(&["false"]), "");
    assert_eq!(told(&["--name", "nightly", "false"]), "", "another one");
    assert_eq!(told(&["true"]), "", "and another");
    assert_eq!(told(&["false"]), "false failed");
    assert_eq!(told(&["false"]), "false failed");
    assert_eq!(told(&["--name", "nightly", "false"]), "nightly failed");
    assert_eq!(told(&["--name", "nightly", "true"]), "nightly recovered");
    assert_eq!(told(&["--name", "nightly", "true"]), "");
    assert_eq!(told(&["--name", "nightly", "false"]), "");
    // The same program in another directory is another command.
    std::fs::create_dir(world.sandbox.path("other")).unwrap();
    let config = world.sandbox.path("plugin_config.ini");
    let arguments = [
        "run",
        "-q",
        "--config",
        config.to_str().unwrap(),
        "--",
        "false",
    ];
    for count in [0, 1] {
        let before = world.server.requests().len();
        let mut command = world.command(&arguments);
        command.current_dir(world.sandbox.path("other"));
        assert_eq!(command.output().unwrap().status.code(), Some(1));
        assert_eq!(world.server.requests().len() - before, count);
    }
}

#[test]
fn a_command_that_fails_after_its_playbook_fails_in_a_row() {
    let world = World::new("type = mattermost\non = error\nafter = 3", "");
    world.at(FRIDAY);
    let binary = crate::sandbox::BINARY;
    // The playbook ends before the command does, and after the last one.
    let records = |id: &str| run(id, &[], "success").replace("100000000", "400000000");
    for (number, count) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
        world
            .sandbox
            .file("records", records(&format!("r{number}")));
        let script = format!("{binary} stream < records; exit 3");
        world.run(&["run", "-q", "--name", "deploy", "sh", "-c", &script]);
        assert_eq!(
            world.server.requests().len(),
            count,
            "{number}: {:?}",
            world.history()
        );
    }
    world.sandbox.file("records", records("r5"));
    let script = format!("{binary} stream < records");
    world.run(&["run", "-q", "--name", "deploy", "sh", "-c", &script]);
    let script = format!("{binary} stream < records; exit 3");
    world.sandbox.file("records", records("r6"));
    world.run(&["run", "-q", "--name", "deploy", "sh", "-c", &script]);
    assert_eq!(world.server.requests().len(), 2, "{:?}", world.history());
}
