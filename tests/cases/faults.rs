//! The fault matrix: whatever an endpoint does, what was accepted arrives when it is well again, as it was
//! given; nothing else arrives, the numbers add up, and a fresh event passes.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::sandbox::side_by_side;
use crate::sandbox::spooled::Spooled;
use crate::server::fault::{Fault, FaultServer};
use crate::server::{OK, Reply, Request, Server};

const EVENTS: [&str; 3] = ["a", "b", "c"];

/// Where the events of a notifier are while the fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Delivered,
    Waiting,
    Dead,
}

/// A configuration with a notifier for each name and URL.
fn notifiers<'a>(
    urls: impl Iterator<Item = (&'a str, String)>,
    timeout: &str,
    delivery: &str,
) -> String {
    let mut text = format!("[delivery]\n{delivery}\n");
    for (name, url) in urls {
        text.push_str(&format!(
            "[notifier:{name}]\ntype = webhook\non = any\ntimeout = {timeout}\nurl = {url}\n"
        ));
    }
    text
}

fn states(spooled: &Spooled) -> BTreeMap<String, Value> {
    let text = spooled.run(&["status", "--json"]).stdout;
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter()
        .map(|row| (row["name"].as_str().unwrap().to_owned(), row))
        .collect()
}

fn expect_state(rows: &BTreeMap<String, Value>, name: &str, state: State) {
    let key = format!("{state:?}").to_lowercase();
    assert_eq!(rows[name][&key], EVENTS.len(), "{state:?}: {}", rows[name]);
}

/// All that waits or is dead is delivered, and then a fresh event.
fn recover(spooled: &mut Spooled) {
    // On a busy machine an attempt can miss its time limit.
    let mut flushed = spooled.run(&["flush", "--dead"]);
    for _ in 0..10 {
        if flushed.code == 0 {
            break;
        }
        flushed = spooled.run(&["flush"]);
    }
    flushed.expect_line(0, &["deliver"]);
    spooled.check_numbers();
    spooled.send(&["fresh"]).expect_line(0, &["deliver"]);
}

/// Content that unpacks to so many times its size.
fn packed() -> Vec<u8> {
    let zeros = Command::new("head")
        .args(["-c", "20000000", "/dev/zero"])
        .stdout(Stdio::piped())
        .spawn();
    let gzip = Command::new("gzip")
        .arg("-c")
        .stdin(zeros.unwrap().stdout.take().unwrap())
        .output();
    gzip.unwrap().stdout
}

fn faults() -> Vec<(&'static str, Fault, State)> {
    use State::{Delivered, Waiting};
    let bytes = |text: &str| text.as_bytes().to_vec();
    let large = "x".repeat(1 << 20);
    let good = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    vec![
        ("refused", Fault::Refused, Waiting),
        ("black-hole", Fault::BlackHole, Waiting),
        ("silent", Fault::Silent, Waiting),
        ("reset-at-once", Fault::ResetAfter(0), Waiting),
        ("reset-in-the-head", Fault::ResetAfter(20), Waiting),
        ("reset-in-the-body", Fault::ResetAfter(400), Waiting),
        ("reset-after-the-body", Fault::ThenReset(vec![]), Waiting),
        (
            "success-then-reset",
            Fault::ThenReset(bytes(good)),
            Delivered,
        ),
        (
            "half-a-success-then-reset",
            Fault::ThenReset(bytes(cut)),
            Waiting,
        ),
        ("drip", Fault::Drip(bytes(good)), Waiting),
        (
            "junk",
            Fault::ThenEnd(bytes("\0\u{1}junk\r\n\r\n")),
            Waiting,
        ),
        (
            "other-protocol",
            Fault::ThenEnd(bytes("SSH-2.0-OpenSSH_9.2\r\n")),
            Waiting,
        ),
        ("nothing", Fault::ThenEnd(vec![]), Waiting),
        (
            "half-a-head",
            Fault::ThenEnd(bytes("HTTP/1.1 200 OK\r\nConte")),
            Waiting,
        ),
        ("cut-short", Fault::ThenEnd(bytes(cut)), Waiting),
        (
            "chunk-cut-short",
            Fault::ThenEnd(bytes(&format!("{chunked}a\r\nabc"))),
            Waiting,
        ),
        (
            "chunk-of-junk",
            Fault::ThenEnd(bytes(&format!("{chunked}zz\r\nabc"))),
            Waiting,
        ),
        (
            "large-head",
            Fault::ThenEnd(bytes(&format!("HTTP/1.1 200 OK\r\nX: {large}\r\n\r\n"))),
            Waiting,
        ),
    ]
}

