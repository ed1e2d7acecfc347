//! `send`: delivers events from files to the notifiers that want them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::SIGINT;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use super::ended::Ends;
use crate::cli;
use crate::config::entry::Reads;
use crate::console::progress;
use crate::console::stderr;
use crate::console::stdout;
use crate::delivery::Deliverer;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::event::Event;
use crate::event::masked::Masks;
use crate::event::parse::EventParser;
use crate::event::runner;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::json::chunks;
use crate::json::splitter::{JsonSplitter, NO_JSON, Record};
use crate::net::http::Http;
use crate::panics;
use crate::spool::Urgency;
use crate::template::context::Context;

/// Limits of a batch of accepted events: number, and approximate size in bytes.
const BATCH: usize = 100;
const BATCH_BYTES: usize = 1 << 20;
/// Mistakes reported per file; further ones are only counted.
const MOST_MISTAKES: usize = 10;
/// If no input arrives for this time, the events read so far are accepted.
const PATIENCE: Duration = Duration::from_millis(20);
/// Unknown keys reported per file.
const MOST_UNKNOWN: usize = 10;
/// Practically unlimited.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86400);

/// Runs `send`: reads events from files and delivers them.
pub async fn run(arguments: cli::Send) -> Exit {
    let (names, http) = (&arguments.notifier, Http::default());
    let reads = match arguments.dry_run && !arguments.run_commands {
        true => Reads::NoCommands,
        false => Reads::All,
    };
    let config = match super::load_chosen(&arguments.configuration, names, reads, &http) {
        Ok(config) => config,
        Err(exit) => {
            if exit == Exit::Config {
                stderr::say("no event was sent");
            }
            return exit;
        }
    };
    let mut input = Input::new(&config);
    if arguments.dry_run {
        let mut show = async |event| {
            if let Some(event) = event {
                preview(config.labels.apply(event), &config.destinations);
            }
        };
        for file in &arguments.files {
            input.read(file, &mut show).await;
        }
        input.end_runs(&mut show).await;
        return super::report_mistakes(&config, input.exit);
    }
    LocalSet::new()
        .run_until(deliver(&arguments, config, http, input))
        .await
}

async fn deliver(arguments: &cli::Send, config: Config, http: Http, mut input: Input) -> Exit {
    super::report_troubles(&config);
    let has_mistakes = config.has_mistakes();
    let drain = if arguments.wait {
        FOREVER
    } else {
        config.drain
    };
    let deliverer = Deliverer::new(http);
    deliverer.shared.accepts_only.set(arguments.no_wait);
    deliverer.shared.open(|| super::open_spool(&config));
    deliverer.prune(config.keep);
    deliverer.label(&config.labels);
    let search = arguments.configuration.search();
    let muted = super::muted(&config);
    let is_all = config.destinations.is_empty();
    let mut destinations = Vec::new();
    for destination in config.destinations {
        let key = destination.key(&search, input.reader.run_id());
        destinations.push(deliverer.add(destination, key).await);
    }
    if !arguments.quiet {
        let counted = deliverer.clone();
        progress::show(move || counted.own_progress());
    }
    let mut intake = Intake {
        deliverer: &deliverer,
        destinations,
        batch: Vec::new(),
        bytes: 0,
        events: 0,
        wanted: 0,
    };
    input.interrupt = signal(SignalKind::interrupt()).ok();
    let mut add = async |event| intake.add(event).await;
    for file in &arguments.files {
        input.read(file, &mut add).await;
    }
    input.end_runs(&mut add).await;
    intake.flush().await;
    let (events, unwanted) = (intake.events, intake.events - intake.wanted);
    let told = (!arguments.quiet && events > 0).then_some(events);
    let drained = async {
        let delivered = async {
            if arguments.no_wait {
                // No other process can deliver events that have no place in the spool.
                deliverer.drain_unspooled(drain).await;
            } else {
                deliverer.drain(drain).await;
            }
        };
        if !input.interrupted {
            tokio::select! {
                () = delivered => {}
                () = super::recv_signal(&mut input.interrupt) => input.interrupted = true,
            }
        }
    };
    let exit = deliverer.close(drained, told).await;
    if told.is_some() && unwanted > 0 {
        let reason = match muted {
            Some(muted) if is_all => muted,
            Some(muted) => format!("see `on` and `when`; {muted}"),
            None => "see `on` and `when`".to_owned(),
        };
        let events = if unwanted == 1 { "event" } else { "events" };
        stderr::say(format!("{unwanted} {events} matched no notifier; {reason}"));
    }
    if input.interrupted {
        let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    match input.exit {
        _ if has_mistakes => Exit::Config,
        // With `--no-wait`, accepting the events is enough.
        Exit::Ok if arguments.no_wait && exit == Exit::Undelivered => Exit::Ok,
        Exit::Ok => exit,
        input => input,
    }
}

/// Collects events, so that many of them share one commit.
struct Intake<'a> {
    deliverer: &'a Deliverer,
    destinations: Vec<usize>,
    batch: Vec<(u64, Event)>,
    /// Approximate size of the batch.
    bytes: usize,
    events: u64,
    wanted: u64,
}

