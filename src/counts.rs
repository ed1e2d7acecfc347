//! How many deliveries of a destination are where, as one process sees it.

use std::collections::HashSet;

use crate::spool;

/// What this process accepted for a destination, and what became of it.
#[derive(Default)]
pub struct Own {
    pub counts: Counts,
    pub open: HashSet<i64>,
    pub last_error: Option<String>,
}

/// How many deliveries are where. accepted = delivered + waiting + dead + dropped, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: usize,
    pub waiting: usize,
    pub dead: usize,
    /// Given up to make room, or by a person.
    pub dropped: usize,
}

impl Counts {
    /// One more that has come to this state of the spool.
    pub fn and(mut self, state: i64) -> Counts {
        match state {
            spool::DELIVERED => self.delivered += 1,
            spool::DISCARDED => self.dropped += 1,
            _ => self.dead += 1,
        }
        self
    }
}
