//! What every store of a relay promises, the spool of the relay itself and those outside: events arrive, once, in order,
//! at their own tenant's endpoint only, whatever is killed.

use std::collections::BTreeSet;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::cases::relay::{EVENTS, check_arrived, run};
use crate::sandbox::fleet::{Fleet, SPOOL, events, hook, ids};
use crate::sandbox::{PATIENCE, side_by_side};
use crate::server::nats::Nats;
use crate::server::postgres::Postgres;
use crate::server::{OK, Server, status};

/// Names of the stores, as values of `store`.
const STORES: [&str; 3] = ["spool", "nats", "postgres"];

/// A playbook whose partition has a lower number than that of `/site.yml`.
const EARLIER: &str = "/db.yml";

/// A fleet with a store of its own, and the servers of the store.
struct Stored {
    fleet: Fleet,
    name: &'static str,
    server: Option<Engine>,
}

/// The servers of a store outside of the relay.
enum Engine {
    Nats(Nats),
    Postgres(Postgres),
}

impl Engine {
    fn start(name: &str, fleet: &Fleet) -> Option<Engine> {
        match name {
            "nats" => Some(Engine::Nats(Nats::single(&fleet.sandbox))),
            "postgres" => Some(Engine::Postgres(Postgres::start())),
            _ => None,
        }
    }

    fn section(&self) -> String {
        match self {
            Engine::Nats(nats) => nats.section(),
            Engine::Postgres(postgres) => postgres.section(),
        }
    }

    /// The number of segments that it keeps, acknowledged or not.
    fn stored(&self) -> u64 {
        match self {
            Engine::Nats(nats) => nats.stored(),
            Engine::Postgres(postgres) => {
                let count = postgres.ask("SELECT count(*) FROM ansible_notify_segments");
                count.unwrap().parse().unwrap()
            }
        }
    }

    fn crash(&mut self) {
        match self {
            Engine::Nats(nats) => nats.kill(0),
            Engine::Postgres(postgres) => postgres.crash(),
        }
    }

    fn restart(&mut self) {
        match self {
            Engine::Nats(nats) => nats.restart(&[0]),
            Engine::Postgres(postgres) => postgres.restart(),
        }
    }
}

impl Stored {
    /// A relay and a process that delivers, if that is another one.
    fn start(name: &'static str, tenants: &[(&str, &Server)]) -> Stored {
        let mut stored = Stored::prepare(name, tenants);
        stored.fleet.start();
        stored.deliver("");
        stored
    }

    /// The same, but nothing runs yet except the store.
    fn prepare(name: &'static str, tenants: &[(&str, &Server)]) -> Stored {
        let mut fleet = Fleet::new();
        for (tenant, server) in tenants {
            fleet.tenant(tenant, &hook(server));
        }
        let server = Engine::start(name, &fleet);
        if let Some(server) = &server {
            fleet.store_in(name, &server.section());
        }
        Stored {
            fleet,
            name,
            server,
        }
    }

    fn is_outside(&self) -> bool {
        self.name != "spool"
    }

    /// What `relay status` prints.
    fn status(&self, more: &[&str]) -> String {
        let command = ["relay", "status", "--config", "relay.ini"];
        let shown = self.fleet.sandbox.run(&[&command, more].concat());
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.stdout
    }

    fn deliver(&mut self, failpoint: &str) {
        if self.is_outside() {
            self.fleet.deliver(failpoint);
        }
    }
}

/// Waits until something is true.
#[track_caller]
fn wait_until(is_true: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until);
    }
}

