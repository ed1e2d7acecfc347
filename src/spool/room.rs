//! Room for new events: finished entries are deleted, then the records of runs that are over. If that is not
//! enough and the configuration allows it, the oldest pending deliveries are dropped.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::Spool;
use super::attempts;
use super::error::Error;
use super::folder::pages_in_use;
use super::history::prune;
use super::record::{self, Record, forget_of_live, forget_one};
use super::rescue::says_damage;
use super::reserve::Reserve;
use super::schema::drop_body;
use super::scope::DestinationId;
use super::state::DeliveryState;

/// Number of deliveries deleted or dropped in one step, for which other requests wait.
const STEP: i64 = 100;
/// Number of pages returned to the file system in one step.
const PAGES: i64 = 250;
/// Number of free pages kept in the file, because they will be needed again.
const SPARE_PAGES: i64 = 2000;

/// Eighths of the maximum size that runs and sent messages must leave to deliveries.
const LEFT: i64 = 1;

/// Limits on new data: the size of the file, and the space on its disk.
pub struct Available {
    folder: PathBuf,
    reserve: Reserve,
    most_pages: Option<i64>,
}

impl Available {
    /// Fails if the spool is full, or its disk has less free space than this many bytes.
    pub fn check(&self, connection: &Connection, size: u64) -> rusqlite::Result<()> {
        let is_full = self
            .most_pages
            .is_some_and(|most| has_used(connection, most));
        if is_full {
            return Err(Error::Full.into_sqlite());
        }
        if self.reserve.is_short(connection, size) {
            return Err(Error::DiskFull.into_sqlite());
        }
        Ok(())
    }

    /// Returns true if this many bytes of less important data fit beside the part for deliveries.
    pub fn has_spare(&self, connection: &Connection, size: u64) -> bool {
        let is_full = self
            .most(LEFT)
            .is_some_and(|most| has_used(connection, most));
        !is_full && !self.reserve.is_short(connection, size)
    }

    /// Returns the number of pages that may be in use if this many eighths are reserved for deliveries.
    fn most(&self, left: i64) -> Option<i64> {
        self.most_pages.map(|most| most - most * left / 8)
    }

    /// Records a run's data unless deliveries need the room, and returns true if it was recorded. Failures are
    /// undone; only an error of the file itself is returned.
    pub fn record(&self, connection: &Connection, record: &Record) -> rusqlite::Result<bool> {
        if record.rows.is_empty() {
            return Ok(true);
        }
        // The end of a run matters more than the rest: without it, the run would look interrupted.
        let is_end = record.is_only_ends();
        let most = self.most(if is_end { 0 } else { LEFT });
        let is_full = || most.is_some_and(|most| has_used(connection, most));
        if is_full() {
            forget(connection, &self.folder)?;
            while is_end && is_full() && forget_of_live(connection)? {}
        }
        if is_full() {
            return Ok(false);
        }
        if self.reserve.is_short(connection, record.size()) {
            return Ok(false);
        }
        connection.execute_batch("SAVEPOINT record")?;
        let written = record::write(connection, record);
        match &written {
            Err(error) if says_damage(error) => return Err(Error::Damaged.into_sqlite()),
            Err(_) => connection.execute_batch("ROLLBACK TO record")?,
            Ok(()) => {}
        }
        connection.execute_batch("RELEASE record")?;
        Ok(written.is_ok())
    }
}

/// Returns true if at least this many pages are in use; false if that is unknown.
fn has_used(connection: &Connection, most: i64) -> bool {
    pages_in_use(connection).is_ok_and(|used| used >= most)
}

/// A delivery that was dropped.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    pub delivery: i64,
    pub destination: DestinationId,
}

/// Result of making room.
#[derive(Debug, Default)]
pub struct Room {
    /// Number of finished deliveries, or parts of recorded runs, that were deleted.
    pub forgotten: usize,
    pub dropped: Vec<Dropped>,
    /// True if the file is still at its maximum size.
    pub is_full: bool,
}

impl Spool {
    /// Returns the limits of this spool.
    pub fn room(&self) -> Available {
        Available {
            folder: self.folder.clone(),
            reserve: self.reserve.clone(),
            most_pages: self.most_pages,
        }
    }

    /// Frees some room in a file that has reached its maximum size.
    pub async fn make_room(&self) -> Result<Room, Error> {
        let (most_pages, drops_oldest) = (self.most_pages, self.drop_oldest);
        let folder = self.folder.clone();
        self.write(move |connection| {
            let now = Timestamp::now().as_millisecond();
            let mut room = Room {
                forgotten: forget(connection, &folder)?,
                ..Room::default()
            };
            if room.forgotten == 0 {
                room.forgotten = usize::from(forget_of_live(connection)?);
            }
            // Not if other files fill the disk, or another process has freed room meanwhile.
            room.is_full = match most_pages {
                Some(most) => pages_in_use(connection)? >= most,
                None => false,
            };
            if room.forgotten == 0 && room.is_full && drops_oldest {
                room.dropped = drop_oldest(connection, now)?;
            }
            Ok(room)
        })
        .await
    }

    /// Deletes some entries that finished before this time (milliseconds since 1970), or shrinks the file.
    /// Returns true if there is more to do.
    pub async fn tidy(&self, before: i64) -> Result<bool, Error> {
        self.write(move |connection| {
            if prune(connection, before, STEP)? > 0 {
                return Ok(true);
            }
            shrink(connection)
        })
        .await
    }
}

/// Deletes some finished deliveries; without any, part of the oldest finished run; without one, some messages.
/// Returns the number of deleted entries.
fn forget(connection: &Connection, folder: &Path) -> rusqlite::Result<usize> {
    let finished = prune(connection, Timestamp::now().as_millisecond(), STEP)?;
    match finished == 0 && !forget_one(connection, folder)? {
        true => attempts::forget_messages(connection, STEP),
        false => Ok(finished.max(1)),
    }
}

/// Drops some of the oldest pending deliveries, with their bodies.
fn drop_oldest(connection: &Connection, now: i64) -> rusqlite::Result<Vec<Dropped>> {
    let chosen: Vec<(i64, Dropped)> = connection
        .prepare_cached(
            "SELECT event, id, destination FROM delivery NOT INDEXED WHERE state IN (0, 4) ORDER BY id LIMIT ?1",
        )?
        .query_map([STEP], |row| {
            let (delivery, destination) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Dropped { delivery, destination }))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (event, dropped) in &chosen {
        connection
            .prepare_cached(
                "UPDATE delivery SET state = ?3, next_at = 0, finished = ?2, error = 'dropped: the spool was full'
                 WHERE id = ?1",
            )?
            .execute(params![dropped.delivery, now, DeliveryState::Discarded])?;
        connection
            .prepare_cached("UPDATE destination SET dropped = dropped + 1 WHERE id = ?1")?
            .execute([dropped.destination])?;
        connection
            .prepare_cached(drop_body!(
                "id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = ?1 AND state IN (0, 2, 4))"
            ))?
            .execute([event])?;
    }
    Ok(chosen.into_iter().map(|(_, dropped)| dropped).collect())
}

/// Returns some free pages to the file system, and true if there are more.
fn shrink(connection: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if free <= SPARE_PAGES {
        return Ok(false);
    }
    // It returns a row for each page.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}
