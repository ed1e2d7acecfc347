//! A mistake in one section: its notifier waits or takes nothing, and all others go on.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

const EVENT: &str = r#"{"state":"failed","host":"h"}"#;

/// A notifier that works beside sections with a mistake.
fn beside(server: &Server, sections: &str) -> Sandbox {
    Sandbox::with_config(&format!(
        "[notifier:good]\ntype = webhook\nurl = {}\non = any\n{sections}\n",
        server.url()
    ))
}

/// Sends an event; gives what was said of the configuration.
#[track_caller]
fn send(sandbox: &Sandbox, code: i32) -> Vec<String> {
    let file = sandbox.file("event.json", EVENT);
    let outcome = sandbox.run_on_spool(&["send", file.to_str().unwrap(), "--quiet"]);
    assert_eq!(outcome.code, code, "{outcome:?}");
    let root = format!("{}/", sandbox.root().display());
    let lines = outcome.stderr.lines();
    lines.map(|line| line.replace(&root, "")).collect()
}

fn waiting(sandbox: &Sandbox, name: &str) -> Option<i64> {
    let status = sandbox.run_on_spool(&["status", "--json"]);
    let rows: Value = serde_json::from_str(&status.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    rows.iter().find(|row| row["name"] == name)?["waiting"].as_i64()
}

#[test]
fn a_mistake_holds_up_no_other_notifier() {
    for (keys, problem) in [
        (
            "type = slack\ntoken = xoxb-1\nchannels = C1\ncolor = red",
            "`color`",
        ),
        ("type = slak\nchannels = C1", "unknown type `slak`"),
        ("channels = C1", "[notifier:bad] has no `type`"),
        (
            "type = webhook\nurl = http://h/\nmetod = PUT",
            "unknown key `metod`",
        ),
        (
            "type = webhook\nurl = http://h/\ntimeout = 1s\ntimeout = 2s",
            "`timeout` is set twice",
        ),
        (
            "type = webhook\nurl = http://h/\nnothing",
            "this line has no `=`",
        ),
        (
            "type = webhook\nurl = http://h/\n[outputs:bad]\na = 1 +",
            "`a`: unexpected end",
        ),
        (
            "type = webhook\nurl = http://h/\n[outputs:bat]\na = state",
            "[outputs:bat] has no matching",
        ),
        (
            "type = webhook\nurl = http://h/\n[output:bad]\na = state",
            "unknown section [output:bad]",
        ),
        (
            "type = webhook\nurl = http://h/\nenabled = perhaps",
            "`enabled` must be true or false, not `perhaps`",
        ),
        ("type = webhook", "[notifier:bad] has no `url`"),
    ] {
        let server = Server::start([OK]);
        let sandbox = beside(&server, &format!("[notifier:bad]\non = any\n{keys}"));
        let said = send(&sandbox, 78);
        assert_eq!(said.len(), 1, "{said:?}");
        let begins = "ansible-notify: warning: plugin_config.ini:";
        let ends = "; deliveries to `bad` stay pending until this is fixed";
        let line = &said[0];
        assert!(line.starts_with(begins) && line.ends_with(ends), "{line}");
        assert!(line.contains(problem), "{line}");
        assert_eq!(server.requests().len(), 1, "{keys}");
        assert_eq!(waiting(&sandbox, "bad"), Some(1), "{keys}");
        assert_eq!(sandbox.run(&["check-config"]).code, 78, "{keys}");
    }
}

#[test]
fn what_waits_goes_when_the_section_is_mended() {
    let server = Server::start([OK]);
    let bad = format!(
        "[notifier:bad]\ntype = webhook\nurl = {}\non = any\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&format!("{bad}concurrency = many\n"));
    send(&sandbox, 78);
    let flushed = sandbox.run_on_spool(&["flush"]);
    assert_eq!(flushed.code, 78, "{flushed:?}");
    assert!(flushed.stderr.contains(":5: `concurrency`"), "{flushed:?}");
    assert_eq!(server.requests().len(), 0);
    sandbox.file("plugin_config.ini", bad);
    let flushed = sandbox.run_on_spool(&["flush"]);
    flushed.expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn with_wrong_rules_nothing_is_taken() {
    for (rules, problem) in [
        ("on = faild", "unknown trigger `faild`"),
        ("on = any\nwhen = hots == 'a'", "unknown variable `hots`"),
        ("on = any\nwhen = host == 'a", "`when`: "),
        ("on = any\nwehn = host == 'a'", "unknown key `wehn`"),
        ("on =", "`on` is empty"),
        ("on = any\non = ok", "`on` is set twice"),
        ("on any", "this line has no `=`"),
    ] {
        let server = Server::start([OK]);
        let sandbox = beside(
            &server,
            &format!("[notifier:bad]\ntype = webhook\nurl = http://h/\n{rules}"),
        );
        let said = send(&sandbox, 78);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].ends_with("; `bad` receives no events until this is fixed"),
            "{said:?}"
        );
        assert!(said[0].contains(problem), "{said:?}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(waiting(&sandbox, "bad").unwrap_or(0), 0, "{rules}");
    }
}

#[test]
fn several_mistakes_of_a_notifier_are_one_line() {
    let server = Server::start([OK]);
    let sandbox = beside(
        &server,
        "[notifier:bad]\ntype = webhook\nurl = ftp://h/\nformat = x\ntimeout = y",
    );
    let said = send(&sandbox, 78);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(" (and 2 more; see `ansible-notify check-config`); deliveries to `bad`")
    );
}

#[test]
fn what_belongs_to_nobody_hinders_nobody() {
    for (sections, problem) in [
        (
            "[slack]\ntoken = x",
            "unknown section [slack]; write [notifier:slack], with `type = slack`",
        ),
        (
            "[notifer:x]\ntype = slack\n[outputs:x]\na = state",
            "unknown section [notifer:x]; did you mean [notifier:x]?",
        ),
        (
            "[outputs:elsewhere]\na = state",
            "[outputs:elsewhere] has no matching [notifier:elsewhere]",
        ),
        (
            "[delivery]\ndrian = 1s",
            "unknown key `drian` in [delivery]; did you mean `drain`?",
        ),
        ("[delivery]\nmax_age = soon", "`max_age` must be a duration"),
        (
            "[delivry]\ndrain = 1s",
            "unknown section [delivry]; did you mean [delivery]?",
        ),
    ] {
        let server = Server::start([OK]);
        let sandbox = beside(&server, sections);
        let said = send(&sandbox, 78);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(problem), "{said:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn without_the_fields_that_were_meant_nothing_is_sent() {
    // A misspelt [outputs] would send more than it was to.
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[output]\nstate = state\n",
        server.url()
    ));
    let said = send(&sandbox, 78);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("unknown section [output]; did you mean [outputs]?"),
        "{said:?}"
    );
    assert_eq!(server.requests().len(), 0);
    assert_eq!(waiting(&sandbox, "callback"), Some(1));
}

