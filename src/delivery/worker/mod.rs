//! Worker of one notifier: claims deliveries, makes attempts, records the results, backs off.

mod attempt;
mod large;
mod suspects;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;

use crate::console::stderr;
use crate::delivery::breaker::{Breaker, MAX_BACK_OFF, left_until};
use crate::delivery::destination::Destination;
use crate::delivery::lanes::{Delivery, Lanes};
use crate::delivery::shared::Shared;
use crate::delivery::tally::{Counts, Tally};
use crate::delivery::window::Window;
use crate::event::Event;
use crate::event::stored::EventCodec;
use crate::message::Receipts;
use crate::notifier::Notifier;
use crate::spool::DestinationId;
use crate::spool::{self, Accepted, BreakerRow, DeliveryState, Leadership, Mark, Pending, Spool};

/// A delivery due within this time is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time for which an unreadable spool is expected to become readable again.
const UNREAD: Duration = Duration::from_secs(2);
/// Interval at which a worker looks for changes made by other processes.
pub const LOOK: Duration = Duration::from_millis(100);
/// Number of deliveries pending at another process that are looked up each time.
const LOOKED_AT: usize = 1000;

/// Error shown for an event that was given up earlier.
const BEFORE: &str = "already given up earlier; `history` shows why, `flush --dead` retries it";

/// One destination and the state of its deliveries.
pub struct Worker {
    /// Number in the spool.
    pub id: DestinationId,
    pub destination: Destination,
    notifier: RefCell<Rc<dyn Notifier>>,
    window: RefCell<Window>,
    keeper: RefCell<EventCodec>,
    /// Set if this process delivers to the destination; all others only accept.
    leadership: RefCell<Option<Leadership>>,
    /// Time since which the spool cannot be read.
    unread: Cell<Option<Instant>>,
    /// Time at which another process was last seen to finish one of this one's deliveries.
    seen: Cell<Instant>,
    pub under_way: Cell<usize>,
    /// Held by the one attempt whose events are large.
    large: Mutex<()>,
    /// True if it starts no further attempt, and ends with those in progress.
    retired: Cell<bool>,
    /// Marks that the spool did not take.
    unrecorded: RefCell<Vec<Mark>>,
    /// Lets one at a time record them.
    catching_up: Mutex<()>,
    /// True once it has tried to become the process that delivers.
    began: Cell<bool>,
    /// Notified when there may be something to claim.
    wake: Notify,
    breaker: RefCell<Breaker>,
    /// Last known state of the breaker in the spool.
    stored: RefCell<BreakerRow>,
    /// Lets one attempt at a time read secrets again.
    renewing: Mutex<()>,
    /// Time at which the secrets were read again since the credentials were last good.
    renewed: Cell<Option<Instant>>,
    /// True if they were refused even so: the next attempt, after a pause, reads them again.
    refused: Cell<bool>,
    pub own: RefCell<Tally>,
    /// Deliveries this worker finished, no matter which process accepted them.
    pub done: Cell<Counts>,
    /// Threads of messages that the spool did not take.
    threads: RefCell<HashMap<String, String>>,
}

