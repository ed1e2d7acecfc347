//! A partition in PostgreSQL: rows in their order, for the session that has the partition's advisory lock.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::{Client, Row};

use super::super::{Partition, Taken};
use super::failure;

/// First number of the advisory locks: "anot" in ASCII.
const LOCKS: i32 = 0x616e_6f74;
/// Time between two tries to get the lock that another process has.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// A partition, and the row that was taken.
pub struct Locked {
    client: Rc<Client>,
    number: i32,
    has_lock: bool,
    current: Option<i64>,
    /// Changes when there may be new rows.
    news: watch::Receiver<u64>,
}

impl Locked {
    /// Creates the partition, whose lock is taken later.
    pub fn new(client: Rc<Client>, number: u16, news: watch::Receiver<u64>) -> Locked {
        Locked {
            client,
            number: i32::from(number),
            has_lock: false,
            current: None,
            news,
        }
    }

    async fn lock(&mut self) -> Result<()> {
        while !self.has_lock {
            let asked = "SELECT pg_try_advisory_lock($1, $2)";
            let row = self.client.query_one(asked, &[&LOCKS, &self.number]).await;
            self.has_lock = row.map_err(failure)?.get(0);
            if !self.has_lock {
                sleep(TAKE_OVER).await;
            }
        }
        Ok(())
    }
}

impl Locked {
    /// Waits for a look at the table that finds segments of this partition.
    async fn wait_for_news(&mut self) -> Result<()> {
        let bit = 1_u64 << self.number;
        loop {
            let changed = self.news.changed().await;
            changed.context("the connection has ended")?;
            if *self.news.borrow_and_update() & bit != 0 {
                return Ok(());
            }
        }
    }
}

/// Returns the segment of a row.
fn taken(row: &Row) -> Taken {
    Taken {
        tenant: row.get("tenant"),
        form: row.get("form"),
        packed: Bytes::from(row.get::<_, Vec<u8>>("packed")),
    }
}

#[async_trait(?Send)]
impl Partition for Locked {
    async fn next(&mut self) -> Result<Option<Taken>> {
        self.lock().await?;
        loop {
            self.news.borrow_and_update();
            let asked = "SELECT number, tenant, form, packed FROM ansible_notify_segments \
                         WHERE partition = $1 AND done IS NULL AND aside IS NULL ORDER BY number LIMIT 1";
            let row = self.client.query_opt(asked, &[&self.number]).await;
            if let Some(row) = row.map_err(failure)? {
                self.current = Some(row.get("number"));
                return Ok(Some(taken(&row)));
            }
            self.wait_for_news().await?;
        }
    }

    async fn extend(&mut self) -> Result<()> {
        // The lock lasts as long as the session.
        Ok(())
    }

    async fn done(&mut self) -> Result<()> {
        let number = self.current.context("no segment was taken")?;
        let asked = "UPDATE ansible_notify_segments SET done = now() WHERE number = $1";
        let done = self.client.execute(asked, &[&number]).await;
        done.map_err(failure)?;
        self.current = None;
        Ok(())
    }

    async fn set_aside(&mut self, reason: &str) -> Result<()> {
        let number = self.current.context("no segment was taken")?;
        let asked = "UPDATE ansible_notify_segments SET aside = $2 WHERE number = $1";
        let done = self.client.execute(asked, &[&number, &reason]).await;
        done.map_err(failure)?;
        self.current = None;
        Ok(())
    }

    async fn release(&mut self) {
        if std::mem::take(&mut self.has_lock) {
            let asked = "SELECT pg_advisory_unlock($1, $2)";
            // Without a connection, the server has released it.
            let _ = self.client.query_one(asked, &[&LOCKS, &self.number]).await;
        }
    }
}

/// Segments that were stored since a time, whether or not they are done.
pub struct Since {
    client: Rc<Client>,
    partitions: Vec<i32>,
    /// Last number that was given out, and the last one to be given out.
    number: i64,
    last: i64,
}

impl Since {
    /// Starts with the first segment that was stored at a time, in milliseconds since 1970.
    pub async fn start(client: Rc<Client>, time: i64, partitions: &[u16]) -> Result<Since> {
        let asked = "SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM ansible_notify_segments \
                     WHERE stored >= to_timestamp($1::double precision / 1000)";
        let row = client.query_one(asked, &[&(time as f64)]).await;
        let row = row.map_err(failure)?;
        Ok(Since {
            partitions: partitions.iter().map(|one| i32::from(*one)).collect(),
            number: row.get::<_, i64>(0) - 1,
            last: row.get(1),
            client,
        })
    }
}

#[async_trait(?Send)]
impl Partition for Since {
    async fn next(&mut self) -> Result<Option<Taken>> {
        let asked = "SELECT number, tenant, form, packed FROM ansible_notify_segments \
                     WHERE number > $1 AND number <= $2 AND partition = ANY($3) AND aside IS NULL ORDER BY number LIMIT 1";
        let row = self
            .client
            .query_opt(asked, &[&self.number, &self.last, &self.partitions])
            .await;
        let Some(row) = row.map_err(failure)? else {
            return Ok(None);
        };
        self.number = row.get("number");
        Ok(Some(taken(&row)))
    }

    async fn extend(&mut self) -> Result<()> {
        Ok(())
    }

    async fn done(&mut self) -> Result<()> {
        Ok(())
    }

    async fn set_aside(&mut self, _reason: &str) -> Result<()> {
        Ok(())
    }

    async fn release(&mut self) {}
}
