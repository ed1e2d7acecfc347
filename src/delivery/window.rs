//! Window of a notifier's deliveries that is in memory, out of all that are pending in the spool.

#[cfg(test)]
mod simulation;

use std::time::Instant;

use crate::delivery::lanes::{Delivery, Lanes};
use crate::spool::Room;

/// The first pending deliveries, in their lanes, and the known state of the others.
#[derive(Debug)]
pub struct Window {
    pub lanes: Lanes,
    /// Highest number loaded into memory.
    loaded: i64,
    /// True if nothing beyond it is pending in the spool, as far as is known.
    complete: bool,
    /// True if another process may have added something since.
    unsure: bool,
}

impl Window {
    /// Creates a window in which nothing has been loaded.
    pub fn new(lanes: Lanes) -> Window {
        Window {
            lanes,
            loaded: 0,
            complete: false,
            unsure: false,
        }
    }

    /// Returns the number of the last delivery that was loaded; reading goes on after it.
    pub fn loaded(&self) -> i64 {
        self.loaded
    }

    /// Returns the room for reading, if there is enough to make it worthwhile.
    pub fn room(&self) -> Option<Room> {
        let has_room = self.lanes.has_much_room();
        has_room.then(|| self.lanes.room())
    }

    /// Returns the first number to read from the spool for evicted lanes that can proceed.
    pub fn needs_back(&self, now: Instant) -> Option<i64> {
        self.room().and_then(|_| self.lanes.needed(now))
    }

    /// Returns the number after which the spool is to be read for the next deliveries.
    pub fn needs_more(&self) -> Option<i64> {
        let needed = !self.complete || self.unsure;
        (needed && self.room().is_some()).then_some(self.loaded)
    }

    /// Records that the next deliveries were read; `complete` if those were all.
    pub fn record_read(&mut self, complete: bool) {
        (self.complete, self.unsure) = (complete, false);
    }

    /// Adds the next row; `delivery` is None if it could not be read.
    pub fn push_next(&mut self, number: i64, delivery: Option<Delivery>, now: Instant) {
        if let Some(delivery) = delivery {
            self.lanes.push(delivery, now);
        }
        self.loaded = number;
    }

    /// Adds the deliveries read for evicted lanes: everything pending from `first` to `last`.
    pub fn reload(&mut self, deliveries: Vec<Delivery>, (first, last): (i64, i64), now: Instant) {
        // Anything accepted since was left to the spool.
        let rest = (last < self.loaded).then_some(last + 1);
        self.lanes.reload(deliveries, (first, last), rest, now);
    }

    /// Adds a newly accepted delivery, if everything before it is here and there is room. `previous` is the
    /// highest number pending before it.
    pub fn push_new(&mut self, delivery: Delivery, previous: Option<i64>, now: Instant) {
        if delivery.id <= self.loaded {
            return;
        }
        let is_next = previous.is_some_and(|previous| previous <= self.loaded);
        if self.complete && is_next && self.lanes.room().is_some_left() {
            self.push_next(delivery.id, Some(delivery), now);
        } else {
            self.complete = false;
        }
    }

    /// Records that a delivery was accepted that is not here.
    pub fn is_incomplete(&mut self) {
        self.complete = false;
    }

    /// Looks for deliveries added by other processes. Evicts deliveries behind failures to the spool if
    /// more is pending there and nothing is ready here.
    pub fn poll_again(&mut self, now: Instant) {
        // If nothing was read since the last time, there was no room.
        let may_be_more = !self.complete || self.unsure;
        self.unsure = true;
        if may_be_more && !self.lanes.has_much_room() && !self.lanes.is_ready(now) {
            self.lanes.evict();
        }
    }

    /// Returns true if something else can only be sent once these deliveries are finished.
    pub fn waits_for(&self, claimed: &[Delivery]) -> bool {
        !self.complete || self.lanes.wait_for(claimed)
    }

    /// Returns true if a delivery can be made by this time, or one can be read that may be.
    pub fn can_go_on(&self, until: Instant) -> bool {
        let reads = !self.complete && self.room().is_some() || self.needs_back(until).is_some();
        self.lanes.is_ready(until) || reads
    }
}
