//! The subcommands, one file each, and what they share.

pub mod check_config;
pub mod init;
pub mod receive;
pub mod send;
pub mod stream;
pub mod test;

use crate::config::section::Problem;
use crate::config::{Config, Options};
use crate::exit::Exit;
use crate::http::Http;
use crate::report;

/// The configuration, if it is good; else all its problems are said, and the exit code is given.
pub fn load(options: &Options, http: &Http) -> Result<Config, Exit> {
    Config::load(options, http).usable().map_err(|problems| {
        report_problems(&problems);
        Exit::Config
    })
}

fn report_problems(problems: &[Problem]) {
    for problem in problems {
        report::say(problem);
    }
}

/// The numbers of the named destinations, all of them without a name; unknown names are said.
pub fn select(config: &Config, names: &[String]) -> Result<Vec<bool>, Exit> {
    let known = || {
        config
            .destinations
            .iter()
            .map(|destination| destination.name.as_str())
    };
    for name in names {
        if !known().any(|known| known == name) {
            let list: Vec<&str> = known().collect();
            report::say(format!(
                "there is no notifier `{name}`; there are: {}",
                list.join(", ")
            ));
            return Err(Exit::Usage);
        }
    }
    Ok(known()
        .map(|known| names.is_empty() || names.iter().any(|name| name == known))
        .collect())
}
