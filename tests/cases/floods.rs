//! Peers that talk without end, or say nothing: the others get all that is theirs, and the memory stays small.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::cases::memory::MOST_KIB;
use crate::sandbox::{Sandbox, outcome};
use crate::server::flood::Talk;
use crate::server::{OK, Server, zmq};

const EVENTS: usize = 60;

/// Failures on some hosts.
fn events() -> String {
    (0..EVENTS)
        .map(|number| {
            let host = number % 12;
            format!("{{\"id\":\"r-{number}\",\"state\":\"failed\",\"host\":\"web{host}\",\"task\":\"t\"}}\n")
        })
        .collect()
}

/// What a configuration says of the others, and what of those that flood.
fn flooded(floods: &[(&str, String)]) -> Sandbox {
    let mut config = "[delivery]\ndrain = 300s\n".to_owned();
    for (name, lines) in floods {
        config.push_str(&format!("[notifier:{name}]\non = any\n{lines}\n"));
    }
    Sandbox::with_config(&config)
}

/// Sends the events with healthy notifiers beside; each of those gets all of them.
fn others_get_everything(floods: &[(&str, String)]) {
    let healthy: Vec<Server> = (0..4).map(|_| Server::start([OK])).collect();
    let mut all: Vec<(&str, String)> = floods.to_vec();
    let names = ["one", "two", "three", "four"];
    for (name, server) in names.iter().zip(&healthy) {
        all.push((name, format!("type = webhook\nurl = {}", server.url())));
    }
    let sandbox = flooded(&all);
    let mut command = sandbox.command(&["send", "-"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(events().as_bytes()).unwrap();
    drop(stdin);
    let arrived = |server: &Server| {
        let requests = server.requests();
        let ids = requests
            .iter()
            .map(|request| request.header("webhook-id").unwrap().to_owned());
        ids.collect::<BTreeSet<String>>().len()
    };
    // It goes on with the others until it is ended; far longer than it takes on any machine.
    let end = Instant::now() + Duration::from_secs(240);
    while healthy.iter().any(|server| arrived(server) < EVENTS) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let peak = peak_of(&child);
    child.kill().unwrap();
    let sent = outcome(child);
    for (name, server) in names.iter().zip(&healthy) {
        assert_eq!(arrived(server), EVENTS, "{name}: {sent:?}");
    }
    assert!((1..MOST_KIB).contains(&peak), "{peak} KiB: {sent:?}");
}

/// The memory that a running process took at the most, in KiB.
fn peak_of(child: &Child) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| {
        line.trim().trim_end_matches(" kB").parse().unwrap()
    })
}

fn webhook(talk: Talk) -> String {
    format!("type = webhook\nurl = http://127.0.0.1:{}/", talk.start())
}

