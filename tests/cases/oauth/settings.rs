//! Mistakes in the keys, and the addresses that get the client.

use super::{EVENT, hour, keys, keys_with, sandbox_draining, send};
use crate::sandbox::{Sandbox, outcome};
use crate::server::oauth::{self, Client, SECRET};
use crate::server::{OK, Server};

#[test]
fn mistakes_are_said_with_their_place() {
    let all = "oauth_token_url = https://idp.example.com/token\noauth_client_id = a\noauth_client_secret = canary\n";
    for (keys, problem) in [
        (
            format!("{all}token = canary\n"),
            "ini:3: `oauth_token_url` and `token` are set; keep one of them",
        ),
        (
            format!("{all}username = a\npassword = canary\n"),
            "ini:3: `oauth_token_url` and `password` are set",
        ),
        (
            format!("{all}headers = Authorization: canary\n"),
            "ini:3: `oauth_token_url` and `Authorization` in `headers` are set",
        ),
        (
            "oauth_client_id = a\n".to_owned(),
            "ini:3: `oauth_client_id` requires `oauth_token_url`",
        ),
        (
            "oauth_token_url = https://h/\noauth_client_id = a\n".to_owned(),
            "[inputs] has no `oauth_client_secret`",
        ),
        (
            "oauth_token_url = https://h/\noauth_client_secret = canary\n".to_owned(),
            "[inputs] has no `oauth_client_id`",
        ),
        (
            all.replace("https://", "https://u:canary@"),
            "`oauth_token_url` contains a user",
        ),
        (
            all.replace("https://", "ftp://"),
            "`oauth_token_url` must begin with http:// or https://",
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!("[inputs]\ncallback_url = https://h/\n{keys}"));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 78, "{keys}: {checked:?}");
        assert_eq!(checked.stderr.lines().count(), 1, "{keys}: {checked:?}");
        assert!(checked.stderr.contains(problem), "{keys}: {checked:?}");
        assert!(!checked.printed().contains("canary"), "{checked:?}");
    }
    // Other kinds have no such keys.
    let sandbox = Sandbox::with_config(
        "[notifier:n]\ntype = ntfy\ntopic = a\noauth_token_url = https://h/\n",
    );
    sandbox
        .run(&["check-config"])
        .expect_line(78, &["unknown key `oauth_token_url` in [notifier:n]"]);
}

#[test]
fn an_address_of_another_level_gets_neither_client_nor_token() {
    let (idp, service, stranger) = (
        oauth::start(Client::Header, hour()),
        Server::start([OK]),
        Server::start([OK]),
    );
    let user = format!("[inputs]\ncallback_url = {}\n{}", service.url(), keys(&idp));
    for project in [
        format!("[inputs]\noauth_token_url = {}\n", stranger.at("/token")),
        format!("[inputs]\ncallback_url = {}\n", stranger.url()),
    ] {
        let sandbox = Sandbox::with_config(&project);
        sandbox.file("home/.config/ansible-notify/plugin_config.ini", &user);
        sandbox.file("event.json", EVENT);
        let sent = send(&sandbox);
        assert_eq!(sent.code, 78, "{sent:?}");
        assert!(
            sent.stderr.contains(
                "differs in scheme, host or port from the address that `oauth_client_secret`"
            ),
            "{sent:?}"
        );
    }
    assert_eq!(idp.requests().len() + stranger.requests().len(), 0);
}

#[test]
fn a_spool_of_a_checkout_gets_no_token_of_the_user_s() {
    let (idp, service) = (oauth::start(Client::Header, hour()), Server::start([OK]));
    for form in [
        "_command = sh -c 'touch trace; echo t'",
        "_env = SECRET",
        "_file = event.json",
    ] {
        let keys = keys_with(&idp, &format!("oauth_client_secret{form}"));
        let config = format!(
            "[inputs]\ncallback_url = {}\n{keys}[delivery]\nspool = ./spool\ndrain = 0\n",
            service.url()
        );
        let sandbox = Sandbox::new();
        sandbox.file("checkout/plugin_config.ini", config);
        sandbox.file("checkout/event.json", EVENT);
        let run = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            command
                .current_dir(sandbox.path("checkout"))
                .env("SECRET", SECRET);
            outcome(command.spawn().unwrap())
        };
        assert_eq!(run(&["send", "event.json", "--no-wait"]).code, 0);
        let _ = std::fs::remove_file(sandbox.path("checkout/trace"));
        let flushed = run(&["flush"]);
        assert_eq!(flushed.code, 78, "{form}: {flushed:?}");
        assert!(flushed.stderr.contains("selects this spool"), "{flushed:?}");
        assert!(!sandbox.path("checkout/trace").exists());
    }
    assert_eq!(idp.requests().len() + service.requests().len(), 0);
}

#[test]
fn a_socket_does_not_apply_to_the_token_endpoint() {
    let idp = oauth::start(Client::Header, hour());
    let sandbox = sandbox_draining(
        &Server::start([OK]),
        &format!("socket = ./no-socket\n{}", keys(&idp)),
        "500ms",
    );
    assert_eq!(send(&sandbox).code, 75);
    assert_eq!(idp.requests().len(), 1);
}
