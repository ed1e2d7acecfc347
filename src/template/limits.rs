//! Limits of templates: stack when compiled, time and memory when evaluated.
//!
//! The engine counts steps and bytes together, as fuel: one unit is a step or 64 bytes. It counts a
//! filter's result only after it exists. So a filter with a large result from small input asks first:
//! [`ensure_bytes`] if it knows the size, [`weigh`] for values that it writes out.

use std::time::Duration;

use minijinja::value::{Kwargs, StringInput, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Longest source of a template, in bytes.
const MAX_SOURCE: usize = 32 << 10;
/// Limit of operators in one expression, and of branches of all `if`: the compiler recurses as deep as the
/// longest chain.
const MAX_CHAIN: usize = 1000;
/// Fuel of a template for most events: steps, and memory up to 9 MiB.
pub const FUEL: u64 = 150_000;
/// Fuel for large events: 80 MiB, because the text of one is held more than once.
pub const ROOMY_FUEL: u64 = 1_250_000;
/// Size in bytes above which an event is large.
pub const LARGE: usize = 128 << 10;
/// Bytes that cost as much as one step.
const FUEL_BYTES: u64 = 64;
/// Approximate memory of a list item, in bytes.
const SLOT: usize = 32;
/// Limit of the values in one that is written out. A number counts as a few bytes of text.
const MAX_VALUES: usize = 4 << 20;
const VALUE_BYTES: usize = 8;
/// Limit of their nesting.
const MAX_DEPTH: usize = 200;
/// Stack of a heavy template, which can nest values as deep as its fuel lasts.
pub const STACK: usize = 32 << 20;
/// Stack of a heavy template for large events.
pub const ROOMY_STACK: usize = 256 << 20;
/// Timeout of a heavy template.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Checks that a text can be compiled safely as a template or an expression.
pub fn check_source(source: &str) -> Result<(), String> {
    if source.len() > MAX_SOURCE {
        return Err(format!(
            "an expression or template can have at most {MAX_SOURCE} bytes; this one has {}",
            source.len()
        ));
    }
    let longest = if is_template(source) {
        let tags = tags(source);
        let branches = tags.iter().filter(|tag| is_branch(tag)).count();
        let longest = tags.iter().map(|tag| operators(tag)).max();
        longest.unwrap_or(0).max(branches)
    } else {
        operators(source)
    };
    if longest > MAX_CHAIN {
        return Err(format!(
            "an expression can have at most {MAX_CHAIN} operators, and a template as many `elif`; this one has {longest}"
        ));
    }
    Ok(())
}

/// Returns true if a text is a template rather than an expression.
pub fn is_template(source: &str) -> bool {
    source.contains("{{") || source.contains("{%")
}

/// Returns true if a template can build huge values from little: deeply nested, or repeated many times. An
/// operator that visits all of them counts as one step of the engine, but may exhaust the stack, or run for
/// years.
pub fn is_heavy(source: &str) -> bool {
    let keeps = ["set", "macro", "call", "recursive", "with", "block"];
    let repeats = source.contains('*') || source.contains("range");
    repeats || source.contains("{%") && keeps.iter().any(|word| source.contains(word))
}

/// Returns the content of a template's tags, without comments.
fn tags(source: &str) -> Vec<&str> {
    let mut tags = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (end, skip) = match rest[start + 1..].chars().next() {
            Some('{') => ("}}", true),
            Some('%') => ("%}", true),
            Some('#') => ("#}", false),
            _ => {
                rest = &rest[start + 1..];
                continue;
            }
        };
        let inside = &rest[start + 2..];
        let length = end_of_tag(inside, end, skip);
        if skip {
            tags.push(&inside[..length]);
        }
        rest = &inside[length..];
    }
    tags
}

/// Returns the position where a tag ends: at `end`, outside of quotes.
fn end_of_tag(inside: &str, end: &str, quotes: bool) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if inside[at..].starts_with(end) => return at,
            None if quotes && matches!(character, '"' | '\'') => quote = Some(character),
            None => {}
        }
    }
    inside.len()
}

fn is_branch(tag: &str) -> bool {
    let tag = tag.trim_start_matches(['-', '+']).trim_start();
    tag.starts_with("elif") || tag.starts_with("else if")
}

