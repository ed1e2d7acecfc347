//! The subcommands, one file each, and what they share.

pub mod check_config;
pub mod flush;
pub mod history;
pub mod init;
pub mod receive;
pub mod routes;
pub mod send;
pub mod stream;
pub mod test;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use crate::cli;
use crate::config::section::Problem;
use crate::config::{Config, Options};
use crate::exit::Exit;
use crate::http::Http;
use crate::report;
use crate::spool::{Limits, Spool, default_folder};

/// The configuration, if it is good; else all its problems are said, and the exit code is given.
pub fn load(options: &Options, http: &Http) -> Result<Config, Exit> {
    Config::load(options, http).usable().map_err(|problems| {
        report_problems(&problems);
        Exit::Config
    })
}

/// Says whose secrets cannot be read now.
pub fn report_unread(config: &Config) {
    for problem in &config.problems {
        report::say(format!(
            "{problem}; what is for this notifier waits until `flush` can read it"
        ));
    }
}

/// The spool that the configuration names, or the user's own. Where it cannot be used, events go on
/// from memory.
pub fn open_spool(config: &Config) -> Spool {
    let folder = config.spool.clone().or_else(default_folder);
    let opened = folder
        .ok_or_else(|| anyhow::anyhow!("there is no HOME for the spool; set `spool` in [delivery]"))
        .and_then(|folder| Spool::open(&folder, &config.limits));
    opened.unwrap_or_else(|reason| Spool::unusable(&reason))
}

/// The spool for the commands that ask about it: `--spool`, or the user's own.
pub fn existing_spool(folder: Option<&Path>) -> Result<Spool, Exit> {
    let limits = Limits {
        on_network: true,
        check: true,
        ..Limits::default()
    };
    Spool::open(&spool_folder(folder)?, &limits).map_err(|error| spool_failed(&error))
}

/// Where that spool is.
pub fn spool_folder(folder: Option<&Path>) -> Result<PathBuf, Exit> {
    let folder = folder.map(Path::to_owned).or_else(default_folder);
    folder.ok_or_else(|| {
        spool_failed(&anyhow::anyhow!(
            "there is no HOME for the spool; name it with --spool"
        ))
    })
}

pub fn spool_failed(error: &anyhow::Error) -> Exit {
    report::say(format!("the spool: {error:#}"));
    Exit::Io
}

fn report_problems(problems: &[Problem]) {
    for problem in problems {
        report::say(problem);
    }
}

/// The configuration with the named notifiers alone, all of them without a name; a person at the terminal
/// can be asked for a password.
pub fn load_chosen(
    configuration: &cli::Configuration,
    names: &[String],
    http: &Http,
) -> Result<Config, Exit> {
    let options = Options {
        search: configuration.search(),
        may_prompt: std::io::stderr().is_terminal(),
        ..Options::default()
    };
    let mut config = load(&options, http)?;
    let known: Vec<&str> = config
        .destinations
        .iter()
        .map(|destination| destination.name.as_str())
        .collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        report::say(format!(
            "there is no notifier `{unknown}`; there are: {}",
            known.join(", ")
        ));
        return Err(Exit::Usage);
    }
    config
        .destinations
        .retain(|destination| names.is_empty() || names.contains(&destination.name));
    Ok(config)
}
