//! Questions of pages: deliveries and the record of runs.

use super::actions::{self, ActionFilter, ActionRow};
use super::history::{self, DeliveryDetails, DestinationStatus, Source};
use super::listing::{self, Attempts, DeliveryFilter, FailedAttempts, HistoryRow};
use super::mutes::{self, Mute};
use super::record::results::{
    self, Notified, RecordedHost, RecordedResult, RecordedTask, ResultFilter,
};
use super::record::runs::{self, Found, RecordedRun, RunFilter, RunState};
use super::record::trends::{self, Day, FailingHost, SlowTask};
use super::viewer::{Unseen, Viewer};

/// What changes over time.
#[derive(Clone, Debug, Default)]
pub struct Trends {
    pub days: Vec<Day>,
    pub tasks: Vec<SlowTask>,
    pub hosts: Vec<FailingHost>,
    pub notifiers: Vec<FailedAttempts>,
}

/// Questions about deliveries.
impl Viewer {
    /// Returns all destinations, oldest first.
    pub async fn destinations(&self) -> Result<Vec<DestinationStatus>, Unseen> {
        self.ask(history::status).await
    }

    /// Returns the newest deliveries that match the filter, newest first.
    pub async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<HistoryRow>, Unseen> {
        self.ask(move |connection| listing::deliveries(connection, &filter))
            .await
    }

    /// Returns everything about a delivery.
    pub async fn delivery(&self, id: i64) -> Result<Option<DeliveryDetails>, Unseen> {
        self.ask(move |connection| history::delivery(connection, id))
            .await
    }

    /// Returns the newest actions that match the filter, newest first.
    pub async fn actions(&self, filter: ActionFilter) -> Result<Vec<ActionRow>, Unseen> {
        self.ask(move |connection| actions::list(connection, &filter))
            .await
    }

    /// Returns the configurations that wrote to it.
    pub async fn sources(&self) -> Result<Vec<Source>, Unseen> {
        self.ask(history::sources).await
    }

    /// Returns the mutes that hold now.
    pub async fn mutes(&self) -> Result<Vec<Mute>, Unseen> {
        self.ask(mutes::all).await
    }

    /// Returns the newest events whose texts are kept, newest first: of a run, or of all.
    pub async fn bodies(&self, run: Option<&str>) -> Result<Vec<String>, Unseen> {
        let run = run.map(results::events_of);
        self.ask(move |connection| listing::bodies(connection, run.as_ref()))
            .await
    }

    /// Returns the text of an event, if it is kept.
    pub async fn body(&self, event_id: String) -> Result<Option<String>, Unseen> {
        self.ask(move |connection| listing::body(connection, &event_id))
            .await
    }

    /// Returns the attempts for each destination.
    pub async fn attempts(&self) -> Result<Vec<Attempts>, Unseen> {
        self.ask(listing::attempts).await
    }
}

/// Questions about runs, each given by its number.
impl Viewer {
    /// Returns the recorded runs that match the filter, newest first.
    pub async fn runs(&self, filter: RunFilter) -> Result<Vec<RecordedRun>, Unseen> {
        let folder = self.folder().to_owned();
        self.ask(move |connection| runs::list(connection, &folder, &filter))
            .await
    }

    /// Returns a recorded run by its id, or by the beginning of one.
    pub async fn run(&self, id: &str) -> Result<Found, Unseen> {
        let (folder, id) = (self.folder().to_owned(), id.to_owned());
        self.ask(move |connection| runs::find(connection, &folder, &id))
            .await
    }

    /// Returns the tasks of a run, in the order in which they began.
    pub async fn tasks(&self, run: i64) -> Result<Vec<RecordedTask>, Unseen> {
        self.ask(move |connection| results::tasks(connection, run))
            .await
    }

    /// Returns the hosts of a run by name.
    pub async fn hosts(&self, run: i64) -> Result<Vec<RecordedHost>, Unseen> {
        self.ask(move |connection| results::hosts(connection, run))
            .await
    }

    /// Returns the results of a run that match the filter, in the order in which they came.
    pub async fn results(
        &self,
        run: i64,
        filter: ResultFilter,
    ) -> Result<Vec<RecordedResult>, Unseen> {
        self.ask(move |connection| results::results(connection, run, &filter))
            .await
    }

    /// Returns a result of a run by the number of its event, with all that is recorded of it.
    pub async fn result(&self, run: i64, event: i64) -> Result<Option<RecordedResult>, Unseen> {
        self.ask(move |connection| results::result(connection, run, event))
            .await
    }

    /// Returns how many deliveries of a run are in which state, by notifier.
    pub async fn notified(&self, run_id: &str) -> Result<Vec<Notified>, Unseen> {
        let range = results::events_of(run_id);
        self.ask(move |connection| results::notified(connection, &range))
            .await
    }

    /// Returns runs by day, slow tasks, failing hosts and failed attempts since a time, in milliseconds since 1970;
    /// at most this many of each.
    pub async fn trends(&self, since: i64, now: i64, most: usize) -> Result<Trends, Unseen> {
        let folder = self.folder().to_owned();
        self.ask(move |connection| {
            Ok(Trends {
                days: trends::days(connection, &folder, since)?,
                tasks: trends::slow_tasks(connection, since, now, most)?,
                hosts: trends::failing_hosts(connection, since, most)?,
                notifiers: listing::failed_attempts(connection, since)?,
            })
        })
        .await
    }

    /// Returns how many runs are in each state.
    pub async fn runs_by_state(&self) -> Result<Vec<(RunState, i64)>, Unseen> {
        let folder = self.folder().to_owned();
        self.ask(move |connection| runs::by_state(connection, &folder))
            .await
    }
}
