//! Conditions for sending an event to notifiers, from their rules.

use jiff::Timestamp;

use crate::delivery::destination::Destination;
use crate::event::Event;
use crate::route::streak::subject;
use crate::route::timing::{self, Timing};
use crate::spool::{Condition, DestinationId, Streak, Treatment};
use crate::system::clock;

/// Returns the condition for sending an event that a destination wants, or for counting one that it does not
/// want; None if there is none.
pub fn condition(
    destination: &Destination,
    id: DestinationId,
    event: &Event,
    is_wanted: bool,
) -> Option<Condition> {
    let timing = destination.timing.as_deref()?;
    let streak = streak(destination, timing, event);
    let is_counted = |streak: &Streak| {
        // To know whether to send its end.
        !streak.failed || event.end.is_some() && destination.rules.heeds_recovery()
    };
    if !is_wanted && !streak.as_ref().is_some_and(is_counted) {
        return None;
    }
    let now = clock::now();
    Some(Condition {
        destination: id,
        now: now.as_millisecond(),
        treatment: treatment(timing, now),
        streak,
    })
}

fn treatment(timing: &Timing, now: Timestamp) -> Treatment {
    match timing.treatment(now) {
        timing::Treatment::Now => Treatment::Now,
        timing::Treatment::Hold(until) => Treatment::Hold(until.as_millisecond()),
        timing::Treatment::Drop(until) => Treatment::Drop(format!(
            "dropped: muted until {} (`muted = drop`)",
            clock::local_time(until)
        )),
    }
}

fn streak(destination: &Destination, timing: &Timing, event: &Event) -> Option<Streak> {
    let counts_run = || event.end.is_some() && destination.rules.heeds_recovery();
    if !(timing.counts() || timing.drops() && counts_run()) {
        return None;
    }
    let subject = subject(event, &destination.grouping)?;
    Some(Streak {
        key: subject.key,
        run: event.run.id.clone(),
        time: event.time.as_millisecond(),
        failed: subject.failed,
        is_group: subject.is_group,
        only_recovers: destination.rules.only_recovers(event),
        is_silent: destination.rules.trigger(event).is_none(),
        is_provisional: event.end.is_some() && event.run.goes_on(),
        after: timing.after,
        repeat: i64::try_from(timing.repeat.as_millis()).unwrap_or(i64::MAX),
    })
}
