//! Delivers events to their destinations: they are accepted into the spool first, then delivered by one
//! worker each.

pub mod breaker;
mod building;
mod committing;
pub mod conditions;
pub mod destination;
pub mod endings;
pub mod keys;
pub mod lanes;
pub mod page;
pub mod record;
pub mod setup;
pub mod shared;
pub mod summary;
pub mod tally;
pub mod threads;
pub mod turns;
mod unspooled;
pub mod verdict;
pub mod window;
pub mod worker;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::delivery::conditions::condition;
use crate::delivery::destination::Destination;
use crate::delivery::record::Recorder;
use crate::delivery::shared::Shared;
use crate::delivery::tally::Counts;
use crate::delivery::worker::WorkerHandle;
use crate::event::Event;
use crate::event::stored::EventCodec;
use crate::message::labels::Labels;
use crate::net::http::Http;
use crate::secret;
use crate::spool::DestinationId;
use crate::spool::{self, Acceptance, Condition, DestinationKey, NewEvent, Spool, Urgency};
use crate::template::context::Context;

/// Time limit for attempts in progress when the process ends.
const STOP: Duration = Duration::from_millis(500);
/// The same if the endpoint has already failed to answer in time.
const STOP_IN_TROUBLE: Duration = Duration::from_millis(100);
/// Pause between two steps of deleting finished entries.
const TIDY: Duration = Duration::from_millis(20);

/// Delivers events to their destinations, all on one thread.
pub struct Deliverer {
    pub shared: Rc<Shared>,
    keeper: RefCell<EventCodec>,
    /// Labels that every event gets.
    labels: RefCell<Rc<Labels>>,
    /// Prefix of the ids in the spool: those of different tenants never meet.
    scope: RefCell<String>,
    workers: RefCell<Vec<Rc<WorkerHandle>>>,
    recorder: Rc<Recorder>,
    /// Number of deliveries dropped to make room, no matter which process accepted them.
    dropped: Cell<usize>,
}

/// Events that are to be stored, and their positions in the stream.
#[derive(Default)]
struct Routed {
    rows: Vec<NewEvent>,
    held: Vec<(u64, Arc<Event>)>,
    /// Number of events that at least one notifier wants.
    wanted_by_some: u64,
}

impl Deliverer {
    /// Creates a deliverer without destinations, whose spool is not open.
    pub fn new(http: Http) -> Rc<Deliverer> {
        Rc::new(Deliverer {
            shared: Rc::new(Shared::new(http)),
            keeper: RefCell::default(),
            labels: RefCell::default(),
            scope: RefCell::default(),
            workers: RefCell::default(),
            recorder: Rc::default(),
            dropped: Cell::new(0),
        })
    }

    /// Returns the HTTP client that all notifiers share.
    pub fn http(&self) -> &Http {
        self.shared.http()
    }

    /// Returns the spool; an unusable one until it is open.
    pub fn spool(&self) -> &Spool {
        self.shared.spool()
    }

    /// Sets the labels of the events that are accepted from here on.
    pub fn label(&self, labels: &Rc<Labels>) {
        self.labels.replace(labels.clone());
    }

    /// Deletes entries finished longer than `keep` ago, in the background and in small steps.
    pub fn prune(&self, keep: Duration) {
        let spool = self.spool().clone();
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::now().as_millisecond().saturating_sub(keep);
        tokio::task::spawn_local(async move {
            // If the spool cannot be written, there is nothing to delete.
            while spool.tidy(before).await.unwrap_or(false) {
                tokio::time::sleep(TIDY).await;
            }
        });
    }

