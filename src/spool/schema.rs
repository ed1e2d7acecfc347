//! Tables of the spool, and the migration of files of older versions.

use std::cmp::Ordering;

use anyhow::{Result, ensure};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// Changes made by each version. `user_version` of a file is the number of those applied. An older program
/// that has the file open continues to work: nothing is removed or renamed.
const VERSIONS: [&str; 12] = [
    FIRST, SECOND, THIRD, FOURTH, FIFTH, SIXTH, SEVENTH, EIGHTH, NINTH, TENTH, ELEVENTH, TWELFTH,
];

/// SQL that drops the bodies of the events for which a condition holds. It replaces the rows: SQLite joins the pages of
/// a table where rows are deleted, not where they shrink, so an update would leave each page nearly empty for as long as
/// its events are kept.
macro_rules! drop_body {
    ($condition:literal) => {
        concat!(
            "REPLACE INTO event (id, event_id, created, callback, host, task)
             SELECT id, event_id, created, callback, host, task FROM event WHERE body IS NOT NULL AND ",
            $condition
        )
    };
}
pub(super) use drop_body;

/// Version of the tables that this program writes.
pub const NEWEST: u32 = VERSIONS.len() as u32;

const FIRST: &str = "
    CREATE TABLE destination (
        id INTEGER PRIMARY KEY,
        -- how its configuration is found again, as JSON
        search TEXT NOT NULL,
        name TEXT NOT NULL,
        -- the run whose play's vars changed it, else empty
        run TEXT NOT NULL,
        -- the settings that only those vars gave, by name
        needs TEXT NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0,
        delivered INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0,
        dropped INTEGER NOT NULL DEFAULT 0,
        last_error TEXT,
        UNIQUE (search, name, run)
    );
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        callback TEXT NOT NULL,
        host TEXT NOT NULL,
        task TEXT NOT NULL,
        body TEXT
    );
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL REFERENCES event (id),
        destination INTEGER NOT NULL REFERENCES destination (id),
        -- 0 pending, 1 delivered, 2 dead, 3 discarded, 4 held, 5 suppressed
        state INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_at INTEGER NOT NULL DEFAULT 0,
        finished INTEGER,
        error TEXT,
        UNIQUE (event, destination)
    );
    CREATE INDEX pending ON delivery (destination, id) WHERE state = 0;
    CREATE INDEX finished ON delivery (finished) WHERE state > 0;
    CREATE TABLE attempt (
        delivery INTEGER NOT NULL REFERENCES delivery (id),
        started INTEGER NOT NULL,
        duration INTEGER NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX attempts ON attempt (delivery);
";

const SECOND: &str = "
    -- attempts that failed since one succeeded
    ALTER TABLE destination ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
    -- nothing is tried before this time
    ALTER TABLE destination ADD COLUMN paused_until INTEGER NOT NULL DEFAULT 0;
    -- the configuration (a hash) to which it said that it is gone for good
    ALTER TABLE destination ADD COLUMN gone TEXT;
    -- those whose last attempt failed: the first of a host each
    CREATE INDEX resting ON delivery (destination) WHERE state = 0 AND next_at > 0;
    -- how the last run of each playbook ended
    CREATE TABLE playbook (
        key TEXT PRIMARY KEY,
        run TEXT NOT NULL,
        status TEXT NOT NULL,
        -- the status of the run before it
        previous TEXT
    );
    -- what a notifier must know of its earlier messages to answer to them
    CREATE TABLE thread (
        destination INTEGER NOT NULL REFERENCES destination (id),
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        updated INTEGER NOT NULL,
        PRIMARY KEY (destination, key)
    );
";

const THIRD: &str = "
    -- how long the attempt took that delivered it, in milliseconds; such an attempt has no row of its own
    ALTER TABLE delivery ADD COLUMN duration INTEGER;
";

const FOURTH: &str = "
    -- where a playbook failed and has not been well since
    CREATE TABLE failing (
        -- as in the table playbook
        key TEXT NOT NULL,
        -- which of its tasks ran; empty for all
        scope TEXT NOT NULL,
        -- empty where it failed on no host, but as a whole
        host TEXT NOT NULL,
        updated INTEGER NOT NULL,
        PRIMARY KEY (key, scope, host)
    );
";

const FIFTH: &str = "
    -- 1 where the project's own file says to whom it sends, and no other level
    ALTER TABLE destination ADD COLUMN own INTEGER NOT NULL DEFAULT 0;
";

const SIXTH: &str = "
    -- playbooks that notifiers expect to run
    CREATE TABLE expectation (
        id INTEGER PRIMARY KEY,
        -- the file and the notifier that expect it
        source TEXT NOT NULL,
        playbook TEXT NOT NULL,
        destination INTEGER NOT NULL REFERENCES destination (id),
        -- milliseconds
        every INTEGER NOT NULL,
        within INTEGER NOT NULL,
        -- 1 if only a success counts
        successful INTEGER NOT NULL,
        uuid TEXT NOT NULL,
        seen INTEGER NOT NULL,
        last_run INTEGER,
        -- the last run, as JSON
        run TEXT,
        -- time after which a run is missing
        due INTEGER NOT NULL,
        UNIQUE (source, playbook)
    );
    CREATE INDEX expected ON expectation (due);
";

const SEVENTH: &str = "
    -- time until which it is held, in milliseconds since 1970, while its state is 4; those that were released
    -- together have the same number
    ALTER TABLE delivery ADD COLUMN hold INTEGER NOT NULL DEFAULT 0;
    -- failures of the same thing that were not told before it
    ALTER TABLE delivery ADD COLUMN held_back INTEGER NOT NULL DEFAULT 0;
    -- those of the dropped ones that its notifier's rules dropped
    ALTER TABLE destination ADD COLUMN suppressed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX held ON delivery (destination, hold) WHERE state = 4;
    -- failures in a row of a playbook, a task on a host, or a group
    CREATE TABLE streak (
        destination INTEGER NOT NULL REFERENCES destination (id),
        key TEXT NOT NULL,
        failures INTEGER NOT NULL,
        -- run and time of the last failure
        run TEXT NOT NULL,
        time INTEGER NOT NULL,
        -- last run with a success of a group
        well_run TEXT NOT NULL,
        -- time and run of the last failure that was told
        told_at INTEGER NOT NULL,
        told_run TEXT NOT NULL,
        held_back INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        PRIMARY KEY (destination, key)
    ) WITHOUT ROWID;
";

const EIGHTH: &str = "
    -- the record of runs; times are in milliseconds since 1970
    CREATE TABLE run (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        -- as in its events, as JSON
        about TEXT NOT NULL,
        started INTEGER NOT NULL,
        -- its last event
        seen INTEGER NOT NULL,
        -- null, like its status, while it goes on and if it was cut off
        ended INTEGER,
        status TEXT,
        exit_code INTEGER,
        -- of its end, before that its first failure
        reason TEXT,
        ok INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        unreachable INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        ignored INTEGER NOT NULL DEFAULT 0,
        rescued INTEGER NOT NULL DEFAULT 0,
        hosts INTEGER NOT NULL DEFAULT 0,
        tasks INTEGER NOT NULL DEFAULT 0,
        -- 1 if something of it could not be recorded
        partial INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX started ON run (started);
    CREATE TABLE host (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        name TEXT NOT NULL,
        failed INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run, name)
    );
    CREATE INDEX host_name ON host (name);
    -- texts that the tasks of many runs have in common
    CREATE TABLE name (
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL UNIQUE
    );
    CREATE TABLE task (
        id INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        -- the same in each process that reports the run
        key TEXT NOT NULL,
        play INTEGER,
        name INTEGER,
        action INTEGER,
        path INTEGER,
        role INTEGER,
        handler INTEGER NOT NULL DEFAULT 0,
        started INTEGER NOT NULL,
        -- its last result
        ended INTEGER NOT NULL DEFAULT 0,
        -- on one host, in milliseconds
        longest INTEGER NOT NULL DEFAULT 0,
        -- highest number of its events
        seq INTEGER NOT NULL DEFAULT 0,
        ok INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        unreachable INTEGER NOT NULL DEFAULT 0,
        skipped INTEGER NOT NULL DEFAULT 0,
        ignored INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run, key)
    );
    CREATE TABLE result (
        task INTEGER NOT NULL,
        host INTEGER NOT NULL,
        -- number of its event in the run
        seq INTEGER NOT NULL,
        time INTEGER NOT NULL,
        -- milliseconds
        duration INTEGER,
        -- its outcome: 0 ok, 1 changed, 2 failed, 3 unreachable, 4 skipped, 5 ignored; 8 for an item of a loop,
        -- 16 if Ansible hid its content, 32 if something was cut
        flags INTEGER NOT NULL,
        detail INTEGER,
        PRIMARY KEY (task, host, seq)
    ) WITHOUT ROWID;
    CREATE TABLE detail (
        id INTEGER PRIMARY KEY,
        message TEXT,
        -- JSON
        item TEXT,
        result TEXT
    );
    -- sums of runs that were deleted
    CREATE TABLE day (
        -- days since 1970, UTC
        day INTEGER NOT NULL,
        name TEXT NOT NULL,
        runs INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        canceled INTEGER NOT NULL,
        took INTEGER NOT NULL,
        PRIMARY KEY (day, name)
    ) WITHOUT ROWID;
