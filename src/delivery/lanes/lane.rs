//! One lane: deliveries made in order, one at a time or grouped.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Event, Run};
use crate::message::Receipts;
use crate::route::grouping::{Grouping, STEPS};

/// Size limit in bytes for events sent together; a single larger event is sent alone.
const MESSAGE_BYTES: usize = 2 << 20;

/// One event to be delivered to one notifier.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Number in the spool.
    pub id: i64,
    pub event: Arc<Event>,
    /// Size in bytes of the whole event if the one here lacks its large parts; else 0.
    pub in_spool: usize,
    /// Attempts made so far.
    pub attempts: u32,
    /// Group with which it was released, if it was held until a certain time; else 0.
    pub hold: i64,
    /// Earliest time of the next attempt.
    pub due: Option<Instant>,
    /// Time of acceptance.
    pub accepted: jiff::Timestamp,
    /// Number of deliveries tried as one with it, itself included; 0 before the first attempt.
    pub together: usize,
    /// Recipients that already have it.
    pub reached: Receipts,
    /// Time of this process's first failed attempt, and how long other processes had failed before.
    pub failing: Option<(Instant, Duration)>,
}

impl Delivery {
    /// Creates the delivery of an event that was just accepted.
    pub fn new(id: i64, event: Arc<Event>) -> Delivery {
        Delivery {
            id,
            event,
            in_spool: 0,
            attempts: 0,
            hold: 0,
            due: None,
            accepted: jiff::Timestamp::now(),
            together: 0,
            reached: Receipts::default(),
            failing: None,
        }
    }

    /// Returns true if it can share its message with others.
    pub fn gathers(&self, grouping: &Grouping) -> bool {
        match self.is_sent_together(grouping) {
            true => true,
            false => grouping.gathers(&self.event),
        }
    }

    /// Returns how many deliveries, including this one, may be made as one.
    fn most(&self, grouping: &Grouping) -> usize {
        match self.is_sent_together(grouping) {
            true => grouping.held,
            false => grouping.most,
        }
    }

    /// Returns true if it was held, and is sent in one message with others that were.
    pub fn is_sent_together(&self, grouping: &Grouping) -> bool {
        self.hold > 0 && grouping.sends_together()
    }

    /// Returns its lane. Those sent together use the lane of the steps of runs: the end of a run whose failure is
    /// among them comes after them.
    pub fn lane(&self, grouping: &Grouping) -> Cow<'_, str> {
        match self.is_sent_together(grouping) {
            true => Cow::Borrowed(STEPS),
            false => grouping.lane(&self.event),
        }
    }

    /// Returns true if it is the end of a run that comes after the other deliveries of the run.
    pub fn ends_run(&self, grouping: &Grouping) -> bool {
        let is_parallel = grouping.is_parallel() && !self.is_sent_together(grouping);
        self.event.end.is_some() && is_parallel
    }

    /// Returns true if it was accepted after this one.
    pub fn follows(&self, other: i64) -> bool {
        place(other) < place(self.id)
    }

    /// Returns the approximate size of the whole event in bytes, wherever it is.
    pub fn size(&self) -> usize {
        self.in_spool.max(self.event.size())
    }
}

/// Returns the place of a delivery in the order of acceptance. Those without a place in the spool have negative
/// numbers, counting down; what is in the spool is taken to be earlier.
pub fn place(delivery: i64) -> (bool, i64) {
    (delivery < 0, delivery.abs())
}

/// Deliveries of one host, or of one group.
#[derive(Debug, Default)]
pub struct Lane {
    pub waiting: VecDeque<Delivery>,
    /// Run, and number of the first delivery, of the attempt in progress.
    pub under_way: Option<(Arc<Run>, i64)>,
    /// True if that attempt sends what was held.
    pub sends_held: bool,
    /// True if the last attempt failed and nothing suggests that the next one will succeed.
    pub failed: bool,
}

impl Lane {
    /// Returns true if its deliveries are in progress, or can be expected to be.
    pub fn is_active(&self) -> bool {
        self.under_way.is_some() || !self.failed
    }

    /// Returns true if it is sending what was held before this delivery, or still has to send the part of it that
    /// belongs to the same lane.
    pub fn sends_before(&self, later: &Delivery, grouping: &Grouping) -> bool {
        let under_way = self.under_way.as_ref();
        if under_way.is_some_and(|(_, first)| self.sends_held && later.follows(*first)) {
            return true;
        }
        let lane = grouping.lane(&later.event);
        self.waiting.iter().any(|one| {
            one.is_sent_together(grouping)
                && later.follows(one.id)
                && grouping.lane(&one.event) == lane
        })
    }

    /// Returns true if the end of an earlier run that concerns the same playbook as this one is in it.
    pub fn ends_before(&self, later: &Delivery) -> bool {
        let keys = later.event.run.ended_keys();
        let concerns = |run: &Run| run.ended_keys().iter().any(|key| keys.contains(key));
        let under_way = self.under_way.iter();
        let mut under_way = under_way.filter(|(_, first)| later.follows(*first));
        let ends = self.waiting.iter().filter(|one| one.event.end.is_some());
        let mut ends = ends.filter(|one| later.follows(one.id));
        under_way.any(|(run, _)| concerns(run)) || ends.any(|one| concerns(&one.event.run))
    }

    /// Returns true if a full group of untried deliveries is waiting.
    pub fn is_full(&self, most: usize) -> bool {
        let first = self.waiting.front();
        most > 1 && self.waiting.len() >= most && first.is_some_and(|first| first.attempts == 0)
    }

    /// Returns the number of its deliveries to try as one.
    pub fn together(&self, grouping: &Grouping) -> usize {
        let Some(first) = self.waiting.front() else {
            return 0;
        };
        let gathers = first.gathers(grouping);
        let was_held = first.is_sent_together(grouping);
        let most = first.most(grouping);
        match first.together {
            // An earlier process tried this many as one.
            0 if first.attempts > 0 && gathers => {
                let tried = |one: &&Delivery| {
                    let is_like = !was_held || one.hold == first.hold;
                    is_like && one.attempts == first.attempts
                };
                let tried = self.waiting.iter().take_while(tried);
                tried.take(most).count()
            }
            0 if was_held => {
                let released = |one: &&Delivery| one.hold == first.hold;
                self.waiting.iter().take_while(released).take(most).count()
            }
            0 if gathers => most,
            0 => 1,
            // A group that was tried stays as it is: it has been given an id.
            together => together,
        }
    }

    /// Returns how many of its first deliveries, at most `most`, are not too large together: `limit` is that of all
    /// their events, in bytes. A group that was tried stays as it is.
    pub fn fitting(&self, most: usize, limit: usize) -> usize {
        let is_new = self.waiting.front().is_some_and(|one| one.attempts == 0);
        let (mut bytes, mut all) = (0, 0);
        let fits = |one: &&Delivery| {
            bytes += one.in_spool;
            all += one.size();
            all <= limit && (bytes <= MESSAGE_BYTES || !is_new)
        };
        let fitting = self.waiting.iter().take(most).take_while(fits).count();
        fitting.max(1).min(self.waiting.len())
    }

    /// Returns the number of its deliveries that were tried as one.
    pub fn tried(&self) -> usize {
        self.waiting.front().map_or(0, |first| first.together)
    }
}
