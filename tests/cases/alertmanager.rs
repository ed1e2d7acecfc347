//! The kind `alertmanager`, against a real one.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::chat::failed_run;
use crate::sandbox::Sandbox;
use crate::server::daemon::Daemon;
use crate::server::{OK, Server};

/// A notifier of this Alertmanager, and a spool.
fn sandbox(url: &str, keys: &str) -> Sandbox {
    let on = if keys.contains("on = ") {
        ""
    } else {
        "on = any"
    };
    Sandbox::with_config(&format!(
        "[notifier:alerts]\ntype = alertmanager\nurl = {url}\n{on}\n{keys}\n[delivery]\ndrain = 60\n"
    ))
}

/// The end of a run of a playbook, now.
fn end(path: &str, status: &str) -> Value {
    let mut event = failed_run(1);
    event["status"] = json!(status);
    event["time"] = json!(Timestamp::now().to_string());
    event["run"] = json!({"playbook": "site.yml", "path": path, "inventory": ["hosts"],
        "url": "https://ci.example.com/7"});
    if status == "success" {
        event["failed_tasks"] = json!([]);
        event["failures"] = json!(0);
    }
    event
}

/// A result of a task on a host, now.
fn result(host: &str, state: &str) -> Value {
    json!({"state": state, "host": host, "task": "Install", "time": Timestamp::now().to_string(),
        "result": {"msg": "no \"space\" <left>\u{1b}[31m"},
        "run": {"playbook": "site.yml", "path": "/srv/site.yml", "inventory": ["hosts"]}})
}

#[track_caller]
fn send(sandbox: &Sandbox, event: &Value) {
    sandbox.file("event.json", event.to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json", "--quiet"]);
    assert_eq!(sent.code, 0, "{sent:?}");
}

/// The labels of the alerts that are active.
fn firing(daemon: &Daemon) -> Vec<Value> {
    let alerts: Vec<Value> = serde_json::from_str(&daemon.get("/api/v2/alerts")).unwrap();
    let mut labels: Vec<Value> = alerts
        .into_iter()
        .map(|mut one| one["labels"].take())
        .collect();
    labels.sort_by_key(Value::to_string);
    labels
}

#[test]
fn a_playbook_that_fails_is_one_alert_until_it_succeeds() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let sandbox = sandbox(&daemon.url(), "severity = warning\nlabel.team = ops");
    for _ in 0..2 {
        send(&sandbox, &end("/srv/site.yml", "error"));
        let alerts = daemon.get("/api/v2/alerts");
        let alerts: Vec<Value> = serde_json::from_str(&alerts).unwrap();
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        let alert = &alerts[0];
        let run = alert["labels"]["run"].as_str().unwrap();
        assert!(
            run.contains("/srv/site.yml") && run.contains("hosts"),
            "{run}"
        );
        let labels = json!({"alertname": "AnsibleRunFailed", "severity": "warning", "team": "ops", "run": run});
        assert_eq!(alert["labels"], labels);
        let annotations = &alert["annotations"];
        assert_eq!(annotations["summary"], "site.yml failed");
        assert_eq!(annotations["playbook"], "site.yml");
        let text = annotations["description"].as_str().unwrap();
        assert!(text.starts_with("web1: Install nginx"), "{text}");
        assert_eq!(alert["generatorURL"], "https://ci.example.com/7");
        let ends: Timestamp = alert["endsAt"].as_str().unwrap().parse().unwrap();
        assert!((ends - Timestamp::now()).as_hours() > 24 * 6, "{alert}");
    }
    // Another project's playbook of this name, and one that did not fix everything.
    send(&sandbox, &end("/other/site.yml", "success"));
    let mut part = end("/srv/site.yml", "success");
    part["run"]["limit"] = json!("web2");
    send(&sandbox, &part);
    assert_eq!(firing(&daemon).len(), 1);
    send(&sandbox, &end("/srv/site.yml", "success"));
    assert_eq!(firing(&daemon), [] as [Value; 0]);
}

#[test]
fn a_result_is_an_alert_of_its_host_and_task() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let sandbox = sandbox(&daemon.url(), "label.run =");
    send(&sandbox, &result("web1", "failed"));
    send(&sandbox, &result("web2", "unreachable"));
    let labels = |host: &str| json!({"alertname": "AnsibleTaskFailed", "severity": "error", "task": "Install", "host": host});
    assert_eq!(firing(&daemon), [labels("web1"), labels("web2")]);
    send(&sandbox, &result("web1", "success"));
    assert_eq!(firing(&daemon), [labels("web2")]);
}

#[test]
fn an_event_without_an_alert_sends_nothing() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server.at(""), "on = started");
    let started = json!({"event": "playbook_on_start", "run": {"playbook": "site.yml"}});
    send(&sandbox, &started);
    assert_eq!(server.requests().len(), 0);
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(history.contains("nobody was notified"), "{history}");
}

#[test]
fn a_label_that_fails_does_not_keep_the_alert_from_firing() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let keys = "label.alertname = {{ playbook }}\nlabel.severity = {{ reason + 1 }}\nlabel.owner = {{ reason + 1 }}";
    let sandbox = sandbox(&daemon.url(), keys);
    send(&sandbox, &end("/srv/site.yml", "error"));
    let labels = &firing(&daemon)[0];
    assert_eq!(
        (&labels["alertname"], &labels["severity"], &labels["owner"]),
        (&json!("site.yml"), &json!("error"), &Value::Null)
    );
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(history.contains("`label.owner` failed"), "{history}");
}

#[test]
fn a_label_that_cannot_be_one_is_a_problem() {
    for name in ["a-b", "1st", "é"] {
        let sandbox = sandbox("http://localhost:1", &format!("label.{name} = x"));
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &["a label must have letters, digits and `_`"]);
    }
    sandbox("http://localhost:1", "label.team_2 = x")
        .run(&["check-config"])
        .expect(0, "");
}

#[test]
fn a_body_replaces_parts_and_a_refusal_has_its_reason() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let body = r#"body = {"annotations": {"runbook": "https://wiki/{{ playbook }}"}}"#;
    send(
        &sandbox(&daemon.url(), body),
        &end("/srv/site.yml", "error"),
    );
    let alerts: Value = serde_json::from_str(&daemon.get("/api/v2/alerts")).unwrap();
    assert_eq!(
        alerts[0]["annotations"],
        json!({"runbook": "https://wiki/site.yml"})
    );
    let sandbox = sandbox(&daemon.url(), r#"body = {"startsAt": "yesterday"}"#);
    sandbox.file("event.json", end("/srv/site.yml", "error").to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    sent.expect_line(69, &["1 dead", "400 Bad Request: "]);
}

#[test]
fn the_address_is_tried_without_an_alert() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let good = sandbox(&daemon.url(), "").run(&["check-config", "--connect"]);
    good.expect(0, "");
    assert!(good.stdout.contains("answered 200 OK"), "{good:?}");
    let other = Server::start([OK]);
    let url = format!("{}/nothing/here", daemon.url());
    let bad = sandbox(&url, "").run(&["check-config", "--connect"]);
    assert_ne!(bad.code, 0, "{bad:?}");
    assert_eq!(firing(&daemon).len() + other.requests().len(), 0);
}
