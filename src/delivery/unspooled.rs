//! Events that have no place in the spool: in memory only, and delivered all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::shared::Unwritten;
use crate::event::Event;
use crate::spool::{self, NewEvent};

impl Deliverer {
    /// Tells whether the end of a run is among these events, which another process would deliver before those in
    /// memory only.
    pub(super) fn would_overtake(&self, events: &[(u64, Arc<Event>)]) -> bool {
        let ends = events.iter().filter(|(_, event)| event.end.is_some());
        let ended: Vec<&str> = ends.map(|(_, event)| event.run.id.as_str()).collect();
        let unspooled = self.shared.unspooled.borrow();
        let mut open = unspooled.open.values();
        !ended.is_empty()
            && open.any(|open| {
                let run = open.event.run.id.as_str();
                ended.contains(&run) && self.delivers_elsewhere(open.destination)
            })
    }

    /// The spool does not take them: they are delivered all the same, as long as the process lives.
    pub(super) fn keep_in_memory(&self, held: &[(u64, Arc<Event>)], wanted: &[Vec<i64>]) {
        let mut unspooled = self.shared.unspooled.borrow_mut();
        for ((sequence, event), destinations) in held.iter().zip(wanted) {
            for destination in destinations {
                unspooled.last -= 1;
                let id = unspooled.last;
                let unwritten = Unwritten {
                    sequence: *sequence,
                    event: event.clone(),
                    destination: *destination,
                };
                unspooled.open.insert(id, unwritten);
                if let Some(worker) = self.worker(*destination) {
                    worker.take_unspooled(id, event);
                }
            }
        }
    }

    /// Says how many deliveries end with the process, because they could not be written. Whether any do.
    pub fn report_lost(&self) -> bool {
        if self.dropped.get() > 0 {
            stderr::say(format!(
                "the spool was full: {} deliveries that had waited longest were dropped for new ones",
                self.dropped.get()
            ));
        }
        let lost = self.shared.unspooled.borrow().open.len();
        if lost > 0 {
            stderr::say(format!(
                "{lost} of those that wait were in memory only, and are lost"
            ));
        }
        lost > 0
    }

    /// Whether every event up to this place in the stream is on disk or delivered; else the last that is.
    pub fn safe(&self, last: u64) -> u64 {
        let unspooled = self.shared.unspooled.borrow();
        let first = unspooled
            .open
            .values()
            .map(|unwritten| unwritten.sequence)
            .min();
        first.map_or(last, |first| first - 1)
    }

    /// Waits until nothing is in memory only any more, at most `limit`.
    pub async fn drain_unspooled(&self, limit: Duration) {
        let emptied = async {
            while !self.shared.unspooled.borrow().open.is_empty() {
                self.progress().await;
            }
        };
        // What is left is written to the spool, or lost and said to be.
        let _ = tokio::time::timeout(limit, emptied).await;
    }

    /// Writes what is in memory only to the spool after all, if it takes it now.
    pub(super) async fn write_unspooled(&self) {
        let open = std::mem::take(&mut self.shared.unspooled.borrow_mut().open);
        let homes = self.find_places().await;
        let mut rows: Vec<NewEvent> = Vec::new();
        // Their numbers go downwards.
        for unwritten in open.values().rev() {
            let destination = unwritten.destination;
            let home = homes.get(&destination).copied().unwrap_or(destination);
            match rows.last_mut() {
                Some(row) if row.event_id == unwritten.event.id => row.destinations.push(home),
                _ => rows.push(self.new_event(&unwritten.event, vec![home])),
            }
        }
        if !rows.is_empty() && self.write_events(rows).await.is_err() {
            self.shared.unspooled.borrow_mut().open = open;
        }
    }

    /// The numbers in the spool of destinations for which it had no place before.
    pub(super) async fn find_places(&self) -> BTreeMap<i64, i64> {
        let destinations = self.shared.unspooled.borrow().destinations.clone();
        let mut homes = BTreeMap::new();
        for (id, key) in destinations {
            let home = self
                .spool()
                .write(move |connection| spool::destination(connection, &key))
                .await;
            homes.extend(home.ok().map(|home| (id, home)));
        }
        homes
    }
}
