//! Pending deliveries of notifiers that were removed from their configuration, or muted in it: only a
//! change there, or `discard`, can resolve them.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::levels::Search;
use crate::console::stderr;
use crate::spool::DestinationId;
use crate::spool::DestinationStatus;

/// Destinations that no configured notifier claims, by id, each with the reason.
#[derive(Default)]
pub struct Unclaimed {
    reasons: HashMap<DestinationId, String>,
    /// Number of deliveries not reported yet, by notifier and reason.
    unsaid: BTreeMap<(String, String), i64>,
}

impl Unclaimed {
    /// Adds a destination, to be reported with the next call of `say`.
    pub fn add(&mut self, status: &DestinationStatus, count: i64, reason: String) {
        let alike = (status.name.clone(), reason.clone());
        *self.unsaid.entry(alike).or_default() += count;
        self.reasons.insert(status.id, reason);
    }

    /// Forgets a destination, so that it is examined again.
    pub fn remove(&mut self, id: DestinationId) {
        self.reasons.remove(&id);
    }

    /// Returns true if no notifier claims the destination.
    pub fn contains(&self, id: DestinationId) -> bool {
        self.reasons.contains_key(&id)
    }

    /// Reports new ones, on one line per notifier and reason.
    pub fn say(&mut self) {
        for ((name, reason), count) in std::mem::take(&mut self.unsaid) {
            say_skipped(&name, count, &reason);
        }
    }
}

/// Reports that a notifier's pending deliveries are not attempted.
pub fn say_skipped(name: &str, count: i64, reason: &str) {
    let deliveries = if count == 1 { "delivery" } else { "deliveries" };
    stderr::say(format!("{name}: skipping {count} {deliveries}: {reason}"));
}

/// Returns the single file that a stored search names, if it is gone.
pub fn missing_file(search: &Search) -> Option<PathBuf> {
    let file = search.file().filter(|_| search.runner.is_none())?;
    let error = file.symlink_metadata().err()?;
    let is_gone = [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind());
    is_gone.then_some(file)
}

/// Returns the reason for a destination whose address was in a file that is gone.
pub fn address_is_gone(file: &Path, name: &str) -> String {
    format!(
        "{}, which had their address, is missing; restore it, or discard them with `ansible-notify discard --notifier {}`",
        file.display(),
        quoted(name)
    )
}

/// Returns the reason for a destination whose address is no longer in its project's file, although another
/// level has a notifier of that name.
pub fn address_is_elsewhere(file: &Path, name: &str) -> String {
    format!(
        "{} no longer has their address; put it back, or discard them with `ansible-notify discard --notifier {}`",
        file.display(),
        quoted(name)
    )
}

/// Returns the reason why a notifier is missing from a configuration, or that it is muted.
pub fn not_there(muted: &[(String, &str)], name: &str) -> String {
    match muted.iter().any(|(muted, _)| muted == name) {
        true => format!("`{name}` {MUTED}"),
        false => "the notifier is no longer configured".to_owned(),
    }
}

/// State of a notifier with `enabled = false`.
pub const MUTED: &str = "is turned off by `enabled = false`";

/// Quotes a name for a shell.
fn quoted(name: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}
