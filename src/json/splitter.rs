//! Splits a byte stream into JSON values, one at a time and in bounded memory: NDJSON, an array,
//! pretty-printed or concatenated objects. A broken record does not affect its neighbours.

use std::collections::VecDeque;

use crate::json::depth::Nesting;

/// Size limit of one record, in bytes, after its long strings were cut.
pub const MAX_RECORD: usize = 4 << 20;
/// Strings longer than this are cut, in bytes.
const MAX_STRING: usize = 1 << 20;
/// Length limit of a string in a record that has already used half of its room, in bytes.
const MAX_LATE_STRING: usize = 1 << 10;

/// Beginning of the reason for text that is not JSON at all.
pub const NO_JSON: &str = "is not a JSON object";

/// Record found in the stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// Bytes of one JSON object or array, not yet checked; or why there are none.
    pub content: Result<Vec<u8>, String>,
    /// True if a string in it was cut.
    pub truncated: bool,
}

/// Splits the bytes it is fed into records.
#[derive(Debug)]
pub struct JsonSplitter {
    ready: VecDeque<Record>,
    /// Record being read.
    buffer: Vec<u8>,
    line: usize,
    start_line: usize,
    fed: u64,
    /// True inside the top-level array.
    in_array: bool,
    state: State,
    /// Number of open brackets of the record being read.
    depth: usize,
    /// Last byte outside a string that is not white space.
    significant: u8,
    previous: u8,
    truncated: bool,
    overflow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    /// Text that is not a JSON object or array; its length in bytes.
    Garbage(usize),
    Structure,
    Text(Text),
}

/// A string being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    /// Bytes so far.
    length: usize,
    /// Number of bytes after which it is cut.
    limit: usize,
    /// Number of bytes of an escape sequence still to come; they stay together.
    escape: u8,
    /// True once the rest is being left out.
    cut: bool,
}

impl Default for JsonSplitter {
    fn default() -> Self {
        JsonSplitter {
            ready: VecDeque::new(),
            buffer: Vec::new(),
            line: 1,
            start_line: 1,
            fed: 0,
            in_array: false,
            state: State::Between,
            depth: 0,
            significant: 0,
            previous: b'\n',
            truncated: false,
            overflow: false,
        }
    }
}

impl JsonSplitter {
    /// Takes in the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if byte == b'{'
                && self.state == State::Between
                && let Some(length) = whole_line(rest)
            {
                self.whole(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            let run = match self.state {
                State::Text(Text { escape: 0, .. }) => plain_text(rest),
                State::Structure => plain_structure(rest),
                _ => 0,
            };
            if run > 0 {
                self.plain(&rest[..run]);
                rest = &rest[run..];
            } else {
                self.step(byte);
                rest = &rest[1..];
            }
        }
    }

    /// Ends the stream: an unfinished record is broken.
    pub fn finish(&mut self) {
        match self.state {
            State::Between => {}
            State::Garbage(length) => self.reject_garbage(length),
            State::Structure | State::Text(_) => self.reject("is incomplete"),
        }
    }

    /// Returns the next record, if one is complete.
    pub fn next(&mut self) -> Option<Record> {
        self.ready.pop_front()
    }

    /// Takes a record that is complete from beginning to end.
    fn whole(&mut self, record: &[u8]) {
        self.start_line = self.line;
        self.keep(record);
        self.complete();
        self.fed += record.len() as u64;
    }

    /// Takes a run of bytes that change nothing but the content.
    fn plain(&mut self, run: &[u8]) {
        if let State::Text(mut text) = self.state {
            let room = text.limit.saturating_sub(text.length);
            let kept = if run.len() <= room {
                run.len()
            } else {
                character_border(run, room)
            };
            if !text.cut {
                self.keep(&run[..kept]);
            }
            text.cut |= kept < run.len();
            text.length += run.len();
            self.state = State::Text(text);
        } else {
            if let Some(&last) = run.iter().rev().find(|byte| !byte.is_ascii_whitespace()) {
                self.significant = last;
            }
            self.keep(run);
        }
        self.previous = run[run.len() - 1];
        self.fed += run.len() as u64;
    }

    fn step(&mut self, byte: u8) {
        match self.state {
            State::Between => self.between(byte),
            State::Garbage(length) => self.garbage(byte, length),
            State::Structure => self.structure(byte),
            State::Text(text) => self.text(byte, text),
        }
        if byte == b'\n' {
            self.line += 1;
        }
        self.previous = byte;
        self.fed += 1;
    }

