//! Consequences of an attempt: a verdict, its mark in the spool, and then the lane continues.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::attempt::{Outcome, Reply};
use super::divide::{Began, Part, by_age};
use super::{Step, Worker};
use crate::delivery::destination::Destination;
use crate::delivery::lanes::Delivery;
use crate::delivery::shared::Shared;
use crate::delivery::threads;
use crate::delivery::verdict::{self, Verdict};
use crate::failpoint;
use crate::failure::Failure;
use crate::notifier::{Notifier, choice};
use crate::panics;
use crate::secret::Answers;
use crate::spool::{self, DeliveryState, Mark, Urgency};

/// Time after which a delivery is dead if its credentials are still rejected.
const MAX_DENIED: Duration = Duration::from_secs(24 * 3600);

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

/// Attempt whose marks were written, or could not be.
pub struct Recorded {
    parts: Vec<Part>,
    marks: Vec<Mark>,
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

    /// Turns an outcome into verdicts, and records them.
    fn judge(&mut self, outcome: Outcome, secrets: Secrets) {
        let mut claimed = outcome.claimed;
        let Reply {
            result,
            each,
            reached,
            note,
            message,
            threads,
        } = outcome.reply;
        claimed[0].reached.extend(reached);
        let began = Began {
            started: outcome.started,
            begun: outcome.begun,
            earlier: outcome.earlier,
            first: claimed[0].id,
        };
        let parts = match each.is_empty() {
            true => {
                let verdict = self.verdict(&claimed, secrets, result);
                vec![(claimed, verdict)]
            }
            false => self.divide(claimed, each),
        };
        let parts = parts.into_iter().flat_map(|part| by_age(part, &began));
        let mut parts: Vec<Part> = parts.collect();
        let mut marks = Vec::new();
        for (claimed, verdict) in &mut parts {
            if matches!(verdict, Verdict::Untried { .. }) {
                continue;
            }
            for delivery in claimed.iter_mut() {
                delivery.attempts += 1;
            }
            let said = (note.clone(), threads.clone());
            let mut mark = self.mark(claimed, began.started, verdict, said);
            mark.message = message.clone();
            marks.push(mark);
        }
        self.write(parts, marks);
    }

    /// Writes the marks of an attempt, in one transaction; then the lane continues.
    fn write(&mut self, parts: Vec<Part>, marks: Vec<Mark>) {
        let (marks, unspooled): (Vec<_>, Vec<_>) = marks
            .into_iter()
            .partition(|mark| !mark.deliveries.is_empty());
        let threads = unspooled.into_iter().flat_map(|mark| mark.threads);
        self.threads.extend(threads);
        if marks.is_empty() {
            return self.settle(parts);
        }
        let unrecorded = &self.handle.unrecorded;
        unrecorded.set(unrecorded.get() + marks.len());
        let shared = self.shared.clone();
        let may_wait = |(claimed, verdict): &Part| {
            verdict.state() == DeliveryState::Delivered && !self.window.waits_for(claimed)
        };
        let urgency = match parts.iter().all(may_wait) {
            true => Urgency::Soon,
            false => Urgency::Now,
        };
        self.steps.spawn_local(async move {
            let recorded = record(&shared, parts, marks, urgency).await;
            Step::Recorded(recorded)
        });
    }

    /// Notes a success, and returns its verdict.
    pub(super) fn succeeded(&mut self) -> Verdict {
        self.credentials.renewed = None;
        let reopened = self.breaker.succeeded();
        Verdict::Delivered { reopened }
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
                self.window.lanes.grow();
                return self.succeeded();
            }
            Err(failure) => failure,
        };
        let mut error = verdict::stored(&failure);
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
        let marks = recorded.marks;
        match recorded.result {
            Ok(()) => {
                let unrecorded = &self.handle.unrecorded;
                unrecorded.set(unrecorded.get() - marks.len());
                for mark in marks {
                    self.stored = mark.breaker;
                    for (key, _) in &mark.threads {
                        self.threads.remove(key);
                    }
                }
            }
            Err(error) => {
                self.shared.complain(&format!(
                    "deliveries cannot be recorded now and may be repeated: {error}"
                ));
                for mut mark in marks {
                    self.threads.extend(mark.threads.clone());
                    mark.message = None;
                    self.unrecorded.push(mark);
                }
            }
        }
        self.settle(recorded.parts);
    }

    /// Continues the lane once the attempt is recorded: only then, so that order and counts hold.
    fn settle(&mut self, parts: Vec<Part>) {
        failpoint::pass("after_mark");
        let (now, mut again) = (Instant::now(), None);
        let (lanes, handle) = (&mut self.window.lanes, &self.handle);
        handle.under_way.set(handle.under_way.get() - 1);
        self.shared.progress.notify_one();
        let mut finished = Vec::new();
        for (mut claimed, verdict) in parts {
            match verdict {
                Verdict::Retry { due, together, .. } => {
                    claimed[0].due = Some(due);
                    again = Some((claimed, together));
                    continue;
                }
                Verdict::Untried { together } => {
                    claimed[0].due = None;
                    again = Some((claimed, together));
                    continue;
                }
                _ => {}
            }
            if matches!(verdict, Verdict::Delivered { reopened: true }) {
                lanes.release();
            }
            let state = verdict.state();
            if state == DeliveryState::Delivered || !claimed[0].reached.is_empty() {
                lanes.opened(&claimed[0].event.run.id);
            }
            let mut own = handle.own.borrow_mut();
            for delivery in &claimed {
                self.shared.forget(delivery.id);
                handle.done.set(handle.done.get().and(state));
                // Deliveries accepted by another process are counted there.
                own.finish(delivery.id, state);
            }
            finished.extend(claimed);
        }
        match again {
            None => lanes.finish(&finished, now),
            Some((again, together)) => {
                lanes.retire(&finished, now);
                lanes.put_back(again, together, now);
            }
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
    parts: Vec<Part>,
    mut marks: Vec<Mark>,
    urgency: Urgency,
) -> Recorded {
    failpoint::pass("before_mark");
    let mut result = shared.spool().mark(marks.clone(), urgency).await;
    if result.is_err() {
        // The first failure may have made room, and dropping a body would take some of it.
        for mark in &mut marks {
            (mark.keep_body, mark.message) = (true, None);
        }
        result = shared.spool().mark(marks.clone(), Urgency::Now).await;
    }
    Recorded {
        parts,
        marks,
        result,
    }
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
