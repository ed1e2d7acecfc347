//! Stores: places where the events of a segment are safe before the segment is answered. A store outside of the process
//! is a queue, too: `deliver` takes the segments out of it.

#[cfg(any(feature = "nats", feature = "postgres"))]
mod connecting;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "nats", feature = "postgres"))]
mod segments;

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use hyper::body::Bytes;
use tokio::time::{Instant, sleep};

use super::segment::Rejected;
use super::tenant::Tenant;
use crate::config::section::Section;
use crate::net::http::Http;

/// Time for which the content of a store is asked for, and the pause before another try.
const OPEN: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);

/// A place where events are safe.
#[async_trait(?Send)]
pub trait Store {
    /// Stores a tenant's segment, and returns the number of its events: they are safe then, even if the process is
    /// killed. After an error, their sender keeps them.
    async fn put(&self, tenant: &Tenant, packed: &[u8]) -> Result<usize, Rejected>;

    /// Returns the reason why nothing can be stored now.
    fn trouble(&self) -> Option<String>;

    /// Does what has to be done from time to time. Never ends.
    async fn tidy(&self);

    /// Finishes what has begun; nothing is stored after this.
    async fn stop(&self) -> Result<()>;
}

/// A store whose segments are taken by other processes.
#[async_trait(?Send)]
pub trait Queue: Store {
    /// Returns a partition, whose segments come from where they were last acknowledged. Several processes may ask for the
    /// same one; only one of them gets segments at a time.
    async fn partition(&self, number: u16) -> Result<Box<dyn Partition>>;

    /// Returns the segments of all partitions that were stored since a time, in milliseconds since 1970, whether or not
    /// they were acknowledged.
    async fn since(&self, time: i64, partitions: &[u16]) -> Result<Box<dyn Partition>>;

    /// Returns the counts of what waits.
    async fn backlog(&self) -> Result<Backlog>;

    /// Puts segments that were set aside back into their partitions, and returns their number.
    async fn return_aside(&self) -> Result<u64>;

    /// Returns what has to be created or changed before the store can be used; with `apply`, does it.
    async fn prepare(&self, apply: bool) -> Result<Vec<String>>;
}

/// A sequence of segments, one of which is given out at a time.
#[async_trait(?Send)]
pub trait Partition {
    /// Waits for the next segment; returns None if there will never be another one.
    async fn next(&mut self) -> Result<Option<Taken>>;

    /// Says that the segment is still being worked on, so that no other process gets it.
    async fn extend(&mut self) -> Result<()>;

    /// Acknowledges the segment: it is not given out again.
    async fn done(&mut self) -> Result<()>;

    /// Keeps the segment apart from the others, with the reason, and acknowledges it.
    async fn set_aside(&mut self, reason: &str) -> Result<()>;

    /// Leaves the partition to another process at once.
    async fn release(&mut self);
}

/// A segment that was taken from a queue.
pub struct Taken {
    pub tenant: String,
    /// Version of its form.
    pub form: String,
    pub packed: Bytes,
}

/// Counts of a queue, in segments.
#[derive(Default)]
pub struct Backlog {
    pub pending: u64,
    /// Age of the oldest pending one.
    pub oldest: Option<Duration>,
    /// Number of those that were given out more than once and are not acknowledged yet.
    pub redelivered: u64,
    pub set_aside: u64,
}

impl Backlog {
    /// Returns how many segments wait, in words.
    pub fn waiting(&self) -> String {
        match self.pending {
            1 => "1 segment waits".to_owned(),
            count => format!("{count} segments wait"),
        }
    }

    /// Returns how many segments are set aside, in words.
    pub fn aside(&self) -> String {
        match self.set_aside {
            1 => "1 segment is set aside".to_owned(),
            count => format!("{count} segments are set aside"),
        }
    }
}

/// Names of stores, as values of `store`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Spool,
    #[cfg(feature = "nats")]
    Nats,
    #[cfg(feature = "postgres")]
    Postgres,
}

/// Values of `store`.
pub const KINDS: &[(&str, Kind)] = &[
    ("spool", Kind::Spool),
    #[cfg(feature = "nats")]
    ("nats", Kind::Nats),
    #[cfg(feature = "postgres")]
    ("postgres", Kind::Postgres),
];

impl Kind {
    /// Returns its name, which is also that of its section.
    pub fn name(self) -> &'static str {
        let named = KINDS.iter().find(|(_, kind)| *kind == self);
        named.map_or("", |(name, _)| name)
    }
}

/// Settings of a store outside of the process.
pub enum Place {
    #[cfg(feature = "nats")]
    Nats(nats::settings::Settings),
    #[cfg(feature = "postgres")]
    Postgres(postgres::settings::Settings),
}

impl Place {
    /// Reads the settings from the section of a store.
    pub fn read(kind: Kind, section: &Section, http: &Http) -> Option<Place> {
        // Without any store in the build, there is nothing to read.
        let _ = (section, http);
        match kind {
            Kind::Spool => None,
            #[cfg(feature = "nats")]
            Kind::Nats => nats::settings::Settings::read(section, http).map(Place::Nats),
            #[cfg(feature = "postgres")]
            Kind::Postgres => postgres::settings::Settings::read(section).map(Place::Postgres),
        }
    }

    /// Connects to the store as `name`, and checks that what it accepts is safe.
    pub async fn open(&self, name: &str) -> Result<Rc<dyn Queue>> {
        let queue = self.connect(name).await?;
        let until = Instant::now() + OPEN;
        let missing = loop {
            match queue.prepare(false).await {
                Ok(missing) => break missing,
                Err(error) if Instant::now() > until => return Err(error),
                // A cluster may be electing a leader.
                Err(_) => sleep(AGAIN).await,
            }
        };
        if let Some(first) = missing.first() {
            let text = "run `ansible-notify relay init`, which shows everything that is missing";
            anyhow::bail!("{first}; {text}");
        }
        Ok(queue)
    }

    /// Connects to the store as `name`, without a check of its content.
    pub async fn connect(&self, name: &str) -> Result<Rc<dyn Queue>> {
        let _ = name;
        match *self {
            #[cfg(feature = "nats")]
            Place::Nats(ref settings) => Ok(nats::Nats::connect(settings, name).await?),
            #[cfg(feature = "postgres")]
            Place::Postgres(ref settings) => Ok(postgres::Postgres::connect(settings, name).await?),
        }
    }
}
