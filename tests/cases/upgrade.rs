//! A spool that an older version wrote: what waits in it is delivered, and nothing is forgotten.

use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, config_for};
use crate::server::{OK, Server};

/// The tables as version 1 made them.
const VERSION_1: &str = "
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    CREATE TABLE destination (
        id INTEGER PRIMARY KEY,
        search TEXT NOT NULL,
        name TEXT NOT NULL,
        run TEXT NOT NULL,
        needs TEXT NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0,
        delivered INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        UNIQUE (search, name, run)
    );
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        callback TEXT NOT NULL,
        host TEXT NOT NULL,
        task TEXT NOT NULL,
        body TEXT
    );
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL REFERENCES event (id),
        destination INTEGER NOT NULL REFERENCES destination (id),
        state INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_at INTEGER NOT NULL DEFAULT 0,
        finished INTEGER,
        error TEXT,
        UNIQUE (event, destination)
    );
    CREATE INDEX pending ON delivery (destination, id) WHERE state = 0;
    CREATE INDEX finished ON delivery (finished) WHERE state > 0;
    CREATE TABLE attempt (
        delivery INTEGER NOT NULL REFERENCES delivery (id),
        started INTEGER NOT NULL,
        duration INTEGER NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX attempts ON attempt (delivery);
    PRAGMA user_version = 1;
";

/// Of each five events, two wait, one is delivered, one is dead and one was discarded.
const EVENTS: i64 = 500;

/// Writes the file that version 1 would have left for this sandbox's project.
fn write_version_1(sandbox: &Sandbox) {
    let folder = sandbox.path("state/ansible-notify");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut spool = Connection::open(folder.join("spool.db")).unwrap();
    spool.execute_batch(VERSION_1).unwrap();
    let spool = spool.transaction().unwrap();
    let search = json!({"config": null, "project": sandbox.root(), "here": false}).to_string();
    let share = EVENTS / 5;
    spool
        .execute(
            "INSERT INTO destination VALUES (1, ?1, 'callback', '', '', ?2, ?3, ?3, ?3, '503 Service Unavailable')",
            rusqlite::params![search, EVENTS, share],
        )
        .unwrap();
    let now = jiff::Timestamp::now();
    for id in 1..=EVENTS {
        let host = format!("h{}", id % 7);
        let event_id = format!("run-{id}");
        let body = json!({
            "schema": 1, "id": event_id, "event": "runner_on_failed", "time": now, "state": "failed",
            "host": {"name": host}, "result": {"msg": "no"},
        });
        let (state, body) = match id % 5 {
            0 => (1, None),
            1 => (2, Some(body.to_string())),
            2 => (3, Some(body.to_string())),
            _ => (0, Some(body.to_string())),
        };
        let time = now.as_millisecond();
        let event = rusqlite::params![id, event_id, time, host, body];
        spool
            .execute(
                "INSERT INTO event VALUES (?1, ?2, ?3, 'runner_on_failed', ?4, 'install', ?5)",
                event,
            )
            .unwrap();
        let finished = (state > 0).then_some(time);
        let delivery = rusqlite::params![id, state, finished];
        spool
            .execute(
                "INSERT INTO delivery VALUES (?1, ?1, 1, ?2, 3, 0, ?3, '503 Service Unavailable')",
                delivery,
            )
            .unwrap();
        let attempt = rusqlite::params![id, time];
        spool
            .execute(
                "INSERT INTO attempt VALUES (?1, ?2, 12, '503 Service Unavailable')",
                attempt,
            )
            .unwrap();
    }
    spool.commit().unwrap();
}

#[test]
fn a_spool_of_version_1_is_upgraded_with_its_rows() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config_for(&server.url()));
    write_version_1(&sandbox);
    let run = |arguments: &[&str]| sandbox.run_on_spool(arguments);
    let counts = || {
        let rows: Value = serde_json::from_str(&run(&["status", "--json"]).stdout).unwrap();
        ["accepted", "delivered", "waiting", "dead", "dropped"]
            .map(|key| rows[0][key].as_i64().unwrap() / (EVENTS / 5))
    };
    assert_eq!(counts(), [5, 1, 2, 1, 1]);
    let one = run(&["history", "1"]).stdout;
    assert!(one.contains(" 12 ms  503 Service Unavailable\n"), "{one}");

    run(&["flush"]).expect(0, "ansible-notify: 200 deliveries: all delivered\n");
    run(&["flush", "--dead"]).expect(0, "ansible-notify: 100 deliveries: all delivered\n");
    assert_eq!(counts(), [5, 4, 0, 0, 1]);
    let one = run(&["history", "1"]).stdout;
    let attempts = one.find(" 12 ms  503 Service Unavailable\n").unwrap();
    assert!(
        one[attempts..].contains(" ms  delivered\nmessage, as sent at "),
        "{one}"
    );
    let mut ids: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("webhook-id").unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 300);

    let spool = Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    let version: i64 = spool
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    let newest = sandbox.run(&["--version", "--verbose"]).stdout;
    let newest = newest.lines().find_map(|line| line.strip_prefix("spool: "));
    let newest = newest.unwrap().parse().unwrap();
    let sound: String = spool
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!((version, sound.as_str()), (newest, "ok"));
}