";

const NINTH: &str = "
    -- messages as they were last sent, secrets masked
    CREATE TABLE message (
        -- the first delivery that it contained
        delivery INTEGER PRIMARY KEY,
        -- start of the attempt, in milliseconds since 1970
        time INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    -- the message that contained it, by that message's first delivery
    ALTER TABLE delivery ADD COLUMN message INTEGER;
";

const TENTH: &str = "
    -- what people did to deliveries and notifiers
    CREATE TABLE action (
        id INTEGER PRIMARY KEY,
        -- milliseconds since 1970
        time INTEGER NOT NULL,
        who TEXT NOT NULL,
        -- 1 if it was asked for on the page or by its API, 0 in a terminal
        page INTEGER NOT NULL,
        what TEXT NOT NULL,
        target TEXT NOT NULL,
        note TEXT NOT NULL
    );
";

const ELEVENTH: &str = "
    -- notifiers that someone muted; those whose time is over have ended
    CREATE TABLE mute (
        destination INTEGER PRIMARY KEY REFERENCES destination (id),
        -- milliseconds since 1970
        until INTEGER NOT NULL,
        who TEXT NOT NULL,
        why TEXT NOT NULL
    );
";

const TWELFTH: &str = "
    -- the notifier that the action was about, unless only its name is known
    ALTER TABLE action ADD COLUMN destination INTEGER;
";

/// Reads the version of a file; 0 for an empty one.
fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Returns the error for a file whose tables contradict its version.
fn contradiction() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some("its version contradicts its tables".to_owned()))
}

