//! Questions to the spool: answered at once, whatever else goes on in it.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::spool::{configure, event, run};
use crate::sandbox::Sandbox;
use crate::server::dead_url;

#[test]
fn questions_do_not_wait_for_who_writes() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    assert_eq!(run(&sandbox, &["send", "-"], &event("web1")).code, 75);
    let folder = sandbox.path("state/ansible-notify");
    let lock = std::fs::File::open(folder.join("spool.lock")).unwrap();
    lock.lock().unwrap();
    let writer = Connection::open(folder.join("spool.db")).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; UPDATE event SET host = 'unfinished'")
        .unwrap();
    for (arguments, expected) in [
        (
            &["status"][..],
            "callback: 1 accepted, 0 delivered, 1 waiting",
        ),
        (
            &["history"],
            "waiting    callback  runner_on_failed  web1  install",
        ),
        (&["history", "1"], " ms  "),
    ] {
        let started = Instant::now();
        let answer = run(&sandbox, arguments, "").stdout;
        assert!(answer.contains(expected), "{answer}");
        assert!(started.elapsed() < Duration::from_secs(3), "{arguments:?}");
    }
}

#[test]
fn nothing_is_said_of_a_spool_that_is_not_there() {
    let sandbox = Sandbox::new();
    assert_eq!(
        run(&sandbox, &["status"], "").stdout,
        "nothing was ever sent\n"
    );
    assert_eq!(run(&sandbox, &["history"], "").stdout, "");
}
