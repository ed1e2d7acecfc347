//! One notifier's worker: claims deliveries, makes attempts, records what became of them, backs off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::breaker::{Breaker, MAX_BACK_OFF};
use crate::config::Destination;
use crate::counts::{Counts, Own};
use crate::deliver::Deliverer;
use crate::event::Event;
use crate::http::Http;
use crate::lanes::{Delivery, Lanes};
use crate::notifier::{Failure, Notifier};
use crate::reader::Reader;
use crate::report;
use crate::shorten::shortened;
use crate::spool::{self, Accepted, BreakerRow, Leadership, Mark, MarkOutcome, Pending, Spool};
use crate::template::Context;

/// Refused credentials that are not mended for so long end a delivery.
const MAX_DENIED: Duration = Duration::from_secs(24 * 3600);
/// How many deliveries of a notifier are in memory; the others wait in the spool.
const WINDOW: usize = 512;
/// A delivery that is due so soon is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a worker looks for what other processes did.
pub const LOOK: Duration = Duration::from_millis(100);

/// One destination and how it fares.
pub struct Worker {
    /// Its number in the spool.
    pub id: i64,
    pub destination: Destination,
    notifier: RefCell<Rc<dyn Notifier>>,
    lanes: RefCell<Lanes>,
    /// This process delivers to the destination; any other one only accepts.
    leadership: RefCell<Option<Leadership>>,
    /// The highest delivery that was taken into memory.
    loaded: Cell<i64>,
    /// Nothing beyond it waits in the spool, as far as is known.
    complete: Cell<bool>,
    pub under_way: Cell<usize>,
    /// It has looked at least once whether it is the one to deliver.
    began: Cell<bool>,
    /// There may be something to claim.
    wake: Notify,
    breaker: RefCell<Breaker>,
    /// The breaker as it stands in the spool, as far as is known.
    stored: RefCell<BreakerRow>,
    /// When the secrets were read anew, since the credentials were last good.
    renewed: Cell<Option<Instant>>,
    pub own: RefCell<Own>,
    /// What this worker finished, whoever accepted it.
    pub done: Cell<Counts>,
}

/// What an attempt means for its delivery.
enum Verdict {
    /// Whether it ended a time of failures.
    Delivered {
        reopened: bool,
    },
    Retry {
        due: Instant,
        error: String,
        /// The age at which it is given up.
        most: Duration,
    },
    Dead(String),
}

/// The life of a worker; it ends with the program.
pub async fn run(deliverer: Rc<Deliverer>, worker: Rc<Worker>) {
    let mut under_way: JoinSet<()> = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        worker.load(deliverer.spool()).await;
        let now = Instant::now();
        let paused = worker.breaker.borrow().pause();
        while paused.is_none()
            && !deliverer.stopping.get()
            && worker.leads()
            && under_way.len() < worker.limit()
        {
            let Some(delivery) = worker.lanes.borrow_mut().claim(now) else {
                break;
            };
            worker.under_way.set(worker.under_way.get() + 1);
            under_way.spawn_local(attempt(deliverer.clone(), worker.clone(), delivery));
        }
        worker.began.set(true);
        let next = paused.or_else(|| worker.lanes.borrow().next_due());
        tokio::select! {
            Some(_) = under_way.join_next() => deliverer.progress.notify_one(),
            () = worker.wake.notified() => {}
            () = sleep_until(next), if next.is_some() => {}
            _ = look.tick() => worker.look(&deliverer).await,
        }
    }
}

