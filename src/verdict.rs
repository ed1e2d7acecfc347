//! What an attempt means for its delivery.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::spool::MarkOutcome;

pub enum Verdict {
    /// Whether it ended a time of failures.
    Delivered {
        reopened: bool,
    },
    Retry {
        due: Instant,
        error: String,
        /// The age at which it is given up.
        most: Duration,
        /// How many are tried as one then.
        together: usize,
    },
    Dead(String),
}

impl Verdict {
    /// Whether what began at this time has had too long for another attempt.
    pub fn is_too_old(&self, since: Timestamp) -> bool {
        let age = Timestamp::now().duration_since(since);
        matches!(self, Verdict::Retry { most, .. } if age.is_positive() && age.unsigned_abs() > *most)
    }

    /// The end of the delivery, where it has failed for too long for another attempt.
    pub fn unless_too_old(self, since: Timestamp) -> Verdict {
        match self {
            Verdict::Retry { error, most, .. } if self.is_too_old(since) => {
                Verdict::Dead(format!("given up after {most:?}: {error}"))
            }
            verdict => verdict,
        }
    }

    /// As the spool records it, with what is to be noted beside a success.
    pub fn outcome(&self, note: Option<String>) -> MarkOutcome {
        match self {
            Verdict::Delivered { .. } => MarkOutcome::Delivered(note),
            Verdict::Dead(error) => MarkOutcome::Dead(error.clone()),
            Verdict::Retry { due, error, .. } => {
                let wait = due.saturating_duration_since(Instant::now()).as_millis();
                let at = Timestamp::now().as_millisecond() + i64::try_from(wait).unwrap_or(0);
                MarkOutcome::Retry(at, error.clone())
            }
        }
    }
}
