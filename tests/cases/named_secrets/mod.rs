//! `[secret:NAME]`: one secret for many keys, found by name, and URLs that a template chooses among them.

mod choices;

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Reply, Server, dead_url};

const USER: &str = "home/.config/ansible-notify/plugin_config.ini";

const EVENT: &str = r#"{"state":"failed","host":"h"}"#;

fn header(server: &Server, name: &str) -> Option<String> {
    let requests = server.requests();
    requests.last().unwrap().header(name).map(str::to_owned)
}

fn send(sandbox: &Sandbox) -> Outcome {
    sandbox.file("event.json", EVENT);
    sandbox.run_on_spool(&["send", "event.json"])
}

#[test]
fn a_secret_is_used_by_its_name_in_every_key() {
    for secret in [
        "value = canary-one",
        "value_file = file",
        "value_env = HOME_OF_CANARY",
        "value_command = cat file",
    ] {
        for (key, name, sent) in [
            ("token", "authorization", "Bearer canary-one"),
            (
                "username = anna\npassword",
                "authorization",
                "Basic YW5uYTpjYW5hcnktb25l",
            ),
            ("header.X-Key", "x-key", "canary-one"),
        ] {
            let server = Server::start([OK]);
            let sandbox = Sandbox::with_config(&format!(
                "[secret:ops key]\n{secret}\n[inputs]\ncallback_url = {}\n{key} = secret:ops key\n",
                server.url()
            ));
            let file = sandbox.file("file", "canary-one\n");
            sandbox.mode("file", 0o600);
            sandbox.file("event.json", EVENT);
            let mut printed = String::new();
            for arguments in [&["check-config"][..], &["send", "event.json"]] {
                let mut command = sandbox.command_on_spool(arguments);
                command.env("HOME_OF_CANARY", "canary-one");
                let outcome = outcome(command.spawn().unwrap());
                assert_eq!(outcome.code, 0, "{secret} {key}: {outcome:?}");
                printed += &outcome.printed();
            }
            assert!(printed.contains("  secret:ops key\n"), "{printed}");
            assert!(!printed.contains("canary-one"), "{printed}");
            assert_eq!(
                header(&server, name).as_deref(),
                Some(sent),
                "{}",
                file.display()
            );
            sandbox.expect_no_canary_stored();
        }
    }
}

#[test]
fn a_hook_is_a_secret_by_its_name() {
    let server = Server::start([Reply::Full(400, "", "no canary-hook-path here")]);
    let sandbox = Sandbox::with_config(&format!(
        "[secret:hook]\nvalue = {}\n[notifier:a]\ntype = webhook\nurl = secret:hook\non = any\n\
         [notifier:b]\ntype = slack\nurl = secret:hook\non = any\n",
        server.at("/canary-hook-path")
    ));
    let sent = send(&sandbox);
    assert_eq!(sent.code, 69, "{sent:?}");
    assert_eq!(server.requests().len(), 2);
    sandbox.expect_no_canary();
}

#[test]
fn a_secret_may_begin_like_a_name() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[secret:a]\nvalue = secret:b\n[inputs]\ncallback_url = {}\ntoken = secret:a\n",
        server.url()
    ));
    send(&sandbox).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!(
        header(&server, "authorization").as_deref(),
        Some("Bearer secret:b")
    );
}

/// Asserts that a mistake is reported with its line, in the sections after `[inputs]`, which has three lines.
#[track_caller]
fn wrong(reference: &str, secrets: &str, line: usize, problem: &str) {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\ntoken = {reference}\n{secrets}",
        dead_url()
    ));
    let place = format!("plugin_config.ini:{line}: {problem}");
    let checked = sandbox.run(&["check-config"]);
    assert_eq!(checked.code, 78, "{checked:?}");
    let said = checked.stderr.matches("plugin_config.ini:").count();
    assert_eq!(said, 1, "{checked:?}");
    assert!(checked.stderr.contains(&place), "{place} in {checked:?}");
    let sent = send(&sandbox);
    assert_eq!(sent.code, 78, "{sent:?}");
    assert!(sent.stderr.contains(&place), "{sent:?}");
    assert!(!sent.printed().contains("canary"), "{sent:?}");
}

