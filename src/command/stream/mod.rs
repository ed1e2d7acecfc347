//! `stream`: delivers the plugin's events while the play continues. See docs/protocol.md.

mod accept;
mod alerts;
mod end;
mod expected;
mod masks;
mod resume;
mod vars;
mod watch;
mod wrapped;

use std::collections::HashMap;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use accept::accepted;
use alerts::Alerts;
use expected::Expectations;

use crate::cli;
use crate::command::ended::Errors;
use crate::command::stream::wrapped::Wrapping;
use crate::config::emitters::{self, Emitters};
use crate::config::levels::Search;
use crate::config::{Options, Overrides};
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::event::loops::Loops;
use crate::event::masked::Masks;
use crate::event::parse::EventParser;
use crate::event::run_summary::RunSummary;
use crate::event::{Event, Play, Run, Task, from_seconds};
use crate::exit::Exit;
use crate::failpoint;
use crate::json::bulk;
use crate::json::chunks;
use crate::json::depth::shallow;
use crate::json::splitter::{JsonSplitter, Record};
use crate::net::http::Http;
use crate::protocol::{EventRecord, Greeting, Hello, Line, RunnerRecord};

/// Limits of a batch of accepted events: number, and approximate size in bytes.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 1 << 20;
/// Grace period after a signal for the end of the run: Ansible may have received the signal too.
const LEAVE: Duration = Duration::from_millis(500);

/// Runs `stream`: speaks the protocol of a plugin on standard input and output.
pub async fn run(arguments: cli::Stream) -> Exit {
    crate::command::orphan::watch();
    LocalSet::new()
        .run_until(async {
            let mut stream = Stream::new(arguments);
            match stream.read().await {
                Ok(None) => stream.finish().await.unwrap_or_else(|exit| exit),
                Ok(Some(signal)) => stream.leave(signal).await,
                Err(exit) => exit,
            }
        })
        .await
}

/// State of the run.
struct Stream {
    arguments: cli::Stream,
    deliverer: Rc<Deliverer>,
    /// Locations to search for the configuration.
    search: Search,
    emitters: Emitters,
    /// Reader of ansible-runner's records, if they come from one.
    runner: Option<EventParser>,
    /// Errors printed by Ansible, from ansible-runner's records.
    errors: Errors,
    /// Events that were read but not accepted yet.
    batch: Vec<(u64, Event)>,
    /// Approximate size of the batch.
    batch_bytes: usize,
    /// Task that accepts events; returns the last number, and how many events some notifier wants.
    accepting: Option<JoinHandle<(u64, u64)>>,
    /// Number of times the play's vars changed the destinations.
    generation: u64,
    /// Destinations of the current configuration.
    destinations: Vec<usize>,
    drain: Duration,
    overrides: Option<Overrides>,
    masks: Option<Rc<Masks>>,
    /// Records held back until the variables of the first play are known.
    early: Option<Early>,
    run: Arc<Run>,
    wrapping: Wrapping,
    plays: HashMap<String, Arc<Play>>,
    tasks: HashMap<String, Arc<Task>>,
    vars: vars::Vars,
    /// Loops whose items were reported.
    loops: Loops,
    /// Number of events that some notifier wants.
    events: u64,
    /// Last number that was read; `accepted` is the last one accepted.
    last_sequence: u64,
    accepted: u64,
    /// Last number that was acknowledged as safe.
    answered: u64,
    rejected: u64,
    progress: RunSummary,
    alerts: Alerts,
    expectations: Expectations,
}

/// Records that arrived before the variables of the first play.
struct Early {
    overrides: Overrides,
    events: Vec<(EventRecord, bool)>,
}

/// Limit of events held back; there are fewer than this before a first play.
const MOST_EARLY: usize = 1000;

impl Stream {
    fn new(arguments: cli::Stream) -> Stream {
        Stream {
            search: arguments.configuration.search(),
            arguments,
            deliverer: Deliverer::new(Http::default()),
            emitters: Emitters::default(),
            runner: None,
            errors: Errors::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            accepting: None,
            generation: 0,
            destinations: Vec::new(),
            drain: Duration::ZERO,
            overrides: None,
            masks: None,
            early: None,
            run: Arc::default(),
            wrapping: Wrapping::default(),
            plays: HashMap::new(),
            tasks: HashMap::new(),
            vars: vars::Vars::default(),
            loops: Loops::default(),
            events: 0,
            last_sequence: 0,
            accepted: 0,
            answered: 0,
            rejected: 0,
            progress: RunSummary::default(),
            alerts: Alerts::default(),
            expectations: Expectations::default(),
        }
    }

