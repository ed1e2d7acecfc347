//! Trends: what failed on which day, what is slow, and what fails now and then; each leads to its runs.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::spool::{configure, event, run};
use crate::sandbox::page::Served;
use crate::sandbox::{Config, Sandbox};
use crate::server::dead_url;

const DAY: f64 = 86_400.0;

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Records a run this many days ago, in which a task takes these seconds on a host.
fn record(sandbox: &Sandbox, id: &str, playbook: &str, days: f64, seconds: f64, fails: bool) {
    let time = now() - days * DAY;
    let (name, code) = if fails {
        ("runner_on_failed", 2)
    } else {
        ("runner_on_ok", 0)
    };
    let counts = if fails {
        json!({"failures": 1})
    } else {
        json!({"ok": 1})
    };
    let records = [
        json!({"hello": {"protocol": 1, "run": {"id": id, "playbook": playbook}}}),
        json!({"play": {"id": "p", "name": "web"}}),
        json!({"task": {"id": "1", "name": "wait for the database"}}),
        json!({"event": {"seq": 1, "event": name, "time": time + seconds, "play": "p", "task": "1",
            "host": {"name": "db1"}, "duration": seconds, "result": {"msg": "x"}}}),
        json!({"event": {"seq": 2, "event": "playbook_on_stats", "time": time + seconds,
            "result": {"stats": {"db1": counts}}}}),
        json!({"end": {"reason": "exit", "code": code}}),
    ];
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    run(sandbox, &["stream"], &text);
}

/// The sums of a playbook over all days.
fn sums(trends: &Value, playbook: &str) -> [i64; 2] {
    let days = trends["days"].as_array().unwrap().iter();
    let days = days.filter(|day| day["playbook"] == playbook);
    days.fold([0, 0], |[runs, failed], day| {
        [
            runs + day["runs"].as_i64().unwrap(),
            failed + day["failed"].as_i64().unwrap(),
        ]
    })
}

#[test]
fn failures_slow_tasks_and_flaky_hosts_are_shown() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    for (number, fails) in [true, false, true, false].into_iter().enumerate() {
        let (id, days) = (format!("r-{number}"), 4.0 - number as f64);
        record(
            &sandbox,
            &id,
            "site.yml",
            days,
            10.0 * (number + 1) as f64,
            fails,
        );
    }
    record(&sandbox, "r-old", "site.yml", 12.0, 5.0, false);
    record(&sandbox, "r-well", "well.yml", 1.0, 1.0, false);
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let trends = served.get("/api/v1/trends?days=14").json();
    assert_eq!(sums(&trends, "site.yml"), [5, 2], "{trends}");
    assert_eq!(sums(&trends, "well.yml"), [1, 0], "{trends}");
    let task = &trends["tasks"][0];
    assert_eq!(task["name"], "wait for the database");
    assert_eq!(
        (&task["runs"], &task["median"], &task["p95"]),
        (&json!(6), &json!(10_000), &json!(40_000))
    );
    assert_eq!(
        (&task["week"], &task["week_before"]),
        (&json!(20_000), &json!(5000))
    );
    assert_eq!(task["run"], "r-3", "the slowest one");
    let host = json!({"host": "db1", "name": "site.yml", "runs": 5, "failed": 2, "flips": 4, "is_flaky": true});
    assert_eq!(trends["hosts"], json!([host]));
    let notifier = &trends["notifiers"][0];
    assert_eq!(notifier["notifier"], "callback");
    assert!(notifier["failed"].as_i64().unwrap() > 0, "{notifier}");

    let few = served.get("/api/v1/trends?days=7").json();
    assert_eq!(sums(&few, "site.yml"), [4, 2], "{few}");
    let page = served.get("/trends?days=14").body;
    assert!(
        page.contains("</strong>: 2 of 6 runs failed since "),
        "{page}"
    );
    assert!(page.contains("flaky"), "{page}");
    let links = page.match_indices("<a href=\"/?state=failed&amp;playbook=site.yml&amp;since=");
    let links: Vec<&str> = links.map(|(at, _)| &page[at + 9..]).collect();
    assert_eq!(links.len(), 2, "a bar for each day with a failure: {page}");
    let link = links[0].split('"').next().unwrap().replace("&amp;", "&");
    let runs = served.get(&link).body;
    assert!(
        runs.contains("/runs/r-0") && !runs.contains("/runs/r-2"),
        "{runs}"
    );
    assert_eq!(served.get("/trends?days=0").status, 400);
    let problem = served.get("/api/v1/trends?weeks=1").json();
    assert_eq!(problem, json!({"error": "unknown parameter `weeks`"}));
}

#[test]
fn sums_outlive_their_runs() {
    let sandbox = Sandbox::new();
    let config = Config::to(&dead_url())
        .delivery("drain = 500ms\nkeep_runs = 30d")
        .text();
    sandbox.file("plugin_config.ini", config);
    record(&sandbox, "r-1", "site.yml", 20.0, 1.0, true);
    let served = Served::start(&sandbox, &[]);
    let before = served.get("/api/v1/trends").json();
    assert_eq!(sums(&before, "site.yml"), [1, 1], "{before}");
    // Its end was only now.
    let spool = Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    spool
        .execute_batch("UPDATE run SET seen = started, ended = started")
        .unwrap();
    drop(spool);
    let config = Config::to(&dead_url())
        .delivery("drain = 500ms\nkeep_runs = 10d")
        .text();
    sandbox.file("plugin_config.ini", config);
    record(&sandbox, "r-2", "site.yml", 1.0, 1.0, false);
    let runs = served.get("/api/v1/runs").json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
    let after = served.get("/api/v1/trends").json();
    assert_eq!(sums(&after, "site.yml"), [2, 1], "{after}");
    let page = served.get("/trends").body;
    assert!(page.contains("1 of 2 runs failed"), "{page}");
}

#[test]
fn without_runs_it_says_so() {
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/trends");
    assert!(
        page.status == 200 && page.body.contains("No run has been recorded since"),
        "{page:?}"
    );
}
