//! The spool file: events, their deliveries and the results. SQLite, committed with fsync.
//!
//! A dedicated thread writes ([`writer`]). All processes of a user share the file.

mod accepting;
mod actions;
mod attempts;
mod bodies;
mod breakers;
mod checkpoint;
mod conditions;
mod deliveries;
mod error;
mod expectations;
mod fields;
pub mod folder;
mod gathered;
mod held;
mod history;
mod holder;
mod inspect;
mod leadership;
mod listing;
mod lock;
mod memory;
mod mutes;
mod network;
mod obstacle;
mod open;
mod reader;
pub mod record;
mod requests;
mod rescue;
mod reserve;
mod room;
mod schema;
mod scope;
mod state;
mod vanishing;
mod viewer;
mod wal;
mod watched;
mod wording;
mod work;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::console::stderr;
use bodies::Delivered;
use gathered::{Added, Gathered};
use holder::Holder;
use lock::Patience;
use reserve::Reserve;
use work::{Asked, Work};
use writer::{Request, Start, Trouble, Writer};

pub use accepting::{Acceptance, Accepted, NewEvent};
pub use actions::{ActionFilter, ActionRow, Actor, Deed, place_name};
pub use attempts::{AttemptRow, SentMessage};
pub use breakers::{BREAKER, BreakerRow};
pub use conditions::{Condition, Streak, Treatment};
pub use deliveries::{DestinationKey, Finished, Mark, Pending, Room};
pub use error::Error;
pub use expectations::{Expectation, Missing, Ran};
use folder::private_file;
pub use folder::{Limits, default_folder, is_in, take_alone};
pub use held::{HeldRange, Released};
pub use history::{BreakerState, Choice, DeliveryDetails, DestinationStatus, Source};
pub use inspect::{Inspected, inspect};
pub use leadership::{Leadership, MAX_CRASHES};
pub use listing::{Attempts, DeliveryFilter, FailedAttempts, HistoryRow};
pub use memory::{Ended, reached_key};
pub use mutes::Mute;
pub use obstacle::check_folder;
pub use schema::NEWEST as SCHEMA;
pub use scope::{DestinationId, Scope};
pub use state::{DeliveryState, name_of as state_name};
pub use vanishing::vanishes;
pub use viewer::{Unseen, Viewer};
pub use watched::Trends;
pub use work::Urgency;

/// Error when the writing thread has ended.
const UNWRITABLE: &str = "the spool cannot be written now";
/// Page size assumed for a spool that is not open yet.
const PAGE: i64 = 4096;

/// A request on its way to the writing thread.
type Asking<T> = Result<oneshot::Receiver<Result<T, Error>>, Error>;

/// Returns the thread's answer to a request.
async fn answer<T>(asked: Asking<T>) -> Result<T, Error> {
    let unwritable = |_| Err(Error::Other(UNWRITABLE.to_owned()));
    asked?.await.unwrap_or_else(unwritable)
}

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
    gathered: Gathered,
    delivered: Delivered,
}

impl Spool {
    /// Opens the spool in `folder`, creating both if missing.
    pub fn open(folder: &Path, limits: &Limits) -> Result<Spool> {
        let store = open::open(folder, limits, Patience::Long)?;
        let page = store
            .connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(Spool::of(folder, limits, page, Start::Open(store)))
    }

    /// Returns the spool in `folder`, to be opened once the process that holds it now releases it. Until
    /// then, it accepts nothing.
    pub fn open_later(folder: &Path, limits: &Limits, reason: Error) -> Spool {
        Spool::of(folder, limits, PAGE, Start::Held(reason))
    }

    /// Returns the spool in `folder`, which exists. It is opened for reading only, until something is
    /// written or cannot be read.
    pub fn open_to_read(folder: &Path, limits: &Limits) -> Spool {
        let start = reader::reader(folder).map_or(Start::Closed, Start::Reading);
        Spool::of(folder, limits, PAGE, start)
    }

