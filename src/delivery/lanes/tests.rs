use super::*;
use crate::config::entry::{Entry, Origin};
use crate::config::section::Section;
use crate::event::parse::EventParser;
use crate::route::grouping::Batching;
use std::sync::Arc;

pub(super) const DRAIN: Duration = Duration::from_secs(4);

fn delivery(id: i64, host: &str) -> Delivery {
    told(
        id,
        &format!(r#"{{"event":"runner_on_ok","host":"{host}","task":"t","run":"r"}}"#),
    )
}

pub(super) fn told(id: i64, text: &str) -> Delivery {
    Delivery::new(
        id,
        Arc::new(EventParser::new().read(text.as_bytes()).unwrap()),
    )
}

fn end(id: i64) -> Delivery {
    told(
        id,
        r#"{"event":"playbook_on_stats","run":"r","status":"error"}"#,
    )
}

/// Returns the lanes of a notifier with one key set.
pub(super) fn lanes_with(key: &str, value: &str) -> Lanes {
    let mut section = Section::new("notifier:x", Origin::Play);
    section.set(Entry {
        key: key.into(),
        value: value.into(),
        origin: Origin::Play,
    });
    Lanes::new(
        Grouping::new(&section, Batching::Impossible),
        Thread::None,
        DRAIN,
    )
}

fn lanes() -> Lanes {
    Lanes::new(Grouping::default(), Thread::None, DRAIN)
}

pub(super) fn ids(claimed: &[Delivery]) -> Vec<i64> {
    claimed.iter().map(|delivery| delivery.id).collect()
}

#[test]
fn a_host_is_served_in_order_and_beside_the_others() {
    let mut lanes = lanes();
    let now = Instant::now();
    for (id, host) in [(1, "a"), (2, "a"), (3, "b")] {
        lanes.push(delivery(id, host), now);
    }
    let mut first = lanes.claim(now).unwrap();
    let second = lanes.claim(now).unwrap();
    assert_eq!((ids(&first), ids(&second)), (vec![1], vec![3]));
    assert!(lanes.claim(now).is_none(), "host a has one under way");

    let later = now + Duration::from_secs(1);
    first[0].due = Some(later);
    lanes.put_back(first, 1, now);
    lanes.finish(&second, now);
    assert!(lanes.claim(now).is_none());
    assert_eq!((lanes.next_due(), lanes.length), (Some(later), 2));
    let again = lanes.claim(later).unwrap();
    assert_eq!(ids(&again), [1]);
    lanes.finish(&again, now);
    let last = lanes.claim(now).unwrap();
    assert_eq!(ids(&last), [2]);
    lanes.finish(&last, now);
    assert_eq!((lanes.length, lanes.bytes), (0, 0));
}

#[test]
fn large_events_take_the_room_of_many_small_ones() {
    let large = format!(
        r#"{{"event":"runner_on_ok","host":"a","result":{{"stdout":"{}"}}}}"#,
        "x".repeat(WINDOW_BYTES)
    );
    let (mut lanes, now) = (lanes(), Instant::now());
    assert!(lanes.has_much_room());
    lanes.push(told(1, &large), now);
    assert!(!lanes.room().is_some_left() && !lanes.has_much_room());
    let claimed = lanes.claim(Instant::now()).unwrap();
    assert!(!lanes.room().is_some_left(), "it is still there");
    lanes.finish(&claimed, now);
    assert!(lanes.has_much_room());

    let mut groups = lanes_with("group_by", "task");
    groups.push(told(1, &large), now);
    assert!(groups.room().is_some_left(), "a group stays whole");
}

#[test]
fn what_waits_behind_a_failure_makes_room_and_comes_back() {
    let mut lanes = lanes();
    let now = Instant::now();
    for (id, host) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
        lanes.push(delivery(id, host), now);
    }
    let mut first = lanes.claim(now).unwrap();
    first[0].attempts = 1;
    first[0].due = Some(now + Duration::from_secs(1));
    lanes.put_back(first, 1, now);
    lanes.evict();
    assert_eq!((lanes.length, lanes.needed(now)), (2, None), "1 and 3 stay");
    lanes.push(delivery(5, "a"), now);
    assert_eq!(lanes.length, 2, "5 is left to the spool");

    let failed = lanes.claim(now + Duration::from_secs(2)).unwrap();
    let other = lanes.claim(now).unwrap();
    assert_eq!((ids(&failed), ids(&other)), (vec![3], vec![1]));
    lanes.finish(&other, now);
    assert_eq!(lanes.needed(now), Some(2));
    let read = |found: &[i64]| found.iter().map(|id| delivery(*id, "a")).collect();
    lanes.reload(read(&[2]), (2, 2), Some(3), now);
    assert_eq!((lanes.length, lanes.needed(now)), (2, None));
    let second = lanes.claim(now).unwrap();
    assert_eq!(ids(&second), [2]);
    lanes.finish(&second, now);
    assert_eq!(lanes.needed(now), Some(3));
    lanes.reload(read(&[4]), (4, 5), None, now);
    assert_eq!(lanes.needed(now), Some(3), "it came to be needed meanwhile");
    let mut rest: Vec<Delivery> = read(&[4, 5, 6]);
    rest.insert(0, delivery(3, "b"));
    lanes.reload(rest, (3, 5), None, now);
    assert_eq!((lanes.length, lanes.needed(now)), (3, None), "3, 4 and 5");
    lanes.push(delivery(6, "a"), now);
    assert_eq!(lanes.length, 4);
}

