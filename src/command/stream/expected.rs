//! Runs that notifiers expect: this run may meet expectations.

use std::sync::Arc;

use super::Stream;
use crate::delivery::destination::Destination;
use crate::event::callback::Callback;
use crate::event::{Event, Run, Status};
use crate::route::expected::Expected;
use crate::spool::{DestinationKey, Ran};
use crate::system::clock;

/// Expectations of the configuration, and the runs of playbooks that may have met them.
#[derive(Default)]
pub(super) struct Expectations {
    pub known: Vec<(String, Expected)>,
    /// Playbooks of this run that have started, in order.
    begun: Vec<Arc<Run>>,
}

impl Stream {
    /// Stores a notifier's expectations, so that `flush` can notice missing runs.
    pub(super) async fn expect(&mut self, destination: &Destination, key: &DestinationKey) {
        let Some((source, expected)) = destination.expectations() else {
            return;
        };
        let known = destination.rules.expected.iter().cloned();
        self.expectations
            .known
            .extend(known.map(|one| (source.clone(), one)));
        // Without a spool, nothing checks for missing runs.
        let spool = self.deliverer.spool();
        if let Ok(id) = spool.destination(key.clone()).await {
            let now = clock::now().as_millisecond();
            let _ = spool.expect(source, id, expected, now).await;
        }
    }

    /// Records the start of a playbook, if any are expected.
    pub(super) async fn note_begun(&mut self, event: &Event) {
        if event.event != Callback::PlaybookOnStart || self.expectations.known.is_empty() {
            return;
        }
        self.expectations.begun.push(event.run.clone());
        self.store_met(&event.run, Ran::Started).await;
    }

    /// Records the end of the run: each playbook before the last one succeeded.
    pub(super) async fn note_success(&mut self, status: Status) {
        let mut begun = std::mem::take(&mut self.expectations.begun);
        if begun.is_empty() && self.progress.resumed {
            begun.push(self.run.clone());
        }
        if status != Status::Success {
            begun.pop();
        }
        for run in begun {
            self.store_met(&run, Ran::Succeeded).await;
        }
    }

    async fn store_met(&self, run: &Run, ran: Ran) {
        let known = self.expectations.known.iter();
        let counts = |successful| successful == (ran == Ran::Succeeded);
        let met = known.filter(|(_, one)| one.is_met_by(run) && counts(one.successful));
        let met: Vec<_> = met
            .map(|(source, one)| (source.clone(), one.playbook.clone()))
            .collect();
        if !met.is_empty() {
            let text = serde_json::to_string(run).unwrap_or_default();
            let now = clock::now().as_millisecond();
            let _ = self.deliverer.spool().ran(met, text, ran, now).await;
        }
    }
}
