//! Signals while a command runs. Those from the terminal also reach the command directly; those sent only to
//! this process are passed on.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::unistd::getsid;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use tokio::sync::watch;

use super::child::Target;
use super::output::Output;

const HANDLED: [i32; 8] = [
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
];
/// Time after the end of the command in which a signal may be the one that ended it.
const GRACE: Duration = Duration::from_millis(300);

/// Signals that are being caught.
pub struct Signals {
    /// Starts the thread that handles them.
    begin: mpsc::Sender<(Target, Arc<Output>)>,
    stopped: watch::Receiver<bool>,
}

impl Signals {
    /// Catches signals from now on, except those that were ignored: the command must ignore them, too.
    pub fn catch() -> std::io::Result<Signals> {
        let ignored = ignored();
        let is_open = |signal: &i32| ignored & (1 << (*signal - 1)) == 0;
        let mut signals =
            SignalsInfo::<WithOrigin>::new(HANDLED.iter().filter(|signal| is_open(signal)))?;
        if !is_open(&SIGCHLD) {
            // While it is ignored, the system keeps no exit status of children.
            signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
        }
        let (begin, begun) = mpsc::channel::<(Target, Arc<Output>)>();
        let (stop, stopped) = watch::channel(false);
        std::thread::Builder::new().spawn(move || {
            let Ok((target, output)) = begun.recv() else {
                return;
            };
            for origin in signals.forever() {
                let Some(ended) = target.ended() else {
                    pass_on(&origin, &target, &output);
                    continue;
                };
                let stops = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&origin.signal);
                if stops && (was_sent(&origin) || ended > GRACE) {
                    let _ = stop.send(true);
                }
            }
        })?;
        Ok(Signals { begin, stopped })
    }

    /// Starts to handle them, including those already received. Once the command has ended, a signal to stop
    /// arrives in the channel.
    pub fn handle(self, target: Target, output: Arc<Output>) -> watch::Receiver<bool> {
        // The thread waits for this.
        let _ = self.begin.send((target, output));
        self.stopped
    }
}

/// Passes a signal on if the command did not receive it itself.
fn pass_on(origin: &Origin, target: &Target, output: &Output) {
    let Some(signal) = Signal::from_named_raw(origin.signal) else {
        return;
    };
    let is_resize = origin.signal == SIGWINCH;
    if is_resize {
        output.resize();
    }
    // The command may have asked for the size before it was known here.
    let is_alone = origin.signal == SIGHUP && leads_session();
    if is_resize || is_alone || was_sent(origin) {
        target.send(signal);
    }
}

/// Returns true if this process leads its session: only the leader is notified when the terminal closes.
fn leads_session() -> bool {
    // A leader outside of this container is 0 here, which rustix's `getsid` does not allow for.
    getsid(None).is_ok_and(|leader| leader.as_raw() == getpid().as_raw_pid())
}

/// Returns true if a process sent the signal, and not the terminal. A process outside of this container has no id here.
fn was_sent(origin: &Origin) -> bool {
    match origin.cause {
        Cause::Sent(_) => true,
        Cause::Kernel | Cause::Chld(_) => false,
        // For systems that do not report it.
        _ => origin.process.is_some_and(|process| process.pid > 0),
    }
}

/// Returns the signals that are ignored, as a set of bits; none if the system does not report them.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.unwrap_or(0)
}

/// Ends this process by the signal that ended the command. Returns in the first process of a container, which
/// its own signals do not end.
pub fn die_of(number: i32) {
    if getpid().is_init() {
        return;
    }
    if number == SIGKILL {
        // It has no handler, so the function below would fail.
        let _ = kill_process(getpid(), Signal::KILL);
    }
    let _ = signal_hook::low_level::emulate_default_handler(number);
}
