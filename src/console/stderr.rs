//! The one way to standard error: secrets masked, control characters made visible, one line a message.

use std::fmt::Display;
use std::io::Write as _;

use crate::console::progress;
use crate::secret;
use crate::text::visible;

/// Says `message` to the person who runs the program.
pub fn say(message: impl Display) {
    let text = secret::redact(&message.to_string());
    let line = format!("ansible-notify: {}\n", visible(&text));
    // Nobody is left to tell when standard error itself is closed.
    progress::beside(|| drop(std::io::stderr().write_all(line.as_bytes())));
}

/// Returns an error and what caused it on one line, without a cause that only repeats the one before it.
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
        // The other way round, as rusqlite has it.
        let error = anyhow::anyhow!("Error code 778: disk I/O error").context("disk I/O error");
        assert_eq!(causes(&error), "disk I/O error");
        let error = cause.context("the spool");
        assert_eq!(causes(&error), "the spool: Error code 778: disk I/O error");
    }
}
