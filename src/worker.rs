//! One notifier's worker: claims deliveries, makes attempts, records what became of them, backs off.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::Destination;
use crate::deliver::Deliverer;
use crate::event::Event;
use crate::http::Http;
use crate::lanes::{Delivery, Lanes};
use crate::notifier::{Failure, Notifier};
use crate::reader::Reader;
use crate::report;
use crate::spool::{self, Accepted, Leadership, Mark, MarkOutcome, Pending, Spool};
use crate::template::Context;

/// The longest time between two attempts at a delivery.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);
/// How often refused credentials are tried again.
const DENIED_PAUSE: Duration = Duration::from_secs(300);
/// After so many failures in a row a notifier gets one attempt at a time.
const BREAKER: u32 = 5;
/// How many deliveries of a notifier are in memory; the others wait in the spool.
const WINDOW: usize = 512;
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
    failures_in_row: Cell<u32>,
    /// Nothing is tried before this time.
    paused_until: Cell<Option<Instant>>,
    /// The secrets were read anew once since the credentials were last good.
    renewed: Cell<bool>,
    gone: Cell<bool>,
    pub own: RefCell<Own>,
    /// What this worker finished, whoever accepted it.
    pub done: Cell<Counts>,
}

/// What this process accepted for a destination, and what became of it.
#[derive(Default)]
pub struct Own {
    pub counts: Counts,
    pub open: HashSet<i64>,
    pub last_error: Option<String>,
}

/// How many deliveries are where. accepted = delivered + waiting + dead, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: usize,
    pub waiting: usize,
    pub dead: usize,
}

impl Counts {
    /// One more that was delivered, or is dead.
    fn and(mut self, delivered: bool) -> Counts {
        self.delivered += usize::from(delivered);
        self.dead += usize::from(!delivered);
        self
    }
}

