//! The kind `prometheus`, against a real Pushgateway.

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox};
use crate::server::daemon::Daemon;

/// Configuration of a notifier of this Pushgateway.
fn config(url: &str, keys: &str, drain: u32) -> String {
    format!(
        "[notifier:metrics]\ntype = prometheus\nurl = {url}\n{keys}\n[delivery]\ndrain = {drain}\n"
    )
}

fn sandbox(url: &str, keys: &str) -> Sandbox {
    Sandbox::with_config(&config(url, keys, 60))
}

/// The end of a run of a playbook at a second of 2026-11-29, 05:00 UTC.
fn end(playbook: &str, status: &str, second: u8) -> Value {
    json!({"event": "run_end", "id": format!("{playbook}-{second}"), "status": status, "elapsed": 12.5,
        "time": format!("2026-11-29T05:00:{second:02}.5Z"),
        "run": {"id": format!("run-{second}"), "playbook": playbook, "inventory": ["hosts"], "controller": "ops1"},
        "stats": {"web1": {"ok": 3, "failures": 1}, "web2": {"ok": 2, "changed": 2}}})
}

/// The time of [`end`] as Prometheus has it.
fn at(second: u8) -> String {
    format!("{}.5", 1_795_928_400 + u64::from(second))
}

fn send(sandbox: &Sandbox, event: &Value) -> Outcome {
    sandbox.file("event.json", event.to_string());
    sandbox.run_on_spool(&["send", "event.json", "--quiet"])
}

/// The value of the metric of a group with these labels, sorted by name.
fn metric(daemon: &Daemon, name: &str, labels: &str) -> Option<f64> {
    let metrics = daemon.get("/metrics");
    let sample = format!("{name}{{{labels}}} ");
    let mut values = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(&sample));
    values.next().map(|value| value.parse().unwrap())
}

const SITE: &str = r#"instance="ops1",job="ansible",playbook="site.yml""#;

#[test]
fn a_run_that_fails_keeps_the_time_of_the_last_success() {
    let home = Sandbox::new();
    let daemon = Daemon::pushgateway(&home);
    let sandbox = sandbox(&daemon.url(), "on = error, success, canceled");
    let time = |second| Some(at(second).parse::<f64>().unwrap());
    let success = "ansible_run_success_timestamp_seconds";
    for (status, second, is_success, last) in [
        ("error", 1, 0.0, None),
        ("success", 2, 1.0, time(2)),
        ("error", 3, 0.0, time(2)),
        ("canceled", 4, 0.0, time(2)),
        ("success", 5, 1.0, time(5)),
    ] {
        let sent = send(&sandbox, &end("site.yml", status, second));
        assert_eq!(sent.code, 0, "{sent:?}");
        let site = |name| metric(&daemon, name, SITE);
        assert_eq!(site("ansible_run_success"), Some(is_success), "{second}");
        assert_eq!(site("ansible_run_end_timestamp_seconds"), time(second));
        assert_eq!(site(success), last, "{second}");
        assert_eq!(site("ansible_run_duration_seconds"), Some(12.5));
    }
    for (state, results, hosts) in [
        ("ok", 5.0, 2.0),
        ("changed", 2.0, 1.0),
        ("failed", 1.0, 1.0),
        ("unreachable", 0.0, 0.0),
    ] {
        let labels = format!("{SITE},state=\"{state}\"");
        let counts = ["ansible_run_results", "ansible_run_hosts"];
        let counts = counts.map(|name| metric(&daemon, name, &labels));
        assert_eq!(counts, [Some(results), Some(hosts)], "{state}");
    }
}

