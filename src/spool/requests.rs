//! Everything that the program asks of the spool, one method per purpose.

use std::collections::HashMap;
use std::sync::Arc;

use super::Spool;
use super::accepting::{self, Acceptance, NewEvent};
use super::actions::{self, ActionFilter, ActionRow, Actor, Deed};
use super::attempts;
use super::breakers::{self, BreakerRow};
use super::conditions;
use super::deliveries::{self, DestinationKey, Finished, Mark, Pending, Room};
use super::error::Error;
use super::expectations::{self, Expectation, Missing, Ran};
use super::held::{self, HeldRange, Released};
use super::history::{self, Choice, DeliveryDetails, DestinationStatus, Source};
use super::listing::{self, DeliveryFilter, HistoryRow};
use super::memory::{self, Before, Ended};
use super::mutes::{self, Mute};
use super::record::Record;
use super::scope::DestinationId;
use super::work::Urgency;

type Result<T> = std::result::Result<T, Error>;

/// Changes.
impl Spool {
    /// Accepts events, unless the file has reached its maximum size or the disk is full, and records what
    /// happened if there is space for that, too. Returns true if it is recorded.
    pub async fn accept(
        &self,
        events: Arc<Vec<NewEvent>>,
        record: Arc<Record>,
        urgency: Urgency,
    ) -> Result<(Acceptance, bool)> {
        let room = self.room();
        let size: usize = events.iter().map(|event| event.body.len()).sum();
        self.write_by(urgency, move |connection| {
            room.check(connection, size as u64)?;
            let accepted = accepting::accept(connection, &events)?;
            Ok((accepted, room.record(connection, &record)?))
        })
        .await
    }

    /// Records what happened, if there is space. Returns true if it is recorded.
    pub async fn record(&self, record: Arc<Record>) -> Result<bool> {
        let room = self.room();
        self.write(move |connection| room.record(connection, &record))
            .await
    }

    /// Returns the id of a destination; adds it if it is new.
    pub async fn destination(&self, key: DestinationKey) -> Result<DestinationId> {
        let key = Arc::new(key);
        let wanted = key.clone();
        let known = self.read(move |connection| deliveries::find(connection, &wanted));
        if let Some(id) = known.await? {
            return Ok(id);
        }
        self.write(move |connection| deliveries::destination(connection, &key))
            .await
    }

    /// Records an attempt and its effect on the deliveries: a mark for those with the same result. Not `async`,
    /// so that the marks are not copied into the caller's future.
    pub fn mark(&self, marks: Vec<Mark>, urgency: Urgency) -> impl Future<Output = Result<()>> {
        let (room, delivered) = (self.room(), self.delivered.clone());
        self.write_by(urgency, move |connection| {
            for mark in &marks {
                let text = mark.message.as_deref();
                let text = text.filter(|text| room.has_spare(connection, text.len() as u64));
                if let Some(text) = text {
                    attempts::keep_message(connection, &mark.deliveries, (mark.started, text))?;
                }
                deliveries::mark(connection, mark)?;
                delivered.note(mark);
            }
            Ok(())
        })
    }

    /// Records several attempts, or none of them.
    pub async fn mark_all(&self, marks: Vec<Mark>) -> Result<()> {
        let delivered = self.delivered.clone();
        self.write(move |connection| {
            marks.iter().try_for_each(|mark| {
                delivered.note(mark);
                deliveries::mark(connection, mark)
            })
        })
        .await
    }

    /// Records why nothing is delivered to a destination, if that is known without an attempt.
    pub async fn note_error(&self, destination: DestinationId, error: String) -> Result<()> {
        self.write(move |connection| history::note_error(connection, destination, &error))
            .await
    }

    /// Records how runs of playbooks ended, and returns the state before each of them.
    pub async fn end_runs(&self, ends: Vec<Ended>) -> Result<Vec<Before>> {
        self.write(move |connection| {
            let ends = ends.iter();
            ends.map(|ended| memory::end_run(connection, ended))
                .collect()
        })
        .await
    }

    /// Stores the playbooks that a notifier expects to run; `source` is its file and its name.
    pub async fn expect(
        &self,
        source: String,
        destination: DestinationId,
        expected: Vec<Expectation>,
        now: i64,
    ) -> Result<()> {
        self.write(move |connection| {
            expectations::expect(connection, &source, destination, &expected, now)
        })
        .await
    }

    /// Records that a run met expectations, each given by source and playbook.
    pub async fn ran(
        &self,
        met: Vec<(String, String)>,
        run: String,
        ran: Ran,
        now: i64,
    ) -> Result<()> {
        self.write(move |connection| {
            let mut met = met.iter();
            met.try_for_each(|(source, playbook)| {
                expectations::ran(connection, source, playbook, &run, ran, now)
            })
        })
        .await
    }

