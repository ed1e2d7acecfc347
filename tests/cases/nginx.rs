//! A real nginx at the other end: credentials, certificates, sockets, proxies, kept connections.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::sandbox::{Config, PATIENCE, Sandbox, outcome, side_by_side};
use crate::server::certificates::{Authority, Identity};
use crate::server::nginx::Nginx;
use crate::server::proxy::Proxy;
use crate::server::{OK, Server};
use serde_json::{Value, json};

const EVENT: &str = r#"{"id":"e-1","state":"failed","host":"web1"}"#;
const DELIVERED: &str = "ansible-notify: 1 event, 1 delivery: delivered\n";
const TLS: &str = "ssl_certificate server.pem; ssl_certificate_key server.key;\n";

/// Configures `url` with further keys of `[inputs]`, a line each.
fn configure(sandbox: &Sandbox, url: &str, keys: &str) {
    let config = Config::to(url).with(keys).delivery("drain = 2");
    sandbox.file("plugin_config.ini", config.text());
}

fn serve_as(sandbox: &Sandbox, identity: &Identity) {
    sandbox.file("server.pem", &identity.chain);
    sandbox.file("server.key", &identity.key);
}

/// A sandbox with an authority's `ca.pem`, and a server certificate that it signed.
fn sandbox_with_authority() -> (Sandbox, Authority) {
    let sandbox = Sandbox::new();
    let authority = Authority::new("private");
    sandbox.file("ca.pem", authority.pem());
    serve_as(&sandbox, &authority.sign(|_| {}));
    (sandbox, authority)
}

fn statuses(requests: &[Value]) -> Vec<&str> {
    requests
        .iter()
        .map(|request| request["status"].as_str().unwrap())
        .collect()
}

