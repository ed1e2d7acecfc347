//! The spool as a store: the process that accepts events also delivers them. Each tenant has workers of its own, which
//! share the spool.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use hyper::StatusCode;
use tokio::sync::Mutex;

use super::segment::Rejected;
use super::settings::{Routes, Settings, TenantSettings};
use super::store::Store;
use super::tenant::Tenant;
use crate::command::spool_failed;
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::exit::Exit;
use crate::failpoint;
use crate::net::http::Http;
use crate::spool::{self, Spool};

/// Size from which a compressed segment may take much memory once it is unpacked, in bytes.
const LARGE: usize = 4 << 10;
/// Time between two deletions of old entries.
const TIDY: Duration = Duration::from_secs(6 * 3600);

/// A spool with the workers of all tenants.
pub struct Spooled {
    spool: Spool,
    /// Locked as long as this process accepts events into the spool.
    _alone: File,
    members: Vec<Member>,
    /// Time for which finished entries are kept, and what is recorded of runs.
    keep: (Duration, Duration),
    /// Held while a segment is unpacked: one of them takes much memory.
    unpacking: Mutex<()>,
}

/// The workers of a tenant.
struct Member {
    name: String,
    deliverer: Rc<Deliverer>,
    destinations: Vec<usize>,
    /// Held while a segment is accepted: segments of a run stay in order.
    accepting: Mutex<()>,
}

/// Opens the spool, and starts to deliver what is in it.
pub async fn open(settings: Settings) -> Result<Rc<Spooled>, Exit> {
    let spool = Spool::open(&settings.spool, &settings.limits);
    let spool = spool.map_err(|error| spool_failed(&error))?;
    let alone = alone(&settings.spool)?;
    let spooled = Spooled::start(settings.tenants, spool, alone).await;
    spooled.map_err(|error| spool_failed(&error))
}

/// Refuses a spool that another relay or `deliver` has: neither would know the order of the other's events.
fn alone(folder: &Path) -> Result<File, Exit> {
    let failed = |text: String| {
        stderr::say(format!("{}: {text}", folder.display()));
        Exit::Io
    };
    let taken = spool::take_alone(folder).map_err(|error| failed(error.to_string()))?;
    let text = "another relay or `deliver` uses this spool; set another `spool` in [relay], or stop that process";
    taken.ok_or_else(|| failed(text.to_owned()))
}

impl Spooled {
    /// Starts the workers of all tenants that have a configuration, and to deliver what is in the spool.
    async fn start(tenants: Vec<TenantSettings>, spool: Spool, alone: File) -> Result<Rc<Spooled>> {
        // One spool keeps everything as long as the tenant that keeps it longest.
        let routes = tenants.iter().filter_map(|tenant| tenant.routes.as_ref());
        let configs = routes.map(|routes| &routes.config);
        let keep = configs.clone().map(|config| config.keep).max();
        let keep_runs = configs.map(|config| config.keep_runs).max();
        let keep = (keep.unwrap_or_default(), keep_runs.unwrap_or_default());
        let mut members = Vec::new();
        for TenantSettings { name, routes, .. } in tenants {
            let Some(routes) = routes else { continue };
            let member = Member::start(&name, routes, &spool, keep.1).await;
            members.push(member.with_context(|| format!("[tenant:{name}]"))?);
        }
        Ok(Rc::new(Spooled {
            spool,
            _alone: alone,
            members,
            keep,
            unpacking: Mutex::default(),
        }))
    }

    fn member(&self, tenant: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == tenant)
    }
}

impl Member {
    /// Starts the workers of a tenant. What is recorded of runs is kept for `keep_runs`.
    async fn start(
        name: &str,
        routes: Routes,
        spool: &Spool,
        keep_runs: Duration,
    ) -> Result<Member> {
        let Routes { search, config } = routes;
        let deliverer = Deliverer::new(Http::default());
        deliverer.shared.open(|| spool.clone());
        deliverer.scope_to(name);
        deliverer.label(&config.labels);
        deliverer.record(config.recording, config.page.clone(), keep_runs);
        deliverer.show_alive();
        let mut destinations = Vec::new();
        for destination in config.destinations {
            let key = destination.key(&search, "");
            let added = deliverer.add_stored(destination, key).await;
            destinations.push(added.context("the spool")?);
        }
        Ok(Member {
            name: name.to_owned(),
            deliverer,
            destinations,
            accepting: Mutex::default(),
        })
    }
}

#[async_trait(?Send)]
impl Store for Spooled {
    async fn put(&self, tenant: &Tenant, packed: &[u8]) -> Result<usize, Rejected> {
        let member = self.member(&tenant.name).ok_or_else(|| {
            let text = format!("there is no configuration of [tenant:{}]", tenant.name);
            Rejected::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        let _turn = member.accepting.lock().await;
        let _large = match packed.len() > LARGE {
            true => Some(self.unpacking.lock().await),
            false => None,
        };
        let events = tenant.read(packed)?;
        let count = events.len();
        failpoint::pass("relay_read");
        let committed = member.deliverer.commit(events, &member.destinations).await;
        failpoint::pass("relay_committed");
        committed.map(|()| count).map_err(refusal)
    }

    fn trouble(&self) -> Option<String> {
        let is_failing = self.spool.is_failing();
        is_failing.then(|| "the spool cannot be written now".to_owned())
    }

    /// Deletes old entries from time to time.
    async fn tidy(&self) {
        loop {
            if let Some(first) = self.members.first() {
                first.deliverer.prune(self.keep.0);
                first.deliverer.prune_runs(self.keep.1);
            }
            tokio::time::sleep(TIDY).await;
            for member in &self.members {
                member.deliverer.renew_record();
            }
        }
    }

    /// Waits for the attempts in progress. What is accepted later is in the spool all the same.
    async fn stop(&self) -> Result<()> {
        let deliverers = self.members.iter().map(|member| member.deliverer.clone());
        Ok(Deliverer::stop_all(deliverers.collect()).await?)
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
