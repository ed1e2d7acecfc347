//! Worker of one notifier: claims deliveries, makes attempts, records the results, backs off.
//!
//! The loop in `run` owns the worker's state. Attempts and marks run in parallel, as tasks that return what
//! they did; the loop applies that. So marks of attempts that end together share a commit, and nothing changes
//! while the loop runs. Others use the `WorkerHandle`.

mod attempt;
mod divide;
mod handle;
mod held;
mod large;
mod load;
mod outcome;
mod suspects;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

use self::attempt::{Attempt, Outcome};
use self::handle::Request;
pub use self::handle::WorkerHandle;
use self::outcome::{Credentials, Recorded};
use crate::delivery::breaker::Breaker;
use crate::delivery::destination::Destination;
use crate::delivery::lanes::{Delivery, Lanes};
use crate::delivery::shared::Shared;
use crate::delivery::window::Window;
use crate::event::stored::EventCodec;
use crate::failure::Failure;
use crate::notifier::{Notifier, Thread};
use crate::spool::{self, BreakerRow, DestinationId, Leadership, Mark};

/// A delivery due within this time is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time for which an unreadable spool is expected to become readable again.
const UNREAD: Duration = Duration::from_secs(2);
/// Interval at which a worker looks for changes made by other processes.
pub const LOOK: Duration = Duration::from_millis(100);

/// State of one destination's deliveries, owned by the loop in `run`.
struct Worker {
    shared: Rc<Shared>,
    handle: Rc<WorkerHandle>,
    notifier: Rc<dyn Notifier>,
    window: Window,
    codec: EventCodec,
    /// Set if this process delivers to the destination; all others only accept.
    leadership: Option<Rc<Leadership>>,
    /// Time since which the spool cannot be read.
    unread: Option<Instant>,
    /// Time at which another process was last seen to finish one of this one's deliveries.
    seen: Instant,
    /// Everything under way.
    steps: JoinSet<Step>,
    /// Held by the one attempt whose events are large.
    large: Rc<Mutex<()>>,
    /// True if it starts no further attempt, and ends with those in progress.
    retired: bool,
    /// Time at which it last looked for held deliveries.
    looked_for_held: Option<Instant>,
    /// Marks that the spool did not take.
    unrecorded: Vec<Mark>,
    /// Waits until they have been tried again.
    asks_to_catch_up: Option<oneshot::Sender<Result<(), spool::Error>>>,
    breaker: Breaker,
    /// Last known state of the breaker in the spool.
    stored: BreakerRow,
    credentials: Credentials,
    /// Threads of messages that the spool did not take.
    threads: HashMap<String, String>,
}

/// Piece of work that is done.
enum Step {
    Attempted(Outcome),
    Recorded(Recorded),
    /// The secrets were read again; None if they could not be.
    Renewed(Option<Rc<dyn Notifier>>),
}

/// Starts the worker of a destination, which the spool knows by `id`. Needs a `LocalSet`.
pub fn start(
    shared: Rc<Shared>,
    destination: Rc<Destination>,
    id: DestinationId,
) -> Rc<WorkerHandle> {
    let handle = Rc::new(WorkerHandle::new(destination, id));
    tokio::task::spawn_local(run(Worker::new(shared, handle.clone())));
    handle
}

/// Runs a worker until the program ends or another worker takes its place.
async fn run(mut worker: Worker) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !worker.is_over() {
        worker.read_requests();
        worker.answer_catch_up().await;
        worker.load_or_follow().await;
        let next = worker.begin_attempts(Instant::now());
        worker.report();
        worker.wait(next, &mut look).await;
    }
    worker.leadership = None;
    worker.report();
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

impl Worker {
    fn new(shared: Rc<Shared>, handle: Rc<WorkerHandle>) -> Worker {
        let destination = &handle.destination;
        Worker {
            shared,
            notifier: destination.notifier.clone(),
            window: Window::new(Lanes::new(
                destination.grouping,
                destination.notifier.thread(),
                destination.drain,
            )),
            codec: destination.codec(),
            leadership: None,
            unread: None,
            seen: Instant::now(),
            steps: JoinSet::new(),
            large: Rc::default(),
            retired: false,
            looked_for_held: None,
            unrecorded: Vec::new(),
            asks_to_catch_up: None,
            breaker: Breaker::default(),
            stored: BreakerRow::default(),
            credentials: Credentials::default(),
            threads: HashMap::new(),
            handle,
        }
    }

    /// Returns true if another worker can take its place.
    fn is_over(&self) -> bool {
        self.retired && self.handle.unrecorded.get() == 0 && self.steps.is_empty()
    }