impl Intake<'_> {
    /// Adds an event; None means that no more input is available now.
    async fn add(&mut self, event: Option<Event>) {
        let is_all = event.is_none();
        if let Some(event) = event {
            self.events += 1;
            self.bytes += event.size();
            self.batch.push((self.events, event));
        }
        if is_all || self.batch.len() == BATCH || self.bytes >= BATCH_BYTES {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.wanted += self
            .deliverer
            .accept(batch, &self.destinations, Urgency::Now)
            .await;
    }
}

/// Prints each request that an event would cause.
fn preview(event: Event, destinations: &[Destination]) {
    let event = Arc::new(event);
    let context = Context::new(event.clone());
    let mut wanted = false;
    for destination in destinations
        .iter()
        .filter(|destination| destination.rules.want(&context))
    {
        wanted = true;
        let made = panics::caught(|| {
            let message = destination.message(vec![event.clone()]);
            destination.notifier.preview(&message)
        });
        let text = match made.unwrap_or_else(|fault| Err(Failure::Permanent(fault))) {
            Ok(text) => text,
            Err(failure) => failure.error().to_owned(),
        };
        stdout::print(format!(
            "# {} ({})\n{text}\n\n",
            destination.name, destination.kind.name
        ));
    }
    if !wanted {
        stderr::say(format!(
            "event {} ({}) matches no notifier; see `on` and `when`",
            event.id, event.event
        ));
    }
}

/// Reads events from files and reports mistakes.
pub struct Input {
    reader: EventParser,
    masks: Option<Rc<Masks>>,
    /// True if the file comes from ansible-runner.
    of_runner: bool,
    /// First pieces of the file that are not JSON: line and reason.
    text: Vec<(usize, String)>,
    /// Number of such pieces, number of their lines, and the last such line.
    pieces: usize,
    lines: usize,
    last_line: usize,
    /// Number of mistakes in the file so far.
    mistakes: usize,
    /// Unknown keys of the file that were already reported.
    unknown: HashSet<String>,
    ends: Ends,
    pub exit: Exit,
    /// Ctrl-C handler while only the reading is to be interrupted; `interrupted` is true once it happened.
    interrupt: Option<Signal>,
    interrupted: bool,
}

impl Input {
    /// Creates an input that has read nothing yet; its events are masked as configured.
    pub fn new(config: &Config) -> Input {
        let mut reader = EventParser::new();
        reader.mask(config.masks.clone());
        Input {
            reader,
            masks: config.masks.clone(),
            of_runner: false,
            text: Vec::new(),
            pieces: 0,
            lines: 0,
            last_line: 0,
            mistakes: 0,
            unknown: HashSet::new(),
            ends: Ends::default(),
            exit: Exit::Ok,
            interrupt: None,
            interrupted: false,
        }
    }

    /// Passes every event of a file, or of an ansible-runner directory, to `accept`, and None whenever the
    /// input has to be waited for. Invalid events are reported and counted.
    pub async fn read(&mut self, path: &Path, mut accept: impl AsyncFnMut(Option<Event>)) {
        if !path.is_dir() {
            return self.read_file(path, &mut accept).await;
        }
        let files = match job_events(path) {
            Ok(files) => files,
            Err(error) => {
                let text = format!("{}: cannot be read: {error}", path.display());
                return self.fail(Exit::NoInput, text);
            }
        };
        self.ends.open_folder();
        for file in &files {
            let file = folder_of(path).join(&**file);
            if file.is_file() {
                self.read_file(&file, &mut accept).await;
            }
        }
        if !self.ends.close_folder(&artifacts(path)) && files.is_empty() {
            let text = format!("{}: contains no job events", path.display());
            self.fail(Exit::NoInput, text);
        }
    }

    /// Passes on the end events of ansible-runner's runs that the input lacks, after all of it was read.
    pub async fn end_runs(&mut self, mut accept: impl AsyncFnMut(Option<Event>)) {
        if self.interrupted {
            return;
        }
        for mut event in std::mem::take(&mut self.ends).finish(self.reader.run_id()) {
            self.mask_end(&mut event);
            accept(Some(event)).await;
        }
    }

