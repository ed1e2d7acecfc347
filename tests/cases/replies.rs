//! Endpoints that answer strangely, or mean harm: what is made of it, within bounds of memory and time.

use std::time::{Duration, Instant};

use crate::sandbox::{Config, Outcome, Sandbox, outcome, side_by_side};
use crate::server::{OK, Reply, Server, status};

const DELIVERED: &str = "1 event, 1 delivery: delivered\n";
const HELD: &str =
    "1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: ";

/// Sends an event by a program that gets no more than 64 MiB of memory.
fn send(server: &Server) -> Outcome {
    let config = Config::to(&server.url())
        .delivery("drain = 2")
        .with("timeout = 1s")
        .text();
    let sandbox = Sandbox::with_config(&config);
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    let mut limited = sandbox.command_in_little_memory(&["send", "event.json"]);
    outcome(limited.spawn().unwrap())
}

#[test]
fn no_reply_costs_more_than_its_share() {
    let large = "x".repeat(1 << 20);
    let many: String = (0..50_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let leak = |text: String| -> &'static [u8] { text.leak().as_bytes() };
    let piece = leak(large.clone());
    let chunk = leak(format!("100000\r\n{large}\r\n"));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500);
    let too_large = "message head is too large)";
    let ten_gigabytes = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n";
    let chunked = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        (Reply::Endless(ten_gigabytes, piece), 0, DELIVERED),
        (
            Reply::Endless(b"HTTP/1.1 200 OK\r\n\r\n", piece),
            0,
            DELIVERED,
        ),
        (
            Reply::Endless(chunked, chunk),
            75,
            "500 Internal Server Error: xxxxx",
        ),
        (
            Reply::Endless(chunked, b"1"),
            75,
            "500 Internal Server Error)",
        ),
        (
            Reply::Endless(b"HTTP/1.1 200 OK\r\nX-Large: ", piece),
            75,
            too_large,
        ),
        (
            Reply::Raw(leak(format!("HTTP/1.1 200 OK\r\nX-Large: {large}\r\n\r\n"))),
            75,
            too_large,
        ),
        (
            Reply::Raw(leak(format!("HTTP/1.1 200 OK\r\n{many}\r\n"))),
            75,
            too_large,
        ),
        (Reply::Endless(b"", b"\r\n"), 75, too_large),
        (
            Reply::Endless(b"", b"\0"),
            75,
            "invalid HTTP version parsed",
        ),
        (
            Reply::Endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            75,
            HELD,
        ),
        (
            Reply::Raw(leak(hints + "HTTP/1.1 204 No Content\r\n\r\n")),
            0,
            DELIVERED,
        ),
    ];
    side_by_side(&cases, |(reply, code, text)| {
        let server = Server::start([reply.clone()]);
        let started = Instant::now();
        send(&server).expect_line(*code, &[text]);
        // It ends, however busy the machine is.
        assert!(started.elapsed() < Duration::from_secs(60), "{text}");
    });
}

