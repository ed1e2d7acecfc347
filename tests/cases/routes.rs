//! `routes` and `test`: trying out who hears of what, and how it reads.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::server::{Reply, Server};

const CONFIG: &str = "\
[inputs]
callback_url = http://localhost/
[notifier:chat]
type = mattermost
url = http://localhost/hook
on = failed, playbook_on_stats
when = host.startswith('web')
[notifier:quiet]
type = webhook
url = http://localhost/
enabled = false
[notifier:runs]
type = webhook
url = http://localhost/
";

const FAILED: &str = r#"{"id": "1", "state": "failed", "host": "db1", "task": "Install"}"#;

#[test]
fn routes_says_who_hears_of_an_event_and_why_not() {
    let sandbox = Sandbox::with_config(CONFIG);
    sandbox.file("failed.json", FAILED);
    let outcome = sandbox.run(&["routes", "failed.json"]);
    outcome.expect(0, "");
    assert_eq!(
        outcome.stdout,
        "1: runner_on_failed, db1, Install\n  \
         callback (webhook): yes, matches its trigger `failed`\n  \
         chat (mattermost): no, its `when` is false\n  \
         runs (webhook): no, matches none of its triggers: error, success\n  \
         quiet (webhook): no, it is turned off by `enabled = false`\n"
    );
    let web = FAILED.replace("db1", "web1");
    let outcome = sandbox.run_with_input(&["routes", "--json", "-"], web);
    let route: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let chat = json!({"notifier": "chat", "type": "mattermost", "wanted": true, "reason": "matches its trigger `failed`"});
    assert_eq!((&route["id"], &route["routes"][1]), (&json!("1"), &chat));
    let outcome = sandbox.run_with_input(&["routes", "-"], "{}");
    outcome.expect_line(65, &["standard input:1: is not an event"]);
}

fn titles(arguments: &[&str]) -> (Vec<Value>, i32, String) {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = mattermost\nurl = {}\non = recovered, unreachable\nmessage = *{{{{ host }}}}* {{{{ reason }}}}\n",
        server.url()
    ));
    sandbox.file("event.json", FAILED);
    let outcome = sandbox.run(arguments);
    let title = |body: Value| body["attachments"][0]["title"].clone();
    let titles = server
        .requests()
        .iter()
        .map(|request| title(request.json()))
        .collect();
    (titles, outcome.code, outcome.stderr)
}

#[test]
fn test_sends_what_the_notifier_would_say() {
    for (arguments, title) in [
        (&["test"][..], "Test: test-host is unreachable"),
        (
            &["test", "--trigger", "recovered"],
            "Test: test.yml recovered",
        ),
        (
            &["test", "--trigger", "canceled"],
            "Test: test.yml was canceled",
        ),
        (
            &["test", "--trigger", "runner_on_unreachable"],
            "Test: test-host is unreachable",
        ),
        (
            &["test", "chat", "--event", "event.json"],
            "Test: db1: Install: failed",
        ),
    ] {
        assert_eq!(
            titles(arguments),
            (vec![json!(title)], 0, String::new()),
            "{arguments:?}"
        );
    }
    for (trigger, problem) in [
        ("eror", "unknown trigger `eror`; did you mean `error`?"),
        (
            "runner",
            "no sample of `runner`; pass an event with --event",
        ),
        (
            "xyz",
            "unknown trigger `xyz`; known triggers: any, ok, changed, failed, skipped, unreachable, ignored, retry, \
             item_ok, item_failed, item_skipped, async_poll, async_ok, async_failed, diff, started, success, \
             error, canceled, recovered, changed_run, runner, overdue, stalled, missing, slow_task, and Ansible's callbacks",
        ),
    ] {
        assert_eq!(
            titles(&["test", "--trigger", trigger]),
            (vec![], 2, format!("ansible-notify: {problem}\n"))
        );
    }
}

#[test]
fn a_template_that_fails_is_told_of_and_the_default_is_sent() {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = mattermost\nurl = {}\non = failed\nsubject = {{{{ result.count // result.zero }}}}\n",
        server.url()
    ));
    let event = FAILED.replace('}', r#", "result": {"count": 1, "zero": 0}}"#);
    sandbox.file("event.json", event);
    let outcome = sandbox.run_on_spool(&["send", "event.json"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome
            .stderr
            .starts_with("ansible-notify: `subject` failed: "),
        "{outcome:?}"
    );
    let attachment = server.requests()[0].json()["attachments"][0].clone();
    assert_eq!(attachment["title"], "db1: Install: failed");
    let history = sandbox.run_on_spool(&["history", "1"]);
    assert!(
        history.stdout.contains("delivered; `subject` failed: "),
        "{history:?}"
    );
}
