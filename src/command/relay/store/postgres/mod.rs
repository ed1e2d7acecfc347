//! The store `postgres`: a table of segments. A segment is safe once its transaction is committed; with a synchronous
//! standby, on two machines.

mod layout;
mod partition;
pub mod settings;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use hyper::StatusCode;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connecting::{self, Refused};
use super::segments::Segment;
use super::{Backlog, Partition, Queue, Store};
use crate::command::relay::segment::Rejected;
use crate::command::relay::tenant::Tenant;
use crate::console::stderr;
use crate::failpoint;
use crate::notifier::relay::FORMAT;
use partition::{Locked, Since};
use settings::Settings;

/// Number of connections on which segments are stored: those that are stored at the same time share a commit.
const WRITERS: usize = 8;
/// Time limit of an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Seconds after which a node may send events again that the server did not take.
const RETRY_AFTER: u64 = 2;
/// Time between two looks at the table for new segments.
const NEWS: Duration = Duration::from_millis(200);
/// Number of such looks between two deletions of old segments.
const LOOKS: u32 = 50;
/// Number of old segments that are deleted at a time.
const DELETED: i64 = 1000;

/// Connections to a server.
pub struct Postgres {
    config: Config,
    tls: MakeRustlsConnect,
    max_age: Duration,
    max_size: i64,
    /// Connections for segments to be stored, and the next one to be used.
    writers: Vec<RefCell<Option<Rc<Client>>>>,
    next: Cell<usize>,
    /// Connection for everything else; the locks of partitions are those of its session.
    reader: RefCell<Option<Rc<Client>>>,
    /// Size of all pending segments, in bytes.
    pending: Cell<i64>,
    /// True if the server did not answer when it was last asked for new segments.
    is_lost: Cell<bool>,
    /// Partitions with pending segments, a bit each.
    news: watch::Sender<u64>,
}

impl Postgres {
    /// Connects to the server, and refuses one that is not durable.
    pub async fn connect(settings: &Settings, name: &str) -> Result<Rc<Postgres>> {
        let mut config = settings.config.clone();
        config.application_name(name);
        let postgres = Rc::new(Postgres {
            config,
            tls: MakeRustlsConnect::new(settings.tls.clone()),
            max_age: settings.max_age,
            max_size: i64::try_from(settings.max_size).unwrap_or(i64::MAX),
            writers: (0..WRITERS).map(|_| RefCell::default()).collect(),
            next: Cell::new(0),
            reader: RefCell::default(),
            pending: Cell::new(0),
            is_lost: Cell::new(false),
            news: watch::Sender::new(0),
        });
        let client = connecting::connect(async || {
            let connected = postgres.reader().await;
            connected.map_err(|error| Refused {
                is_final: error.downcast_ref().is_some_and(Failed::is_final),
                error: anyhow!(
                    "{error}; `url` of [postgres] names {}",
                    hosts(&settings.config)
                ),
            })
        })
        .await?;
        layout::check(&client, settings).await?;
        Ok(postgres)
    }

    async fn reader(&self) -> Result<Rc<Client>> {
        self.client(&self.reader, layout::READER).await
    }

    /// Returns the connection in a place; a new one, prepared by these statements, if it has ended.
    async fn client(
        &self,
        place: &RefCell<Option<Rc<Client>>>,
        statements: &str,
    ) -> Result<Rc<Client>> {
        let known = place.borrow().clone();
        if let Some(client) = known.filter(|client| !client.is_closed()) {
            return Ok(client);
        }
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(failure)?;
        // Its end shows in the client.
        tokio::spawn(async move { drop(connection.await) });
        let statements = format!("{}{statements}", layout::SESSION);
        let set = client.batch_execute(&statements).await;
        set.map_err(failure)?;
        let client = Rc::new(client);
        place.replace(Some(client.clone()));
        Ok(client)
    }

    async fn write(&self, tenant: &str, segment: &Segment) -> Result<(), Rejected> {
        let number = self.next.get();
        self.next.set((number + 1) % WRITERS);
        let client = self.client(&self.writers[number], "").await;
        let client = client.map_err(|error| unavailable(&error))?;
        let partition = i32::from(segment.partition);
        let size = i32::try_from(segment.packed.len()).unwrap_or(i32::MAX);
        let asked = "INSERT INTO ansible_notify_segments (partition, id, tenant, form, packed, size) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";
        let packed: &[u8] = &segment.packed;
        let values: [&(dyn ToSql + Sync); 6] =
            [&partition, &segment.id, &tenant, &FORMAT, &packed, &size];
        let written = client.execute(asked, &values);
        let written = tokio::time::timeout(ANSWER, written).await;
        let written = written.map_err(|_| unavailable(&anyhow!("no answer within {ANSWER:?}")))?;
        written.map_err(refusal)?;
        self.pending.set(self.pending.get() + i64::from(size));
        Ok(())
    }

    /// Looks for new segments, and how large all of them are.
    async fn look(&self) -> Result<()> {
        let asked = "SELECT partition, sum(size)::bigint FROM ansible_notify_segments \
                     WHERE done IS NULL AND aside IS NULL GROUP BY partition";
        let client = self.reader().await?;
        let rows = client.query(asked, &[]).await.map_err(failure)?;
        let (mut partitions, mut pending) = (0_u64, 0);
        for row in rows {
            partitions |= 1_u64 << row.get::<_, i32>(0).clamp(0, 63);
            pending += row.get::<_, i64>(1);
        }
        self.pending.set(pending);
        self.news.send_replace(partitions);
        Ok(())
    }

