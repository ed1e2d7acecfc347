//! The message of a delivery in the spool, built with the current configuration.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::flush::environment::{not_stored, unset};
use super::flush::trust::{self, is_all_of, of_stranger};
use super::{search_of, unclaimed};
use crate::config::Options;
use crate::delivery::destination::Destination;
use crate::delivery::page::PageAddress;
use crate::delivery::setup::Config;
use crate::failure::Failure;
use crate::message::labels::Labels;
use crate::net::http::Http;
use crate::panics;
use crate::spool::DestinationStatus;

/// Returns the request that would be sent now for this event, with secrets masked, or why none can be shown.
/// Runs no commands. `stranger` is the project's file if no other names the spool.
pub fn now(
    status: &DestinationStatus,
    body: &str,
    stranger: Option<&Path>,
) -> Result<String, String> {
    let destination = destination(status, stranger)?;
    let event = Arc::new(destination.codec().read(body)?);
    let made = panics::caught(|| {
        let message = destination.message(vec![event]);
        destination.notifier.preview(&message)
    });
    let made = made.unwrap_or_else(|fault| Err(Failure::Permanent(fault)));
    made.map_err(|failure| failure.error().to_owned())
}

/// A destination, and what its configuration adds to each event.
pub struct Loaded {
    pub destination: Destination,
    pub labels: Rc<Labels>,
    pub page: Option<PageAddress>,
}

/// Loads the settings of a destination that may be used to show a message.
fn destination(status: &DestinationStatus, stranger: Option<&Path>) -> Result<Destination, String> {
    let destination = load(status, stranger)?.destination;
    match &destination.trouble {
        Some(trouble) => Err(trouble.reason.clone()),
        None => Ok(destination),
    }
}

/// Loads a destination and what its configuration adds to each event. It may be unable to deliver.
pub fn load(status: &DestinationStatus, stranger: Option<&Path>) -> Result<Loaded, String> {
    let search = search_of(status).ok_or("its destination in the spool cannot be read")?;
    if let (Some(file), true) = (unclaimed::missing_file(&search), status.own) {
        return Err(unclaimed::address_is_gone(&file, &status.name));
    }
    let options = trust::options(status, search, stranger)?;
    let options = Options {
        reads: options.reads.without_commands(),
        ..options
    };
    let unset = unset(status);
    let absent = |reason: String| match unset.is_empty() {
        true => reason,
        false => not_stored(&unset),
    };
    let config = Config::load(&options, &[], &Http::default()).usable();
    let mut config = config.map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        absent(first.unwrap_or_default())
    })?;
    let Some(found) = config.position(&status.name) else {
        return Err(absent(unclaimed::not_there(&config.muted, &status.name)));
    };
    let destination = config.destinations.swap_remove(found);
    match stranger {
        Some(file) if !is_all_of(&destination.section, file) => Err(of_stranger(file)),
        _ => Ok(Loaded {
            destination,
            labels: config.labels.clone(),
            page: config.page.clone(),
        }),
    }
}
