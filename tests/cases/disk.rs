//! The disk is full, broken, read-only or slow: no crash, nothing lost in silence, deliveries go on, and all
//! is well again when the fault ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::disk::Disk;
use crate::sandbox::side_by_side;
use crate::sandbox::spooled::{Spooled, Streamed};
use crate::server::{OK, Server, dead_url};

const COUNT: usize = 90;
/// All writing faults that come while the program runs.
const FAULTS: [&str; 3] = ["full 0", "write-error", "sync-error"];

/// Streams events; the fault is there from the 30th to the 60th of them, or to the end.
fn stream_over(spooled: &mut Spooled, disk: &Disk, fault: &str, ends: bool) -> Streamed {
    let command = disk.under(spooled.command(&["stream"]));
    spooled.stream(command, "r", COUNT, |number, safe| {
        std::thread::sleep(Duration::from_millis(4));
        match number {
            30 => {
                while safe.load(Ordering::Relaxed) < 25 {
                    std::thread::sleep(Duration::from_millis(4));
                }
                disk.fail(fault);
            }
            60 if ends => disk.mend(),
            _ => {}
        }
    })
}

/// Returns the messages about deliveries. Whether the record of the run has a gap depends on when the disk
/// failed.
fn said(stderr: &str) -> Vec<&str> {
    let is_record = |line: &&str| line.contains("to record the rest of this run");
    stderr.lines().filter(|line| !is_record(line)).collect()
}

#[test]
fn a_disk_that_fails_for_a_while_costs_nothing() {
    side_by_side(&FAULTS, |fault| {
        let server = Server::start([OK]);
        let mut spooled = Spooled::new(&server.url(), "", "drain = 5s");
        let disk = Disk::of(&spooled);
        let ended = stream_over(&mut spooled, &disk, fault, true);
        assert_eq!(ended.status.code(), Some(0), "{fault}: {ended:?}");
        let lines = said(&ended.stderr);
        assert_eq!(lines.len(), 2, "{fault}: {ended:?}");
        assert!(lines[1].ends_with("90 events, 90 deliveries: all delivered"));
        assert_eq!(spooled.safe(), COUNT);
        // What was delivered meanwhile was recorded later: none of it is sent again.
        spooled
            .run(&["flush"])
            .expect(0, "ansible-notify: 0 deliveries: nothing to deliver\n");
        assert_eq!(spooled.check_arrived(&server.requests()), 0, "{fault}");
        spooled.check_numbers();
    });
}

#[test]
fn what_waits_in_memory_goes_to_the_disk_when_it_is_well_again() {
    side_by_side(&FAULTS, |fault| {
        let mut spooled = Spooled::new(&dead_url(), "", "drain = 100ms");
        let disk = Disk::of(&spooled);
        let ended = stream_over(&mut spooled, &disk, fault, true);
        assert_eq!(ended.status.code(), Some(75), "{fault}: {ended:?}");
        assert_eq!(spooled.safe(), COUNT, "{fault}: {ended:?}");
        spooled.check_numbers();

        let server = Server::start([OK]);
        spooled.configure(&server.url(), "", "");
        spooled
            .run(&["flush"])
            .expect_line(0, &["90 deliveries: all delivered"]);
        assert_eq!(spooled.check_arrived(&server.requests()), 0, "{fault}");
        spooled.check_numbers();
    });
}

#[test]
fn what_a_broken_disk_cannot_take_is_said_and_was_not_answered_for() {
    side_by_side(&FAULTS, |fault| {
        let mut spooled = Spooled::new(&dead_url(), "", "drain = 100ms");
        let disk = Disk::of(&spooled);
        let ended = stream_over(&mut spooled, &disk, fault, false);
        assert_eq!(ended.status.code(), Some(74), "{fault}: {ended:?}");
        let lost = COUNT - spooled.safe();
        assert!((1..=65).contains(&lost), "{fault}: {lost}");
        let told = format!("{lost} of the pending deliveries were in memory only and are lost");
        assert!(ended.stderr.contains(&told), "{fault}: {ended:?}");
        assert_eq!(said(&ended.stderr).len(), 3, "{fault}: {ended:?}");
        disk.mend();
        spooled.check_numbers();

        let server = Server::start([OK]);
        spooled.configure(&server.url(), "", "drain = 5s");
        assert_eq!(spooled.run(&["flush"]).code, 0);
        spooled
            .send(&["fresh"])
            .expect_line(0, &["1 delivery: delivered"]);
        spooled.check_arrived(&server.requests());
        spooled.check_numbers();
    });
}

