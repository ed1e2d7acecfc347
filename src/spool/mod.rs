//! The spool file: events, their deliveries and the results. SQLite, committed with fsync.
//!
//! A dedicated thread writes ([`writer`]). All processes of a user share the file.

mod breakers;
mod checkpoint;
mod deliveries;
mod error;
mod fields;
pub mod folder;
mod history;
mod holder;
mod leadership;
mod lock;
mod memory;
mod network;
mod obstacle;
mod open;
mod reader;
mod rescue;
mod reserve;
mod room;
mod schema;
mod wal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::console::stderr;
use holder::Holder;
use lock::Patience;
use open::Store;
use reserve::Reserve;
use writer::{Asked, Request, Trouble, Writer};

pub use breakers::*;
pub use deliveries::*;
pub use error::Error;
pub use folder::{Limits, default_folder, is_in};
use folder::{pages_in_use, private_file};
pub use history::*;
pub use leadership::{Leadership, MAX_CRASHES};
pub use memory::*;
pub use obstacle::check_folder;
pub use reader::reader;

/// Error when the writing thread has ended.
const UNWRITABLE: &str = "the spool cannot be written now";
/// Page size assumed for a spool that is not open yet.
const PAGE: i64 = 4096;

/// Handle to the writing thread.
#[derive(Clone)]
pub struct Spool {
    /// Sender of requests, or the reason why the spool cannot be used.
    work: Result<mpsc::Sender<Request>, String>,
    trouble: watch::Receiver<Trouble>,
    folder: PathBuf,
    reserve: Reserve,
    /// Pages in use above which no new event is accepted. Results of accepted ones can always be recorded.
    most_pages: Option<i64>,
    drop_oldest: bool,
}

impl Spool {
    /// Opens the spool in `folder`, creating both if missing.
    pub fn open(folder: &Path, limits: &Limits) -> Result<Spool> {
        let store = open::open(folder, limits, Patience::Long)?;
        let page = store
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(Spool::of(folder, limits, page, Ok(store)))
    }

    /// Returns the spool in `folder`, to be opened once the process that holds it now releases it. Until
    /// then, it accepts nothing.
    pub fn open_later(folder: &Path, limits: &Limits, reason: Error) -> Spool {
        Spool::of(folder, limits, PAGE, Err(reason))
    }

    fn of(folder: &Path, limits: &Limits, page: i64, store: Result<Store, Error>) -> Spool {
        let pages = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX) / page;
        let (work, queue) = mpsc::channel();
        let (sender, trouble) = watch::channel(store.is_err().then(std::time::Instant::now));
        let writer = Writer::new(folder, limits, store, sender);
        std::thread::spawn(move || writer.serve(&queue));
        Spool {
            work: Ok(work),
            trouble,
            folder: folder.to_owned(),
            reserve: Reserve::in_folder(folder),
            most_pages: limits.max_size.map(pages),
            drop_oldest: limits.drop_oldest,
        }
    }

    /// Returns a spool that accepts nothing: everything is delivered from memory.
    pub fn unusable(reason: &anyhow::Error) -> Spool {
        Spool {
            work: Err(stderr::causes(reason)),
            trouble: watch::channel(None).1,
            folder: PathBuf::new(),
            reserve: Reserve::in_folder(Path::new("")),
            most_pages: None,
            drop_oldest: false,
        }
    }

    /// Accepts events, unless the file has reached its maximum size or the disk is full.
    pub async fn accept(&self, events: Arc<Vec<NewEvent>>) -> Result<Vec<Accepted>> {
        let (most_pages, reserve) = (self.most_pages, self.reserve.clone());
        let size: usize = events.iter().map(|event| event.body.len()).sum();
        self.write(move |connection| {
            let has_its_size = most_pages
                .is_some_and(|most| pages_in_use(connection).is_ok_and(|used| used >= most));
            if has_its_size {
                return Err(Error::Full.into_sqlite());
            }
            if reserve.is_short(connection, size as u64) {
                return Err(Error::DiskFull.into_sqlite());
            }
            deliveries::accept(connection, &events)
        })
        .await
    }

    /// Runs `work` in a transaction, together with other waiting work; returns its result after the commit.
    /// If one piece of a transaction fails, the others are run again without it.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let done = Err(Error::Other(UNWRITABLE.to_owned()));
        let work = Asked { work, done, answer };
        let queue = self.work.clone().map_err(Error::Other)?;
        queue
            .send(Request::Work(Box::new(work)))
            .map_err(|_| Error::Damaged)?;
        Ok(result.await.context(UNWRITABLE)??)
    }

    /// Moves all committed data to the database file, unless another process is still using it. Nothing is
    /// written after this.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if let Ok(queue) = &self.work
            && queue.send(Request::Close(closed)).is_ok()
        {
            // If the thread has ended, there is nothing to move.
            let _ = done.await;
        }
    }

    /// Waits until another try is worthwhile, if the last request failed.
    pub async fn again(&self) {
        if self.trouble.borrow().is_some() {
            tokio::time::sleep(writer::AGAIN).await;
        }
    }

    /// Waits until the spool has failed all requests for this long.
    pub async fn fails_for(&self, limit: Duration) {
        let mut trouble = self.trouble.clone();
        loop {
            let since = *trouble.borrow_and_update();
            let left = since.map(|since| limit.saturating_sub(since.elapsed()));
            match left {
                Some(Duration::ZERO) => return,
                // The thread has ended because the file is damaged.
                _ if trouble.has_changed().is_err() => return,
                None => drop(trouble.changed().await),
                Some(left) => drop(tokio::time::timeout(left, trouble.changed()).await),
            }
        }
    }

    /// Makes this process the one that delivers to a destination; returns None if another one is.
    pub fn lead(&self, destination: i64) -> Option<Leadership> {
        // A destination without an id in the file is known to no other process.
        if self.work.is_err() || destination < 0 {
            return Some(Leadership::unshared());
        }
        let file = private_file(&self.leader_file(destination)).ok()?;
        // The kernel unlocks it when the process ends, however it ends.
        file.try_lock().ok()?;
        Some(Leadership::new(file))
    }

    fn leader_file(&self, destination: i64) -> PathBuf {
        self.folder.join(format!("destination-{destination}.lock"))
    }

    /// Returns the process that delivers to a destination, if known.
    pub fn leader(&self, destination: i64) -> Option<Holder> {
        holder::of_lock(&self.leader_file(destination))
    }
}
