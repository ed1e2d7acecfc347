//! A canary in every place that can hold a secret, and none of them where it does not belong.

use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Server, dead_url};

/// Runs every command over a configuration full of canaries; nothing printed may hold one.
fn run_all(url: &str) {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nusername = anna\npassword = canary-password\nheaders = X-Api-Key: canary-header\nproxy = env\n\
         [notifier:hook]\ntype = webhook\nurl_file = hook\ntoken_env = CANARY\non = any\n\
         [notifier:command]\ntype = webhook\nurl_command = echo {}/canary-path\ntoken_command = echo canary-command\non = any\n[delivery]\ndrain = 300ms\n",
        url.replace("http://", "http://u:canary-userinfo@") + "?token=canary-query",
        url,
    ));
    sandbox.file("hook", format!("{url}/canary-hook?sig=canary-signature"));
    let event = r#"{"state":"failed","host":"h","result":{"msg":"x"}}"#;
    for arguments in [
        &["check-config"][..],
        &["check-config", "--json"],
        &["check-config", "--connect"],
        &["send", "-"],
        &["send", "-", "--dry-run"],
        &["test"],
    ] {
        let mut command = sandbox.command(arguments);
        command
            .env("CANARY", "canary-environment")
            .env("http_proxy", "");
        command.stdin(std::fs::File::open(sandbox.file("event.json", event)).unwrap());
        let outcome = crate::sandbox::outcome(command.spawn().unwrap());
        let printed = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!printed.is_empty());
        // `[inputs]` shows its own file's lines; the header's name says that its value is one to mask.
        let shown = if arguments[0] == "check-config" {
            printed.replace("X-Api-Key: canary-header", "")
        } else {
            printed
        };
        let shown = shown
            .replace("echo canary-command", "")
            .replace("/canary-path", "");
        assert!(!shown.contains("canary"), "{arguments:?}: {shown}");
    }
}

#[test]
fn nothing_printed_holds_a_secret() {
    // An endpoint that says back what it got is no reason to show it.
    let body = "canary-password canary-environment YW5uYTpjYW5hcnktcGFzc3dvcmQ=";
    for reply in [
        OK,
        Reply::Full(401, "", body),
        Reply::Full(400, "", body),
        Reply::Full(302, "Location: http://h/canary-path\r\n", ""),
    ] {
        run_all(Server::start([reply]).url().trim_end_matches("/events"));
    }
    run_all(dead_url().trim_end_matches("/events"));
}

#[test]
fn secrets_reach_the_endpoint_they_are_meant_for_and_no_other() {
    let server = Server::start([OK]);
    let url = server.url().replace("http://", "http://anna:p%40ss@");
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {url}\n[outputs]\nstate = state\n"
    ));
    sandbox
        .run_with_input(&["send", "-"], r#"{"state":"failed"}"#)
        .expect(
            0,
            "ansible-notify: 1 event: 1 delivered, 0 waiting, 0 dead\n",
        );
    let request = &server.requests()[0];
    assert_eq!(request.header("authorization"), Some("Basic YW5uYTpwQHNz"));
    assert_eq!(request.target, "/events");
}

#[test]
fn a_password_is_not_asked_for_without_a_terminal() {
    let sandbox =
        Sandbox::with_config("[inputs]\ncallback_url = http://localhost/\nusername = anna\n");
    let outcome = sandbox.run_with_input(&["send", "-"], r#"{"state":"failed"}"#);
    outcome.expect_line(
        78,
        &["plugin_config.ini:3: `username` has no password; set `password_file`"],
    );
}
