//! Filters, tests and functions of Ansible and Jinja that the template engine lacks. Semantics and names
//! are those of ansible-core's `plugins/filter` and `plugins/test` and of Jinja's `filters.py`.

mod arguments;
mod data;
mod encoding;
mod methods;
mod numbers;
mod patterns;
mod query;
mod syntax;
mod tests;
mod text;
mod time;
mod versions;
pub mod yaml;

use std::collections::HashSet;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use crate::template::limits;

pub use syntax::{rewrite_percent, rewrite_sets, stray};

/// Adds all of them to the environment of all templates.
pub fn add_to(environment: &mut Environment) {
    environment.set_unknown_method_callback(method);
    data::add_to(environment);
    encoding::add_to(environment);
    numbers::add_to(environment);
    patterns::add_to(environment);
    query::add_to(environment);
    tests::add_to(environment);
    text::add_to(environment);
    time::add_to(environment);
    environment.add_filter(
        syntax::BOUNDED,
        |state: &State, value: Value, is_part: bool| {
            if is_part || !limits::is_namespace(&value) {
                limits::ensure_held(state, &value)?;
            }
            Ok::<Value, Error>(value)
        },
    );
}

/// Calls a method that Python values have.
pub fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), f64::try_from(value.clone())) {
        (ValueKind::Number, Ok(seconds)) => time::method(seconds, method, args),
        _ => match methods::call(state, value, method, args)? {
            Some(result) => Ok(result),
            None => limits::method(state, value, method, args),
        },
    }
}

/// Returns an error message for the first unknown filter or test in an expression or template.
pub fn unknown_name(environment: &Environment, source: &str) -> Option<String> {
    let (filters, tests) = syntax::used_names(source);
    let is_known = |word: &str, kind: &str| {
        let expression = environment.compile_expression_owned(format!("'{word}' is {kind}"));
        expression
            .and_then(|expression| expression.eval(()))
            .is_ok_and(|known| known.is_true())
    };
    let unknown = |kind: &'static str, words: Vec<&str>| {
        let word = words.into_iter().find(|word| !is_known(word, kind))?;
        let line = syntax::line_of(source, |before, token| {
            let follows = match kind {
                "filter" => before == "|",
                _ => matches!(before, "is" | "not"),
            };
            follows && token == word
        });
        let text = format!("no {kind} `{word}` exists; see docs/expressions.md");
        Some(at_line(text, line))
    };
    unknown("filter", filters).or_else(|| unknown("test", tests))
}

/// Returns a problem with the line in which an expression or template uses this variable.
pub fn at_variable(problem: String, source: &str, name: &str) -> String {
    let line = syntax::line_of(source, |before, token| {
        token == name && !matches!(before, "." | "|" | "is")
    });
    at_line(problem, line)
}

/// Returns a problem with its line. The first line is not said: most templates have no other.
pub fn at_line(problem: String, line: Option<usize>) -> String {
    match line.filter(|line| *line > 1) {
        Some(line) => format!("{problem} (line {line})"),
        None => problem,
    }
}

/// Creates an error with a message for users.
fn error(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

/// Returns the text of a value as Python's `str` does. Fails for an undefined value, or one too large to
/// write.
fn text_of(value: &Value) -> Result<String, Error> {
    if value.is_undefined() {
        return Err(error("the value is not defined"));
    }
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    limits::weigh(value)?;
    Ok(value.to_string())
}

/// Returns the items of a list or another sequence, or the keys of a dictionary. A text has no items.
fn items_of(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Ok(value.try_iter()?.collect()),
        kind => Err(error(format!("expected a list, not {}", described(kind)))),
    }
}

/// Returns the same items as a set.
fn set_of(value: &Value) -> Result<HashSet<Value>, Error> {
    Ok(items_of(value)?.into_iter().collect())
}

