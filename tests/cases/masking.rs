//! `[mask]`: nothing that it names is sent, stored or shown, wherever it is in an event.

use serde_json::{Value, json};

use crate::sandbox::{Config, Sandbox};
use crate::server::{OK, Server, status};

const MASK: &str = "[mask]\nkeys = *password*, api?key\npatterns =\n    Bearer (\\S+)\n    \
                    # keys of SSH\n    (?s)-----BEGIN.*?-----END-----\n    canary-\\w+\n";

fn sandbox(server: &Server, mask: &str) -> Sandbox {
    let inputs = format!(
        "[inputs]\ncallback_url = {}\non = any, item_failed, started\n\
         [outputs]\nevent = event\nreason = reason\noutput = task_output\nitem = item\n\
         [delivery]\nkeep_bodies = true\n",
        server.url()
    );
    Sandbox::with_config(&format!("{inputs}{mask}"))
}

/// Everything that was sent, stored or printed.
#[track_caller]
fn expect_masked(sandbox: &Sandbox, server: &Server, printed: &str) {
    let mut all = printed.to_owned();
    for request in server.requests() {
        all += &request.body;
    }
    for arguments in [
        &["history"][..],
        &["history", "1"],
        &["history", "--json"],
        &["status"],
    ] {
        all += &sandbox.run_on_spool(arguments).printed();
    }
    assert!(all.contains("[redacted]"), "{all}");
    assert!(!all.contains("canary"), "{all}");
    sandbox.expect_no_canary_stored();
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

/// A run of the plugin with a secret in every text that it may report.
fn run() -> String {
    let result = json!({
        "msg": "no access with Bearer canary1",
        "stdout": "key:\n-----BEGIN\ncanary2\n-----END-----\n{\"db_password\": \"canary3\", 'Api-Key': 'canary4'}",
        "stdout_lines": ["key:", "-----BEGIN", "canary2", "-----END-----", "{\"db_password\": \"canary3\"}"],
        "diff": [{"before": "", "after": "Bearer canary5\n"}],
        "deep": [{"PASSWORDS": {"any": ["canary6"]}}, {"api_key": 7}],
        "failed": true,
    });
    let escaped = result
        .to_string()
        .replace("Bearer", "\\u0042earer")
        .replace("api_key", "api\\u005fkey");
    let result: Box<serde_json::value::RawValue> = serde_json::from_str(&escaped).unwrap();
    let run = json!({"id": "r", "playbook": "canary-site.yml", "path": "/srv/canary-x/site.yml", "limit": "canary-web",
        "tags": ["canary-tag"], "inventory": ["/srv/canary-hosts"], "url": "https://ci/?t=canary-url"});
    let event = |name: &str, seq: u64, more: Value| {
        let mut event = json!({"event": name, "seq": seq, "time": 1_763_670_121.5 + seq as f64, "play": "p", "task": "t"});
        let object = event.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        json!({ "event": event })
    };
    let item = json!({"name": "a", "password": "canary8"});
    let host = json!({"name": "web1", "address": "canary-address"});
    let failed = event("runner_on_failed", 3, json!({"host": host})).to_string();
    let failed = format!("{},\"result\":{result}}}}}\n", &failed[..failed.len() - 2]);
    [
        lines(&[
            json!({"hello": {"protocol": 1, "run": run}}),
            json!({"play": {"id": "p", "name": "play canary-play"}}),
            json!({"task": {"id": "t", "name": "task canary-task", "path": "/srv/canary-y/site.yml:3", "role": "canary-role"}}),
            event("runner_item_on_failed", 1, json!({"host": host, "item": item,
                "result": {"failed": true, "item": item, "ansible_loop_var": "item", "msg": "Bearer canary9"}})),
            event("runner_item_on_failed", 2, json!({"host": host, "item": "canary10",
                "result": {"failed": true, "password": "canary10", "ansible_loop_var": "password"}})),
        ]),
        failed,
        lines(&[json!({"end": {"reason": "exit", "code": 2, "error": "no canary-error", "said": "canary-said"}})]),
    ]
    .concat()
}

fn stream(sandbox: &Sandbox, input: &str) -> String {
    sandbox.file("input", input);
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(std::fs::File::open(sandbox.path("input")).unwrap());
    crate::sandbox::outcome(command.spawn().unwrap()).printed()
}

#[test]
fn nothing_that_is_masked_leaves_a_run() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, MASK);
    let printed = stream(&sandbox, &run());
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 4, "{printed}");
    expect_masked(&sandbox, &server, &printed);
    let item = &bodies[0]["event"];
    assert_eq!(item["item"], json!({"name": "a", "password": "[redacted]"}));
    assert_eq!(item["task"]["name"], "task [redacted]");
    assert_eq!(item["host"]["name"], "web1");
    assert_eq!(bodies[1]["item"], "[redacted]");
    let failed = &bodies[2]["event"]["result"];
    assert_eq!(
        failed["deep"],
        json!([{"PASSWORDS": "[redacted]"}, {"api_key": "[redacted]"}])
    );
    assert_eq!(failed["diff"][0]["after"], "Bearer [redacted]\n");
    assert_eq!(
        failed["stdout_lines"],
        json!([
            "key:",
            "[redacted]",
            "[redacted]",
            "[redacted]",
            "{\"db_password\": \"[redacted]\"}"
        ])
    );
    let end = &bodies[3]["event"];
    assert_eq!(end["reason"], "no [redacted]");
    let message = end["failed_tasks"][0]["message"].as_str().unwrap();
    assert!(message.contains("Bearer [redacted]"), "{message}");
}

