//! Acceptance of a stream's events: in few commits, and acknowledged to the plugin once they are safe.

use serde_json::json;
use tokio::task::JoinHandle;

use super::{BATCH_BYTES, Stream, answer};
use crate::event::Event;
use crate::spool::Urgency;

impl Stream {
    /// Starts to accept the batch, unless the previous one is being accepted: its events then wait for others.
    pub(super) async fn accept_soon(&mut self) {
        if self.accepting.is_none() {
            self.accept_by(Urgency::Soon).await;
        }
    }

    /// Starts to accept the batch once the previous one is accepted; meanwhile more input can be read.
    pub(super) async fn accept(&mut self) {
        self.accept_by(Urgency::Now).await;
    }

    async fn accept_by(&mut self, urgency: Urgency) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let is_large = std::mem::take(&mut self.batch_bytes) >= BATCH_BYTES;
        let destinations = self.destinations.clone();
        self.accept_batch(batch, destinations, urgency).await;
        if is_large {
            // Two batches of this size should not be in memory at the same time.
            self.be_accepted().await;
        }
    }

    /// Starts to accept these events for those of the destinations that want them.
    pub(super) async fn accept_batch(
        &mut self,
        batch: Vec<(u64, Event)>,
        destinations: Vec<usize>,
        urgency: Urgency,
    ) {
        let deliverer = self.deliverer.clone();
        let last = self.last_sequence;
        let accepting = async move {
            let accepting = deliverer.accept(batch, &destinations, urgency);
            (last, accepting.await)
        };
        let accepting = tokio::task::spawn_local(accepting);
        self.be_accepted().await;
        self.accepting = Some(accepting);
    }

    /// Waits until the current batch is accepted.
    pub(super) async fn be_accepted(&mut self) {
        if let Some(accepted) = accepted(&mut self.accepting).await {
            self.note_accepted(accepted);
        }
    }

    /// Tells the plugin which events it no longer needs to keep.
    pub(super) fn note_accepted(&mut self, (last, wanted): (u64, u64)) {
        self.accepting = None;
        self.accepted = last;
        self.events += wanted;
        self.answer_safe();
    }

    /// Tells the plugin up to which event everything is safe.
    pub(super) fn answer_safe(&mut self) {
        let safe = self.deliverer.safe(self.accepted);
        if safe > self.answered {
            self.answered = safe;
            answer(&json!({"safe": safe}));
        }
    }
}

/// Returns the result of the batch being accepted; None if there is none.
pub(super) async fn accepted(accepting: &mut Option<JoinHandle<(u64, u64)>>) -> Option<(u64, u64)> {
    accepting.as_mut()?.await.ok()
}
