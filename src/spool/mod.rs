//! The spool's file: events, what is owed to whom, and what became of it. SQLite, committed with fsync.
//!
//! A thread of its own writes: what has come in meanwhile goes into one transaction, and everybody
//! hears of it after the commit. All processes of a user share the file.

mod breakers;
mod deliveries;
mod history;
mod leadership;
mod memory;
mod network;
mod reader;
mod rescue;
mod reserve;
mod room;
mod schema;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use crate::failpoint;
use crate::home;
use crate::panics;
use crate::report;
use reserve::Reserve;

pub use breakers::*;
pub use deliveries::*;
pub use history::*;
pub use leadership::{Leadership, MAX_CRASHES};
pub use memory::*;
pub use reader::reader;

/// The most work that goes into one commit.
const MOST_AT_ONCE: usize = 100;
/// All statements that the writing thread uses, and some.
const STATEMENTS: usize = 64;
/// What is said when `max_size` is reached: what is finished can make room.
pub const FULL: &str = "no space is left for the spool (its `max_size`)";
/// What is said when nobody does the work any more.
const UNWRITABLE: &str = "the spool cannot be written now";
/// What is said when damage is found while the spool is in use.
const DAMAGED: &str =
    "the spool is damaged; the next start puts it aside and saves what can be read";
/// How long another program may hold the file.
const BUSY: std::time::Duration = std::time::Duration::from_millis(500);

/// A piece of work inside a transaction that it shares with others. Where one of them fails it is done again.
trait Work: Send {
    /// Does it, and keeps what came of it for whoever asked.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Answers whoever asked, when it is known what became of the transaction.
    fn answer(self: Box<Self>, commit: Result<(), String>);
}

/// Work that somebody waits for.
struct Asked<T, F> {
    work: F,
    done: Result<T, String>,
    answer: oneshot::Sender<Result<T, String>>,
}

impl<T, F> Work for Asked<T, F>
where
    T: Send,
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let done = panics::caught(|| (self.work)(connection)).unwrap_or_else(|fault| {
            let internal = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERNAL);
            Err(rusqlite::Error::SqliteFailure(internal, Some(fault)))
        });
        let (done, failed) = match done {
            Ok(done) => (Ok(done), Ok(())),
            Err(error) => (Err(explain(&error)), Err(error)),
        };
        self.done = done;
        failed
    }

    fn answer(self: Box<Self>, commit: Result<(), String>) {
        // Whoever asked may have gone; the work is done all the same.
        let _ = self.answer.send(commit.and(self.done));
    }
}

/// The way to the thread that writes.
#[derive(Clone)]
pub struct Spool {
    /// Nothing where the spool cannot be used, and why.
    work: Result<mpsc::Sender<Box<dyn Work>>, String>,
    folder: PathBuf,
    reserve: Reserve,
    /// Pages in use above which nothing new is accepted. What was accepted can always be recorded.
    most_pages: Option<i64>,
    drop_oldest: bool,
}

/// What a spool may take, and where it may be.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// The most that its file may take, in bytes.
    pub max_size: Option<u64>,
    /// In a full one, what waited longest makes room for what is new.
    pub drop_oldest: bool,
    /// It may be on a file system of another machine.
    pub on_network: bool,
    /// The file is looked through for damage first, if it is not large.
    pub check: bool,
}

