//! Mask of the user's own secrets: keys whose values are hidden, and patterns in texts.

use std::borrow::Cow;
use std::ops::Range;

use regex::{Captures, Regex, RegexBuilder};

use crate::json::tokens::{Token, Tokens, unescaped, value_length};
use crate::secret::MASK;

/// Keys that tell how to read the rest of a result: `no_log`, and the name of a loop's variable.
const KEPT: [&str; 2] = ["_ansible_no_log", "ansible_loop_var"];

/// Loop variable of a task that names none.
const LOOP_VARIABLE: &str = "item";

/// Keys and patterns of the configuration.
#[derive(Debug, Default)]
pub struct Mask {
    /// Matches a key whose value is hidden.
    key: Option<Regex>,
    /// Matches such a key in quotes inside a text, up to its value.
    quoted_key: Option<Regex>,
    patterns: Vec<Regex>,
}

/// A part of a text, and its replacement.
type Hidden = (Range<usize>, Cow<'static, str>);

/// Compiles a pattern. `^` and `$` match at every line, as a text may be the whole output of a command.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(text).multi_line(true).build();
    compiled.map_err(|error| match error {
        // The message draws the pattern on several lines; its last line is the reason.
        regex::Error::Syntax(text) => {
            let reason = text.lines().last().unwrap_or_default();
            reason.trim_start_matches("error: ").to_owned()
        }
        _ => "it is too large".to_owned(),
    })
}

