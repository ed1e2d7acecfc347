//! The dialogue with the server: encryption, logins, refusals.

use rcgen::date_time_ymd;
use serde_json::{Value, json};

use super::{CANARY, TO, config, configure, failed, send};
use crate::sandbox::{Sandbox, side_by_side};
use crate::server::certificates::{Authority, Identity, certified_sandbox};
use crate::server::smtp::Smtp;

#[test]
fn every_login_works_and_a_rejected_one_is_reported() {
    let login = "the user svc logs in";
    let cases = [
        (
            "PLAIN",
            "username = svc\npassword = canary-password",
            0,
            login,
        ),
        (
            "LOGIN",
            "username = svc\npassword = canary-password",
            0,
            login,
        ),
        (
            "XOAUTH2",
            "username = svc\ntoken_command = echo canary-token",
            0,
            login,
        ),
        (
            "LOGIN",
            "auth = login\nusername = svc\npassword = canary-wrong",
            75,
            "535 5.7.8 Authentication credentials invalid",
        ),
        (
            "PLAIN",
            "username = svc\npassword = canary-wrong",
            75,
            "535 5.7.8 Authentication credentials invalid",
        ),
        (
            "XOAUTH2",
            "username = svc\ntoken = canary-wrong",
            75,
            "535 5.7.8 Authentication credentials invalid",
        ),
        (
            "PLAIN",
            "auth = login\nusername = svc\npassword = canary-password",
            75,
            "the server does not offer AUTH LOGIN; see `auth` and `encryption`",
        ),
        ("PLAIN", "", 75, "530 5.7.0 Authentication required"),
    ];
    side_by_side(&cases, |&(mechanism, keys, code, reason)| {
        let sandbox = certified_sandbox();
        let server = Smtp::start(&sandbox, &["--starttls", "--auth", mechanism]);
        configure(&sandbox, &server, &format!("{TO}\n{keys}"));
        let outcome = send(&sandbox, &failed("x"));
        assert_eq!(outcome.code, code, "{mechanism} {outcome:?}");
        assert!(
            code == 0 || outcome.stderr.contains(reason),
            "{reason}: {outcome:?}"
        );
        assert!(!outcome.stderr.contains(CANARY), "{outcome:?}");
        let logins: Vec<Value> = server
            .mails()
            .iter()
            .map(|mail| mail["login"].clone())
            .collect();
        assert_eq!(
            logins,
            if code == 0 {
                vec![json!(mechanism)]
            } else {
                vec![]
            }
        );
    });
}

/// Only the start of a conversation was sent: no mail, no address, no credential.
fn said_nothing(server: &Smtp, reason: &str) {
    let wire = server.wire();
    for word in ["AUTH", "MAIL", "ops@", CANARY, "web1"] {
        assert!(!wire.contains(word), "{reason}: {wire}");
    }
    assert!(!server.relay.record().is_empty() && server.mails().is_empty());
}

#[test]
fn a_server_that_proves_nothing_gets_nothing() {
    let authority = Authority::new("private");
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let stranger = || Authority::new("stranger").sign(|_| {});
    let good = || authority.sign(|_| {});
    let unknown = "UnknownIssuer; for a private CA, set `ca_file`";
    let none = "the server does not offer STARTTLS; set `encryption = none` to send unencrypted";
    let no_tls = "received corrupt message of type InvalidContentType; does this port use TLS?";
    let cases = [
        (
            stranger(),
            &["--starttls"][..],
            "starttls",
            "localhost",
            unknown,
        ),
        (stranger(), &["--tls"], "tls", "localhost", unknown),
        (
            expired,
            &["--starttls"],
            "starttls",
            "localhost",
            "certificate expired",
        ),
        (
            good(),
            &["--tls"],
            "tls",
            "127.0.0.1",
            "not valid for name \"127.0.0.1\"",
        ),
        (good(), &[], "starttls", "localhost", none),
        (good(), &[], "tls", "localhost", no_tls),
    ];
    side_by_side(&cases, |(identity, options, encryption, host, reason)| {
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", authority.pem());
        identity.install(&sandbox);
        let server = Smtp::start(&sandbox, options);
        let keys = "username = svc\npassword = canary-password";
        let config = config(&server, &format!("{TO}\n{keys}\nencryption = {encryption}"));
        let config = config.with(&format!("host = {host}"));
        sandbox.file("plugin_config.ini", config.text());
        let outcome = send(&sandbox, &failed("x"));
        let place = format!("(mail: {host}:{}: ", server.port());
        outcome.expect_line(75, &["1 pending", &place, reason]);
        said_nothing(&server, reason);
    });
}

