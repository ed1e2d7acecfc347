//! One lane: deliveries made in order, one at a time or grouped.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Event, Run};
use crate::message::Receipts;
use crate::route::grouping::Grouping;

/// Size limit in bytes for events sent together; a single larger event is sent alone.
const MESSAGE_BYTES: usize = 2 << 20;

/// Lane of the deliveries that were held until a certain time; no host or group has this name.
pub const HELD: &str = "\nheld";

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
        match self.hold {
            0 => grouping.gathers(&self.event),
            _ => grouping.held > 1,
        }
    }

    /// Returns how many deliveries, including this one, may be made as one.
    fn most(&self, grouping: &Grouping) -> usize {
        match self.hold {
            0 => grouping.most,
            _ => grouping.held,
        }
    }

    /// Returns its lane. Those that were held have one of their own.
    pub fn lane(&self, grouping: &Grouping) -> Cow<'_, str> {
        match self.hold {
            0 => grouping.lane(&self.event),
            _ => Cow::Borrowed(HELD),
        }
    }

    /// Returns true if it is the end of a run that comes after the other deliveries of the run.
    pub fn ends_run(&self, grouping: &Grouping) -> bool {
        self.event.end.is_some() && grouping.is_parallel() && self.hold == 0
    }

    /// Returns the approximate size of the whole event in bytes, wherever it is.
    pub fn size(&self) -> usize {
        self.in_spool.max(self.event.size())
    }
}

/// Deliveries of one host, or of one group.
#[derive(Debug, Default)]
pub struct Lane {
    pub waiting: VecDeque<Delivery>,
    /// Run, and number of the first delivery, of the attempt in progress.
    pub under_way: Option<(Arc<Run>, i64)>,
    /// True if the last attempt failed and nothing suggests that the next one will succeed.
    pub failed: bool,
}

impl Lane {
    /// Returns true if its deliveries are in progress, or can be expected to be.
    pub fn is_active(&self) -> bool {
        self.under_way.is_some() || !self.failed
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
        let most = first.most(grouping);
        match first.together {
            // An earlier process tried this many as one.
            0 if first.attempts > 0 && gathers => {
                let tried = |one: &&Delivery| one.attempts == first.attempts;
                let tried = self.waiting.iter().take_while(tried);
                tried.take(most).count()
            }
            0 if first.hold > 0 => {
                let released = |one: &&Delivery| one.hold == first.hold;
                self.waiting.iter().take_while(released).take(most).count()
            }
            0 if gathers => most,
            0 => 1,
            // A group that was tried stays as it is: it has been given an id.
            together => together,
        }
    }

    /// Returns how many of its first deliveries, at most `most`, are not too large together. A group that
    /// was tried stays as it is.
    pub fn fitting(&self, most: usize) -> usize {
        let is_new = self.waiting.front().is_some_and(|one| one.attempts == 0);
        let mut bytes = 0;
        let fits = |one: &&Delivery| {
            bytes += one.in_spool;
            bytes <= MESSAGE_BYTES || !is_new
        };
        let fitting = self.waiting.iter().take(most).take_while(fits).count();
        fitting.max(1).min(self.waiting.len())
    }

    /// Returns the number of its deliveries that were tried as one.
    pub fn tried(&self) -> usize {
        self.waiting.front().map_or(0, |first| first.together)
    }
}
