//! The deliveries of one notifier that are in memory, by lanes: each in order and one at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::Event;
use crate::group::Grouping;
use crate::message::Reached;

/// How many deliveries of a notifier are in memory, apart from groups; the others wait in the spool.
const WINDOW: usize = 512;
/// How many bytes their events may have, apart from groups: a few large ones are enough to go on with.
const WINDOW_BYTES: usize = 4 << 20;

/// How much more may be taken into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub deliveries: usize,
    pub bytes: usize,
}

impl Room {
    pub fn is_some_left(self) -> bool {
        self.deliveries > 0 && self.bytes > 0
    }
}

/// One event owed to one notifier.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number in the spool.
    pub id: i64,
    pub event: Arc<Event>,
    /// Attempts made so far.
    pub attempts: u32,
    /// Not to be tried before this time.
    pub due: Option<Instant>,
    /// When it was accepted.
    pub accepted: jiff::Timestamp,
    /// How many were tried as one with it, itself included; 0 before the first attempt.
    pub together: usize,
    /// The recipients that have it already.
    pub reached: Reached,
}

impl Delivery {
    /// An event that was just accepted.
    pub fn new(id: i64, event: Arc<Event>) -> Delivery {
        Delivery {
            id,
            event,
            attempts: 0,
            due: None,
            accepted: jiff::Timestamp::now(),
            together: 0,
            reached: Reached::default(),
        }
    }
}

/// Deliveries by lane: a host, or what is told together.
#[derive(Debug, Default)]
pub struct Lanes {
    grouping: Grouping,
    lanes: HashMap<Rc<str>, VecDeque<Delivery>>,
    /// Lanes whose first delivery can be made now.
    ready: VecDeque<Rc<str>>,
    /// Lanes whose first delivery waits for its time.
    resting: BinaryHeap<Reverse<(Instant, Rc<str>)>>,
    /// Ends of runs that wait until every group of their run has been tried.
    ends: Vec<Delivery>,
    /// Lanes that have deliveries in the spool, from this number on, which are not in memory though what came
    /// later is: their first one failed, and left no room for the others.
    aside: HashMap<Rc<str>, i64>,
    length: usize,
    /// Of the events, about.
    bytes: usize,
}

impl Lanes {
    pub fn new(grouping: Grouping) -> Lanes {
        Lanes {
            grouping,
            ..Lanes::default()
        }
    }

    /// Takes a delivery on, behind those of its lane.
    pub fn push(&mut self, mut delivery: Delivery) {
        if self.is_aside(&delivery) {
            return;
        }
        self.length += 1;
        self.bytes += delivery.event.size();
        if delivery.event.end.is_some() {
            // What the run's end sums up is told before it.
            self.complete_groups();
            if self.has_untold_groups(&delivery.event.run.id) {
                return self.ends.push(delivery);
            }
        }
        if delivery.due.is_none() && self.grouping.gathers(&delivery.event) {
            delivery.due = self.gathered_until(&delivery);
        }
        self.enlist(delivery);
    }

    /// A delivery is left to the spool, with others of its lane before it.
    fn is_aside(&self, delivery: &Delivery) -> bool {
        let lane = || self.grouping.lane(&delivery.event);
        !self.aside.is_empty() && delivery.id > 0 && self.aside.contains_key(&*lane())
    }

    fn enlist(&mut self, delivery: Delivery) {
        let name: Rc<str> = Rc::from(&*self.grouping.lane(&delivery.event));
        if let Some(lane) = self.lanes.get_mut(&name) {
            return lane.push_back(delivery);
        }
        self.lanes.insert(name.clone(), VecDeque::from([delivery]));
        self.open(name);
    }

    /// Whether a group of a run has not been tried yet. One that failed holds up nothing.
    fn has_untold_groups(&self, run: &str) -> bool {
        self.lanes.iter().any(|(name, lane)| {
            Grouping::is_group_of(run, name) && lane.front().is_none_or(|first| first.attempts == 0)
        })
    }

    /// Lets the ends of runs go on whose groups have been tried.
    fn open_ends(&mut self) {
        for end in std::mem::take(&mut self.ends) {
            if self.has_untold_groups(&end.event.run.id) {
                self.ends.push(end);
            } else {
                self.enlist(end);
            }
        }
    }

    /// When the group that a delivery begins is complete.
    fn gathered_until(&self, delivery: &Delivery) -> Option<Instant> {
        let age = jiff::Timestamp::now().duration_since(delivery.accepted);
        let left = self.grouping.wait.checked_sub(age.unsigned_abs())?;
        (!left.is_zero()).then(|| Instant::now() + left)
    }

