//! Consequence of an attempt for its delivery.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::failure::Failure;
use crate::secret;
use crate::spool::DeliveryState;
use crate::text::{characters, cut};

/// Length limit of a stored error, in characters.
const MAX_ERROR: usize = 2000;

/// State of a delivery after an attempt.
pub enum Verdict {
    /// `reopened` if this ended a period of failures.
    Delivered {
        reopened: bool,
    },
    Retry {
        due: Instant,
        error: String,
        /// Age after which it is given up.
        most: Duration,
        /// Number of deliveries to try as one then.
        together: usize,
    },
    /// The receiver did not look at it: nothing is recorded, and this many are sent again at once.
    Untried {
        together: usize,
    },
    Dead(String),
}

impl Verdict {
    /// Returns the state of the delivery after the attempt.
    pub fn state(&self) -> DeliveryState {
        match self {
            Verdict::Delivered { .. } => DeliveryState::Delivered,
            Verdict::Retry { .. } | Verdict::Untried { .. } => DeliveryState::Pending,
            Verdict::Dead(_) => DeliveryState::Dead,
        }
    }

    /// Returns the error of a failure.
    pub fn error(&self) -> Option<&str> {
        match self {
            Verdict::Delivered { .. } | Verdict::Untried { .. } => None,
            Verdict::Retry { error, .. } | Verdict::Dead(error) => Some(error),
        }
    }

    /// Returns the time of the next attempt, in milliseconds since 1970; 0 if there is none.
    pub fn next_at(&self) -> i64 {
        let Verdict::Retry { due, .. } = self else {
            return 0;
        };
        let wait = due.saturating_duration_since(Instant::now()).as_millis();
        Timestamp::now().as_millisecond() + i64::try_from(wait).unwrap_or(0)
    }
}

/// Returns the error of a failure as it is stored: the service's answer may repeat what it was sent, and stored text
/// is not masked later.
pub fn stored(failure: &Failure) -> String {
    let error = secret::redact(failure.error());
    cut(&error, MAX_ERROR, characters).into_owned()
}

/// Returns the time from the first to the last of these times, in milliseconds since 1970, counting each
/// step as `most` at most: during a longer one nobody tried, or the clock was set.
pub fn time_between(times: &[i64], most: Duration) -> Duration {
    let steps = times.windows(2).map(|pair| {
        let step = u64::try_from(pair[1].saturating_sub(pair[0]));
        Duration::from_millis(step.unwrap_or(0)).min(most)
    });
    steps.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_counts_for_little() {
        let hour = 3_600_000;
        let most = Duration::from_secs(3960);
        let between = |times: &[i64]| time_between(times, most).as_secs();
        assert_eq!(between(&[]), 0);
        assert_eq!(between(&[5]), 0);
        assert_eq!(between(&[0, hour, 2 * hour]), 7200);
        assert_eq!(
            between(&[0, 1000, 1000 * hour, 1000 * hour + 1000]),
            1 + 3960 + 1
        );
        assert_eq!(between(&[1000 * hour, 0, 1000]), 1, "set back");
        assert_eq!(between(&[i64::MIN, i64::MAX]), 3960);
    }
}