#[test]
fn without_a_mask_nothing_changes() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, "");
    stream(&sandbox, &run());
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 4);
    for (number, body) in bodies.iter().enumerate() {
        assert!(body.to_string().contains("canary"), "{number}");
        assert!(!body.to_string().contains("[redacted]"), "{number}");
    }
}

#[test]
fn records_of_ansible_runner_are_masked_too() {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\non = runner\nformat = runner\n[delivery]\nkeep_bodies = true\n{MASK}",
        server.url()
    );
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("home/.config/ansible-notify")).unwrap();
    sandbox.file("home/.config/ansible-notify/plugin_config.ini", config);
    let record = |seq: u64, record: Value| json!({"runner": {"seq": seq, "time": 1_763_670_121.5, "record": record}});
    let said =
        "fatal: [web1]: FAILED! => {\"db_password\": \"canary1\", \"msg\": \"Bearer canary2\"}";
    let job_event = json!({"uuid": "u1", "counter": 1, "stdout": said, "runner_ident": "j", "event": "runner_on_failed",
        "created": "2025-11-20T20:22:02.5+00:00", "event_data": {"task": "canary-task", "play": "p", "host": "web1",
        "res": {"failed": true, "msg": "Bearer canary2", "db_password": "canary1"}}});
    let error = json!({"uuid": "u2", "counter": 2, "stdout": "ERROR! no canary-file here", "runner_ident": "j",
        "event": "verbose", "created": "2025-11-20T20:22:02.5+00:00"});
    let runner = json!({"settings": "", "emitters": {}, "environment": []});
    let input = lines(&[
        json!({"hello": {"protocol": 1, "run": {"id": "r", "ident": "j"}, "runner": runner}}),
        record(1, job_event),
        record(2, error),
        record(3, json!({"status": "failed", "runner_ident": "j"})),
        json!({"end": {"reason": "exit"}}),
    ]);
    let printed = stream(&sandbox, &input);
    assert_eq!(server.requests().len(), 3, "{printed}");
    expect_masked(&sandbox, &server, &printed);
    // Events of no host do not wait for those of one.
    let bodies = server.bodies();
    let mut results = bodies.iter().map(|body| &body["event_data"]["res"]);
    assert!(results.any(|result| result["db_password"] == "[redacted]"));
}

#[test]
fn events_sent_by_hand_are_masked() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, MASK);
    let event = json!({"state": "failed", "host": "h", "task": "canary-task", "item": {"password": 1},
        "result": {"msg": "Bearer canary1", "results": [{"failed": true, "item": {"password": "canary2"}, "msg": "x"}]}});
    sandbox.file("event.json", event.to_string());
    let mut printed = String::new();
    for arguments in [
        &["send", "event.json", "--dry-run"][..],
        &["send", "event.json"],
        &["test", "--event", "event.json"],
        &["routes", "event.json"],
    ] {
        let outcome = sandbox.run_on_spool(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        printed += &outcome.printed();
    }
    assert_eq!(server.requests().len(), 2);
    expect_masked(&sandbox, &server, &printed);
}

#[test]
fn text_between_the_records_of_ansible_runner_is_masked() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, MASK);
    sandbox.file("output.txt", "ERROR! cannot read canary-file\n");
    let sent = sandbox.run_on_spool(&["send", "output.txt"]);
    assert_eq!(server.bodies()[0]["reason"], "cannot read [redacted]");
    expect_masked(&sandbox, &server, &sent.printed());
}

