//! The kinds that page, text and annotate, each against a server that refuses what the service refuses.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::sandbox::{Config, Outcome, Sandbox};
use crate::server::{Server, grafana, pagerduty, twilio};

pub const FAILED: &str = r#"{"state":"failed","host":"web1","task":"Install","result":{"msg":"no space left"},
    "run":{"playbook":"site.yml","inventory":["hosts"],"controller":"control","url":"https://ci.example.com/7"}}"#;

/// Returns the configuration of a notifier with these keys.
pub fn service(keys: &str) -> Config {
    format!("[notifier:service]\non = any\n{keys}\n[delivery]\ndrain = 3\n").into()
}

/// Sends events with a configuration.
pub fn send_with(config: &Config, events: &str) -> Outcome {
    Sandbox::with_config(config).run_with_input(&["send", "-"], events)
}

/// Sends events to a notifier with these keys.
pub fn send(keys: &str, events: &str) -> Outcome {
    send_with(&service(keys), events)
}

/// The end of a run with `status` after one that ended with `previous`.
pub fn run_end(id: &str, status: &str, previous: Option<&str>) -> String {
    let end = json!({
        "event": "run_end", "id": id, "status": status, "previous": previous, "elapsed": 2.5,
        "time": "2026-11-20T20:42:01.5Z", "stats": {"web1": {"ok": 3}},
        "run": {"id": id, "playbook": "site.yml", "path": "/srv/site.yml", "inventory": ["hosts"], "controller": "control"},
    });
    end.to_string()
}

/// What is said when all was delivered.
pub fn delivered(events: usize) -> String {
    match events {
        1 => "ansible-notify: 1 event, 1 delivery: delivered\n".to_owned(),
        _ => format!("ansible-notify: {events} events, {events} deliveries: all delivered\n"),
    }
}

fn pagerduty_keys(server: &Server, more: &str) -> String {
    let (url, key) = (server.at(""), pagerduty::ROUTING_KEY);
    format!("type = pagerduty\napi_url = {url}\nrouting_key = {key}\n{more}")
}

