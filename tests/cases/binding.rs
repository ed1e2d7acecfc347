//! Credentials go to the address that they were written for, and to no other that a nearer level names.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server};

const USER: &str = "home/.config/ansible-notify/plugin_config.ini";

/// The user's file and that of a checkout.
fn levels(user: &str, project: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(project);
    sandbox.file(USER, user);
    sandbox
}

fn run_each(sandbox: &Sandbox) -> [Outcome; 4] {
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    [
        &["check-config", "--connect"][..],
        &["test"],
        &["send", "event.json"],
        &["send", "--dry-run", "event.json"],
    ]
    .map(|arguments| sandbox.run(arguments))
}

/// Nothing is sent of the user's file to the checkout's address, and the place of that one is said.
#[track_caller]
fn refused(user: &str, project: &str, line: u32, key: &str, credential: &str) {
    let sandbox = levels(user, project);
    for outcome in run_each(&sandbox) {
        assert_eq!(outcome.code, 78, "{project}: {outcome:?}");
        let place = format!(
            "plugin_config.ini:{line}: `{key}` differs in scheme, host or port from the address that `{credential}` ("
        );
        assert!(outcome.stderr.contains(&place), "{project}: {outcome:?}");
        let printed = outcome.printed();
        assert!(!printed.contains("canary"), "{printed}");
    }
}

#[test]
fn a_checkout_s_address_gets_no_credentials_of_the_user_s() {
    let stranger = Server::start([OK]);
    let url = stranger.url();
    let user = "[inputs]\ncallback_url = https://ops.example.com/events\n";
    for (credential, keys) in [
        ("password", "username = anna\npassword = canary-password\n"),
        ("password", "username = anna\npassword_env = HOME\n"),
        ("token", "token = canary-token\n"),
        ("token", "token_command = false\n"),
        (
            "signing_secret",
            "sign = sha256\nsigning_secret = canary-secret\n",
        ),
        ("headers", "headers = X-Api-Key: canary-key\n"),
        ("headers", "headers = X-Api-Key: canary-key-{{ host }}\n"),
    ] {
        let user = format!("{user}{keys}");
        let project = format!("[inputs]\ncallback_url = {url}\n");
        refused(&user, &project, 2, "callback_url", credential);
        // Written for no address at all, they are not the checkout's either.
        refused(
            &format!("[inputs]\n{keys}"),
            &project,
            2,
            "callback_url",
            credential,
        );
        let project = "[inputs]\ntimeout = 3s\ncallback_url_env = URL\n";
        refused(&user, project, 3, "callback_url_env", credential);
    }
    assert_eq!(stranger.requests().len(), 0);
}

#[test]
fn nor_does_any_other_way_to_a_stranger() {
    let stranger = Server::start([OK]);
    let url = stranger.url();
    let inputs = "[inputs]\ncallback_url = http://ops.example.com/\ntoken = canary-token\n";
    let proxy = format!("[inputs]\nproxy = {url}\n");
    refused(inputs, &proxy, 2, "proxy", "token");
    refused(
        inputs,
        "[inputs]\nsocket = ./stranger\n",
        2,
        "socket",
        "token",
    );
    let https = inputs.replace("http:", "https:");
    let http = "[inputs]\ncallback_url = http://ops.example.com/\n";
    refused(&https, http, 2, "callback_url", "token");
    let port = "[inputs]\ncallback_url = https://ops.example.com:8443/\n";
    refused(&https, port, 2, "callback_url", "token");
    let slack = "[notifier:chat]\ntype = slack\ntoken = canary-token\nchannels = a\non = any\n";
    let api = format!("[notifier:chat]\napi_url = {url}\n");
    refused(slack, &api, 2, "api_url", "token");
    let webhook = format!("[notifier:chat]\ntype = webhook\nurl = {url}\n");
    refused(slack, &webhook, 2, "type", "token");
    let hook = "[notifier:hook]\ntype = webhook\nurl = http://anna:canary-password@ops.example.com/\non = any\n";
    refused(
        hook,
        &format!("[notifier:hook]\nproxy = {url}\n"),
        2,
        "proxy",
        "url",
    );
    let mail = "[notifier:mail]\ntype = email\nserver = mail.example.com\nfrom = a@example.com\n\
        to = b@example.com\nusername = anna\npassword = canary-password\non = any\n";
    for (key, value) in [
        ("server", "localhost"),
        ("port", "2525"),
        ("encryption", "none"),
    ] {
        let project = format!("[notifier:mail]\n{key} = {value}\n");
        refused(mail, &project, 2, key, "password");
    }
    assert_eq!(stranger.requests().len(), 0);
}

