//! Secrets in texts and headers.

use serde_json::json;

use super::{checked, import, run_with, template, variables};
use crate::cases::services::run_end;
use crate::sandbox::Sandbox;
use crate::server::Server;

#[test]
fn secrets_in_texts_are_not_written() {
    let sandbox = Sandbox::new();
    let slack = |name: &str, message: &str| {
        let mut slack = template(name, "slack", json!({"token": "", "channels": ["ops"]}));
        slack["messages"] = json!({"error": {"message": message}});
        slack
    };
    let mut hook = template(
        "hook",
        "webhook",
        json!({"url": "https://h.example.com/", "headers": {"X-Note": "Bearer CANARY17abcdefgh"}}),
    );
    let body = json!({"header": "Bearer CANARY17zyx", "a": "{{ job.id }}"}).to_string();
    hook["messages"] = json!({"success": {"body": body}, "error": {"body": body}});
    let mut odd = hook.clone();
    odd["name"] = "odd".into();
    odd["messages"]["error"]["body"] =
        json!({"a": "{{ nobody.knows }}", "header": "Bearer CANARY17xyz"})
            .to_string()
            .into();
    let mut deep = hook.clone();
    deep["name"] = "deep".into();
    let body = json!({"deep": {"header": "Bearer CANARY17xyz", "n": "{{ job.id }}"}}).to_string();
    deep["messages"] = json!({"success": {"body": body}, "error": {"body": body}});
    let export = json!({"notification_templates": [
        slack("named", "password: CANARY18 token=CANARY19 curl -u u:CANARY20"),
        slack("address", "https://u:CANARY21@h/ Authorization: Bearer CANARY20abcdefgh"),
        slack("unknown", "{{ nobody.knows }} password: CANARY22"),
        slack("mixed", "{{ job.name }}: token=\"CANARY23 CANARY\" and {{ job.id }}"),
        slack("fine", "{{ job.name }}: {{ job.status }}, token {{ job.id }}"),
        hook, odd, deep,
    ]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    for text in [&config, &outcome.stderr] {
        assert!(!text.contains("CANARY"), "{text}");
    }
    for name in ["named", "address", "mixed", "deep"] {
        let said = format!(
            "{name}: not active: `body` had a secret in clear text, which is not written\n"
        );
        assert!(outcome.stderr.contains(&said), "no {said} in {outcome:?}");
    }
    let shown = checked(&sandbox, &config);
    let values = shown["values"].to_string();
    for key in ["header.X-Note_env", "body.header_env"] {
        assert!(values.contains(key), "no {key} in {config}");
    }
    let active: Vec<&str> = shown["notifiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    for name in ["fine", "hook", "unknown"] {
        assert!(active.contains(&name), "no {name} in {active:?}");
    }
}

#[test]
fn an_ordinary_header_hides_nothing_elsewhere() {
    let sandbox = Sandbox::new();
    let headers = json!({
        "X-Note": "{{ job.id }}", "X-Job-Token": "{{ job.id }}", "X-Auth-Mode": "production", "X-Team": "ops",
        "X-Api-Key": "canary-9f8e7d6c",
    });
    let hook = template(
        "hook",
        "webhook",
        json!({"url": "https://h.example.com/", "headers": headers}),
    );
    let slack = |name: &str, message: Option<&str>| {
        let mut slack = template(name, "slack", json!({"token": "", "channels": ["ops"]}));
        slack["messages"] = json!({"error": {"message": message}, "success": {"message": message}});
        slack
    };
    let export = json!({"notification_templates": [
        hook, slack("default", None), slack("words", Some("production: {{ job.id }}")),
        slack("same", Some("see canary-9f8e7d6c")),
    ]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    for line in [
        "header.X-Note = {{ job.id }}\n",
        "header.X-Job-Token = {{ job.id }}\n",
        "header.X-Team = ops\n",
        "header.X-Auth-Mode_env = ANSIBLE_NOTIFY_HOOK_X_AUTH_MODE\n",
        "header.X-Api-Key_env = ANSIBLE_NOTIFY_HOOK_X_API_KEY\n",
        "#{{ job.id }} '{{ job.name }}' {{ job.status }}: {{ url }}\"",
        "production: {{ job.id }}",
        "\n[notifier:default]\n",
        "\n[notifier:words]\n",
        "\n#[notifier:same]\n",
    ] {
        assert!(config.contains(line), "no {line} in {config}");
    }
    let said = "same: not active: `body` had a secret in clear text (AWX's header `X-Api-Key`), which is not written\n";
    assert!(outcome.stderr.contains(said), "{outcome:?}");
    assert!(!config.contains("canary"), "{config}");
    checked(&sandbox, &config);
    let server = Server::start([crate::server::OK]);
    let (hook, _) = config.split_once("[notifier:default]").unwrap();
    sandbox.file(
        "imported.ini",
        hook.replace("https://h.example.com/", &server.url()),
    );
    sandbox.file("event.json", run_end("r1", "error", None));
    let arguments = ["send", "--wait", "--config", "imported.ini", "event.json"];
    let sent = run_with(&sandbox, &arguments, &variables(hook));
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(server.requests()[0].header("x-note"), Some("r1"));
}
