//! The events of a command: its start, and its end unless another process reports it.

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::child;
use super::job::Job;
use crate::cli;
use crate::command;
use crate::config::Options;
use crate::config::levels::Search;
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::record::Recording;
use crate::delivery::setup::Config;
use crate::event::callback::Callback;
use crate::event::ending::Exited;
use crate::event::run_summary::{self, RunSummary};
use crate::event::{Event, Run, Status};
use crate::exit::Exit;
use crate::net::http::Http;
use crate::secret;
use crate::spool::record::alive::{Alive, Part};
use crate::spool::{Ended, Urgency};

/// State of the report of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Delivered, or not wanted by any notifier.
    Done,
    /// In the spool.
    Pending,
    /// Not possible: the configuration has a problem, which was reported.
    Impossible,
}

/// Reports the events of one command.
pub struct Reporter {
    search: Search,
    run: Arc<Run>,
    program: String,
    is_ansible: bool,
    quiet: bool,
    /// The start of the run.
    start: Event,
    /// True once it is in the spool, which then knows its outcome.
    is_stored: Cell<bool>,
    /// Maximum wait for deliveries, once it is known.
    drain: Cell<Duration>,
    /// Shows that the run is alive, if it is recorded.
    alive: RefCell<Option<Alive>>,
    /// True once this process was asked to end.
    stopped: watch::Receiver<bool>,
}

impl Reporter {
    /// Creates the reporter of a command that starts now.
    pub fn new(arguments: &cli::Run, job: Job, stopped: watch::Receiver<bool>) -> Reporter {
        let mut search = arguments.configuration.search();
        search.project = search.project.or(job.project);
        let run = Arc::new(Run {
            url: run_summary::url(),
            traceparent: run_summary::traceparent(),
            ..job.run
        });
        Reporter {
            search,
            start: Event::new(Callback::RunStart, run.clone(), 0),
            is_stored: Cell::default(),
            run,
            program: job.program,
            is_ansible: job.is_ansible,
            quiet: arguments.quiet,
            drain: Cell::default(),
            alive: RefCell::default(),
            stopped,
        }
    }

    /// Returns the name of the command's program.
    pub fn program(&self) -> String {
        self.program.clone()
    }

    /// Returns the maximum wait for deliveries.
    pub fn drain(&self) -> Duration {
        self.drain.get()
    }

    /// Returns true if the command is one of Ansible's.
    pub fn is_ansible(&self) -> bool {
        self.is_ansible
    }

    /// Reports the start, unless another process has, and calls `accepted` once it is safe. After `hurry`,
    /// other processes deliver it.
    pub async fn start(&self, hurry: watch::Receiver<bool>, accepted: impl Fn()) -> Start {
        let is_started = |run: &Run| run.wrapped.as_ref().is_some_and(|one| one.is_started);
        if is_started(&self.run) {
            return Start::Done;
        }
        let http = Http::default();
        let Ok(config) = self.load(&http) else {
            stderr::say("this run is not reported; run `ansible-notify check-config`");
            return Start::Impossible;
        };
        command::report_troubles(&config);
        let work = async {
            let deliverer = Deliverer::new(http);
            let (drain, masks) = (config.drain, config.masks.clone());
            let destinations = self.open(&deliverer, config).await;
            let mut event = self.start.clone();
            masks.iter().for_each(|masks| masks.apply(&mut event));
            deliverer
                .accept(vec![(1, event)], &destinations, Urgency::Now)
                .await;
            self.is_stored
                .set(deliverer.shared.unspooled.borrow().last == 0);
            accepted();
            let drained = async {
                tokio::select! {
                    () = deliverer.drain(drain) => {}
                    () = is_set(hurry.clone()) => deliverer.drain_unspooled(drain).await,
                    () = is_set(self.stopped.clone()) => {}
                }
            };
            deliverer.close(drained, None).await
        };
        match LocalSet::new().run_until(work).await {
            Exit::Ok => Start::Done,
            _ => Start::Pending,
        }
    }