#[test]
fn the_same_address_written_otherwise_gets_them() {
    let server = Server::start([OK]);
    let url = server.url();
    let user = format!("[inputs]\ncallback_url = {url}\nusername = anna\npassword = secret-1\n");
    let other_path = url.replace("/events", "/other/{{ host }}?a=b");
    for project in [
        format!("[inputs]\ncallback_url = {other_path}\n"),
        format!("[inputs]\ncallback_url = {}\n", url.replace("http", "HTTP")),
        "[inputs]\nproxy =\nusername = anna\n".to_owned(),
        // Its own are its own.
        format!("[inputs]\ncallback_url = {url}\npassword = secret-2\n"),
    ] {
        let before = server.requests().len();
        let [check, test, send, preview] = run_each(&levels(&user, &project));
        let codes = [check.code, test.code, send.code, preview.code];
        assert_eq!(codes, [0; 4], "{project}: {check:?} {send:?}");
        let requests = server.requests();
        let sent = &requests[before..];
        assert!(
            sent.iter()
                .all(|request| request.header("authorization").is_some())
        );
    }
    let project = format!("[inputs]\ncallback_url = {url}\ntoken = own\n");
    let elsewhere = "[inputs]\ncallback_url = https://ops.example.com/\n";
    assert_eq!(
        run_each(&levels(elsewhere, &project)).map(|outcome| outcome.code),
        [0; 4]
    );
}

#[test]
fn the_environment_is_the_user_s_own() {
    let server = Server::start([OK]);
    let sandbox = levels(
        "[inputs]\ncallback_url = https://ops.example.com/\ntoken = secret-token\n",
        "",
    );
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    let mut command = sandbox.command(&["send", "event.json"]);
    command.env("ANSIBLE_NOTIFY_CALLBACK_URL", server.url());
    assert_eq!(outcome(command.spawn().unwrap()).code, 0);
    let request = &server.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer secret-token"));
}

/// A run whose play says these.
fn play(sandbox: &Sandbox, overrides: &serde_json::Value, variables: &[(&str, &str)]) -> Outcome {
    let input = [
        json!({"hello": {"protocol": 1, "run": {"id": "r"}, "overrides": overrides}}),
        json!({"event": {"seq": 1, "event": "runner_on_ok", "time": 1.0, "host": {"name": "h"}}}),
        json!({"end": {}}),
    ];
    let mut command = sandbox.command(&["stream", "--project", "."]);
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text: String = input.iter().map(|line| format!("{line}\n")).collect();
    // Who refuses the configuration reads no further.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    outcome(child)
}

#[test]
fn a_play_s_address_gets_its_own_credentials() {
    let server = Server::start([OK]);
    let url = server.url();
    let user = "[inputs]\ncallback_url = https://ops.example.com/\nusername = anna\npassword = canary-password\n";
    let only_url = json!({"callback_url": url});
    let elsewhere = "the play's vars: `callback_url` differs in scheme, host or port from the address that `password` (";
    let refused = play(&levels(user, ""), &only_url, &[]);
    assert!(
        refused.code == 75 && refused.stderr.contains(elsewhere),
        "{refused:?}"
    );
    // The environment's are for where the files or the environment say.
    let variables = [("ANSIBLE_NOTIFY_PASSWORD", "canary-environment")];
    let refused = play(&levels("", user), &only_url, &variables);
    assert!(
        refused.code == 75 && refused.stderr.contains(elsewhere),
        "{refused:?}"
    );
    let variables = [("ANSIBLE_NOTIFY_CALLBACK_URL", "http://127.0.0.1:1/")];
    let refused = play(&levels(user, ""), &only_url, &variables);
    assert!(
        refused.code == 75 && refused.stderr.contains(elsewhere),
        "{refused:?}"
    );
    assert_eq!(server.requests().len(), 0);
    let own = json!({"callback_url": url, "password": "secret-own"});
    assert_eq!(play(&levels(user, ""), &own, &[]).code, 0);
    // A project may leave the address to its plays.
    let project = "[inputs]\nusername = anna\npassword = secret-2\n";
    assert_eq!(play(&levels("", project), &only_url, &[]).code, 0);
    let refused = play(&levels(project, ""), &only_url, &[]);
    assert!(
        refused.code == 75 && refused.stderr.contains(elsewhere),
        "{refused:?}"
    );
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_client_certificate_is_shown_to_whom_it_was_meant_for() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certificate.cert.pem() + &certificate.signing_key.serialize_pem();
    let sandbox = levels(
        "[inputs]\ncallback_url = https://ops.example.com/\nclient_cert = both.pem\n",
        "[inputs]\ncallback_url = https://localhost/\n",
    );
    sandbox.file("home/.config/ansible-notify/both.pem", pem);
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(
        78,
        &["plugin_config.ini:2: `callback_url` differs in scheme, host or port from the address that `client_cert` ("],
    );
}