    /// Starts a worker for a destination that has none, and returns its number. Needs a `LocalSet`.
    pub async fn add(self: &Rc<Self>, destination: Destination, key: DestinationKey) -> usize {
        let number = self.workers.borrow().len();
        let known = self.spool().destination(key.clone()).await;
        let id = known.unwrap_or_else(|_| {
            // Any number works that the spool does not use.
            let id = DestinationId(-1 - number as i64);
            self.shared
                .unspooled
                .borrow_mut()
                .destinations
                .insert(id, key);
            id
        });
        let is_able = |worker: &Rc<WorkerHandle>| worker.id == id && worker.is_able();
        if let Some(known) = self.workers.borrow().iter().position(is_able) {
            // A play changed other destinations, but not this one.
            return known;
        }
        if let Some(trouble) = &destination.trouble {
            let reason = secret::redact(&trouble.reason);
            // Without a spool nobody can look up the reason.
            let _ = self.spool().note_error(id, reason).await;
        }
        self.start(Rc::new(destination), id);
        if let Some(worker) = self.worker(id).filter(|worker| !worker.holds()) {
            // Its rules may have held events earlier: those come first.
            worker.release(self.spool()).await;
        }
        number
    }

    /// Starts a worker for a destination whose number in the spool is known.
    pub fn start(self: &Rc<Self>, destination: Rc<Destination>, id: DestinationId) {
        let worker = worker::start(self.shared.clone(), destination, id);
        self.workers.borrow_mut().push(worker);
    }

    /// Retires the worker of a destination: it finishes the attempts in progress, and another one takes over.
    pub fn retire(&self, id: DestinationId) {
        if let Some(worker) = self.worker(id) {
            worker.retire();
        }
    }

    /// Accepts events, with their positions in the stream, for those of `candidates` that want them: when
    /// this returns they are safe on disk. Returns how many at least one notifier wants.
    pub async fn accept(
        &self,
        events: Vec<(u64, Event)>,
        candidates: &[usize],
        urgency: Urgency,
    ) -> u64 {
        let Routed {
            rows,
            held,
            wanted_by_some,
        } = self.route(events, candidates);
        if wanted_by_some == 0 && !self.counts_any(&rows).await {
            self.record_soon().await;
            return 0;
        }
        let wanted: Vec<Vec<DestinationId>> =
            rows.iter().map(|row| row.destinations.clone()).collect();
        if self.would_overtake(&held) {
            self.keep_in_memory(&held, &wanted);
            self.record_soon().await;
            return wanted_by_some;
        }
        match self.write_events(rows, urgency).await {
            Ok(acceptance) => self.take(acceptance, &held),
            Err(error) => {
                self.shared
                    .complain(&format!("events are kept in memory only: {error}"));
                self.keep_in_memory(&held, &wanted);
            }
        }
        wanted_by_some
    }

    /// Adds events to the record of runs, and decides which of `candidates` want them.
    fn route(&self, events: Vec<(u64, Event)>, candidates: &[usize]) -> Routed {
        let mut routed = Routed::default();
        let labels = self.labels.borrow().clone();
        for (sequence, mut event) in events {
            if let Some(link) = self.recorder.link(sequence, &event) {
                event.url = Some(link);
            }
            let event = Arc::new(labels.apply(event));
            self.note(sequence, &event);
            let (destinations, conditions, event) = self.wanting(event, candidates);
            if !destinations.is_empty() || !conditions.is_empty() {
                routed.wanted_by_some += u64::from(!destinations.is_empty());
                let row = self.new_event(&event, destinations, conditions);
                routed.rows.push(row);
                routed.held.push((sequence, event));
            }
        }
        routed
    }

    /// Passes deliveries that are in the spool now to their workers.
    fn take(&self, acceptance: Acceptance, events: &[(u64, Arc<Event>)]) {
        for (destination, released) in acceptance.released {
            if let Some(worker) = self.worker(destination) {
                worker.own.borrow_mut().release(released);
            }
        }
        for accepted in acceptance.accepted {
            // A resent event may have a delivery for a notifier that is no longer configured.
            if let Some(worker) = self.worker(accepted.destination) {
                worker.accept(&accepted, &events[accepted.event].1);
            }
        }
    }

    /// Returns true if these events, which no notifier wants, may begin or end a row of failures that some counts.
    async fn counts_any(&self, rows: &[NewEvent]) -> bool {
        let conditions = rows.iter().flat_map(|row| &row.conditions);
        if conditions.clone().any(Condition::is_failure) {
            return true;
        }
        let mut counting: Vec<DestinationId> = conditions.map(|one| one.destination).collect();
        counting.sort_unstable();
        counting.dedup();
        !counting.is_empty() && self.spool().counts_failures(counting).await.unwrap_or(true)
    }