    /// Says that the server does not answer, and that it does again. It is asked again in any case.
    fn report(&self, looked: Result<()>) {
        let was_lost = self.is_lost.replace(looked.is_err());
        match (looked, was_lost) {
            (Err(error), false) => stderr::say(format!("{error:#}")),
            (Ok(()), true) => stderr::say("PostgreSQL: connected again"),
            _ => {}
        }
    }

    /// Deletes segments that were acknowledged long ago, some at a time.
    async fn forget(&self) -> Result<()> {
        let asked = "DELETE FROM ansible_notify_segments WHERE number IN \
                     (SELECT number FROM ansible_notify_segments \
                      WHERE done < now() - make_interval(secs => $1) LIMIT $2)";
        let client = self.reader().await?;
        let seconds = self.max_age.as_secs_f64();
        let deleted = client.execute(asked, &[&seconds, &DELETED]).await;
        deleted.map_err(failure)?;
        Ok(())
    }
}

/// Error of the client, with its causes.
#[derive(Debug)]
struct Failed {
    text: String,
    code: Option<SqlState>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PostgreSQL: {}", self.text)
    }
}

impl std::error::Error for Failed {}

impl Failed {
    /// Returns true if another connection would fail the same way: the login or the database is wrong.
    fn is_final(&self) -> bool {
        let wrong = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            SqlState::INVALID_CATALOG_NAME,
        ];
        self.code.as_ref().is_some_and(|code| wrong.contains(code))
    }
}

/// Returns the servers of a configuration.
fn hosts(config: &Config) -> String {
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(name).collect();
    hosts.join(", ")
}

fn failure(error: tokio_postgres::Error) -> anyhow::Error {
    let code = error.code().cloned();
    let text = stderr::causes(&anyhow::Error::new(error));
    Failed { text, code }.into()
}

fn unavailable(error: &anyhow::Error) -> Rejected {
    let text = format!("the relay cannot store events: {error:#}");
    Rejected {
        after: Some(RETRY_AFTER),
        ..Rejected::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// Returns the answer for a segment that the server did not take: its sender keeps it.
fn refusal(error: tokio_postgres::Error) -> Rejected {
    let is_full = error.code() == Some(&SqlState::DISK_FULL);
    let rejected = unavailable(&failure(error));
    match is_full {
        true => Rejected {
            status: StatusCode::INSUFFICIENT_STORAGE,
            ..rejected
        },
        false => rejected,
    }
}

#[async_trait(?Send)]
impl Store for Postgres {
    async fn put(&self, tenant: &Tenant, packed: &[u8]) -> Result<usize, Rejected> {
        let events = tenant.read(packed)?;
        failpoint::pass("relay_read");
        let segment = Segment::new(&tenant.name, &events)?;
        drop(events);
        if self.pending.get() > self.max_size {
            let text = "the relay cannot store events: the store has reached its `max_size`";
            return Err(Rejected::new(StatusCode::INSUFFICIENT_STORAGE, text));
        }
        let written = self.write(&tenant.name, &segment).await;
        failpoint::pass("relay_committed");
        written.map(|()| segment.count)
    }

    fn trouble(&self) -> Option<String> {
        let is_closed = |client: &Rc<Client>| client.is_closed();
        let is_closed = self.reader.borrow().as_ref().is_none_or(is_closed);
        is_closed.then(|| "there is no connection to PostgreSQL".to_owned())
    }

    async fn tidy(&self) {
        loop {
            for _ in 0..LOOKS {
                self.report(self.look().await);
                sleep(NEWS).await;
            }
            let _ = self.forget().await;
        }
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait(?Send)]
impl Queue for Postgres {
    async fn partition(&self, number: u16) -> Result<Box<dyn Partition>> {
        let client = self.reader().await?;
        Ok(Box::new(Locked::new(client, number, self.news.subscribe())))
    }

    async fn since(&self, time: i64, partitions: &[u16]) -> Result<Box<dyn Partition>> {
        let since = Since::start(self.reader().await?, time, partitions).await?;
        Ok(Box::new(since))
    }

    async fn backlog(&self) -> Result<Backlog> {
        let asked = "SELECT count(*) FILTER (WHERE aside IS NULL), count(*) FILTER (WHERE aside IS NOT NULL), \
                     extract(epoch FROM now() - min(stored) FILTER (WHERE aside IS NULL))::double precision \
                     FROM ansible_notify_segments WHERE done IS NULL";
        let client = self.reader().await?;
        let row = client.query_one(asked, &[]).await.map_err(failure)?;
        let count = |number: usize| u64::try_from(row.get::<_, i64>(number)).unwrap_or_default();
        let age: Option<f64> = row.get(2);
        Ok(Backlog {
            pending: count(0),
            oldest: age.map(|age| Duration::from_secs_f64(age.max(0.0))),
            redelivered: 0,
            set_aside: count(1),
        })
    }

    async fn return_aside(&self) -> Result<u64> {
        let asked = "UPDATE ansible_notify_segments SET aside = NULL WHERE aside IS NOT NULL";
        let client = self.reader().await?;
        client.execute(asked, &[]).await.map_err(failure)
    }

    async fn prepare(&self, apply: bool) -> Result<Vec<String>> {
        layout::prepare(&*self.reader().await?, apply).await
    }
}