/// Runs a test with every store.
fn with_each(test: impl Fn(&'static str) + Sync) {
    side_by_side(&STORES, |name| test(name));
}

/// Runs a test with every store outside of the relay.
fn with_each_outside(test: impl Fn(&'static str) + Sync) {
    side_by_side(&STORES[1..], |name| test(name));
}

#[test]
fn events_of_two_nodes_arrive_once_and_in_order() {
    with_each(|name| {
        let server = Server::start([OK]);
        let stored = Stored::start(name, &[("acme", &server)]);
        let fleet = &stored.fleet;
        for node in ["one", "two"] {
            fleet.node(node, "acme", "");
        }
        std::thread::scope(|scope| {
            for node in ["one", "two"] {
                scope.spawn(move || {
                    let sent = fleet.send(node, &run(node));
                    sent.expect_line(0, &["41 events, 41 deliveries: all delivered"]);
                });
            }
        });
        let requests = server.wait_for(2 * EVENTS);
        check_arrived(&requests, &["one", "two"]);
        assert_eq!(requests.len(), 2 * EVENTS, "{name}");
        fleet.wait_for_delivered(2 * EVENTS as u64);
        assert_eq!(fleet.count(SPOOL, "accepted"), 2 * EVENTS as u64, "{name}");
        fleet.sandbox.expect_no_canary_stored();
    });
}

#[test]
fn events_that_are_sent_again_are_accepted_once() {
    with_each(|name| {
        let server = Server::start([OK]);
        let stored = Stored::start(name, &[("acme", &server)]);
        let fleet = &stored.fleet;
        // Each node has a spool of its own, so all of them send the same; and divide it in another way.
        for (node, lines) in [("one", ""), ("two", ""), ("three", "batch = 7")] {
            fleet.node(node, "acme", "");
            let file = std::fs::read_to_string(fleet.sandbox.path(&format!("{node}.ini"))).unwrap();
            let file = file.replace("type = relay\n", &format!("type = relay\n{lines}\n"));
            fleet.sandbox.file(&format!("{node}.ini"), file);
            fleet
                .send(node, &run("r"))
                .expect_line(0, &["all delivered"]);
        }
        fleet
            .send("one", &run("s"))
            .expect_line(0, &["all delivered"]);
        let requests = server.wait_for(2 * EVENTS);
        check_arrived(&requests, &["r", "s"]);
        assert_eq!(fleet.count(SPOOL, "accepted"), 2 * EVENTS as u64, "{name}");
    });
}

#[test]
fn tenants_never_meet() {
    with_each(|name| {
        let servers = [Server::start([OK]), Server::start([OK])];
        let tenants = [("acme", &servers[0]), ("beta", &servers[1])];
        let stored = Stored::start(name, &tenants);
        for (tenant, _) in tenants {
            let node = format!("node-of-{tenant}");
            stored.fleet.node(&node, tenant, "");
            let lines = events("r", EVENTS - 1, &format!("belongs-to-{tenant}"));
            let sent = stored.fleet.send(&node, &lines);
            sent.expect_line(0, &["all delivered"]);
        }
        for (tenant, server) in tenants {
            let requests = server.wait_for(EVENTS);
            check_arrived(&requests, &["r"]);
            for request in &requests {
                let body = request.json();
                let text = body["text"].as_str().unwrap_or_default();
                assert!(
                    text.is_empty() || text == format!("belongs-to-{tenant}"),
                    "{name}"
                );
            }
        }
    });
}

#[test]
fn a_full_store_leaves_the_events_with_the_node() {
    with_each(|name| {
        let server = Server::start([status(503)]);
        let mut stored = Stored::prepare(name, &[("acme", &server)]);
        if let Some(server) = &stored.server {
            let section = server.section().replace("64MiB", "1MiB");
            stored.fleet.store_in(name, &section);
        }
        let fleet = &mut stored.fleet;
        fleet.start_with("max_size = 1MiB", "");
        fleet.node("one", "acme", "drain = 0");
        let text = |_| fastrand::alphanumeric();
        let lines = events("r", 600, &(0..3000).map(text).collect::<String>());
        // Texts that repeat are small, once compressed.
        let lines: Vec<String> = lines
            .lines()
            .map(|line| {
                line.replace(
                    "\"Install\"",
                    &format!("\"{}\"", (0..3000).map(text).collect::<String>()),
                )
            })
            .collect();
        assert_eq!(fleet.send("one", &lines.join("\n")).code, 75);
        let flushed = fleet.flush("one");
        flushed.expect_line(75, &["507 Insufficient Storage"]);
        let known = fleet.count("one/ansible-notify", "delivered");
        assert!(known < 601, "{name}: {known}");
        assert_eq!(fleet.count("one/ansible-notify", "waiting"), 601 - known);
        // With an endpoint that answers and more room, all of it arrives.
        fleet.end(Signal::TERM);
        let server = Server::start([OK]);
        fleet.sandbox.file("acme.ini", hook(&server));
        if let Some(server) = &stored.server {
            fleet.store_in(name, &server.section());
        }
        fleet.start_with("max_size = 64MiB", "");
        stored.deliver("");
        let fleet = &stored.fleet;
        fleet.node("one", "acme", "");
        assert_eq!(fleet.flush("one").code, 0, "{name}");
        fleet.wait_for_delivered(601);
        let arrived: BTreeSet<String> = ids(&server.requests()).into_iter().collect();
        let accepted = fleet.count(SPOOL, "accepted");
        assert_eq!((arrived.len(), accepted), (601, 601), "{name}");
    });
}

/// The spool is its own queue: it deletes nothing that was not delivered.
#[test]
fn room_is_made_by_acknowledged_segments_only() {
    with_each_outside(|name| {
        let server = Server::start([OK]);
        let mut stored = Stored::prepare(name, &[("acme", &server)]);
        let engine = stored.server.as_ref().unwrap();
        // Three runs are more than 75 %. PostgreSQL deletes by age alone.
        let section = engine.section().replace("64MiB", "1MiB");
        let age = if name == "postgres" { "1s" } else { "1h" };
        stored
            .fleet
            .store_in(name, &format!("{section}max_age = {age}\n"));
        stored.fleet.start();
        stored.fleet.node("one", "acme", "");
        let run = |name: &str, playbook: &str| {
            let lines = events(name, EVENTS - 1, "TEXT");
            let lines = lines.replace("/site.yml", playbook);
            let random = || (0..9000).map(|_| fastrand::alphanumeric());
            let filled = lines
                .lines()
                .map(|line| line.replace("TEXT", &random().collect::<String>()));
            filled.collect::<Vec<_>>().join("\n")
        };
        let send = |stored: &Stored, lines: &str| {
            let sent = stored.fleet.send("one", lines);
            sent.expect_line(0, &["all delivered"]);
        };
        // One partition is acknowledged in part, and one that comes before it not at all.
        send(&stored, &run("r", "/site.yml"));
        stored.fleet.deliver("");
        server.wait_for(EVENTS);
        let empty = "0 segments wait";
        wait_until(|| stored.status(&[]).starts_with(empty));
        stored.fleet.end_deliver(Signal::TERM);
        send(&stored, &run("s", "/site.yml"));
        send(&stored, &run("t", EARLIER));
        let waiting = |stored: &Stored| {
            let shown: Value = serde_json::from_str(&stored.status(&["--json"])).unwrap();
            shown["pending"].as_u64().unwrap()
        };
        let pending = waiting(&stored);
        wait_until(|| stored.server.as_ref().unwrap().stored() == waiting(&stored));
        assert_eq!(waiting(&stored), pending, "{name}");
        stored.fleet.deliver("");
        check_arrived(&server.wait_for(3 * EVENTS), &["r", "s", "t"]);
    });
}

#[test]
fn events_wait_in_the_store_until_somebody_delivers_them() {
    with_each_outside(|name| {
        let server = Server::start([OK]);
        let mut stored = Stored::prepare(name, &[("acme", &server)]);
        stored.fleet.start();
        stored.fleet.node("one", "acme", "");
        let sent = stored.fleet.send("one", &run("r"));
        sent.expect_line(0, &["all delivered"]);
        let waits = stored.status(&[]);
        let is_one = waits.starts_with("1 segment waits, the oldest for ");
        assert!(
            is_one || waits.contains("segments wait, the oldest for "),
            "{waits}"
        );
        assert!(!waits.starts_with("0 "), "{waits}");
        assert_eq!(server.requests().len(), 0);
        stored.fleet.deliver("");
        check_arrived(&server.wait_for(EVENTS), &["r"]);
        let until = Instant::now() + PATIENCE;
        let empty = "{\"pending\":0,\"oldest_seconds\":0,\"redelivered\":0,\"set_aside\":0}\n";
        loop {
            let shown = stored.status(&["--json"]);
            if shown == empty {
                break;
            }
            assert!(Instant::now() < until, "{shown}");
        }
        let health = stored.fleet.ask_deliver("/healthz");
        assert!(
            health.contains("\"status\":\"ok\"") && health.contains("\"pending\":0"),
            "{health}"
        );
        let found = stored
            .fleet
            .sandbox
            .run(&["doctor", "--relay", "relay.ini"]);
        assert!(found.stdout.contains("0 segments wait"), "{found:?}");
        assert_eq!(found.code, 0, "{found:?}");
        let metrics = stored.fleet.ask_deliver("/metrics");
        for part in [
            "\nansible_notify_deliver_events_total 41\n",
            "\nansible_notify_store_pending 0\n",
            "# TYPE ansible_notify_store_oldest_seconds gauge\n",
        ] {
            assert!(metrics.contains(part), "{part}: {metrics}");
        }
        let (ended, said) = stored.fleet.end_deliver(Signal::TERM);
        assert_eq!(ended.code(), Some(0), "{said}");
    });
}

#[test]
fn segments_without_a_tenant_are_set_aside_until_there_is_one() {
    with_each_outside(|name| {
        let servers = [Server::start([OK]), Server::start([OK])];
        let tenants = [("acme", &servers[0]), ("beta", &servers[1])];
        let mut stored = Stored::prepare(name, &tenants);
        stored.fleet.start();
        for (tenant, _) in tenants {
            let node = format!("node-of-{tenant}");
            stored.fleet.node(&node, tenant, "");
            let sent = stored.fleet.send(&node, &run("r"));
            sent.expect_line(0, &["all delivered"]);
        }
        let whole = std::fs::read_to_string(stored.fleet.sandbox.path("relay.ini")).unwrap();
        let part = whole.split("[tenant:beta]").next().unwrap();
        stored.fleet.sandbox.file("relay.ini", part);
        stored.fleet.deliver("");
        servers[0].wait_for(EVENTS);
        let until = Instant::now() + PATIENCE;
        while !stored
            .fleet
            .ask_deliver("/healthz")
            .contains("\"pending\":0")
        {
            assert!(Instant::now() < until);
        }
        let (_, said) = stored.fleet.end_deliver(Signal::TERM);
        assert!(
            said.contains("a segment of `beta` is set aside: there is no [tenant:beta]"),
            "{said}"
        );
        assert_eq!(servers[1].requests().len(), 0);
        let found = stored
            .fleet
            .sandbox
            .run(&["doctor", "--relay", "relay.ini"]);
        assert_eq!(found.code, 69, "{found:?}");
        let is_one = found.stdout.contains(" 1 segment is set aside");
        assert!(
            is_one || found.stdout.contains("segments are set aside"),
            "{found:?}"
        );
        stored.fleet.sandbox.file("relay.ini", whole);
        stored.fleet.deliver_with(&["--set-aside"], "");
        check_arrived(&servers[1].wait_for(EVENTS), &["r"]);
        assert_eq!(servers[0].requests().len(), EVENTS);
    });
}

#[test]
fn another_process_takes_over_and_a_lost_spool_is_filled_again() {
    with_each_outside(|name| {
        let server = Server::start([OK]);
        let mut stored = Stored::start(name, &[("acme", &server)]);
        let fleet = &mut stored.fleet;
        fleet.node("one", "acme", "");
        fleet
            .send("one", &run("r"))
            .expect_line(0, &["all delivered"]);
        server.wait_for(EVENTS);
        // It is stopped as if it hung, so it keeps its connections; another one has a spool of its own.
        fleet.signal_deliver(Signal::STOP);
        let file = std::fs::read_to_string(fleet.sandbox.path("relay.ini")).unwrap();
        fleet
            .sandbox
            .file("relay.ini", file.replace(SPOOL, "other-state"));
        let first = fleet.replace_deliver();
        fleet
            .send("one", &run("s"))
            .expect_line(0, &["all delivered"]);
        let requests = server.wait_for(2 * EVENTS);
        check_arrived(&requests, &["r", "s"]);
        drop(first);
        // Without its disk, everything is delivered again, by the same ids.
        fleet.end_deliver(Signal::KILL);
        std::fs::remove_dir_all(fleet.sandbox.path("other-state")).unwrap();
        fleet.deliver_with(&["--since", "1h"], "");
        let requests = server.wait_for(4 * EVENTS);
        check_arrived(&requests[2 * EVENTS..], &["r", "s"]);
        assert_eq!(ids(&requests).len(), 4 * EVENTS);
        // With it, nothing is: the spool knows them.
        fleet.end_deliver(Signal::TERM);
        fleet.deliver_with(&["--since", "1h"], "");
        fleet
            .send("one", &run("t"))
            .expect_line(0, &["all delivered"]);
        check_arrived(&server.wait_for(5 * EVENTS)[4 * EVENTS..], &["t"]);
    });
}

#[test]
fn a_store_that_crashes_loses_nothing() {
    with_each_outside(|name| {
        let server = Server::start([OK]);
        let mut stored = Stored::start(name, &[("acme", &server)]);
        stored.fleet.node("one", "acme", "drain = 1s");
        stored.fleet.send("one", &run("r"));
        // From here on, everything runs.
        server.wait_for(EVENTS);
        stored.server.as_mut().unwrap().crash();
        stored.fleet.send("one", &run("s"));
        stored.server.as_mut().unwrap().restart();
        let until = Instant::now() + PATIENCE;
        while stored.fleet.flush("one").code != 0 {
            assert!(Instant::now() < until);
        }
        stored.fleet.wait_for_delivered(2 * EVENTS as u64);
        check_arrived(&server.wait_for(2 * EVENTS), &["r", "s"]);
        let accepted = stored.fleet.count(SPOOL, "accepted");
        assert_eq!(accepted, 2 * EVENTS as u64, "{name}");
        let (_, said) = stored.fleet.end_deliver(Signal::TERM);
        assert!(said.contains("connected again"), "{name}: {said}");
    });
}

#[cfg(feature = "failpoints")]
#[test]
fn whatever_is_killed_all_events_arrive_and_are_accepted_once() {
    let places = [
        "relay_read",
        "relay_committed",
        "deliver_accepted",
        "deliver_acknowledged",
    ];
    let cases: Vec<(&'static str, &str)> = STORES
        .into_iter()
        .flat_map(|name| places.map(|place| (name, place)))
        .filter(|(name, place)| *name != "spool" || place.starts_with("relay"))
        .collect();
    side_by_side(&cases, |(name, place)| {
        let server = Server::start([OK]);
        let mut stored = Stored::prepare(name, &[("acme", &server)]);
        let failpoint = format!("{place}=abort");
        let is_relay = place.starts_with("relay");
        stored
            .fleet
            .start_with("", if is_relay { &failpoint } else { "" });
        stored.deliver(if is_relay { "" } else { &failpoint });
        let fleet = &mut stored.fleet;
        fleet.node("one", "acme", "drain = 0");
        fleet.send("one", &run("r"));
        // Without time, the first may not have sent anything.
        fleet.flush("one");
        if is_relay {
            fleet.ended();
            fleet.start();
            fleet.node("one", "acme", "");
        } else {
            fleet.ended_deliver();
            fleet.deliver("");
        }
        fleet.flush("one");
        fleet.wait_for_delivered(EVENTS as u64);
        // A request that was under way may have been repeated.
        check_arrived(&server.wait_for(EVENTS), &["r"]);
        let accepted = fleet.count(SPOOL, "accepted");
        assert_eq!(accepted, EVENTS as u64, "{name}, {place}");
    });
}