#[test]
fn a_file_that_cannot_be_divided_sends_nothing() {
    let server = Server::start([OK]);
    for text in ["[notifier:x\n", "---\ninputs:\n  a: b\n"] {
        let sandbox = Sandbox::with_config(&format!(
            "{text}[inputs]\ncallback_url = {}\n",
            server.url()
        ));
        let said = send(&sandbox, 78);
        let [problem, end] = &said[..] else {
            panic!("{said:?}")
        };
        let place = "ansible-notify: plugin_config.ini:1: ";
        assert!(problem.starts_with(place), "{said:?}");
        assert_eq!(end, "ansible-notify: no event was sent");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_notifier_that_is_not_chosen_matters_to_nobody() {
    let server = Server::start([OK]);
    let sandbox = beside(&server, "[notifier:bad]\ntype = slack");
    let file = sandbox.file("event.json", EVENT);
    let file = file.to_str().unwrap();
    let outcome = sandbox.run(&["send", file, "--quiet", "--notifier", "good"]);
    outcome.expect(0, "");
    let muted = sandbox.path("plugin_config.ini");
    let text = std::fs::read_to_string(&muted).unwrap();
    sandbox.file("plugin_config.ini", format!("{text}enabled = false\n"));
    sandbox.run(&["send", file, "--quiet"]).expect(0, "");
}

#[test]
fn a_play_goes_on_unless_it_is_strict() {
    let server = Server::start([OK]);
    let sandbox = beside(
        &server,
        "[notifier:bad]\ntype = slack\ntoken = x\nchannels = C1\ncolor = red",
    );
    let records = "{\"hello\":{\"protocol\":1,\"run\":{\"id\":\"r\"}}}\n\
        {\"event\":{\"seq\":1,\"event\":\"runner_on_ok\",\"time\":1.0,\"host\":{\"name\":\"h\"}}}\n{\"end\":{}}\n";
    let strict = sandbox.run_with_input(&["stream", "--strict"], records);
    strict.expect_line(78, &["plugin_config.ini:", "`color`"]);
    assert!(!strict.stdout.contains("ready"), "{strict:?}");
    assert_eq!(server.requests().len(), 0);
    let outcome = sandbox.run_with_input(&["stream"], records);
    assert!(
        outcome.stderr.contains("deliveries to `bad` stay pending"),
        "{outcome:?}"
    );
    assert_eq!(server.requests().len(), 2);
}

/// Keys with which a kind is complete.
const COMPLETE: [(&str, &[&str]); 15] = [
    (
        "webhook",
        &[
            "url = http://localhost/",
            "username = u",
            "password = p-a-s-s",
            "sign = sha256",
            "signing_secret = s3cret",
            "timeout = 1s",
            "method = PUT",
            "format = json",
            "socket = /run/x",
            "validate_certs = true",
        ],
    ),
    (
        "email",
        &[
            "host = localhost",
            "port = 25",
            "encryption = none",
            "username = u",
            "password = p-a-s-s",
            "auth = plain",
            "from = a@example.com",
            "to = b@example.com",
            "timeout = 1s",
        ],
    ),
    (
        "email",
        &[
            "host = localhost",
            "username = u",
            "token = t0ken",
            "from = a@example.com",
            "to = b@example.com",
        ],
    ),
    (
        "slack",
        &[
            "token = xoxb-1",
            "channels = C1",
            "color = #fff",
            "update = true",
            "api_url = http://localhost/",
        ],
    ),
    (
        "hipchat",
        &[
            "api_url = http://localhost/",
            "token = t0ken",
            "rooms = a",
            "color = red",
            "notify = true",
        ],
    ),
    (
        "mattermost",
        &["url = http://localhost/x", "channel = a", "username = b"],
    ),
    ("rocketchat", &["url = http://localhost/x", "channel = a"]),
    (
        "pagerduty",
        &[
            "routing_key = r0uting",
            "region = eu",
            "severity = error",
            "dedup_key = {{ host }}",
        ],
    ),
    (
        "twilio",
        &[
            "account_sid = AC1",
            "auth_token = t0ken",
            "from_number = +1",
            "to_numbers = +2",
        ],
    ),
    (
        "irc",
        &[
            "server = h",
            "port = 6697",
            "tls = true",
            "nickname = n",
            "sasl = plain",
            "username = u",
            "password = p-a-s-s",
            "targets = #ops",
            "lines = 3",
        ],
    ),
    (
        "grafana",
        &[
            "url = http://localhost/",
            "username = u",
            "password = p-a-s-s",
            "dashboard_uid = d",
            "panel_id = 2",
            "tags = a",
        ],
    ),
    (
        "awssns",
        &[
            "topic_arn = arn:aws:sns:eu-central-1:1:runs",
            "access_key_id = a1b2",
            "secret_access_key = s3cret",
            "region = eu-central-1",
        ],
    ),
    ("discord", &["url = http://localhost/x", "thread_id = 1"]),
    (
        "telegram",
        &["token = 1:t0ken", "chat_ids = 2", "message_thread_id = 3"],
    ),
    (
        "zeromq",
        &[
            "url = tcp://h:1",
            "socket = push",
            "bind = false",
            "timeout = 1s",
        ],
    ),
];

#[test]
fn one_mistake_is_one_line() {
    let mut mistakes = Vec::new();
    for (kind, lines) in COMPLETE {
        for number in 0..lines.len() {
            let (key, value) = lines[number].split_once(" = ").unwrap();
            let (head, tail) = key.split_at(key.len() - 1);
            // Too little is left of `to` to know it again.
            let misspelt = if head.len() > 1 { "x" } else { "" };
            for broken in [
                format!("{key} = {value}\n  and more"),
                format!("{key} = {{{{ x }}}}"),
                format!("{key}_env = UNSET"),
                // Two letters changed places, or one is too many.
                format!("{head}{misspelt}{tail} = {value}"),
            ] {
                let mut lines: Vec<&str> = lines.to_vec();
                lines[number] = &broken;
                let text = format!(
                    "[notifier:x]\ntype = {kind}\non = any\n{}\n",
                    lines.join("\n")
                );
                mistakes.push((broken.clone(), text));
            }
        }
    }
    let sandbox = Sandbox::new();
    let mut wrong = Vec::new();
    for (broken, text) in mistakes {
        sandbox.file("plugin_config.ini", &text);
        let outcome = sandbox.run(&["check-config"]);
        if outcome.stderr.lines().count() > 1 {
            wrong.push(format!("{broken}: {}", outcome.stderr));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
