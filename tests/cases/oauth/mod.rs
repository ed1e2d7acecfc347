//! Access tokens of OAuth 2.0: got with the client's credentials, used until they expire, and shown nowhere.

mod mail;
mod settings;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox};
use crate::server::oauth::{self, Client, ID, SECRET, form};
use crate::server::{OK, Reply, Server, json, status};

const EVENT: &str = r#"{"state":"failed","host":"h"}"#;

fn keys(idp: &Server) -> String {
    keys_with(idp, &format!("oauth_client_secret = {SECRET}"))
}

/// The same with another secret, or another way to give it.
fn keys_with(idp: &Server, secret: &str) -> String {
    let url = idp.at("/token");
    format!("oauth_token_url = {url}\noauth_client_id = {ID}\n{secret}\n")
}

fn sandbox(service: &Server, keys: &str) -> Sandbox {
    sandbox_draining(service, keys, "4")
}

/// Limits the wait for events that will not be delivered.
fn sandbox_draining(service: &Server, keys: &str, drain: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n{keys}[delivery]\ndrain = {drain}\n",
        service.url()
    ));
    sandbox.file("event.json", EVENT);
    sandbox
}

fn send(sandbox: &Sandbox) -> Outcome {
    let sent = sandbox.run_on_spool(&["send", "event.json"]);
    assert!(!sent.printed().contains("canary"), "{sent:?}");
    sent
}

fn tokens(service: &Server) -> Vec<String> {
    let requests = service.requests();
    let tokens = requests
        .iter()
        .map(|request| request.header("authorization"));
    tokens
        .map(|token| token.unwrap_or_default().to_owned())
        .collect()
}

fn hour() -> Value {
    json!({"expires_in": 3600})
}

#[test]
fn one_token_serves_every_request_until_it_expires() {
    for (more, count) in [
        (hour(), 1),
        (
            json!({"expires_in": "3600", "token_type": "bearer", "scope": "x"}),
            1,
        ),
        (json!({}), 1),
        (json!({"expires_in": 0}), 3),
    ] {
        let (idp, service) = (
            oauth::start(Client::Header, more.clone()),
            Server::start([OK]),
        );
        let sandbox = sandbox(
            &service,
            &format!(
                "{}oauth_scope = events write\noauth_audience = https://a/\n",
                keys(&idp)
            ),
        );
        sandbox.file("event.json", EVENT.repeat(3));
        assert_eq!(send(&sandbox).code, 0);
        assert_eq!(idp.requests().len(), count, "{more}");
        let sent = form(&idp.requests()[0]);
        assert_eq!(
            (sent["scope"].as_str(), sent["audience"].as_str()),
            ("events write", "https://a/")
        );
        let used: BTreeSet<String> = tokens(&service).into_iter().collect();
        let expected = (1..=count).map(|number| format!("Bearer canary-token-{number}"));
        assert_eq!(used, expected.collect(), "{more}");
        sandbox.expect_no_canary();
    }
}

#[test]
fn concurrent_attempts_share_one_token_request_and_its_failure() {
    for good in [true, false] {
        let idp = Server::answering(move |_| {
            std::thread::sleep(Duration::from_millis(300));
            match good {
                true => json(
                    200,
                    &json!({"access_token": "canary-token", "token_type": "Bearer", "expires_in": 60}),
                ),
                false => status(503),
            }
        });
        let service = Server::start([OK]);
        let sandbox = sandbox(&service, &keys(&idp));
        let events: Vec<String> = (0..10)
            .map(|host| json!({"state": "failed", "host": format!("h{host}")}).to_string())
            .collect();
        sandbox.file("event.json", events.concat());
        // A user waits for only one attempt.
        sandbox.run_on_spool(&["send", "event.json", "--no-wait"]);
        assert_eq!(idp.requests().len(), 0);
        let flushed = sandbox.run_on_spool(&["flush"]);
        assert_eq!(flushed.code, if good { 0 } else { 75 }, "{flushed:?}");
        let most = if good { 1 } else { 3 };
        let asked = idp.requests().len();
        assert!((1..=most).contains(&asked), "{asked}");
        assert_eq!(service.requests().len(), if good { 10 } else { 0 });
    }
}