/// One attempt, recorded: only then is its lane open again, so that order and numbers hold.
async fn attempt(deliverer: Rc<Deliverer>, worker: Rc<Worker>, mut delivery: Delivery) {
    let (started, begun) = (Timestamp::now(), Instant::now());
    let result = if worker.breaker.borrow().is_off() {
        Err(Failure::Gone("it answered 410 Gone before".to_owned()))
    } else {
        worker.send(&delivery.event).await
    };
    let verdict = worker.judge(deliverer.http(), &delivery, begun, result);
    let verdict = worker.give_up_when_old(&delivery, verdict);
    delivery.attempts += 1;
    if delivery.id > 0 {
        worker
            .record(&deliverer, &delivery, started, &verdict)
            .await;
    } else if !matches!(verdict, Verdict::Retry { .. }) {
        deliverer.forget(delivery.id);
    }
    worker.settle(delivery, verdict);
    worker.under_way.set(worker.under_way.get() - 1);
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

impl Worker {
    pub fn new(destination: Destination, id: i64) -> Worker {
        Worker {
            id,
            notifier: RefCell::new(destination.notifier.clone()),
            destination,
            lanes: RefCell::default(),
            leadership: RefCell::default(),
            loaded: Cell::new(0),
            complete: Cell::new(false),
            under_way: Cell::new(0),
            began: Cell::new(false),
            wake: Notify::new(),
            breaker: RefCell::default(),
            stored: RefCell::default(),
            renewed: Cell::new(None),
            own: RefCell::default(),
            done: Cell::default(),
        }
    }

    /// How many attempts may be under way at once.
    fn limit(&self) -> usize {
        self.breaker.borrow().limit(self.destination.concurrency)
    }

    /// This process is the one that delivers.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().is_some()
    }

    /// Something is being delivered, or could be now.
    pub fn is_busy(&self) -> bool {
        let paused = self.breaker.borrow().pause().is_some();
        let ready = self.lanes.borrow().is_ready(Instant::now() + PATIENCE) && !paused;
        !self.began.get()
            || self.leads() && (self.under_way.get() > 0 || ready || !self.complete.get())
    }

    /// Takes what waits in the spool into memory, where this process is the one to deliver it.
    async fn load(&self, spool: &Spool) {
        if !self.leads() {
            let leadership = spool.lead(self.id);
            if leadership.is_none() {
                return;
            }
            *self.leadership.borrow_mut() = leadership;
            self.read_breaker(spool).await;
        }
        if self.complete.get() || self.lanes.borrow().len() >= WINDOW {
            return;
        }
        let (id, after) = (self.id, self.loaded.get());
        // Where the spool cannot be read, the next look tries again.
        let rows = spool
            .write(move |connection| spool::pending(connection, id, after, WINDOW))
            .await;
        let Ok(rows) = rows else { return };
        self.complete.set(rows.len() < WINDOW);
        let mut reader = Reader::new();
        for row in rows {
            if let Err(broken) = self.take_row(&mut reader, row) {
                self.bury(spool, broken).await;
            }
        }
    }

    /// Takes over what another process learnt of the destination, or what a person asks for.
    async fn read_breaker(&self, spool: &Spool) {
        let id = self.id;
        let read = spool
            .write(move |connection| spool::breaker(connection, id))
            .await;
        let Ok(row) = read else { return };
        if self.stored.replace(row.clone()) == row {
            return;
        }
        let fingerprint = || self.destination.section.fingerprint();
        self.breaker.replace(Breaker::restore(row, fingerprint));
        self.lanes.borrow_mut().release();
        self.wake.notify_one();
    }

    /// An event that cannot be read any more is dead, and said to be.
    async fn bury(&self, spool: &Spool, delivery: i64) {
        let error = "the event in the spool cannot be read".to_owned();
        report::say(format!("delivery {delivery}: {error}"));
        let mark = Mark {
            delivery,
            destination: self.id,
            started: Timestamp::now().as_millisecond(),
            duration: 0,
            outcome: MarkOutcome::Dead(error),
            breaker: self.breaker.borrow().row(),
            reopened: false,
        };
        // Where the spool takes nothing, the next look finds it again.
        let _ = spool
            .write(move |connection| spool::mark(connection, &mark))
            .await;
    }

    /// Takes a row into its lane; gives its number where it cannot be read.
    fn take_row(&self, reader: &mut Reader, row: Pending) -> Result<(), i64> {
        if row.delivery <= self.loaded.get() {
            return Ok(());
        }
        self.loaded.set(row.delivery);
        let Ok(mut event) = reader.read(row.body.as_bytes()) else {
            return Err(row.delivery);
        };
        event.repaired = false;
        let wait = row.next_at - Timestamp::now().as_millisecond();
        // After a jump of the clock a time may lie far ahead; no wait is longer than the longest back-off.
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(MAX_BACK_OFF);
        let due = (!wait.is_zero()).then(|| Instant::now() + wait);
        let delivery = Delivery {
            id: row.delivery,
            event: Arc::new(event),
            attempts: row.attempts,
            due,
            accepted: Timestamp::from_millisecond(row.created).unwrap_or_else(|_| Timestamp::now()),
        };
        self.lanes.borrow_mut().push(delivery);
        Ok(())
    }

    /// An event was accepted for this destination.
    pub fn take(&self, accepted: &Accepted, event: &Arc<Event>) {
        let mut own = self.own.borrow_mut();
        match accepted.state {
            0 => {
                own.open.insert(accepted.delivery);
            }
            state => own.counts = own.counts.and(state == 1),
        }
        // Straight into memory, if all that comes before it is there, and it is not there itself.
        let loaded = self.loaded.get();
        let next = accepted.previous.is_some_and(|previous| previous <= loaded);
        if accepted.state != 0 || accepted.delivery <= loaded {
            return;
        }
        if self.leads() && self.complete.get() && next && self.lanes.borrow().len() < WINDOW {
            self.loaded.set(accepted.delivery);
            let event = event.clone();
            let delivery = Delivery {
                id: accepted.delivery,
                event,
                attempts: 0,
                due: None,
                accepted: Timestamp::now(),
            };
            self.lanes.borrow_mut().push(delivery);
        } else {
            self.complete.set(false);
        }
        self.wake.notify_one();
    }

    pub fn take_homeless(&self, id: i64, event: &Arc<Event>) {
        self.own.borrow_mut().open.insert(id);
        self.lanes.borrow_mut().push(Delivery {
            id,
            event: event.clone(),
            attempts: 0,
            due: None,
            accepted: Timestamp::now(),
        });
        self.wake.notify_one();
    }

    /// Looks what other processes did: put in, where this one delivers; delivered, where another does.
    async fn look(&self, deliverer: &Deliverer) {
        if self.leads() {
            self.complete.set(false);
            // With nothing under way, what it learnt itself is stored already.
            if self.under_way.get() == 0 && self.breaker.borrow().is_troubled() {
                self.read_breaker(deliverer.spool()).await;
            }
            return;
        }
        let open: Vec<i64> = self.own.borrow().open.iter().copied().collect();
        if open.is_empty() {
            return;
        }
        let found = deliverer
            .spool()
            .write(move |connection| spool::finished(connection, &open))
            .await;
        let Ok(found) = found else { return };
        let mut own = self.own.borrow_mut();
        for (id, state, error) in found {
            own.last_error = error.or(own.last_error.take());
            if state == 0 || !own.open.remove(&id) {
                continue;
            }
            own.counts = own.counts.and(state == 1);
            deliverer.progress.notify_one();
        }
    }

    /// Makes an attempt; with an event that is too large, one more after it was cut.
    async fn send(&self, event: &Arc<Event>) -> Result<(), Failure> {
        let notifier = self.notifier.borrow().clone();
        // Rendered at delivery: a template mended meanwhile mends what waits.
        let context = Context::new(event.clone());
        let message = self.destination.message(&context);
        let sent = notifier.send(&message).await;
        if !matches!(sent, Err(Failure::TooLarge(_))) {
            return sent;
        }
        let context = Context::new(Arc::new(shortened(event)));
        let mut short = self.destination.message(&context);
        short.reached = message.reached;
        notifier.send(&short).await
    }

    /// Decides what an attempt's result means for the delivery and for the notifier.
    fn judge(
        &self,
        http: &Http,
        delivery: &Delivery,
        begun: Instant,
        result: Result<(), Failure>,
    ) -> Verdict {
        let mut breaker = self.breaker.borrow_mut();
        let failure = match result {
            Ok(()) => {
                self.renewed.set(None);
                let reopened = breaker.succeeded();
                return Verdict::Delivered { reopened };
            }
            Err(failure) => failure,
        };
        let mut error = failure.error().to_owned();
        let mut most = self.destination.max_age;
        let wait = match failure {
            Failure::Permanent(_) => None,
            Failure::TooLarge(_) => {
                error.push_str("; cut, it is still too large");
                None
            }
            Failure::Gone(_) => {
                breaker.turn_off(|| self.destination.section.fingerprint());
                error.push_str("; off until its configuration changes");
                None
            }
            Failure::Denied(_) => {
                most = most.min(MAX_DENIED);
                if self.renew(http, begun) {
                    breaker.denied();
                    Some(Duration::ZERO)
                } else {
                    Some(breaker.denied_again())
                }
            }
            Failure::Retry { after, .. } => Some(breaker.failed(delivery.attempts, after)),
        };
        self.own.borrow_mut().last_error = Some(error.clone());
        match wait {
            Some(wait) => Verdict::Retry {
                due: Instant::now() + wait,
                error,
                most,
            },
            None => Verdict::Dead(error),
        }
    }

    fn give_up_when_old(&self, delivery: &Delivery, verdict: Verdict) -> Verdict {
        let age = Timestamp::now().duration_since(delivery.accepted);
        match verdict {
            Verdict::Retry { error, most, .. }
                if age.unsigned_abs() > most && age.is_positive() =>
            {
                Verdict::Dead(format!("given up after {most:?}: {error}"))
            }
            verdict => verdict,
        }
    }

    /// Stores what an attempt means for the delivery and for the destination.
    async fn record(
        &self,
        deliverer: &Deliverer,
        delivery: &Delivery,
        started: Timestamp,
        verdict: &Verdict,
    ) {
        let mark = self.mark(delivery, started, verdict);
        let breaker = mark.breaker.clone();
        let recorded = deliverer
            .spool()
            .write(move |connection| spool::mark(connection, &mark))
            .await;
        match recorded {
            Ok(()) => {
                self.stored.replace(breaker);
            }
            Err(error) => deliverer.complain(&format!(
                "what was delivered cannot be recorded, and may be sent again: {error:#}"
            )),
        }
    }

    fn mark(&self, delivery: &Delivery, started: Timestamp, verdict: &Verdict) -> Mark {
        let now = Timestamp::now().as_millisecond();
        let outcome = match verdict {
            Verdict::Delivered { .. } => MarkOutcome::Delivered,
            Verdict::Dead(error) => MarkOutcome::Dead(error.clone()),
            Verdict::Retry { due, error, .. } => {
                let wait = due.saturating_duration_since(Instant::now()).as_millis();
                MarkOutcome::Retry(now + i64::try_from(wait).unwrap_or(0), error.clone())
            }
        };
        Mark {
            delivery: delivery.id,
            destination: self.id,
            started: started.as_millisecond(),
            duration: (now - started.as_millisecond()).max(0),
            outcome,
            breaker: self.breaker.borrow().row(),
            reopened: matches!(verdict, Verdict::Delivered { reopened: true }),
        }
    }

    /// The attempt is recorded: the lane goes on.
    fn settle(&self, mut delivery: Delivery, verdict: Verdict) {
        let mut lanes = self.lanes.borrow_mut();
        if let Verdict::Retry { due, .. } = verdict {
            delivery.due = Some(due);
            return lanes.put_back(delivery);
        }
        lanes.finish(&delivery);
        let delivered = matches!(verdict, Verdict::Delivered { .. });
        if matches!(verdict, Verdict::Delivered { reopened: true }) {
            lanes.release();
        }
        self.done.set(self.done.get().and(delivered));
        let mut own = self.own.borrow_mut();
        // What another process accepted is that one's to count.
        if own.open.remove(&delivery.id) {
            own.counts = own.counts.and(delivered);
        }
    }

    /// Builds the notifier again, once, so that a secret changed meanwhile is found. Whether it is worth
    /// another attempt: one begun before that was made with the old secret.
    fn renew(&self, http: &Http, begun: Instant) -> bool {
        if let Some(renewed) = self.renewed.get() {
            return begun < renewed;
        }
        self.renewed.set(Some(Instant::now()));
        let built = (self.destination.kind.build)(&self.destination.section, http);
        built
            .map(|notifier| self.notifier.replace(notifier))
            .is_some()
    }
}