#[test]
fn mistakes_are_reported_once_with_their_place() {
    wrong(
        "secret:opz",
        "[secret:ops]\nvalue = canary\n",
        3,
        "`token`: there is no [secret:opz] in this file or at a higher level; did you mean `ops`?",
    );
    wrong(
        "secret:a",
        "",
        3,
        "`token`: there is no [secret:a] in this file or at a higher level",
    );
    wrong(
        "secret:a",
        "[secret:a]\nvalue = canary\nvalue_env = HOME\n",
        5,
        "`value` and `value_env` are set; keep one of them",
    );
    wrong(
        "secret:a",
        "[secret:a]\nvalue =\n",
        4,
        "[secret:a] has no `value`; set",
    );
    wrong(
        "secret:a",
        "[secret:a]\nvalu = canary\n",
        5,
        "unknown key `valu` in [secret:a]; did you mean `value`?",
    );
    wrong(
        "a-token",
        "[secrets:a]\nvalue = canary\n",
        4,
        "unknown section [secrets:a]; did you mean [secret:a]?",
    );
}

#[test]
fn an_unused_secret_is_neither_read_nor_a_problem() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[secret:a]\nvalue_command = touch trace\n[secret:b]\nvalue = canary\n",
        server.url()
    ));
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert_eq!(
        (checked.code, checked.stderr.as_str()),
        (0, ""),
        "{checked:?}"
    );
    assert!(!checked.stdout.contains("canary"), "{checked:?}");
    send(&sandbox).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert!(!sandbox.path("trace").exists());
}