/// Returns the keys and values of a dictionary.
fn pairs_of(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    if value.kind() != ValueKind::Map {
        let kind = described(value.kind());
        return Err(error(format!("expected a dictionary, not {kind}")));
    }
    value
        .try_iter()?
        .map(|key| Ok((key.clone(), value.get_item(&key)?)))
        .collect()
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Returns a user-facing name for a kind of value.
fn described(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Undefined => "an undefined value",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::Number => "a number",
        ValueKind::String | ValueKind::Bytes => "a string",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "a dictionary",
        _ => "something else",
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn evaluate(source: &str) -> Result<serde_json::Value, String> {
        let mut environment = Environment::new();
        minijinja_contrib::add_to_environment(&mut environment);
        limits::add_to(&mut environment);
        add_to(&mut environment);
        let source = rewrite_percent(source);
        let value = environment
            .compile_expression(&source)
            .and_then(|expression| expression.eval(()))
            .map_err(|reason| reason.to_string())?;
        serde_json::to_value(value).map_err(|reason| reason.to_string())
    }

    /// Covers filters that ansible-core lacks or that depend on the clock; the others are compared with
    /// ansible-core.
    #[test]
    fn expressions_give_what_they_say() {
        for (source, expected) in [
            (
                r"{'a': [{'b': 1}, {'b': 2}]} | json_query('a[?b > `1`].b')",
                "[2]",
            ),
            (
                "'2026-07-01T10:00:00Z' | strftime('%d.%m. %H:%M', 'Europe/Berlin')",
                "\"01.07. 12:00\"",
            ),
            ("'2026-07-01T10:00:00Z' | strftime('%H:%M')", "\"10:00\""),
            ("'2026-07-01T10:00:00Z' | epoch", "1782900000"),
            ("0.5 | epoch", "0.5"),
            (
                "('2026-01-02 00:00:00' | to_datetime - '2026-01-01' | to_datetime('%Y-%m-%d')).total_seconds()",
                "86400.0",
            ),
            ("(now().timestamp() - 90) | ago", "\"1m\""),
            (
                "['a', 'b'] | map('regex_replace', '^', 'x') | list",
                r#"["xa","xb"]"#,
            ),
            ("'x' | regex_replace(replacement='y', pattern='x')", "\"y\""),
        ] {
            assert_eq!(
                evaluate(source).map(|value| value.to_string()),
                Ok(expected.to_owned()),
                "{source}"
            );
        }
    }

    #[test]
    fn mistakes_are_errors_in_words() {
        for (source, part) in [
            ("'x' | regex_search('(')", "not a regular expression"),
            ("missing | regex_replace('a', 'b')", "not defined"),
            (
                "1 | strftime('%Y', 'Mars/Base')",
                "`Mars/Base` is not a time zone",
            ),
            ("'x' | hash('crc')", "not `crc`"),
            (
                "'x' | regex_replace('a', 'b', color='red')",
                "no argument `color`",
            ),
            ("'x' is failed", "expects a result"),
            ("'a: *b' | from_yaml", "not YAML"),
            ("('[' * 500) | from_yaml", "not YAML"),
            ("('- ' * 500) | from_yaml", "nested too deeply"),
            ("[1] | combine({})", "expected a dictionary"),
            (
                r"('a' * 40) | regex_search('^(a|aa)+\\1c')",
                "regular expression",
            ),
        ] {
            let reason = evaluate(source).expect_err(source);
            assert!(reason.contains(part), "{source}: {reason}");
        }
    }

    /// Every documented filter and test exists.
    #[test]
    fn what_is_documented_is_there() {
        let page = include_str!("../../../docs/expressions.md");
        let part = |from: &str, to: &str| {
            let start = page.find(from).expect("the heading");
            &page[start..start + page[start..].find(to).expect("the next heading")]
        };
        let words = |part: &'static str| part.split('`').skip(1).step_by(2);
        for (part, before) in [
            (part("## Tests", "## Filters"), "is"),
            (part("## Filters", "Functions:"), "|"),
        ] {
            for word in words(part) {
                let name = word.split('(').next().unwrap_or_default();
                let reason = evaluate(&format!("1 {before} {name}"))
                    .err()
                    .unwrap_or_default();
                assert!(!reason.contains("unknown"), "{name}: {reason}");
            }
        }
    }
}
