//! How many deliveries of a destination are where, as one process sees it.

use std::collections::HashSet;

/// What this process accepted for a destination, and what became of it.
#[derive(Default)]
pub struct Own {
    pub counts: Counts,
    pub open: HashSet<i64>,
    pub last_error: Option<String>,
}

/// How many deliveries are where. accepted = delivered + waiting + dead, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: usize,
    pub waiting: usize,
    pub dead: usize,
}

impl Counts {
    /// One more that was delivered, or is dead.
    pub fn and(mut self, delivered: bool) -> Counts {
        self.delivered += usize::from(delivered);
        self.dead += usize::from(!delivered);
        self
    }
}
