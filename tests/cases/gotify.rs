//! The kind `gotify`, against a server that refuses what Gotify refuses.

use serde_json::{Value, json};

use super::chat::{DELIVERED, failed_run, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::{Server, gotify};

fn config(server: &Server, more: &str) -> Config {
    let (api, token) = (server.at(""), gotify::TOKEN);
    let keys = format!("on = any\napi_url = {api}\ntoken = {token}");
    let text = format!("[notifier:phone]\ntype = gotify\n{keys}\n[delivery]\ndrain = 5\n");
    Config::from(text).with(more)
}

#[test]
fn the_outcome_decides_the_priority() {
    let server = gotify::start();
    let mut failed = failed_run(1);
    failed["run"]["url"] = json!("https://ci.example.com/7");
    let end = |status: &str| json!({"event": "run_end", "status": status, "run": {"playbook": "site.yml"}});
    for event in [&failed, &end("canceled"), &end("success")] {
        send(&config(&server, ""), event).expect(0, DELIVERED);
    }
    let started = json!({"event": "playbook_on_start", "run": {"playbook": "site.yml"}});
    send(&config(&server, "on = started"), &started).expect(0, DELIVERED);
    let chosen = "priority = {{ 10 if status == 'error' else 1 }}";
    send(&config(&server, chosen), &failed).expect(0, DELIVERED);
    let sent = server.bodies();
    let priorities: Vec<&Value> = sent.iter().map(|body| &body["priority"]).collect();
    assert_eq!(priorities, [8, 5, 4, 2, 10]);
    assert_eq!(sent[0]["title"], "site.yml failed");
    let text = sent[0]["message"].as_str().unwrap();
    assert!(text.starts_with("web1: Install nginx"), "{text}");
    let click = &sent[0]["extras"]["client::notification"]["click"]["url"];
    assert_eq!(click, "https://ci.example.com/7");
    assert_eq!(sent[1]["extras"], Value::Null);
}

#[test]
fn without_a_text_the_subject_is_the_text() {
    let server = gotify::start();
    let empty = json!({"state": "success", "host": "web1", "task": "Install"});
    send(&config(&server, ""), &empty).expect(0, DELIVERED);
    let sent = &server.bodies()[0];
    assert_eq!(
        (&sent["title"], &sent["message"]),
        (&Value::Null, &json!("web1: Install: ok"))
    );
}

#[test]
fn a_long_message_is_cut_so_that_its_echo_can_be_read() {
    for text in ["😀", "\"\\", "é"] {
        let server = gotify::start();
        let texts = "message = {{ result.msg }}\nsubject = {{ result.msg }}";
        let event = json!({"state": "failed", "host": "web1", "task": "t",
            "result": {"msg": text.repeat(90_000)}});
        send(&config(&server, texts), &event).expect(0, DELIVERED);
        let sent = &server.bodies()[0];
        for key in ["title", "message"] {
            let text = sent[key].as_str().unwrap();
            assert!(text.ends_with(" […]"), "{key}");
        }
    }
}

#[test]
fn a_refusal_says_the_reason_of_gotify() {
    let server = gotify::start();
    let event = failed_run(1);
    send(&config(&server, r#"body = {"extras": "x"}"#), &event).expect_line(
        69,
        &["1 dead", "400 Bad Request: json: cannot unmarshal into"],
    );
    let other = config(&server, "").with("token = canary-other");
    send(&other, &event).expect_line(
        75,
        &["401 Unauthorized: you need to provide a valid access token"],
    );
}

#[test]
fn a_priority_that_is_none_is_a_problem_or_replaced() {
    let server = gotify::start();
    for wrong in ["11", "-1", "high"] {
        let config = config(&server, &format!("priority = {wrong}"));
        let checked = Sandbox::with_config(&config).run(&["check-config"]);
        checked.expect_line(78, &["`priority` must be a whole number from 0 to 10"]);
    }
    let sandbox = Sandbox::with_config(&config(&server, "priority = {{ host }}"));
    sandbox.file("event", failed_run(1).to_string());
    assert_eq!(sandbox.run_on_spool(&["send", "event"]).code, 0);
    assert_eq!(server.bodies()[0]["priority"], 8);
}

#[test]
fn the_token_is_neither_shown_nor_kept() {
    let server = gotify::start();
    let sandbox = Sandbox::with_config(&config(&server, ""));
    sandbox.file("event.json", failed_run(1).to_string());
    sandbox.expect_no_canary();
}
