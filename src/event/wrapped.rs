//! State that the processes of one `ansible-notify run` share about its run.

use serde::{Deserialize, Serialize};

/// A run in the command of `ansible-notify run`. Only the key of a script is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Wrapped {
    /// Key that identifies the command: the same in each of its runs.
    pub key: String,
    /// True if it is none of Ansible's: what it does after its playbooks may fail, too.
    pub is_script: bool,
    /// True if another process reported the start of the run.
    pub is_started: bool,
}

impl From<String> for Wrapped {
    fn from(key: String) -> Wrapped {
        Wrapped {
            key,
            is_script: true,
            is_started: false,
        }
    }
}

impl From<Wrapped> for String {
    fn from(wrapped: Wrapped) -> String {
        wrapped.key
    }
}

/// Returns true if nothing of it is stored.
pub fn is_plain(wrapped: &Option<Wrapped>) -> bool {
    !wrapped.as_ref().is_some_and(|wrapped| wrapped.is_script)
}
