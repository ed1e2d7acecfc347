//! Time events of a stream: the clock of the run, and the recipients of each of its events.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::watch::{Late, Watch};
use super::{Stream, answer};
use crate::event::{Event, from_seconds};
use crate::protocol::{PROTOCOL, VERSION};
use crate::route::thresholds::Thresholds;
use crate::spool::Urgency;

/// Clock of a run, and its findings; without a notifier that needs it, there is no clock.
pub(super) struct Alerts {
    /// Start of the run, by the clock that stands still while the machine sleeps.
    began: Instant,
    /// Number of the last event that another process had.
    after: u64,
    asked: Vec<(usize, Thresholds)>,
    watch: Option<Watch>,
    /// Events to be created.
    late: Vec<Late>,
}

impl Default for Alerts {
    fn default() -> Alerts {
        Alerts {
            began: Instant::now(),
            after: 0,
            asked: Vec::new(),
            watch: None,
            late: Vec::new(),
        }
    }
}

impl Alerts {
    /// Continues a run after that event; it began at that time, in seconds since 1970.
    pub fn resume(&mut self, after: u64, began: f64) {
        self.after = after;
        self.began = from_seconds(began).map_or(self.began, before);
    }

    /// Sets the times of the destinations, by their numbers. Returns true if a clock starts with them.
    pub fn set(&mut self, asked: Vec<(usize, Thresholds)>) -> bool {
        let is_asked = |(_, times): &(usize, Thresholds)| *times != Thresholds::default();
        self.asked = asked.into_iter().filter(is_asked).collect();
        let starts = self.watch.is_none() && !self.asked.is_empty();
        if starts {
            self.watch = Some(Watch::new(self.began, self.after, Instant::now()));
        }
        if let Some(watch) = &mut self.watch {
            watch.set(self.asked.iter().map(|(_, times)| times));
        }
        starts
    }

    /// Adds an event. If another process has already seen it, its own time counts.
    pub fn note(&mut self, event: &Event, sequence: u64, is_resumed: bool) {
        if let Some(watch) = &mut self.watch {
            let now = Instant::now();
            let began = match is_resumed {
                true => before(event.time),
                false => now,
            };
            self.late.extend(watch.note(event, sequence, now, began));
        }
    }

    /// Returns the time of the next check.
    pub fn due(&mut self) -> Option<Instant> {
        self.watch.as_mut()?.due(Instant::now())
    }

    /// Looks for anything that takes too long by now.
    pub fn look(&mut self) {
        if let Some(watch) = &mut self.watch {
            self.late.extend(watch.look(Instant::now()));
        }
    }
}

/// Converts a time to the monotonic clock.
fn before(time: Timestamp) -> Instant {
    let now = Instant::now();
    let age = Timestamp::now().duration_since(time);
    let age = Duration::try_from(age).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}

impl Stream {
    /// Tells the plugin that the configuration can be used, and whether to report hosts that start a task.
    pub(super) fn answer_ready(&self) {
        let drain = self.drain.as_secs_f64();
        let mut ready = json!({"protocol": PROTOCOL, "version": VERSION, "drain": drain});
        if self.alerts.watch.is_some() {
            ready["starts"] = true.into();
        }
        answer(&json!({ "ready": ready }));
    }

    /// Accepts the events about time that are due, each for the notifiers with its threshold.
    pub(super) async fn tell_late(&mut self) {
        if self.alerts.late.is_empty() {
            return;
        }
        // Earlier events go first.
        self.accept().await;
        for late in std::mem::take(&mut self.alerts.late) {
            let asked = self.alerts.asked.iter();
            let is_for = |(_, times): &&(usize, Thresholds)| {
                times.of(&late.callback) == Some(late.threshold)
            };
            let destinations = asked.filter(is_for).map(|(number, _)| *number).collect();
            let mut event = late.event(&self.run);
            self.vars.add_to(&mut event, None);
            let batch = vec![(self.last_sequence, event)];
            self.accept_batch(batch, destinations, Urgency::Now).await;
        }
    }

    /// Ends the clock of the run, and adds its findings to the end of the run.
    pub(super) async fn end_alerts(&mut self) {
        if let Some(watch) = &mut self.alerts.watch {
            let (late, delays) = watch.end(Instant::now());
            self.alerts.late.extend(late);
            self.progress.delays = delays;
            self.tell_late().await;
        }
    }
}
