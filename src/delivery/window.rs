//! Deliveries of one notifier that are in memory, of all that wait in the spool.

#[cfg(test)]
mod simulation;

use std::time::Instant;

use crate::delivery::lanes::{Delivery, Lanes};
use crate::spool::Room;

/// The first deliveries that wait, in their lanes, and what is known of the others.
#[derive(Debug)]
pub struct Window {
    pub lanes: Lanes,
    /// The highest delivery that was taken into memory.
    loaded: i64,
    /// Nothing beyond it waits in the spool, as far as is known.
    complete: bool,
    /// Another process may have put something in since.
    unsure: bool,
}

impl Window {
    pub fn new(lanes: Lanes) -> Window {
        Window {
            lanes,
            loaded: 0,
            complete: false,
            unsure: false,
        }
    }

    pub fn loaded(&self) -> i64 {
        self.loaded
    }

    /// Room for what is to be read, where it is worth a look into the spool.
    pub fn room(&self) -> Option<Room> {
        let has_room = self.lanes.has_much_room();
        has_room.then(|| self.lanes.room())
    }

    /// First number to be read from the spool for lanes that were set aside and can go on.
    pub fn needs_back(&self, now: Instant) -> Option<i64> {
        self.room().and_then(|_| self.lanes.needed(now))
    }

    /// Number after which the spool is to be read for what comes next.
    pub fn needs_more(&self) -> Option<i64> {
        let needed = !self.complete || self.unsure;
        (needed && self.room().is_some()).then_some(self.loaded)
    }

    /// Notes that what comes next was read; `complete` if that was all.
    pub fn read_more(&mut self, complete: bool) {
        (self.complete, self.unsure) = (complete, false);
    }

    /// Takes in a row of what comes next; without a delivery where it cannot be read.
    pub fn take_next(&mut self, number: i64, delivery: Option<Delivery>, now: Instant) {
        if let Some(delivery) = delivery {
            self.lanes.push(delivery, now);
        }
        self.loaded = number;
    }

    /// Takes in what was read for lanes that were set aside: all that waited from `first` to `last`.
    pub fn take_back(
        &mut self,
        deliveries: Vec<Delivery>,
        (first, last): (i64, i64),
        now: Instant,
    ) {
        // What was accepted since was left to the spool.
        let complete = last >= self.loaded;
        self.lanes
            .take_back(deliveries, (first, last), complete, now);
    }

    /// Takes in what was just accepted, if all that comes before it is here and it finds room. `previous` is
    /// the highest number that waited before it.
    pub fn take_new(&mut self, delivery: Delivery, previous: Option<i64>, now: Instant) {
        if delivery.id <= self.loaded {
            return;
        }
        let is_next = previous.is_some_and(|previous| previous <= self.loaded);
        if self.complete && is_next && self.lanes.room().is_some_left() {
            self.take_next(delivery.id, Some(delivery), now);
        } else {
            self.complete = false;
        }
    }

    /// Notes that a delivery was accepted that is not here.
    pub fn is_incomplete(&mut self) {
        self.complete = false;
    }

    /// Looks for what other processes put in, and lets what waits behind failures go back to the spool, where
    /// more waits there and nothing is ready here.
    pub fn look_again(&mut self, now: Instant) {
        // What could not be looked for since the last time found no room.
        let may_be_more = !self.complete || self.unsure;
        self.unsure = true;
        if may_be_more && !self.lanes.has_much_room() && !self.lanes.is_ready(now) {
            self.lanes.set_aside();
        }
    }

    /// Tells whether a delivery can be made until this time, or one read that may be.
    pub fn can_go_on(&self, until: Instant) -> bool {
        let reads = !self.complete && self.room().is_some() || self.needs_back(until).is_some();
        self.lanes.is_ready(until) || reads
    }
}
