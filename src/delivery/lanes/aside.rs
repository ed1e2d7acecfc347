//! Lanes evicted from memory, wholly or except for their head: their first delivery failed and left no room
//! for others.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use crate::event::Event;

/// Limit on the number of lanes of which only the name is in memory.
pub const MOST: usize = 10_000;

/// Evicted lanes by name.
#[derive(Debug, Default)]
pub struct Aside(HashMap<Rc<str>, Left>);

/// Deliveries of a lane that are in the spool only.
#[derive(Debug)]
struct Left {
    /// Number of the first one.
    from: i64,
    /// Time at which the first one is due, if it was tried.
    due: Option<Instant>,
    /// Runs they belong to.
    runs: Vec<Rc<str>>,
}

impl Left {
    fn note(&mut self, event: &Event) {
        let run = event.run.id.as_str();
        if self.runs.iter().all(|known| **known != *run) {
            self.runs.push(Rc::from(run));
        }
    }
}

impl Aside {
    /// Returns the number of lanes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Leaves a new delivery to the spool if earlier ones of its lane are there; returns whether it did.
    pub fn leave_new(&mut self, lane: &str, event: &Event) -> bool {
        let left = self.0.get_mut(lane);
        left.map(|left| left.note(event)).is_some()
    }

    /// Leaves deliveries of a lane to the spool, from number `from` on; the first one is due at `due`.
    pub fn leave<'a>(
        &mut self,
        lane: &Rc<str>,
        from: i64,
        due: Option<Instant>,
        events: impl Iterator<Item = &'a Event>,
    ) {
        let runs = Vec::new();
        let left = self.0.entry(lane.clone());
        let left = left.or_insert(Left { from, due, runs });
        (left.from, left.due) = (from, due);
        events.for_each(|event| left.note(event));
    }

    /// Returns the lowest number to reload now, for lanes that have nothing in memory.
    pub fn needed(&self, now: Instant, is_here: impl Fn(&str) -> bool) -> Option<i64> {
        let needed = self
            .0
            .iter()
            .filter(|(name, left)| left.due.is_none_or(|due| due <= now) && !is_here(name));
        needed.map(|(_, left)| left.from).min()
    }

    /// Returns the time at which the next lane has to be reloaded.
    pub fn next_due(&self, is_here: impl Fn(&str) -> bool) -> Option<Instant> {
        let absent = self.0.iter().filter(|(name, _)| !is_here(name));
        absent.filter_map(|(_, left)| left.due).min()
    }

    /// Ends the back-off of all lanes.
    pub fn release(&mut self) {
        self.0.values_mut().for_each(|left| left.due = None);
    }

    /// Removes and returns the lanes that resume with deliveries in the spool from `first` on. A lane that
    /// became ready meanwhile may have more before that, and stays.
    pub fn take_out(&mut self, first: i64, now: Instant, is_here: impl Fn(&str) -> bool) -> Back {
        let goes_on = |name: &Rc<str>, left: &mut Left| {
            left.from >= first && left.due.is_none_or(|due| due <= now) && !is_here(name)
        };
        Back(self.0.extract_if(goes_on).collect())
    }

    /// Puts back lanes of which the spool holds more, from number `from` on.
    pub fn put_back(&mut self, back: Back, from: i64) {
        let rest = back.0.into_iter().map(|(name, left)| {
            let from = left.from.max(from);
            (
                name,
                Left {
                    from,
                    due: None,
                    ..left
                },
            )
        });
        self.0.extend(rest);
    }

    /// Returns, per lane and run: the first number that may be in the spool only, and whether the lane can
    /// resume if it has nothing in memory.
    pub fn of_runs(&self) -> impl Iterator<Item = (&str, &str, i64, bool)> {
        self.0.iter().flat_map(|(name, left)| {
            let goes_on = left.due.is_none();
            let runs = left.runs.iter();
            runs.map(move |run| (&**name, &**run, left.from, goes_on))
        })
    }
}

/// Lanes that resume.
pub struct Back(HashMap<Rc<str>, Left>);

impl Back {
    /// Returns true if a delivery is one of those to reload.
    pub fn needs(&self, lane: &str, delivery: i64) -> bool {
        self.0.get(lane).is_some_and(|left| delivery >= left.from)
    }
}
