//! Consequences of an attempt: a verdict, its mark in the spool, and then the lane continues.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::attempt::{Outcome, Reply};
use super::{Step, Worker};
use crate::delivery::breaker::MAX_PAUSE;
use crate::delivery::destination::Destination;
use crate::delivery::lanes::Delivery;
use crate::delivery::shared::Shared;
use crate::delivery::threads;
use crate::delivery::verdict::{self, Verdict};
use crate::failpoint;
use crate::failure::Failure;
use crate::notifier::{Notifier, choice};
use crate::panics;
use crate::secret::{self, Answers};
use crate::spool::{self, DeliveryState, Mark};
use crate::text::{characters, cut};

/// Time after which a delivery is dead if its credentials are still rejected.
const MAX_DENIED: Duration = Duration::from_secs(24 * 3600);

/// Length limit of a stored error, in characters.
const MAX_ERROR: usize = 2000;

/// State of a notifier's credentials.
#[derive(Default)]
pub struct Credentials {
    /// True while the secrets are being read again.
    pub renewing: bool,
    /// Time at which they were read again since they were last accepted.
    renewed: Option<Instant>,
    /// True if the new credentials were rejected, too: the next attempt, after a pause, reads them again.
    pub refused: bool,
    /// Outcomes of rejected attempts, until the secrets have been read again.
    waiting: Vec<Outcome>,
}

/// Current secrets, compared with those that an attempt used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrets {
    Unchanged,
    Renewed,
}

/// Attempt whose mark was written, or could not be.
pub struct Recorded {
    claimed: Vec<Delivery>,
    verdict: Verdict,
    mark: Mark,
    result: Result<(), spool::Error>,
}

impl Worker {
    /// Applies the consequences of an attempt.
    pub(super) fn conclude(&mut self, outcome: Outcome) {
        if !matches!(outcome.reply.result, Err(Failure::Denied(_))) {
            return self.judge(outcome, Secrets::Unchanged);
        }
        // Right away: a command that reads a secret may take a while.
        self.breaker.denied();
        match self.credentials.renewed {
            // Another attempt is worthwhile if this one started before the secrets were read again.
            Some(renewed) => {
                let secrets = match outcome.begun < renewed {
                    true => Secrets::Renewed,
                    false => Secrets::Unchanged,
                };
                self.judge(outcome, secrets);
            }
            None => {
                self.credentials.waiting.push(outcome);
                self.renew();
            }
        }
    }

    /// Reads the secrets again, to pick up changes. No attempt starts until then.
    pub(super) fn renew(&mut self) {
        self.credentials.refused = false;
        if !std::mem::replace(&mut self.credentials.renewing, true) {
            let (destination, shared) = (self.handle.destination.clone(), self.shared.clone());
            self.steps.spawn_local(async move {
                let notifier = rebuild(&destination, &shared).await;
                Step::Renewed(notifier)
            });
        }
    }

    /// Takes the notifier with the current secrets; None if they could not be read.
    pub(super) fn finish_renewal(&mut self, notifier: Option<Rc<dyn Notifier>>) {
        self.credentials.renewing = false;
        self.credentials.renewed = Some(Instant::now());
        let mut secrets = Secrets::Unchanged;
        if let Some(notifier) = notifier {
            (self.notifier, secrets) = (notifier, Secrets::Renewed);
        }
        for outcome in std::mem::take(&mut self.credentials.waiting) {
            self.judge(outcome, secrets);
        }
    }

    /// Turns an outcome into a verdict, and records it.
    fn judge(&mut self, outcome: Outcome, secrets: Secrets) {
        let mut claimed = outcome.claimed;
        let Reply {
            result,
            reached,
            note,
            message,
            threads,
        } = outcome.reply;
        let verdict = self.verdict(&claimed, secrets, result);
        let began = (outcome.started, outcome.begun);
        let verdict = unless_too_old(&mut claimed[0], began, outcome.earlier, verdict);
        claimed[0].reached.extend(reached);
        for delivery in &mut claimed {
            delivery.attempts += 1;
        }
        let mut mark = self.mark(&claimed, outcome.started, &verdict, (note, threads));
        mark.message = message;
        if mark.deliveries.is_empty() {
            self.threads.extend(mark.threads);
            self.settle(claimed, verdict);
        } else {
            let unrecorded = &self.handle.unrecorded;
            unrecorded.set(unrecorded.get() + 1);
            let shared = self.shared.clone();
            self.steps.spawn_local(async move {
                let recorded = record(&shared, claimed, verdict, mark).await;
                Step::Recorded(recorded)
            });
        }
    }

