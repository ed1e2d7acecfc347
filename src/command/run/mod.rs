//! `run`: runs a command transparently, and reports its start, and its end if no plugin does.

mod child;
mod copier;
mod job;
mod output;
pub mod reason;
mod report;
mod server;
mod signals;
mod tail;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::SIGPIPE;
use tokio::sync::{oneshot, watch};

use crate::cli;
use crate::command::run::child::{NotStarted, Target};
use crate::command::run::job::Job;
use crate::command::run::output::{Output, Streams};
use crate::command::run::reason::reason_of;
use crate::command::run::report::Reporter;
use crate::command::run::server::{Server, Told};
use crate::command::run::signals::Signals;
use crate::command::wrapper::{self, Claim, Wrapper};
use crate::console::stderr;
use crate::event::ending::Exited;
use crate::event::{Run, Status};
use crate::exit::Exit;
use crate::system;

/// Maximum wait for the command's last output if its reader is slow.
const OUTPUT: Duration = Duration::from_secs(10);
/// Maximum wait for another process to report the end of the run.
const REPORT: Duration = Duration::from_secs(15);

/// Runs `run`: ends the same way as the command.
pub async fn run(arguments: cli::Run) -> Exit {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            stderr::say(format!("cannot handle signals: {error}"));
            return Exit::Unexpected;
        }
    };
    let mut job = Job::of(&arguments.command, arguments.name.as_deref());
    let mut outer = enclosing(&mut job.run);
    let (output, streams) = capture(arguments.tail, job.takes_screen);
    let output = Arc::new(output);
    let server = Server::start(
        claim_of(&job.run, arguments.name.as_ref()),
        job.only_playbooks,
        output.clone(),
    );
    let target = Target::default();
    let environment = environment(&arguments, &server);
    let started = child::start(&arguments.command, &environment, streams, &target);
    system::forbid_core_file();
    if started.is_err() {
        target.end();
    }
    let stopped = signals.handle(target, output.clone());
    let wrapping = Wrapping {
        reporter: Reporter::new(&arguments, job, stopped.clone()),
        output,
        server: Arc::new(server),
    };
    let (status, reported) = wrapping.report(started).await;
    let left = wrapping.server.take_left();
    match &mut outer {
        Some(outer) => {
            outer.leave(left);
            outer.told(reported);
        }
        None if reported == Status::Success => wrapping.reporter.recover(left).await,
        None => {}
    }
    wrapping.leave(stopped).await;
    if let Some(signal) = status.signal() {
        signals::die_of(signal);
    }
    std::process::exit(child::code_of(status));
}

/// Takes over the identity of the surrounding `ansible-notify run`, and returns the connection to it.
fn enclosing(run: &mut Run) -> Option<Wrapper> {
    let mut outer = Wrapper::find()?;
    if let Some(claim) = outer.claim(run) {
        *run = claim.adopt(std::mem::take(run));
    }
    Some(outer)
}

fn claim_of(run: &Run, name: Option<&String>) -> Claim {
    let wrapped = run.wrapped.clone().unwrap_or_default();
    Claim {
        id: run.id.clone(),
        key: wrapped.key,
        title: name.cloned(),
        is_script: wrapped.is_script,
    }
}

/// Returns the command's output and its streams; the original streams if no lines are kept.
fn capture(lines: usize, takes_screen: bool) -> (Output, Streams) {
    if lines == 0 || takes_screen {
        return Output::untouched();
    }
    Output::captured(lines).unwrap_or_else(|error| {
        stderr::say(format!("the output of the command is not kept: {error}"));
        Output::untouched()
    })
}

/// Returns the variables by which the plugin finds this process and the same configuration.
fn environment(arguments: &cli::Run, server: &Server) -> Vec<(&'static str, OsString)> {
    let id = server.id.as_ref().map(|id| (wrapper::VARIABLE, id.into()));
    let config = arguments.configuration.config.as_ref();
    let config = config.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    let config = config.map(|path| ("ANSIBLE_NOTIFY_CONFIG", path.into()));
    id.into_iter().chain(config).collect()
}