#[test]
fn an_odd_reply_is_a_delivery_a_refusal_or_neither() {
    let after_hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
                        HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let two_lengths = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let packed = b"HTTP/1.1 400 No\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0";
    let escapes = "\u{1b}]0;title\u{7}\u{202e}";
    let cases = [
        (status(204), 0, DELIVERED),
        (status(299), 0, DELIVERED),
        (
            Reply::Raw(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n"),
            0,
            DELIVERED,
        ),
        (Reply::Raw(b"HTTP/1.0 200 OK\r\n\r\n"), 0, DELIVERED),
        (Reply::Raw(after_hints), 0, DELIVERED),
        (
            Reply::Full(200, "Content-Encoding: gzip\r\n", "no gzip"),
            0,
            DELIVERED,
        ),
        (Reply::Raw(packed), 69, "(callback: 400 Bad Request)"),
        (
            Reply::Full(400, "", escapes),
            69,
            r"Request: \u{1b}]0;title\u{7}\u{202e})",
        ),
        (status(101), 69, "(callback: 101 Switching Protocols)"),
        (
            status(304),
            69,
            "(callback: 304 Not Modified: redirects to another address; ",
        ),
        (
            Reply::Full(302, "Location: data:,x\r\n", ""),
            69,
            "redirects to another address; ",
        ),
        (status(999), 69, "(callback: 999 <unknown status code>)"),
        (
            Reply::Raw(b"HTTP/1.1 099 Odd\r\n\r\n"),
            75,
            "invalid HTTP status-code parsed",
        ),
        (
            Reply::Raw(b"HTTP/1.1 20 OK\r\n\r\n"),
            75,
            "invalid HTTP status-code parsed",
        ),
        (Reply::Raw(two_lengths), 75, "invalid content-length parsed"),
    ];
    side_by_side(&cases, |(reply, code, text)| {
        let server = Server::start([reply.clone()]);
        send(&server).expect_line(*code, &[text]);
        let request = &server.requests()[0];
        assert_eq!(
            request.header("accept-encoding"),
            None,
            "nothing packed is asked for"
        );
    });
}

#[test]
fn the_forms_of_an_address() {
    let server = Server::start([OK]);
    let port = server.url().split([':', '/']).nth(4).unwrap().to_owned();
    for (url, target) in [
        ("http://127.1:PORT/a", "/a"),
        ("http://0x7f.1:PORT/a#fragment", "/a"),
        ("http://LOCALHOST:PORT", "/"),
        (
            "http://127.0.0.1:PORT/a%20b/é?q=é%20",
            "/a%20b/%C3%A9?q=%C3%A9%20",
        ),
    ] {
        let outcome = Sandbox::sending_to(&url.replace("PORT", &port))
            .run_with_input(&["send", "-"], r#"{"state":"failed"}"#);
        outcome.expect_line(0, &[DELIVERED]);
        assert_eq!(server.requests().last().unwrap().target, target, "{url}");
    }
    for (url, line) in [
        ("http://[::1]:8080/a", "POST http://[::1]:8080/a"),
        (
            "http://bücher.example/a",
            "POST http://xn--bcher-kva.example/a",
        ),
        ("https://ops.example:443/a", "POST https://ops.example/a"),
    ] {
        let outcome = Sandbox::sending_to(url)
            .run_with_input(&["send", "-", "--dry-run"], r#"{"state":"failed"}"#);
        assert_eq!(outcome.stdout.lines().nth(1), Some(line));
    }
}

#[test]
fn headers_cannot_be_split() {
    let server = Server::start([OK]);
    let config = Config::to(&server.url())
        .with("headers = X-Name: Zoë")
        .text();
    let sandbox = Sandbox::with_config(&config);
    for (id, header) in [
        (r"e\r\nX-Evil: 1", "e%0D%0AX-Evil%3A+1"),
        (r"\u0000", "%00"),
        ("Zoë", "Zoë"),
    ] {
        let event = format!(r#"{{"id":"{id}","state":"failed"}}"#);
        let outcome = sandbox.run_with_input(&["send", "-"], event);
        outcome.expect_line(0, &[DELIVERED]);
        let requests = server.requests();
        let request = requests.last().unwrap();
        assert_eq!(request.header("webhook-id"), Some(header));
        assert_eq!(request.header("idempotency-key"), Some(header));
        assert_eq!(request.header("x-name"), Some("Zoë"));
        assert_eq!(request.header("x-evil"), None);
    }
}

#[test]
fn an_answer_given_in_advance_is_no_delivery() {
    // Two answers to the first request, so that the second one would find its own already there.
    let twice = "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n";
    let server = Server::start([Reply::Full(200, twice, ""), status(400)]);
    let config = Config::to(&server.url()).with("concurrency = 1").text();
    let event = r#"{"state":"failed","host":"h"}"#;
    let outcome = Sandbox::with_config(&config).run_with_input(&["send", "-"], event.repeat(2));
    outcome.expect_line(69, &["2 events, 2 deliveries: 1 delivered, 1 dead"]);
    assert_eq!(server.requests().len(), 2);
}
