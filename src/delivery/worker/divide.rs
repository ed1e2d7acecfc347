//! Verdicts for the deliveries of one attempt that differ: a batch whose receiver answered for each event, and
//! deliveries of different age.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Worker;
use crate::delivery::breaker::{MAX_PAUSE, back_off};
use crate::delivery::lanes::Delivery;
use crate::delivery::verdict::{self, Verdict};
use crate::failure::Failure;

/// Longest back-off of deliveries of which the others of their batch arrived: the endpoint works, and those behind
/// them wait, too.
const MAX_PARTIAL: Duration = Duration::from_secs(5);

/// Deliveries of an attempt that share a verdict.
pub type Part = (Vec<Delivery>, Verdict);

/// Beginning of an attempt, and the times of those before this process's first one at its first delivery, in
/// milliseconds since 1970.
pub struct Began {
    pub started: Timestamp,
    pub begun: Instant,
    pub earlier: Vec<i64>,
    /// Number of that delivery.
    pub first: i64,
}

impl Worker {
    /// Divides a batch by the results of its deliveries, and updates the breaker: a failure counts only if
    /// nothing arrived.
    pub(super) fn divide(
        &mut self,
        claimed: Vec<Delivery>,
        each: Vec<Result<(), Failure>>,
    ) -> Vec<Part> {
        let size = claimed.len();
        let (mut arrived, mut again) = (Vec::new(), Vec::new());
        let mut dead: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
        for (delivery, result) in claimed.into_iter().zip(each) {
            match result {
                Ok(()) => arrived.push(delivery),
                Err(failure @ (Failure::Permanent(_) | Failure::Gone(_))) => {
                    let error = verdict::stored(&failure);
                    dead.entry(error).or_default().push(delivery);
                }
                Err(failure) => again.push((delivery, failure)),
            }
        }
        let is_partial = !arrived.is_empty();
        let mut parts = Vec::new();
        if is_partial {
            parts.push((arrived, self.succeeded()));
        }
        let dead = dead.into_iter();
        parts.extend(dead.map(|(error, deliveries)| (deliveries, Verdict::Dead(error))));
        if !again.is_empty() {
            parts.push(self.again(again, size, is_partial));
        }
        let error = parts.iter().rev().find_map(|(_, verdict)| verdict.error());
        self.handle.own.borrow_mut().last_error = error.map(str::to_owned);
        parts
    }

    /// Returns those of a batch of `size` deliveries that are tried again, with their verdict.
    fn again(&mut self, again: Vec<(Delivery, Failure)>, size: usize, is_partial: bool) -> Part {
        let now = Instant::now();
        let (deliveries, failures): (Vec<_>, Vec<_>) = again.into_iter().unzip();
        // One that is too large is tried alone, and then cut.
        let is_large = |failure: &Failure| matches!(failure, Failure::TooLarge(_));
        let most = self.handle.destination.grouping.most;
        let together = failures.iter().position(is_large);
        let together = together.map_or(most, |before| before.max(1));
        if failures.iter().all(Failure::is_untried) {
            return (deliveries, Verdict::Untried { together });
        }
        let pause = |failure: &Failure| match failure {
            Failure::Retry { after, .. } => *after,
            _ => None,
        };
        let after = failures.iter().filter_map(pause).max();
        let attempts = deliveries[0].attempts;
        let wait = match &failures[0] {
            Failure::TooLarge(_) => Duration::ZERO,
            _ if is_partial => {
                self.window.lanes.shrink(size);
                let wait = back_off(attempts).min(MAX_PARTIAL);
                wait.max(after.unwrap_or_default())
            }
            _ => self.breaker.failed(attempts, after, now),
        };
        let error = verdict::stored(&failures[0]);
        let verdict = Verdict::Retry {
            due: now + wait,
            error: format!("{} of {size} events: {error}", failures.len()),
            most: self.handle.destination.max_age,
            together,
        };
        (deliveries, verdict)
    }
}

/// Gives up those deliveries of a part that have been failing for too long. Those of which nothing else is known have
/// been failing as long as the first one.
pub fn by_age((mut claimed, verdict): Part, began: &Began) -> Vec<Part> {
    let Verdict::Retry { most, together, .. } = verdict else {
        return vec![(claimed, verdict)];
    };
    note_age(&mut claimed, most, began);
    let is_too_old = |delivery: &Delivery| {
        let failing = delivery.failing;
        failing.is_some_and(|(since, before)| before + since.elapsed() > most)
    };
    let (old, young): (Vec<_>, Vec<_>) = claimed.into_iter().partition(is_too_old);
    let Verdict::Retry { due, error, .. } = verdict else {
        return Vec::new();
    };
    let given_up = Verdict::Dead(format!("given up after {most:?}: {error}"));
    let together = match old.is_empty() {
        true => together,
        false => together.min(young.len()),
    };
    let again = Verdict::Retry {
        due,
        error,
        most,
        together,
    };
    let parts = [(old, given_up), (young, again)];
    parts
        .into_iter()
        .filter(|(deliveries, _)| !deliveries.is_empty())
        .collect()
}

/// Notes since when the deliveries of a failed attempt have been failing; time spent only waiting does not count.
fn note_age(claimed: &mut [Delivery], most: Duration, began: &Began) {
    let Some(first) = claimed.first_mut() else {
        return;
    };
    let is_known = first.id == began.first;
    let age = *first.failing.get_or_insert_with(|| {
        let mut times = if is_known {
            began.earlier.clone()
        } else {
            Vec::new()
        };
        times.push(began.started.as_millisecond());
        let before = verdict::time_between(&times, MAX_PAUSE.min(most / 4));
        (began.begun, before)
    });
    for other in claimed {
        let new = (began.begun, Duration::ZERO);
        let age = if other.attempts == 0 { new } else { age };
        other.failing.get_or_insert(age);
    }
}
