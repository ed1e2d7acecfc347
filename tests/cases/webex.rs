//! The kind `webex`, against a server that refuses what Webex refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::chat::{Chat, DELIVERED, MARKDOWN, failed_run, send};
use crate::sandbox::Sandbox;
use crate::server::webex;

pub const WEBEX: Chat = Chat {
    kind: "webex",
    start: webex::start,
    keys: |server, channel| {
        let (api, token) = (server.at(""), webex::TOKEN);
        format!("api_url = {api}\ntoken = {token}\nto = {channel}")
    },
    gone: "404 Not Found: Could not find a room with provided ID.",
    wait: Duration::from_secs(1),
    disarmed: MARKDOWN,
};

#[test]
fn spaces_and_people_get_it() {
    let server = webex::start();
    let mut event = failed_run(1);
    event["run"]["url"] = json!("https://ci.example.com/7");
    let config = WEBEX.config(&server, "ops, alice@example.com");
    send(&config, &event).expect(0, DELIVERED);
    let sent = server.bodies();
    let to = |body: &Value| (body["roomId"].clone(), body["toPersonEmail"].clone());
    assert_eq!(to(&sent[0]), (json!("ops"), Value::Null));
    assert_eq!(to(&sent[1]), (Value::Null, json!("alice@example.com")));
    let text = sent[0]["markdown"].as_str().unwrap();
    let title = "**[site.yml failed](https://ci.example.com/7)**  \nweb1: Install nginx";
    assert!(text.starts_with(title), "{text}");
    assert!(text.contains("  \nPlaybook: site.yml"), "{text}");
    let told = send(&WEBEX.config(&server, "ops, bob@example.com"), &event);
    told.expect_line(69, &["1 of 2 not reached: bob@example.com: 404 Not Found"]);
}

#[test]
fn the_token_is_tried_without_a_message() {
    let server = webex::start();
    let connect = |token: &str| {
        let config = WEBEX.config(&server, "ops").with(token);
        Sandbox::with_config(&config).run(&["check-config", "--connect"])
    };
    connect("").expect(0, "");
    let bad = connect("token = other");
    let printed = bad.printed();
    assert_ne!(bad.code, 0, "{printed}");
    let reason = "401 Unauthorized: The request requires a valid access token";
    assert!(printed.contains(reason), "{printed}");
}
