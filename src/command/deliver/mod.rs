//! `deliver`: takes the segments that relays have stored, accepts their events into its spool, and delivers them by the
//! configurations of their tenants.

mod partition;
mod server;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::relay::answers::Counts;
use super::relay::settings::{self, Role, Settings, TenantSettings};
use super::relay::spooled::{self, Spooled};
use super::relay::store::{Queue, Store};
use super::relay::tenant::Tenant;
use crate::cli;
use crate::console::stderr;
use crate::exit::Exit;

/// Time for which segments that were taken may still be accepted after a signal.
const FINISH: Duration = Duration::from_secs(30);

/// Runs `deliver` until a signal stops it.
pub async fn run(arguments: cli::serve::Deliver) -> Exit {
    match settings::load(&arguments.config, Role::Deliver) {
        Ok(settings) if arguments.check => settings.list_tenants(),
        Ok(settings) => {
            LocalSet::new()
                .run_until(deliver(settings, arguments))
                .await
        }
        Err(exit) => exit,
    }
}

async fn deliver(settings: Settings, arguments: cli::serve::Deliver) -> Exit {
    let started = async {
        let listener = server::bind(settings.status.as_deref()).await?;
        let queue = match &settings.place {
            Some(place) => place.open("ansible-notify deliver").await,
            None => return Err(Exit::Config),
        };
        let queue = queue.map_err(|error| {
            stderr::say(format!("{error:#}"));
            Exit::Io
        })?;
        let tenants = settings
            .tenants
            .iter()
            .map(TenantSettings::tenant)
            .collect();
        let spooled = spooled::open(settings).await?;
        Ok((listener, Takers::new(queue, tenants, spooled)))
    };
    match started.await {
        Ok((listener, takers)) => takers.run(listener, arguments).await,
        Err(exit) => exit,
    }
}

/// State of the process, shared by all partitions.
pub struct Takers {
    queue: Rc<dyn Queue>,
    tenants: Vec<Tenant>,
    spooled: Rc<Spooled>,
    /// Becomes true when the process is to end.
    stopping: watch::Sender<bool>,
    /// Numbers of segments and events that were accepted.
    accepted: Counts,
    /// Last problem, which is not said again until another one is.
    said: RefCell<String>,
}

impl Takers {
    fn new(queue: Rc<dyn Queue>, tenants: Vec<Tenant>, spooled: Rc<Spooled>) -> Rc<Takers> {
        Rc::new(Takers {
            queue,
            tenants,
            spooled,
            stopping: watch::Sender::new(false),
            accepted: Counts::default(),
            said: RefCell::default(),
        })
    }

    /// Takes segments until a signal; then finishes those that were taken, and the attempts in progress.
    async fn run(
        self: Rc<Self>,
        listener: Option<server::Listener>,
        arguments: cli::serve::Deliver,
    ) -> Exit {
        let mut terminate = signal(SignalKind::terminate()).ok();
        let mut interrupt = signal(SignalKind::interrupt()).ok();
        let partitions = arguments.partitions.0;
        stderr::say(format!("delivers {} partitions", partitions.len()));
        let mut taking = JoinSet::new();
        let first = (arguments.since, arguments.set_aside);
        taking.spawn_local(self.clone().take_all(partitions, first));
        tokio::select! {
            () = server::answer(listener, &self) => {}
            () = self.spooled.tidy() => {}
            () = self.queue.tidy() => {}
            () = super::recv_signal(&mut terminate) => {}
            () = super::recv_signal(&mut interrupt) => {}
        }
        self.stopping.send_replace(true);
        // What is accepted later is in the spool all the same.
        let _ = tokio::time::timeout(FINISH, taking.join_all()).await;
        let _ = self.queue.stop().await;
        match self.spooled.stop().await {
            Ok(()) => Exit::Ok,
            Err(error) => super::spool_failed(&error),
        }
    }

    /// Takes first what is asked for again, then everything new, each partition on its own.
    async fn take_all(self: Rc<Self>, partitions: Vec<u16>, first: (Option<i64>, bool)) {
        let (since, set_aside) = first;
        if set_aside {
            self.until_done(|| self.return_aside()).await;
        }
        if let Some(since) = since {
            self.until_done(|| self.take_since(since, &partitions))
                .await;
        }
        let mut taking = JoinSet::new();
        for number in partitions {
            let this = self.clone();
            taking.spawn_local(async move { this.take_partition(number).await });
        }
        taking.join_all().await;
    }

    /// Says a problem, unless it is the one that was said last.
    fn complain(&self, problem: &anyhow::Error) {
        let text = stderr::causes(problem);
        if *self.said.borrow() != text {
            stderr::say(&text);
            self.said.replace(text);
        }
    }
}