#[test]
fn a_client_rejected_in_the_header_is_sent_in_the_body() {
    let (idp, service) = (
        oauth::start(Client::Body, json!({"expires_in": 0})),
        Server::start([OK]),
    );
    let sandbox = sandbox(&service, &keys(&idp));
    sandbox.file("event.json", EVENT.repeat(2));
    assert_eq!(send(&sandbox).code, 0);
    let in_header = idp
        .requests()
        .iter()
        .filter(|request| request.header("authorization").is_some())
        .count();
    // The accepted place is remembered.
    assert_eq!((in_header, idp.requests().len()), (1, 3));
    sandbox.expect_no_canary();
}

#[test]
fn a_rejected_token_is_replaced_once() {
    let idp = oauth::start(Client::Header, hour());
    let service = Server::answering(|request| match request.header("authorization") {
        Some("Bearer canary-token-1") => status(401),
        _ => OK,
    });
    let sandbox = sandbox(&service, &keys(&idp));
    assert_eq!(send(&sandbox).code, 0);
    assert_eq!(
        tokens(&service),
        ["Bearer canary-token-1", "Bearer canary-token-2"]
    );
    assert_eq!(idp.requests().len(), 2);
    // A rejected request is not repeated again and again.
    let (idp, service) = (
        oauth::start(Client::Header, hour()),
        Server::start([status(401)]),
    );
    let sandbox = self::sandbox(&service, &keys(&idp));
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    assert_eq!((idp.requests().len(), service.requests().len()), (4, 4));
}

/// No token: the delivery waits, the reason is reported, and the service gets no request.
#[track_caller]
fn waits(idp: &Server, more: &str, reason: &str) {
    let service = Server::start([OK]);
    let sandbox = sandbox_draining(&service, &format!("{}{more}", keys(idp)), "500ms");
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    assert!(sent.stderr.contains(reason), "{reason} in {sent:?}");
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(
        history.contains(reason) && !history.contains("canary"),
        "{history}"
    );
    assert_eq!(service.requests().len(), 0);
    sandbox.expect_no_canary_stored();
}

