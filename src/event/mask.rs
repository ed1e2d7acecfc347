//! Mask of the user's own secrets: keys whose values are hidden, and patterns in texts.

use std::borrow::Cow;
use std::ops::Range;

use regex::{Captures, Regex, RegexBuilder};

use crate::event::pairs::{Pairs, Role};
use crate::event::quoted::{Member, Members, Quoting, Value};
use crate::json::tokens::{Token, Tokens, unescaped};
use crate::secret::MASK;
use crate::text::sequences;

/// Keys that determine how to read the rest of a result: `no_log`, and the name of a loop's variable.
const KEPT: [&str; 2] = ["_ansible_no_log", "ansible_loop_var"];

/// Default loop variable.
const LOOP_VARIABLE: &str = "item";

/// Number of passes over the escapes of a key in a text, because one escape may hide another.
const LEVELS: usize = 16;

/// Keys and patterns of the configuration.
#[derive(Debug, Default)]
pub struct Mask {
    /// Matches a key whose value is hidden.
    key: Option<Regex>,
    patterns: Vec<Regex>,
}

/// A part of a text, and its replacement.
type Hidden = (Range<usize>, Cow<'static, str>);

/// Compiles a pattern. `^` and `$` match at every line, as a text may be the whole output of a command.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(text).multi_line(true).build();
    compiled.map_err(|error| match error {
        // The message shows the pattern on several lines; its last line is the reason.
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
        let keys: Vec<String> = keys.iter().map(|key| glob(key)).collect();
        let any = format!(r"\A(?:{})\z", keys.join("|"));
        let compiled = RegexBuilder::new(&any)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .build();
        Mask {
            key: compiled.ok().filter(|_| !keys.is_empty()),
            patterns,
        }
    }

    /// Returns true if values of this key are hidden.
    pub fn hides(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|known| known.is_match(key))
    }

    /// Returns true if values of a key, which may be written with escapes, are hidden.
    fn hides_written(&self, key: &str) -> bool {
        let mut key = Cow::Borrowed(key);
        for _ in 0..LEVELS {
            if self.hides(&key) || !key.contains('\\') {
                break;
            }
            key = unescaped(&key).into_owned().into();
        }
        self.hides(&key)
    }

    /// Returns a text with all matches of patterns masked; None if nothing matches.
    pub fn text(&self, text: &str) -> Option<String> {
        let hidden = self.hidden(text);
        (!hidden.is_empty()).then(|| replaced(text, &hidden))
    }

    /// Returns a JSON text with its values masked, at every depth; None if nothing is masked.
    pub fn json(&self, text: &str) -> Option<String> {
        let mut hidden: Vec<Hidden> = Vec::new();
        let mut tokens = Tokens::new(text);
        let mut pairs = Pairs::default();
        while let Some(token) = tokens.next() {
            match token {
                Token::Key(place) => {
                    let key = unescaped(&text[place.clone()]);
                    pairs.member(text, place.start, &key, tokens.value());
                    if KEPT.contains(&&*key) {
                        tokens.skip_value();
                        continue;
                    }
                    hidden.extend(self.string(text, place));
                    if self.hides(&key) {
                        hidden.push((tokens.skip_value(), json_string(MASK)));
                    }
                }
                Token::Object => pairs.begin(),
                Token::End(end) => {
                    let pair = pairs.end(text, end);
                    if let Some(pair) = pair.filter(|pair| self.names(&text[pair.name.clone()])) {
                        hide_whole(&mut hidden, pair.value);
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

    /// Returns true if a JSON value is the name of a key whose values are hidden.
    fn names(&self, value: &str) -> bool {
        self.key.is_some() && value.starts_with('"') && self.hides(&unescaped(value))
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

    /// Returns the replacements in a list of texts, which may be the lines of one: a match may span several of
    /// them.
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
        let plain = sequences::without(text);
        let mut hidden = match &plain {
            None => [self.values(text), self.matches(text)].concat(),
            Some(plain) => {
                let found = [self.values(&plain.text), self.matches(&plain.text)].concat();
                let found = found.into_iter().filter(|(range, _)| !range.is_empty());
                let within = found.map(|(range, by)| (plain.within(&range), by));
                within.chain(self.matches(text)).collect()
            }
        };
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

    /// Returns the matches of patterns in a text.
    fn matches(&self, text: &str) -> Vec<Hidden> {
        let mut hidden: Vec<Hidden> = Vec::new();
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
        hidden
    }

    /// Returns the values after keys in a text.
    fn values(&self, text: &str) -> Vec<Hidden> {
        if self.key.is_none() {
            return Vec::new();
        }
        let mut hidden = self.values_in(text, Quoting::Plain);
        if ["\"\"", "''"].iter().any(|quote| text.contains(quote)) {
            hidden.extend(self.values_in(text, Quoting::Doubled));
        }
        hidden
    }

    fn values_in(&self, text: &str, quoting: Quoting) -> Vec<Hidden> {
        let mut hidden = Vec::new();
        let mut members = Members::new(text, quoting);
        let mut before: Option<(Role, Value)> = None;
        while let Some(member) = members.next() {
            if self.hides_written(member.key()) {
                if let Some(value) = member.value() {
                    // Keys inside a hidden value need no search.
                    members.skip_to(value.whole.end);
                    hidden.push(hidden_value(&member, value));
                }
                continue;
            }
            let Some(role) = Role::of(member.key()) else {
                continue;
            };
            let first =
                before.take_if(|(other, value)| *other != role && member.follows(value.whole.end));
            if let Some((_, first)) = first {
                if let Some((place, value)) = self.value_of_pair(text, &member, role, first) {
                    members.skip_to(place.end.max(member.value));
                    hidden.push(value);
                }
                continue;
            }
            // A value may hold other objects as text.
            let is_inside = |(_, value): &(Role, Value)| member.start() < value.whole.end;
            if member.is_first() && !before.as_ref().is_some_and(is_inside) {
                before = member.scalar().map(|value| (role, value));
            }
        }
        hidden
    }

    /// Returns the value of an object that begins with a name and a value, by its second member and the value
    /// of the first, if it is hidden: its place, and its replacement.
    fn value_of_pair(
        &self,
        text: &str,
        second: &Member<'_>,
        role: Role,
        first: Value,
    ) -> Option<(Range<usize>, Hidden)> {
        let names = |value: &Value| {
            let name = value.inner.clone();
            name.is_some_and(|name| self.hides_written(&text[name]))
        };
        let value = match role {
            Role::Value => names(&first).then(|| second.value()).flatten()?,
            Role::Name => second.scalar().filter(names).map(|_| first)?,
        };
        Some((value.whole.clone(), hidden_value(second, value)))
    }
}

/// Hides a value with everything inside it.
fn hide_whole(hidden: &mut Vec<Hidden>, value: Range<usize>) {
    let first = hidden.partition_point(|(range, _)| range.start < value.start);
    let mut behind = hidden.split_off(first);
    behind.retain(|(range, _)| range.start >= value.end);
    hidden.push((value, json_string(MASK)));
    hidden.extend(behind);
}

/// Returns the participating groups of a match; the whole match if there are none.
fn groups_of(found: &Captures<'_>) -> Vec<Hidden> {
    let groups = found.iter().skip(1).flatten();
    let mut groups: Vec<Hidden> = groups.map(|group| (group.range(), MASK.into())).collect();
    if groups.is_empty() {
        groups.extend(found.get(0).map(|all| (all.range(), MASK.into())));
    }
    groups
}

/// Returns the replacement of a value in a text: within its quotes, or in quotes like those of the key.
fn hidden_value(member: &Member<'_>, value: Value) -> Hidden {
    let quote = member.quote();
    match value.inner {
        Some(inner) => (inner, MASK.into()),
        None => (value.whole, format!("{quote}{MASK}{quote}").into()),
    }
}

/// Returns true if part of a text is already masked; `masks` are the places of the masks in it.
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

/// Returns a glob as a regular expression.
fn glob(key: &str) -> String {
    let part = |character: char| match character {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        other => regex::escape(&other.to_string()),
    };
    key.chars().map(part).collect()
}

#[cfg(test)]
mod tests;
