//! A worker per notifier: claims deliveries, makes attempts, records what became of them, backs off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::config::Destination;
use crate::event::Event;
use crate::exit::Exit;
use crate::http::Http;
use crate::notifier::{Failure, Message, Notifier};
use crate::spool::{Counts, Delivery, Outcome, Spool};
use crate::template::Context;

/// The longest time between two attempts at a delivery.
const MAX_BACK_OFF: Duration = Duration::from_secs(300);
/// How often refused credentials are tried again.
const DENIED_PAUSE: Duration = Duration::from_secs(300);
/// After so many failures in a row a notifier gets one attempt at a time.
const BREAKER: u32 = 5;

/// More than this waiting in memory slows the intake down.
const MOST_WAITING: usize = 512;
/// How long the intake waits for a delivery to finish before it takes more all the same.
const STALLED: Duration = Duration::from_millis(10);

/// Brings events to their destinations. All of it runs on one thread.
pub struct Deliverer {
    spool: Spool,
    http: Http,
    workers: RefCell<Vec<Rc<Worker>>>,
    /// Somewhere a delivery was finished.
    progress: Notify,
}

/// One destination and how it fares.
struct Worker {
    number: usize,
    destination: Destination,
    notifier: RefCell<Rc<dyn Notifier>>,
    /// There may be something to claim.
    wake: Notify,
    failures_in_row: Cell<u32>,
    /// Nothing is tried before this time.
    paused_until: Cell<Option<Instant>>,
    /// The secrets were read anew once since the credentials were last good.
    renewed: Cell<bool>,
    gone: Cell<bool>,
    last_error: RefCell<Option<String>>,
}

/// How a destination fares, for the summary.
pub struct Standing {
    pub name: String,
    pub counts: Counts,
    pub last_error: Option<String>,
}

impl Deliverer {
    pub fn new(http: Http) -> Rc<Deliverer> {
        Rc::new(Deliverer {
            spool: Spool::default(),
            http,
            workers: RefCell::default(),
            progress: Notify::new(),
        })
    }

    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Starts a worker for a destination and gives its number. Needs a `LocalSet`.
    pub fn add(self: &Rc<Self>, destination: Destination) -> usize {
        let worker = Rc::new(Worker {
            number: self.spool.add_notifier(),
            notifier: RefCell::new(destination.notifier.clone()),
            destination,
            wake: Notify::new(),
            failures_in_row: Cell::new(0),
            paused_until: Cell::new(None),
            renewed: Cell::new(false),
            gone: Cell::new(false),
            last_error: RefCell::default(),
        });
        self.workers.borrow_mut().push(worker.clone());
        tokio::task::spawn_local(run(self.clone(), worker.clone()));
        worker.number
    }

