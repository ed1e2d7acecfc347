//! Failed tasks, as the end of a run lists them.

use serde::{Deserialize, Serialize};

/// A task that failed on a host, as the end of the run lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedTask {
    pub host: String,
    pub task: String,
    pub action: Option<String>,
    /// `file:line`
    pub path: Option<String>,
    pub role: Option<String>,
    pub play: Option<String>,
    /// True if the host was unreachable.
    pub unreachable: bool,
    /// Short reason.
    pub message: String,
}