/// Counts the operators in an expression, ignoring quoted text.
fn operators(expression: &str) -> usize {
    let mut count = 0;
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let quote = if first == '"' { "\"" } else { "'" };
                let inside = &rest[1..];
                (2 + end_of_text(inside, quote)).min(rest.len())
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let is_in_word = |character: char| character.is_alphanumeric() || character == '_';
                let end = rest.find(|character| !is_in_word(character));
                let word = &rest[..end.unwrap_or(rest.len())];
                let is_operator = ["not", "and", "or", "if", "in", "is"].contains(&word);
                count += usize::from(is_operator);
                word.len()
            }
            _ => {
                count += usize::from("-+~*/%|.([{<>=!".contains(first));
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    count
}

fn end_of_text(inside: &str, quote: &str) -> usize {
    let mut escaped = false;
    let end = inside.char_indices().find(|(_, character)| {
        let ends = !escaped && quote.starts_with(*character);
        escaped = !escaped && *character == '\\';
        ends
    });
    end.map_or(inside.len(), |(at, _)| at)
}

/// Fails if the template's remaining fuel does not cover this many more bytes.
pub fn ensure_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    let Some((_, left)) = state.fuel_levels() else {
        return Ok(());
    };
    if bytes as u64 / FUEL_BYTES >= left {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(())
}

/// Fails if the template's remaining fuel does not cover the content of a value, counting repeated parts
/// each time.
pub fn ensure_held(state: &State, value: &Value) -> Result<(), Error> {
    ensure_bytes(state, weigh(value)?.saturating_mul(SLOT / VALUE_BYTES))
}

/// Returns true if a value can be changed later, and so be made to contain itself.
pub fn is_namespace(value: &Value) -> bool {
    let object = value.as_object();
    object.is_some_and(|object| object.type_name().contains("Namespace"))
}

/// Returns the approximate size of the texts in a value, in bytes. Fails if it is too large or too deep to
/// be written out: the same list can occur in it many times.
pub fn weigh(value: &Value) -> Result<usize, Error> {
    let mut scale = Scale::default();
    scale.put(value, MAX_DEPTH)?;
    Ok(scale.bytes)
}

#[derive(Default)]
struct Scale {
    values: usize,
    bytes: usize,
}

impl Scale {
    fn put(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.values += 1;
        self.bytes += value.as_str().map_or(VALUE_BYTES, str::len);
        let is_large = self.values > MAX_VALUES || self.bytes > MAX_VALUES * VALUE_BYTES;
        if depth == 0 || is_large {
            return Err(too_large());
        }
        if is_namespace(value) {
            let reason = "a namespace cannot be in another value";
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => value
                .try_iter()?
                .try_for_each(|item| self.put(&item, depth - 1)),
            ValueKind::Map => {
                let pairs = value.as_object().and_then(|map| map.try_iter_pairs());
                pairs.into_iter().flatten().try_for_each(|(key, value)| {
                    self.put(&key, depth - 1)?;
                    self.put(&value, depth - 1)
                })
            }
            _ => Ok(()),
        }
    }
}

fn too_large() -> Error {
    let reason = "a value is too large or nested too deeply to be written out";
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Replaces unbounded filters and methods of the engine by bounded ones.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("join", join);
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", string);
    environment.add_filter("pprint", pprint);
    environment.add_function("debug", debug);
    environment.set_unknown_method_callback(method);
}

fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let between = joiner.as_ref().map_or(0, |joiner| joiner.as_str().len());
    ensure_joined(state, value, between)?;
    minijinja::filters::join(state, value, joiner, attribute, kwargs)
}

fn ensure_joined(state: &State, values: &Value, between: usize) -> Result<(), Error> {
    let mut bytes = 0_usize;
    if matches!(values.kind(), ValueKind::Seq | ValueKind::Iterable) {
        for item in values.try_iter()? {
            bytes = bytes.saturating_add(weigh(&item)?.saturating_add(between));
            ensure_bytes(state, bytes)?;
        }
    }
    Ok(())
}

