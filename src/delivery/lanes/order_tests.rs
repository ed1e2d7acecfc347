//! Order across lanes: of what was held and what came later, and of the ends of runs.

use super::tests::{DRAIN, ids, lanes_with, told};
use super::*;

/// Returns the end of a run of a playbook.
fn end_of(id: i64, run: &str, playbook: &str) -> Delivery {
    told(
        id,
        &format!(
            r#"{{"event":"playbook_on_stats","run":{{"id":"{run}","path":"/{playbook}"}},"status":"error"}}"#
        ),
    )
}

fn result_of(id: i64, run: &str, host: &str) -> Delivery {
    let run = format!(r#"{{"id":"{run}","path":"/site.yml"}}"#);
    told(
        id,
        &format!(r#"{{"event":"runner_on_ok","host":"{host}","task":"t","run":{run}}}"#),
    )
}

fn held(delivery: Delivery) -> Delivery {
    Delivery {
        hold: 10,
        ..delivery
    }
}

/// Claims everything that can be made now, and returns the numbers, each claim's in one list.
fn claim_all(lanes: &mut Lanes, now: Instant) -> Vec<Vec<Delivery>> {
    std::iter::from_fn(|| lanes.claim(now)).collect()
}

fn all_ids(claimed: &[Vec<Delivery>]) -> Vec<Vec<i64>> {
    claimed.iter().map(|claimed| ids(claimed)).collect()
}

/// Puts an attempt back that failed, to be made again later.
fn fail(lanes: &mut Lanes, mut claimed: Vec<Delivery>, now: Instant) -> Instant {
    let later = now + Duration::from_secs(300);
    for one in &mut claimed {
        (one.due, one.attempts) = (Some(later), one.attempts + 1);
    }
    let together = claimed.len();
    lanes.put_back(claimed, together, now);
    later
}

#[test]
fn what_was_held_comes_before_what_it_is_about() {
    let grouping = Grouping::default().sending_together();
    let mut lanes = Lanes::new(grouping, Thread::None, DRAIN);
    let now = Instant::now();
    for one in [
        result_of(10, "r", "a"),
        end_of(11, "r", "site.yml"),
        result_of(12, "r", "b"),
    ] {
        lanes.push(held(one), now);
    }
    let digest = lanes.claim(now).unwrap();
    assert_eq!(ids(&digest), [10, 11, 12], "one message");
    for one in [
        result_of(13, "s", "a"),
        result_of(14, "s", "c"),
        end_of(15, "s", "site.yml"),
    ] {
        lanes.push(one, now);
    }
    assert!(lanes.claim(now).is_none(), "it is under way");

    let later = fail(&mut lanes, digest, now);
    let others = claim_all(&mut lanes, now);
    assert_eq!(all_ids(&others), [[14]], "the message says nothing of it");
    lanes.finish(&others[0], now);
    assert!(lanes.claim(now).is_none(), "they wait for the message");
    assert!(!lanes.is_ready(now));
    assert_eq!(lanes.next_due(), Some(later));

    let digest = lanes.claim(later).unwrap();
    assert_eq!(ids(&digest), [10, 11, 12], "the same message");
    assert!(lanes.claim(later).is_none());
    lanes.finish(&digest, later);
    let rest = lanes.claim(later).unwrap();
    assert_eq!(ids(&rest), [13]);
    lanes.finish(&rest, later);
    assert_eq!(ids(&lanes.claim(later).unwrap()), [15]);
}

#[test]
fn held_events_that_are_told_alone_keep_the_order_of_their_host() {
    let mut lanes = Lanes::new(Grouping::default(), Thread::None, DRAIN);
    let now = Instant::now();
    for one in [
        held(result_of(10, "r", "a")),
        held(end_of(11, "r", "site.yml")),
        result_of(12, "s", "a"),
        end_of(13, "s", "site.yml"),
    ] {
        lanes.push(one, now);
    }
    let first = claim_all(&mut lanes, now);
    assert_eq!(all_ids(&first), [[10]], "the end is the last of its run");
    lanes.finish(&first[0], now);
    let mut second = claim_all(&mut lanes, now);
    second.sort_by_key(|claimed| claimed[0].id);
    assert_eq!(all_ids(&second), [[11], [12]]);
    fail(&mut lanes, second.remove(0), now);
    lanes.finish(&second[0], now);
    assert!(lanes.claim(now).is_none(), "the end of r comes first");
}

#[test]
fn the_end_of_a_run_comes_after_that_of_an_earlier_one_of_the_playbook() {
    for (key, value) in [
        ("group_by", "run"),
        ("group_by", "host"),
        ("order", "run"),
        ("order", "host"),
    ] {
        let mut lanes = lanes_with(key, value);
        let now = Instant::now();
        lanes.push(result_of(1, "r", "a"), now);
        lanes.gather_no_more();
        let failing = lanes.claim(now).unwrap();
        fail(&mut lanes, failing, now);
        // The end of the first run waits for its result, or has failed itself.
        lanes.push(end_of(2, "r", "site.yml"), now);
        lanes.push(end_of(3, "s", "site.yml"), now);
        lanes.push(end_of(4, "t", "other.yml"), now);
        let others = claim_all(&mut lanes, now);
        assert_eq!(all_ids(&others), [[4]], "{key} = {value}");
        lanes.finish(&others[0], now);
        let later = now + Duration::from_secs(300);
        let mut order = Vec::new();
        while let Some(claimed) = lanes.claim(later) {
            order.extend(ids(&claimed));
            lanes.finish(&claimed, later);
        }
        let place = |id| order.iter().position(|one| *one == id);
        assert_eq!(order.len(), 3, "{key} = {value}: {order:?}");
        assert!(place(2) < place(3), "{key} = {value}: {order:?}");
    }
}

#[test]
fn an_end_that_failed_while_its_run_goes_on_keeps_its_place() {
    let mut lanes = Lanes::new(Grouping::default(), Thread::None, DRAIN);
    let now = Instant::now();
    lanes.push(result_of(1, "r", "a"), now);
    let failing = lanes.claim(now).unwrap();
    fail(&mut lanes, failing, now);
    lanes.push(end_of(2, "r", "site.yml"), now);
    let stalled = now + DRAIN;
    let end = lanes.claim(stalled).unwrap();
    assert_eq!(ids(&end), [2], "it waits no longer");
    lanes.push(end_of(3, "s", "site.yml"), stalled);
    let later = fail(&mut lanes, end, stalled);
    assert!(lanes.claim(stalled).is_none(), "3 waits for 2");
    let mut order = Vec::new();
    while let Some(claimed) = lanes.claim(later) {
        order.extend(ids(&claimed));
        lanes.finish(&claimed, later);
    }
    assert_eq!(order, [1, 2, 3]);
}
