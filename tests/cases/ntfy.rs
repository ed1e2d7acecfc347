//! The kind `ntfy`, against a server that refuses what ntfy refuses.

use serde_json::{Value, json};

use super::chat::{DELIVERED, failed_run};
use crate::sandbox::{Config, Outcome, Sandbox};
use crate::server::{Server, ntfy};

fn config(server: &Server, more: &str) -> Config {
    let (api, token) = (server.at(""), ntfy::TOKEN);
    let keys = format!("on = any\napi_url = {api}\ntoken = {token}\ntopic = ops");
    let text = format!("[notifier:phone]\ntype = ntfy\n{keys}\n[delivery]\ndrain = 5\n");
    Config::from(text).with(more)
}

fn send(config: &str, event: &Value) -> Outcome {
    Sandbox::with_config(config).run_with_input(&["send", "-"], event.to_string())
}

#[test]
fn a_failed_run_is_urgent_and_a_good_one_is_not() {
    let server = ntfy::start();
    let mut failed = failed_run(1);
    failed["run"]["url"] = json!("https://ci.example.com/7");
    send(&config(&server, ""), &failed).expect(0, DELIVERED);
    let good = json!({"event": "run_end", "status": "success", "run": {"playbook": "site.yml"}});
    send(&config(&server, "tags = ansible, prod"), &good).expect(0, DELIVERED);
    send(&config(&server, "priority = Min"), &failed).expect(0, DELIVERED);
    let sent = server.bodies();
    let text = sent[0]["message"].as_str().unwrap();
    assert!(text.starts_with("web1: Install nginx (/srv/site.yml:12): No package"));
    assert_eq!(sent[0]["title"], "site.yml failed");
    assert_eq!(sent[0]["click"], "https://ci.example.com/7");
    assert_eq!(
        (&sent[0]["priority"], &sent[0]["tags"]),
        (&json!(4), &json!(["rotating_light"]))
    );
    assert_eq!(
        (&sent[1]["priority"], &sent[1]["tags"]),
        (&json!(3), &json!(["white_check_mark", "ansible", "prod"]))
    );
    assert_eq!(sent[2]["priority"], 1);
}

#[test]
fn without_a_text_the_subject_is_the_text() {
    let server = ntfy::start();
    let config = config(&server, "message = {{ '' }}\nsubject = {{ playbook }}");
    let told = send(&config, &failed_run(1));
    assert_eq!(told.code, 0, "{told:?}");
    let empty = json!({"state": "success", "host": "web1", "task": "Install"});
    send(&self::config(&server, ""), &empty).expect(0, DELIVERED);
    let sent = &server.bodies()[1];
    assert_eq!(sent["title"], Value::Null);
    assert_eq!(sent["message"], "web1: Install: ok");
}

#[test]
fn a_long_message_is_cut_to_what_ntfy_takes() {
    for text in ["😀", "\"\\", "é", "a\n"] {
        let server = ntfy::start();
        let more = "message = {{ result.msg }}\nsubject = {{ result.msg }}";
        let event = json!({"state": "failed", "host": "web1", "task": "t",
            "result": {"msg": text.repeat(9000)},
            "run": {"url": format!("https://ci.example.com/{}", "x".repeat(1900))}});
        send(&config(&server, more), &event).expect(0, DELIVERED);
        let sent = &server.bodies()[0];
        for key in ["title", "message"] {
            assert!(
                sent[key].as_str().unwrap().ends_with(" […]"),
                "{text}: {key}"
            );
        }
    }
}

#[test]
fn a_refusal_says_the_reason_of_ntfy() {
    let server = ntfy::start();
    let refused = send(
        &config(&server, r#"body = {"priority": 9}"#),
        &failed_run(1),
    );
    refused.expect_line(
        69,
        &["1 dead", "400 Bad Request: invalid priority parameter"],
    );
    let large = json!({ "actions": "x".repeat(9000) });
    let refused = send(&config(&server, &format!("body = {large}")), &failed_run(1));
    refused.expect_line(69, &["413 Payload Too Large: JSON body too large"]);
}

#[test]
fn a_busy_server_gets_the_message_later() {
    let server = ntfy::start();
    send(&config(&server, "topic = busy"), &failed_run(1)).expect(0, DELIVERED);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_key_that_ntfy_would_refuse_is_a_problem() {
    let server = ntfy::start();
    let check = |more: &str| Sandbox::with_config(&config(&server, more)).run(&["check-config"]);
    for topic in ["a b", "ops/dev", "é", &"x".repeat(65)] {
        let problem = "ini:6: `topic` must have 1 to 64 of the characters";
        check(&format!("topic = {topic}")).expect_line(78, &[problem]);
    }
    check("api_url = https://phil:canary@ntfy.example.com").expect_line(
        78,
        &["the user in `api_url` and `token` are set; keep one of them"],
    );
    check("priority = urgent").expect_line(78, &["`priority` must be `min`, `low`"]);
    check(&format!("topic = {}", "x".repeat(64))).expect(0, "");
}

#[test]
fn the_token_is_tried_without_a_message() {
    let server = ntfy::start();
    let connect = |config: &str| {
        let sandbox = Sandbox::with_config(config);
        sandbox.run(&["check-config", "--connect"])
    };
    let config = config(&server, "");
    let good = connect(&config);
    good.expect(0, "");
    assert!(good.stdout.contains("answered 200 OK"), "{good:?}");
    let bad = connect(&config.with("token = tk_other"));
    assert_ne!(bad.code, 0, "{bad:?}");
    let printed = bad.printed();
    assert!(
        printed.contains("401 Unauthorized: unauthorized"),
        "{printed}"
    );
    let methods: Vec<String> = server
        .requests()
        .into_iter()
        .map(|sent| sent.method)
        .collect();
    assert_eq!(methods, ["GET", "GET"]);
}

#[test]
fn the_token_is_neither_shown_nor_kept() {
    let server = ntfy::start();
    let sandbox = Sandbox::with_config(&config(&server, ""));
    sandbox.file("event.json", failed_run(1).to_string());
    sandbox.expect_no_canary();
}
