//! Number of deliveries that are made as one, which follows how many the receiver takes.

use super::Lanes;

/// Number of deliveries of a batch below which it is not made smaller: those that are refused for now must not keep
/// all others waiting.
const FEWEST: usize = 16;

impl Lanes {
    /// Halves the number of deliveries that are made as one: of this many, some were refused for now.
    pub fn shrink(&mut self, size: usize) {
        self.batch = (size / 2).max(FEWEST);
    }

    /// Allows more deliveries to be made as one, after some were that all arrived.
    pub fn grow(&mut self) {
        let step = (self.grouping.most / 10).max(1);
        self.batch = self.batch.saturating_add(step);
    }
}
