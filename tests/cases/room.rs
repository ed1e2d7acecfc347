//! Room in the spool: what is kept, what is forgotten, and what gives way to what is new.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::spool::{configure, event, expect_status, only_status, run};
use crate::sandbox::{Config, Sandbox, outcome};
use crate::server::{self, OK, Reply, Server, dead_url, status};

fn open(sandbox: &Sandbox) -> Connection {
    Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap()
}

#[test]
fn what_waited_longest_gives_way_where_that_is_wanted() {
    let sandbox = Sandbox::new();
    let configure = |url: &str| {
        let settings = "drain = 0\nmax_size = 1MiB\noverflow = drop_oldest";
        sandbox.file(
            "plugin_config.ini",
            Config::to(url).delivery(settings).text(),
        );
    };
    configure(&dead_url());
    let events: String = (0..10_000).map(|n| event(&format!("h{n}"))).collect();
    let sent = run(&sandbox, &["send", "-"], &events);
    assert_eq!(sent.code, 74, "{sent:?}");
    let status = only_status(&sandbox);
    let (waiting, dropped) = (
        status["waiting"].as_u64().unwrap(),
        status["dropped"].as_u64().unwrap(),
    );
    assert!(waiting > 500 && dropped > 500, "{status}");
    assert_eq!(
        (&status["accepted"], waiting + dropped),
        (&json!(10_000), 10_000)
    );
    let counts = format!(
        "10000 events, 10000 deliveries: {dropped} dropped, {waiting} pending until the next run, `flush` or the timer (callback: "
    );
    let reason =
        format!("the spool was full: dropped the {dropped} oldest pending deliveries to make room");
    assert!(
        sent.stderr.contains(&counts) && sent.stderr.contains(&reason),
        "{sent:?}"
    );

    let server = Server::start([OK]);
    configure(&server.url());
    assert_eq!(run(&sandbox, &["flush"], "").code, 0);
    let mut hosts: Vec<u64> = server
        .requests()
        .iter()
        .map(|request| {
            request.json()["host"].as_str().unwrap()[1..]
                .parse()
                .unwrap()
        })
        .collect();
    hosts.sort_unstable();
    assert_eq!(
        hosts,
        (dropped..10_000).collect::<Vec<_>>(),
        "the newest are kept"
    );
}

#[test]
fn the_file_stays_near_its_limit_however_much_is_sent() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let settings = "drain = 0\nmax_size = 2MiB";
    let text = json!({"msg": "y".repeat(1000)});
    let events = |round: u64| -> String {
        let one = |n| json!({"id": format!("{round}-{n}"), "state": "failed", "host": format!("h{n}"), "result": text});
        (0..3000).map(|n| format!("{}\n", one(n))).collect()
    };
    for (round, url) in [dead_url(), server.url(), server.url()].iter().enumerate() {
        sandbox.file(
            "plugin_config.ini",
            Config::to(url).delivery(settings).text(),
        );
        run(&sandbox, &["send", "-"], &events(round as u64));
        sandbox.file(
            "plugin_config.ini",
            Config::to(&server.url()).delivery(settings).text(),
        );
        run(&sandbox, &["flush"], "");
        let used = bytes_in_use(&sandbox);
        // The marks of deliveries are written even where nothing new is accepted.
        assert!(used < 5 << 19, "round {round}: {used} bytes in use");
    }
}

#[test]
fn a_delivered_event_takes_little_room() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    for size in [10, 1000, 3000, 20_000] {
        sandbox.file(
            "plugin_config.ini",
            Config::to(&server.url())
                .delivery("drain = 60\nrecord = off")
                .text(),
        );
        let one = |n| json!({"state": "failed", "host": format!("h{n}"), "result": {"msg": "y".repeat(size)}});
        let events: String = (0..500).map(|n| format!("{}\n", one(n))).collect();
        let before = sandbox
            .path("state/ansible-notify/spool.db")
            .exists()
            .then(|| bytes_in_use(&sandbox));
        assert_eq!(run(&sandbox, &["send", "-"], &events).code, 0);
        let Some(before) = before else {
            continue; // the tables themselves
        };
        let each = (bytes_in_use(&sandbox) - before) / 500;
        assert!(each < 400, "{each} bytes for an event of {size}");
    }
}

/// The size of the spool without the pages that are free.
fn bytes_in_use(sandbox: &Sandbox) -> i64 {
    let spool = open(sandbox);
    let number = |name: &str| -> i64 {
        spool
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .unwrap()
    };
    (number("page_count") - number("freelist_count")) * number("page_size")
}

/// A spool that is full of what waits for one of two notifiers, whose other one is at `url`; and who stays and
/// delivers to both.
fn full_beside_who_stays(url: &str) -> (Sandbox, Child) {
    let notifier = |name: &str, url: &str| {
        format!(
            "[notifier:{name}]\ntype = webhook\nurl = {url}\non = any\nconcurrency = 3\n[outputs:{name}]\nhost = host\nn = result.n\n"
        )
    };
    let sandbox = Sandbox::with_config(&format!(
        "{}{}[delivery]\ndrain = 5\nmax_size = 1MiB\n",
        notifier("good", url),
        notifier("dead", &dead_url())
    ));
    let leave = |notifier: &str, count: usize| {
        let events = event("first").repeat(count);
        let arguments = ["send", "--no-wait", "--quiet", "--notifier", notifier, "-"];
        run(&sandbox, &arguments, &events).code
    };
    assert_eq!(leave("good", 1), 0);
    let mut watch = sandbox.command_on_spool(&["flush", "--watch"]);
    let watch = watch.stdin(Stdio::null()).spawn().unwrap();
    while run(&sandbox, &["status", "--json"], "")
        .stdout
        .contains("\"waiting\": 1,")
    {}
    // What is too much is in memory only, and lost at the end.
    assert_eq!(leave("dead", 5000), 74);
    (sandbox, watch)
}

