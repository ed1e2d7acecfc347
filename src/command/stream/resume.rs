//! Continuation of a run whose first process died.

use super::Stream;
use crate::event::from_seconds;
use crate::event::run_summary::{CustomStats, RunSummary};
use crate::protocol::Resumed;

impl Stream {
    /// Resumes the run of a process that died.
    pub(super) fn resume(&mut self, before: Resumed) {
        (self.last_sequence, self.accepted) = (before.after, before.after);
        self.answered = before.after;
        let began = from_seconds(before.began);
        self.alerts.resume(before.after, before.began);
        self.vars.resume(before.vars);
        let custom = CustomStats {
            custom_stats: before.custom_stats,
            custom_stats_per_host: before.custom_stats_per_host,
        };
        self.progress = RunSummary::resume(&self.run, began, before.stats, custom);
    }
}
