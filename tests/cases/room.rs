//! Room in the spool: what is kept, what is forgotten, and what gives way to what is new.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::spool::{configure, event, expect_status, only_status, run};
use crate::sandbox::{Sandbox, config_for, outcome};
use crate::server::{OK, Server, dead_url, status};

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
            config_for(url).replace("drain = 5", settings),
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
        "10000 events: 0 delivered, {waiting} waiting, 0 dead, {dropped} dropped (callback: "
    );
    let reason = format!(
        "the spool was full: {dropped} deliveries that had waited longest were dropped for new ones"
    );
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
fn an_unknown_overflow_is_a_problem() {
    let sandbox =
        Sandbox::with_config(&config_for("http://h/").replace("drain = 5", "overflow = drop"));
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(
        78,
        &["plugin_config.ini:4: `overflow` is refuse or drop_oldest"],
    );
}

#[test]
fn what_was_delivered_is_kept_whole_where_that_is_wanted() {
    let server = Server::start([OK]);
    for (keep, host) in [("", Value::Null), ("keep_bodies = true\n", json!("web1"))] {
        let sandbox = Sandbox::new();
        let config =
            config_for(&server.url()).replace("[delivery]\n", &format!("[delivery]\n{keep}"));
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
    let config = config_for(&server.url()).replace("drain = 5", "drain = 30");
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
