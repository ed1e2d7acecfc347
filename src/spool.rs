//! What is owed to whom: events are accepted, deliveries claimed and finished. Kept in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::event::Event;

/// One event owed to one notifier.
#[derive(Debug)]
pub struct Delivery {
    pub event: Arc<Event>,
    /// Attempts made so far.
    pub attempts: u32,
    /// The event's place in the stream.
    sequence: u64,
}

/// What became of a claimed delivery.
#[derive(Debug)]
pub enum Outcome {
    Delivered,
    /// To be tried again at this time.
    Retry(Instant),
    Dead,
}

/// How many deliveries are where. accepted = delivered + waiting + dead, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: usize,
    pub delivered: usize,
    pub waiting: usize,
    pub dead: usize,
}

/// The deliveries of all notifiers.
#[derive(Debug, Default)]
pub struct Spool {
    queues: RefCell<Vec<Queue>>,
    /// How many deliveries of an event are unfinished, by sequence number.
    open: RefCell<BTreeMap<u64, usize>>,
    /// The highest sequence number that was accepted.
    last: RefCell<u64>,
}

/// The deliveries of one notifier: a lane a host, each in order and one at a time.
#[derive(Debug, Default)]
struct Queue {
    counts: Counts,
    lanes: HashMap<Rc<str>, VecDeque<Delivery>>,
    /// Lanes whose first delivery can be made now.
    ready: VecDeque<Rc<str>>,
    /// Lanes whose first delivery waits for its time.
    resting: BinaryHeap<std::cmp::Reverse<(Instant, Rc<str>)>>,
}

impl Spool {
    /// Makes room for one more notifier and gives its number.
    pub fn add_notifier(&self) -> usize {
        let mut queues = self.queues.borrow_mut();
        queues.push(Queue::default());
        queues.len() - 1
    }

    /// Takes on an event for the notifiers that want it.
    pub fn accept(&self, event: Arc<Event>, sequence: u64, notifiers: &[usize]) {
        let mut last = self.last.borrow_mut();
        *last = sequence.max(*last);
        if notifiers.is_empty() {
            return;
        }
        self.open.borrow_mut().insert(sequence, notifiers.len());
        let mut queues = self.queues.borrow_mut();
        for notifier in notifiers {
            queues[*notifier].push(Delivery {
                event: event.clone(),
                attempts: 0,
                sequence,
            });
        }
    }

    /// A delivery that can be made now; its lane stays closed until it is finished.
    pub fn claim(&self, notifier: usize, now: Instant) -> Option<Delivery> {
        self.queues.borrow_mut()[notifier].claim(now)
    }

    /// When the next resting delivery of a notifier is due.
    pub fn next_due(&self, notifier: usize) -> Option<Instant> {
        self.queues.borrow()[notifier]
            .resting
            .peek()
            .map(|entry| entry.0.0)
    }

    /// Records what became of a claimed delivery and opens its lane again.
    pub fn finish(&self, notifier: usize, mut delivery: Delivery, outcome: Outcome) {
        delivery.attempts += 1;
        if !matches!(outcome, Outcome::Retry(_)) {
            self.close(delivery.sequence);
        }
        self.queues.borrow_mut()[notifier].finish(delivery, &outcome);
    }

    fn close(&self, sequence: u64) {
        let mut open = self.open.borrow_mut();
        if let Some(left) = open.get_mut(&sequence) {
            *left -= 1;
            if *left == 0 {
                open.remove(&sequence);
            }
        }
    }

    /// The number up to which every event is finished with.
    pub fn safe(&self) -> u64 {
        let first_open = self.open.borrow().keys().next().copied();
        first_open.map_or(*self.last.borrow(), |sequence| sequence - 1)
    }

    pub fn counts(&self, notifier: usize) -> Counts {
        self.queues.borrow()[notifier].counts
    }

    /// How many deliveries are unfinished.
    pub fn waiting(&self) -> usize {
        self.queues
            .borrow()
            .iter()
            .map(|queue| queue.counts.waiting)
            .sum()
    }
}

impl Queue {
    fn push(&mut self, delivery: Delivery) {
        self.counts.accepted += 1;
        self.counts.waiting += 1;
        let host = delivery.event.host_name();
        if let Some(lane) = self.lanes.get_mut(host) {
            return lane.push_back(delivery);
        }
        let host: Rc<str> = Rc::from(host);
        self.ready.push_back(host.clone());
        self.lanes.insert(host, VecDeque::from([delivery]));
    }

    fn claim(&mut self, now: Instant) -> Option<Delivery> {
        while let Some(entry) = self.resting.peek()
            && entry.0.0 <= now
        {
            let lane = self.resting.pop().map(|entry| entry.0.1);
            self.ready.extend(lane);
        }
        let host = self.ready.pop_front()?;
        self.lanes.get_mut(&host)?.pop_front()
    }

    fn finish(&mut self, delivery: Delivery, outcome: &Outcome) {
        let host: Rc<str> = Rc::from(delivery.event.host_name());
        let Some(lane) = self.lanes.get_mut(&host) else {
            return;
        };
        match outcome {
            Outcome::Retry(due) => {
                lane.push_front(delivery);
                return self.resting.push(std::cmp::Reverse((*due, host)));
            }
            Outcome::Delivered => self.counts.delivered += 1,
            Outcome::Dead => self.counts.dead += 1,
        }
        self.counts.waiting -= 1;
        if lane.is_empty() {
            self.lanes.remove(&host);
        } else {
            self.ready.push_back(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reader::Reader;

    fn event(host: &str) -> Arc<Event> {
        let text = format!(r#"{{"event":"runner_on_ok","host":"{host}"}}"#);
        Arc::new(Reader::new().read(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_host_is_served_in_order_and_beside_the_others() {
        let spool = Spool::default();
        let notifier = spool.add_notifier();
        let now = Instant::now();
        for (sequence, host) in [(1, "a"), (2, "a"), (3, "b")] {
            spool.accept(event(host), sequence, &[notifier]);
        }
        let first = spool.claim(notifier, now).unwrap();
        let second = spool.claim(notifier, now).unwrap();
        assert_eq!((first.sequence, second.sequence), (1, 3));
        assert!(
            spool.claim(notifier, now).is_none(),
            "host a has one under way"
        );

        let later = now + Duration::from_secs(1);
        spool.finish(notifier, first, Outcome::Retry(later));
        spool.finish(notifier, second, Outcome::Delivered);
        assert!(spool.claim(notifier, now).is_none());
        assert_eq!(spool.next_due(notifier), Some(later));
        let again = spool.claim(notifier, later).unwrap();
        assert_eq!((again.sequence, again.attempts), (1, 1));
        spool.finish(notifier, again, Outcome::Dead);
        assert_eq!(spool.safe(), 1);
        let last = spool.claim(notifier, later).unwrap();
        spool.finish(notifier, last, Outcome::Delivered);
        assert_eq!(spool.safe(), 3);
        let expected = Counts {
            accepted: 3,
            delivered: 2,
            waiting: 0,
            dead: 1,
        };
        assert_eq!(spool.counts(notifier), expected);
    }

    #[test]
    fn an_event_that_nobody_wants_is_safe_at_once() {
        let spool = Spool::default();
        spool.accept(event("a"), 7, &[]);
        assert_eq!((spool.safe(), spool.waiting()), (7, 0));
    }
}
