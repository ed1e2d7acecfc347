//! The subcommands, one file each, and the code they share.

mod actions;
mod asking;
pub mod check_config;
pub mod completions;
mod config_table;
pub mod deliver;
pub mod demo;
pub mod doctor;
mod drafts;
mod ended;
pub mod flush;
pub mod history;
pub mod import;
pub mod init;
pub mod man;
pub mod mute;
mod orphan;
pub mod receive;
pub mod relay;
mod rendered;
pub mod report;
pub mod routes;
pub mod run;
pub mod runs;
mod secrets;
pub mod send;
pub mod serve;
pub mod status;
pub mod stream;
pub mod test;
mod timing;
mod unclaimed;
mod wrapper;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use tokio::signal::unix::Signal;

use crate::cli;
use crate::config;
use crate::config::Options;
use crate::config::entry::Reads;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::config::trouble::Trouble;
use crate::console::stderr;
use crate::delivery::setup::Config;
use crate::exit::Exit;
use crate::net::http::Http;
use crate::spool::{self, DestinationStatus, Limits, Spool, default_folder};

/// Loads the configuration; if it has problems, reports them all and returns the exit code.
pub fn load(options: &Options, http: &Http) -> Result<Config, Exit> {
    Config::load(options, &[], http)
        .usable()
        .map_err(|problems| {
            report_problems(&problems);
            Exit::Config
        })
}

/// Reports which notifiers cannot deliver now, and harmless problems.
pub fn report_troubles(config: &Config) {
    for trouble in config.troubles(|_| true) {
        stderr::say(format!("warning: {trouble}"));
    }
}

/// Reports which notifiers have a mistake, after an inspection that ended with `exit`.
pub fn report_mistakes(config: &Config, exit: Exit) -> Exit {
    for trouble in config.troubles(Trouble::is_mistake) {
        stderr::say(format!("warning: {trouble}"));
    }
    match config.has_mistakes() {
        true => Exit::Config,
        false => exit,
    }
}

/// Opens the configured spool, or the user's own. If it is unusable, events are delivered from memory; if
/// another process holds it, this lasts until it is released.
pub fn open_spool(config: &Config) -> Spool {
    let Some(folder) = config.spool.clone().or_else(default_folder) else {
        let reason = "no home directory for the spool; set `spool` in [delivery]";
        return Spool::unusable(&anyhow::anyhow!(reason));
    };
    Spool::open(&folder, &config.limits).unwrap_or_else(|error| match error.downcast_ref() {
        Some(held @ spool::Error::Held(_)) => {
            Spool::open_later(&folder, &config.limits, held.clone())
        }
        _ => Spool::unusable(&error),
    })
}

/// Returns the spool's directory for a command: `--spool`, which must exist, or the user's own, if anything
/// was ever sent.
pub fn find_spool(place: &cli::Place) -> Result<Option<PathBuf>, Exit> {
    let folder = spool_folder(place)?;
    if spool::is_in(&folder) {
        return Ok(Some(folder));
    }
    if place.spool.is_some() {
        stderr::say(format!("no spool in `{}`", folder.display()));
        return Err(Exit::NoInput);
    }
    Ok(None)
}

/// Opens a spool for changes, creating it if necessary.
pub fn open_for_commands(folder: &Path) -> Result<Spool, Exit> {
    Spool::open(folder, &limits_for_commands()).map_err(|error| spool_failed(&error))
}

/// Opens the spool for a command that mostly reads, without keeping others from writing; None if there is none.
pub fn open_to_read(place: &cli::Place) -> Result<Option<Spool>, Exit> {
    let folder = find_spool(place)?;
    Ok(folder.map(|folder| Spool::open_to_read(&folder, &limits_for_commands())))
}

fn limits_for_commands() -> Limits {
    Limits {
        on_network: true,
        check: true,
        ..Limits::default()
    }
}

/// Returns the options that are given, for a sentence; empty without any.
pub fn given(options: &[(bool, &str)]) -> String {
    let given = options.iter().filter(|(is_given, _)| *is_given);
    let given: Vec<&str> = given.map(|(_, option)| *option).collect();
    given.join(" and ")
}

/// Returns the spool's directory: as given by `--spool`, or from the configuration that is named or found
/// here.
pub fn spool_folder(place: &cli::Place) -> Result<PathBuf, Exit> {
    let configured = config::spool_of(search_for_spool(place));
    // If a file cannot be read, its spool is unknown.
    if place.config.is_some() && !configured.problems.is_empty() {
        report_problems(&configured.problems);
        return Err(Exit::Config);
    }
    let configured = || configured.folder.or_else(default_folder);
    let folder = place.spool.clone().or_else(configured);
    folder.ok_or_else(|| {
        spool_failed(&anyhow::anyhow!(
            "no home directory for the spool; name it with --spool"
        ))
    })
}