/// Answers that are more than anybody wants to read.
fn floods() -> Vec<(&'static str, Fault, State)> {
    use State::{Dead, Delivered, Waiting};
    let bytes = |text: &str| text.as_bytes().to_vec();
    let large = "x".repeat(1 << 20);
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let bomb = packed();
    let bomb = |status: &str| {
        let length = bomb.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), &bomb].concat()
    };
    vec![
        (
            "endless-success",
            Fault::Endless(bytes("HTTP/1.1 200 OK\r\n\r\n"), bytes(&large)),
            Delivered,
        ),
        (
            "endless-refusal",
            Fault::Endless(bytes("HTTP/1.1 400 Bad Request\r\n\r\n"), bytes(&large)),
            Dead,
        ),
        ("bomb-of-success", Fault::ThenEnd(bomb("200 OK")), Delivered),
        ("bomb-of-trouble", Fault::ThenEnd(bomb("503 No")), Waiting),
        (
            "informational-flood",
            Fault::Endless(vec![], bytes(early)),
            Waiting,
        ),
    ]
}

#[test]
fn what_was_accepted_outlasts_every_fault_of_a_connection() {
    outlast(faults());
}

#[test]
fn what_was_accepted_outlasts_every_flood() {
    outlast(floods());
}

fn outlast(faults: Vec<(&'static str, Fault, State)>) {
    let (mut servers, mut expected) = (Vec::new(), Vec::new());
    for (name, fault, state) in faults {
        servers.push((name, FaultServer::start(fault)));
        expected.push((name, state));
    }
    let urls = servers.iter().map(|(name, server)| (*name, server.url()));
    let mut spooled = Spooled::with(&notifiers(urls, "400ms", "drain = 3s"));
    spooled.send(&EVENTS);
    let rows = states(&spooled);
    for (name, state) in expected {
        expect_state(&rows, name, state);
    }
    spooled.check_numbers();

    servers.iter().for_each(|(_, server)| server.mend());
    recover(&mut spooled);
    for (_, server) in &servers {
        spooled.check_arrived(&server.arrived());
    }
    spooled.check_numbers();
}

/// How long each form of `Retry-After` asks to wait, in seconds; the short ones are up to the back-off.
const RETRY_AFTER: [(&str, f64); 11] = [
    ("", 0.0),
    ("Retry-After: 0\r\n", 0.0),
    ("Retry-After: 1\r\n", 1.0),
    ("Retry-After: 1.5\r\n", 1.5),
    ("Retry-After: -5\r\n", 0.0),
    ("Retry-After: 99999999999\r\n", 3600.0),
    ("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 0.0),
    ("Retry-After: Fri, 06 Nov 2099 08:49:37 GMT\r\n", 3600.0),
    ("Retry-After: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 0.0),
    ("Retry-After: as soon as you like\r\n", 0.0),
    ("Retry-After: 20\r\nRetry-After: 3000\r\n", 20.0),
];

const STATUSES: [(State, &[u16]); 3] = [
    (State::Delivered, &[200, 201, 202, 204, 206, 299]),
    (
        State::Waiting,
        &[
            401, 403, 407, 408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 524, 529, 599,
        ],
    ),
    (
        State::Dead,
        &[
            300, 301, 302, 303, 304, 307, 308, 400, 404, 405, 406, 409, 410, 411, 413, 414, 415,
            422, 431, 451, 501, 505, 999,
        ],
    ),
];

/// The answer that the path asks for: `/STATUS/FORM`.
fn as_the_path_says(request: &Request) -> String {
    let mut words = request.target.split('/').skip(1);
    let status = words.next().unwrap();
    let form: usize = words.next().unwrap().parse().unwrap();
    let header = RETRY_AFTER[form].0;
    format!("HTTP/1.1 {status} Status\r\n{header}Content-Length: 0\r\n\r\n")
}

struct Status {
    name: String,
    path: String,
    state: State,
    /// What the next attempt waits for, in seconds, where the reply has a say in it.
    pause: Option<f64>,
}

/// Each status with each form; those that mean to wait each in a process of its own.
fn status_matrix() -> Vec<Vec<Status>> {
    let mut matrix = Vec::new();
    for (state, statuses) in STATUSES {
        for statuses in statuses.chunks(if state == State::Waiting { 1 } else { 40 }) {
            let with_forms = |status: &u16| {
                let (status, denied) = (*status, [401, 403, 407].contains(status));
                RETRY_AFTER
                    .iter()
                    .enumerate()
                    .map(move |(form, (_, pause))| Status {
                        name: format!("s{status}-{form}"),
                        path: format!("{status}/{form}"),
                        state,
                        pause: (state == State::Waiting && !denied).then_some(*pause),
                    })
            };
            let forms = statuses.iter().flat_map(with_forms);
            // Where nothing waits it is enough that a pause without end changes nothing.
            let few = forms.filter(|status| state == State::Waiting || status.name.ends_with("-5"));
            matrix.push(few.collect());
        }
    }
    matrix
}

#[test]
fn what_was_accepted_outlasts_every_status_and_every_pause() {
    side_by_side(&status_matrix(), |notifiers| outlast_statuses(notifiers));
}

fn outlast_statuses(matrix: &[Status]) {
    let server = FaultServer::start(Fault::Answer(as_the_path_says));
    let base = server.url().replace("/events", "");
    let urls = matrix
        .iter()
        .map(|status| (status.name.as_str(), format!("{base}/{}", status.path)));
    // Where it waits it does so to the end.
    let waits = matrix[0].state == State::Waiting;
    let drain = if waits { "drain = 2s" } else { "drain = 30s" };
    let mut spooled = Spooled::with(&notifiers(urls, "5s", drain));
    spooled.send(&EVENTS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let rows = states(&spooled);
    for status in matrix {
        expect_state(&rows, &status.name, status.state);
        let Some(pause) = status.pause else { continue };
        let next = rows[&status.name]["next_attempt"].as_u64().unwrap();
        let wait = Duration::from_millis(next).as_secs_f64() - now.as_secs_f64();
        // A pause gets a tenth of jitter. The attempt was up to three seconds ago; a third one made the
        // back-off up to four seconds.
        let most = (pause * 1.1).max(4.0) + 0.1;
        assert!(
            (pause - 3.5..=most).contains(&wait),
            "{}: {wait}",
            status.name
        );
    }
    spooled.check_numbers();

    server.mend();
    recover(&mut spooled);
    for status in matrix {
        let mut requests = server.arrived();
        requests.retain(|request| request.target[1..] == status.path);
        assert_eq!(
            spooled.check_arrived(&requests),
            0,
            "{} came twice",
            status.name
        );
    }
    spooled.check_numbers();
}

#[test]
fn what_was_accepted_outlasts_a_name_that_cannot_be_found_and_a_proxy_that_does_not_help() {
    let endpoint = Server::start([OK]);
    let denied = Server::start([Reply::Full(407, "Proxy-Authenticate: Basic\r\n", "")]);
    let refused = Server::start([Reply::Full(403, "", "")]);
    let gone = FaultServer::start(Fault::ResetAfter(0));
    let dead = crate::server::dead_url();
    let proxied = |server: &str| {
        let proxy = server.replace("/events", "");
        format!("https://ops.invalid/\nproxy = {proxy}")
    };
    let cases = [
        ("no-name", "http://ansible-notify.invalid/".to_owned()),
        ("proxy-denies", proxied(&denied.url())),
        ("proxy-refuses", proxied(&refused.url())),
        ("proxy-resets", proxied(&gone.url())),
        ("proxy-is-dead", proxied(&dead)),
    ];
    let urls = cases.iter().map(|(name, url)| (*name, url.clone()));
    let mut spooled = Spooled::with(&notifiers(urls, "5s", "drain = 1s"));
    spooled
        .send(&EVENTS)
        .expect_line(75, &["no-name: ", "proxy-is-dead"]);
    let rows = states(&spooled);
    for (name, _) in &cases {
        expect_state(&rows, name, State::Waiting);
    }
    spooled.check_numbers();

    let urls = cases
        .iter()
        .map(|(name, _)| (*name, format!("{}/{name}", endpoint.url())));
    spooled
        .sandbox
        .file("plugin_config.ini", notifiers(urls, "5s", "drain = 2s"));
    recover(&mut spooled);
    for (name, _) in &cases {
        let mut requests = endpoint.requests();
        requests.retain(|request| request.target.ends_with(name));
        assert_eq!(spooled.check_arrived(&requests), 0, "{name}");
    }
    spooled.check_numbers();
}
