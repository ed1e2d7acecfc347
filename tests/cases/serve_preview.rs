//! Templates are tried out on the page: as people would see the message, and without effect.

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::Sandbox;
use crate::sandbox::page::Served;
use crate::server::dead_url;

/// A spool with a failure of a task, for a chat with a secret address, a mail and a webhook.
fn spooled() -> Sandbox {
    let sandbox = Sandbox::new();
    let url = dead_url();
    let text = format!(
        "[delivery]\ndrain = 500ms\n\
         [notifier:chat]\ntype = slack\nurl = {url}services/T0/B0/canary-secret\non = failed\n\
         message = *{{{{ host }}}}*: {{{{ reason }}}}\n\
         [notifier:mail]\ntype = email\nhost = 127.0.0.1\nport = 1\nencryption = none\n\
         from = a@example.com\nto = b@example.com\non = failed\n\
         [notifier:hook]\ntype = webhook\nurl = {url}\non = failed\n"
    );
    sandbox.file("plugin_config.ini", text);
    let event =
        r#"{"state":"failed","host":"web1","task":"install <b>","result":{"msg":"no & room"}}"#;
    run(&sandbox, &["send", "-"], &format!("{event}\n"));
    sandbox
}

fn ask(served: &Served, id: u8, wish: &Value) -> (u16, Value) {
    let path = format!("/api/v1/notifiers/{id}/preview");
    let answer = served.ask("POST", &path, &served.allowed(), &wish.to_string());
    (answer.status, answer.json())
}

#[track_caller]
fn shown(served: &Served, id: u8, wish: &Value) -> Value {
    let (status, draft) = ask(served, id, wish);
    assert_eq!(status, 200, "{draft}");
    draft
}

#[test]
fn a_message_is_shown_as_the_templates_give_it() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &["--read-only"]);
    let draft = shown(&served, 1, &json!({}));
    assert_eq!(draft["text"], "*web1*: no & room");
    assert_eq!(draft["subject"], "web1: install <b>: failed");
    assert_eq!(
        (&draft["kind"], &draft["level"]),
        (&json!("slack"), &json!("error"))
    );
    assert_eq!(draft["problems"], json!([]));
    let request = draft["request"].as_str().unwrap();
    assert!(request.contains("no &amp; room"), "{request}");
    assert!(!draft.to_string().contains("canary"), "{draft}");

    let wish = json!({"subject": "{{ host }} is ill", "message": ""});
    let draft = shown(&served, 1, &wish);
    assert_eq!(
        (&draft["subject"], &draft["text"]),
        (&json!("web1 is ill"), &json!("no & room"))
    );
    let draft = shown(&served, 2, &json!({"body": "{\"text\": \"{{ reason }}\"}"}));
    assert_eq!(draft["subject"], Value::Null);
    assert!(
        draft["request"]
            .as_str()
            .unwrap()
            .ends_with("{\"text\":\"no & room\"}"),
        "{draft}"
    );

    let page = served.get("/notifiers/1/preview").body;
    assert!(
        page.contains("*{{ host }}*: {{ reason }}</textarea>"),
        "{page}"
    );
    assert!(!page.contains("canary"), "{page}");
    let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
    assert!(config.contains("message = *{{ host }}*"), "{config}");
    assert_eq!(served.get("/api/v1/actions").json()["actions"], json!([]));
}