    /// Accepts the event about an expectation whose time has passed, once, and sets its next time.
    pub async fn report_missing(
        &self,
        missing: Missing,
        next: i64,
        event: Option<NewEvent>,
    ) -> Result<()> {
        self.write(move |connection| {
            expectations::report(connection, &missing, next, event.as_ref())
        })
        .await
    }

    /// Deletes an expectation.
    pub async fn forget_expectation(&self, id: i64) -> Result<()> {
        self.write(move |connection| expectations::forget(connection, id))
            .await
    }

    /// Makes the dead deliveries of a destination pending again, and turns it on if it was off.
    pub async fn revive(&self, destination: DestinationId, actor: Actor) -> Result<()> {
        self.write(move |connection| {
            let was_off = breakers::is_off(connection, destination)?;
            let revived = breakers::revive(connection, destination)?;
            if revived == 0 && !was_off {
                return Ok(());
            }
            let note = actions::count(revived, "dead");
            actions::add_for(connection, &actor, Deed::Retry, destination, &note)
        })
        .await
    }

    /// Ends every pause of a destination; a failing one gets a single attempt first.
    pub async fn probe(&self, destination: DestinationId) -> Result<()> {
        self.write(move |connection| breakers::probe(connection, destination))
            .await
    }

    /// Repairs a destination whose counts are wrong.
    pub async fn mend(&self, status: DestinationStatus) -> Result<()> {
        self.write(move |connection| history::mend(connection, &status))
            .await
    }

    /// Gives up all pending deliveries of a destination, with the reason. Returns how many.
    pub async fn bury_all(
        &self,
        destination: DestinationId,
        reason: &'static str,
    ) -> Result<usize> {
        self.write(move |connection| history::bury_all(connection, destination, reason))
            .await
    }

    /// Limits the times until which deliveries of a destination are held.
    pub async fn limit_held(&self, destination: DestinationId, times: (i64, i64)) -> Result<()> {
        self.write(move |connection| held::limit(connection, destination, times))
            .await
    }

    /// Makes the deliveries pending that are held until this time or earlier.
    pub async fn release(&self, destination: DestinationId, until: i64) -> Result<Vec<Released>> {
        self.write(move |connection| held::release(connection, destination, until))
            .await
    }

    /// Gives up the chosen deliveries and returns their ids.
    pub async fn discard(&self, choice: Choice, actor: Actor) -> Result<Vec<i64>> {
        self.write(move |connection| {
            let discarded = history::discard(connection, &choice)?;
            actions::add_discarded(connection, &actor, &discarded)?;
            Ok(discarded)
        })
        .await
    }
}

/// Reads. They see everything that was committed before.
impl Spool {
    /// Returns those of these events' deliveries to a destination that are no longer held.
    pub async fn released(
        &self,
        destination: DestinationId,
        events: Vec<i64>,
    ) -> Result<Vec<Released>> {
        self.read(move |connection| held::released(connection, destination, &events))
            .await
    }

    /// Returns a destination's next pending deliveries, in order, as far as there is room, and whether these
    /// were all of them.
    pub async fn pending(
        &self,
        destination: DestinationId,
        after: i64,
        room: Room,
    ) -> Result<(Vec<Pending>, bool)> {
        self.read(move |connection| deliveries::pending(connection, destination, after, room))
            .await
    }

    /// Returns a delivery, if it is still pending.
    pub async fn still_pending(
        &self,
        destination: DestinationId,
        delivery: i64,
    ) -> Result<Option<Pending>> {
        let room = Room {
            deliveries: 1,
            bytes: usize::MAX,
        };
        let (rows, _) = self.pending(destination, delivery - 1, room).await?;
        Ok(rows.into_iter().find(|row| row.delivery == delivery))
    }

    /// Returns the times until which deliveries of a destination are held; None if none is held.
    pub async fn held(&self, destination: DestinationId) -> Result<Option<HeldRange>> {
        self.read(move |connection| held::range(connection, destination))
            .await
    }

    /// Returns true if any failure in a row is counted for these destinations.
    pub async fn counts_failures(&self, destinations: Vec<DestinationId>) -> Result<bool> {
        self.read(move |connection| conditions::has_any(connection, &destinations))
            .await
    }

    /// Returns the state and the last error of the given deliveries.
    pub async fn finished(&self, deliveries: Vec<i64>) -> Result<Vec<Finished>> {
        self.read(move |connection| deliveries::finished(connection, &deliveries))
            .await
    }

