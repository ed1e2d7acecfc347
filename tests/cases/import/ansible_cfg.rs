//! The callbacks of an ansible.cfg.

use serde_json::{Value, json};

use super::{checked, expect_no_canary, expect_said, form, run_with, variables};
use crate::cases::services::run_end;
use crate::sandbox::Sandbox;
use crate::server::certificates::certified_sandbox;
use crate::server::smtp::Smtp;
use crate::server::splunk;
use crate::server::{Reply, Request, Server};

/// Callbacks of community.general, each with a secret in clear text.
const ANSIBLE_CFG: &str = "[defaults]\ncallbacks_enabled = community.general.slack, mail, community.general.splunk, \
    nrdp,\n  logstash, timer, loganalytics\n\
    [callback_slack]\nwebhook_url = SLACK\nchannel = #ops\nodd = 1\n\
    [callback_mail]\nsmtphost = localhost\nsmtpport = SMTP\nsender = a@example.com\nto = ops@example.com, root\n\
    [callback_splunk]\nurl = SPLUNK\nauthtoken = canary-splunk-token\nbatch = b1\n\
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
    let splunk = splunk::start();
    let text = ANSIBLE_CFG
        .replace("SMTP", &smtp.port().to_string())
        .replace("SLACK", &server.at("/slack"))
        .replace("SPLUNK", &splunk.server.at("/services/collector/event"))
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
            "syslog_json: It is muted: `callbacks_enabled` does not name the callback.\n",
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
    let kinds = ["email", "webhook", "slack", "splunk"];
    let expected: Vec<Value> = std::iter::zip(names, kinds)
        .map(|(name, kind)| json!({"name": name, "type": kind, "timing": []}))
        .collect();
    let mut variables = variables(&config);
    variables.insert("SLACK_WEBHOOK_URL".into(), server.at("/slack"));
    variables.insert("SPLUNK_AUTHTOKEN".into(), splunk::TOKEN.into());
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
    let stored = splunk.shelf.all();
    assert_eq!(stored.len(), 2);
    let event = &stored[0].document["event"];
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
        assert!(said.contains("no ansible.cfg was found"), "{said}");
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
fn azure_s_ingestion_gets_the_same_record() {
    let server = Server::answering(|request| match request.target.ends_with("/token") {
        true => Reply::Full(200, "", r#"{"access_token":"t0ken","expires_in":3600}"#),
        false => Reply::Full(204, "", ""),
    });
    let sandbox = Sandbox::new();
    let keys = format!(
        "dce_url = {}\ndcr_id = dcr-1\nstream_name = Custom-A_b?c\ntenant_id = ten/ant\nclient_id = app\n\
         client_secret = canary-azure\ntimeout = 7\ninclude_task_args = true\ndisable_attempts = 5\nodd = 1\n",
        server.at("/dce/")
    );
    let enabled = "[defaults]\ncallbacks_enabled = community.general.loganalytics_ingestion\n";
    for content in [false, true] {
        sandbox.file(
            "ansible.cfg",
            format!("{enabled}[callback_loganalytics]\n{keys}include_content = {content}\n"),
        );
        let outcome = sandbox.run(&["import", "ansible.cfg"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!format!("{outcome:?}").contains("canary"), "{outcome:?}");
        expect_said(
            &outcome,
            &[
                "`odd` has no counterpart.\n",
                "`include_task_args` has no counterpart.\n",
                "`disable_attempts` has no counterpart.\n",
            ],
        );
        assert!(!outcome.stderr.contains("`dcr_id`"), "{outcome:?}");
        assert!(!outcome.stderr.contains("left out"), "{outcome:?}");
        let login = "https://login.microsoftonline.com/";
        assert!(outcome.stdout.contains(login), "{outcome:?}");
        let config = outcome.stdout.replace(login, &server.at("/login/"));
        assert_eq!(
            checked(&sandbox, &config)["notifiers"][0]["type"],
            "webhook"
        );
        let failed = json!({
            "event": "runner_on_failed", "state": "failed", "host": "web1", "time": "2026-11-20T20:42:01.5Z",
            "task": {"name": "Read", "action": "slurp"}, "result": {"rc": 2, "content": "abc"},
            "run": {"id": "r0", "playbook": "site.yml", "user": "anna"},
        });
        sandbox.file("events.json", failed.to_string());
        let arguments = ["send", "--wait", "--config", "imported.ini", "events.json"];
        let sent = run_with(&sandbox, &arguments, &variables(&config));
        assert_eq!(sent.code, 0, "{sent:?}");
        let requests = server.requests();
        let [.., asked, request] = &requests[..] else {
            panic!("{requests:?}")
        };
        assert_eq!(asked.target, "/login/ten%2Fant/oauth2/v2.0/token");
        assert!(
            asked
                .body
                .contains("scope=https%3A%2F%2Fmonitor.azure.com%2F.default")
        );
        assert_eq!(
            request.target,
            "/dce/dataCollectionRules/dcr-1/streams/Custom-A_b%3Fc?api-version=2023-01-01"
        );
        assert_eq!(request.header("authorization"), Some("Bearer t0ken"));
        let result = match content {
            true => json!({"rc": 2, "content": "abc"}),
            false => json!({"rc": 2}),
        };
        let record = json!([{
            "TimeGenerated": "2026-11-20T20:42:01.500000Z", "Host": "web1", "User": "anna", "Playbook": "site.yml",
            "Role": null, "TaskName": "Read", "Action": "slurp", "State": "FAILED", "Result": result, "Session": "r0",
        }]);
        assert_eq!(request.json(), record);
    }
    sandbox.file(
        "ansible.cfg",
        format!("{enabled}[callback_loganalytics]\ndcr_id = {{{{ x }}}}\n"),
    );
    let outcome = sandbox.run(&["import", "ansible.cfg"]);
    expect_said(&outcome, &["not active: `dce_url`, `dcr_id`"]);
}

/// Callbacks without a counterpart: their keys in `[callback_NAME]`, their variables, and why.
const LEFT: [(&str, &str, &str, &str); 3] = [
    (
        "logstash",
        "server port type pre_command format_version",
        "LOGSTASH_SERVER LOGSTASH_PORT LOGSTASH_TYPE LOGSTASH_PRE_COMMAND LOGSTASH_FORMAT_VERSION",
        "it writes to a TCP port",
    ),
    (
        "loganalytics",
        "workspace_id shared_key",
        "WORKSPACE_ID WORKSPACE_SHARED_KEY",
        "no kind signs requests with Azure's `SharedKey` yet",
    ),
    (
        "jabber",
        "",
        "JABBER_SERV JABBER_USER JABBER_PASS JABBER_TO",
        "no kind speaks XMPP yet",
    ),
];

#[test]
fn each_line_of_a_callback_without_a_counterpart_is_named() {
    for (name, keys, variables, why) in LEFT {
        let keys: Vec<&str> = keys.split_whitespace().collect();
        let variables: Vec<&str> = variables.split_whitespace().collect();
        let lines: String = keys.iter().map(|key| format!("{key} = canary\n")).collect();
        let section = format!("[callback_{name}]\n{lines}");
        let enabled = format!("[defaults]\ncallbacks_enabled = community.general.{name}\n");
        for by_file in [true, false] {
            let text = format!("{enabled}{}", if by_file { &section } else { "" });
            let sandbox = Sandbox::new();
            sandbox.file("ansible.cfg", text);
            let mut command = sandbox.command(&["import", "ansible.cfg"]);
            let given = if by_file { &[][..] } else { &variables[..] };
            command.envs(given.iter().map(|variable| (variable, "canary")));
            let outcome = crate::sandbox::outcome(command.spawn().unwrap());
            let count = if by_file { keys.len() } else { given.len() };
            let named = outcome.stderr.matches("has no counterpart yet.").count();
            assert_eq!((named, outcome.code), (count, 78), "{name}: {outcome:?}");
            let reason = format!("{name}: not active: no counterpart yet: {why}");
            expect_said(&outcome, &[&reason]);
            assert!(!outcome.stdout.contains("canary"), "{outcome:?}");
            assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
        }
    }
}

#[test]
fn callbacks_that_record_results_become_streams() {
    let sandbox = Sandbox::new();
    let text = "[defaults]\ncallbacks_enabled = community.general.opentelemetry, community.general.elastic, \
        community.general.syslog_json\n[callback_opentelemetry]\notel_service_name = deploys\nhide_task_arguments = true\n\
        store_spans_in_file = x\n[callback_syslog_json]\nsyslog_server = logs.example.com\nsyslog_port = 1514\n\
        syslog_facility = local3\nsyslog_setup = false\n";
    sandbox.file("ansible.cfg", text);
    let mut command = sandbox.command(&["import", "ansible.cfg", "-o", "plugin_config.ini"]);
    command
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://otel.example.com:4317",
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-otel")
        .env("TRACEPARENT", "None")
        .env("ELASTIC_APM_SERVER_URL", "https://apm.example.com:8200")
        .env("ELASTIC_APM_SECRET_TOKEN", "canary-elastic")
        .env("ELASTIC_APM_VERIFY_SERVER_CERT", "false");
    let outcome = crate::sandbox::outcome(command.spawn().unwrap());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    expect_said(
        &outcome,
        &[
            "`store_spans_in_file` has no counterpart.",
            "port 4317 is for gRPC",
        ],
    );
    let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
    assert!(!config.contains("canary") && !outcome.printed().contains("canary"));
    let words: Vec<String> = config.lines().map(|line| line.replace(' ', "")).collect();
    for line in [
        "url=https://otel.example.com:4318/",
        "service_name=deploys",
        "signals=traces,logs",
        "url=https://apm.example.com:8200",
        "validate_certs=false",
        "url=udp://logs.example.com:1514",
        "facility=local3",
    ] {
        assert!(words.iter().any(|word| word == line), "{line}: {config}");
    }
    // With the variables that it names, it is whole, and a message has the callback's words.
    let mut command = sandbox.command(&["send", "--dry-run", "event.json"]);
    for line in config.lines() {
        if let Some((_, variable)) = line
            .split_once("_env")
            .and_then(|(_, rest)| rest.split_once('='))
        {
            command.env(variable.trim(), "canary");
        }
    }
    let event =
        r#"{"state":"failed","host":"web1","task":{"name":"t","action":"ping"},"result":{"rc":1}}"#;
    sandbox.file("event.json", event);
    let shown = crate::sandbox::outcome(command.spawn().unwrap());
    assert_eq!(shown.code, 0, "{shown:?}");
    let text = "- task execution FAILED; host: web1; message: {\"rc\": 1}";
    assert!(shown.stdout.contains(text), "{shown:?}");
}

#[test]
fn the_fields_of_each_callback_work() {
    let page = include_str!("../../../docs/coming-from.md");
    let blocks = page.split("```ini\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let sandbox = Sandbox::with_config(block);
        for line in block.lines().filter(|line| line.starts_with("url_file")) {
            let (_, file) = line.split_once("= ").unwrap();
            sandbox.file(file, "https://logs.example.com/canary-token");
        }
        sandbox.run(&["check-config"]).expect(0, "");
        let event = r#"{"state":"failed","host":"web1","task":{"id":"t1","name":"Install"},"result":{"rc":1}}"#;
        sandbox.file("event.json", event);
        let shown = sandbox.run(&["send", "--dry-run", "event.json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        let line = shown
            .stdout
            .lines()
            .find(|line| line.contains('{'))
            .unwrap();
        let sent: Value = serde_json::from_str(line.trim_matches(['[', ']'])).unwrap();
        let hosts = ["ansible_host", "hostname"].map(|name| sent[name] == "web1");
        assert!(hosts.contains(&true), "{shown:?}");
        assert!(!shown.stdout.contains("canary"), "{shown:?}");
    }
}

#[test]
fn splunk_s_address_is_written_unless_it_may_be_a_secret() {
    let sandbox = Sandbox::new();
    let import = |url: &str| {
        let section = format!("[callback_splunk]\nauthtoken = canary\n{url}\n");
        let enabled = "[defaults]\ncallbacks_enabled = community.general.splunk\n";
        sandbox.file("ansible.cfg", format!("{enabled}{section}"));
        let outcome = sandbox.run(&["import", "ansible.cfg"]);
        expect_no_canary(&outcome);
        outcome
    };
    for url in ["", "url = https://anna:canary@splunk.example.com:8088"] {
        let outcome = import(url);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        expect_said(&outcome, &["splunk: not active: `url` "]);
    }
    let outcome = import("url = https://splunk.example.com:8088\ninclude_milliseconds = true");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    expect_said(&outcome, &["`/services/collector/event` is appended"]);
    assert!(outcome.stdout.contains("[:26]"), "{outcome:?}");
    checked(&sandbox, &outcome.stdout);
}
