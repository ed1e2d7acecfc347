//! Reach of a destination: every run of its configuration, or those with the same settings from outside.

use std::fmt;

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use serde::{Serialize, Serializer};

/// Number of a destination in the spool; negative for one that the spool does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DestinationId(pub i64);

/// Runs that share a destination. The play's vars and the environment may change a notifier; their values are
/// not stored, only a hash of the address and user, by which the same ones are recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All runs: the files alone configure it.
    #[default]
    Configured,
    /// One run, by its id.
    Run {
        id: String,
        /// None in a spool of a version that did not store it.
        addressee: Option<String>,
    },
    /// All runs whose environment gives the same credentials, by their hash.
    Environment {
        credentials: String,
        /// None in a spool of a version that did not store it.
        addressee: Option<String>,
    },
}

/// Beginning of the stored text for [`Scope::Environment`].
const ENVIRONMENT: &str = "environment ";

/// Text before the hash of the address and user.
const AT: &str = " at ";

impl Scope {
    /// Returns the hash of the address and user that the events were accepted for.
    pub fn addressee(&self) -> Option<&str> {
        match self {
            Scope::Configured => None,
            Scope::Run { addressee, .. } | Scope::Environment { addressee, .. } => {
                addressee.as_deref()
            }
        }
    }
}

/// Writes the text that the spool stores.
impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Configured => {}
            Scope::Run { id, .. } => formatter.write_str(id)?,
            Scope::Environment { credentials, .. } => {
                write!(formatter, "{ENVIRONMENT}{credentials}")?;
            }
        }
        match self.addressee() {
            Some(addressee) => write!(formatter, "{AT}{addressee}"),
            None => Ok(()),
        }
    }
}

/// Reads the stored text; every text is one that [`fmt::Display`] writes again.
impl From<&str> for Scope {
    fn from(text: &str) -> Scope {
        if text.is_empty() {
            return Scope::Configured;
        }
        let (scope, addressee) = match text.rsplit_once(AT) {
            Some((scope, addressee)) => (scope, Some(addressee.to_owned())),
            None => (text, None),
        };
        match scope.strip_prefix(ENVIRONMENT) {
            Some(credentials) => Scope::Environment {
                credentials: credentials.to_owned(),
                addressee,
            },
            None => Scope::Run {
                id: scope.to_owned(),
                addressee,
            },
        }
    }
}

impl From<i64> for DestinationId {
    fn from(number: i64) -> DestinationId {
        DestinationId(number)
    }
}

impl ToSql for DestinationId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for DestinationId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<DestinationId> {
        i64::column_result(value).map(DestinationId)
    }
}

impl ToSql for Scope {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_text_is_written_again() {
        let run = |id: &str, addressee: Option<&str>| Scope::Run {
            id: id.to_owned(),
            addressee: addressee.map(str::to_owned),
        };
        let environment = |credentials: &str, addressee: Option<&str>| Scope::Environment {
            credentials: credentials.to_owned(),
            addressee: addressee.map(str::to_owned),
        };
        for (text, scope) in [
            ("", Scope::Configured),
            ("r-1", run("r-1", None)),
            ("r-1/2 at ab12", run("r-1/2", Some("ab12"))),
            ("at noon at ab12", run("at noon", Some("ab12"))),
            (" at ", run("", Some(""))),
            ("environment cd34", environment("cd34", None)),
            (
                "environment cd34 at ab12",
                environment("cd34", Some("ab12")),
            ),
        ] {
            assert_eq!(Scope::from(text), scope, "{text}");
            assert_eq!(scope.to_string(), text);
        }
    }
}
