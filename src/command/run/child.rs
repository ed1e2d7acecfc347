//! The command as a child process in the same session and process group, and its end.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::oneshot;

use super::copier::plain;
use super::output::Streams;

/// Exit codes of a shell for a program that it cannot run, and for one that it does not find.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The command's process while it runs; later its id may belong to another one.
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

    /// Records that it has ended or never ran.
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

/// Reason why a command cannot be started, and the exit code for it.
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
    let cannot = |error: &std::io::Error| NotStarted {
        reason: format!("cannot run `{}`: {}", words[0].display(), plain(error)),
        code: match error.kind() {
            ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        },
    };
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdout(stdout).stderr(stderr);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    // Without a thread, its end would never be seen.
    let waiting = waiter(target.clone()).map_err(|error| cannot(&error))?;
    let child = command.spawn().map_err(|error| cannot(&error))?;
    target.lock().pid = Some(Pid::from_child(&child));
    let (sender, receiver) = oneshot::channel();
    // The thread waits for this.
    let _ = waiting.send((child, sender));
    Ok(receiver)
}

/// Starts a thread that waits for the end of a command, and sends its status.
fn waiter(target: Target) -> std::io::Result<mpsc::Sender<(Child, oneshot::Sender<ExitStatus>)>> {
    let (command, started) = mpsc::channel::<(Child, oneshot::Sender<ExitStatus>)>();
    std::thread::Builder::new().spawn(move || {
        let Ok((mut child, sender)) = started.recv() else {
            return;
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let pid = WaitId::Pid(Pid::from_child(&child));
        while let Err(Errno::INTR) = waitid(pid.clone(), options) {}
        target.end();
        // Waiting for an own child returns its status.
        if let Ok(status) = child.wait() {
            let _ = sender.send(status);
        }
    })?;
    Ok(command)
}

/// Returns the exit code that a shell reports.
pub fn code_of(status: ExitStatus) -> i32 {
    let killed = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(killed)
}
