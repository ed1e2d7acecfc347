//! `flush`: delivers what waits in the spool, each with the settings of its own project.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::breaker::BREAKER;
use crate::cli;
use crate::config::emitters;
use crate::config::levels::Search;
use crate::config::{Config, Options};
use crate::deliver::Deliverer;
use crate::destination::Destination;
use crate::exit::Exit;
use crate::http::Http;
use crate::progress;
use crate::report;
use crate::spool::{self, DestinationStatus, Spool};

/// How often `--watch` looks for destinations that are new.
const WATCH: Duration = Duration::from_secs(2);
/// After this time it tries to read a secret again.
const UNREAD: Duration = Duration::from_secs(300);

pub async fn run(arguments: cli::Flush) -> Exit {
    let spool = match open(&arguments) {
        Ok(Some(spool)) => spool,
        Ok(None) => {
            report::say("0 delivered, 0 waiting, 0 dead");
            return Exit::Ok;
        }
        Err(exit) => return exit,
    };
    let result = LocalSet::new().run_until(flush(&arguments, &spool)).await;
    result.unwrap_or_else(|error| super::spool_failed(&error))
}

/// The spool, if there is one. Who stays may have begun before anything was sent.
fn open(arguments: &cli::Flush) -> Result<Option<Spool>, Exit> {
    let folder = match super::find_spool(arguments.spool.as_deref())? {
        None if arguments.watch => Some(super::spool_folder(None)?),
        found => found,
    };
    folder.as_deref().map(super::open_for_commands).transpose()
}

async fn flush(arguments: &cli::Flush, spool: &Spool) -> anyhow::Result<Exit> {
    let known = spool.write(spool::status).await?;
    // To one of whom nothing is known yet, something may be sent while somebody stays.
    if !arguments.watch
        && let Err(exit) = super::check_known(&arguments.notifier, &known)
    {
        return Ok(exit);
    }
    let deliverer = Deliverer::new(Http::default());
    deliverer.open(|| spool.clone());
    let mut flush = Flush {
        arguments,
        spool,
        deliverer,
        added: HashMap::new(),
        waiting: 0,
        unread: Vec::new(),
        exit: Exit::Ok,
    };
    flush.revive(&known).await?;
    flush.add_destinations().await?;
    if !arguments.watch {
        flush.show_progress();
    }
    if arguments.watch {
        flush.watch().await?;
    } else {
        flush.settle().await?;
    }
    flush.finish().await
}

/// When each file of a configuration was changed, and its length, where it is there.
type Stamp = Vec<Option<(SystemTime, u64)>>;

struct Flush<'a> {
    arguments: &'a cli::Flush,
    spool: &'a Spool,
    deliverer: Rc<Deliverer>,
    /// The destinations that were looked at, and how their configuration was.
    added: HashMap<i64, Stamp>,
    /// How many waited for them.
    waiting: usize,
    /// Those of which a secret could not be read, and when that was.
    unread: Vec<(Instant, i64)>,
    exit: Exit,
}

