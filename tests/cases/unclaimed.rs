//! What waits for a notifier that is gone or muted: it goes nowhere else, and fails no timer.

use super::spool::{event, run};
use crate::sandbox::{Config, Outcome, Sandbox};
use crate::server::{OK, Server, dead_url, status};

const USER: &str = "home/.config/ansible-notify/plugin_config.ini";
const PROJECT: &str = "project/plugin_config.ini";

/// A project below a user's file, in which something was accepted and not delivered.
fn left(user: &str, project: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file(USER, user);
    sandbox.file(PROJECT, project);
    accept(&sandbox);
    sandbox
}

fn accept(sandbox: &Sandbox) {
    let arguments = ["send", "-", "--no-wait", "--project", "project"];
    let sent = run(sandbox, &arguments, &event("h"));
    assert_eq!(sent.code, 0, "{sent:?}");
}

fn remove(sandbox: &Sandbox) {
    std::fs::remove_dir_all(sandbox.path("project")).unwrap();
}

fn inputs(url: &str) -> String {
    format!("[inputs]\ncallback_url = {url}\n")
}

fn hook(name: &str, keys: &str) -> String {
    format!("[notifier:{name}]\non = any\n{keys}\n")
}

/// A person and a timer are given the reason once, and nothing else than the summary; it fails no timer.
#[track_caller]
fn skipped(sandbox: &Sandbox, reason: &str) {
    for (arguments, code) in [(&["flush"][..], 78), (&["flush", "--due"], 0)] {
        let Outcome {
            code: found,
            stderr,
            ..
        } = run(sandbox, arguments, "");
        assert_eq!(found, code, "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert!(lines[0].contains(reason), "{stderr}");
        assert_eq!(lines[1], "ansible-notify: 1 delivery: 1 skipped");
    }
}

#[test]
fn what_a_lost_project_addressed_goes_to_nobody_else() {
    let (outer, own) = (Server::start([OK]), Server::start([OK]));
    let outer_url = outer.url();
    let slack = |channel: &str| format!("channels = {channel}");
    let webhook = |url: &str| format!("type = webhook\nurl = {url}");
    let outer_slack = format!(
        "type = slack\ntoken = canary-outer\napi_url = {outer_url}\n{}",
        slack("#all")
    );
    for (name, user, project) in [
        ("callback", inputs(&outer_url), inputs(&dead_url())),
        (
            "hook",
            hook("hook", &webhook(&outer_url)),
            hook("hook", &webhook(&dead_url())),
        ),
        // An address in a secret, and a recipient at the same address.
        (
            "hook",
            hook("hook", &webhook(&outer_url)),
            hook(
                "hook",
                &format!("type = webhook\nurl_command = echo {}", dead_url()),
            ),
        ),
        (
            "chat",
            hook("chat", &outer_slack),
            hook("chat", &slack("#team-b")),
        ),
    ] {
        let sandbox = left(&user, &project);
        // Only the section is gone, then all.
        sandbox.file(PROJECT, "[delivery]\ndrain = 0\n");
        skipped(
            &sandbox,
            "project/plugin_config.ini no longer has their address; put it back",
        );
        std::fs::remove_file(sandbox.path(PROJECT)).unwrap();
        let gone = "project/plugin_config.ini, which had their address, is missing; restore it, or discard them";
        skipped(&sandbox, gone);
        remove(&sandbox);
        skipped(
            &sandbox,
            &format!("{gone} with `ansible-notify discard --notifier {name}`"),
        );
        assert_eq!(outer.requests().len(), 0, "{project}");
        if name == "callback" {
            sandbox.file(PROJECT, inputs(&own.url()));
            run(&sandbox, &["flush", "--due"], "")
                .expect(0, "ansible-notify: 1 delivery: delivered\n");
            assert_eq!((own.requests().len(), outer.requests().len()), (1, 0));
        }
    }
}

#[test]
fn what_an_outer_level_addressed_is_delivered_without_the_project() {
    let server = Server::start([OK]);
    for project in [
        "[delivery]\ndrain = 0\n".to_owned(),
        // It says what it wants of the outer one, and not where that is.
        "[inputs]\non = any\n[outputs]\nhost = host\n".to_owned(),
    ] {
        let sandbox = left(&inputs(&server.url()), &project);
        let before = server.requests().len();
        remove(&sandbox);
        run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
        assert_eq!(server.requests().len(), before + 1);
    }
}

#[test]
fn a_timer_delivers_what_is_beside_a_lost_project() {
    let server = Server::start([OK]);
    let outer = hook("outer", &format!("type = webhook\nurl = {}", server.url()));
    let sandbox = left(&outer, &inputs(&dead_url()));
    remove(&sandbox);
    let flushed = run(&sandbox, &["flush", "--due"], "");
    assert_eq!(flushed.code, 0, "{flushed:?}");
    assert!(
        flushed.stderr.contains("callback: skipping 1 delivery: "),
        "{flushed:?}"
    );
    assert!(
        flushed
            .stderr
            .contains("2 deliveries: 1 delivered, 1 skipped"),
        "{flushed:?}"
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_notifier_that_is_renamed_or_muted_fails_no_timer() {
    let url = dead_url();
    let keys = format!("type = webhook\nurl = {url}");
    for (after, reason) in [
        (
            hook("new", &keys),
            "old: skipping 1 delivery: the notifier is no longer configured",
        ),
        (
            String::new(),
            "old: skipping 1 delivery: the notifier is no longer configured",
        ),
        (
            hook("old", &format!("{keys}\nenabled = false")),
            "old: skipping 1 delivery: `old` is turned off by `enabled = false`",
        ),
    ] {
        let sandbox = left("", &hook("old", &keys));
        sandbox.file(PROJECT, after);
        skipped(&sandbox, reason);
    }
}

#[test]
fn several_of_one_notifier_are_one_line() {
    let url = dead_url();
    let sandbox = left("", &inputs(&url));
    for user in ["anna", "otto"] {
        let arguments = ["send", "-", "--no-wait", "--project", "project"];
        let mut command = sandbox.command_on_spool(&arguments);
        command.env("ANSIBLE_NOTIFY_USERNAME", user);
        command.env("ANSIBLE_NOTIFY_PASSWORD", "canary-password");
        command.stdin(std::fs::File::open(sandbox.file("event", event("h2"))).unwrap());
        let sent = crate::sandbox::outcome(command.spawn().unwrap());
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    remove(&sandbox);
    let flushed = run(&sandbox, &["flush", "--due"], "");
    assert!(
        flushed.stderr.contains("callback: skipping 3 deliveries: "),
        "{flushed:?}"
    );
    assert_eq!(flushed.stderr.lines().count(), 2, "{flushed:?}");
    assert_eq!(flushed.code, 0, "{flushed:?}");
}

#[test]
fn what_is_muted_is_named() {
    let server = Server::start([OK]);
    let muted = hook(
        "chat",
        &format!("type = webhook\nurl = {}\nenabled = false", server.url()),
    );
    let sandbox = Sandbox::with_config(&muted);
    sandbox.file("event.json", event("h"));
    let said = "ansible-notify: `chat` is turned off by `enabled = false`\n";
    sandbox.run(&["test", "chat"]).expect(78, said);
    sandbox.run(&["test"]).expect(78, said);
    let sent = sandbox.run(&["send", "event.json"]);
    let reason = "1 event matched no notifier; `chat` is turned off by `enabled = false`\n";
    assert!(sent.code == 0 && sent.stderr.contains(reason), "{sent:?}");
    let both = format!(
        "{muted}[notifier:pages]\ntype = webhook\nurl = {}\non = success\n",
        server.url()
    );
    sandbox.file("plugin_config.ini", both);
    let sent = sandbox.run(&["send", "event.json"]);
    let reason =
        "matched no notifier; see `on` and `when`; `chat` is turned off by `enabled = false`\n";
    assert!(sent.code == 0 && sent.stderr.contains(reason), "{sent:?}");
    let tested = sandbox.run(&["test"]);
    assert_eq!(
        (tested.code, tested.stderr.as_str()),
        (0, said),
        "{tested:?}"
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn skipped_deliveries_stay_held_or_dead() {
    let refusing = Server::start([status(400)]);
    let server = Server::start([OK]);
    let held = "mute_until = 2999-12-31 08:00";
    let notifier = |name: &str, url: &str, keys: &str| {
        hook(name, &format!("type = webhook\nurl = {url}\n{keys}"))
    };
    let both = notifier("held", &server.url(), held) + &notifier("dead", &refusing.url(), "");
    let both = Config::from(both);
    let sandbox = Sandbox::with_config(&both);
    let sent = run(&sandbox, &["send", "-"], &event("h"));
    assert_eq!(sent.code, 69, "{sent:?}");
    let counts = || {
        let status = run(&sandbox, &["status", "--json"], "").stdout;
        let status: Vec<serde_json::Value> = serde_json::from_str(&status).unwrap();
        let mut counts: Vec<(String, i64, i64)> = status
            .iter()
            .map(|one| {
                let count = |key: &str| one[key].as_i64().unwrap();
                let name = one["name"].as_str().unwrap().to_owned();
                (name, count("held"), count("dead"))
            })
            .collect();
        counts.sort();
        counts
    };
    let before = counts();
    assert_eq!(
        before,
        [("dead".to_owned(), 0, 1), ("held".to_owned(), 1, 0)]
    );
    // Removed, muted, and with a mistake.
    for (config, code) in [
        (String::new(), 78),
        (both.clone().with("enabled = false").text(), 78),
        (both.with("no_such_key = 1").text(), 78),
    ] {
        sandbox.file("plugin_config.ini", &config);
        let flushed = run(&sandbox, &["flush", "--held", "--dead"], "");
        assert_eq!(flushed.code, code, "{config}: {flushed:?}");
        for name in ["held", "dead"] {
            let line = format!("{name}: skipping 1 delivery: ");
            assert!(flushed.stderr.contains(&line), "{config}: {flushed:?}");
        }
        assert!(
            !flushed.stderr.contains("nothing to deliver"),
            "{flushed:?}"
        );
        assert_eq!(counts(), before, "{config}: {flushed:?}");
    }
    sandbox.file("plugin_config.ini", String::new());
    let flushed = run(&sandbox, &["flush"], "");
    assert!(
        flushed
            .stderr
            .ends_with("ansible-notify: 1 delivery: 1 skipped\n"),
        "{flushed:?}"
    );
    let url = server.url();
    sandbox.file(
        "plugin_config.ini",
        notifier("held", &url, held) + &notifier("dead", &url, ""),
    );
    let flushed = run(&sandbox, &["flush", "--held", "--dead"], "");
    flushed.expect(0, "ansible-notify: 2 deliveries: all delivered\n");
}
