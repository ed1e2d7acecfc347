//! The kind `loki`, against a server that refuses what Loki refuses.

use serde_json::{Value, json};

use super::chat::{DELIVERED, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::loki::{self, TENANT};
use crate::server::store::Store;

fn config(store: &Store, more: &str) -> Config {
    let keys = format!(
        "on = any\nurl = {}\nusername = 1234\npassword = canary-password\ntenant = {TENANT}",
        store.server.at("")
    );
    let text = format!("[notifier:log]\ntype = loki\n{keys}\n[delivery]\ndrain = 5\n");
    Config::from(text).with(more)
}

fn result() -> Value {
    json!({"id": "r-7", "state": "failed", "host": "web1",
        "task": {"name": "Install", "action": "ansible.builtin.apt"}, "time": 1714000000.25,
        "run": {"id": "r", "playbook": "site.yml", "user": "deploy"}, "labels": {"env.name": "prod", "n": 1},
        "result": {"msg": "no"}})
}

#[test]
fn labels_are_few_and_the_rest_is_metadata() {
    let store = loki::start();
    send(&config(&store, ""), &result()).expect(0, DELIVERED);
    let entry = &store.shelf.all()[0].document;
    let labels = json!({"service_name": "ansible", "playbook": "site.yml", "state": "failed"});
    assert_eq!(entry["stream"], labels);
    assert_eq!(entry["time"], "1714000000250000000");
    let metadata = &entry["metadata"];
    for (name, value) in [
        ("host", "web1"),
        ("task", "Install"),
        ("module", "ansible.builtin.apt"),
        ("run_id", "r"),
        ("id", "r-7"),
        ("user", "deploy"),
        ("level", "error"),
    ] {
        assert_eq!(metadata[name], value, "{metadata}");
    }
    let line: Value = serde_json::from_str(entry["line"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&line["id"], &line["state"]),
        (&json!("r-7"), &json!("failed"))
    );
}

#[test]
fn labels_can_be_chosen_as_far_as_they_have_few_values() {
    let store = loki::start();
    let more = "labels = playbook, module, user\nservice_name = deploy";
    send(&config(&store, more), &result()).expect(0, DELIVERED);
    let labels = json!({"service_name": "deploy", "playbook": "site.yml", "module": "ansible.builtin.apt", "user": "deploy"});
    assert_eq!(store.shelf.all()[0].document["stream"], labels);
    for (more, said) in [
        ("labels = host", "`host` has too many values for a label"),
        ("labels = hosts", "`labels` must be of: playbook, state"),
    ] {
        let checked = Sandbox::with_config(&config(&store, more)).run(&["check-config"]);
        checked.expect_line(78, &[said]);
    }
}

#[test]
fn the_address_may_be_that_of_the_api() {
    let store = loki::start();
    let more = format!("url = {}", store.server.at("/loki/api/v1/push"));
    send(&config(&store, &more), &result()).expect(0, DELIVERED);
}

#[test]
fn a_refusal_says_the_reason_of_loki() {
    let store = loki::start();
    for (more, code, said) in [
        ("tenant = other", 75, "401 Unauthorized: no org id"),
        (
            "password = canary-other",
            75,
            "401 Unauthorized: authentication error",
        ),
        (
            r#"body = {"a": "poison"}"#,
            69,
            "400 Bad Request: entry for stream",
        ),
        (
            r#"body = {"a": "blocked"}"#,
            75,
            "260: this server blocks the events: ingestion blocked for user ops",
        ),
    ] {
        send(&config(&store, more), &result()).expect_line(code, &[said]);
    }
    assert_eq!(store.shelf.len(), 0);
}

#[test]
fn a_line_that_is_too_long_is_shortened() {
    let store = loki::start();
    let mut large = result();
    large["result"]["msg"] = json!("x".repeat(400_000));
    let more = r#"body = {"msg": "{{ result.msg }}", "truncated": "{{ event.truncated }}"}"#;
    send(&config(&store, more), &large).expect(0, DELIVERED);
    let line = store.shelf.all()[0].document["line"].to_string();
    assert!(line.len() < 10_000, "{}", line.len());
}

#[test]
fn the_password_is_neither_shown_nor_kept() {
    let store = loki::start();
    let sandbox = Sandbox::with_config(&config(&store, ""));
    sandbox.file("event.json", result().to_string());
    sandbox.expect_no_canary();
}
