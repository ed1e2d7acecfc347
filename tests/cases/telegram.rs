//! The kind `telegram`: answers, groups that moved, markup that Telegram cannot read.

use serde_json::{Value, json};

use super::chat::{DELIVERED, TELEGRAM, failed_run, incident, send};
use crate::sandbox::Sandbox;
use crate::server::{Server, status, telegram};

#[test]
fn telegram_answers_the_first_message_of_a_run() {
    let server = telegram::start();
    let more = "message_thread_id = 42\ndisable_notification = true";
    let config = TELEGRAM.config(&server, "ops").with(more);
    let told = Sandbox::with_config(&config).run_with_input(&["send", "-"], incident());
    told.expect(0, "ansible-notify: 3 events, 3 deliveries: all delivered\n");
    let sent = server.bodies();
    assert_eq!(
        (
            &sent[0]["message_thread_id"],
            &sent[0]["disable_notification"]
        ),
        (&json!(42), &json!(true))
    );
    assert_eq!(sent[0]["reply_parameters"], Value::Null);
    for later in &sent[1..] {
        assert_eq!(later["reply_parameters"]["message_id"], 10);
    }
    assert!(
        sent[2]["text"]
            .as_str()
            .unwrap()
            .starts_with("<b>site.yml recovered</b>\n")
    );
}

#[test]
fn telegram_answers_one_message_where_many_hosts_fail_at_once() {
    let server = telegram::start();
    let config = TELEGRAM.config(&server, "ops");
    let config = config.with("on = any, failed");
    let failed = |n| format!(r#"{{"state":"failed","host":"h{n}","task":"t","run":"r"}}"#);
    let events: String = (0..20).map(failed).collect();
    let told = Sandbox::with_config(&config).run_with_input(&["send", "-"], events);
    assert_eq!(told.code, 0, "{told:?}");
    let sent = server.bodies();
    let first = |body: &Value| body["reply_parameters"]["message_id"].clone();
    let firsts: Vec<Value> = sent.iter().map(first).collect();
    assert_eq!(firsts[0], Value::Null);
    assert_eq!(firsts[1..], vec![json!(10); 19]);
}

#[test]
fn telegram_finds_a_group_that_moved_and_says_without_markup_what_it_cannot_read() {
    let server = telegram::start();
    let chat = &TELEGRAM;
    chat.send(&server, "2, -5", &failed_run(1))
        .expect(0, DELIVERED);
    let refused = chat.send(&server, "3, 1", &failed_run(1));
    refused.expect_line(
        69,
        &["1 of 2 not reached: 3: 403 Forbidden: Forbidden: bot was blocked"],
    );
    let chats: Vec<Value> = server
        .requests()
        .iter()
        .map(|request| request.json()["chat_id"].clone())
        .collect();
    assert_eq!(chats, ["2", "-5", "-1005", "3", "1"]);
    let config = chat.config(&server, "ops");
    let config = config.with("message = <h1>{{ playbook }}</h1><br>a &amp; b < c <web1>");
    send(&config, &failed_run(1)).expect(0, DELIVERED);
    let sent = server.requests()[6].json();
    assert_eq!(sent["text"], "site.yml failed\nsite.yml\na & b < c <web1>");
    assert_eq!(sent["parse_mode"], Value::Null);
}

#[test]
fn a_refusal_of_a_proxy_is_none_of_telegram() {
    let server = Server::start([status(403)]);
    let config = format!(
        "[notifier:t]\ntype = telegram\ntoken = 1:canary\nchat_ids = 5\napi_url = {}\n[delivery]\ndrain = 300ms\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&config);
    let told = sandbox.run_with_input(&["send", "-"], failed_run(1).to_string());
    told.expect_line(75, &["1 pending", "403 Forbidden"]);
}
