//! Queries about the recorded runs and their ends.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Serialize, Serializer};

use super::super::{Error, Spool, fields};
use super::{Counts, Outcome, alive};
use crate::event::{Run, Status};

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// One of its processes lives.
    Running,
    Ok,
    Failed,
    /// Interrupted, or its process is gone without an end.
    Canceled,
}

impl RunState {
    /// Every state.
    pub const ALL: [RunState; 4] = [
        RunState::Running,
        RunState::Ok,
        RunState::Failed,
        RunState::Canceled,
    ];

    /// Returns the name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Ok => "ok",
            RunState::Failed => "failed",
            RunState::Canceled => "canceled",
        }
    }

    /// Returns the state of a name; None for any other word.
    pub fn named(name: &str) -> Option<RunState> {
        let mut all = RunState::ALL.into_iter();
        all.find(|state| state.name() == name)
    }
}

impl Serialize for RunState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A recorded run.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedRun {
    /// Number in the file, for [`RunFilter::after`] and the other questions.
    #[serde(skip)]
    pub number: i64,
    pub id: String,
    /// Name for people: the title, the playbook or the ad hoc command.
    pub name: String,
    pub state: RunState,
    /// Milliseconds since 1970.
    pub started: i64,
    /// None if it has not ended or was killed.
    pub ended: Option<i64>,
    /// Time of its last event; nothing later is known of a killed run.
    pub seen: i64,
    pub exit_code: Option<i64>,
    /// Reason why it did not succeed, or its first failure until it ends. Starts with host and task if a task
    /// failed.
    pub reason: Option<String>,
    pub counts: Counts,
    /// Number of failures that a `rescue` handled, once it has ended.
    pub rescued: i64,
    pub hosts: i64,
    pub tasks: i64,
    /// True if part of it could not be recorded.
    pub is_partial: bool,
    /// Everything else that its events contain about it.
    pub run: Run,
}

impl RecordedRun {
    /// Returns true if this is its name, or the name or path of its playbook.
    fn is_of(&self, playbook: &str) -> bool {
        let named = [self.run.playbook.as_deref(), self.run.path.as_deref()];
        self.name == playbook || named.contains(&Some(playbook))
    }

    /// Returns how long it took, or has taken until its last event, in milliseconds.
    pub fn took(&self) -> i64 {
        self.ended.unwrap_or(self.seen) - self.started
    }
}

/// Selection of runs. An empty one selects all.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub state: Option<RunState>,
    /// Name or path of the playbook, or the name of the run.
    pub playbook: Option<String>,
    /// Host on which it ran.
    pub host: Option<String>,
    /// Milliseconds since 1970.
    pub since: Option<i64>,
    /// Only those that began before this time, in milliseconds since 1970.
    pub until: Option<i64>,
    /// Only those with a result of this outcome.
    pub with: Option<Outcome>,
    /// Number of the last run of the previous page.
    pub after: Option<i64>,
    /// Maximum number of runs; 0 for no limit.
    pub most: usize,
}

/// Result of a search for one run.
#[derive(Clone, Debug)]
pub enum Found {
    One(Box<RecordedRun>),
    /// The beginning of an id matches several runs; the newest of them.
    Several(Vec<RecordedRun>),
    None,
}

/// Word for the newest run.
pub const LAST: &str = "last";
/// Maximum number of runs listed for an ambiguous id.
const NAMED: i64 = 5;

/// Reads.
impl Spool {
    /// Returns the recorded runs that match the filter, newest first.
    pub async fn runs(&self, filter: RunFilter) -> Result<Vec<RecordedRun>, Error> {
        let folder = self.folder.clone();
        self.read(move |connection| list(connection, &folder, &filter))
            .await
    }

    /// Returns a recorded run by its id, by the beginning of its id, or the newest for [`LAST`].
    pub async fn run(&self, id: &str) -> Result<Found, Error> {
        let (folder, id) = (self.folder.clone(), id.to_owned());
        self.read(move |connection| find(connection, &folder, &id))
            .await
    }
}

const RUN: &str =
    "SELECT id, run_id, name, about, started, seen, ended, status, exit_code, reason, ok, changed,
    failed, unreachable, skipped, ignored, rescued, hosts, tasks, partial FROM run";