#[test]
fn endpoints_that_talk_without_end_hold_up_nobody() {
    let head = "HTTP/1.1 200 OK\r\n";
    let floods = [
        Talk::answer("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        Talk::answer("", "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"),
        Talk::answer(head, "X-A: b\r\n"),
        Talk::answer(format!("{head}X-A: "), "x"),
        Talk::answer("HTTP/1.1 503 No\r\n\r\n", "x"),
        Talk::answer(format!("{head}Transfer-Encoding: chunked\r\n\r\n1;"), "x"),
        Talk::answer("HTTP/1.1 200 ", "OK "),
        Talk::at_once("", "\r\n"),
    ];
    let names: Vec<String> = (0..floods.len())
        .map(|number| format!("flood-{number}"))
        .collect();
    let floods: Vec<(&str, String)> = names
        .iter()
        .zip(floods)
        .map(|(name, talk)| (name.as_str(), webhook(talk)))
        .collect();
    others_get_everything(&floods);
}

#[test]
fn proxies_that_talk_without_end_hold_up_nobody() {
    let through = |talk: Talk, url: &str| {
        let proxy = talk.start();
        format!("type = webhook\nurl = {url}\nproxy = http://127.0.0.1:{proxy}")
    };
    let early = || Talk::answer("", "HTTP/1.1 103 Early Hints\r\n\r\n");
    others_get_everything(&[
        ("passes-on", through(early(), "http://ops.invalid/")),
        ("tunnels", through(early(), "https://ops.invalid/")),
        (
            "bare",
            through(Talk::at_once("", "x"), "https://ops.invalid/"),
        ),
    ]);
}

#[test]
fn servers_of_mail_and_chat_that_talk_without_end_hold_up_nobody() {
    let mail = |talk: Talk| {
        let port = talk.start();
        format!(
            "type = email\nhost = 127.0.0.1\nport = {port}\nencryption = none\nfrom = a@example.com\nto = b@example.com"
        )
    };
    let irc = |talk: Talk| {
        let port = talk.start();
        format!("type = irc\nserver = 127.0.0.1\nport = {port}\ntls = false\ntargets = #ops")
    };
    let zeromq = |talk: Talk| format!("type = zeromq\nurl = tcp://127.0.0.1:{}", talk.start());
    let met = [zmq::greeting(), zmq::ready("PULL")].concat();
    others_get_everything(&[
        ("mail-greets", mail(Talk::at_once("", "220-hello\r\n"))),
        ("mail-in-one-line", mail(Talk::at_once("220 ", "x"))),
        (
            "mail-answers",
            mail(Talk::at_once("220 hello\r\n", "250-x\r\n")),
        ),
        (
            "irc-notices",
            irc(Talk::at_once("", ":s NOTICE * :hello\r\n")),
        ),
        ("irc-pings", irc(Talk::at_once("", "PING :x\r\n"))),
        ("irc-in-one-line", irc(Talk::at_once("", "x"))),
        ("zeromq-noise", zeromq(Talk::at_once("", "x"))),
        (
            "zeromq-topics",
            zeromq(Talk::at_once(met.clone(), zmq::subscribe(b"x"))),
        ),
        ("zeromq-frames", zeromq(Talk::at_once(met, [0, 0]))),
    ]);
}

/// A port on which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends the events over a bound socket to a receiver; beside it come strangers who say these things.
fn receiver_gets_everything(socket: &str, strangers: &[Vec<u8>]) {
    let port = free_port();
    let sandbox = Sandbox::with_config(&format!(
        "[delivery]\ndrain = 30s\n[notifier:bus]\ntype = zeromq\non = any\nbind = true\nsocket = {socket}\n\
         timeout = 20s\nurl = tcp://127.0.0.1:{port}\n"
    ));
    let input = sandbox.file("events", events());
    let mut command = sandbox.measured(&["send", "events"]);
    command.stdin(Stdio::null());
    let child = command.spawn().unwrap();
    let present: Vec<_> = strangers.iter().map(|said| zmq::come(port, said)).collect();
    let kind = if socket == "pub" { "SUB" } else { "PULL" };
    let mut said = [zmq::greeting(), zmq::ready(kind)].concat();
    if socket == "pub" {
        said.extend(zmq::subscribe(b""));
    }
    let receiver = zmq::come(port, &said);
    let received = std::thread::spawn(move || zmq::receive(receiver));
    let sent = outcome(child);
    drop((present, input));
    assert_eq!(sent.code, 0, "{sent:?}");
    let mut received = received.join().unwrap();
    received.sort();
    received.dedup();
    assert_eq!(received.len(), EVENTS, "{sent:?}");
    assert!(sandbox.peak() < MOST_KIB, "{} KiB", sandbox.peak());
}

/// Those who come and say nothing, or not enough, or too much.
fn strangers(kind: &str) -> Vec<Vec<u8>> {
    let greeting = zmq::greeting();
    let met = [greeting.clone(), zmq::ready(kind)].concat();
    vec![
        Vec::new(),
        greeting[..20].to_vec(),
        greeting.clone(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [greeting, b"\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()].concat(),
        [met.clone(), zmq::subscribe(b"x").repeat(2000)].concat(),
        [met, [0, 0].repeat(20_000)].concat(),
    ]
}

#[test]
fn strangers_at_a_bound_socket_hold_up_nobody() {
    receiver_gets_everything("push", &strangers("PULL"));
    receiver_gets_everything("pub", &strangers("SUB"));
}

#[test]
fn a_peer_that_takes_no_message_holds_up_nobody_for_long() {
    for (socket, kind) in [("push", "PULL"), ("pub", "SUB")] {
        let mut said = [zmq::greeting(), zmq::ready(kind)].concat();
        if socket == "pub" {
            said.extend(zmq::subscribe(b""));
        }
        receiver_gets_everything(socket, &[said]);
    }
}
