//! The kind `elasticsearch`, against a server that refuses what Elasticsearch refuses.

use serde_json::{Value, json};

use super::chat::{DELIVERED, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::elasticsearch::{self, API_KEY, ID_AND_KEY};
use crate::server::store::Store;

fn config(store: &Store, more: &str) -> Config {
    let keys = format!(
        "on = any\nurl = {}\napi_key = {API_KEY}",
        store.server.at("")
    );
    let text = format!("[notifier:log]\ntype = elasticsearch\n{keys}\n[delivery]\ndrain = 5\n");
    Config::from(text).with(more)
}

fn result() -> Value {
    json!({"id": "r-7", "state": "failed", "host": {"name": "web1", "address": "192.0.2.7"}, "changed": true,
        "task": {"name": "Install", "action": "ansible.builtin.apt", "path": "site.yml:3"},
        "time": 1714000000.25, "duration": 1.5, "item": {"a": 1},
        "run": {"id": "r", "playbook": "site.yml", "user": "deploy", "controller": "control1"},
        "result": {"msg": "no", "rc": 100}})
}

#[test]
fn a_document_has_the_fields_of_ecs() {
    let store = elasticsearch::start();
    send(&config(&store, ""), &result()).expect(0, DELIVERED);
    let request = &store.server.requests()[0];
    assert!(
        request
            .target
            .contains("/logs-ansible-default/_bulk?filter_path=")
    );
    assert!(request.body.starts_with("{\"create\":{\"_id\":\"r-7\"}}\n"));
    let document = &store.shelf.all()[0].document;
    let is =
        |path: &str, expected: Value| assert_eq!(document.pointer(path), Some(&expected), "{path}");
    is("/@timestamp", json!("2024-04-24T23:06:40.250000Z"));
    is("/message", json!("no"));
    is("/error/message", json!("no"));
    is(
        "/event",
        json!({"kind": "event", "category": ["configuration"], "type": ["change"], "outcome": "failure",
        "action": "ansible.builtin.apt", "duration": 1_500_000_000, "id": "r-7", "dataset": "ansible.result"}),
    );
    is(
        "/host",
        json!({"name": "web1", "ip": "192.0.2.7", "hostname": "192.0.2.7"}),
    );
    is("/user/name", json!("deploy"));
    is("/labels/playbook", json!("site.yml"));
    is("/ansible/task", json!("Install"));
    is("/ansible/item", json!("{\"a\":1}"));
    let result = document
        .pointer("/ansible/result")
        .unwrap()
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(result).unwrap(),
        json!({"msg": "no", "rc": 100})
    );
    assert_eq!(document.get("process"), None, "no nulls");
}

#[test]
fn the_end_of_a_run_is_a_document_too() {
    let store = elasticsearch::start();
    let end = json!({"event": "run_end", "status": "error", "elapsed": 12.5, "exit_code": 2, "reason": "web1 failed",
        "run": {"id": "r", "playbook": "site.yml"}});
    send(&config(&store, ""), &end).expect(0, DELIVERED);
    let document = &store.shelf.all()[0].document;
    let is =
        |path: &str, expected: Value| assert_eq!(document.pointer(path), Some(&expected), "{path}");
    is("/event/outcome", json!("failure"));
    is("/event/action", json!("run_end"));
    is("/event/duration", json!(12_500_000_000_i64));
    is("/process/exit_code", json!(2));
    is("/ansible/status", json!("error"));
}

#[test]
fn the_result_is_no_object_unless_the_index_is_made_for_it() {
    let store = elasticsearch::start();
    send(&config(&store, "result = none"), &result()).expect(0, DELIVERED);
    assert_eq!(
        store.shelf.all()[0].document.pointer("/ansible/result"),
        None
    );
    // The server stands for an index without such a mapping.
    send(&config(&store, "result = flattened"), &result()).expect_line(69, &["1 dead"]);
}

#[test]
fn outputs_and_a_body_get_their_time() {
    let store = elasticsearch::start();
    for (number, (more, expected)) in [
        (
            r#"body = {"a": "{{ host }}"}"#,
            json!({"@timestamp": "2024-04-24T23:06:40.250000Z", "a": "web1"}),
        ),
        (
            "body = {}",
            json!({"@timestamp": "2024-04-24T23:06:40.250000Z"}),
        ),
        (
            r#"body = {"@timestamp": "2020-01-01T00:00:00Z"}"#,
            json!({"@timestamp": "2020-01-01T00:00:00Z"}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = result();
        event["id"] = json!(format!("r-{number}"));
        send(&config(&store, more), &event).expect(0, DELIVERED);
        assert_eq!(store.shelf.all()[number].document, expected);
    }
}

#[test]
fn a_repeat_is_stored_once() {
    let store = elasticsearch::start();
    for _ in 0..2 {
        // Another spool, which does not know the first one.
        send(&config(&store, ""), &result()).expect(0, DELIVERED);
    }
    assert_eq!((store.shelf.len(), store.server.requests().len()), (1, 2));
}

#[test]
fn credentials_are_a_key_or_a_user() {
    let store = elasticsearch::start();
    for more in [
        format!("api_key = {ID_AND_KEY}"),
        "api_key =\nusername = ansible\npassword = canary-password".to_owned(),
    ] {
        send(&config(&store, &more), &result()).expect(0, DELIVERED);
    }
    send(&config(&store, "api_key = other"), &result())
        .expect_line(75, &["401 Unauthorized: unable to authenticate user"]);
    let both = config(&store, "username = ansible\npassword = canary-password");
    Sandbox::with_config(&both)
        .run(&["check-config"])
        .expect_line(
            78,
            &["`api_key` and other credentials are set; keep one of them"],
        );
}

#[test]
fn a_refusal_says_the_reason_of_elasticsearch() {
    let store = elasticsearch::start();
    send(&config(&store, "index = other"), &result())
        .expect_line(69, &["404 Not Found: no such index [other]"]);
    send(&config(&store, "body = [1]"), &result()).expect_line(
        69,
        &["400: document_parsing_exception: data stream timestamp field [@timestamp] is missing"],
    );
    for (more, said) in [
        (
            "index = Logs",
            "`index` must be the name of a data stream or an index in lower case",
        ),
        ("index = a/b", "`index` must be the name"),
        (
            "result = yes",
            "`result` must be `text`, `flattened` or `none`",
        ),
    ] {
        let checked = Sandbox::with_config(&config(&store, more)).run(&["check-config"]);
        checked.expect_line(78, &[said]);
    }
}

#[test]
fn the_key_is_neither_shown_nor_kept() {
    let store = elasticsearch::start();
    let sandbox = Sandbox::with_config(&config(&store, &format!("api_key = {ID_AND_KEY}")));
    sandbox.file("event.json", result().to_string());
    sandbox.expect_no_canary();
}
