//! Ends of runs, as the spool keeps them for each playbook: what failed before decides if a success is a recovery.

use std::collections::BTreeSet;

use crate::delivery::Deliverer;
use crate::event::run_summary::{Before, RunSummary};
use crate::event::{Run, Status};
use crate::spool::{self, Ended};

/// Returns what the end of a run says about its playbooks, and about the command around them. Check mode changes
/// nothing, and a run that was cut off says nothing about the playbook.
pub fn ends_of(run: &Run, status: Status, progress: &RunSummary) -> Vec<Ended> {
    ends_on(run, status, |status| progress.hosts(status))
}

/// Returns the same for hosts, and those of them that failed, which are asked for with a status.
pub fn ends_on(
    run: &Run,
    status: Status,
    hosts: impl Fn(Status) -> (Vec<String>, Vec<String>),
) -> Vec<Ended> {
    let mut ends = vec![(run.playbook_key(), status)];
    if run.own_key() != ends[0].0 {
        let earlier = run.earlier_keys().into_iter();
        ends.extend(earlier.map(|key| (key, Status::Success)));
        ends.push((run.own_key(), status));
    }
    if let Some(wrapped) = &run.wrapped {
        // Its failures before the playbook began are known by this key only.
        ends.push((wrapped.key.clone(), status));
    }
    let mut seen = BTreeSet::new();
    ends.retain(|(key, _)| !key.is_empty() && seen.insert(key.clone()));
    if run.check || status == Status::Canceled {
        return Vec::new();
    }
    let ended = |(key, status): (String, Status)| {
        let (on, failed) = hosts(status);
        Ended {
            key,
            run: run.id.clone(),
            status: status.name().to_owned(),
            scope: run.scope(),
            hosts: on,
            failed,
        }
    };
    ends.into_iter().map(ended).collect()
}

impl Deliverer {
    /// Records how a run ended, and returns the state before it.
    pub async fn end_run(&self, run: &Run, status: Status, progress: &RunSummary) -> Before {
        self.record_ends(ends_of(run, status, progress), status)
            .await
    }

    /// Records the ends of a run with this status, and returns the state before it.
    pub async fn record_ends(&self, ends: Vec<Ended>, status: Status) -> Before {
        if ends.is_empty() {
            return Before::default();
        }
        // If the spool cannot be written, nothing is known about earlier runs.
        let known = self.try_record_ends(ends, status).await;
        known.unwrap_or_default()
    }

    /// Does the same, or fails if the spool cannot be written.
    pub async fn try_record_ends(
        &self,
        ends: Vec<Ended>,
        status: Status,
    ) -> Result<Before, spool::Error> {
        let known = self.spool().end_runs(ends).await?;
        let pairs = known
            .into_iter()
            .map(|one| (one.previous, one.still_failing));
        Ok(Before::of_all(pairs.collect(), status))
    }
}