    /// Returns the event in the form the spool takes.
    fn new_event(
        &self,
        event: &Event,
        destinations: Vec<DestinationId>,
        conditions: Vec<Condition>,
    ) -> NewEvent {
        let is_stored = !destinations.is_empty();
        let body = || self.keeper.borrow_mut().write(event);
        NewEvent {
            event_id: format!("{}{}", self.scope.borrow(), event.id),
            created: Timestamp::now().as_millisecond(),
            callback: event.event.name().to_owned(),
            host: event.host_name().to_owned(),
            task: event
                .task
                .as_ref()
                .map_or_else(String::new, |task| task.name.clone()),
            body: if is_stored { body() } else { String::new() },
            destinations,
            conditions,
        }
    }

    /// Writes events to the spool, and what waits for the record. If it is full, room is made as long as that is
    /// possible.
    async fn write_events(
        &self,
        rows: Vec<NewEvent>,
        urgency: Urgency,
    ) -> Result<Acceptance, spool::Error> {
        let rows = Arc::new(rows);
        let mut record = self.recorder.take();
        loop {
            let (rows, record_now) = (rows.clone(), record.clone());
            match self.spool().accept(rows, record_now, urgency).await {
                Ok((accepted, is_recorded)) => {
                    self.recorder.note_written(is_recorded, &record);
                    return Ok(accepted);
                }
                Err(spool::Error::Full) => {}
                Err(spool::Error::DiskFull) if !record.rows.is_empty() => {
                    self.recorder.note_written(false, &record);
                    record = Arc::default();
                    continue;
                }
                Err(error) => {
                    self.recorder.lose(&record);
                    return Err(error);
                }
            }
            let room = self.spool().make_room().await?;
            // Another batch may have made room at the same time.
            if room.forgotten == 0 && room.dropped.is_empty() && room.is_full {
                self.recorder.lose(&record);
                return Err(spool::Error::Full);
            }
            self.dropped.set(self.dropped.get() + room.dropped.len());
            for dropped in room.dropped {
                if let Some(worker) = self.worker(dropped.destination) {
                    worker.drop_own(dropped.delivery);
                }
            }
        }
    }

    /// Returns the destinations that want an event, the conditions of those that have any, and the event
    /// without the parts that none of them sends.
    fn wanting(
        &self,
        mut event: Arc<Event>,
        candidates: &[usize],
    ) -> (Vec<DestinationId>, Vec<Condition>, Arc<Event>) {
        let workers = self.workers.borrow();
        let context = Context::new(event.clone());
        let mut conditions = Vec::new();
        let wants = |worker: &&Rc<WorkerHandle>| {
            let destination = &worker.destination;
            let is_wanted = destination.rules.want(&context);
            conditions.extend(condition(destination, worker.id, &event, is_wanted));
            is_wanted
        };
        let candidates = candidates.iter().map(|number| &workers[*number]);
        let wanting: Vec<&Rc<WorkerHandle>> = candidates.filter(wants).collect();
        drop(context);
        let record = wanting.iter().any(|worker| worker.destination.verbatim);
        if event.record.is_some() && !record {
            Arc::make_mut(&mut event).record = None;
        }
        let has_output = event.end.as_ref().is_some_and(|end| end.output.is_some());
        if has_output
            && !wanting.iter().any(|one| one.destination.shows_output)
            && let Some(end) = &mut Arc::make_mut(&mut event).end
        {
            Arc::make_mut(end).output = None;
        }
        let wanting = wanting.iter().map(|worker| worker.id).collect();
        (wanting, conditions, event)
    }

    fn worker(&self, id: DestinationId) -> Option<Rc<WorkerHandle>> {
        self.workers
            .borrow()
            .iter()
            .rfind(|worker| worker.id == id)
            .cloned()
    }

    /// Returns true if another process delivers to this destination.
    pub fn delivers_elsewhere(&self, id: DestinationId) -> bool {
        self.worker(id).is_some_and(|worker| !worker.leads())
    }

