//! Members of objects inside a text, as a command prints them: a key in quotes, and the value behind it. The
//! quotes may have any number of backslashes before them, as those of JSON within JSON have.

use std::ops::Range;

/// A quote with the backslashes before it.
#[derive(Clone, Copy, Debug)]
struct Quote {
    /// Place of the first backslash, or of the quote if there is none.
    start: usize,
    /// Place behind the quote.
    end: usize,
    sign: u8,
    backslashes: usize,
}

/// A key in quotes, and the place of its value.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    text: &'a str,
    opening: Quote,
    closing: Quote,
    /// Place of the value.
    pub value: usize,
}

/// The value of a member.
#[derive(Clone, Debug)]
pub struct Value {
    /// Its place, with its quotes.
    pub whole: Range<usize>,
    /// The place of a text within its quotes.
    pub inner: Option<Range<usize>>,
}

/// Finds the members in a text, in order. The time grows with the text only: no key contains another one.
pub struct Members<'a> {
    text: &'a str,
    at: usize,
    /// Quotes that may open a key, by their sign; each has more backslashes than the one before.
    double: Vec<Quote>,
    single: Vec<Quote>,
}

impl<'a> Members<'a> {
    /// Creates a reader at the beginning of a text.
    pub fn new(text: &'a str) -> Members<'a> {
        Members {
            text,
            at: 0,
            double: Vec::new(),
            single: Vec::new(),
        }
    }

    /// Continues behind a value.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        loop {
            let closing = quote_from(self.text, self.at)?;
            self.at = closing.end;
            let open = match closing.sign {
                b'"' => &mut self.double,
                _ => &mut self.single,
            };
            // A quote with fewer backslashes ends the text that those with more are in.
            while open
                .pop_if(|one| one.backslashes > closing.backslashes)
                .is_some()
            {}
            let opening = open.pop_if(|one| one.backslashes == closing.backslashes);
            open.push(closing);
            let is_within = closing.backslashes > 0;
            let colon = skip_blanks(self.text, closing.end, is_within);
            let (Some(opening), true) = (opening, self.text[colon..].starts_with(':')) else {
                continue;
            };
            self.double.clear();
            self.single.clear();
            let value = skip_blanks(self.text, colon + 1, is_within);
            self.at = value;
            return Some(Member {
                text: self.text,
                opening,
                closing,
                value,
            });
        }
    }
}

impl<'a> Member<'a> {
    /// Returns the key as it is written.
    pub fn key(&self) -> &'a str {
        &self.text[self.opening.end..self.closing.start]
    }

    /// Returns the place of the key, with its quotes.
    pub fn start(&self) -> usize {
        self.opening.start
    }

    /// Returns the backslashes before each quote.
    pub fn backslashes(&self) -> &'a str {
        &self.text[self.opening.start..self.opening.end - 1]
    }

    /// Returns the value, if there is one.
    pub fn value(&self) -> Option<Value> {
        let (text, start) = (self.text, self.value);
        if let Some(quote) = quote_at(text, start) {
            let (inner, end) = end_of_text(text, quote);
            return (!self.ends_at(quote)).then_some(Value {
                whole: start..end,
                inner: Some(quote.end..inner),
            });
        }
        let end = match text.as_bytes().get(start)? {
            b'{' | b'[' => self.end_of_brackets(),
            _ => self.end_of_word(),
        };
        (end > start).then_some(Value {
            whole: start..end,
            inner: None,
        })
    }

    /// Returns the value unless it is an object or a list.
    pub fn scalar(&self) -> Option<Value> {
        let is_scalar = !self.text[self.value..].starts_with(['{', '[']);
        is_scalar.then(|| self.value()).flatten()
    }

    /// Returns true if this is the first member of its object.
    pub fn is_first(&self) -> bool {
        let before = &self.text[..self.opening.start];
        trim_blanks(before, self.closing.backslashes > 0).ends_with('{')
    }

    /// Returns true if the next member of the object follows a value that ends at `end`.
    pub fn follows(&self, end: usize) -> bool {
        let is_within = self.closing.backslashes > 0;
        let comma = skip_blanks(self.text, end, is_within);
        self.text[comma..].starts_with(',')
            && skip_blanks(self.text, comma + 1, is_within) == self.opening.start
    }

    /// Returns true if a quote ends the text that the member is in.
    fn ends_at(&self, quote: Quote) -> bool {
        quote.sign == self.closing.sign && quote.backslashes < self.closing.backslashes
    }

    fn end_of_word(&self) -> usize {
        let is_within = self.closing.backslashes > 0;
        let ends =
            |one: char| one.is_whitespace() || ",[]{}\"".contains(one) || one == '\\' && is_within;
        let rest = &self.text[self.value..];
        self.value + rest.find(ends).unwrap_or(rest.len())
    }

    fn end_of_brackets(&self) -> usize {
        let text = self.text;
        let (mut at, mut depth) = (self.value, 0_usize);
        while let Some(next) = text[at..].find(['{', '[', '}', ']', '"', '\'']) {
            let next = at + next;
            match text.as_bytes()[next] {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {
                    let Some(quote) = quote_from(text, at) else {
                        break;
                    };
                    if self.ends_at(quote) {
                        return quote.start;
                    }
                    at = end_of_text(text, quote).1;
                    continue;
                }
            }
            at = next + 1;
            if depth == 0 {
                return at;
            }
        }
        text.len()
    }
}

/// Returns the first quote behind a place.
fn quote_from(text: &str, from: usize) -> Option<Quote> {
    let rest = &text[from..];
    let at = rest.find(['"', '\''])?;
    let before = &rest[..at];
    let backslashes = before.len() - before.trim_end_matches('\\').len();
    Some(Quote {
        start: from + at - backslashes,
        end: from + at + 1,
        sign: rest.as_bytes()[at],
        backslashes,
    })
}

/// Returns the quote at a place.
fn quote_at(text: &str, at: usize) -> Option<Quote> {
    let is_here = text[at..].trim_start_matches('\\').starts_with(['"', '\'']);
    is_here.then(|| quote_from(text, at)).flatten()
}

/// Returns the end of the text that a quote opens, without and with the quote that closes it. One that is cut
/// off ends with what it is in.
fn end_of_text(text: &str, opening: Quote) -> (usize, usize) {
    let mut at = opening.end;
    while let Some(quote) = quote_from(text, at) {
        at = quote.end;
        if quote.sign != opening.sign {
            continue;
        }
        let Some(more) = quote.backslashes.checked_sub(opening.backslashes) else {
            return (quote.start, quote.start);
        };
        // A backslash of this text is written as one more than are before its quotes.
        if (more / (opening.backslashes + 1)).is_multiple_of(2) {
            return (quote.end - 1 - opening.backslashes, quote.end);
        }
    }
    (text.len(), text.len())
}

/// Returns the place behind blanks; within a text that is written with escapes, `\n` is one.
fn skip_blanks(text: &str, at: usize, is_within: bool) -> usize {
    let mut rest = text[at..].trim_start();
    while is_within && rest.starts_with('\\') {
        let letter = rest.trim_start_matches('\\');
        match letter.strip_prefix(['n', 'r', 't']) {
            Some(after) => rest = after.trim_start(),
            None => break,
        }
    }
    text.len() - rest.len()
}

/// Returns a text without the blanks at its end.
fn trim_blanks(text: &str, is_within: bool) -> &str {
    let mut text = text.trim_end();
    while let Some(before) = text.strip_suffix(['n', 'r', 't']) {
        if !is_within || !before.ends_with('\\') {
            break;
        }
        text = before.trim_end_matches('\\').trim_end();
    }
    text
}
