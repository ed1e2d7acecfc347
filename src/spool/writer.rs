//! The writing thread: combines waiting requests into one transaction and answers them after the commit.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::bodies::Delivered;
use super::checkpoint::{Mode, checkpoint};
use super::error::Error;
use super::folder::{BUSY, Limits};
use super::gathered::Gathered;
use super::lock::Patience;
use super::open::{Store, open};
use super::reserve::Reserve;
use super::work::Work;
use super::{holder, rescue};
use crate::console::stderr;
use crate::failpoint;

/// Maximum number of requests in one commit.
const MOST_AT_ONCE: usize = 100;
/// Time for which a change that is not urgent waits for others to share its commit.
const GATHERING: Duration = Duration::from_millis(50);
/// Time for which another program may hold the file after a wait in vain.
const BUSY_AGAIN: Duration = Duration::from_millis(50);
/// Time after which a process that was waited for in vain is waited for again.
pub const AGAIN: Duration = Duration::from_millis(100);
/// Time without work after which committed data moves from the log to the file.
const IDLE: Duration = Duration::from_secs(5);

/// A request to the writing thread.
pub enum Request {
    /// Work that may change something.
    Write(Box<dyn Work>),
    /// The first change was gathered.
    Gather,
    /// Everything gathered may wait no longer.
    Hurry,
    /// Work that changes nothing.
    Read(Box<dyn Work>),
    /// The process is about to end and requests nothing more.
    Close(oneshot::Sender<()>),
}

/// Time since which every request has failed, if they do.
pub type Trouble = Option<Instant>;

/// State of the spool when its thread starts.
pub enum Start {
    Open(Store),
    /// Open for reading only.
    Reading(Connection),
    /// Not open; the first request opens it.
    Closed,
    /// Another process holds the lock that is needed to open it.
    Held(Error),
}

/// State of the writing thread.
pub struct Writer {
    queue: mpsc::Receiver<Request>,
    gathered: Gathered,
    delivered: Delivered,
    /// Requests that arrived while it waited for the lock.
    later: VecDeque<Request>,
    folder: PathBuf,
    limits: Limits,
    reserve: Reserve,
    /// None until it is needed, and while another process holds the lock that is needed to open it.
    store: Option<Store>,
    /// Used for reading until then.
    reader: Option<Connection>,
    inode: Option<u64>,
    trouble: watch::Sender<Trouble>,
    /// Time of the last wait in vain for another process, and the error it ended with.
    held: Option<(Instant, Error)>,
    /// True if something was committed since the log was last moved.
    is_dirty: bool,
}

impl Writer {
    /// Creates the writer of a spool that is open, read only, held by another process, or not open yet.
    pub fn new(
        folder: &Path,
        limits: &Limits,
        start: Start,
        (queue, gathered, delivered): (mpsc::Receiver<Request>, Gathered, Delivered),
        trouble: watch::Sender<Trouble>,
    ) -> Writer {
        let mut writer = Writer {
            queue,
            gathered,
            delivered,
            later: VecDeque::new(),
            folder: folder.to_owned(),
            limits: limits.clone(),
            reserve: Reserve::in_folder(folder),
            store: None,
            reader: None,
            inode: None,
            trouble,
            held: None,
            is_dirty: false,
        };
        match start {
            Start::Open(store) => writer.begin(store),
            Start::Reading(connection) => {
                writer.inode = inode(folder);
                writer.reader = Some(connection);
            }
            Start::Closed => {}
            Start::Held(error) => {
                writer.trouble.send_replace(Some(Instant::now()));
                writer.held = Some((Instant::now(), error));
            }
        }
        writer
    }

    fn begin(&mut self, mut store: Store) {
        // Only now: no process waits for a lock while this waits for the terminal.
        store.told.take().into_iter().for_each(stderr::say);
        self.inode = inode(&self.folder);
        self.store = Some(store);
    }

    /// Returns true if the file was not replaced since it was opened.
    fn is_current(&self) -> bool {
        inode(&self.folder) == self.inode
    }

    /// Runs the thread until no sender is left or the file is damaged.
    pub fn serve(mut self) {
        while let Some(first) = self.next() {
            let (batch, closing) = self.gather(first);
            if !batch.is_empty() && self.handle(batch) {
                rescue::condemn(&self.folder.join("spool.db"));
                break;
            }
            if !closing.is_empty() {
                self.close();
            }
            for closed in closing {
                // The caller may be gone.
                let _ = closed.send(());
            }
        }
        self.gathered.end();
        // Closing it would remove the log, and a full disk has no room for a new one. Nothing is lost:
        // everything committed is on disk.
        std::mem::forget(self.store.take().map(|store| store.connection));
    }

