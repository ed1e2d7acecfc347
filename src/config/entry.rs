//! A value of the configuration, and where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::secret::Source;
use crate::system::home;

/// Origin of a value.
#[derive(Clone, Debug)]
pub enum Origin {
    File {
        file: Rc<File>,
        line: usize,
    },
    Environment(&'static str),
    Play,
    /// Settings of ansible-runner passed to the run, not in the file.
    Runner,
    /// Fixed values used with ansible-runner's settings.
    DropIn,
}

/// A configuration file that was read.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// Reason why it must not hold a secret, if so.
    pub exposed: Option<String>,
}

impl Origin {
    /// Returns true if the value may be absent when pending deliveries are sent later.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Origin::File { .. } | Origin::DropIn)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line } => write!(formatter, "{}:{line}", file.path.display()),
            Origin::Environment(name) => formatter.write_str(name),
            Origin::Play => formatter.write_str("the play's vars"),
            Origin::Runner | Origin::DropIn => formatter.write_str("ansible-runner's settings"),
        }
    }
}

/// Secrets to read, apart from those written in the configuration itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    #[default]
    All,
    /// An inspection runs no commands.
    NoCommands,
    /// A file that somebody else may have written gets none of the user's secrets.
    None,
    /// A notifier that is muted needs none.
    Muted,
}

impl Reads {
    /// Returns the same for an inspection, which runs no commands.
    pub fn without_commands(self) -> Reads {
        match self {
            Reads::All => Reads::NoCommands,
            reads => reads,
        }
    }

    /// Returns true if a secret may be read from this source.
    pub(super) fn allows(self, source: &Source) -> bool {
        match (self, source) {
            (Reads::All, _) | (_, Source::Inline(_)) => true,
            (Reads::NoCommands, source) => !matches!(source, Source::Command(_)),
            (Reads::None | Reads::Muted, _) => false,
        }
    }
}

/// A key with its value.
#[derive(Clone)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// A value of the configuration in a form that may be shown, and its origin.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    pub section: String,
    pub key: String,
    pub value: String,
    pub place: String,
}

/// Values of the address keys; a URL is reduced to scheme, host and port.
pub type Address = BTreeMap<String, String>;

/// Suffixes of a key, one for each way to give a secret.
pub(super) const SECRET_FORMS: [&str; 4] = ["", "_file", "_env", "_command"];

/// Returns why an entry must not be a secret, if so.
pub(super) fn exposed(entry: &Entry) -> Option<&String> {
    match &entry.origin {
        Origin::File { file, .. } => file.exposed.as_ref(),
        _ => None,
    }
}

/// Returns the key without the suffix for the way a secret is given.
pub(super) fn family(key: &str) -> &str {
    SECRET_FORMS[1..]
        .iter()
        .find_map(|form| key.strip_suffix(form))
        .unwrap_or(key)
}

/// Returns a path as meant: `~/` is the home directory, and a relative path starts at the file that names it.
pub(super) fn resolve(path: &str, origin: &Origin) -> PathBuf {
    let expanded = match (path.strip_prefix("~/"), home::directory()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    };
    match origin {
        Origin::File { file, .. } => file
            .path
            .parent()
            .map_or(expanded.clone(), |folder| folder.join(&expanded)),
        _ => expanded,
    }
}
