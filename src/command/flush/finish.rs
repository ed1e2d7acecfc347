//! End of `flush`: the summary and the exit code.

use super::Flush;
use crate::console::progress;
use crate::console::stderr;
use crate::delivery::destination::variable;
use crate::delivery::tally::Counts;
use crate::exit::Exit;
use crate::spool::DestinationStatus;

impl Flush<'_> {
    /// Ends the deliveries, prints the summary, and returns the exit code.
    pub(super) async fn finish(&self) -> anyhow::Result<Exit> {
        let recorded = self.deliverer.stop().await;
        progress::hide();
        recorded?;
        let done = self.deliverer.done();
        let mut left = self.status().await?;
        left.retain(|status| self.is_chosen(status));
        let skipped = left.iter().map(|status| self.skipped(status)).sum::<i64>();
        left.retain(|status| !self.unclaimed.contains(status.id));
        let counts = Counts {
            skipped: usize::try_from(skipped).unwrap_or(0),
            ..done.with_pending(&left)
        };
        let owed = left.iter().filter(|status| status.owed() > 0);
        let needed: Vec<Vec<String>> = owed
            .map(|status| status.needs.iter().map(|key| variable(key)).collect())
            .collect();
        let mut text = counts.told(&needed);
        let reasons: Vec<String> = left
            .iter()
            .filter(|status| status.owed() > 0 || done.dead > 0 && status.dead > 0)
            .filter_map(|status| Some(format!("{}: {}", status.name, self.reason(status)?)))
            .collect();
        if !reasons.is_empty() {
            text.push_str(&format!(" ({})", reasons.join("; ")));
        }
        stderr::say(text);
        let is_late = counts.waiting > 0;
        Ok(match (self.exit, done.dead, is_late) {
            (Exit::Ok, 0, false) => Exit::Ok,
            (Exit::Ok, 0, true) => Exit::Undelivered,
            (Exit::Ok, _, _) => Exit::Refused,
            (exit, _, _) => exit,
        })
    }

    /// Returns how many deliveries of a destination were skipped: those that no notifier claims, and dead ones
    /// that could not be revived.
    fn skipped(&self, status: &DestinationStatus) -> i64 {
        let dead = self.revivable.get(&status.id).unwrap_or(&0);
        match self.unclaimed.contains(status.id) {
            true => status.waiting + dead,
            false => *dead,
        }
    }

    /// Returns why deliveries are still pending for a destination.
    fn reason(&self, status: &DestinationStatus) -> Option<String> {
        if self.deliverer.delivers_elsewhere(status.id) {
            let leader = self.spool.leader(status.id);
            return Some(leader.filter(|leader| leader.is_stopped).map_or_else(
                || "another process delivers them and was asked to retry now".to_owned(),
                |leader| format!("{leader} is responsible for delivering them"),
            ));
        }
        status.last_error.clone()
    }
}
