//! The only path to standard error: masks secrets, makes control characters visible, one line per message.

use std::fmt::Display;
use std::io::Write as _;

use crate::console::progress;
use crate::secret;
use crate::text::visible;

/// Prints `message` for the user.
pub fn say(message: impl Display) {
    let text = secret::redact(&message.to_string());
    let line = format!("ansible-notify: {}\n", visible(&text));
    // If standard error itself is closed, there is nowhere to report that.
    progress::beside(|| drop(std::io::stderr().write_all(line.as_bytes())));
}

/// Returns an error and its causes on one line, without a cause that only repeats the one before it.
pub fn causes(error: &anyhow::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let repeats = |last: &String| last.ends_with(&text) || text.ends_with(last.as_str());
        if !texts.last().is_some_and(repeats) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_repeats_an_error_is_said_once() {
        let cause = anyhow::anyhow!("disk I/O error").context("Error code 778: disk I/O error");
        // The other way round, as in rusqlite.
        let error = anyhow::anyhow!("Error code 778: disk I/O error").context("disk I/O error");
        assert_eq!(causes(&error), "disk I/O error");
        let error = cause.context("the spool");
        assert_eq!(causes(&error), "the spool: Error code 778: disk I/O error");
    }
}
