//! A tenant of the relay: its events are accepted under ids of its own, and reach its own notifiers only.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use tokio::sync::Mutex;

use super::quota::Quota;
use super::segment::{self, Rejected};
use super::settings::TenantSettings;
use crate::delivery::Deliverer;
use crate::event::masked::Masks;
use crate::failpoint;
use crate::net::authorization::{bearer_in, is_same};
use crate::net::http::Http;
use crate::secret::Secret;
use crate::spool::{self, Spool};

/// Size from which a compressed segment may take much memory once it is unpacked, in bytes.
const LARGE: usize = 4 << 10;

/// A tenant with its workers.
pub struct Tenant {
    pub name: String,
    token: Secret,
    masks: Option<Rc<Masks>>,
    pub deliverer: Rc<Deliverer>,
    destinations: Vec<usize>,
    quota: Option<Quota>,
    /// Held while a segment is accepted: segments of a run stay in order.
    accepting: Mutex<()>,
}

impl Tenant {
    /// Starts the workers of a tenant. What is recorded of runs is kept for `keep_runs`.
    pub async fn start(
        settings: TenantSettings,
        spool: &Spool,
        keep_runs: Duration,
    ) -> Result<Tenant> {
        let TenantSettings {
            name,
            token,
            rate,
            search,
            config,
        } = settings;
        let deliverer = Deliverer::new(Http::default());
        deliverer.shared.open(|| spool.clone());
        deliverer.scope_to(&name);
        deliverer.label(&config.labels);
        deliverer.record(config.recording, config.page.clone(), keep_runs);
        deliverer.show_alive();
        let mut destinations = Vec::new();
        for destination in config.destinations {
            let key = destination.key(&search, "");
            let added = deliverer.add_stored(destination, key).await;
            destinations.push(added.context("the spool")?);
        }
        Ok(Tenant {
            name,
            token,
            masks: config.masks,
            deliverer,
            destinations,
            quota: rate.map(Quota::new),
            accepting: Mutex::default(),
        })
    }

    /// Returns true if a request has this tenant's token.
    pub fn is_of(&self, headers: &HeaderMap) -> bool {
        bearer_in(headers).is_some_and(|given| is_same(given, self.token.expose().as_bytes()))
    }

    /// Accepts the events of a segment, and returns their number: they are in the spool then.
    pub async fn accept(&self, packed: &[u8], unpacking: &Mutex<()>) -> Result<usize, Rejected> {
        let _turn = self.accepting.lock().await;
        let _large = match packed.len() > LARGE {
            true => Some(unpacking.lock().await),
            false => None,
        };
        let events = segment::read(packed, self.masks.clone())?;
        let count = events.len();
        if let Some(quota) = &self.quota {
            quota.take(count)?;
        }
        failpoint::pass("relay_read");
        let committed = self.deliverer.commit(events, &self.destinations).await;
        failpoint::pass("relay_committed");
        committed.map(|()| count).map_err(refusal)
    }
}

/// Returns the answer for events that the spool does not take: their sender keeps them.
fn refusal(error: spool::Error) -> Rejected {
    let status = match error {
        spool::Error::Full | spool::Error::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Rejected::new(status, format!("the relay cannot store events: {error}"))
}