    async fn read_file(&mut self, path: &Path, accept: &mut impl AsyncFnMut(Option<Event>)) {
        if self.interrupted {
            return;
        }
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        self.unknown.clear();
        let mut records = JsonSplitter::default();
        let mut pieces = chunks::read(opening(path.to_owned()));
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                () = super::recv_signal(&mut self.interrupt) => {
                    self.interrupted = true;
                    return;
                }
                () = tokio::time::sleep(PATIENCE) => {
                    accept(None).await;
                    continue;
                }
            };
            match piece {
                None => break,
                Some(Ok(piece)) => {
                    self.ends.read_text(&piece);
                    records.feed(&piece);
                }
                Some(Err(error)) => {
                    return self.fail(Exit::NoInput, format!("{name}: cannot be read: {error}"));
                }
            }
            while let Some(record) = records.next() {
                self.add_record(&name, record, accept).await;
            }
        }
        self.ends.read_text(b"\n");
        records.finish();
        while let Some(record) = records.next() {
            self.add_record(&name, record, accept).await;
        }
        self.judge_text(&name);
    }

    async fn add_record(
        &mut self,
        name: &str,
        record: Record,
        accept: &mut impl AsyncFnMut(Option<Event>),
    ) {
        let bytes = match record.content {
            Ok(bytes) => bytes,
            Err(reason) if reason.starts_with(NO_JSON) => {
                return self.note_text(record.line, reason);
            }
            Err(reason) => return self.reject(name, record.line, &reason),
        };
        if runner::is_frame(&bytes) {
            self.of_runner = true;
            return;
        }
        let (read, length) = (self.reader.read(&bytes), bytes.len());
        // A large record should not stay in memory next to its event.
        drop(bytes);
        match read {
            Ok(mut event) => {
                self.of_runner |= event.run.ident.is_some();
                event.truncated |= record.truncated;
                self.ends.note(&mut event);
                self.mask_end(&mut event);
                for (key, problem) in self.reader.unknown() {
                    if self.unknown.len() < MOST_UNKNOWN && self.unknown.insert(key.to_owned()) {
                        stderr::say(format!("{name}:{}: {problem}", record.line));
                    }
                }
                accept(Some(event)).await;
            }
            Err(reason) => {
                let reason = format!("{reason} ({length} bytes)");
                self.reject(name, record.line, &reason);
            }
        }
    }

    /// Masks the end of a run again: its reason may come from text between the records.
    fn mask_end(&self, event: &mut Event) {
        if let (Some(masks), Some(_)) = (&self.masks, &event.end) {
            masks.apply(event);
        }
    }

    fn note_text(&mut self, line: usize, reason: String) {
        self.pieces += 1;
        if line != self.last_line {
            self.lines += 1;
            self.last_line = line;
        }
        if self.text.len() < MOST_MISTAKES {
            self.text.push((line, reason));
        }
    }

    /// Handles lines that are not JSON: normal among ansible-runner's records, a mistake elsewhere.
    fn judge_text(&mut self, name: &str) {
        let text = std::mem::take(&mut self.text);
        let pieces = std::mem::take(&mut self.pieces);
        let count = std::mem::take(&mut self.lines);
        self.last_line = 0;
        if std::mem::take(&mut self.of_runner) || self.ends.is_only_text() {
            let lines = if count == 1 {
                "line that is"
            } else {
                "lines that are"
            };
            if count > 0 {
                stderr::say(format!("{name}: skipped {count} {lines} not JSON"));
            }
        } else {
            let unsaid = pieces - text.len();
            for (line, reason) in text {
                self.reject(name, line, &reason);
            }
            self.mistakes += unsaid;
        }
        let mistakes = std::mem::take(&mut self.mistakes);
        if mistakes > MOST_MISTAKES {
            stderr::say(format!(
                "{name}: {mistakes} mistakes in total; the first {MOST_MISTAKES} are shown"
            ));
        }
    }

    fn reject(&mut self, name: &str, line: usize, reason: &str) {
        self.mistakes += 1;
        self.exit = Exit::InvalidEvent;
        if self.mistakes <= MOST_MISTAKES {
            stderr::say(format!("{name}:{line}: {reason}"));
        }
    }

    fn fail(&mut self, exit: Exit, text: String) {
        stderr::say(text);
        self.exit = exit;
    }
}

/// Opens an input on the thread that reads it, so that a FIFO without a writer blocks nothing else.
fn opening(path: PathBuf) -> impl FnOnce() -> std::io::Result<Box<dyn Read>> + Send {
    move || match path.to_str() {
        Some("-") => Ok(Box::new(std::io::stdin())),
        _ => Ok(Box::new(std::fs::File::open(path)?)),
    }
}

/// Returns the directory of a run's artifacts; `folder` is that directory or its `job_events`.
fn artifacts(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    if folder.ends_with("job_events") {
        return folder.parent().map_or(folder.clone(), Path::to_owned);
    }
    folder
}

/// Returns the directory of job events: the directory itself, or the one inside it.
fn folder_of(folder: &Path) -> PathBuf {
    let inner = folder.join("job_events");
    if inner.is_dir() {
        inner
    } else {
        folder.to_owned()
    }
}

/// Returns the file names in a directory of job events, in the order of the events.
fn job_events(folder: &Path) -> std::io::Result<Vec<Box<OsStr>>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder_of(folder))? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let counter = stem.and_then(|stem| stem.split_once('-')?.0.parse::<u64>().ok());
        // Ansible's temporary file while an event is being written
        let partial = stem.is_some_and(|stem| stem.ends_with("-partial"));
        if let (Some(counter), false) = (counter, partial) {
            files.push((counter, name.into_boxed_os_str()));
        }
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|(_, name)| name).collect())
}
