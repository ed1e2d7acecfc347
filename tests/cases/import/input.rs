//! Exports in every form, complete or not.

use serde_json::json;

use super::{checked, expect_no_canary, expect_said, import, run_with, template, variables};
use crate::cases::services::run_end;
use crate::sandbox::Sandbox;
use crate::server::Server;

#[test]
fn every_form_of_the_input_is_read() {
    let sandbox = Sandbox::new();
    let one = |name: &str| {
        template(
            name,
            "slack",
            json!({"token": "$encrypted$", "channels": ["ops"]}),
        )
    };
    let page =
        |name: &str| json!({"count": 2, "next": null, "previous": null, "results": [one(name)]});
    let yaml = "notification_templates:\n- name: a\n  notification_type: slack\n  notification_configuration:\n    \
                channels:\n    - '#ops'\n    token: ''\n  messages:\n    error:\n      message: 'it''s #1: {{ job.id }}'\n";
    for (text, names) in [
        (one("a").to_string(), "a"),
        (json!([one("a"), one("b")]).to_string(), "a b"),
        (format!("{}\n{}\n", one("a"), one("b")), "a b"),
        (format!("{:#}{:#}", page("a"), page("b")), "a b"),
        (format!("{}{}", page("a"), page("a")), "a"),
        (yaml.to_owned(), "a"),
    ] {
        let outcome = sandbox.run_with_input(&["import", "awx", "-"], &text);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let sections = outcome
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("[notifier:"));
        let found: Vec<&str> = sections.map(|rest| rest.trim_end_matches(']')).collect();
        assert_eq!(found.join(" "), names, "{text}");
        checked(&sandbox, &outcome.stdout);
    }
    for (text, said) in [
        (
            "{\"notification_templates\": [",
            "not JSON: EOF while parsing",
        ),
        ("no: [yaml", "neither JSON nor YAML"),
        ("hello", "no `awx export`"),
        ("", "no `awx export`"),
        ("{}", "no `awx export`"),
        (
            "{\"notification_templates\": []}",
            "contain no notification template",
        ),
        (
            "{\"count\": 0, \"results\": []}",
            "contain no notification template",
        ),
    ] {
        let outcome = sandbox.run_with_input(&["import", "awx", "-"], text);
        outcome.expect_line(65, &[said]);
        assert_eq!(outcome.stdout, "");
    }
    let file = sandbox.file("a.json", one("a").to_string());
    let (file, output) = (file.to_str().unwrap(), "out.ini");
    sandbox
        .run(&["import", "awx", file, "missing.json"])
        .expect_line(66, &["`missing.json`: cannot be read"]);
    assert_eq!(sandbox.run(&["import", "awx", file, "-o", output]).code, 0);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &sandbox.path(output).metadata().unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let written = std::fs::read_to_string(sandbox.path(output)).unwrap();
    let again = sandbox.run(&["import", "awx", file, "-o", output]);
    again.expect_line(74, &["`out.ini` already exists, left unchanged"]);
    assert_eq!(
        std::fs::read_to_string(sandbox.path(output)).unwrap(),
        written
    );
}

