//! Large events: while they are pending, their large parts stay in the spool, and few are sent at once.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::delivery::lanes::Delivery;
use crate::delivery::turns::Turns;
use crate::event::Event;
use crate::failure::Failure;
use crate::spool::Spool;

/// Size in bytes above which an event is large.
const LARGE: usize = 256 << 10;
/// Time after which an attempt gives up its turn: endpoints that answer slowly do not hold up the others.
const MAX_TURN: Duration = Duration::from_secs(2);

/// Returns true if an event is so large that only its outline is kept in memory while it is pending.
pub fn is_large(event: &Event) -> bool {
    event.size() > LARGE
}

/// Strips a large event that has a place in the spool; also returns its full size, else 0.
pub fn outline(mut event: Event) -> (Arc<Event>, usize) {
    let size = event.size();
    if size <= LARGE {
        return (Arc::new(event), 0);
    }
    (event.result, event.record, event.item) = (None, None, None);
    (Arc::new(event), size)
}

impl Worker {
    /// Runs an attempt at large events when it has its turn: one at a time per notifier, and few across all
    /// notifiers.
    ///
    /// The attempt is boxed: it is large, and would be copied at each of these steps.
    pub(super) async fn in_turn<T>(
        &self,
        turns: &Turns,
        claimed: &[Delivery],
        mut attempt: Pin<Box<dyn Future<Output = T> + '_>>,
    ) -> T {
        let bytes = claimed.iter().map(|one| one.in_spool).sum();
        if bytes == 0 {
            return attempt.await;
        }
        let _own = self.large.lock().await;
        let turn = turns.under_way(bytes).await;
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
