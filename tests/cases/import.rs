//! Configurations of other programs: what is written for them is good, and sends what they would send.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cases::services::run_end;
use crate::sandbox::{Outcome, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::irc::{Inspircd, Reader};
use crate::server::smtp::Smtp;
use crate::server::{Reply, Request, Server};

/// The variables that a configuration names, with a value for each.
fn variables(config: &str) -> BTreeMap<String, String> {
    let names = config.lines().filter_map(|line| {
        let (key, name) = line.split_once(" = ")?;
        let is_named = key.ends_with("_env") && !key.starts_with('#');
        is_named.then(|| name.to_owned())
    });
    let with_value = |name: String| {
        let value = match name.ends_with("_URL") {
            true => format!("https://chat.example.com/canary/{name}"),
            false => format!("canary-{name}"),
        };
        (name, value)
    };
    names.map(with_value).collect()
}

/// Runs the binary with these variables.
fn run_with(
    sandbox: &Sandbox,
    arguments: &[&str],
    variables: &BTreeMap<String, String>,
) -> Outcome {
    let child = sandbox.command(arguments).envs(variables).spawn();
    crate::sandbox::outcome(child.unwrap())
}

/// Imports an export; the outcome, and the configuration that was written.
fn import(sandbox: &Sandbox, export: &Value) -> (Outcome, String) {
    let file = sandbox.file("export.json", export.to_string());
    let outcome = sandbox.run(&["import", "awx", file.to_str().unwrap()]);
    let config = outcome.stdout.clone();
    (outcome, config)
}

/// The configuration passes `check-config` once its variables are set; what that shows.
#[track_caller]
fn checked(sandbox: &Sandbox, config: &str) -> Value {
    sandbox.file("imported.ini", config);
    let arguments = ["check-config", "--json", "--config", "imported.ini"];
    let outcome = run_with(sandbox, &arguments, &variables(config));
    assert_eq!(outcome.code, 0, "{outcome:?}\n{config}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Standard error says each of these.
#[track_caller]
fn expect_said(outcome: &Outcome, expected: &[&str]) {
    for said in expected {
        assert!(outcome.stderr.contains(said), "no {said} in {outcome:?}");
    }
}

/// Neither the configuration, which is standard output, nor standard error has a secret.
#[track_caller]
fn expect_no_canary(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("canary"), "{text}");
    }
}

fn template(name: &str, kind: &str, configuration: Value) -> Value {
    json!({
        "name": name, "notification_type": kind, "notification_configuration": configuration,
        "organization": {"name": "Default", "type": "organization"},
    })
}

/// What each service says when it took a message.
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

/// Points the kinds whose address is fixed to a server.
fn redirected(config: &str, server: &Server) -> String {
    let kinds = ["slack", "pagerduty", "twilio"].map(|kind| (kind, format!("/{kind}")));
    let kinds = kinds.into_iter().chain([("awssns", "/sns".to_owned())]);
    kinds.fold(config.to_owned(), |config, (kind, path)| {
        let (plain, url) = (format!("type = {kind}\n"), server.at(&path));
        config.replace(&plain, &format!("{plain}api_url = {url}\n"))
    })
}

/// The fields of a form.
fn form(body: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect()
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
            "words: The message of `error` is AWX's default, as its own cannot be used here: unknown variable `nobody`\n",
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
            "there is no notification template",
        ),
        (
            "{\"count\": 0, \"results\": []}",
            "there is no notification template",
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
fn what_is_incomplete_stays_a_comment() {
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
    // Even a file without an active notifier is good.
    let alone = json!([template("slack", "slack", json!({}))]);
    let (outcome, config) = import(&sandbox, &alone);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    checked(&sandbox, &config);
}

#[test]
fn no_secret_of_a_text_is_written() {
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
fn a_header_that_is_no_secret_hides_nothing_elsewhere() {
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

/// Pieces of texts that would be something else on a line of their own.
const PIECES: [&str; 24] = [
    "\n",
    "\r",
    "\r\n",
    "\n[inputs]\n",
    "\ncallback_url = http://evil.example.com\n",
    "\n[notifier:evil]\ntype = webhook\n",
    "]",
    "[",
    "=",
    "#",
    " # ",
    ";",
    " ; ",
    "%",
    "\"",
    "'",
    "\\",
    "{{ host }}",
    "{{",
    "{% if x %}",
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{0}",
];

fn text(random: &mut fastrand::Rng) -> String {
    let piece = |random: &mut fastrand::Rng| match random.u8(..3) {
        0 => PIECES[random.usize(..PIECES.len())].to_owned(),
        1 => " ü日 ".repeat(random.usize(..3)),
        _ => random.alphanumeric().to_string(),
    };
    (0..random.usize(..8)).map(|_| piece(random)).collect()
}

/// No text of the input is a section or a key of its own in a configuration that was written.
#[track_caller]
fn nothing_is_added(sandbox: &Sandbox, config: &str) {
    let shown = checked(sandbox, config);
    for value in shown["values"].as_array().unwrap() {
        let (section, key) = (
            value["section"].as_str().unwrap(),
            value["key"].as_str().unwrap(),
        );
        let is_ours = section.starts_with("notifier:") && section != "notifier:evil";
        assert!(is_ours, "{value}\n{config}");
        assert_ne!(key, "callback_url", "{config}");
    }
    for line in config.lines() {
        let is_continued = line.is_empty() || line.starts_with("  ");
        let is_section = ["[notifier:", "[outputs:"]
            .iter()
            .any(|begin| line.starts_with(begin));
        let is_key = line
            .split_once(" =")
            .is_some_and(|(key, _)| !key.contains([' ', '[', '{']));
        assert!(
            is_continued || line.starts_with('#') || is_section || is_key,
            "{line:?}"
        );
        assert!(
            !line.starts_with("callback_url") && line != "[inputs]",
            "{config}"
        );
    }
}

#[test]
fn no_text_adds_a_section_or_a_key() {
    let kinds = [
        ("slack", "token channels hex_color"),
        (
            "email",
            "host port username password sender recipients timeout",
        ),
        ("webhook", "url http_method username password"),
        (
            "grafana",
            "grafana_url grafana_key dashboardId panelId annotation_tags",
        ),
        ("irc", "server port nickname password targets"),
        ("twilio", "account_sid account_token from_number to_numbers"),
        ("hipchat", "token rooms color api_url message_from"),
        (
            "awssns",
            "aws_region aws_access_key_id aws_secret_access_key sns_topic_arn",
        ),
        ("pagerduty", "service_key client_name subdomain"),
        (
            "mattermost",
            "mattermost_url mattermost_channel mattermost_username",
        ),
        ("rocketchat", "rocketchat_url rocketchat_username"),
    ];
    let good = json!({
        "channels": ["ops"], "host": "mail", "sender": "a@example.com", "recipients": ["b@example.com"],
        "url": "https://h.example.com/x", "grafana_url": "https://g.example.com", "server": "irc", "targets": "#ops",
        "rooms": ["a"], "api_url": "https://c.example.com", "sns_topic_arn": "arn:aws:sns:eu-central-1:1:t",
        "account_sid": "AC1", "from_number": "+1", "to_numbers": ["+2"],
    });
    let mut random = fastrand::Rng::with_seed(7);
    let sandbox = Sandbox::new();
    for _ in 0..4 {
        let (mut templates, mut attached) = (Vec::new(), Vec::new());
        for (kind, fields) in kinds.iter().cycle().take(33) {
            let mut configuration = json!({"headers": {
                text(&mut random): text(&mut random), format!("X-{}", random.alphanumeric()): text(&mut random),
            }});
            for field in fields.split(' ') {
                let odd = random.bool().then(|| text(&mut random));
                configuration[field] = odd.map_or_else(|| good[field].clone(), Value::from);
            }
            configuration[text(&mut random)] = json!(text(&mut random));
            let mut one = template(&text(&mut random), kind, configuration);
            one["description"] = json!(text(&mut random));
            one["organization"]["name"] = json!(text(&mut random));
            one["messages"] = json!({
                "started": {"message": text(&mut random), "body": text(&mut random)},
                "error": {"message": text(&mut random), "body": text(&mut random)},
            });
            attached.push(json!({"name": one["name"]}));
            templates.push(one);
        }
        let resource = json!({"name": text(&mut random), "playbook": text(&mut random), "related": {
            "notification_templates_started": attached, "notification_templates_error": attached,
        }});
        let export = json!({"notification_templates": templates, "job_templates": [resource]});
        let (outcome, config) = import(&sandbox, &export);
        assert!([0, 78].contains(&outcome.code), "{outcome:?}");
        nothing_is_added(&sandbox, &config);
    }
}

/// Callbacks of community.general, each with a secret in clear text.
const ANSIBLE_CFG: &str = "[defaults]\ncallbacks_enabled = community.general.slack, mail, community.general.splunk, \
    nrdp,\n  logstash, timer, loganalytics\n\
    [callback_slack]\nwebhook_url = SLACK\nchannel = #ops\nodd = 1\n\
    [callback_mail]\nsmtphost = localhost\nsmtpport = SMTP\nsender = a@example.com\nto = ops@example.com, root\n\
    [callback_splunk]\nurl = SPLUNK\nauthtoken = canary-splunk\nbatch = b1\n\
    [callback_nrdp]\nurl = NRDP\ntoken = canary nrdp\nhostname = a<b\nservicename = {{ x }}\n\
    [callback_loganalytics]\nworkspace_id = w\nshared_key = canary-azure\n\
    [callback_logstash]\nserver = ls.example.com ; the server\n\
    [callback_hipchat]\ntoken = canary-hipchat\nroom = ops\n\
    [callback_syslog_json]\nsyslog_server = x\n";

#[test]
fn the_callbacks_of_an_ansible_cfg_become_notifiers() {
    let sandbox = certified_sandbox();
    let smtp = Smtp::start(&sandbox, &[]);
    let server = Server::answering(|request| match request.target.as_str() {
        "/slack" => Reply::Full(200, "", "ok"),
        _ => Reply::Full(200, "", ""),
    });
    let text = ANSIBLE_CFG
        .replace("SMTP", &smtp.port().to_string())
        .replace("SLACK", &server.at("/slack"))
        .replace("SPLUNK", &server.at("/services/collector/event"))
        .replace("NRDP", &server.at("/nrdp"));
    sandbox.file("ansible.cfg", text);
    let outcome = sandbox.run(&["import", "ansible.cfg"]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    expect_said(
        &outcome,
        &[
            "slack: `odd` has no counterpart.\n",
            "logstash: `server` has no counterpart yet.\n",
            "logstash: not active: no counterpart yet: it writes to a TCP port",
            "loganalytics: `shared_key` has no counterpart yet.\n",
            "hipchat: It is muted: the callback knows only api.hipchat.com",
            "hipchat: It is muted: `callbacks_enabled` does not name the callback.\n",
            "[callback_syslog_json] is left out: the callback is not enabled.\n",
            "The callback `timer` stays in ansible.cfg",
        ],
    );
    let config = outcome.stdout.clone();
    for text in [&config, &outcome.stderr] {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(&server.at("/slack")), "{text}");
    }
    assert_eq!(
        sandbox
            .run(&["import", "ansible-cfg", "ansible.cfg"])
            .stdout,
        config
    );
    let names = ["mail", "nrdp", "slack", "splunk"];
    let kinds = ["email", "webhook", "slack", "webhook"];
    let expected: Vec<Value> = std::iter::zip(names, kinds)
        .map(|(name, kind)| json!({"name": name, "type": kind, "timing": []}))
        .collect();
    let mut variables = variables(&config);
    variables.insert("SLACK_WEBHOOK_URL".into(), server.at("/slack"));
    variables.insert(
        "ANSIBLE_NOTIFY_SPLUNK_AUTHORIZATION".into(),
        "Splunk canary-splunk".into(),
    );
    assert_eq!(checked(&sandbox, &config)["notifiers"], json!(expected));
    let failed = json!({
        "event": "runner_on_failed", "state": "failed", "host": "web1", "time": "2026-11-20T20:42:01.5Z",
        "task": {"name": "Install", "id": "5", "action": "apt"}, "result": {"rc": 2},
        "run": {"id": "r0", "playbook": "site.yml", "user": "anna", "controller": "control", "ansible_version": "2.21"},
    });
    let ignored = failed
        .to_string()
        .replace(r#""state""#, r#""ignored":true,"state""#);
    let start =
        json!({"event": "playbook_on_play_start", "play": {"name": "web"}, "run": {"id": "r0"}});
    let events = [
        failed.to_string(),
        ignored,
        start.to_string(),
        run_end("r0", "error", None),
    ];
    sandbox.file("events.json", events.join("\n"));
    let arguments = ["send", "--wait", "--config", "imported.ini", "events.json"];
    let sent = run_with(&sandbox, &arguments, &variables);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(!sent.stderr.contains("canary"), "{sent:?}");
    let requests = server.requests();
    let to = |path: &str| -> Vec<&Request> {
        let mine = requests.iter().filter(|one| one.target.starts_with(path));
        mine.collect()
    };
    let posts: Vec<Value> = to("/slack").iter().map(|request| request.json()).collect();
    assert_eq!(posts.len(), 2);
    assert!(
        posts
            .iter()
            .all(|post| post["channel"] == "#ops" && post["username"] == "ansible")
    );
    let splunk = to("/services");
    assert_eq!(splunk.len(), 2);
    assert_eq!(
        splunk[0].header("authorization"),
        Some("Splunk canary-splunk")
    );
    let event = &splunk[0].json()["event"];
    let expected = json!({
        "uuid": "5", "session": "r0", "batch": "b1", "status": "FAILED", "timestamp": "2026-11-20 20:42:01 +0000",
        "host": "control", "user": "anna", "runtime": null, "ansible_version": "2.21", "ansible_check_mode": false,
        "ansible_host": "web1", "ansible_playbook": "site.yml", "ansible_role": null,
        "ansible_task": {"name": "Install", "action": "apt"}, "ansible_result": {"rc": 2},
    });
    assert_eq!(event, &expected);
    let [nrdp] = to("/nrdp")[..] else {
        panic!("one check: {requests:?}")
    };
    assert_eq!(nrdp.target, "/nrdp/");
    let fields = form(&nrdp.body);
    assert_eq!(
        (fields["cmd"].as_str(), fields["token"].as_str()),
        ("submitcheck", "canary-NRDP_TOKEN")
    );
    let check = &fields["XMLDATA"];
    for part in [
        "<hostname>a&lt;b</hostname>",
        "<servicename>&#123;&#123; x }}</servicename>",
        "<state>2</state>",
        "<output>site.yml | 'web1_ok'=3 ",
    ] {
        assert!(check.contains(part), "no {part} in {check}");
    }
    let [mail] = &smtp.mails()[..] else {
        panic!("one mail")
    };
    assert_eq!(mail["to"], json!(["ops@example.com", "root@localhost"]));
}

#[test]
fn the_ansible_cfg_is_the_one_that_ansible_reads() {
    let sandbox = Sandbox::new();
    let with_host = |host: &str| {
        format!(
            "[defaults]\ncallback_whitelist = mail\n[callback_mail]\nsmtphost = {host}\nsender = a@b\n"
        )
    };
    let host_with = |variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| (*name, *value));
        let child = sandbox
            .command(&["import", "ansible-cfg"])
            .envs(variables)
            .spawn();
        let outcome = crate::sandbox::outcome(child.unwrap());
        let host = outcome
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("host = "));
        (
            outcome.code,
            host.unwrap_or_default().to_owned(),
            outcome.stderr,
        )
    };
    let host = |variables: &[(&str, &str)]| host_with(variables).1;
    if !std::path::Path::new("/etc/ansible/ansible.cfg").exists() {
        let (code, _, said) = host_with(&[]);
        assert_eq!(code, 66, "{said}");
        assert!(said.contains("as there is no ansible.cfg"), "{said}");
    }
    let enabled = ("ANSIBLE_CALLBACKS_ENABLED", "community.general.mail");
    assert_eq!(
        host(&[enabled, ("SMTPHOST", "of-the-environment")]),
        "of-the-environment"
    );
    sandbox.file("home/.ansible.cfg", with_host("home"));
    assert_eq!(host(&[]), "home");
    sandbox.file("ansible.cfg", with_host("here"));
    assert_eq!(host(&[]), "here");
    assert_eq!(
        host(&[("SMTPHOST", "of-the-environment")]),
        "of-the-environment"
    );
    sandbox.file("named/ansible.cfg", with_host("named"));
    for path in ["named", "named/ansible.cfg"] {
        assert_eq!(
            host(&[("ANSIBLE_CONFIG", sandbox.path(path).to_str().unwrap())]),
            "named"
        );
    }
    sandbox.mode(".", 0o777);
    let (_, found, said) = host_with(&[]);
    assert_eq!(found, "home");
    assert!(
        said.contains("./ansible.cfg is ignored: everyone can write to its directory"),
        "{said}"
    );
    sandbox.mode(".", 0o755);
    sandbox
        .run(&["import", "ansible-cfg", "none"])
        .expect_line(66, &["`none`: cannot be read"]);
    sandbox.file("bad", "a = 1\n");
    sandbox
        .run(&["import", "ansible-cfg", "bad"])
        .expect_line(65, &["`bad`: line 1: there is no [section] above it"]);
    sandbox.file("other", "[defaults]\nforks = 5\n");
    sandbox
        .run(&["import", "ansible-cfg", "other"])
        .expect_line(65, &["no callback that notifies is enabled"]);
}

#[test]
fn no_option_of_a_callback_adds_a_section_or_a_key() {
    let options = [
        ("slack", "webhook_url channel username validate_certs"),
        ("mail", "smtphost smtpport to sender cc bcc"),
        ("splunk", "url authtoken batch"),
        ("nrdp", "url token hostname servicename"),
        ("hipchat", "token room from notify"),
        ("logstash", "server port"),
    ];
    let variables = [
        "SLACK_CHANNEL",
        "SMTPHOST",
        "SPLUNK_BATCH",
        "NRDP_HOSTNAME",
        "HIPCHAT_ROOM",
        "NRDP_URL",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let sandbox = Sandbox::new();
    for _ in 0..12 {
        let enabled = options.map(|(name, _)| name).join(",");
        let mut file = format!(
            "[defaults]\ncallbacks_enabled = {enabled},{}\n",
            text(&mut random).replace(['\n', '\r'], "\n  ")
        );
        for (name, keys) in options {
            file += &format!("[callback_{name}]\n");
            for key in keys.split(' ') {
                let value = text(&mut random).replace(['\n', '\r'], "\n  ");
                file += &format!("{key} = {value}\n");
            }
        }
        sandbox.file("ansible.cfg", file);
        let given = variables.map(|name| (name, text(&mut random).replace('\0', "")));
        let given = given.iter().filter(|_| random.bool());
        let child = sandbox
            .command(&["import", "ansible.cfg"])
            .envs(given.cloned())
            .spawn();
        let outcome = crate::sandbox::outcome(child.unwrap());
        assert!([0, 78].contains(&outcome.code), "{outcome:?}");
        nothing_is_added(&sandbox, &outcome.stdout);
    }
}
