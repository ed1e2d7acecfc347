//! A notifier that cannot deliver: why, and what becomes of its events.

use super::problem::{Harm, Problem};

/// Why a notifier cannot deliver now.
pub struct Trouble {
    /// The worst problem, and how many there are beside it.
    pub reason: String,
    harm: Harm,
}

impl Trouble {
    /// The trouble that these problems of a notifier make, if any.
    pub fn of(problems: &[Problem]) -> Option<Trouble> {
        let harm = problems.iter().map(|problem| problem.harm).max()?;
        let worst = problems.iter().find(|problem| problem.harm == harm)?;
        let more = match problems.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more; see `ansible-notify check-config`)"),
        };
        Some(Trouble {
            reason: format!("{worst}{more}"),
            harm,
        })
    }

    /// Which events are meant for it is not known.
    pub fn takes_nothing(&self) -> bool {
        self.harm == Harm::Rules
    }

    /// The reason in few words, where it was said whole.
    pub fn in_short(&self) -> &str {
        match self.harm {
            Harm::Unread => &self.reason,
            _ => "its section has a mistake",
        }
    }

    /// Only a change of the configuration mends it.
    pub fn is_mistake(&self) -> bool {
        self.harm != Harm::Unread
    }

    /// The reason, with what becomes of the events of the notifier `name`.
    pub fn said_of(&self, name: &str) -> String {
        let reason = &self.reason;
        match self.harm {
            Harm::Rules => format!("{reason}; `{name}` takes nothing until it is mended"),
            Harm::Unread => {
                format!("{reason}; what is for this notifier waits until it can be read")
            }
            _ => format!("{reason}; what is for `{name}` waits until it is mended"),
        }
    }
}