#[test]
fn a_label_may_have_any_value() {
    let home = Sandbox::new();
    let daemon = Daemon::pushgateway(&home);
    let keys = "job = a/b\nlabel.inventory = {{ inventory | join(',') }}\nlabel.instance =\nlabel.team = {{ reason + 1 }}";
    let sandbox = sandbox(&daemon.url(), keys);
    for playbook in [
        "..",
        "a/b",
        "pl\u{e4}y/b+?.yml",
        "100%25",
        "a=b \"c\\d?>~.yml",
        "{{ 7 * 7 }}",
        "😀@base64",
    ] {
        let sent = send(&sandbox, &end(playbook, "success", 1));
        assert_eq!(sent.code, 0, "{playbook}: {sent:?}");
        let escaped = playbook.replace('\\', "\\\\").replace('"', "\\\"");
        let labels = format!(r#"instance="",inventory="hosts",job="a/b",playbook="{escaped}""#);
        let success = metric(&daemon, "ansible_run_success", &labels);
        assert_eq!(success, Some(1.0), "{labels}: {}", daemon.get("/metrics"));
    }
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(history.contains("`label.team` failed"), "{history}");
}

#[test]
fn metrics_wait_for_a_gateway_that_is_down() {
    let home = Sandbox::new();
    let gone = Daemon::pushgateway(&home).url();
    let sandbox = Sandbox::with_config(&config(&gone, "", 1));
    for (playbook, status, second) in [
        ("site.yml", "success", 1),
        ("db.yml", "success", 2),
        ("site.yml", "error", 3),
    ] {
        let sent = send(&sandbox, &end(playbook, status, second));
        assert_eq!(sent.code, 75, "{sent:?}");
    }
    let daemon = Daemon::pushgateway(&home);
    sandbox.file("plugin_config.ini", config(&daemon.url(), "", 60));
    let flushed = sandbox.run_on_spool(&["flush"]);
    assert_eq!(flushed.code, 0, "{flushed:?}");
    let site = |name| metric(&daemon, name, SITE).map(|value| value.to_string());
    assert_eq!(site("ansible_run_success"), Some("0".to_owned()));
    assert_eq!(site("ansible_run_end_timestamp_seconds"), Some(at(3)));
    assert_eq!(site("ansible_run_success_timestamp_seconds"), Some(at(1)));
    let database = SITE.replace("site", "db");
    assert_eq!(metric(&daemon, "ansible_run_success", &database), Some(1.0));
}

#[test]
fn other_events_and_runs_in_check_mode_send_nothing() {
    let home = Sandbox::new();
    let daemon = Daemon::pushgateway(&home);
    let sandbox = sandbox(&daemon.url(), "on = any");
    let mut check = end("site.yml", "success", 1);
    check["run"]["check"] = json!(true);
    let result = json!({"state": "failed", "host": "web1", "task": "Install", "result": {}});
    for event in [check, result] {
        let sent = send(&sandbox, &event);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let metrics = daemon.get("/metrics");
    assert!(!metrics.contains("ansible_run"), "{metrics}");
}

#[test]
fn a_label_that_the_metrics_need_is_a_problem() {
    for (key, words) in [
        ("label.job = x", "is set by the key `job`"),
        ("label.state = x", "have a label `state` of their own"),
        ("label.__name__ = x", "cannot begin with `__`"),
        ("label.a-b = x", "a label must have letters, digits and `_`"),
    ] {
        let checked = sandbox("http://localhost:1", key).run(&["check-config"]);
        checked.expect_line(78, &[words]);
    }
    let checked = sandbox("http://localhost:1", "message = x").run(&["check-config"]);
    checked.expect_line(
        0,
        &["warning: ", "`message` has no effect: metrics have no text"],
    );
}

#[test]
fn the_address_is_tried_without_metrics() {
    let home = Sandbox::new();
    let daemon = Daemon::pushgateway(&home);
    for path in ["", "/metrics/job/ansible"] {
        let url = format!("{}{path}", daemon.url());
        let good = sandbox(&url, "").run(&["check-config", "--connect"]);
        good.expect(0, "");
        assert!(good.stdout.contains("answered 200 OK"), "{good:?}");
    }
    let url = format!("{}/nothing/here", daemon.url());
    let bad = sandbox(&url, "").run(&["check-config", "--connect"]);
    assert_ne!(bad.code, 0, "{bad:?}");
    let metrics = daemon.get("/metrics");
    assert!(!metrics.contains("ansible_run"), "{metrics}");
}
