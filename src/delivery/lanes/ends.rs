//! Ends of runs: each waits until the other deliveries of its run are done with, so that it is the last one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Delivery;

/// The least time without any progress after which an end waits no longer for what could go on.
const STALL: Duration = Duration::from_secs(2);

/// The longest time that an end is held for what fails.
const LONGEST: Duration = Duration::from_secs(3600);

/// Ends that wait.
#[derive(Debug)]
pub struct Ends {
    held: Vec<Held>,
    /// Longest time that an end waits for deliveries that fail or get nowhere.
    hold: Duration,
    /// Time at which a delivery was last finished, or none could be tried because the notifier was paused.
    moved: Instant,
    /// No end waits for deliveries that fail.
    pub hurry: bool,
}

#[derive(Debug)]
struct Held {
    end: Delivery,
    /// End of the wait for deliveries that fail.
    until: Instant,
}

/// Deliveries of its run that are before an end.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// Can go on.
    active: Earliest,
    /// Failed, and is to be tried again.
    failing: Earliest,
}

/// The earliest of some deliveries; what has no place in the spool has negative numbers, downwards.
#[derive(Clone, Copy, Debug, Default)]
struct Earliest {
    spooled: Option<i64>,
    unspooled: Option<i64>,
}

impl Earliest {
    fn note(&mut self, id: i64) {
        let earliest = match id > 0 {
            true => &mut self.spooled,
            false => &mut self.unspooled,
        };
        *earliest = Some(earliest.map_or(id.abs(), |known| known.min(id.abs())));
    }

    /// Tells whether one of them came before this one, as far as that can be known.
    fn precedes(&self, end: i64) -> bool {
        let (like, unlike) = match end > 0 {
            true => (self.spooled, self.unspooled),
            false => (self.unspooled, self.spooled),
        };
        unlike.is_some() || like.is_some_and(|earliest| earliest < end.abs())
    }
}

impl Ends {
    /// For a notifier at which the end of a play waits at most `drain`.
    pub fn new(drain: Duration) -> Ends {
        Ends {
            held: Vec::new(),
            // What is left of it is for the end.
            hold: (drain / 4 * 3).min(LONGEST),
            moved: Instant::now(),
            hurry: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn holds(&self, id: i64) -> bool {
        self.held.iter().any(|held| held.end.id == id)
    }

    /// Takes in an end that was not tried yet.
    pub fn hold(&mut self, end: Delivery, now: Instant) {
        let age = jiff::Timestamp::now().duration_since(end.accepted);
        let until = now + self.hold.saturating_sub(age.unsigned_abs());
        if self.held.is_empty() {
            self.moved = now;
        }
        self.held.push(Held { end, until });
    }

    /// Tells whether an end that was let go has to wait again for a delivery that can go on.
    pub fn waits<'a>(
        &self,
        end: &Delivery,
        others: impl Iterator<Item = (&'a str, i64, bool)>,
        now: Instant,
    ) -> bool {
        let mut active = Earliest::default();
        let run = end.event.run.id.as_str();
        for (_, id, _) in others.filter(|(of, id, active)| *active && *of == run && *id != end.id) {
            active.note(id);
        }
        active.precedes(end.id) && now < self.stalled_at()
    }

    /// Takes in an end that was tried, or let go: what fails is waited for until then.
    pub fn hold_again(&mut self, end: Delivery, until: Instant) {
        self.held.push(Held { end, until });
    }

    /// Notes that a delivery was finished, or that none could be.
    pub fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Time at which the first of them can go, given the other deliveries: each with its run and number, and
    /// whether it can go on.
    pub fn next<'a>(&self, others: impl Iterator<Item = (&'a str, i64, bool)>) -> Option<Instant> {
        let before = self.before(others);
        self.held
            .iter()
            .map(|held| self.goes_at(held, &before))
            .min()
    }

    /// Those that go now.
    pub fn go<'a>(
        &mut self,
        others: impl Iterator<Item = (&'a str, i64, bool)>,
        now: Instant,
    ) -> Vec<Delivery> {
        let before = self.before(others);
        let mut gone = Vec::new();
        for held in std::mem::take(&mut self.held) {
            if self.goes_at(&held, &before) <= now {
                gone.push(held.end);
            } else {
                self.held.push(held);
            }
        }
        gone
    }

    /// End of the wait for deliveries that could go on.
    fn stalled_at(&self) -> Instant {
        self.moved + self.hold.max(STALL)
    }

    fn goes_at(&self, held: &Held, before: &HashMap<String, Before>) -> Instant {
        let before = before
            .get(&held.end.event.run.id)
            .copied()
            .unwrap_or_default();
        if before.active.precedes(held.end.id) {
            self.stalled_at()
        } else if before.failing.precedes(held.end.id) && !self.hurry {
            held.until
        } else {
            self.moved
        }
    }

    fn before<'a>(
        &self,
        others: impl Iterator<Item = (&'a str, i64, bool)>,
    ) -> HashMap<String, Before> {
        let runs = self.held.iter().map(|held| held.end.event.run.id.clone());
        let mut before: HashMap<_, _> = runs.map(|run| (run, Before::default())).collect();
        for (run, id, is_active) in others {
            if let Some(before) = before.get_mut(run) {
                let before = match is_active {
                    true => &mut before.active,
                    false => &mut before.failing,
                };
                before.note(id);
            }
        }
        before
    }
}
