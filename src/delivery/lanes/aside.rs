//! Lanes of which only the beginning, or nothing, is in memory: their first delivery failed, and left no room
//! for the others.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use crate::event::Event;

/// The most lanes of which nothing is in memory but their name.
pub const MOST: usize = 10_000;

/// Lanes by name.
#[derive(Debug, Default)]
pub struct Aside(HashMap<Rc<str>, Left>);

/// Deliveries of a lane that are in the spool only.
#[derive(Debug)]
struct Left {
    /// The number of the first one.
    from: i64,
    /// Time at which it is due, if it was tried.
    due: Option<Instant>,
    /// The runs that they are of.
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
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Leaves a delivery to the spool that was not in memory yet, where others of its lane are before it.
    pub fn takes(&mut self, lane: &str, event: &Event) -> bool {
        let left = self.0.get_mut(lane);
        left.map(|left| left.note(event)).is_some()
    }

    /// Leaves deliveries of a lane to the spool, from this number on, the first of them due at this time.
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

    /// First number that is needed by now, of lanes that have nothing in memory.
    pub fn needed(&self, now: Instant, is_here: impl Fn(&str) -> bool) -> Option<i64> {
        let needed = self
            .0
            .iter()
            .filter(|(name, left)| left.due.is_none_or(|due| due <= now) && !is_here(name));
        needed.map(|(_, left)| left.from).min()
    }

    /// Time at which the next one is needed.
    pub fn next_due(&self, is_here: impl Fn(&str) -> bool) -> Option<Instant> {
        let absent = self.0.iter().filter(|(name, _)| !is_here(name));
        absent.filter_map(|(_, left)| left.due).min()
    }

    /// Lets no lane rest any longer.
    pub fn release(&mut self) {
        self.0.values_mut().for_each(|left| left.due = None);
    }

    /// Takes out the lanes that go on with what the spool has from `first` on. One that came to go on
    /// meanwhile may have more before that.
    pub fn take_out(&mut self, first: i64, now: Instant, is_here: impl Fn(&str) -> bool) -> Back {
        let goes_on = |name: &Rc<str>, left: &mut Left| {
            left.from >= first && left.due.is_none_or(|due| due <= now) && !is_here(name)
        };
        Back(self.0.extract_if(goes_on).collect())
    }

    /// Puts lanes back of which more is in the spool, from this number on.
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

    /// The runs of each lane, the number from which on deliveries of them may be in the spool only, and whether
    /// they can go on where the lane has none in memory.
    pub fn of_runs(&self) -> impl Iterator<Item = (&str, &str, i64, bool)> {
        self.0.iter().flat_map(|(name, left)| {
            let goes_on = left.due.is_none();
            let runs = left.runs.iter();
            runs.map(move |run| (&**name, &**run, left.from, goes_on))
        })
    }
}

/// Lanes that go on.
pub struct Back(HashMap<Rc<str>, Left>);

impl Back {
    /// Tells whether a delivery is one of those that are needed.
    pub fn needs(&self, lane: &str, delivery: i64) -> bool {
        self.0.get(lane).is_some_and(|left| delivery >= left.from)
    }
}
