//! The kind `slack`: channels, threads, updates, and what Slack says in a success.

use serde_json::{Value, json};

use super::chat::{DELIVERED, SLACK, SLACK_WEBHOOK, failed_run, incident, send};
use crate::sandbox::{Config, Sandbox};
use crate::server::slack;

#[test]
fn slack_speaks_to_several_channels_and_their_threads() {
    let server = slack::start();
    let told = SLACK.send(&server, "#ops, gone, dev/1700.25, ops", &failed_run(1));
    told.expect_line(
        69,
        &["1 dead", "1 of 3 not reached: gone: channel_not_found"],
    );
    let sent = server.bodies();
    let place = |body: &Value| (body["channel"].clone(), body["thread_ts"].clone());
    assert_eq!(
        sent.iter().map(place).collect::<Vec<_>>(),
        [
            (json!("ops"), Value::Null),
            (json!("gone"), Value::Null),
            (json!("dev"), json!("1700.25")),
        ]
    );
    assert_eq!(sent[0]["attachments"][0]["color"], "#e01e5a");
    assert_eq!(sent[0]["blocks"][0]["text"]["text"], "site.yml failed");
}

#[test]
fn slack_says_in_a_success_what_passes_and_what_does_not() {
    let server = slack::start();
    SLACK
        .send(&server, "passing", &failed_run(1))
        .expect(0, DELIVERED);
    assert_eq!(server.requests().len(), 2);
    // A token may be mended: the message waits.
    let config = SLACK
        .config(&server, "ops")
        .delivery("drain = 500ms")
        .with("token = xoxb-wrong");
    send(&config, &failed_run(1)).expect_line(75, &["1 pending", "invalid_auth"]);
    let forbidden = SLACK_WEBHOOK.send(&server, "forbidden", &failed_run(1));
    forbidden.expect_line(69, &["1 dead", "action_prohibited"]);
}

