//! A canary in every place that can hold a secret, and none of them where it does not belong.

use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Server, dead_url};

/// Runs every command over a configuration full of canaries; nothing printed may hold one.
fn run_all(url: &str) {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {url}?token=canary-query\nusername = anna\npassword = canary-password\nheaders = X-Api-Key: canary-header\nproxy = env\n\
         [notifier:user]\ntype = webhook\nurl = {}\non = any\n\
         [notifier:hook]\ntype = webhook\nurl_file = hook\ntoken_env = CANARY\non = any\n\
         [notifier:command]\ntype = webhook\nurl_command = echo {}/canary-path\ntoken_command = echo canary-command\non = any\n[delivery]\ndrain = 300ms\n",
        url.replace("http://", "http://u:canary-userinfo@"),
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
        let printed = outcome.printed();
        assert!(!printed.is_empty());
        // These stand in the file, and are no secrets by themselves.
        let shown = printed
            .replace("echo canary-command", "")
            .replace("/canary-path", "");
        assert!(!shown.contains("canary"), "{arguments:?}: {shown}");
    }
    sandbox.expect_no_canary_stored();
}

#[test]
fn nothing_printed_holds_a_secret() {
    // An endpoint that says back what it got is no reason to show it.
    let body = "canary-password canary-environment canary-header YW5uYTpjYW5hcnktcGFzc3dvcmQ=";
    let cut = "a text that ends in the middle of a secret, as luck or an attacker would have it, after so many characters: canary-password";
    for reply in [
        OK,
        Reply::Full(401, "", body),
        Reply::Full(400, "", body),
        // Where the text is cut, it is cut after the masking: no half of a secret is left over.
        Reply::Full(400, "", cut),
        Reply::Full(400, "", "<html>\n<title>canary-password</title>"),
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
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let request = &server.requests()[0];
    assert_eq!(request.header("authorization"), Some("Basic YW5uYTpwQHNz"));
    assert_eq!(request.target, "/events");
}

#[test]
fn a_password_is_not_asked_for_without_a_terminal() {
    let sandbox =
        Sandbox::with_config("[inputs]\ncallback_url = http://localhost/\nusername = anna\n");
    let outcome = sandbox.run_with_input(&["send", "-"], r#"{"state":"failed"}"#);
    outcome.expect_warning(
        78,
        &["plugin_config.ini:3: `username` has no password; set `password_file`"],
    );
}

#[test]
fn a_proxy_that_says_back_what_it_got_shows_nothing() {
    // "anna:canary/password", and how it stands in the URL.
    let body = "canary/password canary%2Fpassword YW5uYTpjYW5hcnkvcGFzc3dvcmQ=";
    let proxy = Server::start([Reply::Full(400, "", body)]);
    let url = proxy
        .url()
        .replace("http://", "http://anna:canary%2Fpassword@");
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = http://ops.invalid/\nproxy = {url}\n"
    ));
    let event = r#"{"state":"failed"}"#;
    sandbox.run_with_input(&["send", "-"], event).expect_line(
        69,
        &["(callback: 400 Bad Request: [redacted] [redacted] [redacted])"],
    );
}

#[test]
fn a_proxy_that_is_no_url_is_not_shown() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = http://h/\nproxy = anna:canary@proxy:3128\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    assert!(
        outcome.stdout.contains("proxy           [redacted]\n"),
        "{outcome:?}"
    );
    outcome.expect_line(
        78,
        &["plugin_config.ini:3: `proxy` must be `env`, or a URL such as"],
    );
}

#[test]
fn user_information_is_not_shown_however_short_or_wrong() {
    for url in [
        "http://u:pw@h/",
        "http://u:p@w@h:99999/",
        "nonsense://u:pw@h",
    ] {
        let sandbox = Sandbox::with_config(&format!("[inputs]\ncallback_url = {url}\n"));
        let shown = sandbox.run(&["check-config"]).stdout;
        // The directory has a name of random letters.
        let shown = shown.replace(sandbox.root().to_str().unwrap(), "");
        assert!(shown.contains("://[redacted]@h"), "{shown}");
        assert!(!shown.contains("pw") && !shown.contains("p@w"), "{shown}");
    }
}
