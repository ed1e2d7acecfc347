//! End of `send` and `stream`: waits for the last deliveries and prints the summary.

use std::path::Path;
use std::rc::Rc;

use crate::console::progress;
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::destination::variable;
use crate::delivery::tally::Counts;
use crate::delivery::worker::WorkerHandle;
use crate::exit::Exit;
use crate::notifier::PASSING_ON;

/// State of a destination, for the summary.
pub struct DestinationSummary {
    pub name: String,
    pub counts: Counts,
    pub last_error: Option<String>,
    /// True if it passes events on to a relay.
    pub passes_on: bool,
    /// Environment variables required to deliver the pending events later.
    pub needs: Vec<String>,
}

impl Deliverer {
    /// Awaits `drained`, lets attempts in progress be recorded, and prints the summary if `events` is given.
    pub async fn close(&self, drained: impl Future<Output = ()>, events: Option<u64>) -> Exit {
        self.find_released().await;
        drained.await;
        self.find_released().await;
        // It was reported where it failed.
        let _ = self.stop().await;
        progress::hide();
        let standings = self.standings();
        if let Some(events) = events {
            let lost = self.spool().vanishing_folder();
            let lost = lost.and_then(|folder| lost_in(folder, &standings));
            stderr::say(summary(events, &standings) + &lost.unwrap_or_default());
        }
        if self.report_lost() {
            return Exit::Io;
        }
        exit_of(&standings)
    }

    /// Looks up what other processes released meanwhile.
    async fn find_released(&self) {
        let workers = self.workers.borrow().clone();
        for worker in workers {
            worker.find_released(self.spool()).await;
        }
    }

    /// Returns the counts and the last error of each destination.
    pub fn standings(&self) -> Vec<DestinationSummary> {
        let workers = self.workers.borrow();
        let standing = |worker: &Rc<WorkerHandle>| {
            let own = worker.own.borrow();
            let counts = Counts {
                waiting: own.waiting(),
                ..own.counts
            };
            DestinationSummary {
                name: worker.destination.name.clone(),
                counts: match worker.destination.notifier.is_answered() {
                    true => counts,
                    false => counts.unanswered(),
                },
                passes_on: PASSING_ON.contains(&worker.destination.kind.name),
                // Without an attempt there is no answer to wait for.
                last_error: own.last_error.clone().or_else(|| {
                    let tried = !self.shared.accepts_only.get();
                    tried.then(|| "no answer yet".to_owned())
                }),
                needs: worker.destination.needs().map(variable).collect(),
            }
        };
        workers.iter().map(standing).collect()
    }
}

/// Returns the exit status for the outcome.
fn exit_of(standings: &[DestinationSummary]) -> Exit {
    if standings.iter().any(|standing| standing.counts.dropped > 0) {
        Exit::Io
    } else if standings.iter().any(|standing| standing.counts.dead > 0) {
        Exit::Refused
    } else if standings.iter().any(|standing| standing.counts.waiting > 0) {
        Exit::Undelivered
    } else {
        Exit::Ok
    }
}

/// Returns the end of the summary if a relay did not take everything, and the spool vanishes with its directory.
fn lost_in(folder: &Path, standings: &[DestinationSummary]) -> Option<String> {
    let relays = standings.iter().filter(|standing| standing.passes_on);
    let waiting: usize = relays.map(|standing| standing.counts.waiting).sum();
    let events = if waiting == 1 { "event" } else { "events" };
    let text = format!(
        "; the relay did not take {waiting} {events}, lost unless {} is kept",
        folder.display()
    );
    (waiting > 0).then_some(text)
}

/// Returns a one-line summary: how many events, where their deliveries are, and why some are not delivered.
fn summary(events: u64, standings: &[DestinationSummary]) -> String {
    let all = standings.iter().map(|standing| standing.counts);
    let all = all.fold(Counts::default(), Counts::plus);
    let plural = if events == 1 { "" } else { "s" };
    let waits = standings
        .iter()
        .filter(|standing| standing.counts.waiting > 0);
    let needs: Vec<Vec<String>> = waits.map(|standing| standing.needs.clone()).collect();
    let differ = needs.iter().any(Vec::is_empty);
    let mut text = format!("{events} event{plural}, {}", all.told(&needs));
    let reasons: Vec<String> = standings
        .iter()
        .filter(|standing| {
            standing.counts.waiting + standing.counts.dead + standing.counts.dropped > 0
        })
        .filter_map(|standing| {
            let reason = standing.last_error.as_deref()?;
            let needs = standing.needs.join(", ");
            let needs = match differ && standing.counts.waiting > 0 && !needs.is_empty() {
                true => format!("; `flush` needs {needs}"),
                false => String::new(),
            };
            Some(format!("{}: {reason}{needs}", standing.name))
        })
        .collect();
    if !reasons.is_empty() {
        text.push_str(&format!(" ({})", reasons.join("; ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_is_where_and_why() {
        let counts = Counts {
            delivered: 1,
            waiting: 2,
            dead: 1,
            dropped: 0,
            ..Counts::default()
        };
        let standings = [
            DestinationSummary {
                name: "callback".into(),
                counts,
                last_error: Some("503 Service Unavailable".into()),
                passes_on: true,
                needs: Vec::new(),
            },
            DestinationSummary {
                name: "ops".into(),
                counts: Counts::default(),
                last_error: Some("old".into()),
                passes_on: false,
                needs: Vec::new(),
            },
        ];
        let expected = "4 events, 4 deliveries: 1 delivered, 1 dead, 2 pending until the next run, `flush` or the timer (callback: 503 Service Unavailable)";
        assert_eq!(summary(4, &standings), expected);
        assert_eq!(exit_of(&standings), Exit::Refused);
        let lost = "; the relay did not take 2 events, lost unless /tmp/spool is kept";
        assert_eq!(
            lost_in(Path::new("/tmp/spool"), &standings).as_deref(),
            Some(lost)
        );
        assert_eq!(lost_in(Path::new("/tmp/spool"), &standings[1..]), None);
    }
}
