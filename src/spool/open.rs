//! Opening the spool file: its folder, its lock, and the handling of damage.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::vtab::array;

use super::checkpoint::{Mode, checkpoint};
use super::folder::{BUSY, Limits, private_file};
use super::lock::{Lock, Patience};
use super::reserve::Reserve;
use super::{network, rescue, schema, wal};

/// Number of cached statements: enough for all that the writing thread uses.
const STATEMENTS: usize = 64;

/// An open spool.
pub struct Store {
    pub connection: Connection,
    pub lock: Lock,
    /// Lock shared with the other processes that have the spool open; None if that is impossible.
    pub users: Option<File>,
    /// Message about how it was opened, to be printed when no lock is held.
    pub told: Option<String>,
}

/// Opens the spool in a folder, creating both if missing.
pub fn open(folder: &Path, limits: &Limits, patience: Patience) -> Result<Store> {
    let shown = folder.display();
    check_folder(folder, limits)?;
    ensure_files(folder)?;
    let lock = Lock::open(folder.join("spool.lock"))
        .with_context(|| format!("cannot write to `{shown}`"))?;
    let path = folder.join("spool.db");
    // Created here so that nobody else can read it at any time.
    private_file(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let guard = lock.acquire(patience, &mut || ())?;
    let users = private_file(&folder.join("spool.users")).ok();
    let is_alone = users.as_ref().is_none_or(|users| users.try_lock().is_ok());
    // If other processes have it open, SQLite does not read its log again.
    let log = is_alone.then(|| wal::damage(&path)).flatten();
    let (connection, told) = open_sound(&path, limits, log)
        .with_context(|| format!("cannot use `{}`", path.display()))?;
    let reserve = Reserve::in_folder(folder);
    if reserve.is_short(&connection, 0) {
        reserve.spend(&connection);
    } else if is_alone {
        // Moves the log of a process that ended before it could do so.
        checkpoint(&connection, Mode::Truncate);
    }
    // Makes the name of a new file and the removal of the journal that created it durable: after a power cut,
    // that journal would be played back over all later writes.
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

/// Checks that the spool's paths are regular files: opening a FIFO or reading a device would never end.
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
        // Checked without opening it: closing the file would release SQLite's locks on it.
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
        .with_context(|| format!("cannot create `{shown}`"))?;
    check_made(folder, limits)
}

/// Refuses an existing folder that cannot hold a spool.
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

/// Opens the file, or a new one in its place if it or its log is damaged, and returns a message about that.
fn open_sound(
    path: &Path,
    limits: &Limits,
    log: Option<wal::Damage>,
) -> Result<(Connection, Option<String>)> {
    if log.is_some() || rescue::is_condemned(path) {
        return replace(path, log);
    }
    match prepare(path) {
        Ok(connection) if limits.check && !rescue::is_sound(&connection, path) => {
            drop(connection);
            replace(path, None)
        }
        Err(error) if rescue::is_damage(&error) => replace(path, None),
        result => Ok((result?, None)),
    }
}

/// Sets a damaged file aside and continues with a new one that holds what could be read.
fn replace(path: &Path, log: Option<wal::Damage>) -> Result<(Connection, Option<String>)> {
    let aside = rescue::put_aside(path)?;
    let is_of_log = log.is_some();
    let merged = log.and_then(|log| rescue::merge(&log, &aside));
    private_file(path)?;
    let mut connection = prepare(path)?;
    let readable = merged.as_deref().unwrap_or(&aside);
    // A file that cannot be read at all holds nothing to save.
    let mut salvaged = rescue::salvage(readable, &mut connection).unwrap_or_default();
    salvaged.is_of_log = is_of_log;
    if let Some(merged) = &merged {
        rescue::remove(merged);
    }
    rescue::acquit(path);
    let told = format!(
        "the spool was damaged; it was set aside as `{}`, and {salvaged}",
        aside.display()
    );
    Ok((connection, Some(told)))
}

/// Opens the file and migrates its tables to this version. The side file is locked: switching to WAL does not
/// wait for others.
fn prepare(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    array::load_module(&connection)?;
    // Each statement is compiled once, not again for each value bound to it.
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if path.metadata()?.len() == 0 {
        // On a file with tables, this would write each time.
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    }
    // Foreign keys: a destination that has no row here yet takes no deliveries; they stay in memory.
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
