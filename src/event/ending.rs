//! End of a command as a shell reports it, and the corresponding status of its run.

use serde::{Deserialize, Serialize};

use crate::event::Status;

/// Signals by which a user, or the system on a user's behalf, ends a command.
const REQUESTS: [&str; 4] = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];
/// Exit codes with which a shell reports those signals.
const REQUEST_CODES: [i64; 4] = [129, 130, 131, 143];
/// Ansible's own exit code when a user interrupted it.
const ANSIBLE_INTERRUPTED: i64 = 99;

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// Its exit code; for a signal, the one that a shell reports.
    pub code: i64,
    /// Name of the signal that ended it.
    pub signal: Option<String>,
    /// True if it is one of Ansible's commands, which have an exit code for interruptions.
    pub is_ansible: bool,
}

impl Exited {
    /// Returns the status of the run.
    pub fn status(&self) -> Status {
        let canceled = match &self.signal {
            Some(signal) => REQUESTS.contains(&signal.as_str()),
            None => {
                REQUEST_CODES.contains(&self.code)
                    || self.is_ansible && self.code == ANSIBLE_INTERRUPTED
            }
        };
        match self.code {
            _ if canceled => Status::Canceled,
            0 => Status::Success,
            _ => Status::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_from_code_and_signal() {
        for (code, signal, status) in [
            (0, None, Status::Success),
            (1, None, Status::Error),
            (127, None, Status::Error),
            (99, None, Status::Canceled),
            (130, None, Status::Canceled),
            (130, Some("SIGINT"), Status::Canceled),
            (143, Some("SIGTERM"), Status::Canceled),
            (129, Some("SIGHUP"), Status::Canceled),
            (137, None, Status::Error),
            (137, Some("SIGKILL"), Status::Error),
            (139, Some("SIGSEGV"), Status::Error),
        ] {
            let exited = Exited {
                code,
                signal: signal.map(str::to_owned),
                is_ansible: true,
            };
            assert_eq!(exited.status(), status, "{exited:?}");
        }
        let other = Exited {
            code: 99,
            ..Exited::default()
        };
        assert_eq!(other.status(), Status::Error);
    }
}