    /// Deliveries that can be made now, as one; their lane stays closed until they are finished.
    pub fn claim(&mut self, now: Instant) -> Option<Vec<Delivery>> {
        while self.next_due().is_some_and(|due| due <= now) {
            let lane = self.resting.pop().map(|entry| entry.0.1);
            self.ready.extend(lane);
        }
        let lane = self.lanes.get_mut(&self.ready.pop_front()?)?;
        let first = lane.front()?;
        let most = match first.together {
            // An earlier process tried so many as one.
            0 if first.attempts > 0 && self.grouping.gathers(&first.event) => {
                let tried = |one: &&Delivery| one.attempts == first.attempts;
                let tried = lane.iter().take_while(tried);
                tried.take(self.grouping.most).count()
            }
            0 if self.grouping.gathers(&first.event) => self.grouping.most,
            0 => 1,
            // What was tried as one stays one: it has been given an id.
            together => together,
        };
        Some(lane.drain(..most.min(lane.len())).collect())
    }

    /// Puts claimed deliveries back at the head of their lane, to be tried again, so many as one, when the
    /// first is due.
    pub fn put_back(&mut self, mut claimed: Vec<Delivery>, together: usize) {
        let Some(first) = claimed.first_mut() else {
            return;
        };
        first.together = together;
        let name: Rc<str> = Rc::from(&*self.grouping.lane(&first.event));
        if let Some(lane) = self.lanes.get_mut(&name) {
            for delivery in claimed.into_iter().rev() {
                lane.push_front(delivery);
            }
            self.open(name);
        }
        self.open_ends();
    }

