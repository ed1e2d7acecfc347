//! The kind `matrix`, against a server that refuses what a homeserver refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat::{Chat, DELIVERED, HTML, failed_run, send};
use crate::sandbox::Sandbox;
use crate::server::matrix;

pub const MATRIX: Chat = Chat {
    kind: "matrix",
    start: matrix::start,
    keys: |server, channel| {
        let (api, token) = (server.at(""), matrix::TOKEN);
        format!("api_url = {api}\ntoken = {token}\nrooms = !{channel}:example.com")
    },
    gone: "404 Not Found: Unknown room",
    wait: Duration::from_millis(1500),
    disarmed: HTML,
};

#[test]
fn a_message_is_html_and_text_and_mentions_nobody() {
    let server = matrix::start();
    let mut event = failed_run(1);
    event["run"]["url"] = json!("https://ci.example.com/7?a=1&b=2");
    MATRIX.send(&server, "ops", &event).expect(0, DELIVERED);
    let more = MATRIX.config(&server, "ops").with("notice = true");
    send(&more, &event).expect(0, DELIVERED);
    let sent = server.bodies();
    let (html, plain) = (&sent[0]["formatted_body"], &sent[0]["body"]);
    let (html, plain) = (html.as_str().unwrap(), plain.as_str().unwrap());
    let title = "<b><a href=\"https://ci.example.com/7?a=1&amp;b=2\">site.yml failed</a></b><br>web1: Install nginx";
    assert!(html.starts_with(title), "{html}");
    assert!(html.contains("<br><b>Playbook:</b> site.yml"), "{html}");
    assert!(!html.contains('\n'), "{html}");
    let text = "site.yml failed\nweb1: Install nginx";
    assert!(plain.starts_with(text), "{plain}");
    assert_eq!(sent[0]["m.mentions"], json!({}));
    let sorts = [&sent[0]["msgtype"], &sent[1]["msgtype"]];
    assert_eq!(sorts, ["m.text", "m.notice"]);
}

#[test]
fn a_repeat_is_not_seen_and_two_notifiers_are() {
    let (server, events) = matrix::start_losing(1);
    let config = MATRIX.config(&server, "ops").text();
    let second = config.replace("[notifier:chat]", "[notifier:other]");
    let second = second.split("[delivery]").next().unwrap();
    let sandbox = Sandbox::with_config(&format!("{second}{config}"));
    sandbox.file("event.json", failed_run(1).to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(events.lock().unwrap().len(), 2);
}

#[test]
fn every_room_gets_it_and_one_that_is_none_is_a_problem() {
    let server = matrix::start();
    let config = MATRIX.config(&server, "ops");
    let rooms = "rooms = {{ ['!ops:example.com', '!busy:example.com', '#alias:example.com'] }}";
    let sent = send(&config.with(rooms), &failed_run(1));
    let wrong = "1 of 3 not reached: #alias:example.com: `rooms`: `rooms` must have ids of rooms";
    sent.expect_line(69, &[wrong]);
    assert_eq!(server.requests().len(), 3);
    for room in ["#ops:example.com", "ops", "!", "!a b:example.com"] {
        let config = MATRIX.config(&server, "ops");
        let sandbox = Sandbox::with_config(&config.with(&format!("rooms = {room}")));
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &["`rooms` must have ids of rooms such as `!kCSm"]);
    }
}

#[test]
fn the_token_is_tried_without_a_message() {
    let server = matrix::start();
    let connect = |token: &str| {
        let config = MATRIX.config(&server, "ops").with(token);
        Sandbox::with_config(&config).run(&["check-config", "--connect"])
    };
    let good = connect("");
    good.expect(0, "");
    assert!(good.stdout.contains("answered 200 OK"), "{good:?}");
    let bad = connect("token = syt_other");
    let printed = bad.printed();
    assert_ne!(bad.code, 0, "{printed}");
    let reason = "401 Unauthorized: Invalid access token passed.";
    assert!(printed.contains(reason), "{printed}");
    let methods = server.requests().into_iter().map(|sent| sent.method);
    assert_eq!(methods.collect::<Vec<_>>(), ["GET", "GET"]);
}

#[test]
fn a_body_of_ones_own_replaces_what_it_names() {
    let server = matrix::start();
    let body = r#"body = {"format": null, "formatted_body": null, "body": "{{ status }}"}"#;
    let config = MATRIX.config(&server, "ops").with(body);
    send(&config, &failed_run(1)).expect(0, DELIVERED);
    let sent = &server.bodies()[0];
    assert_eq!(sent["body"], "error");
    assert_eq!(sent["formatted_body"], Value::Null);
}