#[test]
fn without_a_token_deliveries_wait() {
    let idp = oauth::start(Client::Header, hour());
    waits(
        &idp,
        "oauth_scope = wrong\n",
        ": 400 Bad Request: invalid_scope: no",
    );
    let said =
        |code, body: &str| Server::start([Reply::Made(code, String::new(), body.to_owned())]);
    for (idp, reason) in [
        (
            Server::start([status(503)]),
            "no token from http://127.0.0.1",
        ),
        (
            said(
                401,
                r#"{"error":"invalid_client","error_description":"bad canary secret/+%"}"#,
            ),
            "401 Unauthorized: invalid_client: bad [redacted]",
        ),
        (
            said(400, r#"{"error":"invalid_client"}"#),
            "400 Bad Request: invalid_client",
        ),
        (said(410, "gone"), "410 Gone: gone"),
        (said(413, "large"), "413 Payload Too Large"),
        (
            said(200, "<title>canary Log in</title>"),
            "200 OK, no content type: not JSON, so not a response from a token endpoint: is a proxy or login portal",
        ),
        (
            said(200, r#"{"access_token":"canary-x","token_type":"mac"}"#),
            "issues tokens of a type other than Bearer",
        ),
        (
            said(
                200,
                r#"{"access_token":"canary-a\nb","token_type":"bearer"}"#,
            ),
            "the token contains characters that no header may have",
        ),
        (said(302, ""), "no token from"),
        (Server::start([Reply::Close]), "127.0.0.1"),
    ] {
        waits(&idp, "", reason);
    }
}

#[test]
fn a_body_that_may_contain_a_token_is_not_shown() {
    let long = json!({"access_token": format!("canary{}", "x".repeat(64 << 10))}).to_string();
    let typed = |kind: &str, body: &str| {
        let head = format!("Content-Type: {kind}\r\n");
        Server::start([Reply::Made(200, head, body.to_owned())])
    };
    for (kind, body, reason) in [
        (
            "application/json;charset=UTF-8",
            r#"{"data":{"access_token":"canary"}}"#,
            "200 OK, application/json: the reply has no `access_token`",
        ),
        (
            "application/json",
            r#"{"token":"canary","message":"canary","error":{"message":"canary"}}"#,
            "the reply has no `access_token`",
        ),
        (
            "application/json",
            r#"{"access_token":["canary"]}"#,
            "`access_token` in the reply is not a string",
        ),
        (
            "application/json",
            r#"{"access_token":"","id_token":"canary"}"#,
            "`access_token` in the reply is empty",
        ),
        (
            "application/json",
            r#""canary""#,
            "the reply is not a JSON object",
        ),
        (
            "text/html",
            "<title>canary</title>",
            "200 OK, text/html: not JSON",
        ),
        (
            "application/x-www-form-urlencoded",
            "access_token=canary",
            "200 OK, application/x-www-form-urlencoded: not JSON",
        ),
        ("canary", "canary", "200 OK, unknown content type: not JSON"),
        (
            "application/json",
            &long,
            "the reply exceeds the limit of 64 KiB",
        ),
        (
            "application/json",
            r#"{"error":"invalid_scope","error_description":"no scope","more":"canary"}"#,
            "200 OK: invalid_scope: no scope",
        ),
        (
            "application/json",
            r#"{"error":"invalid_grant","error_description":"bad canary secret/+%"}"#,
            "200 OK: invalid_grant: bad [redacted]",
        ),
    ] {
        waits(&typed(kind, body), "", reason);
    }
    let idp = typed("application/json", r#"{"token":"canary"}"#);
    let sandbox = sandbox(&Server::start([OK]), &keys(&idp));
    let sent = send(&sandbox);
    assert!(!sent.stderr.contains("proxy"), "{sent:?}");
}

#[test]
fn a_server_that_needs_the_client_in_the_body_gets_it_there() {
    for (code, error) in [
        (400, "invalid_request"),
        (401, "invalid_request"),
        (400, "invalid_client"),
        (200, "invalid_client"),
    ] {
        let idp = Server::answering(move |request| {
            match form(request).get("client_secret").map(String::as_str) == Some(SECRET) {
                true => json(
                    200,
                    &json!({"access_token": "canary-token", "expires_in": 0}),
                ),
                false => json(code, &json!({"error": error})),
            }
        });
        let service = Server::start([OK]);
        let sandbox = sandbox(&service, &keys(&idp));
        sandbox.file("event.json", EVENT.repeat(2));
        assert_eq!(send(&sandbox).code, 0, "{code} {error}");
        assert_eq!(
            (service.requests().len(), idp.requests().len()),
            (2, 3),
            "{code} {error}"
        );
    }
    // The answer with more details about the client counts.
    let idp = Server::answering(|request| match request.header("authorization") {
        Some(_) => json(401, &json!({"error": "invalid_client"})),
        None => json(400, &json!({"error": "invalid_request"})),
    });
    waits(&idp, "", "401 Unauthorized: invalid_client");
}

#[test]
fn a_new_secret_is_read_when_the_old_one_is_rejected() {
    let (idp, service) = (oauth::start(Client::Header, hour()), Server::start([OK]));
    let command = "oauth_client_secret_command = sh -c 'cat next; cp new next'";
    let keys = keys_with(&idp, command);
    let sandbox = sandbox(&service, &keys);
    sandbox.file("next", "old-canary\n");
    sandbox.file("new", format!("{SECRET}\n"));
    assert_eq!(send(&sandbox).code, 0);
    assert_eq!(tokens(&service), ["Bearer canary-token-1"]);
    sandbox.expect_no_canary_stored();
}

#[test]
fn a_check_requests_a_token_and_a_preview_does_not() {
    let (idp, service) = (oauth::start(Client::Header, hour()), Server::start([OK]));
    let keys = |secret: &str| {
        let keys = keys_with(&idp, "oauth_client_secret = secret:idp");
        format!("{keys}[secret:idp]\nvalue = {secret}\n")
    };
    let sandbox = sandbox(&service, &keys(SECRET));
    let shown = sandbox.run(&["send", "--dry-run", "event.json"]);
    assert!(
        shown.stdout.contains("authorization: [redacted]"),
        "{shown:?}"
    );
    sandbox.run(&["check-config"]).expect(0, "");
    assert_eq!(idp.requests().len(), 0);
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.stdout.contains("callback: POST http://127.0.0.1"),
        "{checked:?}"
    );
    assert_eq!(tokens(&service), ["Bearer canary-token-1"]);
    sandbox.expect_no_canary();
    // A check reports the problem with the client.
    let sandbox = self::sandbox(&service, &keys("canary-wrong"));
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert_eq!(checked.code, 78, "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("401 Unauthorized: invalid_client: no"),
        "{checked:?}"
    );
}
