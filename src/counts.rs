//! How many deliveries of a destination are where, as one process sees it.

use roaring::RoaringTreemap;

use crate::spool;

/// What this process accepted for a destination, and what became of it.
#[derive(Default)]
pub struct Own {
    pub counts: Counts,
    open: RoaringTreemap,
    pub last_error: Option<String>,
}

impl Own {
    /// A delivery is accepted, and waits.
    pub fn add(&mut self, delivery: i64) {
        self.open.insert(delivery.cast_unsigned());
    }

    /// A delivery has come to this state of the spool: whether it was one of these that waited.
    pub fn finish(&mut self, delivery: i64, state: i64) -> bool {
        let waited = self.open.remove(delivery.cast_unsigned());
        if waited {
            self.counts = self.counts.and(state);
        }
        waited
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.open.len()).unwrap_or(usize::MAX)
    }

    /// Those that wait.
    pub fn open(&self) -> Vec<i64> {
        self.open.iter().map(u64::cast_signed).collect()
    }
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