/// Runs a worker until the program ends or another worker takes its place.
pub async fn run(shared: Rc<Shared>, worker: Rc<Worker>) {
    let mut under_way: JoinSet<()> = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !worker.retired.get() || !under_way.is_empty() {
        if shared.accepts_only.get() || !worker.load(&shared).await {
            worker.heed_breaker(shared.spool()).await;
        }
        let now = Instant::now();
        let paused = worker.breaker.borrow().pause(now);
        if paused.is_some() {
            worker.window.borrow_mut().lanes.stand_still(now);
        }
        while paused.is_none()
            && !shared.stopping.get()
            && !worker.retired.get()
            && worker.may_begin(now)
            && under_way.len() < worker.limit()
        {
            let Some(claimed) = worker.window.borrow_mut().lanes.claim(now) else {
                break;
            };
            worker.under_way.set(worker.under_way.get() + 1);
            under_way.spawn_local(attempt::attempt(shared.clone(), worker.clone(), claimed));
        }
        worker.began.set(true);
        let next = paused.or_else(|| worker.window.borrow().lanes.next_due());
        let next = next.filter(|next| *next > now);
        tokio::select! {
            Some(_) = under_way.join_next() => shared.progress.notify_one(),
            () = worker.wake.notified() => {}
            () = sleep_until(next), if next.is_some() => {}
            _ = look.tick() => worker.poll(&shared).await,
        }
    }
    worker.leadership.take();
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

impl Worker {
    /// Creates the worker of a destination, which the spool knows by `id`.
    pub fn new(destination: Destination, id: DestinationId) -> Worker {
        let mut own = Tally::default();
        let trouble = destination.trouble.as_ref();
        own.last_error = trouble.map(|trouble| trouble.in_short().to_owned());
        Worker {
            id,
            notifier: RefCell::new(destination.notifier.clone()),
            window: RefCell::new(Window::new(Lanes::new(
                destination.grouping,
                destination.notifier.thread(),
                destination.drain,
            ))),
            keeper: RefCell::new(EventCodec::masking(destination.masks.clone())),
            destination,
            leadership: RefCell::default(),
            unread: Cell::new(None),
            seen: Cell::new(Instant::now()),
            under_way: Cell::new(0),
            large: Mutex::default(),
            retired: Cell::new(false),
            unrecorded: RefCell::default(),
            catching_up: Mutex::default(),
            began: Cell::new(false),
            wake: Notify::new(),
            breaker: RefCell::default(),
            stored: RefCell::default(),
            renewing: Mutex::default(),
            renewed: Cell::new(None),
            refused: Cell::new(false),
            own: RefCell::new(own),
            done: Cell::default(),
            threads: RefCell::default(),
        }
    }

    /// Returns how many attempts may run at once.
    fn limit(&self) -> usize {
        self.breaker.borrow().limit(self.destination.concurrency)
    }

    /// Stops gathering groups.
    pub fn gather_no_more(&self) {
        self.window.borrow_mut().lanes.gather_no_more();
        self.wake.notify_one();
    }

    /// Stops gathering, and holds nothing back for deliveries that can only succeed later.
    pub fn hurry(&self) {
        self.window.borrow_mut().lanes.hurry();
        self.wake.notify_one();
    }

    /// Ends the worker once its attempts under way are finished.
    pub fn retire(&self) {
        self.retired.set(true);
        self.wake.notify_one();
    }

    /// Returns true if this process has everything it needs to deliver.
    pub fn is_able(&self) -> bool {
        self.destination.trouble.is_none()
    }

    /// Returns true if this process is the one that delivers.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().is_some()
    }

    /// Returns true if it may start an attempt. Deliveries of another process go before those without a
    /// place in the spool, as long as that process makes progress.
    fn may_begin(&self, now: Instant) -> bool {
        let waits = || {
            let waits = self.own.borrow().waiting_in_spool() > 0;
            waits && now < self.seen.get() + PATIENCE
        };
        self.leads() || self.holds_unspooled() && !waits()
    }

    /// Returns true if it holds deliveries without a place in the spool while another process delivers the
    /// others.
    fn holds_unspooled(&self) -> bool {
        self.is_able() && !self.leads() && !self.window.borrow().lanes.is_empty()
    }

    /// Returns true if something is being delivered, or could be now.
    pub fn is_busy(&self) -> bool {
        if !self.began.get() || self.under_way.get() > 0 {
            return true;
        }
        let now = Instant::now();
        let is_paused = self.breaker.borrow().pause(now).is_some();
        let given_up = self.unread.get().is_some_and(|since| now > since + UNREAD);
        let delivers = self.leads() || self.holds_unspooled();
        let window = self.window.borrow();
        delivers && !is_paused && !given_up && window.can_go_on(now + PATIENCE)
    }

    /// Loads pending deliveries from the spool if this process is the one that delivers; returns whether it is.
    async fn load(&self, shared: &Shared) -> bool {
        let spool = shared.spool();
        if !self.is_able() {
            // Another process may be able to.
            return false;
        }
        if !self.leads() {
            let leadership = spool.lead(self.id);
            if leadership.is_none() {
                return false;
            }
            *self.leadership.borrow_mut() = leadership;
            self.read_breaker(spool).await;
            self.try_suspects(spool).await;
        }
        let needed = self.window.borrow().needs_back(Instant::now());
        if let Some(first) = needed {
            let _turn = shared.turns.reading().await;
            self.reload(spool, first).await;
        }
        let needs_more = || self.window.borrow().needs_more();
        while let Some(after) = needs_more() {
            let _turn = shared.turns.reading().await;
            if !self.read_more(spool, after).await {
                break;
            }
        }
        true
    }

    /// Loads the next deliveries, those after this number, as many as are read at once. Returns true if the
    /// spool could be read.
    async fn read_more(&self, spool: &Spool, after: i64) -> bool {
        let Some((rows, complete)) = self.pending(spool, after).await else {
            return false;
        };
        self.window.borrow_mut().read_more(complete);
        for row in rows {
            let number = row.delivery;
            if number <= self.window.borrow().loaded() {
                continue;
            }
            let delivery = self.read_row(spool, row).await;
            // Only now: anything accepted meanwhile must come behind it.
            let mut window = self.window.borrow_mut();
            window.take_next(number, delivery, Instant::now());
        }
        true
    }

    /// Reloads evicted deliveries, from this number on.
    async fn reload(&self, spool: &Spool, first: i64) {
        let loaded = self.window.borrow().loaded();
        let Some((rows, complete)) = self.pending(spool, first - 1).await else {
            return;
        };
        let last = rows.last().map_or(0, |row| row.delivery);
        let last = if complete { loaded } else { last.min(loaded) };
        let mut deliveries = Vec::new();
        for row in rows {
            deliveries.extend(self.read_row(spool, row).await);
        }
        let mut window = self.window.borrow_mut();
        window.reload(deliveries, (first, last), Instant::now());
        self.wake.notify_one();
    }

    /// Returns the next deliveries pending in the spool, as far as there is room, and whether those were all.
    async fn pending(&self, spool: &Spool, after: i64) -> Option<(Vec<Pending>, bool)> {
        let room = self.window.borrow().room()?;
        // If marks are not recorded, those of further deliveries would not be either: all would be sent again.
        let is_recorded = self.unrecorded.borrow().is_empty();
        let read = match is_recorded {
            true => spool.pending(self.id, after, room).await.ok(),
            false => None,
        };
        // If the spool cannot be read, the next look tries again.
        let unread = self.unread.get().unwrap_or_else(Instant::now);
        self.unread.set(read.is_none().then_some(unread));
        read
    }

    /// Reads the breaker's state from the process that delivers to the destination, before this one sends
    /// those without a place in the spool.
    async fn heed_breaker(&self, spool: &Spool) {
        if self.holds_unspooled() {
            self.read_breaker(spool).await;
        }
    }

    /// Takes over the breaker's state from another process, or as a person reset it.
    async fn read_breaker(&self, spool: &Spool) {
        let Ok(row) = spool.breaker(self.id).await else {
            return;
        };
        if self.stored.replace(row.clone()) == row {
            return;
        }
        let fingerprint = || self.destination.section.fingerprint();
        let restored = Breaker::restore(row, Instant::now(), fingerprint);
        self.breaker.replace(restored);
        if self.leads() {
            self.window.borrow_mut().lanes.release();
            self.wake.notify_one();
        }
    }

    /// Gives up a delivery that cannot be made, and reports it.
    async fn mark_unreadable(&self, spool: &Spool, delivery: i64, error: &str) {
        stderr::say(format!("delivery {delivery}: {error}"));
        let mark = Mark {
            deliveries: vec![delivery],
            destination: self.id,
            started: Timestamp::now().as_millisecond(),
            duration: 0,
            state: DeliveryState::Dead,
            next_at: 0,
            note: Some(error.to_owned()),
            keep_body: true,
            breaker: self.breaker.borrow().row(Instant::now()),
            reopened: false,
            threads: Vec::new(),
        };
        // If the spool cannot be written, the next look finds it again.
        let _ = spool.mark(mark).await;
    }

    /// Returns the recipients that already have the message of a delivery.
    async fn reached(&self, spool: &Spool, row: &Pending) -> Receipts {
        if row.attempts == 0 {
            return Receipts::default();
        }
        let kept = spool.reached(self.id, row.delivery).await;
        kept.unwrap_or_default()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Returns the delivery of a row; None if it cannot be read.
    async fn read_row(&self, spool: &Spool, row: Pending) -> Option<Delivery> {
        let body = row.body.as_deref().map_err(|reason| *reason);
        let (event, in_spool) = match body.and_then(|body| self.read_event(body)) {
            Ok(event) => large::outline(event),
            Err(reason) => {
                self.mark_unreadable(spool, row.delivery, reason).await;
                return None;
            }
        };
        let reached = self.reached(spool, &row).await;
        // No wait is longer than the longest back-off, whatever happened to the clock.
        let wait = left_until(row.next_at).map(|wait| wait.min(MAX_BACK_OFF));
        let due = wait.map(|wait| Instant::now() + wait);
        Some(Delivery {
            attempts: row.attempts,
            due,
            reached,
            accepted: Timestamp::from_millisecond(row.created).unwrap_or_else(|_| Timestamp::now()),
            in_spool,
            ..Delivery::new(row.delivery, event)
        })
    }

    fn read_event(&self, body: &str) -> Result<Event, &'static str> {
        let read = self.keeper.borrow_mut().read(body);
        read.map_err(|_| "the event in the spool cannot be read")
    }

    /// Takes an event that was accepted for this destination.
    pub fn take(&self, accepted: &Accepted, event: &Arc<Event>) {
        let mut own = self.own.borrow_mut();
        match accepted.state {
            DeliveryState::Pending => own.add(accepted.delivery),
            DeliveryState::Delivered => own.counts = own.counts.and(accepted.state),
            // One that a person discarded is not lost: it does not count as dropped.
            DeliveryState::Dead | DeliveryState::Discarded => {
                own.counts = own.counts.and(DeliveryState::Dead);
                own.last_error = Some(BEFORE.to_owned());
            }
        }
        if accepted.state != DeliveryState::Pending {
            return;
        }
        let mut window = self.window.borrow_mut();
        if self.leads() && !large::is_large(event) {
            let delivery = Delivery::new(accepted.delivery, event.clone());
            window.take_new(delivery, accepted.previous, Instant::now());
        } else {
            window.is_incomplete();
        }
        self.wake.notify_one();
    }

    /// Records that a delivery was dropped to make room.
    pub fn drop_own(&self, delivery: i64) {
        let mut own = self.own.borrow_mut();
        if own.finish(delivery, DeliveryState::Discarded) {
            own.last_error = Some("dropped: the spool was full".to_owned());
        }
    }

    /// Adds a delivery that exists in memory only; its id is negative.
    pub fn take_unspooled(&self, id: i64, event: &Arc<Event>) {
        self.own.borrow_mut().add(id);
        let now = Instant::now();
        let mut window = self.window.borrow_mut();
        if window.lanes.is_empty() {
            self.seen.set(now);
        }
        window.lanes.push(Delivery::new(id, event.clone()), now);
        self.wake.notify_one();
    }

    /// Looks for changes by other processes: additions if this one delivers, deliveries if another does.
    async fn poll(&self, shared: &Shared) {
        // If the spool cannot be written, the next look tries again.
        let _ = self.catch_up(shared.spool()).await;
        if self.leads() {
            self.window.borrow_mut().poll_again(Instant::now());
            // With nothing in progress, this process's own state is already stored.
            if self.under_way.get() == 0 && self.breaker.borrow().is_troubled() {
                self.read_breaker(shared.spool()).await;
            }
            return;
        }
        while self.see_some(shared).await {}
    }

    /// Looks up the results, from another process, of some deliveries that this one accepted. Returns true
    /// if all of them are finished: then there may be more.
    async fn see_some(&self, shared: &Shared) -> bool {
        let open = self.own.borrow_mut().next_open(LOOKED_AT);
        if open.is_empty() {
            return false;
        }
        let Ok(found) = shared.spool().finished(open).await else {
            return false;
        };
        let mut own = self.own.borrow_mut();
        let mut all = true;
        for spool::Finished {
            delivery,
            state,
            error,
        } in found
        {
            own.last_error = error.or(own.last_error.take());
            let is_finished = state != DeliveryState::Pending;
            if is_finished && own.finish(delivery, state) {
                self.seen.set(Instant::now());
                shared.progress.notify_one();
            }
            all &= is_finished;
        }
        all
    }
}
