//! Templates are tried out on the page: as people would see the message, and without effect.

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::Sandbox;
use crate::sandbox::page::Served;
use crate::server::{Reply, Server, dead_url};

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
            json!({"message": "hosst: \n{{ host }}\n{% if changed or host %}{{ hosst }}{% endif %}"}),
            "message",
            Some(3),
            "unknown variable `hosst`; did you mean `hosts`? (line 3)",
        ),
        (
            json!({"message": "{{ host | upper }}\n{{ 'nofilter' | nofilter }}"}),
            "message",
            Some(2),
            "no filter `nofilter` exists",
        ),
        (
            json!({"message": "{{ host is defined }}\n\n{{ host is not notest }}"}),
            "message",
            Some(3),
            "no test `notest` exists",
        ),
        (
            json!({"body": "{\n\"text\": \"{{ host }}\",\n\"b\": \"x {{ hosst }}\"}"}),
            "body",
            Some(3),
            "unknown variable `hosst`",
        ),
        (
            json!({"body": "{\n\"text\": \"a\\nb {{ host | nofilter }}\"}"}),
            "body",
            Some(2),
            "no filter `nofilter` exists",
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

/// A run that failed on `db1` at this time, with its records and a `url` on the page.
fn failing(id: &str, time: u32, task: &str) -> String {
    let event = json!({"seq": 1, "event": "runner_on_failed", "time": time, "play": "p", "task": "1",
        "host": {"name": "db1", "address": "192.0.2.7"},
        "result": {"msg": format!("{task} went wrong"), "rc": 3}});
    let stats = json!({"db1": {"ok": 0, "failures": 1}});
    let lines = [
        json!({"hello": {"protocol": 1, "run": {"id": id, "playbook": "site.yml", "path": "/srv/site.yml"}}}),
        json!({"play": {"id": "p", "name": "databases"}}),
        json!({"task": {"id": "1", "name": task, "path": "/srv/site.yml:21", "action": "command", "tags": ["db"]}}),
        json!({"event": event}),
        json!({"event": {"seq": 2, "event": "playbook_on_stats", "time": time + 1, "result": {"stats": stats}}}),
        json!({"end": {"reason": "exit", "code": 2}}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn configure_chat(sandbox: &Sandbox, url: &str) {
    let config = format!(
        "[delivery]\ndrain = 5s\n[page]\nurl = http://page.example\n\
         [notifier:chat]\ntype = mattermost\nurl = {url}\non = failed, error\n"
    );
    sandbox.file("plugin_config.ini", config);
}

#[test]
fn the_newest_event_is_that_of_the_newest_run_and_says_what_it_lacks() {
    let sandbox = Sandbox::new();
    configure_chat(&sandbox, &dead_url());
    run(
        &sandbox,
        &["stream"],
        &failing("r-old", 1_700_000_000, "migrate"),
    );
    let served = Served::start(&sandbox, &[]);
    let message = "{{ task_name }}|{{ task_path }}|{{ play_name }}|{{ reason }}|{{ event.host.address }}|{{ url }}";
    let about = |event: &str| {
        let draft = shown(&served, 1, &json!({"event": event, "message": message}));
        (draft["text"].as_str().unwrap().to_owned(), draft)
    };
    let (text, draft) = about("failed");
    assert_eq!(
        text,
        "migrate|/srv/site.yml:21|databases|migrate went wrong|192.0.2.7|http://page.example/runs/r-old/results/1",
        "its text is still in the spool"
    );
    assert_eq!(
        (&draft["source"], &draft["missing"], &draft["note"]),
        (&json!("stored"), &json!([]), &Value::Null)
    );

    // Of a newer run, everything was delivered, so that no text is kept.
    let server = Server::start([Reply::Full(200, "", "ok")]);
    configure_chat(&sandbox, &server.url());
    run(&sandbox, &["discard", "1"], "");
    run(&sandbox, &["discard", "2"], "");
    run(
        &sandbox,
        &["stream"],
        &failing("r-new", 1_700_000_600, "restart"),
    );
    assert_eq!(server.requests().len(), 2);
    let (text, draft) = about("failed");
    assert_eq!(
        text,
        "restart|/srv/site.yml:21|databases|restart went wrong||http://page.example/runs/r-new/results/1"
    );
    assert_eq!(draft["source"], "recorded", "{draft}");
    let note = draft["note"].as_str().unwrap();
    assert!(
        note.contains("Not recorded, so empty here: vars, host.vars, host.address"),
        "{note}"
    );
    assert!(
        draft["missing"]
            .as_array()
            .unwrap()
            .contains(&json!("task.tags"))
            && !draft["missing"]
                .as_array()
                .unwrap()
                .contains(&json!("result")),
        "{draft}"
    );
    // What is shown is what was sent, as far as it is recorded.
    let sent = server.requests()[0].json();
    let shown_now = shown(&served, 1, &json!({"event": "failed"}));
    let request = shown_now["request"].as_str().unwrap();
    let (_, body) = request.split_once("\n\n").unwrap();
    let now: Value = serde_json::from_str(body).unwrap();
    assert_eq!(now["attachments"], sent["attachments"]);

    let (_, draft) = about("error");
    assert!(
        draft["event"]
            .as_str()
            .unwrap()
            .contains("\"id\": \"r-new-end\""),
        "{draft}"
    );
    let whole = shown(&served, 1, &json!({"event": "error"}));
    let reason = "db1: restart (/srv/site.yml:21): restart went wrong";
    assert!(whole["text"].as_str().unwrap().contains(reason), "{whole}");
    let old = shown(&served, 1, &json!({"run": "r-old"}));
    assert!(
        old["event"]
            .as_str()
            .unwrap()
            .contains("\"id\": \"r-old-end\""),
        "{old}"
    );
    let sample = shown(&served, 1, &json!({"event": "recovered"}));
    assert_eq!(sample["source"], "sample");
}

#[test]
fn a_recovery_is_a_good_run_after_a_failed_one() {
    let sandbox = Sandbox::new();
    let server = Server::start([Reply::Full(200, "", "ok")]);
    configure_chat(&sandbox, &server.url());
    let good = |id: &str, time: u32| {
        let records = failing(id, time, "restart").replace("runner_on_failed", "runner_on_ok");
        records
            .replace("\"failures\":1", "\"failures\":0")
            .replace("\"code\":2", "\"code\":0")
    };
    run(
        &sandbox,
        &["stream"],
        &failing("r-1", 1_700_000_000, "restart"),
    );
    run(&sandbox, &["stream"], &good("r-2", 1_700_000_600));
    run(&sandbox, &["stream"], &good("r-3", 1_700_001_200));
    let served = Served::start(&sandbox, &[]);
    for (trigger, id) in [
        ("recovered", "r-2-end"),
        ("success", "r-3-end"),
        ("error", "r-1-end"),
        ("ok", "r-3-1"),
    ] {
        let draft = shown(&served, 1, &json!({"event": trigger}));
        let event: Value = serde_json::from_str(draft["event"].as_str().unwrap()).unwrap();
        assert_eq!(event["id"], id, "{trigger}");
    }
}

#[test]
fn a_template_that_the_kind_does_not_use_is_a_problem() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &[]);
    for message in ["{{ host }}", "{{ reason "] {
        let wish = json!({"message": message, "event": "failed"});
        let hook = hook(&served);
        let draft = shown(&served, hook, &json!({"message": "", "subject": ""}));
        assert_eq!(draft["problems"], json!([]));
        let draft = shown(&served, hook, &wish);
        let expected = json!([{"field": "message", "line": null,
            "text": "`message` has no effect in a notifier of type webhook; it takes `body`"}]);
        assert_eq!(draft["problems"], expected, "{draft}");
        let page = served.get(&format!("/notifiers/{hook}/preview")).body;
        assert!(
            page.contains("name=\"body\"") && !page.contains("name=\"message\""),
            "{page}"
        );
    }
}

/// The number of the webhook among the notifiers.
fn hook(served: &Served) -> u8 {
    let all = served.get("/api/v1/notifiers").json();
    let all = all["notifiers"].as_array().unwrap().iter();
    let found = all
        .clone()
        .find(|notifier| notifier["name"] == "hook")
        .unwrap();
    u8::try_from(found["id"].as_u64().unwrap()).unwrap()
}