/// Returns the project's file found here, if no other setting names the spool.
pub fn only_named_by(place: &cli::Place) -> Option<PathBuf> {
    let project = config::spool_of(search_for_spool(place)).project;
    project.filter(|_| place.spool.is_none())
}

/// Returns the search of a command for the configuration that names its spool.
fn search_for_spool(place: &cli::Place) -> Search {
    Search {
        config: place.config.clone(),
        here: true,
        ..Search::default()
    }
}

/// Returns the search that finds a destination's configuration, if it is still readable.
pub fn search_of(status: &DestinationStatus) -> Option<Search> {
    search_in(status.search.as_deref()?)
}

fn search_in(text: &str) -> Option<Search> {
    // Without valid JSON, the search would find somebody else's configuration.
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(Search::stored(text))
}

/// Returns true if this file configures a destination: its project's file, or the nearest existing one.
pub fn belongs_to(status: &DestinationStatus, file: &Path) -> bool {
    let (Some(search), Ok(file)) = (search_of(status), std::path::absolute(file)) else {
        return false;
    };
    let nearest = || {
        let (levels, _) = search.levels();
        let mut paths = levels.into_iter().rev().map(|level| level.path);
        paths.find(|path| path.exists())
    };
    let own = search.file().or_else(nearest);
    // The path of a missing file cannot be resolved.
    let real = |path: PathBuf| path.canonicalize().unwrap_or(path);
    own.map(real) == Some(real(file))
}

/// Reports an error of the spool, and returns its exit code.
pub fn spool_failed(error: &anyhow::Error) -> Exit {
    stderr::say(format!("spool: {}", stderr::causes(error)));
    Exit::Io
}

/// Waits for a signal; forever if none is being handled.
pub async fn recv_signal(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn report_problems(problems: &[Problem]) {
    for problem in problems {
        stderr::say(problem);
    }
}

/// Loads the configuration with only the named notifiers, or all if none is named; a user at the terminal
/// can be asked for a password.
pub fn load_chosen(
    configuration: &cli::Configuration,
    names: &[String],
    reads: Reads,
    http: &Http,
) -> Result<Config, Exit> {
    let options = Options {
        search: configuration.search(),
        reads,
        may_prompt: std::io::stderr().is_terminal(),
        ..Options::default()
    };
    let mut config = load(&options, http)?;
    config.withheld.iter().for_each(stderr::say);
    if let Some(muted) = names.iter().find(|name| config.is_muted(name)) {
        stderr::say(format!("`{muted}` {}", unclaimed::MUTED));
        return Err(Exit::Config);
    }
    let known = config.destinations.iter();
    let known = known.map(|destination| destination.name.as_str());
    check_names(names, known, "known notifiers")?;
    let is_chosen = |name: &String| names.is_empty() || names.contains(name);
    config
        .destinations
        .retain(|destination| is_chosen(&destination.name));
    config.muted.retain(|(name, _)| is_chosen(name));
    Ok(config)
}

/// Returns a message with the muted notifiers of a configuration, if any.
pub fn muted(config: &Config) -> Option<String> {
    let names = config.muted.iter().map(|(name, _)| format!("`{name}`"));
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("{name} {}", unclaimed::MUTED)),
        names => Some(format!(
            "{} are turned off by `enabled = false`",
            names.join(", ")
        )),
    }
}

/// Checks that events were sent to each of the named notifiers before; succeeds if nothing was ever sent.
pub fn check_known(names: &[String], known: &[DestinationStatus]) -> Result<(), Exit> {
    if known.is_empty() {
        return Ok(());
    }
    let known = known.iter().map(|status| status.name.as_str());
    check_names(names, known, "notifiers that have had events")
}

/// Reports an unknown name, with the known ones.
fn check_names<'a>(
    names: &[String],
    known: impl Iterator<Item = &'a str>,
    what: &str,
) -> Result<(), Exit> {
    let known: BTreeSet<&str> = known.collect();
    let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) else {
        return Ok(());
    };
    let known: Vec<&str> = known.into_iter().collect();
    let known = match known.as_slice() {
        [] => "none is configured".to_owned(),
        known => format!("{what}: {}", known.join(", ")),
    };
    stderr::say(format!("unknown notifier `{unknown}`; {known}"));
    Err(Exit::Usage)
}
