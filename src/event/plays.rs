//! Plays of a run, as its end reports them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Event, microseconds};

/// Number of plays that the end of a run reports.
const MAX_PLAYS: usize = 1000;

/// A play of a run that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaySummary {
    pub id: String,
    pub name: String,
    #[serde(serialize_with = "microseconds")]
    pub start: Timestamp,
    /// Time of its last event.
    #[serde(serialize_with = "microseconds")]
    pub end: Timestamp,
    /// Number of its failures that are not ignored, rescued ones included.
    pub failures: usize,
    /// Path of its playbook, if the command line names several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
}

/// Adds an event to the plays of its run.
pub fn note(plays: &mut Vec<PlaySummary>, event: &Event) {
    let Some(play) = &event.play else { return };
    let is_last = plays.last().is_some_and(|last| last.id == play.id);
    if !is_last {
        if plays.len() == MAX_PLAYS {
            return;
        }
        let several = event.run.playbooks.len() > 1;
        plays.push(PlaySummary {
            id: play.id.clone(),
            name: play.name.clone(),
            start: event.time,
            end: event.time,
            failures: 0,
            playbook: event.run.path.clone().filter(|_| several),
        });
    }
    let is_failure = event.is_failure();
    if let Some(last) = plays.last_mut() {
        last.end = last.end.max(event.time);
        last.failures += usize::from(is_failure);
    }
}
