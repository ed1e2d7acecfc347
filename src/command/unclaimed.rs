//! Deliveries that wait for a notifier which is gone from its configuration, or muted in it: only a change
//! there, or `discard`, can help them.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::config::levels::Search;
use crate::console::stderr;
use crate::delivery::setup::Config;
use crate::spool::DestinationStatus;

/// The destinations that nobody claims, by number, each with the reason.
#[derive(Default)]
pub struct Unclaimed {
    reasons: HashMap<i64, String>,
    /// Those that were not reported yet: how many deliveries, by notifier and reason.
    unsaid: BTreeMap<(String, String), i64>,
}

impl Unclaimed {
    pub fn add(&mut self, status: &DestinationStatus, reason: String) {
        let alike = (status.name.clone(), reason.clone());
        *self.unsaid.entry(alike).or_default() += status.waiting;
        self.reasons.insert(status.id, reason);
    }

    /// Looks at a destination again, as if nothing were known of it.
    pub fn remove(&mut self, id: i64) {
        self.reasons.remove(&id);
    }

    pub fn contains(&self, id: i64) -> bool {
        self.reasons.contains_key(&id)
    }

    /// Reports those that are new, in one line for each notifier and reason.
    pub fn say(&mut self) {
        for ((name, reason), count) in std::mem::take(&mut self.unsaid) {
            let deliveries = match count {
                1 => "delivery",
                _ => "deliveries",
            };
            stderr::say(format!("{name}: skipping {count} {deliveries}: {reason}"));
        }
    }
}

/// The one file that a search from the spool names, where it is gone.
pub fn missing_file(search: &Search) -> Option<PathBuf> {
    let file = search.file().filter(|_| search.runner.is_none())?;
    let error = file.symlink_metadata().err()?;
    let is_gone = [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind());
    is_gone.then_some(file)
}

/// The reason for a destination whose address stood in a file that is gone.
pub fn address_is_gone(file: &Path, name: &str) -> String {
    format!(
        "{} said where to send them, and is gone; restore it, or give them up with `ansible-notify discard --notifier {}`",
        file.display(),
        quoted(name)
    )
}

/// The reason for a destination whose address its project's file does not give any more, though another
/// level has a notifier of that name.
pub fn address_is_elsewhere(file: &Path, name: &str) -> String {
    format!(
        "{} said where to send them, and does not any more; put that back, or give them up with `ansible-notify discard --notifier {}`",
        file.display(),
        quoted(name)
    )
}

/// The reason for a notifier that a configuration lacks, or mutes.
pub fn not_there(config: &Config, name: &str) -> String {
    match config.is_muted(name) {
        true => format!("`{name}` {MUTED}"),
        false => "the notifier is no longer configured".to_owned(),
    }
}

/// The state of a notifier with `enabled = false`.
pub const MUTED: &str = "is muted by `enabled = false`";

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "-_.".contains(character);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}
