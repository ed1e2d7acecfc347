//! Secrets of the configurations that wrote to a spool: whatever shows its content masks them.

use std::path::Path;

use super::flush::trust;
use crate::cli;
use crate::config::Options;
use crate::delivery::setup::Config;
use crate::net::http::Http;
use crate::secret;
use crate::spool::{Source, Spool};

/// Reads these configurations, but runs no commands. `stranger` is the project's file if no other names the spool.
pub fn learn(sources: &[Source], stranger: Option<&Path>) {
    for source in sources {
        // What is not trusted, or cannot be read, has sent nothing from here.
        let Some(config) = config_of(source.search.as_deref(), &source.needs, stranger) else {
            continue;
        };
        // A name that is also a part of a URL is no secret.
        for destination in &config.destinations {
            secret::unmask(&destination.name);
        }
    }
}

/// Returns the configuration that wrote to the spool, read without commands; None if it is not trusted.
pub fn config_of(
    search: Option<&str>,
    needs: &[String],
    stranger: Option<&Path>,
) -> Option<Config> {
    let search = search.and_then(super::search_in)?;
    let options = trust::options_with(needs, search, stranger).ok()?;
    let options = Options {
        reads: options.reads.without_commands(),
        ..options
    };
    Some(Config::load(&options, &[], &Http::default()))
}

/// Reads those of the spool that a command shows.
pub async fn learn_of(spool: &Spool, place: &cli::Place) {
    let sources = spool.sources().await.unwrap_or_default();
    learn(&sources, super::only_named_by(place).as_deref());
}
