//! The server side of `ansible-notify run`, for the processes that report events of its command.

use std::fs::DirBuilder;
use std::io::{BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::output::Output;
use crate::command::wrapper::{self, Claim, Claimant, Ending, Request, SOCKET};
use crate::event::Status;
use crate::event::ending::Exited;
use crate::spool::Ended;

/// Maximum wait of a run for the report of its start.
const START: Duration = Duration::from_secs(3);
/// Maximum wait of a killed run for the end of the command.
const END: Duration = Duration::from_secs(3);
/// Maximum wait for the last lines.
const TEXT: Duration = Duration::from_secs(2);

/// The socket, and the state of the reports.
pub struct Server {
    /// Id from which the socket is found; None if no socket can be created.
    pub id: Option<String>,
    folder: Option<PathBuf>,
    shared: Arc<Shared>,
}

struct Shared {
    claim: Claim,
    /// True if only a playbook can be the command's run.
    only_playbooks: bool,
    output: Arc<Output>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// True once the start of the run is accepted, or never will be.
    began: bool,
    /// The plugin's id of the run that has the command's identity.
    owner: Option<String>,
    /// Number of connected processes that report it, and of those that have not reported its end.
    connected: usize,
    unfinished: usize,
    told: Told,
    /// Ends of playbooks that succeeded, which count once the command has.
    left: Vec<Ended>,
    exited: Option<(Exited, Option<String>)>,
}

/// Ends that were reported.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Status of the command's own run.
    pub own: Option<Status>,
    /// True if another run in the command did not succeed.
    pub others_failed: bool,
}

impl Told {
    /// Returns true if the end of a command with this status is still to be reported.
    pub fn lacks(self, status: Status) -> bool {
        match self.own {
            None => true,
            // It failed or was killed later.
            Some(Status::Success) => status != Status::Success && !self.others_failed,
            Some(_) => false,
        }
    }
}

impl Server {
    /// Starts to answer. Without a place for the socket, every process reports for itself.
    pub fn start(claim: Claim, only_playbooks: bool, output: Arc<Output>) -> Server {
        let shared = Arc::new(Shared {
            claim,
            only_playbooks,
            output,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let id = crate::event::new_id();
        let made = wrapper::folders(&id).into_iter().find_map(|folder| {
            DirBuilder::new().mode(0o700).create(&folder).ok()?;
            let listener = UnixListener::bind(folder.join(SOCKET));
            if listener.is_err() {
                let _ = std::fs::remove_dir(&folder);
            }
            Some((folder, listener.ok()?))
        });
        let Some((folder, listener)) = made else {
            return Server {
                id: None,
                folder: None,
                shared,
            };
        };
        let served = shared.clone();
        // Without a thread, every process reports for itself.
        let _ = std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                let _ = std::thread::Builder::new().spawn(move || served.answer(stream));
            }
        });
        Server {
            id: Some(id),
            folder: Some(folder),
            shared,
        }
    }

    /// Records that the start of the run is accepted: events of other processes follow it.
    pub fn begin(&self) {
        self.shared.lock().began = true;
        self.shared.changed.notify_all();
    }

    /// Records the end of the command. Waits at most `limit` for processes that still report its run.
    pub fn end(&self, exited: Exited, reason: Option<String>, limit: Duration) -> Told {
        let mut state = self.shared.lock();
        state.exited = Some((exited, reason));
        self.shared.changed.notify_all();
        let state = self.shared.wait(state, limit, |state| state.unfinished > 0);
        state.told
    }

    /// Returns what the end of the command decides about its playbooks.
    pub fn take_left(&self) -> Vec<Ended> {
        std::mem::take(&mut self.shared.lock().left)
    }

    /// Removes the socket.
    pub fn close(&self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_file(folder.join(SOCKET));
            let _ = std::fs::remove_dir(folder);
        }
    }

    /// Waits at most `limit` until the processes that report the command's run have ended.
    pub fn wait_for_reporters(&self, limit: Duration) {
        let state = self.shared.lock();
        drop(self.shared.wait(state, limit, |state| state.connected > 0));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
        is_busy: fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self
            .changed
            .wait_timeout_while(state, limit, |state| is_busy(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Answers one process until it ends.
    fn answer(&self, mut stream: UnixStream) {
        let Ok(requests) = stream.try_clone() else {
            return;
        };
        let mut requests = BufReader::new(requests);
        // True if it reports the command's own run; the second is true until it has.
        let (mut is_owner, mut is_unfinished) = (false, false);
        while let Some(request) = wrapper::read::<Request>(&mut requests) {
            let answer = match request {
                Request::Claim(claimant) => {
                    let claim = self.claim(&claimant, is_owner);
                    is_unfinished |= claim.is_some() && !is_owner;
                    is_owner |= claim.is_some();
                    json!(claim)
                }
                Request::Ending { ended } => json!(self.ending(ended)),
                Request::Left(ends) => {
                    if is_owner {
                        self.lock().left = ends;
                    }
                    Value::Null
                }
                Request::Told(status) => {
                    self.told(status, is_owner, std::mem::take(&mut is_unfinished));
                    Value::Null
                }
            };
            if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
                break;
            }
        }
        let mut state = self.lock();
        state.connected -= usize::from(is_owner);
        state.unfinished -= usize::from(is_unfinished);
        self.changed.notify_all();
    }

    /// Returns the identity of the command's run to all processes of the first run in it.
    fn claim(&self, claimant: &Claimant, is_owner: bool) -> Option<Claim> {
        let state = self.lock();
        let mut state = self.wait(state, START, |state| !state.began);
        let is_free = state.owner.is_none() && (claimant.playbook || !self.only_playbooks);
        if !is_free && state.owner.as_ref() != Some(&claimant.run) {
            return None;
        }
        state.owner = Some(claimant.run.clone());
        if !is_owner {
            state.connected += 1;
            state.unfinished += 1;
        }
        Some(self.claim.clone())
    }

    fn ending(&self, ended: bool) -> Ending {
        let mut state = self.lock();
        if !ended {
            state = self.wait(state, END, |state| state.exited.is_none());
        }
        let (exited, reason) = state.exited.clone().unzip();
        drop(state);
        Ending {
            exited,
            reason: reason.flatten(),
            output: self.output.text(TEXT),
        }
    }

    fn told(&self, status: Status, is_owner: bool, was_unfinished: bool) {
        let mut state = self.lock();
        if is_owner {
            state.told.own = Some(status);
            state.unfinished -= usize::from(was_unfinished);
        } else {
            state.told.others_failed |= status != Status::Success;
        }
        self.changed.notify_all();
    }
}
