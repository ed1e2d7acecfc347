//! The kind `splunk`, against a collector that refuses what Splunk refuses.

use serde_json::{Value, json};

use super::chat::{DELIVERED, failed_run, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::splunk::{self, ACKNOWLEDGED, DISABLED, INDEX, TOKEN};
use crate::server::store::Store;

fn config(store: &Store, more: &str) -> Config {
    let url = store.server.at("");
    let keys = format!("on = any\nurl = {url}\ntoken = {TOKEN}\n");
    let text = format!("[notifier:log]\ntype = splunk\n{keys}\n[delivery]\ndrain = 5\n");
    Config::from(text).with(more)
}

fn result() -> Value {
    json!({"id": "r-7", "state": "failed", "host": "web1", "task": "Install", "time": 1714000000.25,
        "run": {"id": "r", "playbook": "site.yml", "controller": "control1"}, "result": {"msg": "no"}})
}

#[test]
fn an_event_has_its_time_its_host_and_its_id() {
    let store = splunk::start();
    let more = format!("index = {INDEX}\nsource = deploy\nsourcetype = ansible:result");
    send(&config(&store, &more), &result()).expect(0, DELIVERED);
    let request = &store.server.requests()[0];
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    assert_eq!(request.header("x-splunk-request-channel"), None);
    let sent = &store.shelf.all()[0].document;
    let (time, event) = (&sent["time"], &sent["event"]);
    assert_eq!(time.to_string(), "1714000000.250000");
    assert_eq!(
        (&sent["host"], &sent["index"]),
        (&json!("web1"), &json!(INDEX))
    );
    assert_eq!(
        (&sent["source"], &sent["sourcetype"]),
        (&json!("deploy"), &json!("ansible:result"))
    );
    assert_eq!(
        (&event["id"], &event["state"]),
        (&json!("r-7"), &json!("failed"))
    );
    assert_eq!(sent["fields"], json!({"id": "r-7"}));
    send(&config(&store, ""), &failed_run(1)).expect(0, DELIVERED);
    let end = &store.shelf.all()[1].document;
    assert_eq!(
        (&end["source"], &end["sourcetype"]),
        (&json!("ansible"), &json!("_json"))
    );
    assert_eq!(end.get("index"), None);
}

#[test]
fn the_address_may_be_that_of_the_collector() {
    let store = splunk::start();
    for path in [
        "/services/collector",
        "/services/collector/event",
        "/services/collector/event/1.0",
        "/",
    ] {
        let more = format!("url = {}", store.server.at(path));
        send(&config(&store, &more), &result()).expect(0, DELIVERED);
    }
    assert_eq!(store.shelf.len(), 4);
}

#[test]
fn a_refusal_says_the_reason_of_splunk() {
    let store = splunk::start();
    for (more, code, said) in [
        ("token = canary-other", 75, "403 Forbidden: Invalid token"),
        (
            &*format!("token = {DISABLED}"),
            75,
            "403 Forbidden: Token disabled",
        ),
        ("index = other", 69, "400 Bad Request: Incorrect index"),
        (
            "body = \"\"",
            69,
            "400 Bad Request: Event field cannot be blank",
        ),
        (
            "body = null",
            69,
            "400 Bad Request: Event field is required",
        ),
        (
            &*format!("token = {ACKNOWLEDGED}"),
            69,
            "400 Bad Request: Data channel is missing",
        ),
    ] {
        send(&config(&store, more), &result()).expect_line(code, &[said]);
    }
    assert_eq!(store.shelf.len(), 0);
}

#[test]
fn with_acks_an_event_is_delivered_once_the_indexers_have_it() {
    let store = splunk::start();
    let more = format!("token = {ACKNOWLEDGED}\nacks = true");
    send(&config(&store, &more), &result()).expect(0, DELIVERED);
    let requests = store.server.requests();
    let channels = requests
        .iter()
        .map(|request| request.header("x-splunk-request-channel"));
    let channels: Vec<&str> = channels.map(Option::unwrap).collect();
    // One event is acknowledged at the second question.
    assert_eq!(channels.len(), 3, "{requests:?}");
    assert!(channels.iter().all(|channel| channel == &channels[0]));
    assert!(
        requests[1]
            .target
            .ends_with(&format!("/ack?channel={}", channels[0]))
    );
    assert_eq!(requests[1].body, r#"{"acks":[0]}"#);
    assert_eq!(store.shelf.len(), 1);
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    let store = splunk::start();
    let more = format!("token = {ACKNOWLEDGED}\nacks = true\nack_timeout = 1ms");
    let sandbox = Sandbox::with_config(&config(&store, &more));
    sandbox.file("event.json", result().to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    sent.expect_line(
        75,
        &["the indexers did not acknowledge the events within 1ms"],
    );
    sandbox.file(
        "plugin_config.ini",
        &*config(&store, &more).with("ack_timeout = 60s"),
    );
    sandbox
        .run_on_spool(&["flush"])
        .expect_line(0, &["1 delivery: delivered"]);
    let ids = store.shelf.all().into_iter().map(|stored| stored.id);
    assert!(ids.clone().count() > 1 && ids.into_iter().all(|id| id == "r-7"));
}

#[test]
fn check_config_tries_the_token_and_stores_nothing() {
    let store = splunk::start();
    let check = |more: &str| {
        Sandbox::with_config(&config(&store, more)).run(&["check-config", "--connect"])
    };
    let good = check("");
    assert_eq!(good.code, 0, "{good:?}");
    let bad = check("token = canary-other");
    assert!(
        bad.code != 0 && format!("{bad:?}").contains("Invalid token"),
        "{bad:?}"
    );
    assert_eq!(store.shelf.len(), 0);
}

/// The configuration of the page for those who come from the callback `community.general.splunk`.
#[test]
fn events_can_have_the_fields_of_the_callback() {
    let store = splunk::start();
    let page = format!("{}/docs/notifiers/splunk.md", env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("```ini\n").nth(2).unwrap();
    let block = block.split("```").next().unwrap();
    let url = store.server.at("/services/collector/event");
    let config = block
        .replace(
            "https://splunk.example.com:8088/services/collector/event",
            &url,
        )
        .replace("token_file = splunk-token", &format!("token = {TOKEN}"));
    let sandbox = Sandbox::with_config(&config);
    let mut failed = result();
    failed["task"] = json!({"name": "Install", "id": "5", "action": "apt"});
    failed["run"]["user"] = json!("anna");
    sandbox.file("event.json", failed.to_string());
    sandbox
        .run_on_spool(&["send", "event.json"])
        .expect_line(0, &["1 delivery: delivered"]);
    let expected = json!({
        "uuid": "5", "session": "r", "status": "FAILED", "timestamp": "2024-04-24 23:06:40 +0000",
        "host": "control1", "user": "anna", "runtime": null, "ansible_version": null, "ansible_check_mode": false,
        "ansible_host": "web1", "ansible_playbook": "site.yml", "ansible_role": null,
        "ansible_task": {"name": "Install", "action": "apt"}, "ansible_result": {"msg": "no"},
    });
    assert_eq!(store.shelf.all()[0].document["event"], expected);
}

#[test]
fn a_mistake_is_said() {
    let store = splunk::start();
    for (more, said) in [
        ("token =", "`token`"),
        ("url =", "`url`"),
        ("url = ftp://x", "`url` must begin with http:// or https://"),
        ("ack_timeout = 5s", "`acks`"),
        ("compress = zip", "`compress` must be `none` or `gzip`"),
        ("group_by = host", "unknown key `group_by`"),
        ("content = form", "unknown key `content`"),
        (
            "batch = 5000",
            "`batch` must be a whole number from 1 to 1000",
        ),
    ] {
        let checked = Sandbox::with_config(&config(&store, more)).run(&["check-config"]);
        checked.expect_line(78, &[said]);
    }
}

#[test]
fn the_token_is_neither_shown_nor_kept() {
    let store = splunk::start();
    let sandbox = Sandbox::with_config(&config(&store, ""));
    sandbox.file("event.json", result().to_string());
    sandbox.expect_no_canary();
}
