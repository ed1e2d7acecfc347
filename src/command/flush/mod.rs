//! `flush`: delivers the pending events in the spool, with the settings of each event's own project.

mod due;
pub mod environment;
mod missing;
pub mod trust;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};

use crate::cli;
use crate::config::Options;
use crate::config::emitters;
use crate::config::entry::Reads;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::console::progress;
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::destination::{Destination, variable};
use crate::delivery::setup::Config;
use crate::delivery::tally::Counts;
use crate::exit::Exit;
use crate::net::http::Http;
use crate::secret::Answers;
use crate::spool::DestinationId;
use crate::spool::{self, DestinationStatus, Spool};
use due::{Due, Stamp, stamp};
use environment::{not_stored, unset};
use trust::{is_all_of, of_stranger};

use crate::command::unclaimed::{self, Unclaimed};
use crate::command::{belongs_to, search_of};

/// Interval at which `--watch` looks for new destinations.
const WATCH: Duration = Duration::from_secs(2);
/// Time of consecutive spool failures after which the rest is left for later.
const HOPELESS: Duration = Duration::from_secs(3);
/// Delay before an unreadable secret is tried again.
const UNREAD: Duration = Duration::from_secs(300);

/// Runs `flush`: delivers what is due in the spool, and waits until nothing is left to try.
pub async fn run(arguments: cli::Flush) -> Exit {
    let spool = match open(&arguments) {
        Ok(Some(spool)) => spool,
        Ok(None) => {
            stderr::say(Counts::default().told(&[]));
            return Exit::Ok;
        }
        Err(exit) => return exit,
    };
    let result = LocalSet::new().run_until(flush(&arguments, &spool)).await;
    result.unwrap_or_else(|error| super::spool_failed(&error))
}

/// Opens the spool, if it exists. With `--watch` it is created, as nothing may have been sent yet.
fn open(arguments: &cli::Flush) -> Result<Option<Spool>, Exit> {
    let folder = match super::find_spool(&arguments.place)? {
        None if arguments.watch => Some(super::spool_folder(&arguments.place)?),
        found => found,
    };
    folder.as_deref().map(super::open_for_commands).transpose()
}