/// What an attempt means for its delivery.
enum Verdict {
    Delivered,
    Retry(Instant, String),
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
        let paused = worker.paused_until.get().filter(|until| *until > now);
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
    let started = Timestamp::now();
    let result = if worker.gone.get() {
        Err(Failure::Gone("410 Gone".to_owned()))
    } else {
        let notifier = worker.notifier.borrow().clone();
        // Rendered at delivery: a template mended meanwhile mends what waits.
        let context = Context::new(delivery.event.clone());
        let message = worker.destination.message(&context);
        notifier.send(&message).await
    };
    let verdict = worker.judge(deliverer.http(), &delivery, result);
    let verdict = worker.give_up_when_old(&delivery, verdict);
    delivery.attempts += 1;
    if delivery.id > 0 {
        let mark = worker.mark(&delivery, started, &verdict);
        if let Err(error) = deliverer
            .spool()
            .write(move |connection| spool::mark(connection, &mark))
            .await
        {
            deliverer.complain(&format!(
                "what was delivered cannot be recorded, and may be sent again: {error:#}"
            ));
        }
    } else if !matches!(verdict, Verdict::Retry(..)) {
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
            failures_in_row: Cell::new(0),
            paused_until: Cell::new(None),
            renewed: Cell::new(false),
            gone: Cell::new(false),
            own: RefCell::default(),
            done: Cell::default(),
        }
    }

    /// How many attempts may be under way at once.
    fn limit(&self) -> usize {
        if self.failures_in_row.get() < BREAKER {
            self.destination.concurrency
        } else {
            1
        }
    }

    fn leads(&self) -> bool {
        self.leadership.borrow().is_some()
    }

    /// Something is being delivered, or could be now.
    pub fn is_busy(&self) -> bool {
        let paused = self
            .paused_until
            .get()
            .is_some_and(|until| until > Instant::now());
        let ready = self.lanes.borrow().is_ready(Instant::now()) && !paused;
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

    /// Decides what an attempt's result means for the delivery and for the notifier.
    fn judge(&self, http: &Http, delivery: &Delivery, result: Result<(), Failure>) -> Verdict {
        let now = Instant::now();
        let failure = match result {
            Ok(()) => {
                self.failures_in_row.set(0);
                self.renewed.set(false);
                return Verdict::Delivered;
            }
            Err(failure) => failure,
        };
        let error = failure.error().to_owned();
        self.own.borrow_mut().last_error = Some(error.clone());
        match failure {
            Failure::Permanent(_) => Verdict::Dead(error),
            Failure::Gone(_) => {
                self.gone.set(true);
                Verdict::Dead(error)
            }
            Failure::Denied(_) => {
                if self.renew(http) {
                    return Verdict::Retry(now, error);
                }
                self.pause(now + DENIED_PAUSE);
                Verdict::Retry(now + DENIED_PAUSE, error)
            }
            Failure::Retry { after, .. } => {
                let failures = self.failures_in_row.get() + 1;
                self.failures_in_row.set(failures);
                let wait = back_off(delivery.attempts).max(after.unwrap_or_default());
                if let Some(after) = after {
                    self.pause(now + after);
                } else if failures >= BREAKER {
                    self.pause(now + back_off(failures - BREAKER));
                }
                Verdict::Retry(now + wait, error)
            }
        }
    }

    fn give_up_when_old(&self, delivery: &Delivery, verdict: Verdict) -> Verdict {
        let age = Timestamp::now().duration_since(delivery.accepted);
        match verdict {
            Verdict::Retry(_, error)
                if age.unsigned_abs() > self.destination.max_age && age.is_positive() =>
            {
                Verdict::Dead(format!(
                    "given up after {:?}: {error}",
                    self.destination.max_age
                ))
            }
            verdict => verdict,
        }
    }

    fn mark(&self, delivery: &Delivery, started: Timestamp, verdict: &Verdict) -> Mark {
        let now = Timestamp::now().as_millisecond();
        let outcome = match verdict {
            Verdict::Delivered => MarkOutcome::Delivered,
            Verdict::Dead(error) => MarkOutcome::Dead(error.clone()),
            Verdict::Retry(due, error) => {
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
        }
    }

    /// The attempt is recorded: the lane goes on.
    fn settle(&self, mut delivery: Delivery, verdict: Verdict) {
        let mut lanes = self.lanes.borrow_mut();
        if let Verdict::Retry(due, _) = verdict {
            delivery.due = Some(due);
            return lanes.put_back(delivery);
        }
        lanes.finish(&delivery);
        let delivered = matches!(verdict, Verdict::Delivered);
        self.done.set(self.done.get().and(delivered));
        let mut own = self.own.borrow_mut();
        // What another process accepted is that one's to count.
        if own.open.remove(&delivery.id) {
            own.counts = own.counts.and(delivered);
        }
    }

    fn pause(&self, until: Instant) {
        self.paused_until
            .set(self.paused_until.get().max(Some(until)));
    }

    /// Builds the notifier again, once, so that a secret changed meanwhile is found.
    fn renew(&self, http: &Http) -> bool {
        if self.renewed.replace(true) {
            return false;
        }
        let built = (self.destination.kind.build)(&self.destination.section, http);
        built
            .map(|notifier| self.notifier.replace(notifier))
            .is_some()
    }
}

/// The time to the next attempt: 1 s doubled each time, at most 5 minutes, of which 50 to 100 %.
fn back_off(attempts: u32) -> Duration {
    let whole = Duration::from_secs(1)
        .saturating_mul(1 << attempts.min(16))
        .min(MAX_BACK_OFF);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        for (attempts, whole) in [(0, 1.0), (1, 2.0), (5, 32.0), (9, 300.0), (u32::MAX, 300.0)] {
            let seconds = back_off(attempts).as_secs_f64();
            assert!(
                (whole / 2.0..=whole).contains(&seconds),
                "{attempts}: {seconds}"
            );
        }
    }
}