/// Compares the version of the tables with this program's.
pub fn age(connection: &Connection) -> rusqlite::Result<Ordering> {
    Ok(version(connection)?.cmp(&NEWEST))
}

/// Returns true if the tables have an older version than this program's; fails if they have a newer one.
pub fn is_older(connection: &Connection) -> Result<bool> {
    let found = found(connection)?;
    ensure_known(found)?;
    Ok(found < NEWEST)
}

/// Reads the version of a file as far as it can be one.
fn found(connection: &Connection) -> rusqlite::Result<u32> {
    version(connection).map_err(|error| match error {
        // No program ever wrote a version below 0.
        rusqlite::Error::IntegralValueOutOfRange(..) => contradiction(),
        error => error,
    })
}

fn ensure_known(found: u32) -> Result<()> {
    ensure!(
        found <= NEWEST,
        "it was written by a newer ansible-notify (version {found}); use that one"
    );
    Ok(())
}

/// Migrates the tables to this version with all their rows, or leaves them unchanged.
pub fn bring_up_to_date(connection: &mut Connection) -> Result<()> {
    let found = found(connection)?;
    ensure_known(found)?;
    if found == NEWEST {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for added in &VERSIONS[found as usize..] {
        transaction
            .execute_batch(added)
            .map_err(|error| match error {
                // A table already exists, or the one to extend does not.
                rusqlite::Error::SqlInputError { .. } => contradiction(),
                error if error.sqlite_error_code() == Some(ErrorCode::Unknown) => contradiction(),
                error => error,
            })?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    Ok(transaction.commit()?)
}
