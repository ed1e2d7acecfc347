//! Large events: while they wait, what is large in them stays in the spool, and few are under way at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::delivery::lanes::Delivery;
use crate::delivery::turns::Turns;
use crate::event::Event;
use crate::failure::Failure;
use crate::spool::Spool;

/// Bytes from which on an event is large.
const LARGE: usize = 256 << 10;
/// Time after which an attempt counts as under way no more: endpoints that answer slowly do not hold up the others.
const MAX_TURN: Duration = Duration::from_secs(2);

/// Returns whether an event is so large that only its outline is kept in memory while it waits.
pub fn is_large(event: &Event) -> bool {
    event.size() > LARGE
}

/// Drops from a delivery that has a place in the spool what is large in its event.
pub fn outline(mut event: Event) -> (Arc<Event>, usize) {
    if !is_large(&event) {
        return (Arc::new(event), 0);
    }
    let size = event.size();
    (event.result, event.record, event.item) = (None, None, None);
    (Arc::new(event), size)
}

impl Worker {
    /// Attempts what was claimed when it has its turn, where its events are large: one at a time for each notifier,
    /// and few of all notifiers.
    pub(super) async fn in_turn<T>(
        &self,
        turns: &Turns,
        claimed: &[Delivery],
        attempt: impl Future<Output = T>,
    ) -> T {
        let bytes = claimed.iter().map(|one| one.in_spool).sum();
        if bytes == 0 {
            return attempt.await;
        }
        let _own = self.large.lock().await;
        let turn = turns.under_way(bytes).await;
        let mut attempt = pin!(attempt);
        let soon = tokio::time::timeout(MAX_TURN, attempt.as_mut()).await;
        drop(turn);
        match soon {
            Ok(result) => result,
            Err(_) => attempt.await,
        }
    }

    /// Returns the event of a delivery as it was accepted.
    pub(super) async fn whole(
        &self,
        spool: &Spool,
        delivery: &Delivery,
    ) -> Result<Arc<Event>, Failure> {
        if delivery.in_spool == 0 {
            return Ok(delivery.event.clone());
        }
        let unread = || Failure::Retry {
            error: "its event cannot be read from the spool now".to_owned(),
            after: None,
        };
        let row = self.pending_row(spool, delivery.id).await;
        let body = row.ok_or_else(unread)?.body;
        let event = body.and_then(|body| self.read_event(&body));
        event
            .map(Arc::new)
            .map_err(|reason| Failure::Permanent(reason.to_owned()))
    }
}