#[test]
fn an_incident_opens_once_and_is_resolved() {
    let (server, incidents) = pagerduty::start();
    let keys = pagerduty_keys(
        &server,
        "client = Ansible\nclient_url = https://awx.example.com\n",
    );
    let open = || incidents.lock().unwrap().clone();
    let key = "/srv/site.yml @ hosts".to_owned();
    send(&keys, &run_end("r1", "error", None)).expect(0, &delivered(1));
    assert_eq!(open(), [(key.clone(), 1)].into());
    send(&keys, &run_end("r2", "error", Some("error"))).expect(0, &delivered(1));
    assert_eq!(open(), [(key, 2)].into(), "no second incident");
    send(&keys, &run_end("r3", "success", Some("error"))).expect(0, &delivered(1));
    assert_eq!(open(), [].into());

    let bodies = server.bodies();
    let expected = json!({
        "routing_key": pagerduty::ROUTING_KEY, "event_action": "trigger", "dedup_key": "/srv/site.yml @ hosts",
        "client": "Ansible", "client_url": "https://awx.example.com",
        "payload": {
            "summary": "site.yml failed", "source": "control", "severity": "error", "component": null,
            "group": "site.yml", "class": "run_end", "timestamp": "2026-11-20T20:42:01.500000Z",
            "custom_details": {
                "Message": "1 host, 0 changed, 0 failed, in 2.5 s",
                "Playbook": "site.yml", "Inventory": "hosts", "Controller": "control",
            },
        },
    });
    assert_eq!(bodies[0], expected);
    assert_eq!(bodies[2]["event_action"], "resolve");
    assert_eq!(bodies[3]["payload"]["summary"], "site.yml recovered");
    assert_eq!(server.requests()[3].target, "/v2/change/enqueue");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_a_task_opened_the_same_task_resolves() {
    let (server, incidents) = pagerduty::start();
    let keys = pagerduty_keys(&server, "");
    let other = FAILED.replace("web1", "web2");
    let ignored = FAILED.replace(r#""state""#, r#""ignored":true,"state""#);
    send(&keys, &format!("{FAILED}{other}")).expect(0, &delivered(2));
    let open: Vec<String> = incidents.lock().unwrap().keys().cloned().collect();
    let keys_of = |host| format!("site.yml @ hosts: Install: {host}");
    assert_eq!(open, [keys_of("web1"), keys_of("web2")]);
    send(&keys, &FAILED.replace("failed", "success")).expect(0, &delivered(1));
    let open: Vec<String> = incidents.lock().unwrap().keys().cloned().collect();
    assert_eq!(open, [keys_of("web2")]);
    send(&keys, &ignored).expect(0, &delivered(1));
    let bodies = server.bodies();
    assert_eq!(
        bodies[0]["links"],
        json!([{"href": "https://ci.example.com/7", "text": "The run"}])
    );
    assert_eq!(bodies[0]["payload"]["component"], "Install");
    assert_eq!(bodies[3]["payload"]["severity"], "warning");
}

#[test]
fn pagerduty_takes_what_is_too_long_or_empty() {
    let (server, _) = pagerduty::start();
    let long = "é".repeat(300_000);
    let event =
        json!({"state": "failed", "host": "h".repeat(300), "task": "é".repeat(300), "run": {"playbook": "p".repeat(300)}, "result": {"msg": long}}).to_string();
    let keys = [
        "subject = {{ reason }}\n",
        "message = {{ reason }}\n",
        "dedup_key = {{ host }} {{ reason }}\nbody = [\"{{ reason }}\", 1]\n",
        "dedup_key = fleet\nseverity = critical\nbody = {\"why\": \"{{ reason }}\"}\n",
    ];
    for more in keys {
        send(&pagerduty_keys(&server, more), &event).expect(0, &delivered(1));
    }
    let empty = send(&pagerduty_keys(&server, "subject = {{ none }}\n"), &event);
    assert_eq!(empty.code, 0, "{empty:?}");
    let said = "`subject` is empty; the default is sent instead";
    assert!(empty.stderr.contains(said), "{empty:?}");
    let bodies = server.bodies();
    assert!(
        bodies[0]["payload"]["summary"]
            .as_str()
            .unwrap()
            .ends_with("é […]")
    );
    let details = &bodies[1]["payload"]["custom_details"];
    assert!(
        details["Details"].as_str().unwrap().starts_with("left out"),
        "{details}"
    );
    assert_eq!(bodies[2]["dedup_key"].as_str().unwrap().len(), 64, "hashed");
    assert_eq!(bodies[3]["dedup_key"], "fleet");
    assert_eq!(bodies[3]["payload"]["severity"], "critical");
    let summary = bodies[4]["payload"]["summary"].as_str().unwrap();
    assert!(summary.ends_with(": failed"), "{summary}");
}

#[test]
fn rejections_by_pagerduty_are_quoted() {
    let (server, _) = pagerduty::start();
    let config = service(&pagerduty_keys(&server, "")).with("routing_key = canary-of-nobody");
    let refused = send_with(&config, FAILED);
    refused.expect_line(69, &["1 dead", "400 Bad Request: 'routing_key' is invalid"]);
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    for (keys, problem) in [
        (
            "type = pagerduty\n",
            "[notifier:service] has no `routing_key`",
        ),
        (
            "type = pagerduty\nrouting_key = x\nregion = mars\n",
            "`region` must be `us` or `eu`, not `mars`",
        ),
        (
            "type = pagerduty\nrouting_key = x\nseverity = bad\n",
            "`severity` must be `critical`, `error`",
        ),
        (
            "type = pagerduty\nrouting_key = x\ndedup_key = {{ hots }}\n",
            "unknown variable `hots`",
        ),
    ] {
        send(keys, FAILED).expect_warning(78, &[problem]);
    }
}

#[test]
fn the_region_decides_who_is_asked() {
    for (more, host) in [
        ("", "events.pagerduty.com"),
        ("region = eu\n", "events.eu.pagerduty.com"),
    ] {
        let config =
            format!("[notifier:service]\ntype = pagerduty\nrouting_key = canary-key\n{more}");
        let sandbox = Sandbox::with_config(&config);
        let shown =
            sandbox.run_with_input(&["send", "--dry-run", "-"], run_end("r", "error", None));
        let first = format!("POST https://{host}/v2/enqueue\n");
        assert!(shown.stdout.contains(&first), "{shown:?}");
        assert!(!shown.stdout.contains("canary"), "{shown:?}");
    }
}

fn twilio_keys(server: &Server, more: &str) -> String {
    let (url, account) = (server.at(""), twilio::ACCOUNT);
    format!("type = twilio\napi_url = {url}\naccount_sid = {account}\n{more}")
}

/// The account's token, a sender and two recipients.
const TEXTED: &str = "auth_token = canary-twilio-token\nfrom_number = +15005550006\nto_numbers = +4915100000001, +4915100000002\n";

#[test]
fn every_telephone_gets_its_text() {
    let server = twilio::start();
    send(&twilio_keys(&server, TEXTED), FAILED).expect(0, &delivered(1));
    let by_key = "api_key_sid = SK0123456789abcdef\napi_key_secret = canary-twilio-secret\n\
                  messaging_service_sid = MG1\nto_numbers = +4915100000001\nmessage = {{ reason }}: {{ '😀' * 1000 }}\n";
    send(&twilio_keys(&server, by_key), FAILED).expect(0, &delivered(1));
    let forms: Vec<_> = server.requests().iter().map(twilio::form).collect();
    let field = |index: usize, name: &str| forms[index].get(name).map(String::as_str);
    assert_eq!(field(0, "To"), Some("+4915100000001"));
    assert_eq!(field(1, "To"), Some("+4915100000002"));
    assert_eq!(field(0, "From"), Some("+15005550006"));
    assert_eq!(field(0, "Body"), Some("web1: Install: failed"));
    assert_eq!(field(2, "MessagingServiceSid"), Some("MG1"));
    assert_eq!(field(2, "From"), None);
    let text = field(2, "Body").unwrap();
    assert!(
        text.starts_with("web1: Install: failed\nno space left: 😀") && text.ends_with("😀 […]")
    );
}

#[test]
fn a_recipient_of_a_text_gets_no_second_one() {
    let refused = AtomicBool::new(false);
    let server = Server::answering(move |request| {
        let is_first = twilio::form(request)["To"].ends_with('1');
        if is_first || refused.swap(true, Ordering::Relaxed) {
            return twilio::accepted();
        }
        twilio::refusal(429, 20429, "Too many requests")
    });
    send(&twilio_keys(&server, TEXTED), FAILED).expect(0, &delivered(1));
    let numbers = server.requests();
    let numbers = numbers
        .iter()
        .map(|request| twilio::form(request)["To"].clone());
    let numbers: Vec<String> = numbers.collect();
    assert_eq!(
        numbers,
        ["+4915100000001", "+4915100000002", "+4915100000002"]
    );
}

#[test]
fn rejections_by_twilio_are_quoted() {
    let server = twilio::start();
    let config = service(&twilio_keys(&server, TEXTED));
    let numbers = format!("to_numbers = +4915100000001, {}", twilio::OPTED_OUT);
    let refused = send_with(&config.clone().with(&numbers), FAILED);
    let said = "1 of 2 not reached: +4915111111111: 400 Bad Request: Attempt to send to unsubscribed recipient (21610)";
    refused.expect_line(69, &["1 dead", said]);
    let refused = send_with(&config.with("auth_token = canary-wrong"), FAILED);
    refused.expect_line(75, &["1 pending", "401 Unauthorized: Authenticate (20003)"]);
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
    for (more, problem) in [
        ("from_number = 1\nto_numbers = 2\n", "has no `auth_token`"),
        (
            "auth_token = abcd\nto_numbers = 2\n",
            "has no `from_number`",
        ),
        (
            "auth_token = abcd\nfrom_number = 1\n",
            "has no `to_numbers`",
        ),
        (
            "api_key_sid = SK\nfrom_number = 1\nto_numbers = 2\n",
            "has no `api_key_secret`",
        ),
        (
            "api_key_secret = abcd\nfrom_number = 1\nto_numbers = 2\n",
            "has no `api_key_sid`",
        ),
        (
            "auth_token = abcd\nfrom_number = 1\nmessaging_service_sid = MG\nto_numbers = 2\n",
            "keep one of them",
        ),
    ] {
        send(&twilio_keys(&server, more), FAILED).expect_warning(78, &[problem]);
    }
}

fn grafana_keys(server: &Server, more: &str) -> String {
    format!("type = grafana\nurl = {}\n{more}", server.at(grafana::PATH))
}

#[test]
fn an_annotation_spans_the_run() {
    let server = grafana::start();
    let token = format!("token = {}\n", grafana::TOKEN);
    let keys = grafana_keys(
        &server,
        &format!("{token}dashboard_uid = jcIIG-07z\npanel_id = 0\ntags = deploy, web\n"),
    );
    send(&keys, &run_end("r1", "error", None)).expect(0, &delivered(1));
    let basic = "username = admin\npassword = canary-admin\ndashboard_id = 7\nmessage = <b>{{ reason }}</b>\n  {{ host }}\n";
    let event = FAILED
        .replace("no space left", "<script>")
        .replace("web1", "<i>");
    send(
        &grafana_keys(&server, basic),
        &event.replace("{\"state\"", "{\"duration\":0.5,\"state\""),
    )
    .expect(0, &delivered(1));
    let bodies = server.bodies();
    let end = 1_795_207_321_500_i64;
    let expected = json!({
        "dashboardUID": "jcIIG-07z", "panelId": 0, "tags": ["deploy", "web"], "time": end - 2500, "timeEnd": end,
        "text": "site.yml failed<br>1 host, 0 changed, 0 failed, in 2.5 s",
    });
    assert_eq!(bodies[0], expected);
    assert_eq!(
        bodies[1]["text"],
        "&lt;i&gt;: Install: failed<br><b>&lt;script&gt;</b><br>&lt;i&gt;"
    );
    assert_eq!(
        bodies[1]["timeEnd"].as_i64().unwrap() - bodies[1]["time"].as_i64().unwrap(),
        500
    );
    assert_eq!(
        (&bodies[1]["dashboardId"], &bodies[1]["tags"]),
        (&json!(7), &json!(["ansible"]))
    );
}

#[test]
fn what_grafana_refuses_is_said_in_its_words() {
    let server = grafana::start();
    let token = format!("token = {}\n", grafana::TOKEN);
    let unknown = grafana_keys(&server, &format!("{token}dashboard_uid = other\n"));
    send(&unknown, FAILED).expect_line(69, &["1 dead", "404 Not Found: Dashboard not found"]);
    let refused = send(&grafana_keys(&server, "token = canary-wrong\n"), FAILED);
    refused.expect_line(75, &["1 pending", "401 Unauthorized: Invalid API key"]);
    for (more, problem) in [
        ("", "[notifier:service] has no `token`"),
        (
            "token = abcd\npanel_id = 1\n",
            "`panel_id` requires `dashboard_uid`",
        ),
        (
            "token = abcd\ndashboard_id = abc\n",
            "`dashboard_id` must be a whole number, not `abc`",
        ),
        (
            "token = abcd\ndashboard_id = 1\ndashboard_uid = a\n",
            "keep one of them",
        ),
    ] {
        send(&grafana_keys(&server, more), FAILED).expect_warning(78, &[problem]);
    }
}
