//! `send`: events from files to the notifiers that want them.

use std::io::{IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::sync::Arc;

use tokio::task::LocalSet;

use crate::cli;
use crate::config::{Config, Options};
use crate::deliver::Deliverer;
use crate::destination::Destination;
use crate::event::Event;
use crate::exit::Exit;
use crate::http::Http;
use crate::progress;
use crate::reader::Reader;
use crate::records::{Record, Records};
use crate::report;
use crate::template::Context;

/// Events that are accepted together.
const BATCH: usize = 100;

pub async fn run(arguments: cli::Send) -> Exit {
    let options = Options {
        search: arguments.configuration.search(),
        may_prompt: std::io::stderr().is_terminal(),
        ..Options::default()
    };
    let http = Http::default();
    let config = match super::load(&options, &http) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let selected = match super::select(&config, &arguments.notifier) {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let mut input = Input::new();
    if arguments.dry_run {
        let mut chosen = selected.into_iter();
        let destinations: Vec<Destination> = config
            .destinations
            .into_iter()
            .filter(|_| chosen.next().unwrap_or(false))
            .collect();
        for file in &arguments.files {
            input
                .read(file, async |event| preview(event, &destinations))
                .await;
        }
        return input.exit;
    }
    LocalSet::new()
        .run_until(deliver(&arguments, config, selected, http, input))
        .await
}

async fn deliver(
    arguments: &cli::Send,
    config: Config,
    selected: Vec<bool>,
    http: Http,
    mut input: Input,
) -> Exit {
    let drain = config.drain;
    let deliverer = Deliverer::new(http);
    deliverer.open(|| super::open_spool(&config));
    deliverer.prune(config.keep);
    let search = arguments.configuration.search();
    let mut destinations = Vec::new();
    for (destination, selected) in config.destinations.into_iter().zip(selected) {
        if selected {
            let key = destination.key(&search, input.reader.run());
            destinations.push(deliverer.add(destination, key).await);
        }
    }
    if !arguments.quiet {
        let counted = deliverer.clone();
        progress::show(move || counted.own_progress());
    }
    let mut intake = Intake {
        deliverer: &deliverer,
        destinations,
        batch: Vec::new(),
        events: 0,
        wanted: 0,
    };
    for file in &arguments.files {
        input
            .read(file, async |event: Event| intake.add(event).await)
            .await;
    }
    intake.flush().await;
    let (events, unwanted) = (intake.events, intake.events - intake.wanted);
    let told = (!arguments.quiet && events > 0).then_some(events);
    let exit = deliverer.close(deliverer.drain(drain), told).await;
    if told.is_some() && unwanted > 0 {
        report::say(format!(
            "{unwanted} of them no notifier wants; see `on` and `when`"
        ));
    }
    match input.exit {
        Exit::Ok => exit,
        input => input,
    }
}

/// Gathers events, so that many of them are one commit.
struct Intake<'a> {
    deliverer: &'a Deliverer,
    destinations: Vec<usize>,
    batch: Vec<(u64, Event)>,
    events: u64,
    wanted: u64,
}

impl Intake<'_> {
    async fn add(&mut self, event: Event) {
        self.events += 1;
        self.batch.push((self.events, event));
        if self.batch.len() == BATCH {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.wanted += self.deliverer.accept(batch, &self.destinations).await;
    }
}

/// Prints each request that an event would cause.
fn preview(event: Event, destinations: &[Destination]) {
    let event = Arc::new(event);
    let context = Context::new(event.clone());
    let mut output = std::io::stdout().lock();
    let mut wanted = false;
    for destination in destinations
        .iter()
        .filter(|destination| destination.rules.want(&context))
    {
        wanted = true;
        let message = destination.message(vec![event.clone()]);
        let text = match destination.notifier.preview(&message) {
            Ok(text) => text,
            Err(failure) => failure.error().to_owned(),
        };
        // A reader that has gone away, such as `head`, wants no more.
        let _ = writeln!(
            output,
            "# {} ({})\n{text}\n",
            destination.name, destination.kind.name
        );
    }
    if !wanted {
        report::say(format!(
            "no notifier wants event {} ({}); see `on` and `when`",
            event.id, event.event
        ));
    }
}

/// Reads events from files and says what is wrong with them.
pub struct Input {
    reader: Reader,
    pub exit: Exit,
}

impl Input {
    pub fn new() -> Input {
        Input {
            reader: Reader::new(),
            exit: Exit::Ok,
        }
    }

    /// Hands every event of a file to `accept`; what is no event is said and counted.
    pub async fn read(&mut self, path: &Path, mut accept: impl AsyncFnMut(Event)) {
        let name = if path == Path::new("-") {
            "standard input".to_owned()
        } else {
            path.display().to_string()
        };
        let mut file: Box<dyn Read> = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            match std::fs::File::open(path) {
                Ok(file) => Box::new(file),
                Err(error) => {
                    return self.fail(Exit::NoInput, format!("{name}: cannot be read: {error}"));
                }
            }
        };
        let mut records = Records::default();
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => records.feed(&piece[..length]),
                Err(error) => {
                    return self.fail(Exit::NoInput, format!("{name}: cannot be read: {error}"));
                }
            }
            while let Some(record) = records.next() {
                self.take(&name, record, &mut accept).await;
            }
        }
        records.finish();
        while let Some(record) = records.next() {
            self.take(&name, record, &mut accept).await;
        }
    }

    async fn take(&mut self, name: &str, record: Record, accept: &mut impl AsyncFnMut(Event)) {
        let event = record.content.and_then(|bytes| {
            self.reader
                .read(&bytes)
                .map_err(|reason| format!("{reason} ({} bytes)", bytes.len()))
        });
        match event {
            Ok(mut event) => {
                event.truncated |= record.truncated;
                accept(event).await;
            }
            Err(reason) => self.fail(
                Exit::InvalidEvent,
                format!("{name}:{}: {reason}", record.line),
            ),
        }
    }

    fn fail(&mut self, exit: Exit, text: String) {
        report::say(text);
        self.exit = exit;
    }
}
