//! Inspection of a spool without changes, to find problems before anything repairs them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;

use super::folder::{BUSY, Limits, is_in, pages_in_use};
use super::history::{self, DestinationStatus};
use super::mutes::{self, Mute};
use super::{DestinationId, Error, holder, open, rescue, schema, wal};

/// Time for which another process may hold the lock before that is reported.
const PATIENCE: Duration = Duration::from_secs(2);
/// Interval between checks.
const LOOK: Duration = Duration::from_millis(50);
/// Free space that the disk should have, in bytes, for the log of a burst of events.
const ROOM: u64 = 8 << 20;
/// Advice for damage of any kind.
const DAMAGED: &str =
    "it is damaged; the next run or `flush` sets it aside and recovers what it can";

/// A spool that can be used.
pub struct Inspected {
    /// Bytes in use; None if there is no file yet.
    pub size: Option<u64>,
    pub destinations: Vec<DestinationStatus>,
    /// Destinations that a process delivers to now.
    pub delivering: Vec<DestinationId>,
    /// Notifiers that someone muted.
    pub mutes: Vec<Mute>,
    /// True if the next process that opens it upgrades it.
    pub is_old: bool,
}

/// Examines the spool in `folder` without changing it; fails with the reason why it cannot be used.
pub fn inspect(folder: &Path, limits: &Limits) -> Result<Inspected> {
    let folder = std::path::absolute(folder)?;
    let standing = folder
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok());
    let standing = standing.unwrap_or(&folder);
    let shown = standing.display();
    ensure!(standing.is_dir(), "`{shown}` is not a directory");
    if standing == folder {
        open::check_made(&folder, limits)?;
    }
    rustix::fs::access(standing, Access::WRITE_OK | Access::EXEC_OK)
        .with_context(|| format!("cannot write to `{shown}`"))?;
    check_space(standing)?;
    if !is_in(&folder) {
        return Ok(Inspected {
            size: None,
            destinations: Vec::new(),
            mutes: Vec::new(),
            delivering: Vec::new(),
            is_old: false,
        });
    }
    open::ensure_files(&folder)?;
    let path = folder.join("spool.db");
    wait_for_lock(&folder.join("spool.lock"))?;
    ensure!(!rescue::is_condemned(&path), DAMAGED);
    // While other processes have the file open, they read past the damage.
    let is_damaged = wal::damage(&path).is_some() && !is_open(&folder.join("spool.users"));
    ensure!(!is_damaged, DAMAGED);
    examine(&path, limits).map_err(|error| match rescue::is_damage(&error) {
        true => anyhow::anyhow!(DAMAGED),
        false => error,
    })
}

/// Fails if the disk has no space for further events.
fn check_space(folder: &Path) -> Result<()> {
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= ROOM,
        "its disk is full ({} KiB free); make room, or set `spool` in [delivery] to another disk",
        free >> 10
    );
    Ok(())
}

/// Returns true if another process has the spool open.
fn is_open(users: &Path) -> bool {
    File::open(users).is_ok_and(|users| users.try_lock().is_err())
}

/// Waits a moment for a process that holds the lock.
fn wait_for_lock(path: &Path) -> Result<()> {
    let Ok(lock) = File::open(path) else {
        return Ok(());
    };
    let began = Instant::now();
    while let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock_shared() {
        let holder = holder::of_lock(path);
        let is_stopped = holder.as_ref().is_some_and(|holder| holder.is_stopped);
        if is_stopped || began.elapsed() > PATIENCE {
            let holder = holder.map_or_else(|| "another process".to_owned(), |one| one.to_string());
            bail!("{holder} holds it; events are delivered from memory meanwhile");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn examine(path: &Path, limits: &Limits) -> Result<Inspected> {
    let connection = open_unchanged(path)?;
    let is_old = schema::is_older(&connection)?;
    ensure!(rescue::is_sound(&connection, path), DAMAGED);
    let (destinations, mutes) = match is_old {
        true => (Vec::new(), Vec::new()),
        false => (history::status(&connection)?, mutes::all(&connection)?),
    };
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let size = u64::try_from(pages_in_use(&connection)? * page)?;
    if let Some(limit) = limits.max_size.filter(|limit| size >= *limit)
        && !limits.drop_oldest
        && !is_old
        && !can_forget(&connection)?
    {
        bail!(
            "{}: {} MiB, and all of it is waiting; `flush` delivers it, `discard` gives it up, and a larger \
             `max_size` in [delivery] makes room",
            Error::Full,
            limit >> 20
        );
    }
    let led = destinations.iter().map(|status| status.id);
    Ok(Inspected {
        size: Some(size),
        delivering: led.filter(|id| is_led(path, *id)).collect(),
        destinations,
        mutes,
        is_old,
    })
}

/// Returns true if finished deliveries can make room for new ones.
fn can_forget(connection: &Connection) -> rusqlite::Result<bool> {
    let finished =
        "SELECT EXISTS (SELECT 1 FROM delivery WHERE state > 0 AND finished IS NOT NULL)";
    connection.query_row(finished, [], |row| row.get(0))
}

/// Returns true if a process delivers to a destination.
fn is_led(path: &Path, destination: DestinationId) -> bool {
    let file = path.with_file_name(format!("destination-{}.lock", destination.0));
    holder::of_lock(&file).is_some()
}

/// Opens the file for reading. SQLite would create a missing log, so without one the file is
/// opened as immutable.
fn open_unchanged(path: &Path) -> Result<Connection> {
    use std::os::unix::ffi::OsStrExt as _;
    let log: PathBuf = path.with_extension("db-wal");
    let fixed = if log.exists() { "" } else { "&immutable=1" };
    let name = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let uri = format!("file:{name}?mode=ro{fixed}");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    Ok(connection)
}
