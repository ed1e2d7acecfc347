//! Accepting events of other machines: they are safe in the spool, or their sender keeps them. Each tenant has a
//! deliverer, whose ids in the spool have the tenant's name in front; all of them share one spool.

use std::rc::Rc;
use std::sync::Arc;

use super::{Deliverer, Routed};
use crate::delivery::destination::Destination;
use crate::delivery::endings::ends_on;
use crate::event::{Event, Run, RunEnd, Status};
use crate::spool::{self, DestinationKey, Urgency};

impl Deliverer {
    /// Puts a tenant's name in front of all ids in the spool.
    pub fn scope_to(&self, tenant: &str) {
        let scope = format!("{tenant}:");
        self.recorder.scope.replace(scope.clone());
        self.scope.replace(scope);
    }

    /// Starts a worker for a destination, as [`Deliverer::add`] does, if the spool knows it.
    pub async fn add_stored(
        self: &Rc<Self>,
        destination: Destination,
        key: DestinationKey,
    ) -> Result<usize, spool::Error> {
        self.spool().destination(key.clone()).await?;
        Ok(self.add(destination, key).await)
    }

    /// Accepts events, with their numbers, as [`Deliverer::accept`] does, but never in memory only: after an error, the
    /// sender still has them. One call at a time.
    pub async fn commit(
        &self,
        mut events: Vec<(u64, Event)>,
        candidates: &[usize],
    ) -> Result<(), spool::Error> {
        for (_, event) in &mut events {
            self.complete_end(event).await?;
        }
        let ended = events.iter().filter(|(_, event)| event.end.is_some());
        let ended: Vec<Arc<Run>> = ended.map(|(_, event)| event.run.clone()).collect();
        let stored = self.store(self.route(events, candidates)).await;
        if stored.is_err() {
            // They come again.
            self.recorder.forget_unwritten();
        }
        ended.iter().for_each(|run| self.recorder.let_go(run));
        stored
    }

    async fn store(&self, routed: Routed) -> Result<(), spool::Error> {
        if routed.wanted_by_some == 0 && !self.counts_any(&routed.rows).await {
            return self.recorder.commit(self.spool()).await;
        }
        let acceptance = self.write_events(routed.rows, Urgency::Now).await?;
        self.take(acceptance, &routed.held);
        Ok(())
    }

    /// Adds to the end of a run how the previous run of its playbook ended, from whatever machine, unless its own
    /// machine knew that.
    async fn complete_end(&self, event: &mut Event) -> Result<(), spool::Error> {
        let Some(end) = &event.end else { return Ok(()) };
        let mut ends = ends_on(&event.run, end.status, |status| hosts_of(end, status));
        for one in &mut ends {
            one.key.insert_str(0, &self.scope.borrow());
        }
        if ends.is_empty() {
            return Ok(());
        }
        let before = self.try_record_ends(ends, end.status).await?;
        if end.previous.is_none() {
            event.end = Some(Arc::new(RunEnd {
                previous: before.previous,
                still_failing: before.still_failing,
                ..RunEnd::clone(end)
            }));
        }
        Ok(())
    }

    /// Forgets runs without events; to be called from time to time in a process that runs for long.
    pub fn renew_record(&self) {
        self.recorder.renew();
    }

    /// Stops all deliverers that share a spool, as [`Deliverer::stop`] does, and closes it.
    pub async fn stop_all(all: Vec<Rc<Deliverer>>) -> Result<(), spool::Error> {
        let mut stopping = tokio::task::JoinSet::new();
        for one in &all {
            let one = one.clone();
            stopping.spawn_local(async move { one.wind_up().await });
        }
        let mut recorded = Ok(());
        while let Some(stopped) = stopping.join_next().await {
            recorded = recorded.and(stopped.unwrap_or(Ok(())));
        }
        if let Some(first) = all.first() {
            first.spool().close().await;
        }
        all.iter().for_each(|one| one.end_record());
        recorded
    }
}

/// Returns the hosts of a run, and those where it failed; none failed in a run with another status.
fn hosts_of(end: &RunEnd, status: Status) -> (Vec<String>, Vec<String>) {
    let hosts = end.stats.iter();
    let failed =
        hosts.filter(|(_, counts)| status == Status::Error && RunEnd::failures_of(counts) > 0);
    let failed = failed.map(|(host, _)| host.clone()).collect();
    (end.stats.keys().cloned().collect(), failed)
}