    /// Gathers the work of one commit, and those who wait for the end. Answers what changes nothing.
    fn gather(&mut self, first: Request) -> (Vec<Box<dyn Work>>, Vec<oneshot::Sender<()>>) {
        let (mut batch, mut closing) = (Vec::new(), Vec::new());
        let (mut next, mut until) = (Some(first), None);
        while let Some(request) = next {
            match request {
                Request::Write(work) => batch.push(work),
                Request::Read(work) => batch.extend(self.read(work)),
                Request::Gather => until = until.or_else(|| Some(Instant::now() + GATHERING)),
                Request::Hurry => until = None,
                Request::Close(closed) => closing.push(closed),
            }
            let may_wait = batch.is_empty() && closing.is_empty();
            let has_room = batch.len() < MOST_AT_ONCE;
            next = match until.filter(|_| may_wait) {
                Some(until) => self.waiting_until(until),
                None => has_room.then(|| self.waiting()).flatten(),
            };
        }
        let mut gathered = self.gathered.take();
        gathered.append(&mut batch);
        (gathered, closing)
    }

    /// Returns the next request, if one has arrived or arrives by this time.
    fn waiting_until(&mut self, until: Instant) -> Option<Request> {
        self.waiting().or_else(|| {
            let left = until.saturating_duration_since(Instant::now());
            self.queue.recv_timeout(left).ok()
        })
    }

    /// Returns the next request. Moves the log to the file when there is none for a while.
    fn next(&mut self) -> Option<Request> {
        if let Some(request) = self.waiting() {
            return Some(request);
        }
        if self.is_dirty {
            match self.queue.recv_timeout(IDLE) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.move_log(),
            }
        }
        self.queue.recv().ok()
    }

    /// Returns the next request, if one has arrived.
    fn waiting(&mut self) -> Option<Request> {
        let later = self.later.pop_front();
        later.or_else(|| self.queue.try_recv().ok())
    }

    /// Runs work that changes nothing, and answers it. Returns it if it cannot be done without the lock.
    fn read(&self, work: Box<dyn Work>) -> Option<Box<dyn Work>> {
        let store = self.store.as_ref().map(|store| &store.connection);
        match store.or(self.reader.as_ref()).filter(|_| self.is_current()) {
            Some(connection) => read(connection, work),
            None => Some(work),
        }
    }

    /// Runs a batch of work and answers it. Returns true if the file was found to be damaged.
    fn handle(&mut self, mut batch: Vec<Box<dyn Work>>) -> bool {
        let committed = self.commit(&mut batch);
        failpoint::pass("after_commit");
        let is_damaged = matches!(committed, Ok(true) | Err(Error::Damaged));
        self.is_dirty |= committed.is_ok();
        let since = *self.trouble.borrow();
        self.trouble.send_replace(match &committed {
            Ok(_) => None,
            Err(_) => since.or_else(|| Some(Instant::now())),
        });
        for work in batch {
            work.answer(committed.as_ref().map(|_| ()).map_err(Clone::clone));
        }
        is_damaged
    }

    /// Runs work in one transaction, unless a wait for another process was in vain just before. Returns true
    /// if the file was found to be damaged.
    fn commit(&mut self, batch: &mut [Box<dyn Work>]) -> Result<bool, Error> {
        let patience = match &self.held {
            Some((when, error)) if when.elapsed() < AGAIN => return Err(error.clone()),
            Some(_) => Patience::Short,
            None => Patience::Long,
        };
        let committed = self.commit_with(batch, patience);
        self.held = match &committed {
            Err(error @ Error::Held(_)) => Some((Instant::now(), error.clone())),
            _ => None,
        };
        committed
    }

    fn commit_with(
        &mut self,
        batch: &mut [Box<dyn Work>],
        patience: Patience,
    ) -> Result<bool, Error> {
        let store = match &mut self.store {
            Some(store) => store,
            None => {
                self.reader = None;
                let opened = open(&self.folder, &self.limits, patience);
                let opened = opened.map_err(|error| match error.downcast::<Error>() {
                    Ok(error) => error,
                    Err(error) => Error::Other(stderr::causes(&error)),
                });
                self.begin(opened?);
                return self.commit_with(batch, patience);
            }
        };
        let connection = &store.connection;
        // SQLite waits by sleeping, and unfairly; the lock is fair and wakes at once.
        let (queue, later, opened) = (&self.queue, &mut self.later, self.inode);
        let mut read_meanwhile = || {
            for request in queue.try_iter() {
                later.extend(match request {
                    Request::Read(work) if inode(&self.folder) == opened => {
                        read(connection, work).map(Request::Write)
                    }
                    request => Some(request),
                });
            }
        };
        let _held = store.lock.acquire(patience, &mut read_meanwhile)?;
        if inode(&self.folder) != self.inode {
            return Err(Error::Other("the spool cannot be written".to_owned()));
        }
        let _ = connection.busy_timeout(match patience {
            Patience::Long => BUSY,
            Patience::Short => BUSY_AGAIN,
        });
        let delivered = &self.delivered;
        let mut committed = transact(connection, batch, delivered, &self.reserve);
        if committed.as_ref().is_err_and(is_full) {
            // Room was made for it.
            committed = transact(connection, batch, delivered, &self.reserve);
        }
        undo(connection, "ROLLBACK");
        committed.map_err(|error| match Error::from(&error) {
            Error::Held(text) => Error::Held(
                holder::of_transaction(&self.folder.join("spool.db"))
                    .map_or(text, |holder| format!("{holder} holds the spool")),
            ),
            error => error,
        })
    }

    /// Moves committed data from the log to the file, so that the spool does not depend on both. Not while
    /// others are at work, or if the room of the log may be needed.
    fn move_log(&mut self) {
        let Some(store) = &self.store else { return };
        if let Ok(_held) = store.lock.acquire(Patience::Short, &mut || ())
            && self.is_current()
        {
            let mode = if self.reserve.is_whole() {
                Mode::Truncate
            } else {
                Mode::Restart
            };
            checkpoint(&store.connection, mode);
            self.is_dirty = false;
        }
    }

    /// Leaves a file that is complete without its log, unless another process still uses it.
    fn close(&mut self) {
        let users = self.store.as_mut().and_then(|store| store.users.take());
        // If others have it open, the shared lock is released with the file.
        if users.is_some_and(|users| users.try_lock().is_ok()) && self.trouble.borrow().is_none() {
            self.move_log();
        }
    }
}

