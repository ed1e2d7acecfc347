//! Attempts: sending, judging the result, and recording it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Worker;
use crate::delivery::breaker::MAX_PAUSE;
use crate::delivery::lanes::Delivery;
use crate::delivery::shared::Shared;
use crate::delivery::threads::{self};
use crate::delivery::verdict::{self, Verdict};
use crate::event::Event;
use crate::event::shorten::shortened;
use crate::failpoint;
use crate::failure::Failure;
use crate::message::Receipts;
use crate::net::http::Http;
use crate::notifier::Thread;
use crate::notifier::choice;
use crate::panics;
use crate::secret::{self, Answers};
use crate::spool::{self, DeliveryState, Mark, Spool};
use crate::text::{characters, cut};

/// Time after which a delivery fails permanently if its credentials are still refused.
const MAX_DENIED: Duration = Duration::from_secs(24 * 3600);

/// Length limit of a stored error, in characters.
const MAX_ERROR: usize = 2000;

/// Makes one attempt and records it: only then does its lane reopen, so that order and counts hold.
pub async fn attempt(shared: Rc<Shared>, worker: Rc<Worker>, mut claimed: Vec<Delivery>) {
    worker.renew_after_pause(shared.http()).await;
    let (started, begun) = (Timestamp::now(), Instant::now());
    let outcome = if worker.breaker.borrow().is_off() {
        Failure::Gone("the endpoint answered 410 Gone before".to_owned()).into()
    } else {
        failpoint::pass("before_send");
        let told = worker.tell(&shared, &claimed);
        let told = Box::pin(worker.noting(&claimed, panics::caught_async(told)));
        let told = worker.in_turn(&shared.turns, &claimed, told).await;
        told.unwrap_or_else(|fault| Failure::Permanent(fault).into())
    };
    failpoint::pass("after_send");
    let renewed = match outcome.result {
        Err(Failure::Denied(_)) => {
            // Right away: a command that reads a secret may take a while.
            worker.breaker.borrow_mut().denied();
            worker.renew(shared.http(), begun).await
        }
        _ => false,
    };
    let verdict = worker.judge(&claimed, renewed, outcome.result);
    let verdict = worker
        .unless_too_old(&shared, &mut claimed[0], (started, begun), verdict)
        .await;
    claimed[0].reached.extend(outcome.reached);
    for delivery in &mut claimed {
        delivery.attempts += 1;
    }
    let mark = worker.mark(&claimed, started, &verdict, outcome.kept);
    if mark.deliveries.is_empty() {
        worker.threads.borrow_mut().extend(mark.threads);
    } else {
        worker.record(&shared, mark).await;
    }
    if !matches!(verdict, Verdict::Retry { .. }) {
        claimed.iter().for_each(|one| shared.forget(one.id));
    }
    failpoint::pass("after_mark");
    worker.settle(claimed, verdict);
    worker.under_way.set(worker.under_way.get() - 1);
}

/// Outcome of an attempt.
struct Outcome {
    result: Result<(), Failure>,
    /// Recipients that it reached, even if it failed.
    reached: Receipts,
    kept: Kept,
}

/// By-products of an attempt that the spool keeps.
#[derive(Default)]
struct Kept {
    /// Error of a template that failed.
    note: Option<String>,
    threads: Vec<(String, String)>,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        Outcome {
            result: Err(failure),
            reached: Receipts::new(),
            kept: Kept::default(),
        }
    }
}

impl Worker {
    /// Turns a result into a verdict and updates the breaker; `renewed` if refused secrets were read again.
    fn judge(&self, claimed: &[Delivery], renewed: bool, result: Result<(), Failure>) -> Verdict {
        let mut breaker = self.breaker.borrow_mut();
        let now = Instant::now();
        let failure = match result {
            Ok(()) => {
                self.renewed.set(None);
                let reopened = breaker.succeeded();
                return Verdict::Delivered { reopened };
            }
            Err(failure) => failure,
        };
        // The service's answer may repeat what it was sent, and stored text is not masked later.
        let error = secret::redact(failure.error());
        let mut error = cut(&error, MAX_ERROR, characters).into_owned();
        let mut most = self.destination.max_age;
        let mut together = claimed.len();
        let wait = match failure {
            Failure::Permanent(_) => None,
            Failure::TooLarge(_) if self.sends_batch(claimed) => {
                error.push_str("; retrying with half the batch");
                together = claimed.len() / 2;
                Some(Duration::ZERO)
            }
            Failure::TooLarge(_) => {
                error.push_str("; still too large when cut");
                None
            }
            Failure::Gone(_) => {
                breaker.turn_off(|| self.destination.section.fingerprint());
                error.push_str("; off until its configuration changes");
                None
            }
            Failure::Denied(_) => {
                if renewed {
                    Some(Duration::ZERO)
                } else {
                    most = most.min(MAX_DENIED);
                    self.refused.set(true);
                    Some(breaker.denied_again(now))
                }
            }
            Failure::Retry { after, .. } => Some(breaker.failed(claimed[0].attempts, after, now)),
        };
        self.own.borrow_mut().last_error = Some(error.clone());
        match wait {
            Some(wait) => Verdict::Retry {
                due: now + wait,
                error,
                most,
                together,
            },
            None => Verdict::Dead(error),
        }
    }

