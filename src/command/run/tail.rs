//! The last lines of a command's output, as plain text.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::secret;
use crate::text::{last_part, printable};

/// Bytes kept of the output, with escape sequences.
const KEPT: usize = 256 << 10;
/// Length limit of the text, in bytes.
const TEXT: usize = 64 << 10;

/// End of the output so far.
pub struct Tail {
    bytes: Mutex<VecDeque<u8>>,
    /// Number of lines to keep.
    lines: usize,
}

impl Tail {
    /// Creates an empty one for this number of lines.
    pub fn new(lines: usize) -> Tail {
        Tail {
            bytes: Mutex::default(),
            lines,
        }
    }

    /// Adds output.
    pub fn push(&self, piece: &[u8]) {
        let piece = &piece[piece.len().saturating_sub(KEPT)..];
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = (bytes.len() + piece.len()).saturating_sub(KEPT);
        bytes.drain(..excess);
        bytes.extend(piece);
    }

    /// Returns the last lines, without escape sequences and with secrets masked; None if there are none.
    pub fn text(&self) -> Option<String> {
        let text = text_of(&self.kept(), self.lines);
        (!text.is_empty()).then(|| last_part(&secret::redact(&text), TEXT).to_owned())
    }

    /// Returns all kept output in the same form, to find the reason of a failure; None if no lines are kept.
    pub fn whole(&self) -> Option<String> {
        let text = || secret::redact(&text_of(&self.kept(), usize::MAX));
        (self.lines > 0).then(text)
    }

    fn kept(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = bytes.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Returns the last lines of an output as a terminal leaves them.
fn text_of(output: &str, lines: usize) -> String {
    let shown = |line: &str| {
        // What was printed after the last carriage return overwrote the rest.
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        printable(line).trim_end().to_owned()
    };
    let all: Vec<String> = output.trim_end().lines().map(shown).collect();
    let first = all.len().saturating_sub(lines);
    all[first..].join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_final_state_of_a_terminal() {
        let output = "one\r\n 10%\r 50%\r100%\r\n\u{1b}[0;31mred\u{1b}[0m \r\n\r\n";
        assert_eq!(text_of(output, 200), "one\n100%\nred");
        assert_eq!(text_of(output, 1), "red");
        assert_eq!(text_of("", 200), "");
    }

    #[test]
    fn memory_and_text_are_limited() {
        let tail = Tail::new(usize::MAX);
        for number in 0..200_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!(tail.bytes.lock().unwrap().len(), KEPT);
        let text = tail.text().unwrap();
        assert!(text.len() <= TEXT && text.starts_with("line ") && text.ends_with("line 199999"));
        tail.push(&vec![b'x'; 3 * KEPT]);
        assert_eq!(tail.text().unwrap().len(), TEXT);
    }
}
