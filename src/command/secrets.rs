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
        let Some(search) = source.search.as_deref().and_then(super::search_in) else {
            continue;
        };
        // What is not trusted, or cannot be read, has sent nothing from here.
        let Ok(options) = trust::options_with(&source.needs, search, stranger) else {
            continue;
        };
        let options = Options {
            reads: options.reads.without_commands(),
            ..options
        };
        let config = Config::load(&options, &[], &Http::default());
        // A name that is also a part of a URL is no secret.
        for destination in &config.destinations {
            secret::unmask(&destination.name);
        }
    }
}

/// Reads those of the spool that a command shows.
pub async fn learn_of(spool: &Spool, place: &cli::Place) {
    let sources = spool.sources().await.unwrap_or_default();
    learn(&sources, super::only_named_by(place).as_deref());
}