    /// Reads the requests since the last turn.
    fn read_requests(&mut self) {
        while let Some(request) = self.handle.next_request() {
            let (window, now) = (&mut self.window, Instant::now());
            match request {
                Request::Deliver {
                    id,
                    previous,
                    event: Some(event),
                } if self.leadership.is_some() => {
                    window.push_new(Delivery::new(id, event), previous, now);
                }
                Request::Deliver { .. } => window.is_incomplete(),
                Request::DeliverUnspooled { id, event } => {
                    if window.lanes.is_empty() {
                        self.seen = now;
                    }
                    window.lanes.push(Delivery::new(id, event), now);
                }
                Request::GatherNoMore => window.lanes.gather_no_more(),
                Request::Hurry => window.lanes.hurry(),
                Request::Retire => self.retired = true,
                Request::CatchUp(sender) => self.asks_to_catch_up = Some(sender),
            }
        }
    }

    /// Tries again to record marks, if requested and no other mark is being written.
    async fn answer_catch_up(&mut self) {
        if self.handle.unrecorded.get() > self.unrecorded.len() {
            return;
        }
        if let Some(sender) = self.asks_to_catch_up.take() {
            // The requester may have gone.
            let _ = sender.send(self.catch_up().await);
        }
    }

    /// Starts as many attempts as may run now. Returns the time at which there may be more to do.
    fn begin_attempts(&mut self, now: Instant) -> Option<Instant> {
        if let Some(end) = self.breaker.pause(now) {
            self.window.lanes.stand_still(now);
            return Some(end);
        }
        while self.may_begin(now) {
            if self.credentials.refused && self.window.lanes.is_ready(now) {
                self.renew();
                break;
            }
            let Some(claimed) = self.window.lanes.claim(now) else {
                break;
            };
            self.begin(claimed);
        }
        let next = self.window.lanes.next_due();
        next.filter(|next| *next > now)
    }

    fn begin(&mut self, claimed: Vec<Delivery>) {
        let handle = &self.handle;
        handle.under_way.set(handle.under_way.get() + 1);
        if self.breaker.is_off() {
            let gone = Failure::Gone("the endpoint answered 410 Gone before".to_owned());
            return self.conclude(Outcome::without_attempt(claimed, gone));
        }
        let threads = match self.notifier.thread() {
            Thread::None => HashMap::new(),
            _ => self.threads.clone(),
        };
        let attempt = Attempt {
            shared: self.shared.clone(),
            id: handle.id,
            destination: handle.destination.clone(),
            notifier: self.notifier.clone(),
            leadership: self.leadership.clone(),
            large: self.large.clone(),
            threads,
            claimed,
        };
        self.steps
            .spawn_local(async { Step::Attempted(attempt.make().await) });
    }

    /// Waits until there is something to do; applies finished work.
    async fn wait(&mut self, next: Option<Instant>, look: &mut Interval) {
        tokio::select! {
            Some(step) = self.steps.join_next() => self.apply(step),
            () = self.handle.wake.notified() => {}
            () = sleep_until(next), if next.is_some() => {}
            _ = look.tick() => self.poll().await,
        }
    }

    /// Applies all finished work.
    fn apply(&mut self, first: Result<Step, JoinError>) {
        let mut done = Some(first);
        while let Some(step) = done {
            match step {
                Ok(Step::Attempted(outcome)) => self.conclude(outcome),
                Ok(Step::Recorded(recorded)) => self.finish_recording(recorded),
                Ok(Step::Renewed(notifier)) => self.finish_renewal(notifier),
                // A panic outside of an attempt ends the process.
                Err(_) => {}
            }
            done = self.steps.try_join_next();
        }
    }

    fn leads(&self) -> bool {
        self.leadership.is_some()
    }

    /// Returns true if it may start an attempt. Deliveries of another process go before those without a
    /// place in the spool, as long as that process makes progress.
    fn may_begin(&self, now: Instant) -> bool {
        let limit = self.breaker.limit(self.handle.destination.concurrency);
        if self.retired
            || self.shared.stopping.get()
            || self.credentials.renewing
            || self.handle.under_way.get() >= limit
        {
            return false;
        }
        let waits = || {
            let waits = self.handle.own.borrow().waiting_in_spool() > 0;
            waits && now < self.seen + PATIENCE
        };
        self.leads() || self.holds_unspooled() && !waits()
    }

    /// Returns true if it holds deliveries without a place in the spool while another process delivers the
    /// others.
    fn holds_unspooled(&self) -> bool {
        self.handle.is_able() && !self.leads() && !self.window.lanes.is_empty()
    }

    /// Reports to others whether anything is left to do.
    fn report(&self) {
        self.handle.leads.set(self.leads());
        let busy = self.handle.has_requests() || self.is_busy();
        if self.handle.busy.replace(busy) && !busy {
            self.shared.progress.notify_one();
        }
    }

    /// Returns true if something is being delivered, or could be now.
    fn is_busy(&self) -> bool {
        if !self.steps.is_empty() {
            return true;
        }
        let now = Instant::now();
        let is_paused = self.breaker.pause(now).is_some();
        let given_up = self.unread.is_some_and(|since| now > since + UNREAD);
        let delivers = self.leads() || self.holds_unspooled();
        delivers
            && !self.retired
            && !is_paused
            && !given_up
            && self.window.can_go_on(now + PATIENCE)
    }
}