#[test]
fn no_level_reveals_what_another_one_hides() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, "[mask]\nkeys = token\n");
    std::fs::create_dir_all(sandbox.path("home/.config/ansible-notify")).unwrap();
    sandbox.file(
        "home/.config/ansible-notify/plugin_config.ini",
        "[mask]\nkeys = secret\npatterns = canary-\\w+\n",
    );
    let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
    let config = Config::from(config).with("inherit = false");
    sandbox.file("plugin_config.ini", config.text());
    let event = json!({"state": "failed", "result": {"token": "canary1", "secret": "canary2", "msg": "canary-x"}});
    sandbox.file("event.json", event.to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    expect_masked(&sandbox, &server, &sent.printed());
    let checked = sandbox.run_on_spool(&["check-config"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    for shown in [
        "keys            token\n",
        "keys            secret\n",
        "patterns        canary-",
    ] {
        assert!(checked.stdout.contains(shown), "{checked:?}");
    }
}

#[test]
fn events_that_wait_are_masked_when_they_are_sent() {
    // The large parts of a large one are read from the spool again when it is sent.
    for padding in [0, 400 << 10] {
        let server = Server::answering({
            let count = std::sync::atomic::AtomicUsize::new(0);
            move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => status(503),
                _ => OK,
            }
        });
        let sandbox = sandbox(&server, "");
        let padding = "x".repeat(padding);
        let result = json!({"msg": "canary-one", "padding": padding});
        let event = json!({"state": "failed", "host": "h", "result": result});
        sandbox.file("event.json", event.to_string());
        sandbox.run_on_spool(&["send", "event.json", "--no-wait"]);
        let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
        sandbox.file("plugin_config.ini", format!("{config}{MASK}"));
        sandbox.run_on_spool(&["flush"]);
        let flushed = sandbox.run_on_spool(&["flush"]);
        assert_eq!(flushed.code, 0, "{flushed:?}");
        let bodies = server.bodies();
        assert!(!bodies.is_empty());
        for body in bodies {
            assert_eq!(body["reason"], "[redacted]");
            assert!(!body.to_string().contains("canary-one"));
        }
    }
}

/// A mistake in `[mask]` blocks everything, and its line is reported.
#[track_caller]
fn refused(mask: &str, line: usize, problem: &str) {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, mask);
    let place = format!(
        "{}:{}: {problem}",
        sandbox.path("plugin_config.ini").display(),
        10 + line
    );
    sandbox.file(
        "event.json",
        r#"{"state":"failed","host":"h","result":{"msg":"canary-one"}}"#,
    );
    for arguments in [
        &["check-config"][..],
        &["send", "event.json"],
        &["send", "event.json", "--dry-run"],
    ] {
        let outcome = sandbox.run_on_spool(arguments);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        assert!(outcome.stderr.contains(&place), "{place} in {outcome:?}");
        assert!(!outcome.stdout.contains("canary"), "{outcome:?}");
        let says_so = outcome.stderr.contains("no event was sent");
        assert_eq!(says_so, arguments[0] == "send", "{outcome:?}");
    }
    let printed = stream(&sandbox, &run());
    assert!(printed.contains(&place), "{printed}");
    assert!(printed.contains("this run is not reported"), "{printed}");
    assert_eq!(server.requests().len(), 0);
    assert!(!sandbox.path("state/ansible-notify/spool.db").exists());
}

#[test]
fn nothing_leaves_if_it_is_unclear_what_is_masked() {
    refused(
        "[mask]\npatterns =\n    fine\n\n    # a note\n    (a\n",
        6,
        "`(a` is not a regular expression: unclosed group",
    );
    refused(
        "[mask]\npatterns = (?<=a)b\n",
        2,
        "`(?<=a)b` is not a regular expression: look-around",
    );
    refused(
        "[masks]\nkeys = a\n",
        1,
        "unknown section [masks]; did you mean [mask]?",
    );
    for name in ["mask:foo", "Mask", "MASKING", "mask events", "maks:foo"] {
        refused(
            &format!("[{name}]\nkeys = a\n"),
            1,
            &format!("unknown section [{name}]; did you mean [mask]?"),
        );
    }
    refused(
        "[mask]\nkey = a\n",
        2,
        "unknown key `key` in [mask]; did you mean `keys`?",
    );
    refused(
        "[mask]\nkeys = a\nkeys = b\n",
        3,
        "`keys` is set twice; first on line",
    );
}