impl Mask {
    /// Creates a mask of keys, in which `*` and `?` stand for any characters, and of compiled patterns.
    pub fn new(keys: &[&str], patterns: Vec<Regex>) -> Mask {
        let compile = |text: String| {
            let builder = &mut RegexBuilder::new(&text);
            builder
                .case_insensitive(true)
                .dot_matches_new_line(true)
                .build()
                .ok()
        };
        let any = |many: &str, one: &str| {
            let keys = keys.iter().map(|key| glob(key, many, one));
            keys.collect::<Vec<_>>().join("|")
        };
        let is_given = !keys.is_empty();
        Mask {
            key: is_given
                .then(|| compile(format!(r"\A(?:{})\z", any(".*", "."))))
                .flatten(),
            quoted_key: is_given
                .then(|| {
                    let keys = any(r#"[^"'\\]*"#, r#"[^"'\\]"#);
                    compile(format!(r#"(?:"(?:{keys})"|'(?:{keys})')\s*:\s*"#))
                })
                .flatten(),
            patterns,
        }
    }

    /// Returns true if values of this key are hidden.
    pub fn hides(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|known| known.is_match(key))
    }

    /// Returns a text with everything masked that a pattern matches; None if nothing is.
    pub fn text(&self, text: &str) -> Option<String> {
        let hidden = self.hidden(text);
        (!hidden.is_empty()).then(|| replaced(text, &hidden))
    }

    /// Returns a JSON text with its values masked, at every depth; None if nothing is.
    pub fn json(&self, text: &str) -> Option<String> {
        let mut hidden: Vec<Hidden> = Vec::new();
        let mut tokens = Tokens::new(text);
        while let Some(token) = tokens.next() {
            match token {
                Token::Key(place) => {
                    let key = unescaped(&text[place.clone()]);
                    if KEPT.contains(&&*key) {
                        tokens.skip_value();
                    } else if self.hides(&key) {
                        hidden.extend(self.string(text, place));
                        hidden.push((tokens.skip_value(), json_string(MASK)));
                    } else {
                        hidden.extend(self.string(text, place));
                    }
                }
                Token::Text(place) => hidden.extend(self.string(text, place)),
                Token::Word(place) => {
                    let word = &text[place.clone()];
                    let is_number =
                        word.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                    if is_number && !self.hidden(word).is_empty() {
                        hidden.push((place, json_string(MASK)));
                    }
                }
                Token::List => {
                    if let Some(lines) = tokens.skip_texts() {
                        hidden.extend(self.lines(text, lines));
                    }
                }
            }
        }
        (!hidden.is_empty()).then(|| replaced(text, &hidden))
    }

    /// Returns true if the items of a result's loop are hidden, by the name of its variable.
    pub fn hides_item(&self, variable: Option<&str>) -> bool {
        self.hides(variable.unwrap_or(LOOP_VARIABLE))
    }

    /// Returns the replacement of a string token.
    fn string(&self, text: &str, place: Range<usize>) -> Option<Hidden> {
        let masked = self.text(&unescaped(&text[place.clone()]))?;
        Some((place, json_string(&masked)))
    }

    /// Returns the replacements in a list of texts, which may be the lines of one: what a pattern matches may
    /// go over several of them.
    fn lines(&self, text: &str, places: Vec<Range<usize>>) -> Vec<Hidden> {
        let lines: Vec<_> = places
            .iter()
            .map(|place| unescaped(&text[place.clone()]))
            .collect();
        let hidden = self.hidden(&lines.join("\n"));
        let mut begin = 0;
        let mut replacements = Vec::new();
        for (place, line) in places.into_iter().zip(&lines) {
            let end = begin + line.len();
            let first = hidden.partition_point(|(range, _)| range.end <= begin);
            let here = hidden[first..]
                .iter()
                .take_while(|(range, _)| range.start < end);
            let within = |(range, by): &Hidden| {
                let (from, to) = (range.start.max(begin), range.end.min(end));
                (from < to).then(|| (from - begin..to - begin, by.clone()))
            };
            let parts: Vec<Hidden> = here.filter_map(within).collect();
            if !parts.is_empty() {
                replacements.push((place, json_string(&replaced(line, &parts))));
            }
            begin = end + 1;
        }
        replacements
    }

    /// Returns the parts of a text to be replaced, in order.
    fn hidden(&self, text: &str) -> Vec<Hidden> {
        let mut hidden: Vec<Hidden> = Vec::new();
        let mut at = 0;
        while let Some(key) = self
            .quoted_key
            .as_ref()
            .and_then(|key| key.find_at(text, at))
        {
            let value = value_at(text, key.end());
            // Keys inside a hidden value are not looked for.
            at = value.as_ref().map_or(key.end(), |(range, _)| range.end);
            hidden.extend(value);
        }
        for pattern in &self.patterns {
            let groups = pattern.captures_len() > 1;
            let whole = |found: regex::Match<'_>| (found.range(), Cow::Borrowed(MASK));
            match groups {
                false => hidden.extend(pattern.find_iter(text).map(whole)),
                true => hidden.extend(
                    pattern
                        .captures_iter(text)
                        .flat_map(|found| groups_of(&found)),
                ),
            }
        }
        let masks: Vec<usize> = match hidden.is_empty() {
            true => Vec::new(),
            false => text.match_indices(MASK).map(|(at, _)| at).collect(),
        };
        hidden.retain(|(range, _)| !range.is_empty() && !is_masked(&masks, range));
        hidden.sort_by_key(|(range, _)| (range.start, range.end));
        let mut merged: Vec<Hidden> = Vec::new();
        for (range, by) in hidden {
            match merged.last_mut() {
                Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
                _ => merged.push((range, by)),
            }
        }
        merged
    }
}

/// Returns the groups of a match that take part in it; the whole match if none does.
fn groups_of(found: &Captures<'_>) -> Vec<Hidden> {
    let groups = found.iter().skip(1).flatten();
    let mut groups: Vec<Hidden> = groups.map(|group| (group.range(), MASK.into())).collect();
    if groups.is_empty() {
        groups.extend(found.get(0).map(|all| (all.range(), MASK.into())));
    }
    groups
}

/// Returns the part of a text that is the value behind a key, with its quotes outside.
fn value_at(text: &str, start: usize) -> Option<Hidden> {
    let length = value_length(&text[start..]);
    let value = &text[start..start + length];
    let quote = value
        .chars()
        .next()
        .filter(|first| ['"', '\''].contains(first));
    match quote {
        None if length == 0 => None,
        None => Some((start..start + length, json_string(MASK))),
        Some(quote) => {
            let closed = usize::from(length > 1 && value.ends_with(quote));
            Some((start + 1..start + length - closed, MASK.into()))
        }
    }
}

/// Returns true if a part of a text is masked already; `masks` are the places of the masks in it.
fn is_masked(masks: &[usize], range: &Range<usize>) -> bool {
    let before = masks.partition_point(|at| *at <= range.start);
    let last = before.checked_sub(1).map(|last| masks[last]);
    last.is_some_and(|at| range.end <= at + MASK.len())
}

fn replaced(text: &str, hidden: &[Hidden]) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut copied = 0;
    for (range, by) in hidden {
        replaced.push_str(&text[copied..range.start]);
        replaced.push_str(by);
        copied = range.end;
    }
    replaced + &text[copied..]
}

fn json_string(text: &str) -> Cow<'static, str> {
    serde_json::Value::from(text).to_string().into()
}