#[test]
fn slacks_settings_are_checked() {
    let server = slack::start();
    let check = |keys: &str, problem: &str| {
        let config = format!("[notifier:chat]\ntype = slack\n{keys}\n");
        Sandbox::with_config(&config)
            .run(&["check-config"])
            .expect_line(78, &[problem]);
    };
    check(
        "token = t-o-k-e-n\nchannels = C0123,1712.345",
        "`1712.345` is a thread; write it as CHANNEL/1712.345",
    );
    check(
        "url = https://h/x\ntoken = t-o-k-e-n",
        "`url` is a webhook with a channel of its own",
    );
    check(
        "token = t-o-k-e-n\nchannels = ops\ncolor = red",
        "`color` must be `#rgb` or `#rrggbb`, not `red`",
    );
    let connect = |config: &str| Sandbox::with_config(config).run(&["check-config", "--connect"]);
    let config = SLACK.config(&server, "ops");
    let good = connect(&config);
    good.expect(0, "");
    assert!(
        good.stdout.contains("chat: POST http://127.0.0.1:"),
        "{good:?}"
    );
    connect(&config.with("token = xoxb-wrong")).expect(78, "ansible-notify: chat: invalid_auth\n");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn slack_tells_what_follows_in_the_thread_of_the_first_message() {
    let server = slack::start();
    let sandbox = Sandbox::with_config(&SLACK.config(&server, "ops"));
    let told = sandbox.run_with_input(&["send", "-"], incident());
    told.expect(0, "ansible-notify: 3 events, 3 deliveries: all delivered\n");
    let sent = server.bodies();
    let place = |body: &Value| (body["thread_ts"].clone(), body["reply_broadcast"].clone());
    assert_eq!(
        sent.iter().map(place).collect::<Vec<_>>(),
        [
            (Value::Null, Value::Null),
            (json!("1712.000000"), json!(false)),
            (json!("1712.000000"), json!(true)),
        ]
    );
}

#[test]
fn slack_updates_the_first_message_where_that_is_asked_for() {
    let server = slack::start();
    let config = SLACK.config(&server, "ops").with("update = true");
    Sandbox::with_config(&config).run_with_input(&["send", "-"], incident());
    let requests = server.requests();
    let targets: Vec<&str> = requests
        .iter()
        .map(|request| request.target.as_str())
        .collect();
    assert_eq!(
        targets,
        [
            "/api/chat.postMessage",
            "/api/chat.update",
            "/api/chat.update"
        ]
    );
    let last = requests[2].json();
    assert_eq!(
        (&last["channel"], &last["ts"]),
        (&json!("C0OPS"), &json!("1712.000000"))
    );
    assert_eq!(last["blocks"][0]["text"]["text"], "site.yml recovered");
    assert_eq!(last["attachments"][0]["color"], "#2eb67d");
}

/// A run in which as many hosts as there are fail at once, and its end.
fn failing_at_once() -> String {
    let failed = |n| format!(r#"{{"state":"failed","host":"h{n}","task":"t","run":"r"}}"#);
    let failed: String = (0..30).map(failed).collect();
    failed + r#"{"event":"playbook_on_stats","run":"r","status":"error"}"#
}

#[test]
fn slack_keeps_one_thread_where_many_hosts_fail_at_once() {
    for channel in ["ops", "passing", "busy"] {
        let server = slack::start();
        // They are sent one after the other; the end of the last one is waited for.
        let config = SLACK.config(&server, channel).delivery("drain = 1m");
        let sandbox = Sandbox::with_config(&config.with("on = any, failed"));
        let told = sandbox.run_with_input(&["send", "-"], failing_at_once());
        assert_eq!(told.code, 0, "{told:?}");
        // The first one may be refused.
        let mut sent = server.bodies();
        sent.drain(..sent.len() - 31);
        assert!(sent[0].get("thread_ts").is_none(), "{}", sent[0]);
        let thread = &sent[1]["thread_ts"];
        assert!(thread.is_string());
        let strangers = sent[1..].iter().filter(|body| body["thread_ts"] != *thread);
        assert_eq!(strangers.count(), 0, "{channel}");
        assert_eq!(sent[30]["attachments"][0]["color"], "#e01e5a");
    }
}

#[test]
fn slack_updates_one_message_where_many_hosts_fail_at_once() {
    let server = slack::start();
    let config = SLACK
        .config(&server, "ops")
        .delivery("drain = 1m")
        .with("on = any, failed\nupdate = true");
    let told = Sandbox::with_config(&config).run_with_input(&["send", "-"], failing_at_once());
    assert_eq!(told.code, 0, "{told:?}");
    let requests = server.requests();
    let posted = requests
        .iter()
        .filter(|one| one.target == "/api/chat.postMessage");
    assert_eq!((posted.count(), requests.len()), (1, 31));
    let last = requests[30].json();
    assert_eq!(last["blocks"][0]["text"]["text"], "ansible failed");
    assert_eq!(last["ts"], "1712.000000");
}

#[test]
fn slack_keeps_the_end_of_a_run_from_being_updated_by_what_comes_late() {
    let server = slack::start();
    let config = SLACK.config(&server, "ops");
    let config = config.with("on = any, failed\nupdate = true");
    let sandbox = Sandbox::with_config(&config);
    let run = r#"{"id":"r","playbook":"site.yml"}"#;
    let failed = |host: &str| format!(r#"{{"state":"failed","host":"{host}","run":{run}}}"#);
    let end = |run: &str| format!(r#"{{"event":"run_end","status":"error","run":{run}}}"#);
    let inputs = [
        failed("h1") + &end(run),
        failed("h2"),
        failed("h3"),
        end(r#"{"id":"next","playbook":"site.yml"}"#),
    ];
    for events in inputs {
        let told = super::spool::run(&sandbox, &["send", "-"], &events);
        assert_eq!(told.code, 0, "{told:?}");
    }
    let requests = server.requests();
    let places: Vec<_> = requests
        .iter()
        .map(|request| {
            let body = request.json();
            let method = request.target.rsplit('.').next().unwrap_or_default();
            let text = |key: &str| body[key].as_str().map(str::to_owned);
            (method.to_owned(), text("ts"), text("thread_ts"))
        })
        .collect();
    let first = || Some("1712.000000".to_owned());
    let (post, update) = ("postMessage".to_owned(), "update".to_owned());
    assert_eq!(
        places,
        [
            (post.clone(), None, None),
            (update.clone(), first(), None),
            (post.clone(), None, first()),
            (post, None, first()),
            (update, first(), None),
        ]
    );
}

#[test]
fn slack_answers_to_a_run_that_failed_on_some_hosts_in_the_thread_of_the_incident() {
    let server = slack::start();
    let config = SLACK.config(&server, "ops");
    let sandbox = Sandbox::with_config(&config.with("on = error, failed"));
    for run in ["r1", "r2"] {
        let run = format!(r#"{{"id":"{run}","playbook":"site.yml"}}"#);
        let events = format!(
            r#"{{"state":"failed","host":"h","task":"t","run":{run}}}{{"event":"playbook_on_stats","run":{run},"status":"error"}}"#
        );
        let told = super::spool::run(&sandbox, &["send", "-"], &events);
        assert_eq!(told.code, 0, "{told:?}");
    }
    let threads = server.bodies();
    let threads: Vec<&Value> = threads.iter().map(|body| &body["thread_ts"]).collect();
    let first = json!("1712.000000");
    assert_eq!(threads, [&Value::Null, &first, &first, &first]);
}

#[test]
fn slack_posts_anew_what_it_cannot_update() {
    // A channel in which every message is forgotten at once.
    let server = slack::start();
    let config = SLACK.config(&server, "forgetful").with("update = true");
    let told = Sandbox::with_config(&config).run_with_input(&["send", "-"], incident());
    told.expect(0, "ansible-notify: 3 events, 3 deliveries: all delivered\n");
    let requests = server.requests();
    let targets: Vec<&str> = requests
        .iter()
        .map(|request| request.target.as_str())
        .collect();
    let (post, update) = ("/api/chat.postMessage", "/api/chat.update");
    assert_eq!(targets, [post, update, post, update, post]);
    // What was posted anew is what is updated next.
    assert_eq!(requests[1].json()["ts"], "1712.000000");
    assert_eq!(requests[3].json()["ts"], "1712.000002");
}

#[test]
fn who_has_a_message_is_not_told_again() {
    let server = slack::start();
    SLACK
        .send(&server, "ops, passing, busy, dev", &failed_run(1))
        .expect(0, DELIVERED);
    let sent: Vec<Value> = server
        .requests()
        .iter()
        .map(|request| request.json()["channel"].clone())
        .collect();
    assert_eq!(sent, ["ops", "passing", "busy", "dev", "passing", "busy"]);
}

#[test]
fn a_channel_that_has_the_message_gets_it_from_no_other_process() {
    let server = slack::start();
    let config = SLACK.config(&server, "ops, busy");
    let config = config.delivery("drain = 800ms");
    let sandbox = Sandbox::with_config(&config);
    sandbox.file("event.json", failed_run(1).to_string());
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    sent.expect_line(75, &["1 pending", "busy"]);
    sandbox
        .run_on_spool(&["flush"])
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
    let channels: Vec<Value> = server
        .bodies()
        .iter()
        .map(|sent| sent["channel"].clone())
        .collect();
    assert_eq!(channels, ["ops", "busy", "busy"]);

    // Nor where it is tried again that was refused at another one.
    let sandbox = Sandbox::with_config(&SLACK.config(&server, "dev, gone"));
    sandbox.file("event.json", failed_run(1).to_string());
    assert_eq!(sandbox.run_on_spool(&["send", "event.json"]).code, 69);
    assert_eq!(sandbox.run_on_spool(&["flush", "--dead"]).code, 69);
    let told = server
        .bodies()
        .iter()
        .filter(|sent| sent["channel"] == "dev")
        .count();
    assert_eq!(told, 1);
}

/// Runs a command whose output is attached to the message of its end.
fn attached(config: Config) -> (Sandbox, crate::sandbox::Outcome) {
    let sandbox = Sandbox::with_config(&config.with("on = error\nattach = output"));
    let script = "echo Gr\u{fc}\u{df}e; echo 'ERROR! no'; exit 1";
    let outcome = sandbox.run_on_spool(&["run", "sh", "-c", script]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    (sandbox, outcome)
}

#[test]
fn slack_gets_the_output_of_a_command_as_a_snippet_in_the_thread_of_its_message() {
    let server = slack::start();
    let (_sandbox, outcome) = attached(SLACK.config(&server, "ops, dev"));
    assert_eq!(outcome.stderr, DELIVERED);
    let requests = server.requests();
    let targets: Vec<&str> = requests.iter().map(|one| one.target.as_str()).collect();
    let (post, place) = ("/api/chat.postMessage", "/api/files.getUploadURLExternal");
    let done = "/api/files.completeUploadExternal";
    assert_eq!(
        targets,
        [
            post,
            place,
            "/upload/v1/F0000",
            done,
            post,
            place,
            "/upload/v1/F0001",
            done
        ]
    );
    assert_eq!(requests[2].body, "Gr\u{fc}\u{df}e\nERROR! no");
    let completed = [3, 7].map(|at: usize| requests[at].json());
    assert_eq!(
        completed.map(|body| (body["channel_id"].clone(), body["thread_ts"].clone())),
        [
            (json!("C0OPS"), json!("1712.000000")),
            (json!("C0DEV"), json!("1712.000001")),
        ]
    );
}

#[test]
fn slack_gets_the_message_of_a_bot_that_cannot_upload_files() {
    let server = slack::start();
    let config = SLACK
        .config(&server, "ops")
        .with(&format!("token = {}", slack::FILELESS));
    let (sandbox, outcome) = attached(config);
    let note = "sent without its attachment: missing_scope: give the bot the scope `files:write`";
    assert_eq!(
        outcome.stderr,
        format!("ansible-notify: {note}\n{DELIVERED}")
    );
    let history = sandbox.run_on_spool(&["history", "1"]);
    assert!(history.stdout.contains(note), "{history:?}");
    assert_eq!(server.requests().len(), 2);
    // It is sent no second time.
    sandbox.run_on_spool(&["flush"]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn slack_attaches_nothing_without_output_or_bot() {
    let server = slack::start();
    let config = SLACK.config(&server, "ops");
    send(&config.with("attach = output"), &failed_run(1)).expect(0, DELIVERED);
    assert_eq!(server.requests().len(), 1);
    let webhook = SLACK_WEBHOOK.config(&server, "ops");
    Sandbox::with_config(&webhook.with("attach = output"))
        .run(&["check-config"])
        .expect_line(78, &["`attach` requires a bot"]);
}
