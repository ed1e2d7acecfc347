//! Simulates a notifier and its spool on a virtual clock: in no state does everything wait for nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::Window;
use crate::config::entry::{Entry, Origin};
use crate::config::section::Section;
use crate::delivery::breaker::Breaker;
use crate::delivery::lanes::{Delivery, Lanes};
use crate::event::Event;
use crate::event::parse::EventParser;
use crate::notifier::Thread;
use crate::route::grouping::{Batching, Grouping, Limits};
use crate::spool::Room;

const DRAIN: Duration = Duration::from_secs(5);
/// Same values as in the worker.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);
/// Ways to group a notifier's deliveries.
const GROUPINGS: [(&str, &str); 8] = [
    ("order", "host"),
    ("order", "run"),
    ("batch", "7"),
    (OF_RUN, "7"),
    (IN_BULK, "7"),
    ("group_by", "host"),
    ("group_by", "task"),
    ("group_by", "run"),
];

/// Stands for `batch` of a kind whose batches are of one run.
const OF_RUN: &str = "batch of a run";

/// Stands for `batch` of a kind that sends in bulk.
const IN_BULK: &str = "batch in bulk";

/// A delivery pending in the spool.
struct Row {
    event: Arc<Event>,
    lane: String,
    attempts: u32,
    due: Option<Instant>,
}

/// Reaction of the endpoint to all attempts, or to those for one host.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Good,
    Flaky,
    /// Refused until everything works again.
    Refused,
    Asking(Duration),
    Denied,
    Dead,
    Gone,
}

struct World {
    rng: Rng,
    now: Instant,
    /// Time at which a delivery was last finished, or none could be tried.
    moved: Instant,
    grouping: Grouping,
    window: Window,
    breaker: Breaker,
    concurrency: usize,
    /// Deliveries pending in the spool, by number.
    rows: BTreeMap<i64, Row>,
    last: i64,
    /// Deliveries without a place there.
    unspooled: HashMap<i64, String>,
    under_way: Vec<Vec<Delivery>>,
    hosts: Vec<Mood>,
    all: Mood,
    mended: bool,
    /// Number of the last finished delivery of each lane.
    finished: HashMap<String, i64>,
}

