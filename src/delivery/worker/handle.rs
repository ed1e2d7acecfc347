//! Handle of a worker, through which the rest of the process uses it.
//!
//! A worker's state belongs to its loop alone. Others send it requests, which it reads in order at the start of
//! each turn, and read the few values here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::large;
use crate::delivery::destination::Destination;
use crate::delivery::lanes::{WINDOW, WINDOW_BYTES};
use crate::delivery::tally::{Counts, Tally};
use crate::event::Event;
use crate::spool::{self, Accepted, DeliveryState, DestinationId};

/// Error shown for an event that was given up earlier.
const BEFORE: &str = "given up earlier; `history` shows why, `flush --dead` retries it";

/// Request to a worker.
pub enum Request {
    /// Delivers an accepted event. Without `event`, the worker reads it from the spool.
    Deliver {
        id: i64,
        /// Highest number pending before it.
        previous: Option<i64>,
        event: Option<Arc<Event>>,
    },
    /// Delivers an event that is in memory only; its number is negative.
    DeliverUnspooled { id: i64, event: Arc<Event> },
    /// Stops gathering groups.
    GatherNoMore,
    /// Stops gathering, and no longer waits for deliveries that can only succeed later.
    Hurry,
    /// Ends the worker once its attempts under way are finished.
    Retire,
    /// Records the marks that the spool did not take earlier.
    CatchUp(oneshot::Sender<Result<(), spool::Error>>),
}

/// Requests that a worker has not read.
#[derive(Default)]
struct Inbox {
    requests: VecDeque<Request>,
    /// Size in bytes of the contained events that are also in the spool.
    bytes: usize,
}

/// One destination, as seen from outside its worker.
pub struct WorkerHandle {
    /// Number in the spool.
    pub id: DestinationId,
    pub destination: Rc<Destination>,
    /// Deliveries that this process accepted, and their outcome.
    pub own: RefCell<Tally>,
    /// Deliveries that this worker finished, whichever process accepted them.
    pub done: Cell<Counts>,
    /// Number of attempts that have started and are not recorded.
    pub under_way: Cell<usize>,
    /// Number of marks that are not in the spool, those being written included.
    pub(super) unrecorded: Cell<usize>,
    /// True if this process delivers.
    pub(super) leads: Cell<bool>,
    /// False if nothing is being delivered or could be now; true until the worker has checked.
    pub(super) busy: Cell<bool>,
    hurried: Cell<bool>,
    inbox: RefCell<Inbox>,
    /// Notified when there is a request.
    pub(super) wake: Notify,
}

impl WorkerHandle {
    /// Creates the handle of a destination, which the spool knows by `id`.
    pub(super) fn new(destination: Rc<Destination>, id: DestinationId) -> WorkerHandle {
        let trouble = destination.trouble.as_ref();
        let mut own = Tally::default();
        own.last_error = trouble.map(|trouble| trouble.in_short().to_owned());
        WorkerHandle {
            id,
            destination,
            own: RefCell::new(own),
            done: Cell::default(),
            under_way: Cell::new(0),
            unrecorded: Cell::new(0),
            leads: Cell::new(false),
            busy: Cell::new(true),
            hurried: Cell::new(false),
            inbox: RefCell::default(),
            wake: Notify::new(),
        }
    }

    fn send(&self, request: Request) {
        self.inbox.borrow_mut().requests.push_back(request);
        self.busy.set(true);
        self.wake.notify_one();
    }

    /// Removes the first request.
    pub(super) fn next_request(&self) -> Option<Request> {
        let inbox = &mut *self.inbox.borrow_mut();
        let request = inbox.requests.pop_front();
        if let Some(Request::Deliver { event, .. }) = &request {
            inbox.bytes -= event.as_ref().map_or(0, |event| event.size());
        }
        request
    }

    /// Returns true if there are requests.
    pub(super) fn has_requests(&self) -> bool {
        !self.inbox.borrow().requests.is_empty()
    }

    /// Takes an event that was accepted for this destination.
    pub fn accept(&self, accepted: &Accepted, event: &Arc<Event>) {
        let mut own = self.own.borrow_mut();
        match accepted.state {
            DeliveryState::Pending => own.add(accepted.delivery),
            DeliveryState::Held => own.hold(accepted.row, accepted.hold),
            DeliveryState::Delivered | DeliveryState::Suppressed => {
                own.counts = own.counts.and(accepted.state)
            }
            // A delivery that a user discarded is not lost: it does not count as dropped.
            DeliveryState::Dead | DeliveryState::Discarded => {
                own.counts = own.counts.and(DeliveryState::Dead);
                own.last_error = Some(BEFORE.to_owned());
            }
        }
        if accepted.state == DeliveryState::Pending {
            let event = match accepted.held_back {
                0 => event,
                held_back => &Arc::new(Event {
                    held_back,
                    ..(**event).clone()
                }),
            };
            self.send(Request::Deliver {
                id: accepted.delivery,
                previous: accepted.previous,
                event: self.held(event),
            });
        }
    }

    /// Returns an event if it may wait here; the others wait in the spool.
    fn held(&self, event: &Arc<Event>) -> Option<Arc<Event>> {
        if !self.leads.get() || large::is_large(event) {
            return None;
        }
        let inbox = &mut *self.inbox.borrow_mut();
        if inbox.requests.len() >= WINDOW || inbox.bytes >= WINDOW_BYTES {
            return None;
        }
        inbox.bytes += event.size();
        Some(event.clone())
    }

    /// Takes a delivery that exists in memory only; its id is negative.
    pub fn accept_unspooled(&self, id: i64, event: &Arc<Event>) {
        self.own.borrow_mut().add(id);
        let event = event.clone();
        self.send(Request::DeliverUnspooled { id, event });
    }

    /// Records that a delivery was dropped to make room.
    pub fn drop_own(&self, delivery: i64) {
        let mut own = self.own.borrow_mut();
        if own.finish(delivery, DeliveryState::Discarded) {
            own.last_error = Some("dropped: the spool was full".to_owned());
        }
    }

    /// Stops gathering groups.
    pub fn gather_no_more(&self) {
        self.send(Request::GatherNoMore);
    }

    /// Stops gathering, and no longer waits for deliveries that can only succeed later.
    pub fn hurry(&self) {
        if !self.hurried.replace(true) {
            self.send(Request::Hurry);
        }
    }

    /// Ends the worker once its attempts under way are finished.
    pub fn retire(&self) {
        self.send(Request::Retire);
    }

    /// Returns true if this process has everything it needs to deliver.
    pub fn is_able(&self) -> bool {
        self.destination.trouble.is_none()
    }

    /// Returns true if this process delivers.
    pub fn leads(&self) -> bool {
        self.leads.get()
    }

    /// Returns true if something is being delivered, or could be now.
    pub fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Records the marks that the spool did not take earlier.
    pub async fn catch_up(&self) -> Result<(), spool::Error> {
        if self.unrecorded.get() == 0 {
            return Ok(());
        }
        let (sender, recorded) = oneshot::channel();
        self.send(Request::CatchUp(sender));
        // A worker that has ended has recorded everything.
        recorded.await.unwrap_or(Ok(()))
    }
}
