//! Ends of runs: each waits until all other deliveries of its run are finished, so that it comes last.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Delivery;
use super::aside::Aside;
use super::lane::Lane;

/// Shortest time without progress after which an end stops waiting for deliveries that could proceed.
const STALL: Duration = Duration::from_secs(2);

/// Longest time that an end is held back for failing deliveries.
const LONGEST: Duration = Duration::from_secs(3600);

/// Ends that are held back.
#[derive(Debug)]
pub struct Ends {
    held: Vec<Held>,
    /// Longest time that an end waits for deliveries that fail or make no progress.
    hold: Duration,
    /// Time at which a delivery was last finished, or none could be tried because the notifier was paused.
    moved: Instant,
    /// If true, no end waits for failing deliveries.
    pub hurry: bool,
}

#[derive(Debug)]
struct Held {
    end: Delivery,
    /// Names of all that its run concerns.
    keys: BTreeSet<String>,
    /// End of the wait for failing deliveries.
    until: Instant,
}

/// Deliveries of a run that come before its end.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    /// Can proceed.
    active: Earliest,
    /// Failed, and waiting for a retry.
    failing: Earliest,
}

/// The earliest of a set of deliveries; those without a place in the spool have negative numbers, counting
/// down.
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

    /// Returns true if one of them came before `end`, as far as that can be known.
    fn precedes(&self, end: i64) -> bool {
        let (like, unlike) = match end > 0 {
            true => (self.spooled, self.unspooled),
            false => (self.unspooled, self.spooled),
        };
        unlike.is_some() || like.is_some_and(|earliest| earliest < end.abs())
    }
}

impl Ends {
    /// Creates the ends of a notifier for which the end of a play waits at most `drain`.
    pub fn new(drain: Duration) -> Ends {
        Ends {
            held: Vec::new(),
            // The rest of `drain` is left for the end itself.
            hold: (drain / 4 * 3).min(LONGEST),
            moved: Instant::now(),
            hurry: false,
        }
    }

    /// Returns true if no end is held back.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns true if this delivery is an end that is held back.
    pub fn holds(&self, id: i64) -> bool {
        self.held.iter().any(|held| held.end.id == id)
    }

    /// Adds an end that has not been tried yet.
    pub fn hold(&mut self, end: Delivery, now: Instant) {
        let age = jiff::Timestamp::now().duration_since(end.accepted);
        let until = now + self.hold.saturating_sub(age.unsigned_abs());
        if self.held.is_empty() {
            self.moved = now;
        }
        self.add(end, until);
    }

    /// Adds an end, in the order of acceptance.
    fn add(&mut self, end: Delivery, until: Instant) {
        let keys = end.event.run.ended_keys();
        let earlier = |held: &Held| end.follows(held.end.id);
        let place = self.held.partition_point(earlier);
        self.held.insert(place, Held { end, keys, until });
    }

    /// Returns true if an earlier end that concerns the same playbook is held back.
    fn is_behind(&self, end: &Delivery) -> bool {
        let mut earlier = self.held.iter().filter(|held| end.follows(held.end.id));
        if self.held.is_empty() {
            return false;
        }
        let keys = end.event.run.ended_keys();
        earlier.any(|held| !held.keys.is_disjoint(&keys))
    }

    /// Returns true if an end that was released has to wait again for a delivery that can proceed, or for an
    /// earlier end.
    pub fn waits<'a>(
        &self,
        end: &Delivery,
        others: impl Iterator<Item = (&'a str, i64, bool)>,
        now: Instant,
    ) -> bool {
        if self.is_behind(end) {
            return true;
        }
        let mut active = Earliest::default();
        let run = end.event.run.id.as_str();
        for (_, id, _) in others.filter(|(of, id, active)| *active && *of == run && *id != end.id) {
            active.note(id);
        }
        active.precedes(end.id) && now < self.stalled_at()
    }

    /// Adds an end that was tried or released; failing deliveries are waited for until `until`.
    pub fn hold_again(&mut self, end: Delivery, until: Instant) {
        self.add(end, until);
    }

    /// Records that a delivery was finished, or that none could be.
    pub fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Returns the time at which the first end can be released, given the other deliveries: run, number,
    /// and whether each can proceed.
    pub fn next<'a>(&self, others: impl Iterator<Item = (&'a str, i64, bool)>) -> Option<Instant> {
        self.times(others).into_iter().min()
    }

    /// Removes and returns the ends that can be released now.
    pub fn go<'a>(
        &mut self,
        others: impl Iterator<Item = (&'a str, i64, bool)>,
        now: Instant,
    ) -> Vec<Delivery> {
        let times = self.times(others);
        let mut gone = Vec::new();
        for (held, at) in std::mem::take(&mut self.held).into_iter().zip(times) {
            match at <= now {
                true => gone.push(held.end),
                false => self.held.push(held),
            }
        }
        gone
    }

    /// Returns the time at which each end can be released: not before earlier ones that concern the same playbook.
    fn times<'a>(&self, others: impl Iterator<Item = (&'a str, i64, bool)>) -> Vec<Instant> {
        let before = self.before(others);
        let mut latest: HashMap<&str, Instant> = HashMap::new();
        let goes_at = |held: &'_ Held| self.goes_at(held, &before);
        let mut times = Vec::new();
        for held in &self.held {
            let earlier = held.keys.iter().filter_map(|key| latest.get(key.as_str()));
            let at = earlier.copied().fold(goes_at(held), Instant::max);
            latest.extend(held.keys.iter().map(|key| (key.as_str(), at)));
            times.push(at);
        }
        times
    }

    /// End of the wait for deliveries that could proceed.
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

/// Lists the deliveries other than held ends: run, number, and whether each can proceed.
pub fn others<'a>(
    lanes: &'a HashMap<Rc<str>, Lane>,
    aside: &'a Aside,
) -> impl Iterator<Item = (&'a str, i64, bool)> {
    let here = lanes.values().flat_map(|lane| {
        let is_active = lane.is_active();
        let waiting = lane.waiting.iter().map(|one| (&one.event.run, one.id));
        let under_way = lane.under_way.iter().map(|(run, id)| (run, *id));
        let all = under_way.chain(waiting);
        all.map(move |(run, id)| (run.id.as_str(), id, is_active))
    });
    let elsewhere = aside.of_runs().map(|(name, run, from, goes_on)| {
        let is_active = lanes.get(name).map_or(goes_on, Lane::is_active);
        (run, from, is_active)
    });
    here.chain(elsewhere)
}