    /// Accepts an event for those of `candidates` that want it; how many do.
    pub fn accept(&self, event: Event, sequence: u64, candidates: &[usize]) -> usize {
        let event = Arc::new(event);
        let context = Context::new(event.clone());
        let workers = self.workers.borrow();
        let wanted: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|number| workers[*number].destination.rules.want(&context))
            .collect();
        self.spool.accept(event, sequence, &wanted);
        for number in &wanted {
            workers[*number].wake.notify_one();
        }
        wanted.len()
    }

    /// The number up to which every event is finished with.
    pub fn safe(&self) -> u64 {
        self.spool.safe()
    }

    /// How many deliveries are unfinished.
    pub fn waiting(&self) -> usize {
        self.spool.waiting()
    }

    /// Waits until some delivery is finished.
    pub async fn progress(&self) {
        self.progress.notified().await;
    }

    /// Slows whoever brings events down to the pace of the deliveries, as long as there are any.
    pub async fn make_room(&self) {
        while self.waiting() > MOST_WAITING {
            if tokio::time::timeout(STALLED, self.progress())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Waits until nothing is owed any more, at most `limit`.
    pub async fn drain(&self, limit: Duration) {
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

    pub fn standings(&self) -> Vec<Standing> {
        let workers = self.workers.borrow();
        let standing = |worker: &Rc<Worker>| Standing {
            name: worker.destination.name.clone(),
            counts: self.spool.counts(worker.number),
            last_error: worker.last_error.borrow().clone(),
        };
        workers.iter().map(standing).collect()
    }
}

/// What the exit status says of how it went.
pub fn exit_of(standings: &[Standing]) -> Exit {
    if standings.iter().any(|standing| standing.counts.dead > 0) {
        Exit::Refused
    } else if standings.iter().any(|standing| standing.counts.waiting > 0) {
        Exit::Undelivered
    } else {
        Exit::Ok
    }
}

/// One line on how it went: how many, where they are, and why some are not there.
pub fn summary(events: u64, standings: &[Standing]) -> String {
    let sum = |count: fn(&Counts) -> usize| -> usize {
        standings
            .iter()
            .map(|standing| count(&standing.counts))
            .sum()
    };
    let (delivered, waiting, dead) = (
        sum(|counts| counts.delivered),
        sum(|counts| counts.waiting),
        sum(|counts| counts.dead),
    );
    let plural = if events == 1 { "" } else { "s" };
    let mut text =
        format!("{events} event{plural}: {delivered} delivered, {waiting} waiting, {dead} dead");
    let reasons: Vec<String> = standings
        .iter()
        .filter(|standing| standing.counts.waiting + standing.counts.dead > 0)
        .map(|standing| {
            let reason = standing.last_error.as_deref().unwrap_or("no answer yet");
            format!("{}: {reason}", standing.name)
        })
        .collect();
    if !reasons.is_empty() {
        text.push_str(&format!(" ({})", reasons.join("; ")));
    }
    text
}

/// The life of a worker; it ends with the program.
async fn run(deliverer: Rc<Deliverer>, worker: Rc<Worker>) {
    let mut under_way: JoinSet<(Delivery, Result<(), Failure>)> = JoinSet::new();
    loop {
        let now = Instant::now();
        let paused = worker.paused_until.get().filter(|until| *until > now);
        while paused.is_none() && under_way.len() < worker.limit() {
            let Some(delivery) = deliverer.spool.claim(worker.number, now) else {
                break;
            };
            if worker.gone.get() {
                deliverer
                    .spool
                    .finish(worker.number, delivery, Outcome::Dead);
                deliverer.progress.notify_one();
                continue;
            }
            let notifier = worker.notifier.borrow().clone();
            let message = worker.message(&delivery);
            under_way.spawn_local(async move {
                let result = notifier.send(&message).await;
                (delivery, result)
            });
        }
        let next = paused.or_else(|| deliverer.spool.next_due(worker.number));
        tokio::select! {
            Some(done) = under_way.join_next() => {
                let (delivery, result) = done.expect("an attempt does not panic");
                let outcome = worker.judge(&deliverer.http, &delivery, result);
                deliverer.spool.finish(worker.number, delivery, outcome);
                deliverer.progress.notify_one();
            }
            () = worker.wake.notified() => {}
            () = sleep_until(next), if next.is_some() => {}
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

impl Worker {
    /// How many attempts may be under way at once.
    fn limit(&self) -> usize {
        if self.failures_in_row.get() < BREAKER {
            self.destination.concurrency
        } else {
            1
        }
    }

    /// Rendered at delivery: a template mended meanwhile mends what waits.
    fn message(&self, delivery: &Delivery) -> Message {
        let context = Context::new(delivery.event.clone());
        Message {
            id: delivery.event.id.clone(),
            payload: self.destination.payload.render(&context),
        }
    }

    /// Decides what an attempt's result means for the delivery and for the notifier.
    fn judge(&self, http: &Http, delivery: &Delivery, result: Result<(), Failure>) -> Outcome {
        let now = Instant::now();
        let failure = match result {
            Ok(()) => {
                self.failures_in_row.set(0);
                self.renewed.set(false);
                return Outcome::Delivered;
            }
            Err(failure) => failure,
        };
        *self.last_error.borrow_mut() = Some(failure.error().to_owned());
        match failure {
            Failure::Permanent(_) => Outcome::Dead,
            Failure::Gone(_) => {
                self.gone.set(true);
                Outcome::Dead
            }
            Failure::Denied(_) => {
                if self.renew(http) {
                    return Outcome::Retry(now);
                }
                self.pause(now + DENIED_PAUSE);
                Outcome::Retry(now + DENIED_PAUSE)
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
                Outcome::Retry(now + wait)
            }
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

    #[test]
    fn the_summary_says_what_is_where_and_why() {
        let counts = Counts {
            accepted: 4,
            delivered: 1,
            waiting: 2,
            dead: 1,
        };
        let standings = [
            Standing {
                name: "callback".into(),
                counts,
                last_error: Some("503 Service Unavailable".into()),
            },
            Standing {
                name: "ops".into(),
                counts: Counts::default(),
                last_error: Some("old".into()),
            },
        ];
        let expected =
            "4 events: 1 delivered, 2 waiting, 1 dead (callback: 503 Service Unavailable)";
        assert_eq!(summary(4, &standings), expected);
        assert_eq!(exit_of(&standings), Exit::Refused);
    }
}
