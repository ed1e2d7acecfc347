//! Every kind of AWX, and each moment of a job.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{checked, expect_said, form, import, run_with, template, variables};
use crate::cases::services::run_end;
use crate::sandbox::Sandbox;
use crate::server::certificates::certified_sandbox;
use crate::server::irc::{Inspircd, Reader};
use crate::server::smtp::Smtp;
use crate::server::{Reply, Request, Server};

/// The success reply of each service.
fn services(request: &Request) -> Reply {
    let said = |code, body: Value| crate::server::json(code, &body);
    match request.target.as_str() {
        "/slack/chat.postMessage" => said(200, json!({"ok": true, "channel": "C1", "ts": "1.2"})),
        "/mattermost" => Reply::Full(200, "", "ok"),
        "/rocketchat" => said(200, json!({"success": true})),
        "/pagerduty/v2/enqueue" => said(202, json!({"status": "success", "dedup_key": "x"})),
        "/grafana/api/annotations" => said(200, json!({"id": 1})),
        "/hipchat/v2/room/Ops/notification" => Reply::Full(204, "", ""),
        "/sns" => Reply::Full(200, "", "<MessageId>1</MessageId>"),
        target if target.starts_with("/twilio") => said(201, json!({"sid": "SM1"})),
        _ => Reply::Full(200, "", ""),
    }
}

/// Points kinds with a fixed address to a server.
fn redirected(config: &str, server: &Server) -> String {
    let kinds = ["slack", "pagerduty", "twilio"].map(|kind| (kind, format!("/{kind}")));
    let kinds = kinds.into_iter().chain([("awssns", "/sns".to_owned())]);
    kinds.fold(config.to_owned(), |config, (kind, path)| {
        let (plain, url) = (format!("type = {kind}\n"), server.at(&path));
        config.replace(&plain, &format!("{plain}api_url = {url}\n"))
    })
}

/// AWX's message about the run below.
const LINE: &str = "Job #r1 'site.yml' failed: ";

