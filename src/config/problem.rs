//! Problems of a configuration, and how much each affects.

use std::fmt;

/// A problem of the configuration: place, description and remedy.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Problem {
    pub place: String,
    pub text: String,
    #[serde(skip)]
    pub harm: Harm,
}

/// Extent of a problem, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// The default applies; nothing is lost and nobody is notified by mistake.
    Slight,
    /// A secret of a notifier could not be read, but may be readable later.
    Unread,
    /// The notifier cannot deliver.
    Notifier,
    /// The events that the notifier should receive are unknown.
    Rules,
    /// Nothing can be sent.
    Everything,
}

/// Keys that select the events of a notifier.
const RULES: [&str; 3] = ["on", "when", "check_mode"];

impl Harm {
    /// Returns the harm of a mistake in the value of `key`, or in several words that may be keys.
    pub fn of(key: &str) -> Harm {
        match key.split(' ').any(|word| RULES.contains(&word)) {
            true => Harm::Rules,
            false => Harm::Notifier,
        }
    }
}

impl Problem {
    /// Creates a problem that keeps one notifier from delivering.
    pub fn new(place: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem {
            place: place.into(),
            text: text.into(),
            harm: Harm::Notifier,
        }
    }

    /// Returns it with another harm.
    pub fn with(self, harm: Harm) -> Problem {
        Problem { harm, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.text)
    }
}