    /// Turns a retry into a permanent failure if the delivery, with an attempt begun at this time, has been
    /// failing for too long; time spent only waiting does not count.
    async fn unless_too_old(
        &self,
        shared: &Shared,
        delivery: &mut Delivery,
        (started, begun): (Timestamp, Instant),
        verdict: Verdict,
    ) -> Verdict {
        let Verdict::Retry { most, .. } = verdict else {
            return verdict;
        };
        let (since, before) = match delivery.failing {
            Some(failing) => failing,
            None => {
                let before = self.failed_before(shared, delivery, started, most).await;
                (begun, before)
            }
        };
        delivery.failing = Some((since, before));
        verdict.unless_failing_for(before + since.elapsed())
    }

    /// Returns how long a delivery had been failing in other processes when this one's attempt began.
    async fn failed_before(
        &self,
        shared: &Shared,
        delivery: &Delivery,
        started: Timestamp,
        most: Duration,
    ) -> Duration {
        if delivery.attempts == 0 || delivery.id < 0 {
            return Duration::ZERO;
        }
        let times = shared.spool().attempt_times(delivery.id).await;
        let mut times = times.unwrap_or_default();
        times.push(started.as_millisecond());
        verdict::time_between(&times, MAX_PAUSE.min(most / 4))
    }

    fn sends_batch(&self, claimed: &[Delivery]) -> bool {
        self.destination.grouping.is_batch() && claimed.len() > 1
    }

    /// Makes one attempt at the claimed deliveries; for an event that is too large, one more after cutting it.
    async fn tell(&self, shared: &Shared, claimed: &[Delivery]) -> Outcome {
        let mut events = Vec::new();
        for one in claimed {
            match self.whole(shared.spool(), one).await {
                Ok(event) => events.push(event),
                Err(failure) => return failure.into(),
            }
        }
        let reached = claimed[0].reached.clone();
        let first = self.send(shared, claimed, events.clone(), reached).await;
        if self.sends_batch(claimed) || !matches!(first.result, Err(Failure::TooLarge(_))) {
            return first;
        }
        let short = events.iter().map(|event| Arc::new(shortened(event)));
        let second = self.send(shared, claimed, short.collect(), first.reached.clone());
        let second = panics::caught_async(second).await;
        second.unwrap_or_else(|fault| Outcome {
            reached: first.reached,
            ..Failure::Permanent(fault).into()
        })
    }

    /// Sends one message to all recipients except those already reached; the outcome includes those.
    async fn send(
        &self,
        shared: &Shared,
        claimed: &[Delivery],
        events: Vec<Arc<Event>>,
        reached: Receipts,
    ) -> Outcome {
        let notifier = self.notifier.borrow().clone();
        failpoint::pass_for("make_message", claimed[0].event.host_name());
        // Rendered at delivery: fixing a template also fixes pending deliveries.
        let mut message = self.destination.message(events);
        message.reached = reached;
        let threads = notifier.thread() != Thread::None;
        if threads {
            let event = &claimed[0].event;
            let keys = threads::keys(event);
            let kept = shared.spool().threads(self.id, keys).await;
            // If the spool cannot be read, the message begins a new thread.
            let mut kept = kept.unwrap_or_default();
            kept.extend(self.threads.borrow().clone());
            message.threads = threads::recall(event, kept);
        }
        let result = match notifier.send(&message).await {
            Ok(sent) => {
                message.note = sent.note().or(message.note);
                message.reached.extend(sent.reached);
                sent.failure.map_or(Ok(()), Err)
            }
            Err(failure) => Err(failure),
        };
        let delivered = result.is_ok();
        let threads = match notifier.thread() {
            Thread::None => Vec::new(),
            relation => threads::keep(&message, delivered, relation),
        };
        let note = message.note.filter(|_| delivered);
        let note = note.map(|note| secret::redact(&note));
        Outcome {
            result,
            reached: message.reached,
            kept: Kept { note, threads },
        }
    }

