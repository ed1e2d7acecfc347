//! The last lines of a command's output, as text for people.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::event::Status;
use crate::event::ending::Exited;
use crate::secret;
use crate::text::{characters, cut, last_part, printable};

/// Bytes kept of the output, with escape sequences.
const KEPT: usize = 256 << 10;
/// Length limit of the text, in bytes.
const TEXT: usize = 64 << 10;
/// Length limit of a reason, in characters, and the number of its lines.
const REASON: usize = 1000;
const REASON_LINES: usize = 3;

/// Reason of a run that a person ended.
const INTERRUPTED: &str = "interrupted";
/// Ansible's marks of an error.
const MARKS: [&str; 2] = ["ERROR! ", "[ERROR]: "];
/// Beginnings of lines in which other programs report an error.
const BEGINNINGS: [&str; 5] = ["fatal: ", "Error: ", "error: ", "ERROR: ", "FATAL: "];
/// Words in lines that probably report one.
const WORDS: [&str; 8] = [
    "error",
    "fatal",
    "exception",
    "not found",
    "no such file",
    "denied",
    "failed",
    "cannot",
];

/// End of what was printed so far.
pub struct Tail {
    bytes: Mutex<VecDeque<u8>>,
    /// Number of lines to keep.
    lines: usize,
}

impl Tail {
    /// Creates an empty one for so many lines.
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
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = bytes.iter().copied().collect();
        let text = text_of(&String::from_utf8_lossy(&bytes), self.lines);
        (!text.is_empty()).then(|| last_part(&secret::redact(&text), TEXT).to_owned())
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

/// Returns why a command did not succeed.
pub fn reason_of(name: &str, exited: &Exited, output: Option<&str>) -> Option<String> {
    let status = exited.status();
    match &exited.signal {
        _ if status == Status::Success => None,
        Some(signal) if signal == "SIGINT" => Some(INTERRUPTED.to_owned()),
        Some(signal) => Some(format!("`{name}` was ended by {signal}")),
        None if status == Status::Canceled => Some(INTERRUPTED.to_owned()),
        None => {
            let usual = || format!("`{name}` ended with exit code {}", exited.code);
            Some(output.and_then(reason).unwrap_or_else(usual))
        }
    }
}

/// Returns the last error in the output of a command that failed.
fn reason(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().collect();
    let marked = lines.iter().rposition(|line| is_marked(line));
    let raised = lines.iter().rposition(|line| is_exception(line));
    let found = marked.max(raised).or_else(|| {
        let is_likely = |line: &&str| {
            let lower = line.to_lowercase();
            !lower.contains("failed=") && WORDS.iter().any(|word| lower.contains(word))
        };
        lines.iter().rposition(is_likely)
    })?;
    let line = lines[found].trim_start_matches(['╷', '│', ' ']);
    let error = MARKS.iter().find_map(|mark| line.strip_prefix(mark));
    let mut reason = error.unwrap_or(line).trim().to_owned();
    if error.is_some() {
        // A long message continues on the next lines.
        let rest = lines[found + 1..].iter().take(REASON_LINES - 1);
        let is_more = |line: &&&str| !line.trim().is_empty() && !line.starts_with("Origin:");
        for line in rest.take_while(is_more) {
            reason.push(' ');
            reason.push_str(line.trim());
        }
    }
    Some(cut(&reason, REASON, characters).into_owned())
}

fn is_marked(line: &str) -> bool {
    let line = line.trim_start_matches(['╷', '│', ' ']);
    let marks = MARKS.iter().chain(&BEGINNINGS);
    marks.into_iter().any(|mark| line.starts_with(mark)) || line.contains(": error: ")
}

/// Returns true for the last line of a Python traceback.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = |character: char| character.is_alphanumeric() || "._".contains(character);
    name.chars().all(is_name) && (last.ends_with("Error") || last.ends_with("Exception"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_a_terminal_shows_last() {
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

    #[test]
    fn the_reason_is_the_last_error() {
        for (output, expected) in [
            (
                "ERROR! the role 'x' was not found in /srv\n\nThe error appears to be in 'a'",
                Some("the role 'x' was not found in /srv"),
            ),
            (
                "[WARNING]: x\n[ERROR]: the role 'x' was\nnot found\nOrigin: /srv/site.yml:3:5\n",
                Some("the role 'x' was not found"),
            ),
            (
                "usage: ansible-playbook [-h]\nansible-playbook: error: unrecognized arguments: --x",
                Some("ansible-playbook: error: unrecognized arguments: --x"),
            ),
            (
                "Traceback (most recent call last):\n  File \"a\", line 1\nyaml.parser.ParserError: no\n\n",
                Some("yaml.parser.ParserError: no"),
            ),
            (
                "Cloning\nfatal: repository 'x' does not exist\n",
                Some("fatal: repository 'x' does not exist"),
            ),
            (
                "╷\n│ Error: No configuration files\n│ \n│ Apply requires\n╵",
                Some("Error: No configuration files"),
            ),
            ("sh: 1: nope: not found", Some("sh: 1: nope: not found")),
            ("PLAY RECAP\nweb1 : ok=1 failed=0", None),
            ("all is well", None),
        ] {
            assert_eq!(reason(output).as_deref(), expected, "{output}");
        }
    }
}
