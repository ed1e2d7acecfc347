//! Large events: while they are pending, their large parts stay in the spool, and few are sent at once.

use std::sync::Arc;

use crate::delivery::destination::Destination;
use crate::delivery::lanes::Delivery;
use crate::event::Event;
use crate::event::stored::EventCodec;
use crate::failure::Failure;
use crate::spool::{DestinationId, Spool};

/// Size in bytes above which an event is large.
const LARGE: usize = 256 << 10;

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

/// Returns the event of a delivery as it was accepted.
pub async fn whole(
    spool: &Spool,
    (id, destination): (DestinationId, &Destination),
    delivery: &Delivery,
) -> Result<Arc<Event>, Failure> {
    if delivery.in_spool == 0 {
        return Ok(delivery.event.clone());
    }
    let unread = || Failure::Retry {
        error: "its event cannot be read from the spool now".to_owned(),
        after: None,
    };
    let row = spool.still_pending(id, delivery.id).await;
    let body = row.ok().flatten().ok_or_else(unread)?.body;
    let event = body.and_then(|body| read_event(&mut destination.codec(), &body));
    let (held, held_back) = (delivery.event.held, delivery.event.held_back);
    let told = |event| Event {
        held,
        held_back,
        ..event
    };
    event
        .map(|event| Arc::new(told(event)))
        .map_err(|reason| Failure::Permanent(reason.to_owned()))
}

/// Returns the event of a body in the spool.
pub fn read_event(codec: &mut EventCodec, body: &str) -> Result<Event, &'static str> {
    let read = codec.read(body);
    read.map_err(|_| "the event in the spool cannot be read")
}