#[test]
fn basic_authentication() {
    let waiting = "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: 401 Unauthorized: 401 Authorization Required)\n";
    // What the command prints the first time, and from then on.
    let cases = [
        ("right", "right", 0, DELIVERED, &["204"][..]),
        ("wrong", "right", 0, DELIVERED, &["401", "204"]),
        ("wrong", "wrong", 75, waiting, &["401", "401"]),
    ];
    side_by_side(&cases, |&(first, then, code, stderr, expected)| {
        let sandbox = Sandbox::new();
        sandbox.file("users", "anna:{PLAIN}right\n");
        let nginx = Nginx::start(&sandbox, "", "auth_basic ops; auth_basic_user_file users;");
        sandbox.file(
            "password",
            format!("mkdir again 2>/dev/null && echo {first} || echo {then}"),
        );
        configure(
            &sandbox,
            &nginx.url(),
            "username = anna\npassword_command = sh password",
        );
        sandbox
            .run_with_input(&["send", "-"], EVENT)
            .expect(code, stderr);
        let requests = nginx.requests();
        assert_eq!(statuses(&requests), expected);
        if code == 0 {
            let last = requests.last().unwrap();
            assert_eq!(last["request"], "POST /events HTTP/1.1");
            assert_eq!(last["http_authorization"], "Basic YW5uYTpyaWdodA==");
            assert_eq!(last["request_body"], r#"{"state":"failed","host":"web1"}"#);
        }
    });
}

#[test]
fn a_certificate_is_trusted_as_the_configuration_says() {
    let authority = Authority::new("private");
    let (signed, alone) = (authority.sign(|_| {}), Identity::self_signed());
    let cases = [
        (&signed, "ca_file = ca.pem", true),
        // The system's authorities do not know a private one.
        (&signed, "", false),
        (&signed, "validate_certs = false", true),
        (&alone, "ca_file = ca.pem", false),
        (&alone, "validate_certs = true", false),
        (&alone, "validate_certs = false", true),
    ];
    side_by_side(&cases, |&(identity, keys, delivered)| {
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", authority.pem());
        serve_as(&sandbox, identity);
        let nginx = Nginx::start(&sandbox, " ssl", TLS);
        configure(&sandbox, &nginx.https(), keys);
        let outcome = sandbox.run_with_input(&["send", "-"], EVENT);
        if delivered {
            outcome.expect(0, DELIVERED);
        } else {
            let reason = format!(
                "(callback: https://localhost:{}: invalid peer certificate: UnknownIssuer",
                nginx.port()
            );
            outcome.expect_line(
                75,
                &[
                    "1 delivery: 1 pending until the next run, `flush` or the timer",
                    &reason,
                ],
            );
        }
        let expected: &[&str] = if delivered { &["204"] } else { &[] };
        assert_eq!(statuses(&nginx.requests()), expected, "{keys}");
    });
}

#[test]
fn client_certificates() {
    let (sandbox, authority) = sandbox_with_authority();
    let client = authority.sign(|_| {});
    sandbox.file("client.pem", &client.chain);
    sandbox.file("client.key", &client.key);
    sandbox.file("both.pem", format!("{}{}", client.chain, client.key));
    let nginx = Nginx::start(
        &sandbox,
        " ssl",
        &format!("{TLS}ssl_client_certificate ca.pem; ssl_verify_client on;"),
    );
    let refused = "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: 400 Bad Request: 400 No required SSL certificate was sent)\n";
    for (keys, code, stderr) in [
        (
            "client_cert = client.pem\nclient_key = client.key",
            0,
            DELIVERED,
        ),
        ("client_cert = both.pem", 0, DELIVERED),
        // Like any refused credentials: read anew once, and then they may be mended.
        ("", 75, refused),
    ] {
        configure(
            &sandbox,
            &nginx.https(),
            &format!("ca_file = ca.pem\n{keys}"),
        );
        sandbox
            .run_with_input(&["send", "-"], EVENT)
            .expect(code, stderr);
    }
    assert_eq!(statuses(&nginx.requests()), ["204", "204", "400", "400"]);
}

#[test]
fn an_encrypted_key_is_a_problem_of_the_configuration() {
    let (sandbox, authority) = sandbox_with_authority();
    let client = authority.sign(|_| {});
    sandbox.file("client.pem", &client.chain);
    sandbox.file("plain.key", &client.key);
    let encrypt = "pkcs8 -topk8 -in plain.key -out client.key -passout pass:canary";
    let status = Command::new("openssl")
        .args(encrypt.split(' '))
        .current_dir(sandbox.root())
        .status();
    assert!(status.expect("openssl is needed").success());
    configure(
        &sandbox,
        "https://localhost/events",
        "ca_file = ca.pem\nclient_cert = client.pem\nclient_key = client.key",
    );
    sandbox
        .run_with_input(&["send", "-"], EVENT)
        .expect_warning(78, &["plugin_config.ini:4: `client_cert` and `client_key` must be a certificate and its unencrypted key in PEM format"]);
}

#[test]
fn a_unix_socket_with_and_without_tls() {
    for (listen, tls, url, key) in [
        ("", "", "http://ops.example/events", ""),
        (" ssl", TLS, "https://localhost/events", "ca_file = ca.pem"),
    ] {
        let (sandbox, _) = sandbox_with_authority();
        let nginx = Nginx::start(&sandbox, listen, tls);
        configure(&sandbox, url, &format!("socket = nginx.sock\n{key}"));
        sandbox
            .run_with_input(&["send", "-"], EVENT)
            .expect(0, DELIVERED);
        assert_eq!(nginx.relay.record().len(), 0, "not over TCP");
        assert_eq!(statuses(&nginx.requests()), ["204"], "{url}");
    }
}

#[test]
fn plain_http_goes_through_a_proxy_that_may_ask_for_a_password() {
    // "anna:s3cret".
    let guard = r#"if ($http_proxy_authorization != "Basic YW5uYTpzM2NyZXQ=") { return 407; }"#;
    let refused = "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: 407 Proxy Authentication Required)\n";
    let cases = [
        ("", "", 0, DELIVERED),
        (guard, "anna:s3cret@", 0, DELIVERED),
        (guard, "", 75, refused),
        (guard, "anna:wrong@", 75, refused),
    ];
    side_by_side(&cases, |&(directives, user, code, stderr)| {
        let sandbox = Sandbox::new();
        let nginx = Nginx::start(&sandbox, "", directives);
        // No such host: only the proxy can take it.
        configure(
            &sandbox,
            "http://ops.invalid/events",
            &format!("proxy = http://{user}localhost:{}", nginx.port()),
        );
        sandbox
            .run_with_input(&["send", "-"], EVENT)
            .expect(code, stderr);
        let requests = nginx.requests();
        let request = "POST http://ops.invalid/events HTTP/1.1";
        assert!(requests.iter().all(|seen| seen["request"] == request));
        assert_eq!(requests.last().unwrap()["status"] == "204", code == 0);
    });
}

#[test]
fn https_goes_through_a_tunnel_that_shows_the_proxy_nothing() {
    // "anna:s3cret".
    let guard = Some("Basic YW5uYTpzM2NyZXQ=");
    let cases = [
        (None, "", true),
        (guard, "anna:s3cret@", true),
        (guard, "", false),
    ];
    side_by_side(&cases, |&(guard, user, delivered)| {
        let (sandbox, _) = sandbox_with_authority();
        let nginx = Nginx::start(&sandbox, " ssl", TLS);
        let proxy = Proxy::start(guard);
        configure(
            &sandbox,
            &nginx.https(),
            &format!(
                "ca_file = ca.pem\nusername = canary\npassword = canary\nproxy = {}",
                proxy.url(user)
            ),
        );
        let outcome = sandbox.run_with_input(&["send", "-"], EVENT);
        if delivered {
            outcome.expect(0, DELIVERED);
        } else {
            let reason = format!(
                "(callback: https://localhost:{} (proxy {}): tunnel error: proxy authorization required)",
                nginx.port(),
                proxy.url("")
            );
            outcome.expect_line(75, &["1 pending", &reason]);
            assert_eq!(
                proxy.heads().len(),
                2,
                "once more, then a pause as after any 407"
            );
        }
        let heads = proxy.heads().concat();
        assert!(heads.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", nginx.port())));
        // "canary:canary", where it would be seen: the credentials are for the endpoint alone.
        assert!(!heads.contains("Y2FuYXJ5"), "{heads}");
        assert_eq!(nginx.requests().len(), usize::from(delivered));
    });
}

#[test]
fn the_environment_names_a_proxy_only_where_that_is_asked_for() {
    for (keys, environment, through_proxy) in [
        ("", &["http_proxy"][..], false),
        ("proxy = env", &["http_proxy"], true),
        ("proxy = env", &["https_proxy"], false),
        ("proxy = env", &["http_proxy", "no_proxy"], false),
        ("proxy = env", &[], false),
    ] {
        let sandbox = Sandbox::new();
        let proxy = Nginx::start(&sandbox, "", "");
        let server = Server::start([OK]);
        configure(&sandbox, &server.url(), keys);
        let mut command = sandbox.command(&["send", "event.json"]);
        sandbox.file("event.json", EVENT);
        for name in environment {
            let value = match *name {
                "no_proxy" => "elsewhere.invalid,127.0.0.0/8".to_owned(),
                _ => proxy.url(),
            };
            command.env(name, value);
        }
        outcome(command.spawn().unwrap()).expect(0, DELIVERED);
        let seen = (proxy.requests().len(), server.requests().len());
        let expected = if through_proxy { (1, 0) } else { (0, 1) };
        assert_eq!(seen, expected, "{keys}, {environment:?}");
    }
}

#[test]
fn https_proxy_of_the_environment_is_used_for_https() {
    let (sandbox, _) = sandbox_with_authority();
    let nginx = Nginx::start(&sandbox, " ssl", TLS);
    let proxy = Proxy::start(None);
    configure(&sandbox, &nginx.https(), "ca_file = ca.pem\nproxy = env");
    sandbox.file("event.json", EVENT);
    let mut command = sandbox.command(&["send", "event.json"]);
    command.env("https_proxy", proxy.url(""));
    outcome(command.spawn().unwrap()).expect(0, DELIVERED);
    assert_eq!(proxy.heads().len(), 1);
}

#[test]
fn connections_are_kept() {
    let (sandbox, _) = sandbox_with_authority();
    let nginx = Nginx::start(&sandbox, " ssl", TLS);
    configure(
        &sandbox,
        &nginx.https(),
        "ca_file = ca.pem\nconcurrency = 3",
    );
    let events: String = (0..200)
        .map(|number| json!({"state": "success", "host": format!("h{}", number % 10)}).to_string())
        .collect();
    sandbox.run_with_input(&["send", "-"], events).expect(
        0,
        "ansible-notify: 200 events, 200 deliveries: all delivered\n",
    );
    let mut connections: Vec<Value> = nginx
        .requests()
        .iter()
        .map(|request| request["connection"].clone())
        .collect();
    assert_eq!(connections.len(), 200);
    connections.sort_by_key(Value::to_string);
    connections.dedup();
    // One more is opened where a request begins just before another's connection is free.
    assert!(connections.len() <= 4, "{connections:?}");
}

#[test]
fn a_certificate_renewed_in_time_loses_no_event() {
    let (sandbox, authority) = sandbox_with_authority();
    let expired = authority.sign(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    serve_as(&sandbox, &expired);
    let mut nginx = Nginx::start(&sandbox, " ssl", TLS);
    let config = Config::to(&nginx.https()).with("ca_file = ca.pem");
    sandbox.file("plugin_config.ini", config.delivery("drain = 2m").text());
    sandbox.file("event.json", EVENT);
    let sending = sandbox.command(&["send", "event.json"]).spawn().unwrap();
    // With one event, a second connection means that the first one was refused.
    let started = Instant::now();
    while nginx.relay.record().len() < 2 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    serve_as(&sandbox, &authority.sign(|_| {}));
    nginx.reload();
    outcome(sending).expect(0, DELIVERED);
    assert_eq!(statuses(&nginx.requests()), ["204"]);
}
