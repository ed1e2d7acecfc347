//! `relay init` and `relay status`: what a store outside of the relay lacks, and what waits in it.

use super::answers::counts;
use super::settings::{self, Role, Settings};
use super::store::Place;
use crate::cli::serve::{RelayInit, RelayStatus};
use crate::config::units;
use crate::console::{stderr, stdout};
use crate::exit::Exit;

/// Shows the difference between the store and what the relay needs; with `--apply`, removes it.
pub async fn init(arguments: &RelayInit) -> Exit {
    let prepared = async {
        let settings = settings::load(&arguments.config, Role::Store)?;
        let queue = place(&settings)?.connect("ansible-notify relay").await;
        let lines = queue.map_err(said)?.prepare(arguments.apply).await;
        lines.map_err(said)
    };
    let lines = match prepared.await {
        Ok(lines) => lines,
        Err(exit) => return exit,
    };
    for line in &lines {
        stdout::print(format!("{line}\n"));
    }
    match (lines.is_empty(), arguments.apply) {
        (true, _) => stdout::print("the store is as it has to be\n"),
        (false, true) => stdout::print("done\n"),
        (false, false) => {
            stdout::print("nothing was changed; with --apply, all of this is done\n");
            return Exit::Config;
        }
    }
    Exit::Ok
}

/// Shows how much waits in the store.
pub async fn status(arguments: &RelayStatus) -> Exit {
    let asked = async {
        let settings = settings::load(&arguments.config, Role::Store)?;
        let queue = place(&settings)?.open("ansible-notify relay").await;
        queue.map_err(said)?.backlog().await.map_err(said)
    };
    let backlog = match asked.await {
        Ok(backlog) => backlog,
        Err(exit) => return exit,
    };
    if arguments.json {
        stdout::print(format!("{}\n", counts(&backlog)));
        return Exit::Ok;
    }
    let age = backlog.oldest.map(units::duration);
    let age = age.map_or_else(String::new, |age| format!(", the oldest for {age}"));
    stdout::print(format!(
        "{}{age}; {} given out again; {}\n",
        backlog.waiting(),
        backlog.redelivered,
        backlog.aside()
    ));
    Exit::Ok
}

fn said(error: anyhow::Error) -> Exit {
    stderr::say(format!("{error:#}"));
    Exit::Io
}

fn place(settings: &Settings) -> Result<&Place, Exit> {
    settings.place.as_ref().ok_or_else(|| {
        stderr::say("the relay stores events in its spool, which needs no preparation; set `store` in [relay]");
        Exit::Config
    })
}
