//! Taking segments: each is in the spool before it is acknowledged. What comes again after a crash is accepted once,
//! because the spool knows the ids of its events.

use std::time::Duration;

use anyhow::{Result, bail};
use hyper::StatusCode;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Takers;
use crate::command::relay::segment::Rejected;
use crate::command::relay::store::{Partition, Store as _, Taken};
use crate::command::relay::tenant::Tenant;
use crate::console::stderr;
use crate::failpoint;
use crate::notifier::relay::FORMAT;

/// Pause before another try.
const AGAIN: Duration = Duration::from_secs(1);
/// Time after which the store is told that a segment is still being worked on.
const EXTEND: Duration = Duration::from_secs(3);

impl Takers {
    /// Repeats something that the store may refuse now, until it succeeds or the process ends.
    pub(super) async fn until_done<F: Future<Output = Result<()>>>(&self, work: impl Fn() -> F) {
        while let Err(error) = work().await {
            self.complain(&error);
            if !self.pause().await {
                return;
            }
        }
    }

    /// Waits a while; returns false if the process is to end.
    async fn pause(&self) -> bool {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = sleep(AGAIN) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }

    /// Takes the segments of a partition until the process ends.
    pub(super) async fn take_partition(&self, number: u16) {
        self.until_done(|| async move {
            let mut partition = self.queue.partition(number).await?;
            let taken = self.take_from(&mut *partition).await;
            partition.release().await;
            taken
        })
        .await;
    }

    /// Takes again everything that was stored since a time.
    pub(super) async fn take_since(&self, since: i64, partitions: &[u16]) -> Result<()> {
        let mut stored = self.queue.since(since, partitions).await?;
        self.take_from(&mut *stored).await
    }

    /// Puts the segments that were set aside back into their partitions.
    pub(super) async fn return_aside(&self) -> Result<()> {
        let count = self.queue.return_aside().await?;
        stderr::say(format!(
            "{count} segments that were set aside are taken again"
        ));
        Ok(())
    }

    /// Takes segments until there are no more, or the process ends.
    async fn take_from(&self, partition: &mut dyn Partition) -> Result<()> {
        let mut stopping = self.stopping.subscribe();
        loop {
            let taken = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
                taken = partition.next() => taken?,
            };
            let Some(taken) = taken else { return Ok(()) };
            match self.accept(partition, &taken).await? {
                Ok(count) => {
                    failpoint::pass("deliver_accepted");
                    partition.done().await?;
                    failpoint::pass("deliver_acknowledged");
                    self.accepted.add(count);
                }
                Err(reason) => {
                    let tenant = &taken.tenant;
                    stderr::say(format!("a segment of `{tenant}` is set aside: {reason}"));
                    partition.set_aside(&reason).await?;
                }
            }
        }
    }

    /// Accepts the events of a segment, and returns their number; or why they can never be accepted as they are. Waits
    /// for a spool that takes nothing now.
    async fn accept(
        &self,
        partition: &mut dyn Partition,
        taken: &Taken,
    ) -> Result<Result<usize, String>> {
        let tenant = self.tenants.iter().find(|one| one.name == taken.tenant);
        let Some(tenant) = tenant else {
            return Ok(Err(format!("there is no [tenant:{}]", taken.tenant)));
        };
        if taken.form != FORMAT {
            let text = format!(
                "its form is version {}, and this program reads {FORMAT}",
                taken.form
            );
            return Ok(Err(format!("{text}; upgrade it")));
        }
        loop {
            match self.put(partition, tenant, taken).await? {
                Ok(count) => return Ok(Ok(count)),
                Err(rejected) if is_final(&rejected) => return Ok(Err(rejected.reason)),
                Err(rejected) => self.complain(&anyhow::anyhow!(rejected.reason)),
            }
            if !self.pause().await {
                bail!("stopped before a segment was accepted");
            }
            partition.extend().await?;
        }
    }

    /// Puts the segment into the spool; tells the store from time to time that this is still going on.
    async fn put(
        &self,
        partition: &mut dyn Partition,
        tenant: &Tenant,
        taken: &Taken,
    ) -> Result<Result<usize, Rejected>> {
        let mut again = interval(EXTEND);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        again.reset();
        let put = self.spooled.put(tenant, &taken.packed);
        let mut put = std::pin::pin!(put);
        loop {
            tokio::select! {
                stored = &mut put => return Ok(stored),
                _ = again.tick() => partition.extend().await?,
            }
        }
    }
}

/// Returns true if the segment would be rejected again.
fn is_final(rejected: &Rejected) -> bool {
    rejected.status.is_client_error() && rejected.status != StatusCode::TOO_MANY_REQUESTS
}
