//! The spool's file: events, what is owed to whom, and what became of it. SQLite, committed with fsync.
//!
//! A thread of its own writes ([`writer`]). All processes of a user share the file.

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

/// Said when nobody does the work any more.
const UNWRITABLE: &str = "the spool cannot be written now";
/// Said of a spool in which nothing was ever opened.
const PAGE: i64 = 4096;

/// The way to the thread that writes.
#[derive(Clone)]
pub struct Spool {
    /// Nothing where the spool cannot be used, and why.
    work: Result<mpsc::Sender<Request>, String>,
    trouble: watch::Receiver<Trouble>,
    folder: PathBuf,
    reserve: Reserve,
    /// Pages in use above which nothing new is accepted. What was accepted can always be recorded.
    most_pages: Option<i64>,
    drop_oldest: bool,
}

impl Spool {
    /// Opens the spool in `folder`, making both where they are not there.
    pub fn open(folder: &Path, limits: &Limits) -> Result<Spool> {
        let store = open::open(folder, limits, Patience::Long)?;
        let page = store
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(Spool::of(folder, limits, page, Ok(store)))
    }

    /// The spool in `folder`, which is opened when the process lets it go that holds it now. Until then it takes
    /// nothing.
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

    /// A spool that takes nothing: all goes on from memory.
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

    /// Takes events on, unless the file has its full size, or the disk holds no more.
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

    /// Does `work` in a transaction, together with what else is waiting; its result after the commit. Where
    /// one piece of a transaction fails, the others are done again without it.
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

    /// Moves all that was committed to the file proper where no other process goes on with it: nothing more is
    /// written.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if let Ok(queue) = &self.work
            && queue.send(Request::Close(closed)).is_ok()
        {
            // Where the thread has ended, there is nothing to be moved.
            let _ = done.await;
        }
    }

    /// Waits until another try is worth it, where nothing could be done just now.
    pub async fn again(&self) {
        if self.trouble.borrow().is_some() {
            tokio::time::sleep(writer::AGAIN).await;
        }
    }

    /// Waits until the spool has taken and given nothing for so long, though it was asked.
    pub async fn fails_for(&self, limit: Duration) {
        let mut trouble = self.trouble.clone();
        loop {
            let since = *trouble.borrow_and_update();
            let left = since.map(|since| limit.saturating_sub(since.elapsed()));
            match left {
                Some(Duration::ZERO) => return,
                // The thread has ended, because the file is damaged.
                _ if trouble.has_changed().is_err() => return,
                None => drop(trouble.changed().await),
                Some(left) => drop(tokio::time::timeout(left, trouble.changed()).await),
            }
        }
    }

    /// Becomes the one process that delivers to a destination; nothing if another one is.
    pub fn lead(&self, destination: i64) -> Option<Leadership> {
        // What has no number there is known to no other process.
        if self.work.is_err() || destination < 0 {
            return Some(Leadership::unshared());
        }
        let file = private_file(&self.leader_file(destination)).ok()?;
        // The kernel lets it go when the process ends, however it ends.
        file.try_lock().ok()?;
        Some(Leadership::new(file))
    }

    fn leader_file(&self, destination: i64) -> PathBuf {
        self.folder.join(format!("destination-{destination}.lock"))
    }

    /// The process that delivers to a destination, where that is known.
    pub fn leader(&self, destination: i64) -> Option<Holder> {
        holder::of_lock(&self.leader_file(destination))
    }
}