impl Flush<'_> {
    fn show_progress(&self) {
        let (deliverer, all) = (self.deliverer.clone(), self.waiting);
        progress::show(move || {
            let done = deliverer.done();
            (done.delivered + done.dead, all)
        });
    }

    fn is_chosen(&self, status: &DestinationStatus) -> bool {
        let named = &self.arguments.notifier;
        named.is_empty() || named.contains(&status.name)
    }

    /// Lets the dead wait again, and ends pauses, as far as that was asked for: whoever stays or comes again
    /// has time, a person who does not wants an attempt now.
    async fn revive(&self, known: &[DestinationStatus]) -> anyhow::Result<()> {
        let now = !self.arguments.watch && !self.arguments.due;
        let dead = self.arguments.dead;
        for status in known {
            if self.is_chosen(status) && (dead || status.waiting > 0) {
                let id = status.id;
                let prepare = move |connection: &rusqlite::Connection| {
                    if dead {
                        spool::revive(connection, id, BREAKER)?;
                    }
                    if now {
                        spool::probe(connection, id, BREAKER)?;
                    }
                    Ok(())
                };
                self.spool.write(prepare).await?;
            }
        }
        Ok(())
    }

    /// Starts a worker for every destination to which something is owed, anew where its configuration was
    /// changed.
    async fn add_destinations(&mut self) -> anyhow::Result<()> {
        for (_, id) in self
            .unread
            .extract_if(.., |(since, _)| since.elapsed() > UNREAD)
        {
            self.added.remove(&id);
        }
        for status in self.spool.write(spool::status).await? {
            if !self.is_chosen(&status) || status.waiting == 0 {
                continue;
            }
            let search: Search = serde_json::from_str(&status.search).unwrap_or_default();
            let stamp = stamp(&search);
            match self.added.insert(status.id, stamp.clone()) {
                Some(known) if known == stamp => continue,
                // What was learnt of it may hold no more.
                Some(_) => {
                    self.deliverer.retire(status.id);
                    let id = status.id;
                    self.spool
                        .write(move |connection| spool::probe(connection, id, BREAKER))
                        .await?;
                }
                None => self.waiting += usize::try_from(status.waiting).unwrap_or(0),
            }
            self.add(&status, search);
        }
        Ok(())
    }

    /// Finds a destination's settings again and starts its worker.
    fn add(&mut self, status: &DestinationStatus, search: Search) {
        self.unread.retain(|(_, id)| *id != status.id);
        let options = Options {
            search,
            ..Options::default()
        };
        let config = match Config::load(&options, self.deliverer.http()).usable() {
            Ok(config) => config,
            Err(problems) => {
                problems.iter().for_each(report::say);
                return self.pass_over(status, "its configuration has a problem", Exit::Config);
            }
        };
        let found = config
            .destinations
            .into_iter()
            .find(|destination| destination.name == status.name);
        let given: HashSet<&str> = found
            .iter()
            .flat_map(|destination| &destination.section.entries)
            .map(|entry| entry.key.as_str())
            .collect();
        let missing: Vec<&str> = status
            .needs
            .split(", ")
            .filter(|key| !key.is_empty() && !given.contains(key))
            .collect();
        match found {
            Some(Destination {
                unread: Some(reason),
                ..
            }) => {
                self.unread.push((Instant::now(), status.id));
                self.pass_over(status, &reason, Exit::Undelivered);
            }
            Some(destination) if missing.is_empty() => {
                self.deliverer.start(destination, status.id);
            }
            _ if options.search.runner.is_some() => {
                let reason = emitters::how_to_name(&status.name);
                self.pass_over(status, reason, Exit::Undelivered);
            }
            None => self.pass_over(status, "it is no more in its configuration", Exit::Config),
            Some(_) => {
                let variables: Vec<String> = missing
                    .iter()
                    .map(|key| format!("ANSIBLE_NOTIFY_{}", key.to_uppercase()))
                    .collect();
                let reason = format!(
                    "the play's vars gave what is not stored; set {}",
                    variables.join(", ")
                );
                self.pass_over(status, &reason, Exit::Undelivered);
            }
        }
    }

    fn pass_over(&mut self, status: &DestinationStatus, reason: &str, exit: Exit) {
        self.exit = exit;
        report::say(format!(
            "{}: {} waiting are passed over: {reason}",
            status.name, status.waiting
        ));
    }

    /// Delivers what can be delivered now, unless somebody asks the process to end.
    async fn settle(&self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            () = self.deliverer.settle() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    /// Stays and delivers, until somebody asks the process to end.
    async fn watch(&mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = tokio::time::sleep(WATCH) => self.add_destinations().await?,
            }
        }
    }

    async fn finish(&self) -> anyhow::Result<Exit> {
        self.deliverer.stop().await;
        progress::hide();
        let done = self.deliverer.done();
        let mut left = self.spool.write(spool::status).await?;
        left.retain(|status| self.is_chosen(status));
        let waiting: i64 = left.iter().map(|status| status.waiting).sum();
        let mut text = format!(
            "{} delivered, {waiting} waiting, {} dead",
            done.delivered, done.dead
        );
        let reasons: Vec<String> = left
            .iter()
            .filter(|status| status.waiting > 0)
            .filter_map(|status| Some(format!("{}: {}", status.name, self.reason(status)?)))
            .collect();
        if !reasons.is_empty() {
            text.push_str(&format!(" ({})", reasons.join("; ")));
        }
        report::say(text);
        Ok(match (self.exit, done.dead, waiting) {
            (Exit::Ok, 0, 0) => Exit::Ok,
            (Exit::Ok, 0, _) => Exit::Undelivered,
            (Exit::Ok, _, _) => Exit::Refused,
            (exit, _, _) => exit,
        })
    }

    /// Why something still waits for a destination.
    fn reason(&self, status: &DestinationStatus) -> Option<String> {
        if self.deliverer.delivers_elsewhere(status.id) {
            return Some("another process delivers them, and was asked to try now".to_owned());
        }
        status.last_error.clone()
    }
}

fn stamp(search: &Search) -> Stamp {
    let (levels, _) = search.levels();
    let look = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    levels.iter().map(|level| look(&level.path)).collect()
}