#[test]
fn a_name_in_an_ordinary_key_is_a_warning() {
    let sandbox = Sandbox::with_config(
        "[secret:a]\nvalue = b\n[notifier:n]\ntype = mattermost\nurl = http://localhost/a\nusername = secret:a\n",
    );
    let checked = sandbox.run(&["check-config"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let warning =
        "plugin_config.ini:6: `username` is used literally: only a secret can be the name of one";
    assert!(checked.stderr.contains(warning), "{checked:?}");
}

#[test]
fn a_name_inside_a_text_is_a_warning() {
    let warn = |keys: &str| {
        let sandbox = Sandbox::with_config(&format!(
            "[secret:a]\nvalue = canary-one\n[inputs]\ncallback_url = http://localhost/a\n{keys}\n"
        ));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{keys}: {checked:?}");
        assert!(!checked.printed().contains("canary"), "{checked:?}");
        checked.stderr
    };
    for (keys, instead) in [
        (
            "header.Authorization = Bearer secret:a",
            "for a bearer token write `token = secret:NAME`",
        ),
        (
            "header.X-Key = Key secret:a",
            "write `header.X-Key = secret:NAME`, or `header.X-Key_file`",
        ),
        (
            "headers = X-Bar: secret:a",
            "write `header.NAME = secret:NAME`",
        ),
        (
            "headers =\n  X-Foo: b\n  X-Bar: secret:a",
            "write `header.NAME = secret:NAME`",
        ),
        (
            "body = {\"key\": \"secret:a\"}",
            "only keys for a secret can have one",
        ),
        (
            "[outputs]\nkey = 'secret:a'",
            "only keys for a secret can have one",
        ),
    ] {
        let said = warn(keys);
        assert_eq!(said.lines().count(), 1, "{keys}: {said}");
        assert!(
            said.contains("the name of a secret is sent literally there"),
            "{keys}: {said}"
        );
        assert!(said.contains(instead), "{keys}: {said}");
    }
    for keys in [
        "token = secret:a",
        "header.X-Key = secret:a",
        "headers = X-Bar: client_secret:a",
        "body = {\"key\": \"secret:b\"}",
    ] {
        assert_eq!(warn(keys), "", "{keys}");
    }
}

#[test]
fn messages_of_a_secret_command_are_not_shown() {
    let sandbox = Sandbox::with_config(&format!(
        "[secret:a]\nvalue_command = sh -c 'cat said >&2; exit 3'\n[inputs]\ncallback_url = {}\ntoken = secret:a\n",
        dead_url()
    ));
    sandbox.file("said", "canary-one\n");
    let checked = sandbox.run(&["check-config", "--run-commands"]);
    assert_eq!(checked.code, 78, "{checked:?}");
    assert!(
        checked.stderr.contains(
            "`sh` failed: exit status: 3; its messages may contain the secret and are not shown"
        ),
        "{checked:?}"
    );
    assert!(checked.stderr.contains("run it by hand"), "{checked:?}");
    let sent = send(&sandbox);
    assert!(
        !format!("{checked:?}{sent:?}").contains("canary"),
        "{checked:?} {sent:?}"
    );
    sandbox.expect_no_canary_stored();
}

#[test]
fn an_inspection_runs_no_command_of_a_named_secret() {
    let sandbox = Sandbox::with_config(
        "[secret:a]\nvalue_command = sh -c 'touch trace; echo canary'\n[inputs]\ncallback_url = http://localhost/\ntoken = secret:a\n",
    );
    let checked = sandbox.run(&["check-config"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let note = "plugin_config.ini:2: `value_command` is not run here; use --run-commands to run it";
    assert!(checked.stdout.contains(note), "{checked:?}");
    assert!(!sandbox.path("trace").exists());
    let checked = sandbox.run(&["check-config", "--run-commands"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(sandbox.path("trace").exists());
}

#[test]
fn a_level_uses_the_secrets_of_higher_ones_and_replaces_none() {
    let (own, other) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::with_config(&format!(
        "[secret:t]\nvalue = project\n[inputs]\ncallback_url = {}\ntoken = secret:t\nheader.X-Far = secret:far\n",
        own.url()
    ));
    sandbox.file(
        USER,
        format!(
            "[secret:t]\nvalue = user's\n[secret:far]\nvalue = far\n[notifier:u]\ntype = webhook\nurl = {}\non = any\ntoken = secret:t\n",
            other.url()
        ),
    );
    let sent = send(&sandbox);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(
        header(&own, "authorization").as_deref(),
        Some("Bearer project")
    );
    assert_eq!(header(&own, "x-far").as_deref(), Some("far"));
    assert_eq!(
        header(&other, "authorization").as_deref(),
        Some("Bearer user's")
    );
}

#[test]
fn a_url_of_the_same_name_gets_no_credentials_of_a_higher_level() {
    let (own, stranger) = (Server::start([OK]), Server::start([OK]));
    let user = |url: &str| {
        format!(
            "[secret:hook]\nvalue = {url}\n[inputs]\ncallback_url = secret:hook\ntoken = canary-token\n"
        )
    };
    let secret = format!("[secret:hook]\nvalue = {}\n", stranger.url());
    for (project, code, requests) in [
        // The user's file still means its own secret.
        (secret.clone(), 0, 1),
        (
            format!("{secret}[inputs]\ncallback_url = secret:hook\n"),
            78,
            1,
        ),
        (
            format!("{secret}[inputs]\ncallback_url = {{{{ 'secret:hook' }}}}\n"),
            78,
            1,
        ),
        // The same name and the same secret.
        ("[inputs]\ncallback_url = secret:hook\n".to_owned(), 0, 2),
    ] {
        let sandbox = Sandbox::with_config(&project);
        sandbox.file(USER, user(&own.url()));
        let sent = send(&sandbox);
        assert_eq!(sent.code, code, "{project}: {sent:?}");
        assert_eq!(own.requests().len(), requests, "{project}");
        assert!(!sent.printed().contains("canary"), "{sent:?}");
    }
    assert_eq!(stranger.requests().len(), 0);
}

#[test]
fn a_changed_secret_is_read_again_when_it_is_rejected() {
    let server = Server::answering(|request| match request.header("authorization") {
        Some("Bearer new") => OK,
        _ => crate::server::status(401),
    });
    let sandbox = Sandbox::with_config(&format!(
        "[secret:t]\nvalue_command = sh -c 'cat next; echo new > next'\n[inputs]\ncallback_url = {}\ntoken = secret:t\n",
        server.url()
    ));
    sandbox.file("next", "old\n");
    send(&sandbox).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_spool_of_a_checkout_reads_no_named_secret() {
    let server = Server::start([OK]);
    let inputs = |key: &str| format!("[inputs]\ncallback_url = {}\n{key}", server.url());
    let trace = format!("sh -c 'touch trace; echo {}'", server.url());
    for keys in [
        inputs(&format!(
            "token = secret:t\n[secret:t]\nvalue_command = {trace}"
        )),
        inputs(&format!(
            "header.X-T = secret:t\n[secret:t]\nvalue_command = {trace}"
        )),
        inputs("token = secret:t\n[secret:t]\nvalue_env = TOKEN"),
        inputs("token = secret:t\n[secret:t]\nvalue_file = event.json"),
        format!(
            "[secret:t]\nvalue_command = {trace}\n[inputs]\ncallback_url = {{{{ 'secret:t' }}}}"
        ),
        // Of the user's file.
        inputs("token = secret:far"),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file(USER, "[secret:far]\nvalue = canary-far\n");
        let config = format!("{keys}\n[delivery]\nspool = ./spool\ndrain = 0\n");
        sandbox.file("checkout/plugin_config.ini", &config);
        sandbox.file("checkout/event.json", EVENT);
        let run = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            command
                .current_dir(sandbox.path("checkout"))
                .env("TOKEN", "canary-token");
            outcome(command.spawn().unwrap())
        };
        let sent = run(&["send", "event.json", "--no-wait"]);
        assert_eq!(sent.code, 0, "{keys}: {sent:?}");
        let _ = std::fs::remove_file(sandbox.path("checkout/trace"));
        let flushed = run(&["flush"]);
        assert_eq!(flushed.code, 78, "{keys}: {flushed:?}");
        assert!(
            flushed
                .stderr
                .contains("checkout/plugin_config.ini selects this spool"),
            "{flushed:?}"
        );
        assert!(!sandbox.path("checkout/trace").exists(), "{keys}");
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_command_of_several_keys_runs_once() {
    let server = Server::start([OK]);
    let command = "sh -c 'echo >>runs; echo canary-one'";
    let sandbox = Sandbox::with_config(&format!(
        "[secret:a]\nvalue_command = {command}\n\
         [notifier:one]\ntype = webhook\nurl = {url}/one\non = any\ntoken = secret:a\nheader.X-Key = secret:a\n\
         [notifier:two]\ntype = webhook\nurl = {url}/two\non = any\ntoken = secret:a\n\
         [notifier:three]\ntype = webhook\nurl = {url}/three\non = any\ntoken_command = {command}\n",
        url = server.url()
    ));
    let runs = || {
        std::fs::read_to_string(sandbox.path("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    sandbox
        .run(&["check-config", "--run-commands"])
        .expect(0, "");
    assert_eq!(runs(), 1);
    assert_eq!(send(&sandbox).code, 0);
    assert_eq!(runs(), 2);
    for request in server.wait_for(3) {
        assert_eq!(request.header("authorization"), Some("Bearer canary-one"));
    }
}

#[test]
fn a_muted_notifier_needs_none_of_its_secrets() {
    let sandbox = Sandbox::with_config(&format!(
        "[secret:a]\nvalue_command = touch ran\n[inputs]\ncallback_url = {}\n\
         [notifier:one]\ntype = slack\nenabled = false\nurl_env = NOT_SET\n\
         [notifier:two]\ntype = pagerduty\nenabled = false\nrouting_key_file = nowhere\n\
         [notifier:three]\ntype = webhook\nenabled = false\nurl = secret:a\ntoken_env = NOT_SET\n\
         [notifier:four]\ntype = awssns\nenabled = false\ntopic_arn = arn:aws:sns:eu-central-1:123456789012:x\n",
        dead_url()
    ));
    for arguments in [&["check-config"][..], &["check-config", "--run-commands"]] {
        sandbox.run(arguments).expect(0, "");
    }
    assert!(!sandbox.path("ran").exists());
    // Other mistakes are still found.
    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ncallback_url = http://localhost/\n[notifier:one]\ntype = slack\nenabled = false\nurl_env = NOT_SET\ncolour = x\n",
    );
    sandbox
        .run(&["check-config"])
        .expect_line(78, &["unknown key `colour`"]);
}