async fn flush(arguments: &cli::Flush, spool: &Spool) -> anyhow::Result<Exit> {
    let known = spool.status().await?;
    // With `--watch`, events may still arrive for a notifier that is not known yet.
    if !arguments.watch
        && let Err(exit) = super::check_known(&arguments.notifier, &known)
    {
        return Ok(exit);
    }
    let deliverer = Deliverer::new(Http::default());
    deliverer.shared.open(|| spool.clone());
    let mut flush = Flush {
        arguments,
        spool,
        deliverer,
        added: HashMap::new(),
        waiting: 0,
        unread: Vec::new(),
        unclaimed: Unclaimed::default(),
        loaded: Vec::new(),
        stranger: super::only_named_by(&arguments.place),
        exit: Exit::Ok,
    };
    flush.revive(&known).await?;
    flush.expect().await?;
    flush.report_missing().await?;
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

struct Flush<'a> {
    arguments: &'a cli::Flush,
    spool: &'a Spool,
    deliverer: Rc<Deliverer>,
    /// Destinations already examined, with the state of their configuration then.
    added: HashMap<DestinationId, Stamp>,
    /// Number of deliveries pending for them.
    waiting: usize,
    /// Destinations with an unreadable secret, and when it was last tried.
    unread: Vec<(Instant, DestinationId)>,
    unclaimed: Unclaimed,
    /// Configurations read in this round, with the destinations that no worker has yet: several destinations
    /// may be of one, and its commands for secrets run only once.
    loaded: Vec<(Options, Config)>,
    /// The project's file, if no other names the spool: somebody else may have put both there.
    stranger: Option<PathBuf>,
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

    /// Returns true if a user is waiting who can fix problems.
    fn is_attended(&self) -> bool {
        !self.arguments.watch && !self.arguments.due
    }

    fn is_chosen(&self, status: &DestinationStatus) -> bool {
        let named = &self.arguments.notifier;
        let is_named = named.is_empty() || named.contains(&status.name);
        let file = self.arguments.place.config.as_deref();
        is_named && file.is_none_or(|file| belongs_to(status, file))
    }

    /// Makes dead deliveries pending again if `--dead` is given, and held ones if `--held` is, and ends pauses if a user is waiting:
    /// `--watch` and timers have time, a user wants an attempt now.
    async fn revive(&self, known: &[DestinationStatus]) -> anyhow::Result<()> {
        let now = self.is_attended();
        let dead = self.arguments.dead;
        for status in known {
            if self.is_chosen(status) && (dead || status.waiting > 0) {
                if dead {
                    self.spool.revive(status.id).await?;
                }
                if self.arguments.held {
                    while !self.spool.release(status.id, i64::MAX).await?.is_empty() {}
                }
                if now {
                    self.spool.probe(status.id).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns the destinations, after repairing wrong counts.
    async fn status(&self) -> anyhow::Result<Vec<DestinationStatus>> {
        let found = self.spool.status().await?;
        for wrong in found.iter().filter(|status| status.is_miscounted).cloned() {
            stderr::say(format!(
                "{}: its counts in the spool were wrong; recounted from its deliveries",
                wrong.name
            ));
            self.spool.mend(wrong).await?;
        }
        Ok(found)
    }

    /// Starts a worker for every destination with pending deliveries, and restarts it if its configuration
    /// changed.
    async fn add_destinations(&mut self) -> anyhow::Result<()> {
        for (_, id) in self
            .unread
            .extract_if(.., |(since, _)| since.elapsed() > UNREAD)
        {
            self.added.remove(&id);
        }
        let known = self.status().await?;
        let mut due: Vec<Due> = Vec::new();
        for status in &known {
            if !self.is_chosen(status) || status.waiting == 0 {
                continue;
            }
            let Some(search) = search_of(status) else {
                self.bury(status).await?;
                continue;
            };
            let stamp = stamp(&search);
            match self.added.insert(status.id, stamp.clone()) {
                Some(known) if known == stamp => continue,
                // Cached results about it may be outdated.
                Some(_) => {
                    self.deliverer.retire(status.id);
                    self.spool.probe(status.id).await?;
                }
                None => self.waiting += usize::try_from(status.owed()).unwrap_or(0),
            }
            if let Some(options) = self.options(status, search) {
                Due::add(&mut due, options, status);
            }
        }
        self.start(due, &known).await;
        self.loaded.clear();
        self.unclaimed.say();
        Ok(())
    }

    /// Starts the workers of these destinations, each configuration as soon as its commands for secrets have
    /// ended: a slow one holds up no other.
    async fn start(&mut self, due: Vec<Due<'_>>, known: &[DestinationStatus]) {
        let mut asking = JoinSet::new();
        for (at, due) in due.iter().enumerate() {
            let commands = self.commands(&due.options);
            asking.spawn_local(async move { (at, Answers::of(commands).await) });
        }
        while let Some(asked) = asking.join_next().await {
            let Ok((at, answers)) = asked else { continue };
            let Due { options, of } = &due[at];
            answers.used_by(|| {
                of.iter()
                    .for_each(|status| self.add(status, options, known))
            });
        }
    }

    /// Returns the commands for secrets in a configuration. One that has none is loaded with this.
    fn commands(&mut self, options: &Options) -> Vec<Vec<String>> {
        if options.reads != Reads::All {
            return Vec::new();
        }
        let inspected = Options {
            reads: Reads::NoCommands,
            ..options.clone()
        };
        let config = Config::load(&inspected, &[], self.deliverer.http());
        let commands = config.commands();
        if let (true, Ok(config)) = (commands.is_empty(), config.usable()) {
            self.loaded.push((options.clone(), config));
        }
        commands
    }

    /// Returns how to load a destination's settings again, if they may be used.
    fn options(&mut self, status: &DestinationStatus, search: Search) -> Option<Options> {
        self.unread.retain(|(_, id)| *id != status.id);
        self.unclaimed.remove(status.id);
        if let (Some(file), true) = (unclaimed::missing_file(&search), status.own) {
            self.skip(status, unclaimed::address_is_gone(&file, &status.name));
            return None;
        }
        match trust::options(status, search, self.stranger.as_deref()) {
            Ok(options) => Some(options),
            Err(reason) => {
                self.pass_over(status, &reason, Exit::Config);
                None
            }
        }
    }

    /// Loads a destination's settings and starts its worker.
    fn add(&mut self, status: &DestinationStatus, options: &Options, known: &[DestinationStatus]) {
        let mut config = match self.load(options, &status.name) {
            Ok(config) => config,
            Err(problems) => {
                let gone = unclaimed::missing_file(&options.search);
                if let Some(file) = gone.filter(|_| options.search.config.is_some()) {
                    return self.skip(status, unclaimed::address_is_gone(&file, &status.name));
                }
                problems.iter().for_each(stderr::say);
                // The destination may exist only with those variables.
                let missing = unset(status);
                let reason = match missing.is_empty() || options.search.runner.is_some() {
                    true => "its configuration has a problem".to_owned(),
                    false => not_stored(&missing),
                };
                return self.pass_over(status, &reason, Exit::Config);
            }
        };
        let Some(found) = config.position(&status.name) else {
            return self.report_absent(status, &options.search, &config);
        };
        let destination = config.destinations.swap_remove(found);
        self.loaded.push((options.clone(), config));
        if let Some(file) = &self.stranger
            && !is_all_of(&destination.section, file)
        {
            return self.pass_over(status, &of_stranger(file), Exit::Config);
        }
        if let Some(reason) = self.lacks(status, &options.search, &destination, known) {
            return self.pass_over(status, &reason, Exit::Undelivered);
        }
        if let (true, Some(file)) = (status.own, options.search.file())
            && !destination.section.is_addressed_by(&file)
        {
            let reason = unclaimed::address_is_elsewhere(&file, &status.name);
            return self.skip(status, reason);
        }
        match &destination.trouble {
            Some(trouble) => {
                self.unread.push((Instant::now(), status.id));
                let exit = match trouble.is_mistake() {
                    true => Exit::Config,
                    false => Exit::Undelivered,
                };
                self.pass_over(status, &trouble.reason, exit);
            }
            None => self.deliverer.start(destination, status.id),
        }
    }

    /// Reads a configuration, unless one is there already with a destination of this name.
    fn load(&mut self, options: &Options, name: &str) -> Result<Config, Vec<Problem>> {
        let has_it = |(known, config): &(Options, Config)| {
            known == options && config.position(name).is_some()
        };
        match self.loaded.iter().position(has_it) {
            Some(at) => Ok(self.loaded.swap_remove(at).1),
            None => Config::load(options, &[], self.deliverer.http()).usable(),
        }
    }

    /// Reports a destination that is missing from its configuration.
    fn report_absent(&mut self, status: &DestinationStatus, search: &Search, config: &Config) {
        if let Some(file) = &search.runner {
            let reason = emitters::how_to_name(&status.name, file);
            return self.pass_over(status, &reason, Exit::Undelivered);
        }
        match unset(status)[..] {
            [] => self.skip(status, unclaimed::not_there(config, &status.name)),
            // The destination may exist only with those variables.
            ref missing => self.pass_over(status, &not_stored(missing), Exit::Config),
        }
    }

    /// Returns the variables to set so that the events go to their original destination, if any are missing
    /// or changed.
    fn lacks(
        &self,
        status: &DestinationStatus,
        search: &Search,
        destination: &Destination,
        known: &[DestinationStatus],
    ) -> Option<String> {
        let section = &destination.section;
        let given: HashSet<&str> = section.passing().map(|entry| entry.key.as_str()).collect();
        let needs = status.needs.iter().map(String::as_str);
        let missing: Vec<&str> = needs.filter(|key| !given.contains(key)).collect();
        if !missing.is_empty() {
            return Some(match &search.runner {
                Some(file) => emitters::how_to_name(&status.name, file),
                None => not_stored(&missing),
            });
        }
        let meant = self.is_meant(status, destination, known);
        (!meant).then(|| {
            let variables: Vec<String> = section
                .addressed()
                .map(|entry| entry.origin.to_string())
                .collect();
            format!(
                "{} had another value when they were accepted; restore that value",
                variables.join(", ")
            )
        })
    }

    /// Returns true if the variables give the address and user that the events were accepted for. If all
    /// pending events were accepted for the same ones, a user may send them elsewhere.
    fn is_meant(
        &self,
        status: &DestinationStatus,
        destination: &Destination,
        known: &[DestinationStatus],
    ) -> bool {
        let Some(accepted_for) = status.scope.addressee() else {
            return true;
        };
        let attended = self.is_attended();
        let others = known.iter().filter(|other| {
            let alike = (&other.search, &other.name) == (&status.search, &status.name);
            alike && other.waiting > 0
        });
        let alone = others
            .filter_map(|other| other.scope.addressee())
            .all(|other| other == accepted_for);
        destination.section.addressee() == accepted_for || attended && alone
    }

    /// Gives up the deliveries of a destination whose record in the spool is unreadable.
    async fn bury(&self, status: &DestinationStatus) -> anyhow::Result<()> {
        let reason = "its destination in the spool cannot be read";
        let buried = self.spool.bury_all(status.id, reason).await?;
        stderr::say(format!(
            "{}: gave up {buried} deliveries: {reason}",
            status.name
        ));
        Ok(())
    }

    /// Skips deliveries that no notifier claims. A timer cannot help them, so they do not make it fail.
    fn skip(&mut self, status: &DestinationStatus, reason: String) {
        if self.is_attended() {
            self.exit = Exit::Config;
        }
        self.unclaimed.add(status, reason);
    }

    fn pass_over(&mut self, status: &DestinationStatus, reason: &str, exit: Exit) {
        self.exit = exit;
        unclaimed::say_skipped(&status.name, status.waiting, reason);
    }

    /// Delivers what can be delivered now, until a signal stops it.
    async fn settle(&self) -> anyhow::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            () = self.deliverer.settle() => {}
            () = self.spool.fails_for(HOPELESS) => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }

    /// Keeps delivering until a signal stops it.
    async fn watch(&mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                () = tokio::time::sleep(WATCH) => self.look().await?,
            }
        }
    }

    /// Looks for new destinations. If another process holds the spool, waits for it.
    async fn look(&mut self) -> anyhow::Result<()> {
        let looked = match self.report_missing().await {
            Ok(()) => self.add_destinations().await,
            failed => failed,
        };
        match looked {
            Err(error) if matches!(error.downcast_ref(), Some(spool::Error::Held(_))) => {
                self.deliverer.shared.complain(&format!("spool: {error:#}"));
                Ok(())
            }
            looked => looked,
        }
    }

    async fn finish(&self) -> anyhow::Result<Exit> {
        let recorded = self.deliverer.stop().await;
        progress::hide();
        recorded?;
        let done = self.deliverer.done();
        let mut left = self.status().await?;
        left.retain(|status| self.is_chosen(status));
        let counts = done.with_pending(&left);
        let owed = left.iter().filter(|status| status.owed() > 0);
        let needed: Vec<Vec<String>> = owed
            .map(|status| status.needs.iter().map(|key| variable(key)).collect())
            .collect();
        let mut text = counts.told(&needed);
        let reasons: Vec<String> = left
            .iter()
            .filter(|status| status.owed() > 0)
            .filter_map(|status| Some(format!("{}: {}", status.name, self.reason(status)?)))
            .collect();
        if !reasons.is_empty() {
            text.push_str(&format!(" ({})", reasons.join("; ")));
        }
        stderr::say(text);
        left.retain(|status| !self.unclaimed.contains(status.id));
        let owed = left.iter().any(|status| status.owed() > 0);
        let is_late = owed || self.is_attended() && counts.waiting > 0;
        Ok(match (self.exit, done.dead, is_late) {
            (Exit::Ok, 0, false) => Exit::Ok,
            (Exit::Ok, 0, true) => Exit::Undelivered,
            (Exit::Ok, _, _) => Exit::Refused,
            (exit, _, _) => exit,
        })
    }

    /// Returns why deliveries are still pending for a destination.
    fn reason(&self, status: &DestinationStatus) -> Option<String> {
        if self.deliverer.delivers_elsewhere(status.id) {
            let leader = self.spool.leader(status.id);
            return Some(leader.filter(|leader| leader.is_stopped).map_or_else(
                || "another process delivers them and was asked to retry now".to_owned(),
                |leader| format!("{leader} is responsible for delivering them"),
            ));
        }
        status.last_error.clone()
    }
}
