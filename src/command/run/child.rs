//! The command as a child process in the same session and process group, and its end.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::oneshot;

use super::output::Streams;

/// Exit codes of a shell for a program that it cannot run, and for one that it does not find.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The command's process as long as it runs: later its id may be that of another one.
#[derive(Clone, Default)]
pub struct Target(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    pid: Option<Pid>,
    /// Time of its end.
    ended: Option<Instant>,
}

impl Target {
    /// Sends the command a signal, if it runs.
    pub fn send(&self, signal: Signal) {
        if let Some(pid) = self.lock().pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Returns the time since its end; None if it has not ended.
    pub fn ended(&self) -> Option<Duration> {
        self.lock().ended.map(|ended| ended.elapsed())
    }

    /// Notes that it has ended, or never ran.
    pub fn end(&self) {
        *self.lock() = State {
            pid: None,
            ended: Some(Instant::now()),
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a command cannot be started, and the exit code for it.
pub struct NotStarted {
    pub reason: String,
    pub code: i32,
}

/// Starts the command; its end arrives in the channel.
pub fn start(
    words: &[OsString],
    environment: &[(&str, OsString)],
    [stdout, stderr]: Streams,
    target: &Target,
) -> Result<oneshot::Receiver<ExitStatus>, NotStarted> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdout(stdout).stderr(stderr);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" (os error").next().unwrap_or_default();
        NotStarted {
            reason: format!("cannot run `{}`: {reason}", words[0].display()),
            code: match error.kind() {
                ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            },
        }
    })?;
    let pid = Pid::from_child(&child);
    target.lock().pid = Some(pid);
    let (sender, receiver) = oneshot::channel();
    let target = target.clone();
    std::thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        target.end();
        // There is a child, so there is a status.
        let status = child.wait().unwrap_or_default();
        let _ = sender.send(status);
    });
    Ok(receiver)
}

/// Returns the exit code that a shell reports.
pub fn code_of(status: ExitStatus) -> i32 {
    let killed = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(killed)
}