#[test]
fn incomplete_notifiers_become_comments() {
    let sandbox = Sandbox::new();
    let values = json!({"host": "mail", "port": "x", "sender": "a@example.com", "recipients": ["ops@example.com"]});
    let export = json!({"notification_templates": [
        template("pigeon", "carrier", json!({"coop": 7})),
        template("slack", "slack", json!({"token": "xoxb-canary", "channels": []})),
        template("mail", "email", values),
        template("hook", "webhook", json!({
            "url": "https://ops:canary@h.example.com/", "headers": {"Host": "x", "X A": "b", "X-B": "1"}, "extra": 1,
        })),
        {"notification_type": "slack"},
    ]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    expect_said(
        &outcome,
        &[
            "pigeon: not active: AWX's kind `carrier` has no counterpart\n",
            "pigeon: AWX's `coop` has no counterpart.\n",
            "slack: not active: [notifier:slack] has no `channels`\n",
            "mail: `port` is left out: `port` must be a whole number from 1 to 65535, not `x`\n",
            "hook: `header.Host` is left out: the header `Host` is set by the program itself\n",
            "hook: The header `X A` is left out: no key can have its name.\n",
            "hook: AWX's `extra` has no counterpart.\n",
            "awx: not active: [notifier:awx] has no `channels`\n",
        ],
    );
    expect_no_canary(&outcome);
    assert!(
        config.contains("\n#[notifier:slack]\n#type = slack\n"),
        "{config}"
    );
    let shown = checked(&sandbox, &config);
    assert_eq!(
        shown["notifiers"],
        json!([
            {"name": "hook", "type": "webhook", "timing": []},
            {"name": "mail", "type": "email", "timing": []},
        ])
    );
    let mut body = template(
        "body",
        "webhook",
        json!({
            "url": "https://h.example.com/", "headers": {"X-Token": "canary-7x", "X-Lines": "a\nb"},
        }),
    );
    body["description"] = json!("the token is canary-7x");
    let at_the_top = json!({"routing_key": "canary-top", "a": "{{ job.id }}"}).to_string();
    let deeper = json!({"deep": {"api_key": "canary"}}).to_string();
    body["messages"] = json!({"success": {"body": at_the_top}, "error": {"body": deeper}});
    let approval = template(
        "approval",
        "slack",
        json!({"token": "", "channels": ["ops"]}),
    );
    let resource = json!({"name": "flow", "related": {"notification_templates_approvals": [{"name": "approval"}]}});
    let export =
        json!({"notification_templates": [body, approval], "workflow_job_templates": [resource]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    expect_said(
        &outcome,
        &[
            "body-error: not active: `body` had a secret in clear text, which is not written\n",
            "`header.X-Lines` is left out: it has several lines or a control character\n",
            "approval: Approvals of workflow job template `flow` have no counterpart.\n",
            "approval: It is muted: AWX uses it only for approvals.\n",
        ],
    );
    expect_no_canary(&outcome);
    let values = checked(&sandbox, &config)["values"].to_string();
    assert!(values.contains("body.routing_key_env"), "{config}");
    let event = run_end("r1", "success", None);
    sandbox.file("event.json", event);
    let server = Server::start([crate::server::OK]);
    sandbox.file(
        "imported.ini",
        config.replace("https://h.example.com/", &server.url()),
    );
    let arguments = ["send", "--wait", "--config", "imported.ini", "event.json"];
    assert_eq!(run_with(&sandbox, &arguments, &variables(&config)).code, 0);
    let routed =
        json!({"routing_key": "canary-ANSIBLE_NOTIFY_BODY_SUCCESS_ROUTING_KEY", "a": "r1"});
    assert_eq!(server.bodies(), [routed]);
    // Even a file without an active notifier is valid.
    let alone = json!([template("slack", "slack", json!({}))]);
    let (outcome, config) = import(&sandbox, &alone);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    checked(&sandbox, &config);
}

#[test]
fn values_and_names_survive_as_they_are() {
    let sandbox = Sandbox::new();
    let odd = "50% \"off\" 'it' = #1;2 \\n [x] ü日";
    let message = "# no comment\n\n  ; {{ job.name }} = \"50%\" \\n\n[inputs]\nurl = x";
    let mut mail = template(
        "Ops [x]\n[inputs]",
        "email",
        json!({
            "host": "mail", "sender": "a@example.com", "recipients": ["b@example.com"],
        }),
    );
    mail["messages"] = json!({"error": {"message": odd, "body": message}, "success": {"message": odd, "body": message}});
    let mattermost = template(
        "Ops x (inputs)",
        "mattermost",
        json!({
            "mattermost_url": "$encrypted$", "mattermost_username": odd,
        }),
    );
    let slack = template(
        "日本",
        "slack",
        json!({"token": "$encrypted$", "channels": ["#ops", "C1,171.5"]}),
    );
    let export = json!({"notification_templates": [mail, mattermost, slack]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let shown = checked(&sandbox, &config);
    let value = |section: &str, key: &str| {
        let values = shown["values"].as_array().unwrap();
        let found = values
            .iter()
            .find(|one| one["section"] == section && one["key"] == key);
        found.unwrap_or_else(|| panic!("no {key} in {shown:#}"))["value"].clone()
    };
    assert_eq!(value("notifier:ops-x-inputs", "subject"), odd);
    assert_eq!(value("notifier:ops-x-inputs", "message"), message);
    assert_eq!(value("notifier:ops-x-inputs-2", "username"), odd);
    assert_eq!(value("notifier:日本", "channels"), "#ops, C1/171.5");
}