    /// Reports the end; `is_second` is true if another process reported one that no longer holds.
    pub async fn end(
        &self,
        exited: Exited,
        reason: Option<String>,
        output: Option<String>,
        is_second: bool,
        start: Start,
    ) {
        let http = Http::default();
        let Some(config) = (start != Start::Impossible)
            .then(|| self.load(&http).ok())
            .flatten()
        else {
            return;
        };
        let mut summary = RunSummary::default();
        summary.note(&self.start);
        // The secrets of the configuration are known from here on.
        let masked = |text: Option<String>| text.map(|text| secret::redact(&text));
        summary.note_exit(&exited, masked(reason));
        summary.output = masked(output);
        let work = async {
            let deliverer = Deliverer::new(http);
            let (drain, masks) = (config.drain, config.masks.clone());
            let destinations = self.open(&deliverer, config).await;
            let status = summary.status();
            let run = masks.as_ref().map(|masks| masks.run(&self.run));
            let run = run.unwrap_or_else(|| self.run.clone());
            let before = deliverer.end_run(&run, status, &summary).await;
            let mut event = summary.end(&run, before);
            masks.iter().for_each(|masks| masks.apply(&mut event));
            if is_second {
                event.id = format!("{}-exit", self.run.id);
            }
            let mut events = vec![(2, event)];
            if self.is_stored.get() {
                // It is not sent again, but counted.
                let mut start = self.start.clone();
                masks.iter().for_each(|masks| masks.apply(&mut start));
                events.insert(0, (1, start));
            }
            let wanted = deliverer.accept(events, &destinations, Urgency::Now).await;
            let drained = async {
                tokio::select! {
                    () = deliverer.drain(drain) => {}
                    () = is_set(self.stopped.clone()) => {}
                }
            };
            let told = (!self.quiet && wanted > 0).then_some(wanted);
            deliverer.close(drained, told).await
        };
        LocalSet::new().run_until(work).await;
    }

    /// Records that the playbooks of a script have succeeded, as it has itself, and reports what recovered. Their
    /// success was reported.
    pub async fn recover(&self, left: Vec<Ended>) {
        let http = Http::default();
        let Some(config) = (!left.is_empty()).then(|| self.load(&http).ok()).flatten() else {
            return;
        };
        let mut summary = RunSummary::default();
        summary.note(&self.start);
        summary.note_exit(&Exited::default(), None);
        let work = async {
            let deliverer = Deliverer::new(http);
            let (drain, masks) = (config.drain, config.masks.clone());
            let destinations = self.open(&deliverer, config).await;
            let before = deliverer.record_ends(left, Status::Success).await;
            let mut event = summary.end(&self.run, before);
            masks.iter().for_each(|masks| masks.apply(&mut event));
            event.id = format!("{}-exit", self.run.id);
            if event.recovered() {
                deliverer
                    .accept(vec![(2, event)], &destinations, Urgency::Now)
                    .await;
            }
            let drained = async {
                tokio::select! {
                    () = deliverer.drain(drain) => {}
                    () = is_set(self.stopped.clone()) => {}
                }
            };
            deliverer.close(drained, None).await
        };
        LocalSet::new().run_until(work).await;
    }

    /// Reports that the start is not delivered, if no summary does.
    pub fn complain_of(&self, start: Start) {
        if start == Start::Pending && !self.quiet {
            stderr::say("the start of the run is not delivered; see `ansible-notify history`");
        }
    }

    fn load(&self, http: &Http) -> Result<Config, Exit> {
        let options = Options {
            search: self.search.clone(),
            ..Options::default()
        };
        let config = command::load(&options, http)?;
        self.drain.set(config.drain);
        Ok(config)
    }

    /// Opens the spool and the destinations; returns their numbers.
    async fn open(&self, deliverer: &std::rc::Rc<Deliverer>, config: Config) -> Vec<usize> {
        deliverer.shared.open(|| command::open_spool(&config));
        deliverer.prune(config.keep);
        deliverer.label(&config.labels);
        deliverer.record(config.recording, config.page.clone(), config.keep_runs);
        if config.recording != Recording::Off && self.alive.borrow().is_none() {
            let alive = deliverer.spool().live(&self.run.id, Part::Command);
            self.alive.replace(alive);
        }
        // The same as that of the plugin, whose first configuration has the number 1.
        let scope = format!("{}/1", self.run.id);
        let mut destinations = Vec::new();
        for destination in config.destinations {
            let key = destination.key(&self.search, &scope);
            destinations.push(deliverer.add(destination, key).await);
        }
        destinations
    }
}

/// Returns how a command ended, in the terms of an event.
pub fn exited(status: ExitStatus, is_ansible: bool) -> Exited {
    let name = |number| signal_hook::low_level::signal_name(number).map(str::to_owned);
    let name = |number: i32| name(number).unwrap_or_else(|| format!("signal {number}"));
    Exited {
        code: child::code_of(status).into(),
        signal: status.signal().map(name),
        is_ansible,
    }
}

/// Waits until the value is true; forever if its sender is gone.
async fn is_set(mut value: watch::Receiver<bool>) {
    if value.wait_for(|set| *set).await.is_err() {
        std::future::pending().await
    }
}
