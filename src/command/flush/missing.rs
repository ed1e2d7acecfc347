//! Playbooks that were expected to run and have not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Flush;
use super::trust::distrusted;
use crate::cli;
use crate::command::{only_named_by, search_for_spool, search_of, unclaimed};
use crate::config::Options;
use crate::config::entry::Reads;
use crate::config::levels::Search;
use crate::delivery::conditions::condition;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::event::alert::Alert;
use crate::event::callback::Callback;
use crate::event::stored::EventCodec;
use crate::event::{Event, Run};
use crate::net::http::Http;
use crate::spool::{DestinationStatus, Missing, NewEvent};
use crate::system::clock;
use crate::template::context::Context;

impl Flush<'_> {
    /// Stores the expectations of the configuration found here: its playbooks may never have run.
    pub(super) async fn expect(&self) -> anyhow::Result<()> {
        if self.stranger.is_some() {
            return Ok(());
        }
        let search = search_for_spool(&self.arguments.place);
        let Some(config) = inspect(&search, self.deliverer.http()) else {
            return Ok(());
        };
        for destination in &config.destinations {
            if let Some((source, expected)) = destination.expectations() {
                let id = self.spool.destination(destination.key(&search, "")).await?;
                let now = clock::now().as_millisecond();
                self.spool.expect(source, id, expected, now).await?;
            }
        }
        Ok(())
    }

    /// Reports the playbooks that have not run in time, each once per interval.
    pub(super) async fn report_missing(&self) -> anyhow::Result<()> {
        let now = clock::now();
        let missing = self.spool.missing(now.as_millisecond()).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let known = self.spool.status().await?;
        for missing in missing {
            let status = known.iter().find(|status| status.id == missing.destination);
            let Some(status) = status.filter(|status| self.is_chosen(status)) else {
                continue;
            };
            self.report_one(missing, status, now).await?;
        }
        Ok(())
    }

    async fn report_one(
        &self,
        missing: Missing,
        status: &DestinationStatus,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let search = search_of(status).filter(|search| distrusted(search).is_none());
        let is_own = |search: &Search| {
            let stranger = self.stranger.as_ref();
            stranger.is_none_or(|file| search.file().as_ref() == Some(file))
        };
        let Some(search) = search.filter(is_own) else {
            return Ok(());
        };
        let Some(config) = inspect(&search, self.deliverer.http()) else {
            if unclaimed::missing_file(&search).is_some() {
                self.spool.forget_expectation(missing.id).await?;
            }
            return Ok(());
        };
        let found = config.position(&status.name);
        let destination = found.map(|at| &config.destinations[at]);
        let is_expected = |destination: &&Destination| {
            let expected = destination.expectations();
            expected.is_some_and(|(_, all)| all.contains(&missing.expectation))
        };
        let Some(destination) = destination.filter(is_expected) else {
            self.spool.forget_expectation(missing.id).await?;
            return Ok(());
        };
        let event = Arc::new(event(&missing, now));
        let wants = destination.rules.want(&Context::new(event.clone()));
        let row = wants.then(|| NewEvent {
            event_id: event.id.clone(),
            created: Timestamp::now().as_millisecond(),
            callback: event.event.name().to_owned(),
            host: String::new(),
            task: String::new(),
            body: EventCodec::default().write(&event),
            destinations: vec![status.id],
            conditions: condition(destination, status.id, &event, wants)
                .into_iter()
                .collect(),
        });
        let next = next_due(&missing, now);
        self.spool.report_missing(missing, next, row).await?;
        Ok(())
    }
}

/// Loads a configuration without its secrets; None if nothing can be sent with it.
fn inspect(search: &Search, http: &Http) -> Option<Config> {
    let options = Options {
        search: search.clone(),
        environment: Some(Vec::new()),
        reads: Reads::None,
        ..Options::default()
    };
    Config::load(&options, &[], http).usable().ok()
}

/// Returns true if the configuration found here expects playbooks to run. A stranger's spool is ignored.
pub fn expects_any(place: &cli::Place) -> bool {
    if only_named_by(place).is_some() {
        return false;
    }
    let config = inspect(&search_for_spool(place), &Http::default());
    let mut destinations = config.iter().flat_map(|config| &config.destinations);
    destinations.any(|destination| destination.expectations().is_some())
}

/// Returns the first time after now at which the next run is missing: several missed intervals are reported as
/// one.
fn next_due(missing: &Missing, now: Timestamp) -> i64 {
    let every = missing.expectation.every.max(1);
    let passed = (now.as_millisecond() - missing.due).max(0) / every;
    missing.due + (passed + 1) * every
}

fn event(missing: &Missing, now: Timestamp) -> Event {
    let known = missing.run.as_deref();
    let known = known.and_then(|run| serde_json::from_str::<Run>(run).ok());
    let run = known.unwrap_or_else(|| Run {
        playbook: Some(missing.expectation.playbook.clone()),
        ..Run::default()
    });
    let run = Run {
        id: missing.uuid.clone(),
        ..run
    };
    let mut event = Event::new(Callback::RunMissing, Arc::new(run), 0);
    event.id = format!("{}-{}", missing.uuid, missing.due);
    event.time = now;
    let since = missing.last_run.unwrap_or(missing.seen);
    let took = (now.as_millisecond() - since).max(0) / 1000;
    event.duration = Some(took as f64);
    let every = Duration::from_millis(missing.expectation.every.max(0) as u64);
    event.alert = Some(Arc::new(Alert {
        threshold: Some(every.as_secs_f64()),
        waiting_for: Vec::new(),
        last_run: missing
            .last_run
            .and_then(|last| Timestamp::from_millisecond(last).ok()),
    }));
    event
}
