//! Tokens of a JSON text, found without building its values.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::depth::Nesting;

/// A value, a key, or a relevant bracket of a JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A string that is a value, with its quotes.
    Text(Range<usize>),
    /// A key of an object, with its quotes.
    Key(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Word(Range<usize>),
    /// The bracket that opens a list.
    List,
    /// The bracket that opens an object.
    Object,
    /// The bracket that closes an object.
    End(usize),
}

/// Reads the tokens of a text in order. Works at any depth of nesting, and ends at the end of any text.
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// Creates a reader at the start of a text.
    pub fn new(text: &'a str) -> Tokens<'a> {
        Tokens { text, at: 0 }
    }

    /// Returns the start of the value of the last key.
    pub fn value(&mut self) -> usize {
        self.at += blanks(&self.text[self.at..]);
        if self.text[self.at..].starts_with(':') {
            self.at += 1;
        }
        self.at += blanks(&self.text[self.at..]);
        self.at
    }

    /// Skips the value of the last key, and returns its place.
    pub fn skip_value(&mut self) -> Range<usize> {
        let start = self.value();
        self.at += value_length(&self.text[start..]);
        start..self.at
    }

    /// Skips the rest of the list just opened if it contains only texts, and returns their places.
    pub fn skip_texts(&mut self) -> Option<Vec<Range<usize>>> {
        let mut texts = Vec::new();
        let mut at = self.at;
        loop {
            at += blanks(&self.text[at..]);
            match self.text.as_bytes().get(at)? {
                b'"' => {
                    let end = at + string_length(&self.text[at..]);
                    texts.push(at..end);
                    at = end;
                }
                b',' => at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at = at + 1;
        Some(texts)
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let rest = &self.text[self.at..];
            let start = self.at;
            match rest.as_bytes().first()? {
                b'"' => {
                    self.at += string_length(rest);
                    let after = &self.text[self.at..];
                    let is_key = after[blanks(after)..].starts_with(':');
                    let place = start..self.at;
                    return Some(if is_key {
                        Token::Key(place)
                    } else {
                        Token::Text(place)
                    });
                }
                b'[' => {
                    self.at += 1;
                    return Some(Token::List);
                }
                b'{' => {
                    self.at += 1;
                    return Some(Token::Object);
                }
                b'}' => {
                    self.at += 1;
                    return Some(Token::End(start));
                }
                b']' | b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => {
                    self.at += word_length(rest);
                    return Some(Token::Word(start..self.at));
                }
            }
        }
    }
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\n', '\r', '\t']).len()
}

/// Returns the length of the string that begins a text, with its quotes; a cut one ends with the text.
fn string_length(text: &str) -> usize {
    let quote = text.as_bytes().first();
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            byte if Some(&byte) == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn word_length(text: &str) -> usize {
    let ends = |character: char| character.is_whitespace() || ",:[]{}\"".contains(character);
    match text.find(ends) {
        Some(0) => text.chars().next().map_or(0, char::len_utf8),
        Some(end) => end,
        None => text.len(),
    }
}

/// Returns the length of the value that begins a text. Python's single quotes are quotes, too.
fn value_length(text: &str) -> usize {
    match text.as_bytes().first() {
        None => 0,
        Some(b'"' | b'\'') => string_length(text),
        Some(b'{' | b'[') => {
            let mut nesting = Nesting::default();
            let end = text.bytes().position(|byte| nesting.after(byte) == 0);
            end.map_or(text.len(), |end| end + 1)
        }
        Some(b',' | b'}' | b']') => 0,
        Some(_) => word_length(text),
    }
}

/// Returns the characters of a string token. A lone surrogate, which is no character, becomes U+FFFD.
pub fn unescaped(token: &str) -> Cow<'_, str> {
    let inner = token.strip_prefix('"').unwrap_or(token);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut text = String::with_capacity(inner.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = inner;
    while let Some(character) = rest.chars().next() {
        if let Some(unit) = unit(rest) {
            units.push(unit);
            rest = &rest[6..];
            continue;
        }
        text.extend(char::decode_utf16(units.drain(..)).map(|one| one.unwrap_or('\u{fffd}')));
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            text.push(character);
            continue;
        }
        let Some(letter) = rest.chars().next() else {
            break;
        };
        rest = &rest[letter.len_utf8()..];
        text.push(match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            other => other,
        });
    }
    text.extend(char::decode_utf16(units).map(|one| one.unwrap_or('\u{fffd}')));
    Cow::Owned(text)
}