#[test]
fn a_group_is_gathered_and_stays_what_it_was_when_it_is_tried_again() {
    let mut lanes = lanes_with("group_by", "task");
    let now = Instant::now();
    (1..=3).for_each(|id| lanes.push(delivery(id, &format!("web{id}")), now));
    assert!(lanes.claim(now).is_none(), "it is still gathered");
    let claimed = lanes.claim(now + Duration::from_secs(6)).unwrap();
    assert_eq!(ids(&claimed), [1, 2, 3]);

    lanes.put_back(claimed, 3, now);
    lanes.push(delivery(4, "web4"), now);
    let later = now + Duration::from_secs(12);
    let again = lanes.claim(later).unwrap();
    assert_eq!(ids(&again), [1, 2, 3]);
    lanes.finish(&again, now);
    assert_eq!(ids(&lanes.claim(later).unwrap()), [4]);
}

#[test]
fn the_end_of_a_run_is_its_last_and_waits_for_what_fails_for_less_than_the_drain() {
    for mut lanes in [lanes(), lanes_with("group_by", "host")] {
        let now = Instant::now();
        lanes.push(delivery(1, "a"), now);
        lanes.push(delivery(2, "b"), now);
        lanes.push(end(3), now);
        let first = lanes.claim(now).unwrap();
        let mut second = lanes.claim(now).unwrap();
        assert!(lanes.claim(now).is_none(), "the end waits");
        lanes.finish(&first, now);
        assert!(lanes.claim(now).is_none(), "the end waits for the other");
        second[0].attempts = 1;
        second[0].due = Some(now + Duration::from_secs(9));
        lanes.put_back(second, 1, now);
        assert!(lanes.claim(now).is_none(), "and when that failed, too");
        let later = now + DRAIN;
        let mut end = lanes.claim(later).unwrap();
        assert_eq!(ids(&end), [3], "but not for long");

        (end[0].attempts, end[0].due) = (3, Some(later));
        lanes.put_back(end, 1, later);
        assert!(lanes.claim(later).is_none(), "an end that failed waits on");
        lanes.release();
        let second = lanes.claim(later).unwrap();
        assert_eq!(ids(&second), [2]);
        lanes.finish(&second, later);
        assert_eq!(ids(&lanes.claim(later).unwrap()), [3]);
    }
}