#[test]
fn a_mistake_names_its_field_and_line() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &[]);
    for (wish, field, line, text) in [
        (
            json!({"message": "a\n{{ 1 + }}"}),
            "message",
            Some(2),
            "unexpected",
        ),
        (
            json!({"subject": "{{ hosst }}"}),
            "subject",
            None,
            "did you mean",
        ),
        (
            json!({"message": "a\nb\n{{ 1 // 0 }}"}),
            "message",
            Some(3),
            "1 // 0",
        ),
        (json!({"body": "{\"a\": }"}), "body", None, "`body`"),
        (
            json!({"message": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"}),
            "message",
            None,
            "`message` failed",
        ),
    ] {
        let draft = shown(&served, 1, &wish);
        let problem = &draft["problems"][0];
        assert_eq!(
            (&problem["field"], &problem["line"]),
            (&json!(field), &json!(line)),
            "{draft}"
        );
        assert!(problem["text"].as_str().unwrap().contains(text), "{draft}");
        assert!(
            draft["request"].is_string() && draft["text"].is_string(),
            "{draft}"
        );
    }
}

#[test]
fn the_event_is_stored_recorded_a_sample_or_ones_own() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &[]);
    let about = |event: Value| {
        let draft = shown(
            &served,
            1,
            &json!({"event": event, "message": "{{ host }}|{{ state }}|{{ status }}"}),
        );
        draft["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(about(json!("failed")), "web1|failed|");
    assert_eq!(
        about(json!({"state": "failed", "host": "mine"})),
        "mine|failed|"
    );
    let sample = shown(&served, 1, &json!({"event": "recovered"}));
    assert!(
        sample["subject"].as_str().unwrap().starts_with("Test: "),
        "{sample}"
    );
    let records = concat!(
        r#"{"hello": {"protocol": 1, "run": {"id": "r-1", "playbook": "site.yml"}}}"#,
        "\n",
        r#"{"play": {"id": "p", "name": "web"}}"#,
        "\n",
        r#"{"task": {"id": "1", "name": "start"}}"#,
        "\n",
        r#"{"event": {"seq": 1, "event": "runner_on_failed", "time": 1700000000, "play": "p", "task": "1", "host": {"name": "db1"}, "result": {"msg": "gone"}}}"#,
        "\n",
        r#"{"event": {"seq": 2, "event": "playbook_on_stats", "time": 1700000001, "result": {"stats": {"db1": {"failures": 1}}}}}"#,
        "\n",
        r#"{"end": {"reason": "exit", "code": 2}}"#,
        "\n",
    );
    run(&sandbox, &["stream"], records);
    assert_eq!(
        about(json!("error")),
        "||error",
        "the end of the run is only recorded"
    );
    let draft = shown(&served, 1, &json!({"run": "r-1"}));
    assert_eq!(draft["subject"], "site.yml failed", "{draft}");
    assert!(
        draft["event"].as_str().unwrap().contains("\"db1\""),
        "{draft}"
    );
    for (wish, status, reason) in [
        (
            json!({"event": {"no": 1}}),
            409,
            "the event is not an event",
        ),
        (json!({"event": "no"}), 409, "unknown trigger `no`"),
        (json!({"run": "r-9"}), 404, "there is no run `r-9`"),
        (json!({"event": "failed", "run": "r-1"}), 400, "not both"),
        (
            json!({"url": "http://evil.example"}),
            400,
            "unknown field `url`",
        ),
        (
            json!({"message": "x".repeat(70_000)}),
            400,
            "at most 65536 bytes",
        ),
    ] {
        let (found, answer) = ask(&served, 1, &wish);
        assert_eq!(found, status, "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(reason),
            "{answer}"
        );
    }
    assert_eq!(ask(&served, 9, &json!({})).0, 404);
}

#[test]
fn a_mail_is_shown_in_a_frame_that_runs_nothing() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &[]);
    let body = "<script>alert(1)</script><p style=\"color: red\">{{ task_name }}</p>";
    let draft = shown(&served, 3, &json!({"body": body}));
    let frame = served.get(draft["mail"].as_str().unwrap());
    assert_eq!(frame.status, 200);
    assert!(frame.body.contains("install &lt;b&gt;</p>"), "{frame:?}");
    let policy = frame.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'unsafe-inline'; sandbox;"),
        "{policy}"
    );
    let refused = served.ask("GET", draft["mail"].as_str().unwrap(), &served.host(), "");
    assert_eq!(refused.status, 401);
    assert_eq!(served.get("/mails/77").status, 404);
}

#[test]
fn nobody_else_can_try_a_template() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &[]);
    let path = "/api/v1/notifiers/1/preview";
    assert_eq!(served.ask("POST", path, &served.host(), "{}").status, 401);
    for origin in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: http://evil.example\r\n",
    ] {
        let headers = format!("{}{origin}", served.allowed());
        assert_eq!(served.ask("POST", path, &headers, "{}").status, 403);
    }
    assert_eq!(served.get(path).status, 404);
    for template in [
        "{% include '/etc/passwd' %}",
        "{% import '/etc/passwd' as x %}{{ x }}",
    ] {
        let draft = shown(&served, 1, &json!({"message": template}));
        assert!(!draft.to_string().contains("root:"), "{draft}");
        assert_ne!(draft["problems"], json!([]), "{draft}");
    }
}