/// Returns the UTF-16 unit of an escape such as `\u0041`.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(char, &str)> {
        let named = |token| match token {
            Token::Text(place) => ('t', &text[place]),
            Token::Key(place) => ('k', &text[place]),
            Token::Word(place) => ('w', &text[place]),
            Token::List => ('l', ""),
            Token::Object => ('{', ""),
            Token::End(end) => ('}', &text[end + 1..end + 1]),
        };
        Tokens::new(text).map(named).collect()
    }

    #[test]
    fn keys_differ_from_texts() {
        let text = r#"{"a" : ["b\"", {"c":-1.5e3}],"d\\":null,"e":"f"}"#;
        let expected = [
            ('{', ""),
            ('k', "\"a\""),
            ('l', ""),
            ('t', r#""b\"""#),
            ('{', ""),
            ('k', "\"c\""),
            ('w', "-1.5e3"),
            ('}', ""),
            ('k', r#""d\\""#),
            ('w', "null"),
            ('k', "\"e\""),
            ('t', "\"f\""),
            ('}', ""),
        ];
        assert_eq!(tokens(text), expected);
    }

    #[test]
    fn values_are_skipped_whole() {
        for value in [
            "\"a}\\\"b\"",
            "{\"a\":[\"]\",{}]}",
            "[[1],[]]",
            "-1",
            "true",
            "[]",
        ] {
            let text = format!("{{\"k\" : {value} ,\"z\":1}}");
            let mut tokens = Tokens::new(&text);
            assert_eq!(tokens.next(), Some(Token::Object));
            assert!(matches!(tokens.next(), Some(Token::Key(_))));
            assert_eq!(&text[tokens.skip_value()], value);
            assert_eq!(
                tokens.next().map(|token| matches!(token, Token::Key(_))),
                Some(true)
            );
        }
    }

    #[test]
    fn a_list_of_texts_contains_only_texts() {
        let texts = |text: &str| {
            let mut tokens = Tokens::new(text);
            assert_eq!(tokens.next(), Some(Token::List));
            tokens.skip_texts().map(|texts| texts.len())
        };
        assert_eq!(texts(r#"["a", "b]" ]"#), Some(2));
        assert_eq!(texts("[]"), Some(0));
        assert_eq!(texts(r#"["a", 1]"#), None);
        assert_eq!(texts(r#"["a", ["b"]]"#), None);
    }

    #[test]
    fn every_text_has_an_end() {
        for text in [
            "\"a",
            "{\"a\":",
            "[\"",
            "\u{e9}",
            "]]}",
            "{\"a\":\"",
            "'a",
            "\"\\",
        ] {
            assert!(tokens(text).len() < 5);
            assert!(value_length(text) <= text.len());
            let mut tokens = Tokens::new(text);
            let _ = tokens.next();
            let _ = tokens.skip_value();
        }
    }

    #[test]
    fn escapes_are_decoded() {
        for (token, text) in [
            (r#""a\u0041\/\n""#, "aA/\n"),
            (r#""\ud83d\ude00 \ud83d x\"""#, "\u{1f600} \u{fffd} x\""),
            (r#""\\u0041""#, "\\u0041"),
            (r#""\u12""#, "u12"),
            ("\"\u{e9}\"", "\u{e9}"),
        ] {
            assert_eq!(unescaped(token), text);
        }
    }
}