#[test]
fn nothing_leaves_if_a_mask_is_misread() {
    for (mask, line, problem) in [
        (
            "keys = \"password\", token",
            2,
            "`\"password\"` in `keys` has quotes or brackets",
        ),
        (
            "keys = password, 'token'",
            2,
            "`'token'` in `keys` has quotes or brackets",
        ),
        (
            "keys =",
            2,
            "`keys` is empty; list names of keys, or remove it",
        ),
        (
            "keys = regex:^x",
            2,
            "`regex:^x` in `keys` looks like a regular expression",
        ),
        (
            "keys = password # all",
            2,
            "`password # all` in `keys` contains what looks like a comment",
        ),
        (
            "patterns =",
            2,
            "`patterns` is empty; list regular expressions, or remove it",
        ),
        (
            "patterns =\n    # none",
            2,
            "`patterns` is empty; list regular expressions, or remove it",
        ),
        (
            "patterns = x # comment",
            2,
            "`x # comment` contains what looks like a comment",
        ),
        (
            "patterns =\n    a+\n    /x/i",
            4,
            "`/x/i` is in slashes, which would be part of the pattern; write `(?i)x`",
        ),
        ("patterns = \"x\"", 2, "`\"x\"` is in quotes"),
        ("patterns =\n    x*", 3, "`x*` can match the empty text"),
        ("patterns = .*", 2, "`.*` can match the empty text"),
    ] {
        refused(&format!("[mask]\n{mask}\n"), line, problem);
    }
}

#[test]
fn names_without_commas_are_a_problem() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, "[mask]\nkeys = password token\n");
    let checked = sandbox.run_on_spool(&["check-config"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let doubt = "`password token` in `keys` is one name; separate names with commas";
    assert!(checked.printed().contains(doubt), "{checked:?}");
}

/// JSON within JSON, named pairs and colours, as commands and loops report them.
#[test]
fn values_inside_texts_are_masked() {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server, MASK);
    let applied = json!({"data": {"password": "canary1", "a": "kept1"}}).to_string();
    let object = json!({"metadata": {"annotations": {"last-applied": applied}}, "data": {"password": "canary2"}});
    let twice = Value::from(object.to_string()).to_string();
    let pair = json!({"key": "db_password", "value": "canary3"});
    let event = json!({"state": "failed", "host": "h", "item": pair, "result": {
        "stdout": object.to_string(), "stderr": twice,
        "stdout_lines": format!("{object:#}").lines().collect::<Vec<_>>(),
        "msg": "{\"pass\\u0077ord\": \"canary4\"} {\\\\\\\"password\\\\\\\": \\\\\\\"canary5\\\\\\\"} (item={'key': 'password', 'value': 'canary6'})",
        "cmd": "\u{1b}[0;31mcana\u{1b}[0mry-PW62x",
        "env": [{"name": "DB_PASSWORD", "value": "canary7"}, {"name": "A", "value": "kept2"}],
        "results": [{"failed": true, "item": pair, "ansible_loop_var": "item", "msg": "x"}]}});
    sandbox.file("event.json", event.to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    expect_masked(&sandbox, &server, &sent.printed());
    let body = &server.bodies()[0];
    assert_eq!(
        body["item"],
        json!({"key": "db_password", "value": "[redacted]"})
    );
    let result = &body["event"]["result"];
    assert_eq!(result["cmd"], "\u{1b}[0;31m[redacted]");
    assert_eq!(result["env"][0]["value"], "[redacted]");
    assert_eq!(result["env"][1]["value"], "kept2");
    let stdout: Value = serde_json::from_str(result["stdout"].as_str().unwrap()).unwrap();
    let applied = &stdout["metadata"]["annotations"]["last-applied"];
    let applied: Value = serde_json::from_str(applied.as_str().unwrap()).unwrap();
    assert_eq!(
        applied,
        json!({"data": {"password": "[redacted]", "a": "kept1"}})
    );
}

#[test]
fn events_for_ansible_runner_s_settings_are_masked() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("home/.config/ansible-notify")).unwrap();
    sandbox.file("home/.config/ansible-notify/plugin_config.ini", MASK);
    let settings = sandbox.file("settings", "");
    let runner = json!({"settings": settings, "emitters": {"runner_http_url": server.url()}, "environment": []});
    let record = json!({"uuid": "u1", "counter": 1, "stdout": "Bearer canary1", "runner_ident": "j",
        "event": "runner_on_ok", "created": "2025-11-20T20:22:02.5+00:00",
        "event_data": {"task": "t", "play": "p", "host": "web1", "res": {"password": "canary2"}}});
    let input = lines(&[
        json!({"hello": {"protocol": 1, "run": {"id": "r", "ident": "j"}, "runner": runner}}),
        json!({"runner": {"seq": 1, "time": 1_763_670_121.5, "record": record}}),
        json!({"end": {"reason": "exit"}}),
    ]);
    let printed = stream(&sandbox, &input);
    assert_eq!(
        server.bodies()[0]["event_data"]["res"]["password"],
        "[redacted]",
        "{printed}"
    );
    expect_masked(&sandbox, &server, &printed);
}
