//! A notifier that cannot deliver: the reason, and the fate of its events.

use super::problem::{Harm, Problem};

/// Reason why a notifier cannot deliver now.
pub struct Trouble {
    /// The worst problem, and the number of others.
    pub reason: String,
    harm: Harm,
}

impl Trouble {
    /// Summarises the problems of a notifier; None if there are none.
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

    /// Returns true if it is unknown which events the notifier should receive.
    pub fn is_unclear(&self) -> bool {
        self.harm == Harm::Rules
    }

    /// Returns a short reason, for use after the full one was printed.
    pub fn in_short(&self) -> &str {
        match self.harm {
            Harm::Unread => &self.reason,
            _ => "its section has a mistake",
        }
    }

    /// Returns true if only a change of the configuration fixes it.
    pub fn is_mistake(&self) -> bool {
        self.harm != Harm::Unread
    }

    /// Returns the reason, with the fate of the events of the notifier `name`.
    pub fn said_of(&self, name: &str) -> String {
        let reason = &self.reason;
        match self.harm {
            Harm::Rules => format!("{reason}; `{name}` receives no events until this is fixed"),
            Harm::Unread => {
                format!("{reason}; deliveries to `{name}` stay pending until it can be read")
            }
            _ => format!("{reason}; deliveries to `{name}` stay pending until this is fixed"),
        }
    }
}
