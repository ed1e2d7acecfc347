//! Regular expressions in Python's syntax.

use fancy_regex::{Captures, Regex, RegexBuilder};
use minijinja::value::Value;
use minijinja::{Environment, Error, State};

use super::arguments::{Arguments, Given, separate};
use super::{error, text_of};
use crate::template::limits::ensure_bytes;

/// Limit of backtracking steps per match: exceeding it is an error, not an endless search.
const MAX_STEPS: usize = 100_000;

/// Longest pattern, in bytes: a longer one takes more memory than a template may use.
const MAX_PATTERN: usize = 32 << 10;

/// Adds the filters and tests.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("regex_search", regex_search);
    environment.add_filter("regex_findall", regex_findall);
    environment.add_filter("regex_replace", regex_replace);
    environment.add_filter("regex_escape", regex_escape);
    environment.add_test("match", |value: &Value, given: Given| {
        is_match(value, given, Matching::Start)
    });
    environment.add_test("search", |value: &Value, given: Given| {
        is_match(value, given, Matching::Anywhere)
    });
    environment.add_test("regex", is_regex);
}

/// Position at which a pattern must match.
enum Matching {
    Anywhere,
    Start,
    Whole,
}

/// Flags of a pattern.
struct Flags {
    ignore_case: bool,
    multi_line: bool,
}

fn compile(pattern: &str, flags: &Flags, matching: &Matching) -> Result<Regex, Error> {
    if pattern.len() > MAX_PATTERN {
        return Err(error(format!(
            "a regular expression can have at most {MAX_PATTERN} bytes; this one has {}",
            pattern.len()
        )));
    }
    let pattern = from_python(pattern);
    let pattern = match matching {
        Matching::Anywhere => pattern,
        Matching::Start => format!(r"\A(?:{pattern})"),
        Matching::Whole => format!(r"\A(?:{pattern})\z"),
    };
    RegexBuilder::new(&pattern)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .backtrack_limit(MAX_STEPS)
        .build()
        .map_err(|reason| error(format!("not a regular expression: {}", one_line(&reason))))
}

/// Translates Python syntax that differs in the regular expressions used here.
fn from_python(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        out.push(character);
        if character == '\\' {
            match characters.next() {
                // End of the text.
                Some('Z') => out.push('z'),
                Some(escaped) => out.push(escaped),
                None => {}
            }
        }
    }
    out
}

fn one_line(reason: &fancy_regex::Error) -> String {
    reason.to_string().replace('\n', " ")
}

fn failed(reason: &fancy_regex::Error) -> Error {
    error(format!("the regular expression: {}", one_line(reason)))
}

fn is_match(value: &Value, given: Given, matching: Matching) -> Result<bool, Error> {
    let given = Arguments::new(given, ["pattern", "ignorecase", "multiline"])?;
    let pattern = given.text(0, "")?;
    let flags = Flags {
        ignore_case: given.flag(1),
        multi_line: given.flag(2),
    };
    let pattern = compile(&pattern, &flags, &matching)?;
    pattern
        .is_match(text_of(value)?.as_str())
        .map_err(|reason| failed(&reason))
}

fn is_regex(value: &Value, given: Given) -> Result<bool, Error> {
    let given = Arguments::new(given, ["pattern", "ignorecase", "multiline", "match_type"])?;
    let matching = match given.text(3, "search")?.as_str() {
        "search" => Matching::Anywhere,
        "match" => Matching::Start,
        "fullmatch" => Matching::Whole,
        other => {
            return Err(error(format!(
                "`match_type` must be `search`, `match` or `fullmatch`, not `{other}`"
            )));
        }
    };
    let pattern = given.text(0, "")?;
    let flags = Flags {
        ignore_case: given.flag(1),
        multi_line: given.flag(2),
    };
    let pattern = compile(&pattern, &flags, &matching)?;
    pattern
        .is_match(text_of(value)?.as_str())
        .map_err(|reason| failed(&reason))
}

/// Returns the first match, or the requested groups of it (`\\1`, `\\g<name>`); null without a match.
fn regex_search(value: &Value, pattern: &str, given: Given) -> Result<Value, Error> {
    let (groups, flags) = separate(given);
    let groups: Vec<String> = groups.iter().map(group_name).collect::<Result<_, _>>()?;
    let flags = Arguments::of(flags, ["ignorecase", "multiline"])?;
    let flags = Flags {
        ignore_case: flags.flag(0),
        multi_line: flags.flag(1),
    };
    let pattern = compile(pattern, &flags, &Matching::Anywhere)?;
    let text = text_of(value)?;
    let Some(found) = pattern
        .captures(text.as_str())
        .map_err(|reason| failed(&reason))?
    else {
        return Ok(Value::from(()));
    };
    if groups.is_empty() {
        return Ok(group(&found, 0));
    }
    groups
        .iter()
        .map(|name| match name.parse::<usize>() {
            Ok(number) if number < found.len() => Ok(group(&found, number)),
            Err(_) if pattern.capture_names().any(|known| known == Some(name)) => Ok(found
                .name(name)
                .map_or(Value::from(()), |found| Value::from(found.as_str()))),
            _ => Err(error(format!("the pattern has no group `{name}`"))),
        })
        .collect::<Result<Vec<Value>, Error>>()
        .map(Value::from)
}