    /// Turns a result into a verdict and updates the breaker.
    fn verdict(
        &mut self,
        claimed: &[Delivery],
        secrets: Secrets,
        result: Result<(), Failure>,
    ) -> Verdict {
        let (destination, now) = (&self.handle.destination, Instant::now());
        let failure = match result {
            Ok(()) => {
                self.credentials.renewed = None;
                let reopened = self.breaker.succeeded();
                return Verdict::Delivered { reopened };
            }
            Err(failure) => failure,
        };
        // The service's answer may repeat what it was sent, and stored text is not masked later.
        let error = secret::redact(failure.error());
        let mut error = cut(&error, MAX_ERROR, characters).into_owned();
        let mut most = destination.max_age;
        let mut together = claimed.len();
        let wait = match failure {
            Failure::Permanent(_) => None,
            Failure::TooLarge(_) if destination.sends_batch(claimed) => {
                error.push_str("; retrying with half the batch");
                together = claimed.len() / 2;
                Some(Duration::ZERO)
            }
            Failure::TooLarge(_) => {
                error.push_str("; still too large when cut");
                None
            }
            Failure::Gone(_) => {
                self.breaker.turn_off(|| destination.section.fingerprint());
                error.push_str("; off until its configuration changes");
                None
            }
            Failure::Denied(_) if secrets == Secrets::Renewed => Some(Duration::ZERO),
            Failure::Denied(_) => {
                most = most.min(MAX_DENIED);
                self.credentials.refused = true;
                Some(self.breaker.denied_again(now))
            }
            Failure::Retry { after, .. } => {
                Some(self.breaker.failed(claimed[0].attempts, after, now))
            }
        };
        self.handle.own.borrow_mut().last_error = Some(error.clone());
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

    fn mark(
        &self,
        claimed: &[Delivery],
        started: Timestamp,
        verdict: &Verdict,
        (note, mut threads): (Option<String>, Vec<(String, String)>),
    ) -> Mark {
        let now = Timestamp::now().as_millisecond();
        let ids = claimed.iter().map(|delivery| delivery.id);
        if !matches!(verdict, Verdict::Delivered { .. }) {
            threads.extend(threads::keep_reached(&claimed[0]));
        }
        Mark {
            // Deliveries without a place in the spool have nothing to mark there.
            deliveries: ids.filter(|id| *id > 0).collect(),
            destination: self.handle.id,
            started: started.as_millisecond(),
            duration: (now - started.as_millisecond()).max(0),
            state: verdict.state(),
            next_at: verdict.next_at(),
            note: verdict.error().map(str::to_owned).or(note),
            keep_body: self.handle.destination.keep_bodies,
            message: None,
            breaker: self.breaker.row(Instant::now()),
            reopened: matches!(verdict, Verdict::Delivered { reopened: true }),
            threads,
        }
    }

    /// Continues after an attempt whose mark was written, or could not be.
    pub(super) fn finish_recording(&mut self, recorded: Recorded) {
        let mut mark = recorded.mark;
        match recorded.result {
            Ok(()) => {
                let unrecorded = &self.handle.unrecorded;
                unrecorded.set(unrecorded.get() - 1);
                self.stored = mark.breaker;
                for (key, _) in &mark.threads {
                    self.threads.remove(key);
                }
            }
            Err(error) => {
                self.shared.complain(&format!(
                    "deliveries cannot be recorded now and may be repeated: {error}"
                ));
                self.threads.extend(mark.threads.clone());
                mark.message = None;
                self.unrecorded.push(mark);
            }
        }
        self.settle(recorded.claimed, recorded.verdict);
    }

    /// Continues the lane once the attempt is recorded: only then, so that order and counts hold.
    fn settle(&mut self, mut claimed: Vec<Delivery>, verdict: Verdict) {
        failpoint::pass("after_mark");
        let (state, now) = (verdict.state(), Instant::now());
        let (lanes, handle) = (&mut self.window.lanes, &self.handle);
        handle.under_way.set(handle.under_way.get() - 1);
        self.shared.progress.notify_one();
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
        let mut own = handle.own.borrow_mut();
        for delivery in &claimed {
            self.shared.forget(delivery.id);
            handle.done.set(handle.done.get().and(state));
            // Deliveries accepted by another process are counted there.
            own.finish(delivery.id, state);
        }
    }

    /// Records the marks that the spool did not take earlier.
    pub(super) async fn catch_up(&mut self) -> Result<(), spool::Error> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let mut marks = self.unrecorded.clone();
        for mark in &mut marks {
            // The breaker's state at that time no longer matters.
            (mark.breaker, mark.reopened) = (self.breaker.row(Instant::now()), false);
        }
        self.shared.spool().mark_all(marks).await?;
        let unrecorded = &self.handle.unrecorded;
        unrecorded.set(unrecorded.get() - self.unrecorded.len());
        self.unrecorded.clear();
        Ok(())
    }
}

/// Stores the consequences of an attempt for the deliveries and for the destination.
async fn record(
    shared: &Shared,
    claimed: Vec<Delivery>,
    verdict: Verdict,
    mut mark: Mark,
) -> Recorded {
    failpoint::pass("before_mark");
    let mut result = shared.spool().mark(mark.clone()).await;
    if result.is_err() {
        // The first failure may have made room, and dropping a body would take some of it.
        (mark.keep_body, mark.message) = (true, None);
        result = shared.spool().mark(mark.clone()).await;
    }
    Recorded {
        claimed,
        verdict,
        mark,
        result,
    }
}

/// Turns a retry into a permanent failure if the delivery, with an attempt begun at this time, has been
/// failing for too long; time spent only waiting does not count.
fn unless_too_old(
    delivery: &mut Delivery,
    (started, begun): (Timestamp, Instant),
    mut earlier: Vec<i64>,
    verdict: Verdict,
) -> Verdict {
    let Verdict::Retry { most, .. } = verdict else {
        return verdict;
    };
    let (since, before) = *delivery.failing.get_or_insert_with(|| {
        earlier.push(started.as_millisecond());
        let before = verdict::time_between(&earlier, MAX_PAUSE.min(most / 4));
        (begun, before)
    });
    verdict.unless_failing_for(before + since.elapsed())
}

/// Builds a notifier again. Returns None if not all of its secrets can be read.
async fn rebuild(destination: &Destination, shared: &Shared) -> Option<Rc<dyn Notifier>> {
    let section = &destination.section;
    let build = || choice::build(destination.kind, section, shared.http());
    let answers = Answers::of(section.commands()).await;
    let built = answers.used_by(|| panics::caught(build));
    // Problems of one reading do not affect the next.
    let problems = section.take_problems();
    built.ok().flatten().filter(|_| problems.is_empty())
}
