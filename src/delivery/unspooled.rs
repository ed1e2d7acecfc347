//! Events without a place in the spool: kept in memory only, but delivered all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::shared::Unwritten;
use crate::event::Event;
use crate::spool::DestinationId;
use crate::spool::{NewEvent, Urgency};

/// Events written to the spool at a time.
const PART: usize = 100;

impl Deliverer {
    /// Returns true if these events contain the end of a run that another process would deliver before
    /// events held only in memory.
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

    /// Keeps events that the spool does not take: they are delivered all the same, as long as the process
    /// lives.
    pub(super) fn keep_in_memory(&self, held: &[(u64, Arc<Event>)], wanted: &[Vec<DestinationId>]) {
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
                    worker.accept_unspooled(id, event);
                }
            }
        }
    }

    /// Reports how many deliveries are lost with the process because they could not be written; returns
    /// true if any are.
    pub fn report_lost(&self) -> bool {
        if self.dropped.get() > 0 {
            stderr::say(format!(
                "the spool was full: dropped the {} oldest pending deliveries to make room",
                self.dropped.get()
            ));
        }
        let lost = self.shared.unspooled.borrow().open.len();
        if lost > 0 {
            stderr::say(format!(
                "{lost} of the pending deliveries were in memory only and are lost"
            ));
        }
        lost > 0
    }

    /// Returns the position in the stream up to which every event is on disk or delivered, at most `last`.
    pub fn safe(&self, last: u64) -> u64 {
        let unspooled = self.shared.unspooled.borrow();
        let first = unspooled
            .open
            .values()
            .map(|unwritten| unwritten.sequence)
            .min();
        first.map_or(last, |first| first - 1)
    }

    /// Waits until no event is in memory only, at most `limit`.
    pub async fn drain_unspooled(&self, limit: Duration) {
        let emptied = async {
            while !self.shared.unspooled.borrow().open.is_empty() {
                self.progress().await;
            }
        };
        // The rest is written to the spool, or reported as lost.
        let _ = tokio::time::timeout(limit, emptied).await;
    }

    /// Retries spooling the events held in memory, as far as there is space: in parts, so that they fill the spool no
    /// further than others do.
    pub(super) async fn write_unspooled(&self) {
        let mut open = std::mem::take(&mut self.shared.unspooled.borrow_mut().open);
        let homes = self.find_places().await;
        while !open.is_empty() {
            let (rows, last) = self.first_rows(&open, &homes);
            if self.write_events(rows, Urgency::Now).await.is_err() {
                break;
            }
            open.retain(|id, _| *id < last);
        }
        self.shared.unspooled.borrow_mut().open.extend(open);
    }

    /// Returns the first of these events in the form the spool takes, and the number of the last delivery among them.
    fn first_rows(
        &self,
        open: &BTreeMap<i64, Unwritten>,
        homes: &BTreeMap<DestinationId, DestinationId>,
    ) -> (Vec<NewEvent>, i64) {
        let mut rows: Vec<NewEvent> = Vec::new();
        let mut last = 0;
        // Their numbers count down.
        for (id, unwritten) in open.iter().rev() {
            let destination = unwritten.destination;
            let home = homes.get(&destination).copied().unwrap_or(destination);
            let is_full = rows.len() == PART;
            match rows.last_mut() {
                Some(row) if row.event_id == unwritten.event.id => row.destinations.push(home),
                _ if is_full => break,
                _ => rows.push(self.new_event(&unwritten.event, vec![home], Vec::new())),
            }
            last = *id;
        }
        (rows, last)
    }

    /// Registers destinations that the spool did not take earlier; returns their new numbers by the old.
    pub(super) async fn find_places(&self) -> BTreeMap<DestinationId, DestinationId> {
        let destinations = self.shared.unspooled.borrow().destinations.clone();
        let mut homes = BTreeMap::new();
        for (id, key) in destinations {
            let home = self.spool().destination(key).await;
            homes.extend(home.ok().map(|home| (id, home)));
        }
        homes
    }
}
