//! Endpoints that cannot be reached.

use std::process::Command;

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{Server, status};

fn connect(config: &str, variable: Option<(&str, &str)>) -> Outcome {
    let sandbox = Sandbox::with_config(config);
    let mut command: Command = sandbox.command(&["check-config", "--connect"]);
    command.envs(variable);
    outcome(command.spawn().unwrap())
}

#[test]
fn connection_problems_are_reported_once_with_advice() {
    let plain = Server::start([crate::server::Reply::Raw(b"\x15\x03\x03\x00\x02\x02\x46")]);
    let url = plain.url();
    connect(&format!("[inputs]\ncallback_url = {url}\n"), None).expect_line(
        78,
        &[
            "callback: http://127.0.0.1:",
            "if this port uses https, the URL must begin with https://",
        ],
    );
    connect(
        "[inputs]\ncallback_url = http://x/\nsocket = /nowhere/socket\n",
        None,
    )
    .expect_line(
        78,
        &["callback: http://x (socket /nowhere/socket): No such file"],
    );
    let unresolved = "the host name cannot be resolved";
    for (config, place) in [
        (
            "[inputs]\ncallback_url = http://no.invalid/\n",
            "http://no.invalid: ",
        ),
        (
            "[notifier:a]\ntype = email\nhost = no.invalid\nfrom = a@example.com\nto = a@example.com\n",
            "no.invalid:587: ",
        ),
        (
            "[notifier:a]\ntype = irc\nserver = no.invalid\ntargets = #ops\n",
            "no.invalid:6697: ",
        ),
        (
            "[notifier:a]\ntype = zeromq\nurl = tcp://no.invalid:1\n",
            "tcp://no.invalid:1: ",
        ),
    ] {
        let checked = connect(config, None);
        checked.expect_line(78, &[place, unresolved]);
        assert!(
            !checked.stderr.contains("lookup") && !checked.stderr.contains("dns"),
            "{checked:?}"
        );
    }
    let proxied = Some(("https_proxy", "http://127.0.0.1:1"));
    connect("[inputs]\ncallback_url = https://no.invalid/\n", proxied).expect_line(
        78,
        &[
            unresolved,
            "; `https_proxy` is only used with `proxy = env`",
        ],
    );
}

#[test]
fn rejections_by_an_endpoint_are_reported_with_advice() {
    for (code, headers, said) in [
        (
            401,
            "",
            "401 Unauthorized: asks for credentials; set `username` and `password`, or `token`",
        ),
        (
            302,
            "Location: https://ops.example.com/new?key=canary\r\n",
            "302 Found: redirects to https://ops.example.com; set the final URL",
        ),
    ] {
        let reply = crate::server::Reply::Full(code, headers, "");
        let server = Server::start([reply]);
        let tested = Sandbox::sending_to(&server.url()).run(&["test"]);
        assert_eq!(tested.stderr.lines().count(), 1, "{tested:?}");
        assert!(
            tested.stderr.contains(said) && !tested.stderr.contains("canary"),
            "{tested:?}"
        );
    }
    let server = Server::start([status(401)]);
    let tested = Sandbox::sending_to(&server.url()).run(&["test"]);
    let origin = server.url().trim_end_matches("/events").to_owned();
    assert!(
        tested.stderr.contains(&format!("callback: {origin}: 401")),
        "{tested:?}"
    );
}