    /// Stores the consequences of an attempt for the deliveries and for the destination.
    async fn record(&self, shared: &Shared, mut mark: Mark) {
        failpoint::pass("before_mark");
        let mut recorded = shared.spool().mark(mark.clone()).await;
        if recorded.is_err() {
            // The first failure may have made room, and dropping a body would take some of it.
            mark.keep_body = true;
            recorded = shared.spool().mark(mark.clone()).await;
        }
        match recorded {
            Ok(()) => {
                self.stored.replace(mark.breaker);
                let mut threads = self.threads.borrow_mut();
                for (key, _) in &mark.threads {
                    threads.remove(key);
                }
            }
            Err(error) => {
                shared.complain(&format!(
                    "deliveries cannot be recorded now and may be repeated: {error}"
                ));
                self.threads.borrow_mut().extend(mark.threads.clone());
                self.unrecorded.borrow_mut().push(mark);
            }
        }
    }

    /// Records the marks that the spool did not take earlier.
    pub async fn catch_up(&self, spool: &Spool) -> Result<(), spool::Error> {
        // Marks that are on their way must not seem to be recorded.
        let _one = self.catching_up.lock().await;
        let mut marks = self.unrecorded.take();
        if marks.is_empty() {
            return Ok(());
        }
        for mark in &mut marks {
            // The breaker's state at that time no longer matters.
            (mark.breaker, mark.reopened) = (self.breaker.borrow().row(Instant::now()), false);
        }
        let kept = marks.clone();
        let recorded = spool.mark_all(marks).await;
        if recorded.is_err() {
            self.unrecorded.borrow_mut().splice(0..0, kept);
        }
        recorded
    }

    fn mark(
        &self,
        claimed: &[Delivery],
        started: Timestamp,
        verdict: &Verdict,
        kept: Kept,
    ) -> Mark {
        let now = Timestamp::now().as_millisecond();
        let ids = claimed.iter().map(|delivery| delivery.id);
        let mut threads = kept.threads;
        if !matches!(verdict, Verdict::Delivered { .. }) {
            threads.extend(threads::keep_reached(&claimed[0]));
        }
        Mark {
            // Deliveries without a place in the spool have nothing to mark there.
            deliveries: ids.filter(|id| *id > 0).collect(),
            destination: self.id,
            started: started.as_millisecond(),
            duration: (now - started.as_millisecond()).max(0),
            state: verdict.state(),
            next_at: verdict.next_at(),
            note: verdict.error().map(str::to_owned).or(kept.note),
            keep_body: self.destination.keep_bodies,
            breaker: self.breaker.borrow().row(Instant::now()),
            reopened: matches!(verdict, Verdict::Delivered { reopened: true }),
            threads,
        }
    }

    /// Continues the lane once the attempt is recorded.
    fn settle(&self, mut claimed: Vec<Delivery>, verdict: Verdict) {
        let state = verdict.state();
        let (lanes, now) = (&mut self.window.borrow_mut().lanes, Instant::now());
        if let Verdict::Retry { due, together, .. } = verdict {
            claimed[0].due = Some(due);
            return lanes.put_back(claimed, together, now);
        }
        if matches!(verdict, Verdict::Delivered { reopened: true }) {
            lanes.release();
        }
        if state == DeliveryState::Delivered || !claimed[0].reached.is_empty() {
            lanes.opened(&claimed[0].event.run.id);
        }
        lanes.finish(&claimed, now);
        let mut own = self.own.borrow_mut();
        for delivery in &claimed {
            self.done.set(self.done.get().and(state));
            // Deliveries accepted by another process are counted there.
            own.finish(delivery.id, state);
        }
    }

    /// Rebuilds the notifier, once, so that a secret changed meanwhile is picked up. Returns true if
    /// another attempt is worthwhile: one begun before the rebuild used the old secret.
    async fn renew(&self, http: &Http, begun: Instant) -> bool {
        let _one = self.renewing.lock().await;
        if let Some(renewed) = self.renewed.get() {
            return begun < renewed;
        }
        self.build(http).await
    }

    /// Rebuilds the notifier after a pause for refused credentials, as they may have changed.
    async fn renew_after_pause(&self, http: &Http) {
        if self.refused.take() {
            self.build(http).await;
        }
    }

    /// Rebuilds the notifier. Returns true if all its secrets could be read; otherwise the old one stays.
    async fn build(&self, http: &Http) -> bool {
        let section = &self.destination.section;
        let build = || choice::build(self.destination.kind, section, http);
        let answers = Answers::of(section.commands()).await;
        let built = answers.used_by(|| panics::caught(build));
        let built = built.ok().flatten();
        self.renewed.set(Some(Instant::now()));
        // Problems of one reading say nothing about the next.
        let problems = section.take_problems();
        built
            .filter(|_| problems.is_empty())
            .map(|notifier| self.notifier.replace(notifier))
            .is_some()
    }
}