/// Returns a glob as a regular expression, in which `many` and `one` stand for `*` and `?`.
fn glob(key: &str, many: &str, one: &str) -> String {
    let part = |character: char| match character {
        '*' => many.to_owned(),
        '?' => one.to_owned(),
        other => regex::escape(&other.to_string()),
    };
    key.chars().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(keys: &[&str], patterns: &[&str]) -> Mask {
        let patterns = patterns.iter().map(|text| pattern(text).unwrap());
        Mask::new(keys, patterns.collect())
    }

    #[test]
    fn values_of_keys_are_hidden_at_any_depth() {
        let mask = mask(&["*pass*", "token?"], &[]);
        for (text, masked) in [
            (
                r#"{"a":[{"DB_Password":{"x":[1]},"b":2}]}"#,
                r#"{"a":[{"DB_Password":"[redacted]","b":2}]}"#,
            ),
            (r#"{"\u0070ass" : null}"#, r#"{"\u0070ass" : "[redacted]"}"#),
            (
                r#"{"token1":true,"token":1,"token12":1}"#,
                r#"{"token1":"[redacted]","token":1,"token12":1}"#,
            ),
        ] {
            assert_eq!(mask.json(text).as_deref(), Some(masked), "{text}");
        }
        assert_eq!(mask.json(r#"{"a":"pass","ansible_loop_var":"pass"}"#), None);
    }

    #[test]
    fn values_of_keys_in_a_text_are_hidden() {
        let mask = mask(&["*pass*"], &[]);
        for (text, masked) in [
            (
                r#"x {"a": 1, "db_pass" : "a\"b", "c": 2}"#,
                r#"x {"a": 1, "db_pass" : "[redacted]", "c": 2}"#,
            ),
            ("{'pass': 'it', 'a': 1}", "{'pass': '[redacted]', 'a': 1}"),
            (r#"{"pass": 12}"#, r#"{"pass": "[redacted]"}"#),
            (r#"{"pass": {"a": ["}"]}}"#, r#"{"pass": "[redacted]"}"#),
            (r#""pass": "cut off"#, r#""pass": "[redacted]"#),
        ] {
            assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
            assert_eq!(mask.text(masked), None, "{masked}");
        }
        for text in ["pass: x", "\"pass\"", "\"pass\":", "\"a\": \"pass\""] {
            assert_eq!(mask.text(text), None, "{text}");
        }
    }

    #[test]
    fn a_pattern_hides_its_groups_or_all_of_it() {
        let mask = mask(&[], &["key=([a-z]+)|id=(\\d+)|all", "^pin: .*$"]);
        for (text, masked) in [
            (
                "key=abc1 id=77 all",
                "key=[redacted]1 id=[redacted] [redacted]",
            ),
            ("x\npin: 1\ny", "x\n[redacted]\ny"),
        ] {
            assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
            assert_eq!(mask.text(&format!("key={MASK}")), None);
        }
    }

    #[test]
    fn escapes_numbers_keys_and_lines_are_texts_too() {
        let mask = mask(&[], &["(?s)BEGIN.*?END", "s3cret/\u{e9}", "\\d{6}"]);
        for (text, masked) in [
            (r#"["s3cr\u0065t\/\u00e9!"]"#, r#"["[redacted]!"]"#),
            (
                r#"{"s3cret/é":[1234567,12345]}"#,
                r#"{"[redacted]":["[redacted]",12345]}"#,
            ),
            (
                r#"{"l":["a","x BEGIN","","b","END y"],"o":"a\nBEGIN\nEND"}"#,
                r#"{"l":["a","x [redacted]","","[redacted]","[redacted] y"],"o":"a\n[redacted]"}"#,
            ),
        ] {
            assert_eq!(mask.json(text).as_deref(), Some(masked), "{text}");
            assert_eq!(mask.json(masked), None, "{masked}");
        }
        assert_eq!(mask.json(r#"["\ud800 \n",true]"#), None);
    }

    #[test]
    fn the_time_grows_with_the_text_only() {
        let mask = mask(&["*pass*"], &["canary", "a+"]);
        let lines = serde_json::to_string(&vec!["canary aa"; 50_000]).unwrap();
        for text in [
            "\"pass\":[".repeat(50_000),
            "'pass': '".repeat(50_000),
            format!("{MASK} canary ").repeat(50_000),
            lines,
        ] {
            let begun = std::time::Instant::now();
            let _ = mask.json(&text);
            assert!(mask.text(&text).is_some());
            // In the square of the text, it would take hours.
            assert!(begun.elapsed().as_secs() < 60);
        }
    }

    #[test]
    fn a_wrong_pattern_is_said_on_one_line() {
        let problem = pattern("(a").unwrap_err();
        assert_eq!(problem, "unclosed group");
        assert_eq!(pattern("a{9999}{9999}").unwrap_err(), "it is too large");
        assert!(pattern("(?<=a)b").unwrap_err().contains("look-around"));
    }
}