/// Returns the runs that match the filter, newest first.
pub fn list(
    connection: &Connection,
    folder: &Path,
    filter: &RunFilter,
) -> rusqlite::Result<Vec<RecordedRun>> {
    let with = filter
        .with
        .map_or_else(String::new, |outcome| format!("AND {} > 0", outcome.name()));
    let mut statement = connection.prepare_cached(&format!(
        "{RUN} WHERE (?1 IS NULL OR started >= ?1)
            AND (?2 IS NULL OR id IN (SELECT run FROM host WHERE host.name = ?2))
            AND (?3 IS NULL OR (started, id) < (SELECT started, id FROM run WHERE id = ?3))
            AND (?4 IS NULL OR status IS ?4 OR ?4 = 'canceled' AND status IS NULL)
            AND (NOT ?5 OR status IS NULL) AND (?6 IS NULL OR started < ?6) {with}
         ORDER BY started DESC, id DESC"
    ))?;
    let status = filter.state.and_then(status_of);
    let is_open = filter.state.is_some() && status.is_none();
    let mut rows = statement.query(params![
        filter.since,
        filter.host,
        filter.after,
        status,
        is_open,
        filter.until
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let run = recorded_run(row, folder)?;
        let playbook = filter.playbook.as_deref();
        let is_wanted = filter.state.is_none_or(|state| state == run.state);
        if is_wanted && playbook.is_none_or(|playbook| run.is_of(playbook)) {
            found.push(run);
        }
        if filter.most > 0 && found.len() == filter.most {
            break;
        }
    }
    Ok(found)
}

/// Returns how many runs are in each state.
pub fn by_state(connection: &Connection, folder: &Path) -> rusqlite::Result<Vec<(RunState, i64)>> {
    let mut count = connection.prepare_cached("SELECT count(*) FROM run WHERE status = ?1")?;
    let mut open = connection.prepare_cached("SELECT run_id FROM run WHERE status IS NULL")?;
    let (mut running, mut canceled) = (0, 0);
    let mut rows = open.query([])?;
    while let Some(row) = rows.next()? {
        let id = fields::text(row, 0)?.unwrap_or_default();
        match alive::is_alive(folder, &id) {
            true => running += 1,
            false => canceled += 1,
        }
    }
    let counted = RunState::ALL.into_iter().map(|state| {
        let ended: i64 = match status_of(state) {
            Some(status) => count.query_row([status], |row| row.get(0))?,
            None => 0,
        };
        let more = match state {
            RunState::Running => running,
            RunState::Canceled => canceled,
            _ => 0,
        };
        Ok((state, ended + more))
    });
    counted.collect()
}

/// Returns the stored status of a state; None for those that have no end.
fn status_of(state: RunState) -> Option<&'static str> {
    let status = match state {
        RunState::Ok => Status::Success,
        RunState::Failed => Status::Error,
        RunState::Canceled => Status::Canceled,
        RunState::Running => return None,
    };
    Some(status.name())
}

/// Returns a run by its id, the beginning of its id, or [`LAST`].
pub fn find(connection: &Connection, folder: &Path, id: &str) -> rusqlite::Result<Found> {
    let one = |condition: &str, value: &str| {
        connection
            .prepare_cached(&format!("{RUN} WHERE {condition}"))?
            .query_row([value], |row| recorded_run(row, folder))
            .optional()
    };
    let newest = "?1 IS NOT NULL ORDER BY started DESC, id DESC LIMIT 1";
    let found = match one("run_id = ?1", id)? {
        None if id == LAST => one(newest, id)?,
        found => found,
    };
    if let Some(run) = found {
        return Ok(Found::One(Box::new(run)));
    }
    if id.is_empty() {
        return Ok(Found::None);
    }
    let mut runs: Vec<RecordedRun> = connection
        .prepare_cached(&format!(
            "{RUN} WHERE substr(run_id, 1, length(?1)) = ?1 ORDER BY started DESC, id DESC LIMIT ?2"
        ))?
        .query_map(params![id, NAMED], |row| recorded_run(row, folder))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(match runs.len() {
        0 => Found::None,
        1 => Found::One(Box::new(runs.remove(0))),
        _ => Found::Several(runs),
    })
}

fn recorded_run(row: &Row<'_>, folder: &Path) -> rusqlite::Result<RecordedRun> {
    let text = |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
    let number =
        |column| Ok::<_, rusqlite::Error>(fields::number(row, column)?.unwrap_or_default());
    let id = text(1)?;
    let status = fields::text(row, 7)?;
    let state = match status.as_deref().and_then(Status::named) {
        Some(Status::Success) => RunState::Ok,
        Some(Status::Error) => RunState::Failed,
        Some(Status::Canceled) => RunState::Canceled,
        _ if alive::is_alive(folder, &id) => RunState::Running,
        _ => RunState::Canceled,
    };
    Ok(RecordedRun {
        number: row.get(0)?,
        name: text(2)?,
        state,
        started: number(4)?,
        ended: fields::number(row, 6)?,
        seen: number(5)?,
        exit_code: fields::number(row, 8)?,
        reason: fields::text(row, 9)?,
        counts: counts(row, 10)?,
        rescued: number(16)?,
        hosts: number(17)?,
        tasks: number(18)?,
        is_partial: fields::number(row, 19)? == Some(1),
        // A damaged text does not hide its row.
        run: serde_json::from_str(&text(3)?).unwrap_or_default(),
        id,
    })
}

/// Reads the six counts that begin at a column.
pub fn counts(row: &Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let number =
        |column| Ok::<_, rusqlite::Error>(fields::number(row, first + column)?.unwrap_or_default());
    Ok(Counts {
        ok: number(0)?,
        changed: number(1)?,
        failed: number(2)?,
        unreachable: number(3)?,
        skipped: number(4)?,
        ignored: number(5)?,
    })
}