/// Runs a statement, compiling it only once.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(statement)?
        .execute([])
        .map(|_| ())
}

/// Rolls back the transaction, or the part since a savepoint, unless SQLite already did.
fn undo(connection: &Connection, statement: &str) {
    if !connection.is_autocommit() {
        // If that fails too, nothing is committed.
        let _ = connection.execute_batch(statement);
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// Returns the number of the file that is at the spool's path.
pub fn inode(folder: &Path) -> Option<u64> {
    let metadata = folder.join("spool.db").metadata();
    metadata.ok().map(|metadata| metadata.ino())
}

/// Runs work that changes nothing, and answers it. Returns it if it failed.
fn read(connection: &Connection, mut work: Box<dyn Work>) -> Option<Box<dyn Work>> {
    if snapshot(connection, &mut *work).is_err() {
        return Some(work);
    }
    work.answer(Ok(()));
    None
}

/// Runs work that changes nothing, on one state of the file.
fn snapshot(connection: &Connection, work: &mut dyn Work) -> rusqlite::Result<()> {
    run(connection, "BEGIN")?;
    let done = work
        .run(connection)
        .and_then(|()| run(connection, "COMMIT"));
    undo(connection, "ROLLBACK");
    done
}

/// Runs work in one transaction, drops the bodies that are not needed after it, and commits it. If one piece fails,
/// all are run again so that nothing of that one stays. Returns true if one found the file damaged.
fn transact(
    connection: &Connection,
    batch: &mut [Box<dyn Work>],
    delivered: &Delivered,
    reserve: &Reserve,
) -> rusqlite::Result<bool> {
    run(connection, "BEGIN IMMEDIATE")?;
    let mut damaged = false;
    delivered.clear();
    let failed = batch.iter_mut().find_map(|work| work.run(connection).err());
    if let Some(error) = failed.or_else(|| delivered.drop_bodies(connection).err()) {
        undo(connection, "ROLLBACK");
        if is_full(&error) {
            reserve.spend(connection);
        } else if Error::from(&error) == Error::DiskFull {
            // The reserve need not cover data that is in the file, and gains the room of the log.
            checkpoint(connection, Mode::Truncate);
        }
        run(connection, "BEGIN IMMEDIATE")?;
        delivered.clear();
        for work in batch {
            damaged |= attempt(connection, || work.run(connection))?;
        }
        // Without room for it, the bodies stay until their events are deleted.
        damaged |= attempt(connection, || delivered.drop_bodies(connection))?;
    }
    failpoint::pass("before_commit");
    run(connection, "COMMIT").inspect_err(|_| {
        undo(connection, "ROLLBACK");
        reserve.spend(connection);
    })?;
    Ok(damaged)
}

/// Does a part of a transaction; if it fails, nothing of it stays. Returns true if it found the file damaged.
fn attempt(
    connection: &Connection,
    part: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    run(connection, "SAVEPOINT work")?;
    let done = part();
    if done.is_err() {
        undo(connection, "ROLLBACK TO work");
    }
    // There is none if SQLite rolled back everything.
    let _ = run(connection, "RELEASE work");
    Ok(done.is_err_and(|error| rescue::says_damage(&error)))
}
