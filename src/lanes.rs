//! The deliveries of one notifier that are in memory: a lane a host, each in order and one at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::event::Event;

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
}

/// Deliveries by host.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<Rc<str>, VecDeque<Delivery>>,
    /// Lanes whose first delivery can be made now.
    ready: VecDeque<Rc<str>>,
    /// Lanes whose first delivery waits for its time.
    resting: BinaryHeap<Reverse<(Instant, Rc<str>)>>,
    length: usize,
}

impl Lanes {
    /// Takes a delivery on, behind those of its host.
    pub fn push(&mut self, delivery: Delivery) {
        self.length += 1;
        let host = delivery.event.host_name();
        if let Some(lane) = self.lanes.get_mut(host) {
            return lane.push_back(delivery);
        }
        let host: Rc<str> = Rc::from(host);
        self.lanes.insert(host.clone(), VecDeque::from([delivery]));
        self.open(host);
    }

    /// A delivery that can be made now; its lane stays closed until it is finished.
    pub fn claim(&mut self, now: Instant) -> Option<Delivery> {
        while self.next_due().is_some_and(|due| due <= now) {
            let lane = self.resting.pop().map(|entry| entry.0.1);
            self.ready.extend(lane);
        }
        let host = self.ready.pop_front()?;
        self.lanes.get_mut(&host)?.pop_front()
    }

    /// Puts a claimed delivery back at the head of its lane, to be tried again when it is due.
    pub fn put_back(&mut self, delivery: Delivery) {
        let host: Rc<str> = Rc::from(delivery.event.host_name());
        if let Some(lane) = self.lanes.get_mut(&host) {
            lane.push_front(delivery);
            self.open(host);
        }
    }

    /// A claimed delivery is done with; its lane goes on.
    pub fn finish(&mut self, delivery: &Delivery) {
        self.length -= 1;
        let host = delivery.event.host_name();
        if self.lanes.get(host).is_some_and(VecDeque::is_empty) {
            self.lanes.remove(host);
        } else {
            self.open(Rc::from(host));
        }
    }

    /// Lets no lane rest any longer.
    pub fn release(&mut self) {
        self.ready
            .extend(self.resting.drain().map(|entry| entry.0.1));
    }

    /// Lines a lane up by when its first delivery is due.
    fn open(&mut self, host: Rc<str>) {
        let first = self.lanes.get(&host).and_then(VecDeque::front);
        match first.and_then(|delivery| delivery.due) {
            Some(due) => self.resting.push(Reverse((due, host))),
            None => self.ready.push_back(host),
        }
    }

    /// When the next resting delivery is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.resting.peek().map(|entry| entry.0.0)
    }

    /// How many deliveries are held, claimed ones included.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Something can be claimed at this time.
    pub fn is_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reader::Reader;

    fn delivery(id: i64, host: &str) -> Delivery {
        let text = format!(r#"{{"event":"runner_on_ok","host":"{host}"}}"#);
        let event = Arc::new(Reader::new().read(text.as_bytes()).unwrap());
        Delivery {
            id,
            event,
            attempts: 0,
            due: None,
            accepted: jiff::Timestamp::UNIX_EPOCH,
        }
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
        assert_eq!((first.id, second.id), (1, 3));
        assert!(lanes.claim(now).is_none(), "host a has one under way");

        let later = now + Duration::from_secs(1);
        first.due = Some(later);
        lanes.put_back(first);
        lanes.finish(&second);
        assert!(lanes.claim(now).is_none());
        assert_eq!((lanes.next_due(), lanes.len()), (Some(later), 2));
        let again = lanes.claim(later).unwrap();
        assert_eq!(again.id, 1);
        lanes.finish(&again);
        let last = lanes.claim(now).unwrap();
        assert_eq!(last.id, 2);
        lanes.finish(&last);
        assert_eq!(lanes.len(), 0);
    }
}