    fn of(folder: &Path, limits: &Limits, page: i64, start: Start) -> Spool {
        let pages = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX) / page;
        let (work, queue) = mpsc::channel();
        let (sender, trouble) = watch::channel(None);
        let gathered = Gathered::default();
        let delivered = Delivered::default();
        let requests = (queue, gathered.clone(), delivered.clone());
        let writer = Writer::new(folder, limits, start, requests, sender);
        std::thread::spawn(move || writer.serve());
        Spool {
            work: Ok(work),
            trouble,
            folder: folder.to_owned(),
            reserve: Reserve::in_folder(folder),
            most_pages: limits.max_size.map(pages),
            drop_oldest: limits.drop_oldest,
            gathered,
            delivered,
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
            gathered: Gathered::default(),
            delivered: Delivered::default(),
        }
    }

    /// Runs `work` in a transaction, together with other waiting work; returns its result after the commit.
    /// If one piece of a transaction fails, the others are run again without it.
    fn write<T, F>(&self, work: F) -> impl Future<Output = Result<T, Error>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        answer(self.ask(work, Request::Write))
    }

    /// Runs `work` as `write` does, but lets it wait a moment for other work if it is not urgent.
    fn write_by<T, F>(&self, urgency: Urgency, work: F) -> impl Future<Output = Result<T, Error>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        answer(match urgency {
            Urgency::Now => self.ask(work, Request::Write),
            Urgency::Soon => self.ask_soon(work),
        })
    }

    /// Lets changes that are not urgent wait for others, or no longer: those that wait are then committed.
    pub fn gather(&self, gathers: bool) {
        self.gathered.set(gathers);
        if !gathers {
            // If the thread has ended, nothing waits.
            let _ = self.send(Request::Hurry);
        }
    }

    /// Runs `work`, which changes nothing. It needs no lock, unless it fails: then it is run again like a
    /// change, after the file was opened or repaired.
    fn read<T, F>(&self, work: F) -> impl Future<Output = Result<T, Error>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        answer(self.ask(work, Request::Read))
    }

    fn ask<T, F>(&self, work: F, request: fn(Box<dyn Work>) -> Request) -> Asking<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        self.send(request(Box::new(Asked::new(work, answer))))?;
        Ok(result)
    }

    fn ask_soon<T, F>(&self, work: F) -> Asking<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        match self.gathered.add(Box::new(Asked::new(work, answer))) {
            Added::Waits => {}
            Added::WaitsFirst => self
                .send(Request::Gather)
                .inspect_err(|_| self.gathered.end())?,
            Added::Not(work) => self.send(Request::Write(work))?,
        }
        Ok(result)
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        match &self.work {
            Ok(queue) => queue.send(request).map_err(|_| Error::Damaged),
            Err(reason) => Err(Error::Other(reason.clone())),
        }
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

    /// Returns its directory if that is on a file system that will vanish.
    pub fn vanishing_folder(&self) -> Option<&Path> {
        let is_open = self.work.is_ok();
        Some(&*self.folder).filter(|folder| is_open && vanishes(folder))
    }

    /// Returns true if the last request failed.
    pub fn is_failing(&self) -> bool {
        self.work.is_err() || self.trouble.borrow().is_some()
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
    pub fn lead(&self, destination: DestinationId) -> Option<Leadership> {
        // A destination without an id in the file is known to no other process.
        if self.work.is_err() || destination.0 < 0 {
            return Some(Leadership::unshared());
        }
        let file = private_file(&self.leader_file(destination)).ok()?;
        // The kernel unlocks it when the process ends, however it ends.
        file.try_lock().ok()?;
        Some(Leadership::new(file))
    }

    fn leader_file(&self, destination: DestinationId) -> PathBuf {
        self.folder
            .join(format!("destination-{}.lock", destination.0))
    }

    /// Returns the process that delivers to a destination, if known.
    pub fn leader(&self, destination: DestinationId) -> Option<Holder> {
        holder::of_lock(&self.leader_file(destination))
    }
}
