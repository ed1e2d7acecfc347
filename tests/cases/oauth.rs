//! Access tokens of OAuth 2.0: got with the client's credentials, used until they expire, and shown nowhere.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::certificates::certified_sandbox;
use crate::server::oauth::{self, Client, ID, SECRET, form};
use crate::server::smtp::Smtp;
use crate::server::{OK, Reply, Server, dead_url, json, status};

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

/// Waits only so long for what will not be delivered.
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
fn attempts_at_once_share_one_request_for_a_token_and_its_failure() {
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
        // A person waits for one attempt only.
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
fn a_client_that_is_refused_in_the_header_is_named_in_the_body() {
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
    // What the server takes is remembered.
    assert_eq!((in_header, idp.requests().len()), (1, 3));
    sandbox.expect_no_canary();
}

#[test]
fn a_token_that_is_refused_is_replaced_once() {
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
    // One that is refused for good is not asked for again and again.
    let (idp, service) = (
        oauth::start(Client::Header, hour()),
        Server::start([status(401)]),
    );
    let sandbox = self::sandbox(&service, &keys(&idp));
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    assert_eq!((idp.requests().len(), service.requests().len()), (4, 4));
}

/// No token: the delivery waits, the reason is told, and the service hears nothing.
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
            "200 OK, no content type: not JSON, so not a response from a token endpoint: is there a proxy",
        ),
        (
            said(200, r#"{"access_token":"canary-x","token_type":"mac"}"#),
            "gives tokens of another type than Bearer",
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
            "200 OK, application/json: there is no `access_token` in the reply",
        ),
        (
            "application/json",
            r#"{"token":"canary","message":"canary","error":{"message":"canary"}}"#,
            "there is no `access_token` in the reply",
        ),
        (
            "application/json",
            r#"{"access_token":["canary"]}"#,
            "`access_token` in the reply is not a text",
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
fn a_server_that_misses_the_client_in_the_body_gets_it_there() {
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
    // The answer that says more about the client counts.
    let idp = Server::answering(|request| match request.header("authorization") {
        Some(_) => json(401, &json!({"error": "invalid_client"})),
        None => json(400, &json!({"error": "invalid_request"})),
    });
    waits(&idp, "", "401 Unauthorized: invalid_client");
}

#[test]
fn a_new_secret_is_read_when_the_old_one_is_refused() {
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
fn a_check_gets_a_token_and_a_preview_none() {
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
    // A check says what is wrong with the client.
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
fn no_nearer_address_gets_the_client_or_its_tokens() {
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
fn a_socket_is_not_the_way_to_the_token() {
    let idp = oauth::start(Client::Header, hour());
    let sandbox = sandbox_draining(
        &Server::start([OK]),
        &format!("socket = ./no-socket\n{}", keys(&idp)),
        "500ms",
    );
    assert_eq!(send(&sandbox).code, 75);
    assert_eq!(idp.requests().len(), 1);
}

fn mail(sandbox: &Sandbox, server: &Smtp, keys: &str) {
    sandbox.file("plugin_config.ini", format!(
        "[delivery]\ndrain = 4\n[notifier:mail]\ntype = email\non = any\nhost = localhost\nport = {}\nca_file = ca.pem\n\
         from = ansible@example.com\nto = ops@example.com\nusername = svc\n{keys}",
        server.port()
    ));
    sandbox.file("event.json", EVENT);
}

#[test]
fn a_mail_server_gets_a_token_and_a_new_one_if_it_refuses_that() {
    let count = AtomicUsize::new(0);
    let idp = Server::answering(move |_| {
        let token = match count.fetch_add(1, Ordering::Relaxed) {
            0 => "canary-old",
            _ => "canary-token",
        };
        json(
            200,
            &json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600}),
        )
    });
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls", "--auth", "XOAUTH2"]);
    mail(&sandbox, &server, &keys(&idp));
    send(&sandbox).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!((server.mails().len(), idp.requests().len()), (1, 2));
    sandbox.expect_no_canary();
    for (more, problem) in [
        (
            "password = canary\n",
            "`oauth_token_url` and `password` are set; keep one of them",
        ),
        (
            "token = canary\n",
            "`oauth_token_url` and `token` are set; keep one of them",
        ),
        (
            "auth = plain\n",
            "`auth` must be `xoauth2` with `oauth_token_url`",
        ),
    ] {
        mail(&sandbox, &server, &format!("{}{more}", keys(&idp)));
        sandbox.run(&["check-config"]).expect_line(78, &[problem]);
    }
    // Without a token, there is no mail, and the reason is told.
    mail(
        &sandbox,
        &server,
        &keys(&idp).replace(&idp.at(""), &dead_url().replace("/events", "")),
    );
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    assert_eq!(server.mails().len(), 3);
}
