//! Connection between `ansible-notify run` and the processes that report events of its command, so that all
//! report one run: its id, how the command ended, and which process reported the end.
//!
//! The environment variable contains only an id. The socket is in a directory named after the id, which no
//! other user can enter.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::ending::Exited;
use crate::event::wrapped::Wrapped;
use crate::event::{Run, Status};
use crate::spool::Ended;
use crate::system::home;

/// Environment variable with the id of the run.
pub const VARIABLE: &str = "ANSIBLE_NOTIFY_RUN";
/// Name of the socket in its directory.
pub const SOCKET: &str = "socket";
/// Time limit for an answer. The other side may have to wait for the end of the command.
const ANSWER: Duration = Duration::from_secs(10);
/// Limit of the length of an answer, in bytes.
const MOST: u64 = 1 << 20;

/// A message to `ansible-notify run`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// A run starts; answered by a [`Claim`] or null.
    Claim(Claimant),
    /// A run is over; answered by an [`Ending`].
    Ending {
        /// True if the plugin reported its end.
        ended: bool,
    },
    /// The end of a run was accepted; answered by null.
    Told(Status),
    /// Ends of playbooks to record once the command has succeeded; answered by null.
    Left(Vec<Ended>),
}

/// A run that starts in the command.
#[derive(Serialize, Deserialize)]
pub struct Claimant {
    /// Id from the plugin.
    pub run: String,
    /// True if it runs a playbook.
    pub playbook: bool,
}

/// Identity of the command's run, for the first process that reports it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Claim {
    pub id: String,
    pub key: String,
    /// Name given with `--name`.
    pub title: Option<String>,
    /// True if the command is none of Ansible's.
    #[serde(default)]
    pub is_script: bool,
}

impl Claim {
    /// Returns the run under this identity.
    pub fn adopt(&self, run: Run) -> Run {
        let wrapped = Wrapped {
            key: self.key.clone(),
            is_script: self.is_script,
            is_started: true,
        };
        Run {
            id: self.id.clone(),
            title: self.title.clone().or(run.title),
            wrapped: Some(wrapped),
            ..run
        }
    }
}

/// End of the command, as far as it is known.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ending {
    /// None if the command still runs.
    pub exited: Option<Exited>,
    pub reason: Option<String>,
    /// The last lines of its output.
    pub output: Option<String>,
}

/// Connection to `ansible-notify run`.
pub struct Wrapper(BufReader<UnixStream>);

impl Wrapper {
    /// Connects to the `ansible-notify run` whose command this process belongs to, if there is one.
    pub fn find() -> Option<Wrapper> {
        let id = std::env::var(VARIABLE).ok()?;
        let id = uuid::Uuid::parse_str(&id).ok()?.to_string();
        let mut folders = folders(&id).into_iter();
        let folder = folders.find(|folder| is_own(folder))?;
        let stream = UnixStream::connect(folder.join(SOCKET)).ok()?;
        stream.set_read_timeout(Some(ANSWER)).ok()?;
        stream.set_write_timeout(Some(ANSWER)).ok()?;
        Some(Wrapper(BufReader::new(stream)))
    }

    /// Returns the identity of the command's run, if `run` is to have it.
    pub fn claim(&mut self, run: &Run) -> Option<Claim> {
        let claimant = Claimant {
            run: run.id.clone(),
            playbook: run.playbook.is_some(),
        };
        self.ask(&Request::Claim(claimant))?
    }

    /// Returns the end of the command; None if the other side is gone. Waits for it if the plugin did not report its
    /// own.
    pub fn ending(&mut self, ended: bool) -> Option<Ending> {
        self.ask(&Request::Ending { ended })
    }

    /// Notes that the end of the run is safe.
    pub fn told(&mut self, status: Status) {
        let _: Option<()> = self.ask(&Request::Told(status));
    }

    /// Leaves what the success of a run says about its playbooks until the command has ended.
    pub fn leave(&mut self, ends: Vec<Ended>) {
        if !ends.is_empty() {
            let _: Option<()> = self.ask(&Request::Left(ends));
        }
    }

    /// Returns the answer to a request; None after a timeout.
    fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Option<T> {
        let mut line = serde_json::to_vec(request).ok()?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line).ok()?;
        read(&mut self.0)
    }
}

/// Reads one message; None at the end, and for anything else.
pub fn read<T: DeserializeOwned>(stream: &mut BufReader<UnixStream>) -> Option<T> {
    let mut line = Vec::new();
    stream.take(MOST).read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Returns the possible directories of a run's socket, in search order.
pub fn folders(id: &str) -> Vec<PathBuf> {
    let runtime = home::variable("XDG_RUNTIME_DIR");
    let places = runtime
        .into_iter()
        .chain([std::env::temp_dir(), "/tmp".into()]);
    let name = format!("ansible-notify-{id}");
    places.map(|place| place.join(&name)).collect()
}

/// Returns true if the directory belongs to this user and no other user can enter it.
fn is_own(folder: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    folder.symlink_metadata().is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0
    })
}