fn grouping((key, value): (&str, &str)) -> Grouping {
    let mut section = Section::new("notifier:x", Origin::Play);
    let (key, batching) = match key {
        OF_RUN => ("batch", Batching::OfRun(1)),
        IN_BULK => {
            let limits = Limits {
                events: 1,
                bytes: 100_000,
                event_bytes: 50_000,
            };
            ("batch", Batching::InBulk(limits, 3))
        }
        key => (key, Batching::Possible),
    };
    section.set(Entry {
        key: key.into(),
        value: value.into(),
        origin: Origin::Play,
    });
    Grouping::new(&section, batching)
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let grouping = grouping(rng.choice(GROUPINGS).unwrap());
        let thread = [Thread::None, Thread::None, Thread::Replies, Thread::Updates];
        let lanes = Lanes::new(grouping, rng.choice(thread).unwrap(), DRAIN);
        let moods = [
            Mood::Good,
            Mood::Good,
            Mood::Flaky,
            Mood::Refused,
            Mood::Dead,
        ];
        let all = [
            Mood::Good,
            Mood::Good,
            Mood::Flaky,
            Mood::Refused,
            Mood::Asking(Duration::from_secs(60)),
            Mood::Denied,
            Mood::Gone,
        ];
        let hosts = *[1, 3, 40, 2000]
            .map(|count| count)
            .get(rng.usize(..4))
            .unwrap();
        World {
            now: Instant::now(),
            moved: Instant::now(),
            grouping,
            window: Window::new(lanes),
            breaker: Breaker::default(),
            concurrency: rng.usize(1..20),
            rows: BTreeMap::new(),
            last: 0,
            unspooled: HashMap::new(),
            under_way: Vec::new(),
            hosts: (0..hosts).map(|_| rng.choice(moods).unwrap()).collect(),
            all: rng.choice(all).unwrap(),
            mended: false,
            finished: HashMap::new(),
            rng,
        }
    }

    /// Adds a run with `results` results and its end.
    fn add_run(&mut self, run: usize, results: usize) {
        let size = if self.rng.u8(..) < 20 { 60_000 } else { 10 };
        for _ in 0..results {
            let host = self.rng.usize(..self.hosts.len());
            let text = format!(
                r#"{{"event":"runner_on_ok","host":"h{host}","task":"t{}","run":"r{run}","result":{{"n":"{}"}}}}"#,
                self.rng.u8(..3),
                "x".repeat(size)
            );
            self.add(&text);
        }
        if self.rng.bool() {
            let text =
                format!(r#"{{"event":"playbook_on_stats","run":"r{run}","status":"error"}}"#);
            self.add(&text);
        }
    }

    fn add(&mut self, text: &str) {
        let event = Arc::new(EventParser::new().read(text.as_bytes()).unwrap());
        let lane = self.grouping.lane(&event).into_owned();
        if self.rng.u8(..) == 0 {
            let id = -1 - self.unspooled.len() as i64;
            self.unspooled.insert(id, lane);
            let delivery = Delivery::new(id, event);
            return self.window.lanes.push(delivery, self.now);
        }
        let previous = self.rows.last_key_value().map_or(0, |(id, _)| *id);
        self.last += 1;
        let row = Row {
            event: event.clone(),
            lane,
            attempts: 0,
            due: None,
        };
        self.rows.insert(self.last, row);
        // Accepted by this process, or by another one.
        if self.rng.bool() {
            let delivery = Delivery::new(self.last, event);
            self.window.push_new(delivery, Some(previous), self.now);
        }
    }

    fn pending(&self, after: i64, room: Room) -> (Vec<Delivery>, bool) {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (id, row) in self.rows.range(after + 1..).take(room.deliveries) {
            bytes += row.event.size();
            found.push(Delivery {
                attempts: row.attempts,
                due: row.due.filter(|due| *due > self.now),
                ..Delivery::new(*id, row.event.clone())
            });
            if bytes >= room.bytes {
                return (found, false);
            }
        }
        let all = found.len() < room.deliveries;
        (found, all)
    }

    /// Loads and starts deliveries as the worker does.
    fn begin(&mut self) {
        if let Some(first) = self.window.needs_back(self.now) {
            let (found, all) = self.pending(first - 1, self.window.room().unwrap());
            let loaded = self.window.loaded();
            let last = found.last().map_or(0, |delivery| delivery.id);
            let last = if all { loaded } else { last.min(loaded) };
            self.window.reload(found, (first, last), self.now);
        }
        if let Some(after) = self.window.needs_more() {
            let (found, all) = self.pending(after, self.window.room().unwrap());
            self.window.record_read(all);
            for delivery in found {
                // One in a thousand cannot be read, and is given up.
                let is_bad = self.rng.u16(..1000) == 0;
                let id = delivery.id;
                if is_bad {
                    self.rows.remove(&id);
                }
                let delivery = (!is_bad).then_some(delivery);
                self.window.push_next(id, delivery, self.now);
            }
        }
        if self.breaker.pause(self.now).is_some() {
            self.moved = self.now;
            return self.window.lanes.stand_still(self.now);
        }
        while self.under_way.len() < self.breaker.limit(self.concurrency) {
            let Some(claimed) = self.window.lanes.claim(self.now) else {
                break;
            };
            if claimed[0].event.end.is_some() && self.grouping.is_parallel() {
                self.expect_last(&claimed[0]);
            }
            self.under_way.push(claimed);
        }
    }

    fn mood(&mut self, claimed: &[Delivery]) -> Mood {
        let host = claimed[0].event.host_name().strip_prefix('h');
        let own = host.map_or(Mood::Good, |number| {
            self.hosts[number.parse::<usize>().unwrap()]
        });
        match (self.all, own) {
            (_, Mood::Dead) => Mood::Dead,
            (Mood::Gone, _) => Mood::Gone,
            _ if self.mended => Mood::Good,
            (Mood::Flaky, _) | (Mood::Good, Mood::Flaky) => match self.rng.bool() {
                true => Mood::Good,
                false => Mood::Refused,
            },
            (Mood::Good, own) => own,
            (all, _) => all,
        }
    }

    /// Ends one of the attempts in progress.
    fn end_one(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(..50));
        let number = self.rng.usize(..self.under_way.len());
        let mut claimed = self.under_way.swap_remove(number);
        let attempts = claimed[0].attempts;
        claimed
            .iter_mut()
            .for_each(|delivery| delivery.attempts += 1);
        let mood = self.mood(&claimed);
        if claimed.len() > 1 && self.grouping.is_batch() && self.rng.u8(..4) == 0 {
            let half = claimed.len() / 2;
            if self.rng.bool() {
                return self.put_back(claimed, half, Duration::ZERO);
            }
            return self.divide(claimed);
        }
        let together = claimed.len();
        let wait = match mood {
            Mood::Good => {
                if self.breaker.succeeded() {
                    self.window.lanes.release();
                    self.rows.values_mut().for_each(|row| row.due = None);
                }
                let run = claimed[0].event.run.id.clone();
                self.window.lanes.opened(&run);
                return self.finish(&claimed);
            }
            Mood::Gone => {
                self.breaker.turn_off(String::new);
                return self.finish(&claimed);
            }
            Mood::Dead | Mood::Flaky => return self.finish(&claimed),
            Mood::Refused => self.breaker.failed(attempts, None, self.now),
            Mood::Asking(time) => self.breaker.failed(attempts, Some(time), self.now),
            Mood::Denied => {
                self.breaker.denied();
                self.breaker.denied_again(self.now)
            }
        };
        self.put_back(claimed, together, wait);
    }

    /// Ends an attempt of which only the first deliveries arrived.
    fn divide(&mut self, mut claimed: Vec<Delivery>) {
        let size = claimed.len();
        let again = claimed.split_off(self.rng.usize(1..size));
        self.retire(&claimed);
        self.window.lanes.retire(&claimed, self.now);
        self.window.lanes.shrink(size);
        let wait = Duration::from_millis(self.rng.u64(..2000));
        self.put_back(again, self.grouping.most, wait);
    }

    fn put_back(&mut self, mut claimed: Vec<Delivery>, together: usize, wait: Duration) {
        claimed[0].due = Some(self.now + wait);
        for delivery in &claimed {
            if let Some(row) = self.rows.get_mut(&delivery.id) {
                (row.attempts, row.due) = (delivery.attempts, claimed[0].due);
            }
        }
        self.window.lanes.put_back(claimed, together, self.now);
    }

    fn finish(&mut self, claimed: &[Delivery]) {
        self.retire(claimed);
        self.window.lanes.finish(claimed, self.now);
    }

    /// Removes finished deliveries from the spool.
    fn retire(&mut self, claimed: &[Delivery]) {
        for delivery in claimed {
            let is_end = delivery.event.end.is_some();
            let known = self.rows.remove(&delivery.id).map(|row| row.lane);
            let unspooled = || self.unspooled.remove(&delivery.id);
            let (id, lane) = (delivery.id, known.or_else(unspooled));
            let lane = lane.expect("it is delivered once");
            if id > 0 && !is_end {
                let before = self.finished.insert(lane, id).unwrap_or(0);
                assert!(before < id, "{before} before {id}: no order");
            }
        }
        self.moved = self.now;
    }

    /// Checks that everything left of a run before its end failed, or waits behind a failure; unless
    /// nothing progresses.
    fn expect_last(&self, end: &Delivery) {
        if self.now >= self.moved + DRAIN * 3 / 4 {
            return;
        }
        let mut failed: HashMap<&str, bool> = HashMap::new();
        for (id, row) in self.rows.range(..end.id.max(1)) {
            let failed = failed.entry(&row.lane).or_default();
            *failed |= row.attempts > 0;
            let of_run = row.event.run.id == end.event.run.id;
            let about = (&row.lane, self.grouping, self.now);
            let is_last = !of_run || *failed || self.is_behind_unspooled(&row.lane);
            assert!(is_last, "{} overtakes {id}: {about:?}", end.id);
        }
    }

    /// Returns true if a delivery without a place in the spool may be first in the lane.
    fn is_behind_unspooled(&self, lane: &str) -> bool {
        self.unspooled.values().any(|other| other == lane)
    }

    /// Returns true if busy, as `flush` sees it.
    fn is_busy(&self) -> bool {
        let is_paused = self.breaker.pause(self.now).is_some();
        !self.under_way.is_empty() || !is_paused && self.window.can_go_on(self.now + PATIENCE)
    }

    /// Delivers until nothing more can be delivered.
    fn flush(&mut self) {
        self.window.lanes.hurry();
        let mut idle = Duration::ZERO;
        self.begin();
        while self.is_busy() {
            if self.under_way.is_empty() {
                idle += LOOK;
                assert!(idle <= PATIENCE + 2 * LOOK, "it waits for nothing");
                self.now += LOOK;
                self.window.poll_again(self.now);
            } else {
                idle = Duration::ZERO;
                self.end_one();
            }
            if self.rng.u16(..2000) == 0 {
                self.add_run(self.last as usize, 30);
            }
            self.begin();
        }
    }

    /// Checks that every delivery pending after `flush` failed, or waits behind a failure.
    fn expect_flushed(&self) {
        // Tried groups stay in memory, and may leave no room.
        let has_room = self.window.room().is_some();
        if self.breaker.pause(self.now).is_some() || !has_room {
            return;
        }
        let mut failed: HashMap<&str, bool> = HashMap::new();
        for (id, row) in &self.rows {
            let due = row.due.is_some_and(|due| due > self.now);
            let is_end = row.event.end.is_some() && self.grouping.is_parallel();
            let is_tried = is_end && row.attempts > 0 || self.is_behind_unspooled(&row.lane);
            let before = failed.entry(&row.lane).or_default();
            *before |= row.attempts > 0 && due;
            assert!(*before || is_tried, "{id} was not tried");
        }
    }

    /// Runs until everything is delivered, which happens once the endpoint works again.
    fn watch(&mut self) {
        for step in 0.. {
            assert!(step < 200_000, "it does not get on");
            self.mended |= step > 3000;
            self.begin();
            if !self.under_way.is_empty() {
                self.end_one();
                continue;
            }
            if self.rows.is_empty() && self.unspooled.is_empty() {
                return;
            }
            self.window.poll_again(self.now);
            self.begin();
            if self.under_way.is_empty() {
                self.wait();
            }
        }
    }

    /// Waits until something can proceed.
    fn wait(&mut self) {
        let lanes = &self.window.lanes;
        let pause = self.breaker.pause(self.now);
        let next = pause.or_else(|| {
            let due = lanes.next_due().into_iter().chain(lanes.next_end());
            due.min()
        });
        let is_read = self.window.needs_more().is_some();
        let next = match next {
            Some(next) => next,
            None if is_read => self.now,
            None => panic!("{} wait for nothing", self.rows.len()),
        };
        let far = Duration::from_secs(4000);
        assert!(next <= self.now + far, "it waits for {:?}", next - self.now);
        if pause.is_some() {
            self.moved = next - LOOK;
            self.window.lanes.stand_still(next - LOOK);
        }
        self.now = next.max(self.now + LOOK);
    }
}

fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    let runs = world.rng.usize(1..60);
    let results = world.rng.usize(1..50);
    (0..runs).for_each(|run| world.add_run(run, results));
    world
}

#[test]
fn a_flush_ends_and_has_tried_what_it_could() {
    for seed in 0..20 {
        let mut world = world(seed);
        println!("seed {seed}: {} wait", world.rows.len());
        world.flush();
        world.expect_flushed();
    }
}

#[test]
fn all_is_delivered_once_the_endpoint_is_in_order_again() {
    for seed in 1000..1015 {
        let mut world = world(seed);
        println!("seed {seed}: {} wait", world.rows.len());
        world.watch();
    }
}