/// A command, and everything needed to report it.
struct Wrapping {
    reporter: Reporter,
    output: Arc<Output>,
    server: Arc<Server>,
}

type Started = Result<oneshot::Receiver<ExitStatus>, NotStarted>;

impl Wrapping {
    /// Reports the start and the end of the command, unless another process does. Returns how it ended, and the
    /// status of the run.
    async fn report(&self, started: Started) -> (ExitStatus, Status) {
        let reporter = &self.reporter;
        let (hurry, hurried) = watch::channel(false);
        let ended = async {
            let ended = self.end_of(started).await;
            // The report of the end also delivers that of the start.
            let _ = hurry.send(ended.is_unreported());
            ended
        };
        let started = async {
            let start = reporter.start(hurried, || self.server.begin()).await;
            self.server.begin();
            start
        };
        let (start, ended) = tokio::join!(started, ended);
        let status = ended.exited.status();
        if !ended.is_unreported() {
            reporter.complain_of(start);
            return (ended.status, ended.told.own.unwrap_or(status));
        }
        let is_second = ended.told.own.is_some();
        reporter
            .end(ended.exited, ended.reason, ended.output, is_second, start)
            .await;
        (ended.status, status)
    }

    /// Waits for the end of the command, its last lines, and the reports of other processes.
    async fn end_of(&self, started: Started) -> Ended {
        let (status, failure) = match started {
            // The thread that waits for the command sends its status. Without one, it was no success.
            Ok(ended) => (ended.await.unwrap_or(ExitStatus::from_raw(1 << 8)), None),
            Err(failure) => {
                stderr::say(&failure.reason);
                (
                    ExitStatus::from_raw(failure.code << 8),
                    Some(failure.reason),
                )
            }
        };
        let (name, is_ansible) = (self.reporter.program(), self.reporter.is_ansible());
        let (output, server) = (self.output.clone(), self.server.clone());
        let wait = move || {
            let text = output.text(OUTPUT);
            let lost = output.failure();
            let status = match &lost {
                Some(_) => unwritten(status),
                None => status,
            };
            let exited = report::exited(status, is_ansible);
            let lost =
                lost.map(|reason| format!("the output of `{name}` cannot be written: {reason}"));
            lost.iter().for_each(stderr::say);
            let reason = failure.or(lost);
            let reason = reason.or_else(|| reason_of(&name, &exited, output.whole().as_deref()));
            let told = server.end(exited.clone(), reason.clone(), REPORT);
            Ended {
                status,
                exited,
                reason,
                output: text,
                told,
            }
        };
        let waited = tokio::task::spawn_blocking(wait).await;
        waited.unwrap_or_else(|_| Ended {
            status,
            exited: report::exited(status, is_ansible),
            ..Ended::default()
        })
    }

    /// Copies the last output, including that of a process that still reports the run.
    async fn leave(self, mut stopped: watch::Receiver<bool>) {
        let (output, server) = (self.output.clone(), self.server.clone());
        let drain = self.reporter.drain();
        let wait = move || {
            server.wait_for_reporters(drain);
            output.finish(OUTPUT);
        };
        tokio::select! {
            _ = tokio::task::spawn_blocking(wait) => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        self.server.close();
    }
}

/// Returns the status that a command whose output could not be written to a file would probably have without
/// this program: the command itself saw no error, or it or a command of its shell got a signal instead.
fn unwritten(status: ExitStatus) -> ExitStatus {
    match status.success() || child::code_of(status) == 128 + SIGPIPE {
        true => ExitStatus::from_raw(1 << 8),
        false => status,
    }
}

/// End of the command, and of the reports about it.
#[derive(Default)]
struct Ended {
    status: ExitStatus,
    exited: Exited,
    reason: Option<String>,
    output: Option<String>,
    told: Told,
}

impl Ended {
    fn is_unreported(&self) -> bool {
        self.told.lacks(self.exited.status())
    }
}