#[test]
fn all_eleven_kinds_send_what_awx_sends() {
    let sandbox = certified_sandbox();
    let server = Server::answering(services);
    let irc = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(irc.plain, "reader", &["JOIN #ops"]);
    let smtp = Smtp::start(&sandbox, &[]);
    let hook = json!({"text": "{{ job.name }}: {{ job.status }}", "id": "{{ job.id }}"});
    let mut webhook = template(
        "hook",
        "webhook",
        json!({
            "url": server.at("/hook"), "http_method": "PUT", "username": "awx", "password": "$encrypted$",
            "headers": {"X-Team": "ops", "X-Api-Key": "$encrypted$"}, "disable_ssl_verification": false,
        }),
    );
    webhook["messages"] = json!({"error": {"message": null, "body": hook.to_string()}});
    let mut email = template(
        "mail",
        "email",
        json!({
            "host": "localhost", "port": smtp.port(), "username": "", "password": "", "use_tls": false,
            "use_ssl": false, "sender": "awx@example.com", "recipients": ["ops@example.com", "b@example.com"],
            "timeout": 30,
        }),
    );
    email["messages"] = json!({"error": {"message": "{{ job.name }} broke", "body": "Status:\r\n\r\n  {{ job.status }}"}});
    let export = json!({"notification_templates": [
        template("slack", "slack", json!({"token": "", "channels": ["#ops", "dev"], "hex_color": ""})),
        template("slack colour", "slack", json!({"token": "", "channels": ["ops"], "hex_color": "#ff0000"})),
        template("mm", "mattermost", json!({
            "mattermost_url": server.at("/mattermost"), "mattermost_no_verify_ssl": false,
            "mattermost_channel": "town", "mattermost_username": "awx", "mattermost_icon_url": "https://x/i",
        })),
        template("rc", "rocketchat", json!({
            "rocketchat_url": server.at("/rocketchat"), "rocketchat_no_verify_ssl": false,
        })),
        template("pd", "pagerduty", json!({
            "service_key": "canary-in-the-export", "client_name": "AWX", "subdomain": "x", "token": "",
        })),
        template("tw", "twilio", json!({
            "account_sid": "AC1", "account_token": "", "from_number": "+1", "to_numbers": ["+2", "+3"],
        })),
        template("graf", "grafana", json!({
            "grafana_url": server.at("/grafana"), "grafana_key": "", "dashboardId": 0, "panelId": "7",
            "annotation_tags": ["ansible", "awx"], "grafana_no_verify_ssl": false, "isRegion": true,
        })),
        template("hip", "hipchat", json!({
            "token": "", "rooms": ["Ops"], "color": "purple", "api_url": server.at("/hipchat"),
            "notify": true, "message_from": "AWX",
        })),
        template("sns", "awssns", json!({
            "aws_region": "eu-central-1", "aws_access_key_id": "AKIA1", "aws_secret_access_key": "",
            "aws_session_token": "", "sns_topic_arn": "arn:aws:sns:eu-central-1:1:runs",
        })),
        template("irc", "irc", json!({
            "server": "localhost", "port": irc.plain, "nickname": "awx", "password": "", "use_ssl": false,
            "targets": ["#ops", "reader"],
        })),
        webhook, email,
    ]});
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for secret in [
        "canary-in-the-export",
        "AKIA1",
        "/mattermost",
        "/rocketchat",
    ] {
        assert!(!config.contains(secret), "{config}");
        assert!(!outcome.stderr.contains(secret), "{outcome:?}");
    }
    let shown = checked(&sandbox, &config);
    assert_eq!(shown["warnings"], json!([]));
    sandbox.file("imported.ini", redirected(&config, &server));
    let mut variables = variables(&config);
    for (name, path) in [("MM", "/mattermost"), ("RC", "/rocketchat")] {
        variables.insert(format!("ANSIBLE_NOTIFY_{name}_URL"), server.at(path));
    }
    sandbox.file("event.json", run_end("r1", "error", None));
    let arguments = ["send", "--wait", "--config", "imported.ini", "event.json"];
    let sent = run_with(&sandbox, &arguments, &variables);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(
        sent.stderr.ends_with("12 deliveries: all delivered\n"),
        "{sent:?}"
    );

    let requests = server.requests();
    let to = |path: &str| -> Vec<Request> {
        let requests = requests.iter().filter(|one| one.target.starts_with(path));
        requests.cloned().collect()
    };
    let bearer = |request: &Request, name: &str| {
        let expected = format!("Bearer canary-ANSIBLE_NOTIFY_{name}");
        assert_eq!(request.header("authorization"), Some(expected.as_str()));
    };
    let mut posts: Vec<(String, Value)> = to("/slack/chat.postMessage")
        .iter()
        .map(|request| (request.method.clone(), request.json()))
        .collect();
    posts.sort_by_key(|(_, body)| body.to_string());
    let posted = |body: Value| ("POST".to_owned(), body);
    assert_eq!(
        posts,
        [
            posted(json!({"attachments": [{"color": "#ff0000", "text": LINE}], "channel": "ops"})),
            posted(json!({"text": LINE, "channel": "dev"})),
            posted(json!({"text": LINE, "channel": "ops"})),
        ]
    );
    bearer(&to("/hipchat")[0], "HIP_TOKEN");
    bearer(&to("/grafana")[0], "GRAF_TOKEN");
    assert_eq!(
        to("/mattermost")[0].json(),
        json!({"text": LINE, "channel": "town", "username": "awx", "icon_url": "https://x/i"})
    );
    assert_eq!(to("/rocketchat")[0].json(), json!({"text": LINE}));
    assert_eq!(
        to("/hipchat")[0].json(),
        json!({
            "message": LINE, "message_format": "text", "color": "purple", "notify": true, "from": "AWX",
        })
    );
    let incident = to("/pagerduty")[0].json();
    assert_eq!(
        incident["routing_key"],
        "canary-ANSIBLE_NOTIFY_PD_ROUTING_KEY"
    );
    assert_eq!(incident["event_action"], "trigger");
    assert_eq!(incident["client"], "AWX");
    assert_eq!(incident["payload"]["summary"], LINE.trim());
    assert_eq!(incident["payload"]["custom_details"]["status"], "failed");
    let numbers = to("/twilio");
    assert_eq!(
        numbers[0].target,
        "/twilio/2010-04-01/Accounts/AC1/Messages.json"
    );
    let texts: Vec<_> = numbers.iter().map(|request| form(&request.body)).collect();
    let text = |number: &str| {
        let fields = [("To", number), ("From", "+1"), ("Body", LINE.trim())];
        BTreeMap::from(fields.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    assert_eq!(texts, [text("+2"), text("+3")]);
    assert_eq!(
        to("/grafana")[0].json(),
        json!({
            "dashboardId": 0, "panelId": 7, "tags": ["ansible", "awx"], "text": LINE.trim(),
            "time": 1_795_207_319_000_i64, "timeEnd": 1_795_207_321_500_i64,
        })
    );
    let topic = form(&to("/sns")[0].body);
    assert_eq!(topic["Action"], "Publish");
    assert_eq!(topic["TopicArn"], "arn:aws:sns:eu-central-1:1:runs");
    let message: Value = serde_json::from_str(&topic["Message"]).unwrap();
    assert_eq!(
        (&message["id"], &message["status"]),
        (&json!("r1"), &json!("failed"))
    );
    let hook = &to("/hook")[0];
    assert_eq!(hook.method, "PUT");
    assert_eq!(hook.header("content-type"), Some("application/json"));
    assert_eq!(hook.header("x-team"), Some("ops"));
    assert_eq!(
        hook.header("x-api-key"),
        Some("canary-ANSIBLE_NOTIFY_HOOK_X_API_KEY")
    );
    // awx:canary-ANSIBLE_NOTIFY_HOOK_PASSWORD
    let login = "Basic YXd4OmNhbmFyeS1BTlNJQkxFX05PVElGWV9IT09LX1BBU1NXT1JE";
    assert_eq!(hook.header("authorization"), Some(login));
    assert_eq!(hook.json(), json!({"text": "site.yml: failed", "id": "r1"}));
    let line = LINE.trim();
    assert_eq!(
        reader.messages(),
        [format!("awx #ops {line}"), format!("awx reader {line}")]
    );
    let [mail] = &smtp.mails()[..] else {
        panic!("one mail")
    };
    assert_eq!(mail["from"], "awx@example.com");
    assert_eq!(mail["to"], json!(["ops@example.com", "b@example.com"]));
    assert_eq!(mail["headers"]["subject"], "site.yml broke");
    assert_eq!(
        mail["plain"].as_str().unwrap().trim_end(),
        "Status:\n\n  failed"
    );
}

#[test]
fn each_moment_has_its_own_words() {
    let sandbox = Sandbox::new();
    let mut slack = template("words", "slack", json!({"token": "", "channels": ["ops"]}));
    slack["messages"] = json!({
        "started": {"message": "{{ job.name }} begins"},
        "success": {"message": "done"},
        "error": {"message": "{{ nobody.knows }} \"this\""},
        "workflow_approval": {"running": {"message": "approve {{ workflow_url }}"}},
    });
    let mut hook = template("hook", "webhook", json!({"url": "https://h.example.com/x"}));
    hook["messages"] = json!({
        "started": {"body": "{\"a\": \"{{ job.id }}\"}"},
        "error": {"body": "{\"b\": {{ job.id | tojson }}}"},
    });
    let attached = |name: &str| json!([{"name": name, "organization": {"name": "Default"}}]);
    let all = json!([{"name": "words"}, {"name": "hook"}]);
    let export = json!({
        "notification_templates": [slack, hook],
        "job_templates": [{"name": "Deploy", "playbook": "deploy.yml", "related": {
            "notification_templates_started": all, "notification_templates_error": attached("hook"),
        }}],
        "organizations": [{"name": "Default", "related": {
            "notification_templates_success": attached("words"),
            "notification_templates_error": attached("words"),
            "notification_templates_approvals": attached("words"),
        }}],
    });
    let (outcome, config) = import(&sandbox, &export);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for part in [
        "on = started, success, error, canceled\n",
        "#   started: job template `Deploy` (deploy.yml)\n",
        "[notifier:hook-started]\n",
        "[notifier:hook-error]\n",
        "# {{ nobody.knows }} \"this\"\n",
    ] {
        assert!(config.contains(part), "no {part} in {config}");
    }
    expect_said(
        &outcome,
        &[
            "words: The message of `error` is AWX's default, because its own cannot be used here: unknown variable `nobody`\n",
            "words: Approvals of organization `Default` have no counterpart.\n",
            "words: The messages of `workflow_approval` have no counterpart",
        ],
    );
    checked(&sandbox, &config);
    let start = json!({"event": "playbook_on_start", "run": {"id": "r0", "playbook": "site.yml"}});
    let events = [
        start.to_string(),
        run_end("r1", "success", None),
        run_end("r2", "canceled", None),
    ];
    sandbox.file("events.json", events.join("\n"));
    let arguments = [
        "send",
        "--dry-run",
        "--config",
        "imported.ini",
        "events.json",
    ];
    let shown = run_with(&sandbox, &arguments, &variables(&config)).stdout;
    for part in [
        r#"{"text":"site.yml begins","channel":"ops"}"#,
        r#"{"text":"done","channel":"ops"}"#,
        r#"{"text":"Job #r2 'site.yml' canceled: ","channel":"ops"}"#,
        r#"{"a":"r0"}"#,
        r#"{"b":"r2"}"#,
    ] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
}