#[test]
fn the_end_of_a_run_waits_for_what_gets_nowhere_only_where_it_is_tried() {
    let (mut lanes, now) = (lanes(), Instant::now());
    lanes.push(delivery(1, "a"), now);
    lanes.push(end(2), now);
    let _silent = lanes.claim(now).unwrap();
    let mut later = now;
    for _ in 0..9 {
        lanes.stand_still(later);
        later += DRAIN / 2;
        assert!(lanes.claim(later).is_none());
    }
    assert_eq!(ids(&lanes.claim(later + DRAIN).unwrap()), [2]);
}

#[test]
fn what_exceeds_a_group_is_not_gathered_once_the_run_has_ended() {
    let (mut lanes, now) = (lanes_with("group_by", "run"), Instant::now());
    (1..=2300).for_each(|id| lanes.push(delivery(id, "a"), now));
    let mut sizes = Vec::new();
    let mut next = |lanes: &mut Lanes| {
        let claimed = lanes.claim(now)?;
        lanes.finish(&claimed, now);
        sizes.push(claimed.len());
        Some(())
    };
    while next(&mut lanes).is_some() {}
    lanes.push(end(2301), now);
    while next(&mut lanes).is_some() {}
    assert_eq!(
        sizes,
        [1000, 1000, 300, 1],
        "full ones are not gathered either"
    );
}

#[test]
fn the_first_message_of_a_thread_goes_alone() {
    let now = Instant::now();
    for (thread, beside) in [(Thread::Replies, 2), (Thread::Updates, 1)] {
        let mut lanes = Lanes::new(Grouping::default(), thread, DRAIN);
        for (id, host) in [(1, "a"), (2, "b"), (3, "c")] {
            lanes.push(delivery(id, host), now);
        }
        let mut first = lanes.claim(now).unwrap();
        assert!(lanes.claim(now).is_none() && !lanes.is_ready(now));
        first[0].due = Some(now + DRAIN);
        lanes.put_back(first, 1, now);
        let second = lanes.claim(now).unwrap();
        assert_eq!(ids(&second), [2], "another one is the first");
        assert!(lanes.claim(now).is_none());
        lanes.opened("r");
        lanes.finish(&second, now);
        let later = now + DRAIN;
        let claimed = std::iter::from_fn(|| lanes.claim(later)).count();
        assert_eq!(claimed, beside);
    }
}

#[test]
fn lanes_that_all_fail_make_room_for_others() {
    let (mut lanes, now) = (lanes(), Instant::now());
    for id in 1..=512 {
        lanes.push(delivery(id, &format!("h{id}")), now);
    }
    while let Some(mut failed) = lanes.claim(now) {
        failed[0].attempts = 1;
        failed[0].due = Some(now + Duration::from_secs(failed[0].id.unsigned_abs()));
        lanes.put_back(failed, 1, now);
    }
    assert!(!lanes.has_much_room());
    lanes.evict();
    assert!(lanes.has_much_room());
    assert_eq!(lanes.needed(now), None);
    assert_eq!(lanes.next_due(), Some(now + Duration::from_secs(1)));
    let last = now + Duration::from_secs(512);
    assert_eq!(lanes.needed(last), Some(257));
    let read = (257..=300).map(|id| delivery(id, &format!("h{id}")));
    lanes.reload(read.collect(), (257, 300), Some(301), last);
    assert_eq!(lanes.needed(last), Some(301));
}

#[test]
fn a_run_is_one_lane_where_that_is_asked_for() {
    let mut lanes = lanes_with("order", "run");
    let now = Instant::now();
    for (id, host) in [(1, "a"), (2, "b")] {
        lanes.push(delivery(id, host), now);
    }
    let first = lanes.claim(now).unwrap();
    assert_eq!(ids(&first), [1]);
    assert!(lanes.claim(now).is_none(), "the run has one under way");
    lanes.finish(&first, now);
    assert_eq!(ids(&lanes.claim(now).unwrap()), [2]);
}