    fn between(&mut self, byte: u8) {
        let byte_order_mark = self.fed < 3 && [0xef, 0xbb, 0xbf][self.fed as usize] == byte;
        match byte {
            _ if byte_order_mark || byte.is_ascii_whitespace() => {}
            b'[' if !self.in_array => self.in_array = true,
            b']' | b',' if self.in_array => self.in_array = byte == b',',
            b'{' | b'[' => {
                self.start_line = self.line;
                self.depth = 0;
                self.state = State::Structure;
                self.structure(byte);
            }
            _ => {
                self.start_line = self.line;
                self.state = State::Garbage(1);
            }
        }
    }

    fn garbage(&mut self, byte: u8, length: usize) {
        let ends_element = self.in_array && matches!(byte, b',' | b']');
        if byte == b'\n' || ends_element {
            self.reject_garbage(length);
            self.between(byte);
        } else {
            self.state = State::Garbage(length + 1);
        }
    }

    fn structure(&mut self, byte: u8) {
        // A line that begins with `{` where no value can begin: the record before it was cut short.
        let starts_anew = byte == b'{' && self.previous == b'\n' && self.depth > 0;
        if starts_anew && !matches!(self.significant, b'[' | b',' | b':') {
            self.reject("is incomplete");
            return self.between(byte);
        }
        self.keep(&[byte]);
        if !byte.is_ascii_whitespace() {
            self.significant = byte;
        }
        match byte {
            b'"' => {
                let late = self.buffer.len() > MAX_RECORD / 2;
                let limit = if late { MAX_LATE_STRING } else { MAX_STRING };
                self.state = State::Text(Text {
                    length: 0,
                    limit,
                    escape: 0,
                    cut: false,
                });
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.complete();
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, byte: u8, mut text: Text) {
        if byte == b'\n' {
            // No string continues past the end of a line: the record before it was cut short.
            return self.reject("is incomplete");
        }
        if text.escape == 0 && byte == b'"' {
            if text.cut {
                self.truncated = true;
                self.keep(format!(" [cut: {} bytes]", text.length).as_bytes());
            }
            self.keep(b"\"");
            self.significant = b'"';
            self.state = State::Structure;
            return;
        }
        // This is a backslash or the byte after one, so it is a character boundary.
        text.cut |= text.escape == 0 && text.length >= text.limit;
        if !text.cut {
            self.keep(&[byte]);
        }
        text.escape = match (text.escape, byte) {
            (0, b'\\') => 1,
            (1, b'u') => 4,
            (left, _) => left.saturating_sub(1),
        };
        text.length += 1;
        self.state = State::Text(text);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > MAX_RECORD {
            self.overflow = true;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn complete(&mut self) {
        if self.overflow {
            return self.reject("is larger than 4 MiB");
        }
        let content = Ok(std::mem::take(&mut self.buffer));
        self.push(content);
    }

    fn reject(&mut self, reason: &str) {
        let reason = format!("{reason} ({} bytes)", self.buffer.len());
        self.push(Err(reason));
    }

    fn reject_garbage(&mut self, length: usize) {
        self.push(Err(format!("{NO_JSON} ({length} bytes)")));
    }

    fn push(&mut self, content: Result<Vec<u8>, String>) {
        self.ready.push_back(Record {
            line: self.start_line,
            content,
            truncated: self.truncated,
        });
        self.buffer.clear();
        self.depth = 0;
        self.truncated = false;
        self.overflow = false;
        self.state = State::Between;
    }
}

/// Returns the length of the object that begins here and fills its line, if that is plain to see: the
/// plugin writes them this way.
fn whole_line(bytes: &[u8]) -> Option<usize> {
    let mut nesting = Nesting::default();
    for (index, &byte) in bytes.iter().enumerate().take(MAX_STRING) {
        if byte == b'\n' {
            return None;
        }
        if nesting.after(byte) == 0 {
            let ends = byte == b'}' && bytes.get(index + 1) == Some(&b'\n');
            return ends.then_some(index + 1);
        }
    }
    None
}

/// Returns how many bytes at the start of `bytes` are ordinary characters of a string.
fn plain_text(bytes: &[u8]) -> usize {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
    bytes.iter().position(special).unwrap_or(bytes.len())
}

/// Returns how many bytes at the start of `bytes` are structure that needs no handling.
fn plain_structure(bytes: &[u8]) -> usize {
    let special = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\n');
    bytes.iter().position(special).unwrap_or(bytes.len())
}

/// Returns the first character boundary at or after `limit`; the end if there is none.
fn character_border(bytes: &[u8], limit: usize) -> usize {
    let begins = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    (limit..bytes.len()).find(begins).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the records found in `input`, fed in pieces of `size` bytes.
    fn split(input: &[u8], size: usize) -> Vec<Record> {
        let mut records = JsonSplitter::default();
        input.chunks(size).for_each(|piece| records.feed(piece));
        records.finish();
        std::iter::from_fn(|| records.next()).collect()
    }

    fn texts(input: &str) -> Vec<(usize, String)> {
        let whole = split(input.as_bytes(), input.len().max(1));
        assert_eq!(
            whole,
            split(input.as_bytes(), 1),
            "the pieces must not matter"
        );
        whole
            .into_iter()
            .map(|record| {
                let text = record
                    .content
                    .map(|bytes| String::from_utf8(bytes).unwrap());
                (
                    record.line,
                    text.unwrap_or_else(|reason| format!("! {reason}")),
                )
            })
            .collect()
    }

    fn expect(input: &str, expected: &[(usize, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, text)| (*line, (*text).to_owned()))
            .collect();
        assert_eq!(texts(input), expected, "{input:?}");
    }

    #[test]
    fn every_form_of_input_gives_its_objects() {
        expect("", &[]);
        expect(
            "\u{feff}\r\n  \n{\"a\":1}\r\n\n{\"b\":2}",
            &[(3, "{\"a\":1}"), (5, "{\"b\":2}")],
        );
        expect(
            "[{\"a\":[1,{}]},\n{\"b\":2}]",
            &[(1, "{\"a\":[1,{}]}"), (2, "{\"b\":2}")],
        );
        expect(
            "{\n\"a\": [\n{\n}\n]\n}\n",
            &[(1, "{\n\"a\": [\n{\n}\n]\n}")],
        );
        expect(
            "{\"a\":[\"\\\\\",{\"b\":\"}\\\"\"}]}\n{\"c\":]}\n",
            &[
                (1, "{\"a\":[\"\\\\\",{\"b\":\"}\\\"\"}]}"),
                (2, "{\"c\":]"),
                (2, "! is not a JSON object (1 bytes)"),
            ],
        );
        expect(
            "{\"a\":1}{\"b\":\"}\\\"{\"}",
            &[(1, "{\"a\":1}"), (1, "{\"b\":\"}\\\"{\"}")],
        );
    }

    #[test]
    fn a_broken_record_costs_only_itself() {
        expect(
            "{\"a\":1\n{\"b\":2}",
            &[(1, "! is incomplete (7 bytes)"), (2, "{\"b\":2}")],
        );
        expect(
            "{\"a\":\"x\n{\"b\":2}",
            &[(1, "! is incomplete (7 bytes)"), (2, "{\"b\":2}")],
        );
        expect(
            "{\"a\":1} x\n{\"b\":2}",
            &[
                (1, "{\"a\":1}"),
                (1, "! is not a JSON object (1 bytes)"),
                (2, "{\"b\":2}"),
            ],
        );
        expect(
            "ERROR! no\n[7, {}]",
            &[
                (1, "! is not a JSON object (9 bytes)"),
                (2, "! is not a JSON object (1 bytes)"),
                (2, "{}"),
            ],
        );
        expect("{\"a\": [", &[(1, "! is incomplete (7 bytes)")]);
    }

    #[test]
    fn a_long_string_is_cut_on_a_character_border() {
        let input = format!(
            "{{\"a\":\"x{}\",\"b\":\"\\u00e9\"}}",
            "é".repeat(MAX_STRING)
        );
        for size in [1, 7, input.len()] {
            let records = split(input.as_bytes(), size);
            assert!(records[0].truncated);
            let text = String::from_utf8(records[0].content.clone().unwrap()).unwrap();
            let mark = format!(" [cut: {} bytes]\",\"b\":\"\\u00e9\"}}", 2 * MAX_STRING + 1);
            assert!(text.ends_with(&mark), "{}", &text[text.len() - 60..]);
            assert!(text.len() < MAX_STRING + 100);
        }
    }

    #[test]
    fn white_space_is_looked_at_once() {
        let mut input = vec![b' '; MAX_STRING];
        input.extend(b"{}\n");
        assert_eq!(split(&input, input.len()).len(), 1);
    }

    #[test]
    fn a_record_without_end_is_bounded() {
        let mut records = JsonSplitter::default();
        for _ in 0..3 * MAX_RECORD / 8 {
            records.feed(b"[\"abc\",7");
        }
        assert!(records.buffer.capacity() <= 2 * MAX_RECORD);
    }
}
