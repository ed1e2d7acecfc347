//! Record of runs: every run of Ansible with its tasks, its hosts and the result of each task on each host,
//! whether or not a notifier wants them.
//!
//! [`mod@write`] adds to it in the commit that accepts events. [`runs`] and [`results`] query it, [`prune`]
//! deletes old runs, and [`alive`] knows which runs are still alive.

pub mod alive;
mod outcome;
mod prune;
pub mod results;
pub mod runs;
pub mod trends;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::event::{Run, Status};

pub use outcome::{Counts, Outcome};
pub use prune::{forget_of_live, forget_one};
pub use write::write;

/// Something that happened in a run, as it is recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The run, without anything that must be hidden.
    pub run: Arc<RunAbout>,
    /// Milliseconds since 1970.
    pub time: i64,
    /// Number of its event in the run.
    pub seq: i64,
    pub what: What,
}

/// A run, in the form in which it is recorded.
#[derive(Debug)]
pub struct RunAbout {
    pub id: String,
    pub name: String,
    /// The run of its events, as JSON.
    pub about: String,
}

impl RunAbout {
    /// Returns the form in which a run is recorded.
    pub fn of(run: &Run) -> RunAbout {
        RunAbout {
            id: run.id.clone(),
            name: run.name(),
            // Serialising it cannot fail: keys are strings.
            about: serde_json::to_string(run).unwrap_or_default(),
        }
    }
}

/// Kind of a recorded event.
#[derive(Clone, Debug)]
pub enum What {
    /// Something of the run as a whole.
    Run,
    /// The start of a task.
    Task(Arc<TaskAbout>),
    Result(Box<NewResult>),
    End(Box<NewEnd>),
}

/// A task, as it is recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TaskAbout {
    /// The same in each process that reports the run.
    pub key: String,
    pub play: String,
    pub name: String,
    pub action: String,
    pub path: String,
    pub role: String,
    pub is_handler: bool,
}

/// Result of a task on a host, or of one item of its loop.
#[derive(Clone, Debug)]
pub struct NewResult {
    pub task: Arc<TaskAbout>,
    pub host: String,
    pub outcome: Outcome,
    /// Milliseconds.
    pub duration: Option<i64>,
    /// True if it is one item of a loop.
    pub is_item: bool,
    /// True if Ansible hid its content.
    pub is_hidden: bool,
    /// True if something was cut.
    pub is_cut: bool,
    pub detail: Option<NewDetail>,
}

/// Texts of a result.
#[derive(Clone, Debug, Default)]
pub struct NewDetail {
    pub message: Option<String>,
    /// The item of a loop, as JSON.
    pub item: Option<String>,
    /// The result, or only its diff, as JSON.
    pub result: Option<String>,
}

impl NewDetail {
    /// Returns the number of bytes of its texts.
    pub fn size(&self) -> u64 {
        let texts = [&self.message, &self.item, &self.result]
            .into_iter()
            .flatten();
        texts.map(|text| text.len() as u64).sum()
    }

    /// Returns true if it has no text.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }
}

/// End of a run.
#[derive(Clone, Debug)]
pub struct NewEnd {
    pub status: Status,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
    /// Number of failures that a `rescue` handled.
    pub rescued: i64,
}

/// Events to be recorded together.
#[derive(Debug, Default)]
pub struct Record {
    pub rows: Vec<Recorded>,
    /// True if earlier events of these runs could not be recorded.
    pub is_partial: bool,
}

impl Record {
    /// Returns true if it contains only the ends of runs.
    pub fn is_only_ends(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.all(|row| matches!(row.what, What::End(_)))
    }

    /// Returns its approximate size in the file, in bytes.
    pub fn size(&self) -> u64 {
        let details = self.rows.iter().filter_map(|row| match &row.what {
            What::Result(result) => result.detail.as_ref(),
            _ => None,
        });
        details.map(NewDetail::size).sum::<u64>() + self.rows.len() as u64 * ROW
    }
}

/// Approximate size of a result without its texts, in bytes.
const ROW: u64 = 40;
