//! The kind `googlechat`, against a server that refuses what Google refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat::{Chat, DELIVERED, HTML, failed_run, incident, send};
use crate::sandbox::Sandbox;
use crate::server::googlechat;

pub const GOOGLE: Chat = Chat {
    kind: "googlechat",
    start: googlechat::start,
    keys: |server, channel| {
        let token = googlechat::TOKEN;
        let path = format!("/v1/spaces/{channel}/messages?key=k&token={token}");
        format!("url = {}", server.at(&path))
    },
    gone: "404 Not Found: Space is not found",
    wait: Duration::from_secs(1),
    disarmed: HTML,
};

#[test]
fn a_card_has_the_reason_the_fields_and_a_link() {
    let server = googlechat::start();
    let mut event = failed_run(1);
    event["run"]["url"] = json!("https://ci.example.com/7");
    GOOGLE.send(&server, "ops", &event).expect(0, DELIVERED);
    let sent = server.requests()[0].json();
    let card = &sent["cardsV2"][0]["card"];
    assert_eq!(card["header"]["title"], "site.yml failed");
    assert_eq!(sent["fallbackText"], "site.yml failed");
    let widgets = card["sections"][0]["widgets"].as_array().unwrap();
    let text = widgets[0]["textParagraph"]["text"].as_str().unwrap();
    assert!(text.starts_with("web1: Install nginx"), "{text}");
    let field = json!({"topLabel": "Playbook", "text": "site.yml", "wrapText": true});
    assert!(
        widgets.contains(&json!({ "decoratedText": field })),
        "{widgets:?}"
    );
    let button = &widgets.last().unwrap()["buttonList"]["buttons"][0];
    assert_eq!(
        button["onClick"]["openLink"]["url"],
        "https://ci.example.com/7"
    );
}

#[test]
fn an_event_without_any_text_is_a_card_with_a_title() {
    let server = googlechat::start();
    let texts = "subject = {{ '' }}\nmessage =";
    let config = GOOGLE.config(&server, "ops").with(texts).text();
    let config = format!("{config}[outputs:chat]\nnone = result.none\n");
    let event = json!({"event": "run_end", "status": "error", "run": {"playbook": "site.yml"}});
    assert_eq!(send(&config, &event).code, 0);
    let card = &server.requests()[0].json()["cardsV2"][0]["card"];
    assert_eq!(card["header"]["title"], "site.yml failed");
}

#[test]
fn messages_about_a_playbook_share_a_thread() {
    let key = |body: &Value| body["thread"]["threadKey"].as_str().unwrap().to_owned();
    let keys = |more: &str| {
        let server = googlechat::start();
        let sandbox = Sandbox::with_config(&GOOGLE.config(&server, "ops").with(more));
        let other = json!({"event": "run_end", "id": "o", "status": "error",
            "run": {"id": "o", "playbook": "other.yml"}});
        sandbox.file("events", format!("{}{other}\n", incident()));
        let sent = sandbox.run_on_spool(&["send", "events"]);
        assert_eq!(sent.code, 0, "{sent:?}");
        let keys: Vec<String> = server.bodies().iter().map(key).collect();
        (keys, sandbox.run_on_spool(&["history", "1"]).stdout)
    };
    let (own, _) = keys("");
    assert_eq!((&own[0], &own[1]), (&own[1], &own[2]));
    assert_ne!(own[2], own[3]);
    let (chosen, _) = keys("thread_key = {{ id }}");
    assert_eq!(chosen, ["first", "second", "third", "o"]);
    let (failed, history) = keys("thread_key = {{ id + 1 }}");
    assert_eq!(failed, own);
    assert!(
        history.contains("the playbook's thread is used instead"),
        "{history}"
    );
}

#[test]
fn a_refusal_says_the_reason_of_google() {
    let server = googlechat::start();
    let with = |body: &str| {
        let config = GOOGLE.config(&server, "ops").with(body);
        send(&config, &failed_run(1))
    };
    with(r#"body = {"colour": "red"}"#)
        .expect_line(69, &["1 dead", "400 Bad Request: unknown field colour"]);
    with(r#"body = {"cardsV2": null, "text": "{{ reason }} on {{ failed_tasks[0].host }}"}"#)
        .expect(0, DELIVERED);
    assert_eq!(server.requests()[1].json()["cardsV2"], Value::Null);
}
