//! `after` and `repeat`: failures in a row.

use serde_json::json;

use super::{World, expect, run};

#[test]
fn a_playbook_is_reported_from_its_third_failure_in_a_row() {
    let world = World::new("type = mattermost\non = error, recovered\nafter = 3", "");
    let day = |hour: u32| format!("2026-11-28T{hour:02}:00:00Z");
    for (number, status, told) in [
        (1, "error", 0),
        (2, "error", 0),
        (3, "success", 0),
        (4, "error", 0),
        (5, "error", 0),
        (6, "error", 1),
        (7, "error", 2),
        (8, "success", 3),
        (9, "success", 3),
        (10, "error", 3),
    ] {
        let outcome = world.stream(&day(number), &run(&format!("r{number}"), &[], status));
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(world.server.requests().len(), told, "after run {number}");
    }
    let told = world.told(0);
    expect(
        &told,
        &["site.yml failed", "site.yml failed", "site.yml recovered"],
    );
    assert!(
        told[0]
            .1
            .ends_with("\n2 earlier failures of the same kind were held back"),
        "{told:?}"
    );
    assert!(!told[1].1.contains("held back"), "{told:?}");
    let status = world.status();
    assert_eq!(
        (&status["delivered"], &status["dropped"]),
        (&json!(3), &json!(6))
    );
    assert_eq!(status["suppressed"], 6);
    let history = world.history();
    assert_eq!(history[0].0, "suppressed");
    assert_eq!(history[0].1, "not sent: failure 1 of 3 in a row (`after`)");
    assert_eq!(history[2].1, "not sent: its failure was not sent either");
    let failed = world.run(&["history", "--failed"]);
    failed.expect_line(0, &["no delivery matches --failed"]);
}

#[test]
fn each_task_on_each_host_is_counted_separately() {
    let world = World::new("type = mattermost\non = failed, unreachable\nafter = 2", "");
    let told = |number: u32, results: &[&str]| {
        let before = world.server.requests().len();
        let id = format!("r{number}");
        world.stream("2026-11-28T08:00:00Z", &run(&id, results, "success"));
        let mut titles: Vec<String> = world.told(before).into_iter().map(|one| one.0).collect();
        titles.sort();
        titles.join("; ")
    };
    assert_eq!(told(1, &["h1 A failed", "h2 A failed", "h1 B ok"]), "");
    assert_eq!(
        told(2, &["h1 A failed", "h2 A ok", "h1 B failed"]),
        "h1: A: failed"
    );
    assert_eq!(
        told(3, &["h1 A unreachable", "h2 A failed", "h1 B ok"]),
        "h1 is unreachable"
    );
    assert_eq!(
        told(4, &["h1 A ok", "h2 A failed", "h1 B failed"]),
        "h2: A: failed"
    );
    assert_eq!(
        told(5, &["h1 A failed", "h2 A skipped", "h1 B failed"]),
        "h1: B: failed"
    );
    assert_eq!(told(6, &["h2 A failed"]), "h2: A: failed");
    world.status();
}

#[test]
fn a_group_counts_once_per_run() {
    let world = World::new(
        "type = mattermost\non = failed\nafter = 2\nrepeat = 4h\ngroup_by = task\ngroup_wait = 0",
        "",
    );
    let told = |number: u32, time: &str, results: &[&str]| {
        let before = world.server.requests().len();
        let time = format!("2026-11-28T{time}:00Z");
        world.stream(&time, &run(&format!("r{number}"), results, "success"));
        world.told(before).len()
    };
    let many = ["h1 A failed", "h2 A failed", "h3 A ok"];
    assert_eq!(told(1, "01:00", &many), 0);
    assert!(told(2, "02:00", &many) > 0);
    // All of its failures in the run are one group, including later ones.
    let suppressed = world.status()["suppressed"].as_i64().unwrap();
    assert_eq!(suppressed, 2);
    assert_eq!(told(3, "03:00", &many), 0);
    assert!(told(4, "06:30", &["h3 A failed"]) > 0);
    assert_eq!(told(5, "06:40", &["h1 A ok", "h2 A ok", "h3 A ok"]), 0);
    assert_eq!(told(6, "12:00", &many), 0, "it was well in between");
    assert!(told(7, "13:00", &many) > 0);
}

#[test]
fn the_same_failure_is_repeated_later_with_the_number_held_back() {
    let world = World::new("type = mattermost\non = error, success\nrepeat = 4h", "");
    for (number, time, status, told) in [
        (1, "01:00", "error", 1),
        (2, "02:00", "error", 1),
        (3, "04:59", "error", 1),
        (4, "05:00", "error", 2),
        (5, "06:00", "error", 2),
        (6, "06:30", "success", 3),
        (7, "06:40", "error", 4),
    ] {
        let time = format!("2026-11-28T{time}:00Z");
        let outcome = world.stream(&time, &run(&format!("r{number}"), &[], status));
        assert_eq!(outcome.code, 0);
        assert_eq!(world.server.requests().len(), told, "after run {number}");
    }
    let told = world.told(0);
    expect(
        &told,
        &[
            "site.yml failed",
            "site.yml failed",
            "site.yml recovered",
            "site.yml failed",
        ],
    );
    assert!(
        told[1]
            .1
            .ends_with("2 earlier failures of the same kind were held back"),
        "{told:?}"
    );
    assert!(
        told[2]
            .1
            .ends_with("1 earlier failure of the same kind was held back"),
        "{told:?}"
    );
    assert!(!told[3].1.contains("held back"), "{told:?}");
    assert_eq!(world.status()["suppressed"], 3);
    assert_eq!(
        world.history()[1].1,
        "not sent: the same failure was sent at Sat 2026-11-28 01:00 UTC; next after Sat 2026-11-28 05:00 UTC (`repeat`)"
    );
}

#[test]
fn a_success_that_no_notifier_wants_ends_the_row() {
    let world = World::new("type = mattermost\non = error\nafter = 2", "");
    for (number, status) in (1..).zip(["error", "success", "error", "success"]) {
        world.stream(
            "2026-11-28T08:00:00Z",
            &run(&format!("r{number}"), &[], status),
        );
    }
    assert_eq!(world.server.requests().len(), 0);
    assert_eq!(world.status()["accepted"], 2);
}