    /// Claimed deliveries are done with; their lane goes on.
    pub fn finish(&mut self, claimed: &[Delivery]) {
        self.length -= claimed.len();
        self.bytes -= claimed.iter().map(|one| one.event.size()).sum::<usize>();
        let Some(first) = claimed.first() else { return };
        let name = self.grouping.lane(&first.event);
        if self.lanes.get(&*name).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(&*name);
        } else {
            self.open(Rc::from(&*name));
        }
        self.open_ends();
    }

    /// Makes room where lanes whose first delivery failed take it up: only what was tried stays in memory.
    pub fn set_aside(&mut self) {
        // One lane only; or one may be behind an end of a run that is not in its lane yet.
        if self.grouping.is_batch() || !self.ends.is_empty() {
            return;
        }
        for Reverse((_, name)) in &self.resting {
            let Some(lane) = self.lanes.get_mut(name) else {
                continue;
            };
            let Some(first) = lane.front() else {
                continue;
            };
            // A group of an earlier process is to be gathered again.
            let is_known = first.together > 0 || !self.grouping.gathers(&first.event);
            // What has no place in the spool stays where it is.
            let is_written = lane.iter().all(|delivery| delivery.id > 0);
            let tried = first.together.max(1);
            let Some(next) = lane.get(tried) else {
                continue;
            };
            if first.attempts == 0 || !is_known || !is_written {
                continue;
            }
            self.aside.insert(name.clone(), next.id);
            for delivery in lane.drain(tried..) {
                self.length -= 1;
                self.bytes -= delivery.event.size();
            }
        }
    }

    /// From which number on deliveries are needed that were set aside, of lanes that can go on.
    pub fn needed(&self) -> Option<i64> {
        let open = |name: &Rc<str>| !self.lanes.contains_key(name);
        let needed = self.aside.iter().filter(|(name, _)| open(name));
        needed.map(|(_, from)| *from).min()
    }

    /// Takes deliveries that were set aside, of lanes that can go on: all that waited from `first` to `last`.
    /// What else is among them is here, or stays aside. `complete` if nothing waits beyond.
    pub fn take_back(&mut self, deliveries: Vec<Delivery>, first: i64, last: i64, complete: bool) {
        let lanes = &self.lanes;
        // One that came to go on meanwhile may have more before the first.
        let back: HashMap<Rc<str>, i64> = self
            .aside
            .extract_if(|name, from| *from >= first && !lanes.contains_key(name))
            .collect();
        for delivery in deliveries {
            let from = back.get(&*self.grouping.lane(&delivery.event));
            if delivery.id <= last && from.is_some_and(|from| delivery.id >= *from) {
                self.push(delivery);
            }
        }
        if !complete {
            let rest = back.into_iter();
            let rest = rest.map(|(name, from)| (name, from.max(last + 1)));
            self.aside.extend(rest);
        }
    }

    /// Lets no lane rest any longer.
    pub fn release(&mut self) {
        self.ready
            .extend(self.resting.drain().map(|entry| entry.0.1));
    }

    /// Gathers no more: this process is about to end.
    pub fn gather_no_more(&mut self) {
        self.complete_groups();
        self.grouping.wait = Duration::ZERO;
    }

    /// Takes groups as complete that are still gathered. What failed before rests on.
    fn complete_groups(&mut self) {
        if self.grouping.wait.is_zero() {
            return;
        }
        for Reverse((due, name)) in std::mem::take(&mut self.resting) {
            let first = self.lanes.get(&name).and_then(VecDeque::front);
            if first.is_some_and(|first| first.attempts == 0) {
                self.ready.push_back(name);
            } else {
                self.resting.push(Reverse((due, name)));
            }
        }
    }

    /// Lines a lane up by when its first delivery is due.
    fn open(&mut self, name: Rc<str>) {
        let first = self.lanes.get(&name).and_then(VecDeque::front);
        match first.and_then(|delivery| delivery.due) {
            Some(due) => self.resting.push(Reverse((due, name))),
            None => self.ready.push_back(name),
        }
    }

    /// When the next resting delivery is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.resting.peek().map(|entry| entry.0.0)
    }

    /// What may be in memory at the most: a group must find room, however large, and one behind it.
    fn window(&self) -> Room {
        let whole_groups = !self.grouping.is_batch() && self.grouping.most > 1;
        Room {
            deliveries: WINDOW.max(2 * self.grouping.most),
            bytes: if whole_groups {
                usize::MAX
            } else {
                WINDOW_BYTES
            },
        }
    }

    /// How much more may be taken into memory, claimed deliveries included.
    pub fn room(&self) -> Room {
        let window = self.window();
        Room {
            deliveries: window.deliveries.saturating_sub(self.length),
            bytes: window.bytes.saturating_sub(self.bytes),
        }
    }

    /// There is room for many small ones, or for a large one: it is worth a look into the spool.
    pub fn has_much_room(&self) -> bool {
        let (window, room) = (self.window(), self.room());
        room.deliveries >= window.deliveries / 2 && room.bytes >= window.bytes / 8
    }

    /// Something can be claimed at this time.
    pub fn is_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section::{Entry, Origin, Section};
    use crate::reader::Reader;

    fn delivery(id: i64, host: &str) -> Delivery {
        told(
            id,
            &format!(r#"{{"event":"runner_on_ok","host":"{host}","task":"t","run":"r"}}"#),
        )
    }

    fn told(id: i64, text: &str) -> Delivery {
        Delivery::new(id, Arc::new(Reader::new().read(text.as_bytes()).unwrap()))
    }

    /// Lanes of a notifier with one key set.
    fn lanes_with(key: &str, value: &str) -> Lanes {
        let mut section = Section::new("notifier:x", Origin::Play);
        section.set(Entry {
            key: key.into(),
            value: value.into(),
            origin: Origin::Play,
        });
        Lanes::new(Grouping::new(&section, false))
    }

    fn ids(claimed: &[Delivery]) -> Vec<i64> {
        claimed.iter().map(|delivery| delivery.id).collect()
    }

    #[test]
    fn a_host_is_served_in_order_and_beside_the_others() {
        let mut lanes = Lanes::default();
        let now = Instant::now();
        for (id, host) in [(1, "a"), (2, "a"), (3, "b")] {
            lanes.push(delivery(id, host));
        }
        let mut first = lanes.claim(now).unwrap();
        let second = lanes.claim(now).unwrap();
        assert_eq!((ids(&first), ids(&second)), (vec![1], vec![3]));
        assert!(lanes.claim(now).is_none(), "host a has one under way");

        let later = now + Duration::from_secs(1);
        first[0].due = Some(later);
        lanes.put_back(first, 1);
        lanes.finish(&second);
        assert!(lanes.claim(now).is_none());
        assert_eq!((lanes.next_due(), lanes.length), (Some(later), 2));
        let again = lanes.claim(later).unwrap();
        assert_eq!(ids(&again), [1]);
        lanes.finish(&again);
        let last = lanes.claim(now).unwrap();
        assert_eq!(ids(&last), [2]);
        lanes.finish(&last);
        assert_eq!((lanes.length, lanes.bytes), (0, 0));
    }

    #[test]
    fn large_events_take_the_room_of_many_small_ones() {
        let large = format!(
            r#"{{"event":"runner_on_ok","host":"a","result":{{"stdout":"{}"}}}}"#,
            "x".repeat(WINDOW_BYTES)
        );
        let mut lanes = Lanes::default();
        assert!(lanes.has_much_room());
        lanes.push(told(1, &large));
        assert!(!lanes.room().is_some_left() && !lanes.has_much_room());
        let claimed = lanes.claim(Instant::now()).unwrap();
        assert!(!lanes.room().is_some_left(), "it is still there");
        lanes.finish(&claimed);
        assert!(lanes.has_much_room());

        let mut groups = lanes_with("group_by", "task");
        groups.push(told(1, &large));
        assert!(groups.room().is_some_left(), "a group stays whole");
    }

    #[test]
    fn what_waits_behind_a_failure_makes_room_and_comes_back() {
        let mut lanes = Lanes::default();
        let now = Instant::now();
        for (id, host) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            lanes.push(delivery(id, host));
        }
        let mut first = lanes.claim(now).unwrap();
        first[0].attempts = 1;
        first[0].due = Some(now + Duration::from_secs(1));
        lanes.put_back(first, 1);
        lanes.set_aside();
        assert_eq!((lanes.length, lanes.needed()), (2, None), "1 and 3 stay");
        lanes.push(delivery(5, "a"));
        assert_eq!(lanes.length, 2, "5 is left to the spool");

        let failed = lanes.claim(now + Duration::from_secs(2)).unwrap();
        let other = lanes.claim(now).unwrap();
        assert_eq!((ids(&failed), ids(&other)), (vec![3], vec![1]));
        lanes.finish(&other);
        assert_eq!(lanes.needed(), Some(2));
        let read = |found: &[i64]| found.iter().map(|id| delivery(*id, "a")).collect();
        lanes.take_back(read(&[2]), 2, 2, false);
        assert_eq!((lanes.length, lanes.needed()), (2, None));
        let second = lanes.claim(now).unwrap();
        assert_eq!(ids(&second), [2]);
        lanes.finish(&second);
        assert_eq!(lanes.needed(), Some(3));
        lanes.take_back(read(&[4]), 4, 5, true);
        assert_eq!(lanes.needed(), Some(3), "it came to be needed meanwhile");
        let mut rest: Vec<Delivery> = read(&[4, 5, 6]);
        rest.insert(0, delivery(3, "b"));
        lanes.take_back(rest, 3, 5, true);
        assert_eq!((lanes.length, lanes.needed()), (3, None), "3, 4 and 5");
        lanes.push(delivery(6, "a"));
        assert_eq!(lanes.length, 4);
    }

    #[test]
    fn a_group_is_gathered_and_stays_what_it_was_when_it_is_tried_again() {
        let mut lanes = lanes_with("group_by", "task");
        let now = Instant::now();
        (1..=3).for_each(|id| lanes.push(delivery(id, &format!("web{id}"))));
        assert!(lanes.claim(now).is_none(), "it is still gathered");
        let claimed = lanes.claim(now + Duration::from_secs(6)).unwrap();
        assert_eq!(ids(&claimed), [1, 2, 3]);

        lanes.put_back(claimed, 3);
        lanes.push(delivery(4, "web4"));
        let later = now + Duration::from_secs(12);
        let again = lanes.claim(later).unwrap();
        assert_eq!(ids(&again), [1, 2, 3]);
        lanes.finish(&again);
        assert_eq!(ids(&lanes.claim(later).unwrap()), [4]);
    }

    #[test]
    fn the_end_of_a_run_waits_until_its_groups_were_tried() {
        let mut lanes = lanes_with("group_by", "host");
        let now = Instant::now();
        lanes.push(delivery(1, "a"));
        lanes.push(delivery(2, "b"));
        lanes.push(told(
            3,
            r#"{"event":"playbook_on_stats","run":"r","status":"error"}"#,
        ));
        let first = lanes.claim(now).unwrap();
        let mut second = lanes.claim(now).unwrap();
        assert!(lanes.claim(now).is_none(), "the end waits");
        lanes.finish(&first);
        assert!(lanes.claim(now).is_none(), "the end waits for the other");
        second[0].attempts = 1;
        second[0].due = Some(now + Duration::from_secs(9));
        lanes.put_back(second, 1);
        assert_eq!(ids(&lanes.claim(now).unwrap()), [3]);
    }

    #[test]
    fn a_run_is_one_lane_where_that_is_asked_for() {
        let mut lanes = lanes_with("order", "run");
        for (id, host) in [(1, "a"), (2, "b")] {
            lanes.push(delivery(id, host));
        }
        let now = Instant::now();
        let first = lanes.claim(now).unwrap();
        assert_eq!(ids(&first), [1]);
        assert!(lanes.claim(now).is_none(), "the run has one under way");
        lanes.finish(&first);
        assert_eq!(ids(&lanes.claim(now).unwrap()), [2]);
    }
}
