//! Why a task failed: the same sentence in its own message and at the end of the run, whoever tells it. All ways
//! to fail are in tests/ansible/test_reasons.py.

use serde_json::{Value, json};

use super::runs::stream;
use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Server};

const REASON: &str = "nginx: E: no package nginx";

/// A task of the callback plugin whose loop fails on one of its items, which has this label.
fn loop_of(label: &Value) -> String {
    let host = json!({"name": "web1"});
    let failed = json!({"msg": "The command exited with a non-zero return code.", "rc": 100, "stderr": "E: no package nginx"});
    [
        json!({"hello": {"protocol": 1, "run": {"id": "r", "playbook": "site.yml"}}}),
        json!({"task": {"id": "t", "name": "Install"}}),
        json!({"event": {"seq": 1, "event": "runner_item_on_ok", "time": 1.5, "task": "t", "host": host, "item": "curl", "result": {"rc": 0}}}),
        json!({"event": {"seq": 2, "event": "runner_item_on_failed", "time": 1.5, "task": "t", "host": host, "item": label, "result": failed}}),
        json!({"event": {"seq": 3, "event": "runner_on_failed", "time": 2.5, "task": "t", "host": host, "result": {"msg": "One or more items failed"}}}),
        json!({"end": {"reason": "exit"}}),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

fn config(server: &Server) -> String {
    format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = failed, unreachable, error\n\
         [outputs:x]\nreason = reason\noutput = task_output\nfailed = failed_tasks | map(attribute='message')\n",
        server.url()
    )
}

#[test]
fn a_loop_says_which_item_failed_and_why() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server));
    assert_eq!(stream(&sandbox, &loop_of(&json!("nginx"))).code, 0);
    let bodies = server.bodies();
    let output = "One or more items failed";
    assert_eq!(
        bodies[0],
        json!({"reason": REASON, "output": output, "failed": []})
    );
    assert_eq!(bodies[1]["failed"], json!([REASON]));

    // An item without a name, as its label could not be made
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server));
    stream(&sandbox, &loop_of(&json!(null)));
    assert_eq!(server.bodies()[0]["reason"], "an item: E: no package nginx");
}

#[test]
fn the_reason_of_a_loop_waits_in_the_spool_with_its_event() {
    let dead = Server::start([crate::server::status(503)]);
    let sandbox = Sandbox::with_config(&config(&dead));
    stream(&sandbox, &loop_of(&json!("nginx")));
    let server = Server::start([OK]);
    sandbox.file("plugin_config.ini", config(&server));
    sandbox.run_on_spool(&["flush"]);
    assert_eq!(server.bodies()[0]["reason"], REASON);
}

#[test]
fn events_by_hand_and_of_ansible_runner_say_the_same() {
    let failed = json!({
        "failed": true, "item": {"name": "nginx", "password": "CANARY"}, "_ansible_item_label": "nginx",
        "ansible_loop_var": "item", "msg": "non-zero return code", "rc": 100, "stderr": "E: no package nginx",
    });
    let hidden = json!({"failed": true, "item": "CANARY", "censored": "hidden"});
    let fine = json!({"item": "curl", "rc": 0});
    let result = json!({"msg": "One or more items failed", "results": [fine, failed]});
    let mixed = json!({"msg": "One or more items failed", "results": [hidden, failed]});
    let runner = |result: &Value| json!({"uuid": "1", "counter": 1, "event": "runner_on_failed", "event_data": {"host": "web1", "res": result}});
    let command = json!({"rc": 1, "msg": "non-zero return code", "stdout": "full"});
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server));
    for (event, reason) in [
        (
            json!({"state": "failed", "host": "web1", "result": result}),
            REASON.to_owned(),
        ),
        (runner(&result), REASON.to_owned()),
        (runner(&mixed), format!("an item: hidden; {REASON}")),
        (runner(&command), "full".to_owned()),
        (
            json!({"state": "unreachable", "result": {"msg": "Task failed: no route"}}),
            "no route".to_owned(),
        ),
        (
            json!({"state": "failed", "reason": "I say so", "result": {"rc": 1}}),
            "I say so".to_owned(),
        ),
        (
            json!({"state": "failed", "reason": "CANARY", "result": {"censored": "hidden"}}),
            "hidden".to_owned(),
        ),
    ] {
        sandbox.file("event.json", event.to_string());
        sandbox.run(&["send", "--quiet", "event.json"]);
        let body = server.bodies().pop().unwrap();
        assert_eq!(body["reason"], reason.as_str(), "{event}");
        assert!(!body.to_string().contains("CANARY"), "{body}");
    }
}

#[test]
fn the_default_texts_say_it() {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = mattermost\nurl = {}\non = failed, error\n",
        server.url()
    ));
    stream(&sandbox, &loop_of(&json!("nginx")));
    let texts: Vec<String> = server
        .bodies()
        .iter()
        .map(|body| body["attachments"][0]["text"].to_string())
        .collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().all(|text| text.contains(REASON)), "{texts:?}");
}