    /// Returns the start times of a delivery's failed attempts, in order, in milliseconds since 1970.
    pub async fn attempt_times(&self, delivery: i64) -> Result<Vec<i64>> {
        self.read(move |connection| deliveries::attempt_times(connection, delivery))
            .await
    }

    /// Returns the breaker of a destination.
    pub async fn breaker(&self, destination: DestinationId) -> Result<BreakerRow> {
        self.read(move |connection| breakers::breaker(connection, destination))
            .await
    }

    /// Returns the stored values of a destination's threads, by key.
    pub async fn threads(
        &self,
        destination: DestinationId,
        keys: Vec<String>,
    ) -> Result<HashMap<String, String>> {
        self.read(move |connection| memory::threads(connection, destination, &keys))
            .await
    }

    /// Returns the recipients reached by a delivery that failed, as they were stored.
    pub async fn reached(
        &self,
        destination: DestinationId,
        delivery: i64,
    ) -> Result<Option<String>> {
        let keys = vec![memory::reached_key(delivery)];
        let found = self.threads(destination, keys).await?;
        Ok(found.into_values().next())
    }

    /// Returns the expectations whose time has passed.
    pub async fn missing(&self, now: i64) -> Result<Vec<Missing>> {
        self.read(move |connection| expectations::missing(connection, now))
            .await
    }

    /// Returns all destinations, oldest first.
    pub async fn status(&self) -> Result<Vec<DestinationStatus>> {
        self.read(history::status).await
    }

    /// Returns the destinations of a run, each with the counts of that run only.
    pub async fn status_of_run(&self, run: String) -> Result<Vec<DestinationStatus>> {
        self.read(move |connection| history::status_of_run(connection, &run))
            .await
    }

    /// Returns the newest deliveries that match the filter, newest first.
    pub async fn history(&self, filter: DeliveryFilter) -> Result<Vec<HistoryRow>> {
        self.read(move |connection| listing::deliveries(connection, &filter))
            .await
    }

    /// Returns everything about a delivery.
    pub async fn delivery(&self, id: i64) -> Result<Option<DeliveryDetails>> {
        self.read(move |connection| history::delivery(connection, id))
            .await
    }
}

/// Actions of people, and mutes.
impl Spool {
    /// Records an action on a notifier of which only the name is known.
    pub async fn note_action(
        &self,
        actor: Actor,
        deed: Deed,
        target: String,
        note: String,
    ) -> Result<()> {
        self.write(move |connection| actions::add(connection, &actor, deed, &target, None, &note))
            .await
    }

    /// Records that someone had a notifier tried again.
    pub async fn note_try(&self, actor: Actor, destination: DestinationId) -> Result<()> {
        self.write(move |connection| {
            actions::add_for(connection, &actor, Deed::Try, destination, "")
        })
        .await
    }

    /// Records that held deliveries of a destination were made pending.
    pub async fn note_release(
        &self,
        actor: Actor,
        destination: DestinationId,
        deliveries: usize,
    ) -> Result<()> {
        let note = actions::count(deliveries, "held");
        self.write(move |connection| {
            actions::add_for(connection, &actor, Deed::Release, destination, &note)
        })
        .await
    }

    /// Returns the newest actions that match the filter, newest first.
    pub async fn actions(&self, filter: ActionFilter) -> Result<Vec<ActionRow>> {
        self.read(move |connection| actions::list(connection, &filter))
            .await
    }

    /// Mutes destinations until a time, in milliseconds since 1970.
    pub async fn mute(
        &self,
        destinations: Vec<DestinationId>,
        actor: Actor,
        until: i64,
        why: String,
    ) -> Result<()> {
        self.write(move |connection| {
            let mut all = destinations.iter();
            all.try_for_each(|one| mutes::mute(connection, *one, &actor, (until, &why)))
        })
        .await
    }

    /// Ends the mutes of destinations. Returns how many there were.
    pub async fn unmute(&self, destinations: Vec<DestinationId>, actor: Actor) -> Result<usize> {
        self.write(move |connection| {
            let mut ended = 0;
            for one in &destinations {
                ended += usize::from(mutes::unmute(connection, *one, &actor)?);
            }
            Ok(ended)
        })
        .await
    }

    /// Returns the time until which a destination is muted; None if it is not.
    pub async fn muted_until(&self, destination: DestinationId) -> Result<Option<i64>> {
        self.read(move |connection| mutes::until(connection, destination))
            .await
    }

    /// Returns the configurations that wrote to it.
    pub async fn sources(&self) -> Result<Vec<Source>> {
        self.read(history::sources).await
    }

    /// Returns the mutes that hold now.
    pub async fn mutes(&self) -> Result<Vec<Mute>> {
        self.read(mutes::all).await
    }
}
