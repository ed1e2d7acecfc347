//! Members of objects inside a text, as a command prints them: a key in quotes, and the value after it. The
//! quotes may be escaped by any number of backslashes, as in JSON within JSON, written as `\u0022` or `\x22`,
//! or doubled, as in a CSV field.

use std::ops::Range;

/// Form of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// Plain, or as an escape.
    Plain,
    /// Doubled.
    Doubled,
}

/// A quote with the backslashes before it.
#[derive(Clone, Copy, Debug)]
struct Quote {
    /// Place of the first backslash, or of the quote if there is none.
    start: usize,
    /// Place after the quote.
    end: usize,
    sign: u8,
    /// Length without the backslashes.
    width: usize,
    /// Number of backslashes; for an escape, the number that a plain quote would have in its place.
    backslashes: usize,
}

/// Escapes for a quote, without their backslash, and the quote.
const ESCAPES: [(&str, u8); 4] = [
    ("u0022", b'"'),
    ("u0027", b'\''),
    ("x22", b'"'),
    ("x27", b'\''),
];

/// A key in quotes, and the place of its value.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    text: &'a str,
    quoting: Quoting,
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

/// Finds the members in a text, in order, in linear time: no key contains another one.
pub struct Members<'a> {
    text: &'a str,
    quoting: Quoting,
    at: usize,
    /// Quotes that may open a key, by character; each has more backslashes than the one before.
    double: Vec<Quote>,
    single: Vec<Quote>,
}

impl<'a> Members<'a> {
    /// Creates a reader at the start of a text.
    pub fn new(text: &'a str, quoting: Quoting) -> Members<'a> {
        Members {
            text,
            quoting,
            at: 0,
            double: Vec::new(),
            single: Vec::new(),
        }
    }

    /// Continues after a value.
    pub fn skip_to(&mut self, at: usize) {
        self.at = at;
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        loop {
            let closing = quote_from(self.text, self.at, self.quoting)?;
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
                quoting: self.quoting,
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

    /// Returns a double quote in the form used here.
    pub fn quote(&self) -> String {
        let Quote {
            start, end, width, ..
        } = self.opening;
        match self.quoting {
            Quoting::Doubled if self.opening.sign == b'"' => "\"\"".to_owned(),
            Quoting::Plain if width > 1 => self.text[start..end].to_owned(),
            _ => self.text[start..end - width].to_owned() + "\"",
        }
    }

    /// Returns the value, if there is one.
    pub fn value(&self) -> Option<Value> {
        let (text, start) = (self.text, self.value);
        let quote = quote_from(text, start, self.quoting);
        if let Some(quote) = quote.filter(|quote| quote.start == start) {
            let (inner, end) = end_of_text(text, quote, self.quoting);
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

    /// Returns true if a quote ends the text that contains the member.
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
        let mut quote = quote_from(text, at, self.quoting);
        loop {
            let before = &text[at..quote.map_or(text.len(), |quote| quote.start)];
            if let Some(next) = before.find(['{', '[', '}', ']']) {
                match before.as_bytes()[next] {
                    b'{' | b'[' => depth += 1,
                    _ => depth = depth.saturating_sub(1),
                }
                at += next + 1;
                if depth == 0 {
                    return at;
                }
                continue;
            }
            match quote {
                None => return text.len(),
                Some(quote) if self.ends_at(quote) => return quote.start,
                Some(quote) => at = end_of_text(text, quote, self.quoting).1,
            }
            quote = quote_from(text, at, self.quoting);
        }
    }
}

/// Returns the first quote after a place.
fn quote_from(text: &str, from: usize, quoting: Quoting) -> Option<Quote> {
    let mut at = from;
    loop {
        let place = at + text[at..].find(['"', '\'', 'u', 'x'])?;
        at = place + 1;
        let (sign, rest) = (text.as_bytes()[place], &text[place..]);
        let is_sign = matches!(sign, b'"' | b'\'');
        let is_escaped = text[from..place].ends_with('\\');
        let (width, sign) = match quoting {
            Quoting::Plain if is_sign => (1, sign),
            Quoting::Plain if is_escaped => escape(rest).unwrap_or_default(),
            Quoting::Doubled if is_sign => (doubled(rest, sign), sign),
            _ => (0, 0),
        };
        if width == 0 {
            continue;
        }
        let before = text[from..place].bytes().rev();
        let backslashes = before.take_while(|byte| *byte == b'\\').count();
        return Some(Quote {
            start: place - backslashes,
            end: place + width,
            sign,
            width,
            backslashes: match is_sign {
                true => backslashes,
                false => level(backslashes),
            },
        });
    }
}

/// Returns the length of a doubled quote at the start of a text, or 0. A third one ends the whole field.
fn doubled(text: &str, sign: u8) -> usize {
    match text
        .bytes()
        .take(4)
        .take_while(|byte| *byte == sign)
        .count()
    {
        0 | 1 => 0,
        3 => 3,
        _ => 2,
    }
}

/// Returns the length and the character of an escaped quote, without its backslash.
fn escape(text: &str) -> Option<(usize, u8)> {
    let found = ESCAPES.iter().find(|(escape, _)| text.starts_with(escape));
    found.map(|(escape, sign)| (escape.len(), *sign))
}

/// Returns the number of backslashes that a plain quote would have in place of an escape with this number: each
/// reading halves them, until one is left and the escape becomes a quote.
fn level(backslashes: usize) -> usize {
    match backslashes > 0 && backslashes.is_multiple_of(2) {
        true => 2 * level(backslashes / 2) + 1,
        false => backslashes,
    }
}

/// Returns the end of the text that a quote opens, without and with the quote that closes it. A cut text ends
/// with its container.
fn end_of_text(text: &str, opening: Quote, quoting: Quoting) -> (usize, usize) {
    let mut at = opening.end;
    while let Some(quote) = quote_from(text, at, quoting) {
        at = quote.end;
        if quote.sign != opening.sign {
            continue;
        }
        let Some(more) = quote.backslashes.checked_sub(opening.backslashes) else {
            return (quote.start, quote.start);
        };
        // A backslash in this text has one backslash more than its quotes.
        if (more / (opening.backslashes + 1)).is_multiple_of(2) {
            let inner = match quote.width == opening.width {
                true => quote.end - (opening.end - opening.start),
                false => quote.start,
            };
            return (inner.max(quote.start), quote.end);
        }
    }
    (text.len(), text.len())
}

/// Returns the place after blanks; in an escaped text, `\n` counts as one.
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

/// Returns a text without trailing blanks.
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
