//! One lane: deliveries that go in order and one at a time, or together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::{Event, Run};
use crate::message::Reached;
use crate::route::grouping::Grouping;

/// Bytes of the events that go together, where one is not larger by itself.
const MESSAGE_BYTES: usize = 2 << 20;

/// One event owed to one notifier.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number in the spool.
    pub id: i64,
    pub event: Arc<Event>,
    /// Bytes of the whole event, where the one here is without what is large in it.
    pub in_spool: usize,
    /// Attempts made so far.
    pub attempts: u32,
    /// Not to be tried before this time.
    pub due: Option<Instant>,
    /// When it was accepted.
    pub accepted: jiff::Timestamp,
    /// How many were tried as one with it, itself included; 0 before the first attempt.
    pub together: usize,
    /// The recipients that have it already.
    pub reached: Reached,
    /// Time of the first attempt of this process that failed, and how long others had failed before.
    pub failing: Option<(Instant, Duration)>,
}

impl Delivery {
    /// An event that was just accepted.
    pub fn new(id: i64, event: Arc<Event>) -> Delivery {
        Delivery {
            id,
            event,
            in_spool: 0,
            attempts: 0,
            due: None,
            accepted: jiff::Timestamp::now(),
            together: 0,
            reached: Reached::default(),
            failing: None,
        }
    }
}

/// Deliveries of a host, or what is told together.
#[derive(Debug, Default)]
pub struct Lane {
    pub waiting: VecDeque<Delivery>,
    /// The run and the number of the first of those that are under way.
    pub under_way: Option<(Arc<Run>, i64)>,
    /// Its last attempt failed, and nothing says that the next one may not.
    pub failed: bool,
}

impl Lane {
    /// Tells whether its deliveries are on their way, or can be expected to be.
    pub fn is_active(&self) -> bool {
        self.under_way.is_some() || !self.failed
    }

    /// Tells whether its deliveries are as many as go together, and none was tried yet.
    pub fn is_full(&self, most: usize) -> bool {
        let first = self.waiting.front();
        most > 1 && self.waiting.len() >= most && first.is_some_and(|first| first.attempts == 0)
    }

    /// Number of its deliveries that are tried as one.
    pub fn together(&self, grouping: &Grouping) -> usize {
        let Some(first) = self.waiting.front() else {
            return 0;
        };
        let gathers = grouping.gathers(&first.event);
        match first.together {
            // An earlier process tried so many as one.
            0 if first.attempts > 0 && gathers => {
                let tried = |one: &&Delivery| one.attempts == first.attempts;
                let tried = self.waiting.iter().take_while(tried);
                tried.take(grouping.most).count()
            }
            0 if gathers => grouping.most,
            0 => 1,
            // What was tried as one stays one: it has been given an id.
            together => together,
        }
    }

    /// Number of its first deliveries, of at most `most`, that are not too large together. What was tried as one
    /// stays one.
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

    /// Number of its deliveries that were tried as one.
    pub fn tried(&self) -> usize {
        self.waiting.front().map_or(0, |first| first.together)
    }
}
