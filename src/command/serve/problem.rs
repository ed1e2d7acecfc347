//! Reasons why something is not shown or done.

use hyper::StatusCode;

use crate::spool::Unseen;

/// Reason why something is not shown, with the status of the answer.
pub struct Problem(pub StatusCode, pub String);

impl From<Unseen> for Problem {
    fn from(unseen: Unseen) -> Problem {
        Problem(StatusCode::SERVICE_UNAVAILABLE, unseen.to_string())
    }
}

/// Returns the problem of a request that makes no sense.
pub fn bad(reason: String) -> Problem {
    Problem(StatusCode::BAD_REQUEST, reason)
}

/// Returns the problem of something that is not there.
pub fn absent(reason: impl Into<String>) -> Problem {
    Problem(StatusCode::NOT_FOUND, reason.into())
}
