//! The kind `zulip`, against a server that refuses what Zulip refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::chat::{DELIVERED, failed_run, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::{Request, Server, zulip};

fn config(server: &Server, to: &str) -> Config {
    let (api, email, key) = (server.at(""), zulip::EMAIL, zulip::KEY);
    let keys = format!("on = any\napi_url = {api}\nemail = {email}\napi_key = {key}\n{to}");
    Config::from(format!(
        "[notifier:chat]\ntype = zulip\n{keys}\n[delivery]\ndrain = 60\n"
    ))
}

fn form(request: &Request) -> BTreeMap<String, String> {
    let pairs = url::form_urlencoded::parse(request.body.as_bytes());
    pairs.into_owned().collect()
}

#[test]
fn channels_have_a_topic_and_people_get_it_directly() {
    let server = zulip::start();
    let mut event = failed_run(1);
    event["run"]["url"] = json!("https://ci.example.com/7");
    let to = "channel = #ops, 7\nusers = alice@example.com, 9";
    send(&config(&server, to), &event).expect(0, DELIVERED);
    let sent: Vec<_> = server.requests().iter().map(form).collect();
    let parts = |name: &str| {
        let parts = sent.iter().map(|form| form.get(name).cloned());
        parts.map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    assert_eq!(parts("type"), ["stream", "stream", "direct", "direct"]);
    assert_eq!(
        parts("to"),
        ["\"ops\"", "7", "[\"alice@example.com\"]", "[9]"]
    );
    assert_eq!(parts("topic"), ["site.yml", "site.yml", "", ""]);
    let title = "**[site.yml failed](https://ci.example.com/7)**\nweb1: Install nginx";
    assert!(sent[0]["content"].starts_with(title), "{sent:?}");
    assert!(
        sent[0]["content"].contains("\nPlaybook: site.yml"),
        "{sent:?}"
    );
}

#[test]
fn a_topic_is_chosen_and_cut() {
    let server = zulip::start();
    let topic = |topic: &str| {
        let to = format!("channel = ops\ntopic = {topic}");
        send(&config(&server, &to), &failed_run(1)).expect(0, DELIVERED);
        form(server.requests().last().unwrap())["topic"].clone()
    };
    assert_eq!(topic("deploys of {{ playbook }}"), "deploys of site.yml");
    assert!(topic(&"é".repeat(90)).ends_with(" […]"));
    assert_eq!(topic("{{ '' }}"), "site.yml");
}

#[test]
fn a_hostile_text_mentions_nobody_and_marks_nothing_up() {
    let server = zulip::start();
    let message = "@**all** [x](http://evil) `y` ~~z~~ <time:1> &lt; \\* #**ops**";
    let event = json!({"state": "failed", "host": "@*team*", "task": "Install",
        "result": {"msg": message}});
    send(&config(&server, "channel = ops"), &event).expect(0, DELIVERED);
    let content = form(&server.requests()[0])["content"].clone();
    let (title, text) = content.split_once('\n').unwrap();
    assert_eq!(title, "**@&#42;team&#42;: Install: failed**");
    let harmless = "@&#42;&#42;all&#42;&#42; &#91;x&#93;(http://evil) &#96;y&#96; &#126;&#126;z&#126;&#126; &lt;time:1&gt; &amp;lt; \\&#42; &#35;&#42;&#42;ops&#42;&#42;";
    assert!(text.starts_with(harmless), "{text}");
}

#[test]
fn a_long_message_is_cut_to_what_zulip_takes() {
    for text in ["😀", "\"\\", "é", "*<"] {
        let server = zulip::start();
        let texts = "channel = ops\nmessage = {{ result.msg }}\nsubject = {{ result.msg }}";
        let event = json!({"state": "failed", "host": "web1", "task": "t",
            "result": {"msg": text.repeat(20_000)}});
        send(&config(&server, texts), &event).expect(0, DELIVERED);
        let content = &form(&server.requests()[0])["content"];
        assert!(content.contains(" […]"), "{text}");
    }
}

#[test]
fn a_busy_server_and_a_refusal_are_told_apart() {
    let server = zulip::start();
    send(&config(&server, "channel = busy"), &failed_run(1)).expect(0, DELIVERED);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_millis(1250), "{waited:?}");
    let told = send(&config(&server, "channel = ops, none"), &failed_run(1));
    let reason = "1 of 2 not reached: #none: 400 Bad Request: Channel \"none\" does not exist";
    told.expect_line(69, &[reason]);
}

#[test]
fn a_key_that_is_missing_is_a_problem() {
    let server = zulip::start();
    let check = |more: &str| Sandbox::with_config(&config(&server, more)).run(&["check-config"]);
    check("").expect_line(78, &["[notifier:chat] has no `channel`"]);
    check("users = 9").expect(0, "");
    let connect = |key: &str| {
        let config = config(&server, "channel = ops").with(key);
        Sandbox::with_config(&config).run(&["check-config", "--connect"])
    };
    connect("").expect(0, "");
    let bad = connect("api_key = canary-other");
    assert!(
        bad.printed().contains("401 Unauthorized: Invalid API key"),
        "{bad:?}"
    );
    assert!(!bad.printed().contains("canary"), "{bad:?}");
    let methods = server.requests().into_iter().map(|sent| sent.method);
    assert_eq!(methods.collect::<Vec<_>>(), ["GET", "GET"]);
}

#[test]
fn the_key_is_neither_shown_nor_kept() {
    let server = zulip::start();
    let sandbox = Sandbox::with_config(&config(&server, "channel = ops"));
    sandbox.file("event.json", failed_run(1).to_string());
    sandbox.expect_no_canary();
}