fn tojson(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let width = match &indent {
        Some(indent) => Some(indent.clone()),
        None => kwargs.peek::<Option<Value>>("indent")?,
    };
    let width = width.and_then(|width| width.as_usize()).unwrap_or(0);
    if width > 100 {
        let reason = "an indent of `tojson` must be at most 100";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    ensure_bytes(state, weigh(value)?)?;
    let json = minijinja::filters::tojson(value, indent, kwargs)?;
    // Counted twice, including the engine's own count: it takes longer than a copy.
    state.consume_fuel(json.as_str().map_or(0, str::len) as u64 / FUEL_BYTES)?;
    Ok(json)
}

fn string(state: &State, value: &Value) -> Result<Value, Error> {
    ensure_bytes(state, weigh(value)?)?;
    minijinja::filters::string(state, value)
}

fn pprint(state: &State, value: &Value) -> Result<String, Error> {
    ensure_bytes(state, weigh(value)?)?;
    Ok(minijinja::filters::pprint(value))
}

fn debug(state: &State, values: minijinja::value::Rest<Value>) -> Result<String, Error> {
    for value in values.iter() {
        ensure_bytes(state, weigh(value)?)?;
    }
    Ok(minijinja::functions::debug(state, values))
}

/// Calls Python's methods of strings, lists and dictionaries.
pub fn method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match method {
            "join" if !args.is_empty() => ensure_joined(state, &args[0], text.len())?,
            "split" | "splitlines" => ensure_bytes(state, pieces(text, args) * SLOT)?,
            "format" => ensure_bytes(state, formatted(text, args)?)?,
            _ => {}
        }
    }
    unknown_method_callback(state, value, method, args)
}

/// Returns an upper bound of the number of pieces a text splits into.
fn pieces(text: &str, args: &[Value]) -> usize {
    match args.first().and_then(Value::as_str) {
        Some(separator) => 1 + text.matches(separator).count(),
        None => {
            1 + text
                .split_ascii_whitespace()
                .count()
                .max(text.lines().count())
        }
    }
}

/// Returns an upper bound of the length after `format`: the widths, plus the values wherever they may occur.
fn formatted(text: &str, args: &[Value]) -> Result<usize, Error> {
    let widths = text
        .split(|character: char| !character.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX));
    let widths = widths.fold(0, usize::saturating_add);
    let mut values: usize = 0;
    for value in args {
        values = values.saturating_add(weigh(value)?);
    }
    let fields = text.matches('{').count();
    Ok(values.saturating_mul(fields).saturating_add(widths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_counted_outside_of_texts() {
        assert_eq!(operators("a.b | c('-- not') ~ -1"), 5);
        assert_eq!(operators(r#"not "\" not -" and nothing"#), 2);
        assert_eq!(operators("'open - -"), 0);
        let source = "--- {{ a - '}}' - b }} {# - - #} {%- elif x %}---{{ 'ü' ~ é }";
        assert_eq!(tags(source), [" a - '}}' - b ", "- elif x ", " 'ü' ~ é }"]);
    }

    #[test]
    fn chains_are_bounded() {
        let dashes = "-".repeat(30_000);
        assert!(check_source(&dashes).is_err());
        assert!(check_source(&format!("{{{{ {dashes}1 }}}}")).is_err());
        assert!(check_source(&"not ".repeat(8000)).is_err());
        let branches = "{% elif a %}x".repeat(2000);
        assert!(check_source(&format!("{{% if a %}}{branches}{{% endif %}}")).is_err());
        // Text outside of the template's tags.
        assert_eq!(check_source(&format!("{dashes}{{{{ host }}}}")), Ok(()));
        let icons: Vec<String> = (0..400).map(|n| format!("'a{n}': 'x.y-{n}'")).collect();
        assert_eq!(
            check_source(&format!("{{{}}}[state]", icons.join(", "))),
            Ok(())
        );
    }

    #[test]
    fn shared_values_are_weighed_as_they_would_be_written() {
        let mut value = Value::from(vec![Value::from("x"); 2]);
        for _ in 0..40 {
            value = Value::from(vec![value.clone(), value]);
        }
        assert!(weigh(&value).is_err());
        let mut deep = Value::from(1);
        for _ in 0..300 {
            deep = Value::from(vec![deep]);
        }
        assert!(weigh(&deep).is_err());
        assert!(weigh(&Value::from("x".repeat(1000))).is_ok_and(|bytes| bytes == 1000));
    }
}