impl Spool {
    /// Opens the spool in `folder`, making both where they are not there.
    pub fn open(folder: &Path, limits: &Limits) -> Result<Spool> {
        let (connection, lock) = open(folder, limits)?;
        let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX) / page;
        let most_pages = limits.max_size.map(pages);
        let (work, queue) = mpsc::channel();
        let reserve = Reserve::in_folder(folder);
        let spent = reserve.clone();
        std::thread::spawn(move || serve(connection, &lock, &spent, &queue));
        Ok(Spool {
            most_pages,
            drop_oldest: limits.drop_oldest,
            work: Ok(work),
            folder: folder.to_owned(),
            reserve,
        })
    }

    /// A spool that takes nothing: all goes on from memory.
    pub fn unusable(reason: &anyhow::Error) -> Spool {
        Spool {
            most_pages: None,
            drop_oldest: false,
            work: Err(report::causes(reason)),
            folder: PathBuf::new(),
            reserve: Reserve::in_folder(Path::new("")),
        }
    }

    /// Takes events on, unless the file has its full size, or the disk holds no more.
    pub async fn accept(&self, events: Arc<Vec<NewEvent>>) -> Result<Vec<Accepted>> {
        let (most_pages, reserve) = (self.most_pages, self.reserve.clone());
        self.write(move |connection| {
            let has_its_size = most_pages
                .is_some_and(|most| pages_in_use(connection).is_ok_and(|used| used >= most));
            let refused = match (has_its_size, reserve.is_short()) {
                (true, _) => rusqlite::ffi::SQLITE_TOOBIG,
                (_, true) => rusqlite::ffi::SQLITE_FULL,
                _ => return deliveries::accept(connection, &events),
            };
            let error = rusqlite::ffi::Error::new(refused);
            Err(rusqlite::Error::SqliteFailure(error, None))
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
        let work = Asked {
            work,
            done: Err(UNWRITABLE.to_owned()),
            answer,
        };
        let queue = self.work.as_ref().map_err(|reason| anyhow!("{reason}"))?;
        queue.send(Box::new(work)).map_err(|_| anyhow!(DAMAGED))?;
        result
            .await
            .context(UNWRITABLE)?
            .map_err(anyhow::Error::msg)
    }

    /// Becomes the one process that delivers to a destination; nothing if another one is.
    pub fn lead(&self, destination: i64) -> Option<Leadership> {
        // What has no number there is known to no other process.
        if self.work.is_err() || destination < 0 {
            return Some(Leadership::unshared());
        }
        let file =
            private_file(&self.folder.join(format!("destination-{destination}.lock"))).ok()?;
        // The kernel lets it go when the process ends, however it ends.
        file.try_lock().ok()?;
        Some(Leadership::new(file))
    }
}

/// The user's spool: `$XDG_STATE_HOME/ansible-notify`, or below `~/.local/state`.
pub fn default_folder() -> Option<PathBuf> {
    let state = home::variable("XDG_STATE_HOME")
        .or_else(|| Some(home::directory()?.join(".local/state")))?;
    Some(state.join("ansible-notify"))
}

/// Whether there is a spool in `folder`, or something that keeps from seeing it.
pub fn is_in(folder: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let found = folder.join("spool.db").symlink_metadata();
    !found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// That what has the names of the spool's files are files: opening a FIFO or reading a device would never end.
fn ensure_files(folder: &Path) -> Result<()> {
    for name in [
        "spool.db",
        "spool.db-wal",
        "spool.db-shm",
        "spool.lock",
        "reserve",
    ] {
        let path = folder.join(name);
        // Only looked at: closing the open file would let go of SQLite's locks on it.
        let is_file = path.metadata().map_or(true, |found| found.is_file());
        ensure!(is_file, "`{}` is not a file", path.display());
    }
    Ok(())
}

fn open(folder: &Path, limits: &Limits) -> Result<(Connection, File)> {
    let shown = folder.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make `{shown}`"))?;
    let metadata = folder.symlink_metadata()?;
    ensure!(metadata.is_dir(), "`{shown}` is not a directory");
    let user = rustix::process::geteuid().as_raw();
    ensure!(metadata.uid() == user, "`{shown}` belongs to another user");
    ensure!(
        metadata.mode() & 0o022 == 0,
        "others can write to `{shown}`; chmod 700 it"
    );
    if let Some(name) = network::network_type(folder).filter(|_| !limits.on_network) {
        bail!(
            "`{shown}` is on a network file system ({name}), where it is not safe; set `spool` in \
             [delivery] to a directory of this machine, or `spool_on_network = true`"
        );
    }
    ensure_files(folder)?;
    let lock = private_file(&folder.join("spool.lock"))
        .with_context(|| format!("cannot write to `{shown}`"))?;
    let path = folder.join("spool.db");
    // Created here, so that nobody else can read it at any time.
    private_file(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    lock.lock()?;
    let connection =
        open_sound(&path, limits.check).with_context(|| format!("cannot use `{}`", path.display()));
    let reserve = Reserve::in_folder(folder);
    if let Ok(connection) = &connection
        && reserve.is_short()
    {
        reserve.spend(connection);
    }
    if connection.is_ok() {
        // A new file has its name on disk only then, and the journal in which it was made is gone: after
        // a power cut it would be played back over all that came later.
        File::open(folder)?.sync_all()?;
    }
    lock.unlock()?;
    Ok((connection?, lock))
}

/// Opens the file, or a new one in its place if it is damaged.
fn open_sound(path: &Path, check: bool) -> Result<Connection> {
    if rescue::is_condemned(path) {
        return replace(path);
    }
    match prepare(path) {
        Ok(connection) if check && !rescue::is_sound(&connection, path) => {
            drop(connection);
            replace(path)
        }
        Err(error) if rescue::is_damage(&error) => replace(path),
        result => result,
    }
}

/// Puts a damaged file aside and goes on with a new one, and with what could be read.
fn replace(path: &Path) -> Result<Connection> {
    let aside = rescue::put_aside(path)?;
    private_file(path)?;
    let mut connection = prepare(path)?;
    // What cannot be read at all holds nothing that could be saved.
    let saved = rescue::salvage(&aside, &mut connection).unwrap_or(0);
    rescue::acquit(path);
    report::say(format!(
        "the spool was damaged; it is put aside as `{}`, and {saved} deliveries that waited were read from it",
        aside.display()
    ));
    Ok(connection)
}

/// Opens the file and brings its tables to this version. The side file is locked: changing to WAL
/// does not wait for others.
fn prepare(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Every statement is compiled once, and not again for each value that is bound to it.
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if path.metadata()?.len() == 0 {
        // Said of a file that has tables, it would be written each time.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    // Foreign keys: a destination that has no place here yet takes no deliveries; they stay in memory.
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 8388608;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;
         PRAGMA secure_delete = ON;",
    )?;
    schema::bring_up_to_date(&mut connection)?;
    Ok(connection)
}

/// Runs a statement that is compiled once.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(statement)?
        .execute([])
        .map(|_| ())
}

/// Undoes the transaction, or the part of it since a savepoint, unless SQLite did so by itself.
fn undo(connection: &Connection, statement: &str) {
    if !connection.is_autocommit() {
        // Where that fails too, nothing is committed.
        let _ = connection.execute_batch(statement);
    }
}

/// Does pieces of work in one transaction and commits it. Where one of them fails, all are done again, so that
/// nothing of that one stays. Whether one found the file damaged.
fn commit(
    connection: &Connection,
    batch: &mut [Box<dyn Work>],
    reserve: &Reserve,
) -> rusqlite::Result<bool> {
    run(connection, "BEGIN IMMEDIATE")?;
    let mut damaged = false;
    if batch.iter_mut().any(|work| work.run(connection).is_err()) {
        undo(connection, "ROLLBACK");
        run(connection, "BEGIN IMMEDIATE")?;
        for work in batch {
            run(connection, "SAVEPOINT work")?;
            if let Err(error) = work.run(connection) {
                damaged |= rescue::says_damage(&error);
                undo(connection, "ROLLBACK TO work");
            }
            // There is none where SQLite rolled all of it back.
            let _ = run(connection, "RELEASE work");
        }
    }
    failpoint::pass("before_commit");
    run(connection, "COMMIT").inspect_err(|_| {
        undo(connection, "ROLLBACK");
        reserve.spend(connection);
    })?;
    Ok(damaged)
}

/// The life of the writing thread: it ends when nobody can ask for anything any more, or the file is damaged.
fn serve(
    connection: Connection,
    lock: &File,
    reserve: &Reserve,
    queue: &mpsc::Receiver<Box<dyn Work>>,
) {
    let path = PathBuf::from(connection.path().unwrap_or_default());
    let inode = inode(&path);
    while let Ok(first) = queue.recv() {
        let more = std::iter::from_fn(|| queue.try_recv().ok()).take(MOST_AT_ONCE - 1);
        let mut batch: Vec<Box<dyn Work>> = std::iter::once(first).chain(more).collect();
        // SQLite waits for others by sleeping, and unfairly; the lock is fair and wakes at once.
        let committed = locked(lock, || {
            if self::inode(&path) != inode {
                let moved = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY_DBMOVED);
                return Err(rusqlite::Error::SqliteFailure(moved, None));
            }
            let committed = commit(&connection, &mut batch, reserve);
            undo(&connection, "ROLLBACK");
            committed
        });
        failpoint::pass("after_commit");
        let damaged = match &committed {
            Ok(damaged) => *damaged,
            Err(error) => rescue::says_damage(error),
        };
        let answer = committed.as_ref().map(|_| ()).map_err(explain);
        for work in batch {
            work.answer(answer.clone());
        }
        if damaged {
            rescue::condemn(&path);
            break;
        }
    }
    // Closing it would remove the WAL, and a full disk has no room for a new one. Nothing is lost by it: all
    // that was committed is on disk.
    std::mem::forget(connection);
}

fn inode(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.ino())
}

fn locked<T>(lock: &File, work: impl FnOnce() -> T) -> T {
    let held = lock.lock().is_ok();
    let result = work();
    if held {
        // It goes with the process at the latest.
        let _ = lock.unlock();
    }
    result
}

fn pages_in_use(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    Ok(number("page_count")? - number("freelist_count")?)
}

fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::TooBig) => FULL.to_owned(),
        Some(rusqlite::ErrorCode::DiskFull) => "no space is left on the spool's disk".to_owned(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            "another program holds the spool".to_owned()
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            DAMAGED.to_owned()
        }
        Some(rusqlite::ErrorCode::ReadOnly) => "the spool cannot be written".to_owned(),
        Some(rusqlite::ErrorCode::SystemIoFailure) => format!("the disk reports an error: {error}"),
        _ => error.to_string(),
    }
}
