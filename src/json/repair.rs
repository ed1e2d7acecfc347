//! Repair of imperfect JSON: replaces invalid parts.

use crate::json::syntax;
use serde_json::Value;

/// Parses imperfect JSON: invalid text and invalid numbers are replaced. Also returns whether it had to.
pub fn parse(text: &str) -> Result<(Value, bool), String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok((value, false)),
        Err(_) => {
            let text = repair(text);
            let parsed = serde_json::from_str(&text);
            parsed
                .map(|value| (value, true))
                .map_err(|error| format!("is not valid JSON: {}", syntax(&error)))
        }
    }
}

/// Replaces lone surrogates by U+FFFD, and Python's NaN and Infinity by their names as text.
fn repair(text: &str) -> String {
    let mut repaired = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(character) = rest.chars().next() {
        let (taken, replacement) = if in_string {
            repair_escape(rest)
        } else {
            repair_number(rest)
        };
        if character == '"' {
            in_string = !in_string;
        }
        match replacement {
            Some(replacement) => repaired.push_str(replacement),
            None => repaired.push_str(&rest[..taken]),
        }
        rest = &rest[taken..];
    }
    repaired
}

/// Returns the length of the token at the start of `rest`, inside a string, and its replacement.
fn repair_escape(rest: &str) -> (usize, Option<&'static str>) {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    match unit(rest) {
        Some(0xd800..=0xdbff) => match unit(&rest[6..]) {
            Some(0xdc00..=0xdfff) => (12, None),
            _ => (6, Some("\\ufffd")),
        },
        Some(0xdc00..=0xdfff) => (6, Some("\\ufffd")),
        _ if rest.starts_with('\\') => {
            (1 + rest[1..].chars().next().map_or(0, char::len_utf8), None)
        }
        _ => (rest.chars().next().map_or(0, char::len_utf8), None),
    }
}

fn repair_number(rest: &str) -> (usize, Option<&'static str>) {
    for (token, name) in [
        ("NaN", "\"NaN\""),
        ("Infinity", "\"Infinity\""),
        ("-Infinity", "\"-Infinity\""),
    ] {
        if rest.starts_with(token) {
            return (token.len(), Some(name));
        }
    }
    (rest.chars().next().map_or(0, char::len_utf8), None)
}
