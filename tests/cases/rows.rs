//! A row of the spool that cannot be read: its delivery is dead with the reason, and the others go on.

use std::time::Instant;

use crate::sandbox::spooled::Spooled;
use crate::sandbox::{PATIENCE, side_by_side};
use crate::server::{OK, Server};

/// What is wrong with one of ten rows; how many are dead of it, and whether its event still has its id.
const WRONG: [(&str, usize); 24] = [
    // No UTF-8, NULL, a wrong type, no JSON
    (
        "UPDATE event SET body = CAST(x'7bff7d' AS TEXT) WHERE id = 4",
        1,
    ),
    (
        "UPDATE event SET body = CAST(body || x'ff' AS TEXT) WHERE id = 4",
        1,
    ),
    ("UPDATE event SET body = NULL WHERE id = 4", 1),
    ("UPDATE event SET body = x'00' WHERE id = 4", 1),
    ("UPDATE event SET body = 17 WHERE id = 4", 1),
    ("UPDATE event SET created = 'soon' WHERE id = 4", 1),
    ("UPDATE event SET created = x'ff' WHERE id = 4", 1),
    ("UPDATE event SET created = 1.5 WHERE id = 4", 1),
    ("UPDATE delivery SET attempts = 'many' WHERE id = 4", 1),
    ("UPDATE delivery SET attempts = -1 WHERE id = 4", 1),
    ("UPDATE delivery SET attempts = 1e99 WHERE id = 4", 1),
    ("UPDATE delivery SET next_at = 'soon' WHERE id = 4", 0),
    ("UPDATE delivery SET state = 'none' WHERE id = 4", 1),
    ("UPDATE delivery SET state = 9 WHERE id = 4", 1),
    ("UPDATE delivery SET event = 4711 WHERE id = 4", 1),
    ("UPDATE delivery SET event = 'x' WHERE id = 4", 1),
    ("DELETE FROM event WHERE id = 4", 1),
    // What is not needed to deliver
    (
        "UPDATE event SET host = CAST(x'ff' AS TEXT), task = x'ff', callback = 7 WHERE id = 4",
        0,
    ),
    (
        "UPDATE delivery SET error = CAST(x'ff' AS TEXT), duration = 'x' WHERE id = 4",
        0,
    ),
    (
        "UPDATE destination SET failures = 'x', paused_until = x'ff', last_error = CAST(x'ff' AS TEXT)",
        0,
    ),
    (
        "UPDATE destination SET accepted = 'x', delivered = 1.5, dead = x'ff'",
        0,
    ),
    ("UPDATE destination SET accepted = 0", 0),
    (
        "UPDATE destination SET accepted = accepted + 5, dropped = -3",
        0,
    ),
    // Nothing says where they are to go
    ("UPDATE destination SET search = CAST(x'ff' AS TEXT)", 10),
];

#[test]
fn a_row_that_cannot_be_read_is_dead_and_holds_up_no_other() {
    side_by_side(&WRONG, |(wrong, dead)| {
        let server = Server::start([OK]);
        let mut spooled = Spooled::new(&crate::server::dead_url(), "", "drain = 0");
        let command = spooled.command(&["stream"]);
        spooled.stream(command, "r", 10, |_, _| ());
        let spool = rusqlite::Connection::open(spooled.file()).unwrap();
        spool.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        assert!(spool.execute(wrong, []).unwrap() > 0, "{wrong}");
        drop(spool);
        spooled.configure(&server.url(), "", "drain = 5s");

        let began = Instant::now();
        for question in [
            &["status"][..],
            &["status", "--json"],
            &["history"],
            &["history", "4"],
        ] {
            let shown = spooled.run(question);
            assert_eq!(shown.code, 0, "{wrong}: {shown:?}");
        }
        let flushed = spooled.run(&["flush"]);
        assert!(began.elapsed() < PATIENCE, "{wrong}: {flushed:?}");
        let delivered = 10 - dead;
        let ends = [
            format!(" {delivered} deliveries: "),
            format!(": {delivered} delivered, "),
        ];
        let said = |end: &String| flushed.stderr.contains(end);
        assert!(ends.iter().any(said), "{wrong}: {flushed:?}");
        assert_eq!(server.requests().len(), 10 - dead, "{wrong}");
        let shown = spooled.run(&["history", "--failed"]).stdout;
        let reasons = shown
            .lines()
            .filter(|line| line.contains("  dead  ") && line.contains("in the spool"));
        assert_eq!(reasons.count(), *dead, "{wrong}: {shown}");
        spooled.check_numbers();
        spooled
            .send(&["fresh"])
            .expect_line(0, &["1 delivery: delivered"]);
        spooled.check_numbers();
    });
}

#[test]
fn what_is_remembered_and_cannot_be_read_is_as_if_it_were_not_there() {
    let server = Server::start([OK]);
    let mut spooled = Spooled::new(&server.url(), "on = any", "drain = 5s");
    let run = |spooled: &mut Spooled, name: &str| {
        let command = spooled.command(&["stream"]);
        let ended = spooled.stream(command, name, 2, |_, _| ());
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    };
    run(&mut spooled, "a");
    let spool = rusqlite::Connection::open(spooled.file()).unwrap();
    let broken = "UPDATE playbook SET status = CAST(x'ff' AS TEXT), previous = x'ff'; 
                  INSERT INTO thread VALUES (1, 'x', x'ff', 'x')";
    spool.execute_batch(broken).unwrap();
    run(&mut spooled, "b");
    run(&mut spooled, "c");
    spooled.check_numbers();
}
