//! The opening of the spool's file: its folder, its lock, and what is done where it is damaged.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::checkpoint::{Mode, checkpoint};
use super::folder::{BUSY, Limits, private_file};
use super::lock::{Lock, Patience};
use super::reserve::Reserve;
use super::{network, rescue, schema, wal};

/// All statements that the writing thread uses, and some.
const STATEMENTS: usize = 64;

/// An open spool.
pub struct Store {
    pub connection: Connection,
    pub lock: Lock,
    /// Locked together with the other processes that have the spool open; nothing where that cannot be.
    pub users: Option<File>,
    /// What is to be said of how it was opened, when no lock is held.
    pub told: Option<String>,
}

/// Opens the spool in a folder, making both where they are not there.
pub fn open(folder: &Path, limits: &Limits, patience: Patience) -> Result<Store> {
    let shown = folder.display();
    check_folder(folder, limits)?;
    ensure_files(folder)?;
    let lock = Lock::open(folder.join("spool.lock"))
        .with_context(|| format!("cannot write to `{shown}`"))?;
    let path = folder.join("spool.db");
    // Created here, so that nobody else can read it at any time.
    private_file(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let guard = lock.take(patience)?;
    let users = private_file(&folder.join("spool.users")).ok();
    let is_alone = users.as_ref().is_none_or(|users| users.try_lock().is_ok());
    let (connection, told) = open_sound(&path, limits.check, is_alone)
        .with_context(|| format!("cannot use `{}`", path.display()))?;
    let reserve = Reserve::in_folder(folder);
    if reserve.is_short(&connection, 0) {
        reserve.spend(&connection);
    } else if is_alone {
        // Of a process that ended before it could do so.
        checkpoint(&connection, Mode::Truncate);
    }
    // A new file has its name on disk only then, and the journal in which it was made is gone: after
    // a power cut it would be played back over all that came later.
    File::open(folder)?.sync_all()?;
    let users = users.filter(|users| users.try_lock_shared().is_ok());
    drop(guard);
    Ok(Store {
        connection,
        lock,
        users,
        told,
    })
}

/// That what has the names of the spool's files are files: opening a FIFO or reading a device would never end.
pub fn ensure_files(folder: &Path) -> Result<()> {
    for name in [
        "spool.db",
        "spool.db-wal",
        "spool.db-shm",
        "spool.lock",
        "spool.users",
        "reserve",
    ] {
        let path = folder.join(name);
        // Only looked at: closing the open file would let go of SQLite's locks on it.
        let is_file = path.metadata().map_or(true, |found| found.is_file());
        ensure!(is_file, "`{}` is not a file", path.display());
    }
    Ok(())
}

fn check_folder(folder: &Path, limits: &Limits) -> Result<()> {
    let shown = folder.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make `{shown}`"))?;
    check_made(folder, limits)
}

/// Refuses a folder that is there and cannot hold a spool.
pub fn check_made(folder: &Path, limits: &Limits) -> Result<()> {
    let shown = folder.display();
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
    Ok(())
}

/// Opens the file, or a new one in its place if it is damaged, and gives what is to be said of that. Where
/// other processes have it open, SQLite does not read its log again.
fn open_sound(path: &Path, check: bool, is_alone: bool) -> Result<(Connection, Option<String>)> {
    let log = is_alone.then(|| wal::damage(path)).flatten();
    if log.is_some() || rescue::is_condemned(path) {
        return replace(path, log);
    }
    match prepare(path) {
        Ok(connection) if check && !rescue::is_sound(&connection, path) => {
            drop(connection);
            replace(path, None)
        }
        Err(error) if rescue::is_damage(&error) => replace(path, None),
        result => Ok((result?, None)),
    }
}

/// Puts a damaged file aside and goes on with a new one, and with what could be read.
fn replace(path: &Path, log: Option<wal::Damage>) -> Result<(Connection, Option<String>)> {
    let aside = rescue::put_aside(path)?;
    let is_of_log = log.is_some();
    let merged = log.and_then(|log| rescue::merge(&log, &aside));
    private_file(path)?;
    let mut connection = prepare(path)?;
    let readable = merged.as_deref().unwrap_or(&aside);
    // What cannot be read at all holds nothing that could be saved.
    let mut salvaged = rescue::salvage(readable, &mut connection).unwrap_or_default();
    salvaged.is_of_log = is_of_log;
    if let Some(merged) = &merged {
        rescue::remove(merged);
    }
    rescue::acquit(path);
    let told = format!(
        "the spool was damaged; it is put aside as `{}`, and {salvaged}",
        aside.display()
    );
    Ok((connection, Some(told)))
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