#[test]
fn what_finds_no_room_is_delivered_beside_who_stays() {
    let server = Server::start([OK, Reply::After(Duration::from_millis(10))]);
    let (sandbox, watch) = full_beside_who_stays(&server.url());
    let events: String = (0..60)
        .map(|n| {
            format!(
                r#"{{"state":"failed","host":"h{}","result":{{"n":{n}}}}}"#,
                n % 6
            )
        })
        .collect();
    for arguments in [
        &["send", "--notifier", "good", "-"][..],
        &["send", "--no-wait", "--notifier", "good", "-"],
    ] {
        let before = server.requests().len();
        let sent = run(&sandbox, arguments, &events);
        assert_eq!(sent.code, 0, "{sent:?}");
        let requests = &server.requests()[before..];
        assert_eq!(requests.len(), 60);
        let bodies: Vec<Value> = requests.iter().map(server::Request::json).collect();
        for host in 0..6 {
            let own = bodies
                .iter()
                .filter(|body| body["host"] == format!("h{host}"));
            let numbers: Vec<u64> = own.map(|body| body["n"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (0..10).map(|n| n * 6 + host).collect::<Vec<_>>());
        }
        let connections: HashSet<usize> = requests.iter().map(|one| one.connection).collect();
        assert!(connections.len() <= 3, "{connections:?}");
    }
    stop(watch);
}

#[test]
fn what_finds_no_room_heeds_a_pause_that_another_process_was_asked_for() {
    let server = Server::start([OK, Reply::Full(503, "Retry-After: 1000\r\n", "")]);
    let (sandbox, watch) = full_beside_who_stays(&server.url());
    // Who stays has been asked to wait since.
    let connection = open(&sandbox);
    let until = jiff::Timestamp::now().as_millisecond() + 1_000_000;
    let pause = "UPDATE destination SET failures = 1, paused_until = ?1 WHERE name = 'good'";
    connection.execute(pause, [until]).unwrap();
    let before = server.requests().len();
    let sent = run(
        &sandbox,
        &["send", "--notifier", "good", "-"],
        &event("h").repeat(5),
    );
    assert_eq!(sent.code, 74, "{sent:?}");
    assert_eq!(server.requests().len(), before);
    stop(watch);
}

fn stop(watch: Child) {
    kill_process(Pid::from_child(&watch), Signal::TERM).unwrap();
    outcome(watch);
}

#[test]
fn an_unknown_overflow_is_a_problem() {
    let sandbox = Sandbox::with_config(&Config::to("http://h/").delivery("overflow = drop").text());
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(
        78,
        &["plugin_config.ini:5: `overflow` must be `refuse` or `drop_oldest`, not `drop`"],
    );
}

#[test]
fn what_was_delivered_is_kept_whole_where_that_is_wanted() {
    let server = Server::start([OK]);
    for (keep, host) in [
        ("drain = 5", Value::Null),
        ("keep_bodies = true", json!("web1")),
    ] {
        let sandbox = Sandbox::new();
        let config = Config::to(&server.url()).delivery(keep).text();
        sandbox.file("plugin_config.ini", config);
        assert_eq!(run(&sandbox, &["send", "-"], &event("web1")).code, 0);
        let shown = run(&sandbox, &["history", "1", "--json"], "").stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["delivery"]["state"], "delivered");
        assert_eq!(shown["event"]["host"]["name"], host, "{keep}");
    }
}

#[test]
fn what_is_old_is_forgotten_bit_by_bit_and_its_room_given_back() {
    let server = Server::start([status(400)]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let output = "x".repeat(20_000);
    let event = json!({"state": "failed", "result": {"stdout": output}}).to_string();
    let config = Config::to(&server.url()).delivery("drain = 30").text();
    sandbox.file("plugin_config.ini", config);
    let sent = run(&sandbox, &["send", "-"], &event.repeat(1000));
    assert_eq!(sent.code, 69, "{sent:?}");
    let spool = open(&sandbox);
    let forty_days = 40 * 86_400_000_i64;
    spool
        .execute(
            "UPDATE delivery SET finished = finished - ?1 WHERE id > 10",
            [forty_days],
        )
        .unwrap();

    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(Stdio::piped());
    let mut stream = command.spawn().unwrap();
    let mut input = stream.stdin.take().unwrap();
    writeln!(
        input,
        "{}",
        json!({"hello": {"protocol": 1, "run": {"id": "r"}}})
    )
    .unwrap();
    let number = |text: &str| {
        spool
            .query_row(text, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while number("SELECT count(*) FROM delivery") > 10 || number("PRAGMA page_count") > 3000 {
        assert!(
            Instant::now() < deadline,
            "{} pages",
            number("PRAGMA page_count")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    for table in ["event", "attempt"] {
        assert_eq!(number(&format!("SELECT count(*) FROM {table}")), 10);
    }
    drop(input);
    outcome(stream);
    expect_status(&sandbox, 0, 0, 1000, 0);
}