    /// Returns how many of this process's deliveries are unfinished and can still be finished.
    pub fn waiting(&self) -> usize {
        self.workers
            .borrow()
            .iter()
            .filter(|worker| worker.is_able())
            .map(|worker| worker.own.borrow().waiting())
            .sum()
    }

    /// Waits until some delivery is finished.
    pub async fn progress(&self) {
        self.shared.progress.notified().await;
    }

    /// Stops gathering groups: no further events will arrive.
    pub fn gather_no_more(&self) {
        for worker in self.workers.borrow().iter() {
            worker.gather_no_more();
        }
    }

    /// Waits until all of this process's deliveries are finished, at most `limit`.
    pub async fn drain(&self, limit: Duration) {
        self.gather_no_more();
        let deadline = tokio::time::Instant::now() + limit;
        while self.waiting() > 0 {
            if tokio::time::timeout_at(deadline, self.progress())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Waits as long as this process's deliveries keep finishing, each within `limit`.
    pub async fn drain_while_moving(&self, limit: Duration) {
        let mut waiting = self.waiting();
        let mut deadline = tokio::time::Instant::now() + limit;
        while waiting > 0 {
            if tokio::time::timeout_at(deadline, self.progress())
                .await
                .is_err()
            {
                return;
            }
            if self.waiting() < waiting {
                deadline = tokio::time::Instant::now() + limit;
            }
            waiting = self.waiting();
        }
    }

    /// Returns how many of this process's deliveries are finished, and their total.
    pub fn own_progress(&self) -> (usize, usize) {
        let mut finished = 0;
        for worker in self.workers.borrow().iter() {
            let counts = worker.own.borrow().counts;
            finished += counts.delivered + counts.dead + counts.dropped;
        }
        (finished, finished + self.waiting())
    }

    /// Returns the numbers of deliveries that this process's workers delivered or gave up, no matter which
    /// process accepted them.
    pub fn done(&self) -> Counts {
        let mut sum = Counts::default();
        for worker in self.workers.borrow().iter() {
            let done = worker.done.get();
            match worker.destination.notifier.is_answered() {
                true => sum.delivered += done.delivered,
                false => sum.sent += done.delivered,
            }
            sum.dead += done.dead;
        }
        sum
    }

    /// Starts no further attempt and waits for those in progress to be recorded: another process continues
    /// from there. Does not wait long for an endpoint that does not answer. Fails if something that was
    /// delivered is not recorded.
    pub async fn stop(&self) -> Result<(), spool::Error> {
        let recorded = self.wind_up().await;
        self.spool().close().await;
        self.end_record();
        recorded
    }

    /// Does the same for one of several that share a spool, which stays open.
    async fn wind_up(&self) -> Result<(), spool::Error> {
        self.shared.stopping.set(true);
        let limit = if self.waiting() == 0 {
            STOP
        } else {
            STOP_IN_TROUBLE
        };
        // Attempts that have not ended by then are repeated by the next process.
        let _ = tokio::time::timeout(limit, self.finish_under_way()).await;
        let workers = self.workers.borrow().clone();
        self.spool().again().await;
        let mut recorded = Ok(());
        for worker in workers {
            recorded = recorded.and(worker.catch_up().await);
            worker.destination.notifier.close().await;
        }
        self.write_unspooled().await;
        self.record_rest().await;
        recorded
    }

    async fn finish_under_way(&self) {
        let under_way = || {
            self.workers
                .borrow()
                .iter()
                .any(|worker| worker.under_way.get() > 0)
        };
        while under_way() {
            self.progress().await;
        }
    }

    /// Waits until nothing more can be delivered now, no matter which process accepted it.
    pub async fn settle(&self) {
        loop {
            for worker in self.workers.borrow().iter() {
                worker.hurry();
            }
            let busy = self.workers.borrow().iter().any(|worker| worker.is_busy());
            if !busy {
                return;
            }
            let _ = tokio::time::timeout(worker::LOOK, self.progress()).await;
        }
    }
}
