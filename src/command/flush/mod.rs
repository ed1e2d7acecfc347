//! `flush`: delivers the pending events in the spool, with the settings of each event's own project.

mod due;
pub mod environment;
mod finish;
mod missing;
mod ready;
pub mod trust;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};

use crate::cli;
use crate::config::Options;
use crate::config::levels::Search;
use crate::console::progress;
use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::tally::Counts;
use crate::exit::Exit;
use crate::net::http::Http;
use crate::secret::Answers;
use crate::spool::DestinationId;
use crate::spool::{self, DestinationStatus, Spool};
use due::{Due, Stamp, stamp};

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

/// Opens the spool, if it exists. Creates it for `--watch`, because nothing may have been sent yet, and for
/// playbooks that are expected to run.
fn open(arguments: &cli::Flush) -> Result<Option<Spool>, Exit> {
    let folder = match super::find_spool(&arguments.place)? {
        None if arguments.watch || missing::expects_any(&arguments.place) => {
            Some(super::spool_folder(&arguments.place)?)
        }
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
        revivable: HashMap::new(),
        unread: Vec::new(),
        unclaimed: Unclaimed::default(),
        stranger: super::only_named_by(&arguments.place),
        exit: Exit::Ok,
    };
    flush.prepare(&known).await?;
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
    /// Destinations whose dead or held deliveries become pending once they can be delivered, with the number of
    /// the dead ones.
    revivable: HashMap<DestinationId, i64>,
    /// Destinations with an unreadable secret, and when it was last tried.
    unread: Vec<(Instant, DestinationId)>,
    unclaimed: Unclaimed,
    /// The project's file, if no other names the spool: somebody else may have put both there.
    stranger: Option<PathBuf>,
    exit: Exit,
}

impl Flush<'_> {
    fn show_progress(&self) {
        let (deliverer, all) = (self.deliverer.clone(), self.waiting);
        progress::show(move || {
            let done = deliverer.done();
            (done.delivered + done.sent + done.dead, all)
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

    /// Notes the destinations whose deliveries `--dead` and `--held` make pending. Ends pauses unless `--watch`
    /// or a timer runs: a user wants an attempt now.
    async fn prepare(&mut self, known: &[DestinationStatus]) -> anyhow::Result<()> {
        let (now, dead) = (self.is_attended(), self.arguments.dead);
        for status in known {
            if !self.is_chosen(status) {
                continue;
            }
            if dead || self.arguments.held {
                let dead = if dead { status.dead } else { 0 };
                self.revivable.insert(status.id, dead);
            }
            if now && (dead || status.waiting > 0) {
                self.spool.probe(status.id).await?;
            }
            // In a terminal, that is what every `flush` does.
            let user = self.arguments.by.page_user().filter(|_| !dead);
            if let Some(actor) = user {
                self.spool.note_try(actor, status.id).await?;
            }
        }
        Ok(())
    }

    /// Makes dead deliveries pending again if `--dead` is given, and held ones if `--held` is: only of a destination
    /// to which they can be delivered.
    async fn revive(&mut self, id: DestinationId) -> Result<(), spool::Error> {
        if self.revivable.remove(&id).is_none() {
            return Ok(());
        }
        if self.arguments.dead {
            self.spool.revive(id, self.arguments.by.actor()).await?;
        }
        if self.arguments.held {
            self.release(id).await?;
        }
        Ok(())
    }

    /// Makes all held deliveries of a destination pending.
    async fn release(&self, id: DestinationId) -> Result<(), spool::Error> {
        let mut released = 0;
        loop {
            match self.spool.release(id, i64::MAX).await?.len() {
                0 if released == 0 => return Ok(()),
                0 => break,
                some => released += some,
            }
        }
        let actor = self.arguments.by.actor();
        self.spool.note_release(actor, id, released).await
    }

    /// Returns how many deliveries of a destination are to be delivered: the pending ones, and the dead ones with
    /// `--dead`.
    fn concerned(&self, status: &DestinationStatus) -> i64 {
        status.waiting + self.revivable.get(&status.id).unwrap_or(&0)
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
            let concerned = self.concerned(status);
            if !self.is_chosen(status) || concerned == 0 {
                continue;
            }
            let Some(search) = search_of(status) else {
                if status.waiting > 0 {
                    self.bury(status).await?;
                }
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
                None => {
                    let held = if self.arguments.held { 0 } else { status.held };
                    self.waiting += usize::try_from(concerned - held).unwrap_or(0);
                }
            }
            if let Some(options) = self.options(status, search) {
                Due::add(&mut due, options, status);
            }
        }
        self.start(due, &known).await?;
        self.unclaimed.say();
        Ok(())
    }

    /// Starts the workers of these destinations, each configuration as soon as its commands for secrets have
    /// ended: a slow one holds up no other.
    async fn start(
        &mut self,
        due: Vec<Due<'_>>,
        known: &[DestinationStatus],
    ) -> anyhow::Result<()> {
        let mut asking = JoinSet::new();
        for (at, due) in due.iter().enumerate() {
            match due.load(self.deliverer.http()) {
                Ok(config) => {
                    let commands = due.commands(&config);
                    asking.spawn_local(async move { (at, config, Answers::of(commands).await) });
                }
                Err(problems) => self.report_unusable(due, &problems),
            }
        }
        while let Some(asked) = asking.join_next().await {
            let Ok((at, config, answers)) = asked else {
                continue;
            };
            let Due { options, of } = &due[at];
            let found = due[at].notifiers(config, answers, self.deliverer.http());
            for status in of {
                if let Some(destination) = self.ready(status, &options.search, &found, known) {
                    self.revive(status.id).await?;
                    self.deliverer.start(destination, status.id);
                }
            }
        }
        Ok(())
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
        let count = self.concerned(status);
        self.unclaimed.add(status, count, reason);
    }

    fn pass_over(&mut self, status: &DestinationStatus, reason: &str, exit: Exit) {
        self.exit = exit;
        unclaimed::say_skipped(&status.name, self.concerned(status), reason);
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
}
