//! A value of the configuration, and where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::secret::Source;
use crate::system::home;

/// Where a value came from.
#[derive(Clone, Debug)]
pub enum Origin {
    File {
        file: Rc<File>,
        line: usize,
    },
    Environment(&'static str),
    Play,
    /// ansible-runner's settings, given to the run and not in the file.
    Runner,
    /// What is always so where ansible-runner's settings are used.
    DropIn,
}

/// A configuration file that was read.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// Why it must not hold a secret, if so.
    pub exposed: Option<String>,
}

impl Origin {
    /// The value is not there again by itself, when what waits is delivered later.
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

/// Which secrets are read, of those that do not stand in the configuration itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    #[default]
    All,
    /// An inspection runs nothing.
    NoCommands,
    /// What a stranger may have written gets nothing of the user's.
    None,
}

impl Reads {
    pub(super) fn allows(self, source: &Source) -> bool {
        match (self, source) {
            (Reads::All, _) | (_, Source::Inline(_)) => true,
            (Reads::NoCommands, source) => !matches!(source, Source::Command(_)),
            (Reads::None, _) => false,
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

/// A value of the configuration as it may be shown, and where it came from.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    pub section: String,
    pub key: String,
    pub value: String,
    pub place: String,
}

/// What the keys of an address say: of a URL, its scheme, host and port.
pub type Address = BTreeMap<String, String>;

/// The forms in which a secret may be given.
pub(super) const SECRET_FORMS: [&str; 4] = ["", "_file", "_env", "_command"];

/// Why an entry must not be a secret, if so.
pub(super) fn exposed(entry: &Entry) -> Option<&String> {
    match &entry.origin {
        Origin::File { file, .. } => file.exposed.as_ref(),
        _ => None,
    }
}

/// The key without the ending that says how a secret is given.
pub(super) fn family(key: &str) -> &str {
    SECRET_FORMS[1..]
        .iter()
        .find_map(|form| key.strip_suffix(form))
        .unwrap_or(key)
}

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
