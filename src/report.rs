//! The one way to standard error: secrets masked, control characters made visible, one line a message.

use std::fmt::Display;
use std::io::Write as _;

use crate::progress;
use crate::secret;

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

/// `text` with everything that could steer a terminal written as an escape, line breaks included.
pub fn visible(text: &str) -> String {
    escape(text, |_| false, as_text)
}

/// Like [`visible`], for text of several lines: line breaks and tabs stay.
pub fn visible_lines(text: &str) -> String {
    escape(text, |character| matches!(character, '\n' | '\t'), as_text)
}

/// Like [`visible`], for JSON, which it stays.
pub fn visible_json(text: &str) -> String {
    escape(text, |character| character == '\n', as_json)
}

fn escape(text: &str, keep: fn(char) -> bool, written: fn(u32) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if keep(character) || !steers_terminal(character) {
            shown.push(character);
        } else {
            shown.push_str(&written(character.into()));
        }
    }
    shown
}

fn as_text(code: u32) -> String {
    format!("\\u{{{code:x}}}")
}

fn as_json(code: u32) -> String {
    format!("\\u{code:04x}")
}

/// C0 and C1 controls, and the bidirectional controls that can reorder a line.
pub fn steers_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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

    #[test]
    fn escape_sequences_and_bidi_controls_are_made_visible() {
        assert_eq!(visible("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(visible("a\u{202e}b\nc\u{9b}"), "a\\u{202e}b\\u{a}c\\u{9b}");
        assert_eq!(visible_lines("a\tb\nc\r"), "a\tb\nc\\u{d}");
    }
}