#[test]
fn a_full_disk_still_takes_what_became_of_what_it_holds() {
    let mut spooled = Spooled::new(&dead_url(), "", "drain = 0");
    let disk = Disk::of(&spooled);
    // The spool is there, and then something else fills the disk up.
    spooled.send(&["first"]);
    disk.fail(&format!("full {}", disk.bytes_in_use() + 500_000));
    let command = disk.under(spooled.command(&["stream"]));
    let ended = spooled.stream(command, "r", 2000, |_, _| ());
    assert_eq!(ended.status.code(), Some(74), "{ended:?}");
    assert!(
        ended.stderr.contains("no space left on the spool's disk"),
        "{ended:?}"
    );
    assert!((2..2000).contains(&spooled.safe()), "{}", spooled.safe());

    let server = Server::start([OK]);
    spooled.configure(&server.url(), "", "drain = 5s");
    disk.fail(&format!("full {}", disk.bytes_in_use()));
    let flush = || {
        let command = disk.under(spooled.command(&["flush"])).spawn();
        crate::sandbox::outcome(command.unwrap())
    };
    // What is safe has come without a gap; a smaller batch may have found room after a larger one.
    let first = flush();
    first.expect_line(0, &[": all delivered"]);
    assert!(server.requests().len() >= spooled.safe(), "{first:?}");
    flush().expect_line(0, &["0 deliveries: nothing to deliver"]);
    assert_eq!(spooled.check_arrived(&server.requests()), 0);
    disk.mend();
    spooled.check_numbers();
    spooled
        .send(&["fresh"])
        .expect_line(0, &["1 delivery: delivered"]);
    spooled.check_arrived(&server.requests());
}

#[test]
fn a_disk_that_cannot_be_written_at_the_start_costs_only_the_safety() {
    side_by_side(&["read-only", "write-error", "full 0"], |fault| {
        let server = Server::start([OK]);
        let mut spooled = Spooled::new(&server.url(), "", "drain = 5s");
        let disk = Disk::of(&spooled);
        disk.fail(fault);
        let command = disk.under(spooled.command(&["stream"]));
        let ended = spooled.stream(command, "r", COUNT, |_, _| ());
        assert_eq!(ended.status.code(), Some(0), "{fault}: {ended:?}");
        let lines = said(&ended.stderr);
        assert_eq!(lines.len(), 2, "{fault}: {ended:?}");
        assert!(lines[0].starts_with("ansible-notify: events are kept in memory only: "));
        assert!(lines[1].ends_with("90 events, 90 deliveries: all delivered"));
        disk.mend();
        spooled
            .send(&["fresh"])
            .expect_line(0, &["1 delivery: delivered"]);
        assert_eq!(spooled.check_arrived(&server.requests()), 0, "{fault}");
        spooled.check_numbers();
    });
}

#[test]
fn a_slow_disk_costs_time_and_nothing_else() {
    let server = Server::start([OK]);
    let mut spooled = Spooled::new(&server.url(), "", "drain = 10s");
    let disk = Disk::of(&spooled);
    disk.fail("slow 50");
    let command = disk.under(spooled.command(&["stream"]));
    let ended = spooled.stream(command, "r", COUNT, |_, _| ());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(spooled.safe(), COUNT);
    assert_eq!(spooled.check_arrived(&server.requests()), 0);
    spooled.check_numbers();
}
