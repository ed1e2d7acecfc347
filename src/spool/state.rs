//! State of a delivery.

use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;
use serde::{Serialize, Serializer};

/// State of a delivery, with its number in the file. SQL contains the numbers only where an index is limited
/// to them: it is not used for a bound value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeliveryState {
    /// Not attempted yet, or to be retried.
    Pending = 0,
    Delivered = 1,
    /// Failed permanently; `flush --dead` tries again.
    Dead = 2,
    /// Given up by a person, or to make room.
    Discarded = 3,
    /// Pending, but not to be delivered before a certain time.
    Held = 4,
    /// Not delivered, because of its notifier's rules.
    Suppressed = 5,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 6] = [
        DeliveryState::Pending,
        DeliveryState::Delivered,
        DeliveryState::Dead,
        DeliveryState::Discarded,
        DeliveryState::Held,
        DeliveryState::Suppressed,
    ];

    /// Returns the state of a name; None for any other word.
    pub fn named(name: &str) -> Option<DeliveryState> {
        let mut all = DeliveryState::ALL.into_iter();
        all.find(|state| [state.name(), state.key()].contains(&name))
    }

    /// Returns the name in JSON.
    pub fn key(self) -> &'static str {
        match self {
            DeliveryState::Pending => "waiting",
            other => other.name(),
        }
    }

    /// Returns the name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Dead => "dead",
            DeliveryState::Discarded => "discarded",
            DeliveryState::Held => "held",
            DeliveryState::Suppressed => "suppressed",
        }
    }
}

impl TryFrom<i64> for DeliveryState {
    type Error = ();

    fn try_from(number: i64) -> Result<DeliveryState, ()> {
        let mut all = DeliveryState::ALL.into_iter();
        all.find(|state| *state as i64 == number).ok_or(())
    }
}

impl ToSql for DeliveryState {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as u8).into())
    }
}

/// Name of a state that cannot be read.
const UNKNOWN: &str = "unknown";

/// Returns the name of a state that may be unreadable.
pub fn name_of(state: Option<DeliveryState>) -> &'static str {
    state.map_or(UNKNOWN, DeliveryState::name)
}

/// Writes the name of a state that may be unreadable, for JSON.
pub fn serialize<S: Serializer>(
    state: &Option<DeliveryState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    state
        .map_or(UNKNOWN, DeliveryState::key)
        .serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_file() {
        for (number, state) in (0..).zip(DeliveryState::ALL) {
            assert_eq!(DeliveryState::try_from(number), Ok(state));
            assert_eq!(state.to_sql(), Ok(number.into()));
        }
        for number in [-1, 6, 256, i64::MIN] {
            assert_eq!(DeliveryState::try_from(number), Err(()));
        }
    }
}
