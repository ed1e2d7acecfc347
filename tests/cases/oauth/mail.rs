//! Tokens for a mail server.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{EVENT, keys, send};
use crate::sandbox::Sandbox;
use crate::server::certificates::certified_sandbox;
use crate::server::smtp::Smtp;
use crate::server::{Server, dead_url, json};

fn mail(sandbox: &Sandbox, server: &Smtp, keys: &str) {
    sandbox.file("plugin_config.ini", format!(
        "[delivery]\ndrain = 4\n[notifier:mail]\ntype = email\non = any\nhost = localhost\nport = {}\nca_file = ca.pem\n\
         from = ansible@example.com\nto = ops@example.com\nusername = svc\n{keys}",
        server.port()
    ));
    sandbox.file("event.json", EVENT);
}

#[test]
fn a_mail_server_gets_a_token_and_after_a_rejection_a_new_one() {
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
    // Without a token, there is no mail, and the reason is reported.
    mail(
        &sandbox,
        &server,
        &keys(&idp).replace(&idp.at(""), &dead_url().replace("/events", "")),
    );
    let sent = send(&sandbox);
    assert_eq!(sent.code, 75, "{sent:?}");
    assert_eq!(server.mails().len(), 3);
}