#[test]
fn an_invalid_certificate_is_accepted_on_request() {
    let sandbox = certified_sandbox();
    Identity::self_signed().install(&sandbox);
    let server = Smtp::start(&sandbox, &["--starttls"]);
    configure(&sandbox, &server, &format!("{TO}\nvalidate_certs = no"));
    assert_eq!(send(&sandbox, &failed("x")).code, 0);
    assert_eq!(server.mails()[0]["encrypted"], true);
}

#[test]
fn one_refused_recipient_does_not_stop_the_others() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    configure(
        &sandbox,
        &server,
        "to = a@example.com, refused@example.com, later@example.com",
    );
    let outcome = send(&sandbox, &failed("x"));
    // The greylisted recipient got it on the second attempt, and the first one did not get it twice.
    let name = format!("localhost:{}", server.port());
    outcome.expect(69, &format!(
        "ansible-notify: 1 event, 1 delivery: 1 dead (mail: 1 of 3 not reached: refused@example.com: {name}: 550 5.1.1 no such user here)\n"
    ));
    let mails = server.mails();
    let recipients: Vec<&Value> = mails.iter().map(|mail| &mail["to"]).collect();
    assert_eq!(
        recipients,
        [&json!(["a@example.com"]), &json!(["later@example.com"])]
    );
    // It is the same mail for all recipients.
    assert_eq!(mails[0]["raw"], mails[1]["raw"]);
}

#[test]
fn one_address_that_cannot_be_does_not_stop_the_others() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    let to = "to = {{ ['a@example.com', result.msg] }}\nbcc = {{ ['b@example.com', 'c@@d'] }}";
    configure(&sandbox, &server, to);
    send(&sandbox, &failed("x")).expect_line(
        69,
        &[
            "1 dead",
            "2 of 4 not reached: x: `to`: `x` is not an address",
            "c@@d: `bcc`: ",
        ],
    );
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0]["to"], json!(["a@example.com", "b@example.com"]));
}

#[test]
fn a_mail_that_the_server_rejects_is_dead() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    configure(&sandbox, &server, "to = quota@example.com");
    let outcome = send(&sandbox, &failed("x"));
    outcome.expect_line(69, &["1 dead (mail: localhost:", "552 5.2.2 over quota"]);
}

#[test]
fn the_dialogue_is_shown_without_its_secrets() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    let keys = "username = svc\npassword = canary-password\nmessage = {{ result.msg }} grün";
    configure(&sandbox, &server, &format!("{TO}\n{keys}"));
    let outcome = sandbox.run_with_input(
        &["send", "--dry-run", "-"],
        failed("canary-password").to_string(),
    );
    let shown = outcome.stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "# mail (email)");
    assert_eq!(lines[1], format!("SMTP to localhost:{}", server.port()));
    assert!(lines[2].starts_with("EHLO "));
    assert_eq!(
        lines[3..8],
        [
            "STARTTLS",
            "AUTH PLAIN [redacted]",
            "MAIL FROM:<ansible@example.com>",
            "RCPT TO:<ops@example.com>",
            "DATA"
        ]
    );
    assert!(
        shown.contains("\nSubject: web1: Install <nginx>: failed\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n[redacted] grün\n") && !shown.contains(CANARY),
        "{shown}"
    );
    assert!(server.relay.record().is_empty());
}

#[test]
fn the_check_logs_in_and_mails_nobody() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls", "--auth", "PLAIN"]);
    configure(
        &sandbox,
        &server,
        &format!("{TO}\nusername = svc\npassword = canary-password"),
    );
    let outcome = sandbox.run(&["check-config", "--connect"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("logged in as svc (PLAIN)"),
        "{outcome:?}"
    );
    configure(
        &sandbox,
        &server,
        &format!("{TO}\nusername = svc\npassword = canary-wrong"),
    );
    let outcome = sandbox.run(&["check-config", "--connect"]);
    assert!(
        outcome.code != 0 && format!("{outcome:?}").contains("535 5.7.8"),
        "{outcome:?}"
    );
    assert!(server.mails().is_empty() && !server.wire().contains("MAIL"));
}