    /// Reads records until the end of the input, or until a signal to stop, which is returned.
    async fn read(&mut self) -> Result<Option<i32>, Exit> {
        let mut pieces = chunks::read(|| Ok(std::io::stdin()));
        let mut records = JsonSplitter::default();
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            stderr::say("cannot handle signals");
            return Err(Exit::Unexpected);
        };
        let deliverer = self.deliverer.clone();
        let mut asked = None;
        loop {
            let due = self.alerts.due();
            tokio::select! {
                piece = pieces.recv() => {
                    let Some(Ok(piece)) = piece else { break };
                    failpoint::pass("read");
                    records.feed(&piece);
                    self.take_all(&mut records).await?;
                }
                Some(accepted) = accepted(&mut self.accepting) => {
                    self.note_accepted(accepted);
                    self.accept_soon().await;
                }
                () = deliverer.progress() => self.answer_safe(),
                Some(()) = reached(due) => {
                    self.alerts.look();
                    self.tell_late().await;
                }
                _ = terminate.recv() => asked = asked.or(Some((SIGTERM, Instant::now() + LEAVE))),
                _ = interrupt.recv() => asked = asked.or(Some((SIGINT, Instant::now() + LEAVE))),
                Some(signal) = leaving(asked) => return Ok(Some(signal)),
            }
        }
        records.finish();
        self.take_all(&mut records).await?;
        Ok(None)
    }

    /// Handles the records that have arrived; accepts their events in few commits, then acknowledges them
    /// as safe.
    async fn take_all(&mut self, records: &mut JsonSplitter) -> Result<(), Exit> {
        while let Some(record) = records.next() {
            self.take(record).await?;
            if self.batch.len() >= BATCH || self.batch_bytes >= BATCH_BYTES {
                self.accept().await;
            }
        }
        self.accept_soon().await;
        self.tell_late().await;
        Ok(())
    }

    async fn take(&mut self, record: Record) -> Result<(), Exit> {
        let mut cut = record.truncated;
        let line_number = record.line;
        // Other versions of the protocol may have another form of this record.
        let greeting = record.content.as_deref().ok().and_then(Greeting::of);
        if let Some(refusal) = greeting.and_then(|greeting| greeting.refusal()) {
            stderr::say(refusal);
            return Err(Exit::Config);
        }
        let line = record.content.and_then(|bytes| {
            // Nested content of event and ansible-runner records is not parsed yet.
            let stays_text = [&b"{\"event\""[..], b"{\"runner\""];
            let reads_all = !stays_text.iter().any(|start| bytes.starts_with(start));
            let text = std::str::from_utf8(&bytes).ok().filter(|_| reads_all);
            let short = text.and_then(|text| bulk::cut(text, bulk::MAX_VALUES));
            let read = match &short {
                Some(short) => serde_json::from_str::<Line>(short),
                None => serde_json::from_slice(&bytes),
            };
            cut |= short.is_some();
            read.or_else(|error| {
                // Python writes deeper nesting than the parser here accepts.
                cut = true;
                let text = shallow(&String::from_utf8_lossy(&bytes));
                serde_json::from_str(&text).map_err(|_| crate::json::syntax(&error))
            })
        });
        failpoint::pass("parse");
        match line {
            Ok(Line::Hello(hello)) => self.hello(*hello).await?,
            Ok(Line::Overrides(overrides)) => match &mut self.early {
                Some(early) => early.overrides = overrides,
                None => self.configure_anew(overrides).await,
            },
            Ok(Line::Run(run)) => {
                self.release().await?;
                self.run = Arc::new(self.wrapping.adopt(run));
                self.mask_run();
            }
            Ok(Line::Play(mut play)) => {
                self.vars.note_play(&mut play);
                self.release().await?;
                self.plays.insert(play.id.clone(), Arc::new(play.play()));
            }
            Ok(Line::Host(host)) => self.vars.note_host(host),
            Ok(Line::Task(task)) => {
                self.tasks.insert(task.id.clone(), Arc::new(task));
            }
            Ok(Line::Event(event)) => self.event(event, cut).await?,
            Ok(Line::Runner(record)) => self.runner_record(&record, line_number, cut).await?,
            Ok(Line::End(end)) => {
                self.release().await?;
                self.progress.note_end(&end);
            }
            Err(reason) => self.reject(record.line, &reason),
        }
        Ok(())
    }

    fn reject(&mut self, line: usize, reason: &str) {
        self.rejected += 1;
        if self.rejected == 1 {
            stderr::say(format!(
                "line {line} of the stream is not a record: {reason}"
            ));
        }
    }

    async fn hello(&mut self, hello: Hello) -> Result<(), Exit> {
        self.wrapping.begin(&hello.run);
        self.run = Arc::new(self.wrapping.adopt(hello.run));
        if let Some(runner) = hello.runner {
            if emitters::are_set(&runner.emitters) {
                self.search.runner = Some(runner.settings);
            }
            self.search.here = false;
            self.emitters = runner.emitters;
            self.runner = Some(EventParser::of_runner(self.run.clone(), runner.environment));
        }
        if let Some(resumed) = hello.resumed {
            self.resume(resumed);
        }
        if self.runner.is_none() {
            // Sent before anything slow: the first play waits for it.
            self.answer_config();
        }
        if hello.early {
            self.early = Some(Early {
                overrides: hello.overrides,
                events: Vec::new(),
            });
            return Ok(());
        }
        self.begin(hello.overrides).await
    }

    async fn begin(&mut self, overrides: Overrides) -> Result<(), Exit> {
        self.configure(overrides).await?;
        self.answer_ready();
        Ok(())
    }

    /// Handles the records held back for the variables of the first play, once these are known or will not
    /// come.
    async fn release(&mut self) -> Result<(), Exit> {
        if let Some(early) = self.early.take() {
            self.begin(early.overrides).await?;
            for (event, cut) in early.events {
                self.event(event, cut).await?;
            }
        }
        Ok(())
    }

    /// Loads the configuration with the overrides of the play's vars. Deliveries in progress keep the old
    /// one.
    async fn configure(&mut self, overrides: Overrides) -> Result<(), Exit> {
        if self.overrides.as_ref() == Some(&overrides) {
            return Ok(());
        }
        // Events read so far belong to the old destinations.
        self.accept().await;
        let is_later = self.overrides.is_some();
        let options = Options {
            search: self.search.clone(),
            overrides: overrides.clone(),
            emitters: self.emitters.clone(),
            ..Options::default()
        };
        let config = crate::command::load(&options, self.deliverer.http()).inspect_err(|_| {
            stderr::say("this run is not reported; run `ansible-notify check-config`");
        })?;
        crate::command::report_troubles(&config);
        let starts = self.overrides.is_none() && !self.progress.resumed;
        if self.arguments.strict && starts && !config.problems.is_empty() {
            return Err(Exit::Config);
        }
        self.generation = overrides.generation.max(self.generation + 1);
        let run = format!("{}/{}", self.run.id, self.generation);
        self.overrides = Some(overrides);
        self.drain = config.drain;
        self.mask(config.masks.clone());
        self.deliverer
            .shared
            .open(|| crate::command::open_spool(&config));
        self.deliverer.spool().gather(true);
        self.deliverer.prune(config.keep);
        self.deliverer.show_alive();
        self.deliverer
            .record(config.recording, config.page.clone(), config.keep_runs);
        self.deliverer.label(&config.labels);
        self.destinations.clear();
        let mut thresholds = Vec::new();
        self.expectations.known.clear();
        for destination in config.destinations {
            let key = destination.key(&options.search, &run);
            let times = destination.rules.thresholds;
            self.expect(&destination, &key).await;
            let number = self.deliverer.add(destination, key).await;
            self.destinations.push(number);
            thresholds.push((number, times));
        }
        if self.alerts.set(thresholds) && is_later {
            self.answer_ready();
        }
        Ok(())
    }

    /// Applies the settings of a later play. If they are wrong, pending deliveries continue.
    async fn configure_anew(&mut self, overrides: Overrides) {
        if self.configure(overrides).await.is_err() {
            self.destinations.clear();
            // Any later overrides must differ from this.
            self.overrides = Some(Overrides {
                generation: u64::MAX,
                ..Overrides::default()
            });
        }
    }

    async fn event(&mut self, record: EventRecord, cut: bool) -> Result<(), Exit> {
        if let Some(early) = &mut self.early {
            if record.play.is_none() && early.events.len() < MOST_EARLY {
                early.events.push((record, cut));
                return Ok(());
            }
            Box::pin(self.release()).await?;
        }
        if self.overrides.is_none() {
            self.configure(Overrides::default()).await?;
        }
        let mut event = Event::new(record.event.clone(), self.run.clone(), record.seq);
        event.time = from_seconds(record.time).unwrap_or(event.time);
        event.changed = record.changed;
        event.ignored = record.ignored;
        event.truncated = record.truncated || cut;
        event.duration = record.duration;
        let play = record.play.as_ref().and_then(|id| self.plays.get(id));
        event.play = play.cloned();
        let task = record.task.as_ref().and_then(|id| self.tasks.get(id));
        event.task = task.map(|task| record.as_run(task));
        if let Some(item) = record.item {
            let short = bulk::cut(item.get(), bulk::MAX_ITEM);
            event.truncated |= short.is_some();
            let item = short.as_deref().unwrap_or(item.get());
            event.item = serde_json::from_str(item).ok();
        }
        event.host = record.host;
        self.vars.add_to(&mut event, record.play.as_deref());
        event.result = record.result;
        if let Some(masks) = &self.masks {
            masks.apply(&mut event);
        }
        event.strip();
        self.loops.note(&mut event);
        self.note_begun(&event).await;
        self.note(record.seq, event);
        Ok(())
    }

    /// Turns a record of ansible-runner into an event of this run.
    async fn runner_record(
        &mut self,
        record: &RunnerRecord,
        line: usize,
        cut: bool,
    ) -> Result<(), Exit> {
        let Some(reader) = &mut self.runner else {
            self.reject(
                line,
                "it comes from ansible-runner, but `hello` did not announce that",
            );
            return Ok(());
        };
        let text = record.record.get();
        let read = reader.read(text.as_bytes());
        // Content nested more deeply than the parser accepts is left out.
        match read.or_else(|_| reader.read(shallow(text).as_bytes())) {
            Ok(mut event) => {
                if let (None, Some(_)) = (&self.run.playbook, &event.run.playbook) {
                    self.run = event.run.clone();
                }
                event.run = self.run.clone();
                event.id = format!("{}-{}", self.run.id, record.seq);
                if event.event.is_of_run() {
                    event.time = from_seconds(record.time).unwrap_or(event.time);
                }
                event.truncated |= cut;
                self.errors.note(&event);
                if event.end.is_some() {
                    self.end_alerts().await;
                    self.progress.ended = true;
                    self.note_command().await;
                }
                if let Some(end) = &event.end {
                    let status = end.status;
                    let counted = self.progress.is_counted();
                    let end = self.errors.last_record(counted, end.reason.as_deref());
                    self.progress.note_end(&end);
                    let before = self.end_run(status).await;
                    self.progress.complete(&mut event, status, before);
                    self.mask_end(&mut event);
                    self.note_success(status).await;
                }
                self.note_begun(&event).await;
                self.note(record.seq, event);
            }
            Err(reason) => self.reject(line, &reason),
        }
        Ok(())
    }

    fn note(&mut self, sequence: u64, event: Event) {
        self.progress.note(&event);
        self.alerts.note(&event, sequence, self.progress.resumed);
        self.last_sequence = sequence;
        self.batch_bytes += event.size();
        self.batch.push((sequence, event));
    }
}

/// Returns the signal when its grace period is over.
async fn leaving(asked: Option<(i32, Instant)>) -> Option<i32> {
    let (signal, until) = asked?;
    tokio::time::sleep_until(until).await;
    Some(signal)
}

/// Waits until a time; None if there is none.
async fn reached(due: Option<std::time::Instant>) -> Option<()> {
    tokio::time::sleep_until(due?.into()).await;
    Some(())
}

/// Writes an answer; ignores errors, because the plugin may be gone.
fn answer(answer: &Value) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{answer}").and_then(|()| output.flush());
}
