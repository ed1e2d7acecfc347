//! The process ends at each of the places where that could cost something; it costs nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sandbox::side_by_side;
use crate::sandbox::spooled::Spooled;
use crate::server::{OK, Server};

const PLACES: [&str; 8] = [
    "read",
    "parse",
    "before_commit",
    "after_commit",
    "before_send",
    "after_send",
    "before_mark",
    "after_mark",
];
const CONCURRENCY: usize = 3;
const SIGABRT: i32 = 6;
const SIGTERM: i32 = 15;

/// Feeds an event when the one before the last is safe, so that they are read, written and sent one by one; but
/// not for ever, because the process may have ended.
fn one_by_one(number: usize, safe: &AtomicU64) {
    let deadline = Instant::now() + Duration::from_millis(200);
    while safe.load(Ordering::Relaxed) + 3 < number as u64 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Feeds a process that ends at a place, and then one that does not.
fn end_at(place: &str, action: &str, times: u32) {
    let server = Server::start([OK]);
    let inputs = format!("concurrency = {CONCURRENCY}");
    let mut spooled = Spooled::new(&server.url(), &inputs, "drain = 2s");
    let mut command = spooled.command(&["stream"]);
    command.env(
        "ANSIBLE_NOTIFY_FAILPOINTS",
        format!("{place}={action}@{times}"),
    );
    let ended = spooled.stream(command, "r", 60, one_by_one);
    if action == "abort" {
        assert_eq!(ended.status.signal(), Some(SIGABRT), "{place}: {ended:?}");
        assert_eq!(ended.stderr, "", "{place}");
    } else {
        // It may have heard the end before it left.
        let (code, signal) = (ended.status.code(), ended.status.signal());
        let orderly = matches!(code, Some(0 | 75)) || signal == Some(SIGTERM);
        assert!(orderly, "{place}: {ended:?}");
    }
    spooled.run(&["flush"]).expect_line(0, &["deliver"]);
    let again = spooled.check_arrived(&server.requests());
    assert!(again <= CONCURRENCY, "{place}: {again} came twice");

    spooled
        .send(&["fresh"])
        .expect_line(0, &["1 delivery: delivered"]);
    spooled.check_arrived(&server.requests());
    spooled.check_numbers();
}

#[test]
fn a_crash_anywhere_loses_nothing_that_was_answered() {
    side_by_side(&PLACES, |place| {
        for times in [1, 3, 8] {
            end_at(place, "abort", times);
        }
    });
}

#[test]
fn a_request_to_end_anywhere_loses_nothing_that_was_answered() {
    side_by_side(&PLACES, |place| end_at(place, "terminate", 4));
}

#[test]
fn flush_can_crash_as_well() {
    side_by_side(&PLACES[2..], |place| {
        let server = Server::start([OK]);
        let mut spooled = Spooled::new(&crate::server::dead_url(), "", "drain = 0");
        let command = spooled.command(&["stream"]);
        spooled.stream(command, "r", 40, |_, _| ());
        assert_eq!(spooled.safe(), 40);
        spooled.configure(&server.url(), &format!("concurrency = {CONCURRENCY}"), "");
        let mut crashes = 0;
        loop {
            let mut command = spooled.command(&["flush"]);
            command.env("ANSIBLE_NOTIFY_FAILPOINTS", format!("{place}=abort@9"));
            let status = command.status().unwrap();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), None, "{place}");
            crashes += 1;
            // Where nothing gets done before it, only the next one without it gets on.
            if crashes == 5 {
                break;
            }
        }
        spooled.run(&["flush"]).expect_line(0, &["deliver"]);
        assert!(crashes > 0, "{place}");
        let again = spooled.check_arrived(&server.requests());
        assert!(
            again <= crashes * CONCURRENCY,
            "{place}: {again} came twice"
        );
        spooled.check_numbers();
    });
}