/// Returns the number or name of a group in `\\1` or `\\g<name>`.
fn group_name(reference: &Value) -> Result<String, Error> {
    let reference = text_of(reference)?;
    let named = reference
        .strip_prefix("\\g<")
        .and_then(|rest| rest.strip_suffix('>'));
    let numbered = || {
        let number = reference.strip_prefix('\\')?;
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(number)
    };
    named.or_else(numbered).map(str::to_owned).ok_or_else(|| {
        error(format!(
            "a group is `\\\\1` or `\\\\g<name>`, not `{reference}`"
        ))
    })
}

fn group(found: &Captures<str>, number: usize) -> Value {
    found
        .get(number)
        .map_or(Value::from(()), |found| Value::from(found.as_str()))
}

/// Returns all matches: their texts, or their groups if the pattern has any.
fn regex_findall(
    state: &State,
    value: &Value,
    pattern: &str,
    given: Given,
) -> Result<Value, Error> {
    let given = Arguments::new(given, ["multiline", "ignorecase"])?;
    let flags = Flags {
        ignore_case: given.flag(1),
        multi_line: given.flag(0),
    };
    let pattern = compile(pattern, &flags, &Matching::Anywhere)?;
    let text = text_of(value)?;
    let mut all = Vec::new();
    for found in pattern.captures_iter(text.as_str()) {
        let found = found.map_err(|reason| failed(&reason))?;
        // A group that did not participate is an empty text here.
        let group = |number| Value::from(found.get(number).map_or("", |found| found.as_str()));
        all.push(match found.len() {
            1 => group(0),
            2 => group(1),
            count => Value::from((1..count).map(group).collect::<Vec<_>>()),
        });
        ensure_bytes(state, all.len() * found.len() * 32)?;
    }
    Ok(Value::from(all))
}

fn regex_replace(state: &State, value: &Value, given: Given) -> Result<String, Error> {
    let names = [
        "pattern",
        "replacement",
        "ignorecase",
        "multiline",
        "count",
        "mandatory_count",
    ];
    let given = Arguments::new(given, names)?;
    let pattern = given.text(0, "")?;
    let flags = Flags {
        ignore_case: given.flag(2),
        multi_line: given.flag(3),
    };
    let pattern = compile(&pattern, &flags, &Matching::Anywhere)?;
    let replacement = Replacement::new(&given.text(1, "")?)?;
    let (count, mandatory) = (given.size(4, 0)?, given.size(5, 0)?);
    let text = text_of(value)?;
    let (mut out, mut end, mut replaced) = (String::new(), 0, 0);
    for found in pattern.captures_iter(text.as_str()) {
        if count > 0 && replaced == count {
            break;
        }
        let found = found.map_err(|reason| failed(&reason))?;
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        replacement.expand(&found, &mut out)?;
        (end, replaced) = (whole.end(), replaced + 1);
        ensure_bytes(state, out.len())?;
    }
    if mandatory > 0 && replaced != mandatory {
        return Err(error(format!(
            "the pattern must match {mandatory} times, and matches {replaced} times"
        )));
    }
    out.push_str(&text[end..]);
    Ok(out)
}

/// Replacement for a match: literal texts, and groups of the match.
struct Replacement(Vec<Piece>);

enum Piece {
    Text(String),
    Group(String),
}

impl Replacement {
    /// Parses `\\1`, `\\g<1>`, `\\g<name>` and the escapes of Python's `re.sub`.
    fn new(source: &str) -> Result<Replacement, Error> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
            let group = if digits > 0 {
                let group = &rest[..digits];
                rest = &rest[digits..];
                Some(group)
            } else if let Some(inside) = rest.strip_prefix("g<") {
                let end = inside
                    .find('>')
                    .ok_or_else(|| error("`\\g<` of a replacement has no `>`"))?;
                rest = &inside[end + 1..];
                Some(&inside[..end])
            } else {
                None
            };
            if let Some(group) = group {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                pieces.push(Piece::Group(group.to_owned()));
                continue;
            }
            let mut characters = rest.chars();
            match characters.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('\\') | None => text.push('\\'),
                Some(other) => text.extend(['\\', other]),
            }
            rest = characters.as_str();
        }
        text.push_str(rest);
        pieces.push(Piece::Text(text));
        Ok(Replacement(pieces))
    }

    fn expand(&self, found: &Captures<str>, out: &mut String) -> Result<(), Error> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(name) => {
                    let group = match name.parse::<usize>() {
                        Ok(number) if number < found.len() => found.get(number),
                        Ok(number) => {
                            return Err(error(format!("the pattern has no group {number}")));
                        }
                        Err(_) => found.name(name),
                    };
                    out.push_str(group.map_or("", |group| group.as_str()));
                }
            }
        }
        Ok(())
    }
}

/// Escapes a text so that a pattern matches it literally.
fn regex_escape(value: &Value, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["re_type"])?;
    let special = match given.text(0, "python")?.as_str() {
        // Python's `re.escape`.
        "python" => "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}",
        "posix_basic" => "].[^$*\\",
        other => {
            return Err(error(format!(
                "`re_type` must be `python` or `posix_basic`, not `{other}`"
            )));
        }
    };
    let text = text_of(value)?;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    Ok(out)
}
