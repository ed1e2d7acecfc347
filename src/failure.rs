//! Failure of an attempt, and its consequence for the delivery.

use std::time::Duration;

/// Longest pause that a Retry-After can request.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Result of `check-config --connect`, one line per step.
#[derive(Debug, Default)]
pub struct Check {
    pub steps: Vec<String>,
    pub error: Option<String>,
}

/// Failure of an attempt, and so the consequence for the delivery. Texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another attempt may succeed, not before `after` if the service said so.
    Retry {
        error: String,
        after: Option<Duration>,
    },
    /// The credentials were refused: reading them again may help.
    Denied(String),
    /// The destination says that it is gone for good.
    Gone(String),
    /// The message is too large; a shorter one may pass.
    TooLarge(String),
    /// No attempt will ever succeed.
    Permanent(String),
}

impl Failure {
    /// Creates a failure that another attempt may fix.
    pub fn retry(error: impl Into<String>) -> Failure {
        Failure::Retry {
            error: error.into(),
            after: None,
        }
    }

    /// Creates a failure that no other attempt can fix.
    pub fn permanent(error: impl Into<String>) -> Failure {
        Failure::Permanent(error.into())
    }

    /// Creates the failure of an event that the receiver did not look at, because one before it is wrong: it can be
    /// sent again at once.
    pub fn untried() -> Failure {
        Failure::Retry {
            error: "an event before it was refused".to_owned(),
            after: Some(Duration::ZERO),
        }
    }

    /// Returns true if nothing speaks against sending it again at once.
    pub fn is_untried(&self) -> bool {
        *self == Failure::untried()
    }

    /// Returns the reason as text.
    pub fn error(&self) -> &str {
        match self {
            Failure::Retry { error, .. }
            | Failure::Denied(error)
            | Failure::Gone(error)
            | Failure::TooLarge(error)
            | Failure::Permanent(error) => error,
        }
    }

    /// Returns the same failure, with no attempt before `seconds` have passed if the reply asks for that.
    pub fn not_before(self, seconds: Option<f64>) -> Failure {
        match (self, seconds.and_then(pause)) {
            (Failure::Retry { error, .. }, Some(pause)) => Failure::Retry {
                error,
                after: Some(pause),
            },
            (failure, _) => failure,
        }
    }

    /// Returns the same failure of a part of a message, which it names.
    pub fn of(self, part: &str) -> Failure {
        let error = format!("{part}: {}", self.error());
        self.with_error(error)
    }

    /// Returns the same failure with another text.
    fn with_error(self, error: String) -> Failure {
        match self {
            Failure::Retry { after, .. } => Failure::Retry { error, after },
            Failure::Denied(_) => Failure::Denied(error),
            Failure::Gone(_) => Failure::Gone(error),
            Failure::TooLarge(_) => Failure::TooLarge(error),
            Failure::Permanent(_) => Failure::Permanent(error),
        }
    }

    /// Returns the rank among failures of several recipients: those that may still succeed come first.
    fn rank(&self) -> u8 {
        match self {
            Failure::Retry { .. } => 0,
            Failure::Denied(_) => 1,
            Failure::TooLarge(_) => 2,
            Failure::Gone(_) => 3,
            Failure::Permanent(_) => 4,
        }
    }
}

/// Combines the results of a message to several recipients: Ok if all have it, else the failure that may
/// still be fixed, naming every recipient that failed. Those reached are not tried again.
pub fn outcome(recipients: usize, failures: Vec<(String, Failure)>) -> Result<(), Failure> {
    let text = match failures.as_slice() {
        [] => return Ok(()),
        [(_, failure)] if recipients == 1 => failure.error().to_owned(),
        failures => {
            let each = failures
                .iter()
                .map(|(recipient, failure)| format!("{recipient}: {}", failure.error()));
            let each: Vec<String> = each.collect();
            let count = failures.len();
            format!("{count} of {recipients} not reached: {}", each.join("; "))
        }
    };
    let failures = failures.into_iter().map(|(_, failure)| failure);
    let worst = failures.min_by_key(Failure::rank);
    Err(worst.map_or_else(|| Failure::retry(""), |failure| failure.with_error(text)))
}

/// Returns a pause of this many seconds, an hour at most.
pub fn pause(seconds: f64) -> Option<Duration> {
    seconds
        .is_finite()
        .then(|| Duration::from_secs_f64(seconds.clamp(0.0, MAX_PAUSE.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_mended_decides() {
        assert_eq!(outcome(2, Vec::new()), Ok(()));
        let gone = Failure::permanent("404");
        let busy = Failure::Retry {
            error: "429".into(),
            after: Some(Duration::from_secs(1)),
        };
        assert_eq!(
            outcome(1, vec![("a".into(), gone.clone())]),
            Err(gone.clone())
        );
        let both = outcome(3, vec![("a".into(), gone), ("b".into(), busy)]);
        let expected = Failure::Retry {
            error: "2 of 3 not reached: a: 404; b: 429".into(),
            after: Some(Duration::from_secs(1)),
        };
        assert_eq!(both, Err(expected));
    }
}
