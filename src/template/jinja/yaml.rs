//! YAML in the layout of PyYAML, which Ansible uses.

use std::sync::LazyLock;

use fancy_regex::Regex;
use minijinja::Error;
use minijinja::value::{Value, ValueKind};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::{error, is_list, items_of, pairs_of, text_of};

/// Limit of nesting when YAML is read.
const MAX_DEPTH: usize = 100;

/// Layout of lists and dictionaries.
#[derive(Clone, Copy, PartialEq)]
pub enum Style {
    /// One item per line.
    Block,
    /// One item per line, except for collections without nested ones: `{a: 1, b: 2}`.
    Leaves,
    /// Everything on one line.
    Flow,
}

/// Returns the value as YAML, with sorted keys.
pub fn write(value: &Value, style: Style, indent: usize) -> Result<String, Error> {
    if !(1..=40).contains(&indent) {
        return Err(error("an indent must be from 1 to 40"));
    }
    let mut writer = Writer {
        out: String::new(),
        style,
        // PyYAML accepts no other values.
        indent: if (2..10).contains(&indent) { indent } else { 2 },
    };
    writer.value(value, 0, Start::Here)?;
    if !writer.out.ends_with('\n') {
        writer.out.push('\n');
    }
    // PyYAML ends a document that is a plain scalar with an explicit marker.
    if !is_collection(value) && !writer.out.starts_with(['\'', '"']) {
        writer.out.push_str("...\n");
    }
    Ok(writer.out)
}

fn is_collection(value: &Value) -> bool {
    is_list(value) || value.kind() == ValueKind::Map
}

struct Writer {
    out: String,
    style: Style,
    indent: usize,
}

/// Place where a value starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Here,
    /// After a key and a colon: a scalar after a space, a collection on a new line.
    AfterKey,
}

impl Writer {
    /// Writes a value whose lines start in `column`.
    fn value(&mut self, value: &Value, column: usize, start: Start) -> Result<(), Error> {
        let children: Vec<Value> = match value.kind() {
            ValueKind::Map => pairs_of(value)?
                .into_iter()
                .map(|(_, child)| child)
                .collect(),
            ValueKind::Seq | ValueKind::Iterable => items_of(value)?,
            _ => {
                let scalar = scalar(value)?;
                if start == Start::AfterKey {
                    self.out.push(' ');
                }
                self.out.push_str(&scalar);
                return Ok(());
            }
        };
        let is_leaf = !children.iter().any(is_collection);
        let flows = match self.style {
            Style::Flow => true,
            Style::Leaves => is_leaf,
            Style::Block => false,
        };
        if flows || children.is_empty() {
            if start == Start::AfterKey {
                self.out.push(' ');
            }
            return self.flow(value);
        }
        if value.kind() == ValueKind::Map {
            if start == Start::AfterKey {
                self.line(column);
            }
            for (number, (key, child)) in sorted(value)?.into_iter().enumerate() {
                if number > 0 {
                    self.line(column);
                }
                self.out.push_str(&scalar(&key)?);
                self.out.push(':');
                // A list in a dictionary is not indented.
                let column = if is_list(&child) {
                    column
                } else {
                    column + self.indent
                };
                self.value(&child, column, Start::AfterKey)?;
            }
        } else {
            if start == Start::AfterKey {
                self.line(column);
            }
            for (number, child) in children.iter().enumerate() {
                if number > 0 {
                    self.line(column);
                }
                self.out.push('-');
                self.out.push_str(&" ".repeat(if is_collection(child) {
                    self.indent - 1
                } else {
                    1
                }));
                self.value(child, column + self.indent, Start::Here)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, column: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(column));
    }

    fn flow(&mut self, value: &Value) -> Result<(), Error> {
        if value.kind() == ValueKind::Map {
            self.out.push('{');
            for (number, (key, child)) in sorted(value)?.into_iter().enumerate() {
                self.out.push_str(if number > 0 { ", " } else { "" });
                self.out.push_str(&scalar(&key)?);
                self.out.push_str(": ");
                self.flow(&child)?;
            }
            self.out.push('}');
        } else if is_list(value) {
            self.out.push('[');
            for (number, child) in items_of(value)?.iter().enumerate() {
                self.out.push_str(if number > 0 { ", " } else { "" });
                self.flow(child)?;
            }
            self.out.push(']');
        } else {
            self.out.push_str(&scalar(value)?);
        }
        Ok(())
    }
}

fn sorted(value: &Value) -> Result<Vec<(Value, Value)>, Error> {
    let mut pairs = pairs_of(value)?;
    pairs.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(pairs)
}

/// Returns a scalar as YAML. A text is quoted if it would be read as something else.
fn scalar(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => "null".to_owned(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => value.to_string(),
        _ => quoted(&text_of(value)?),
    })
}

fn quoted(text: &str) -> String {
    if text.chars().any(|one| one.is_control() && one != '\n') {
        return serde_json::to_string(text).unwrap_or_default();
    }
    if text.contains('\n') {
        return format!("'{}'", text.replace('\'', "''").replace('\n', "\n\n"));
    }
    if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Returns true if YAML 1.1 reads the unquoted text as that same text, even in flow style.
fn is_plain(text: &str) -> bool {
    let begins_special = text.starts_with([
        ' ', '-', '?', ':', ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%',
        '@', '`',
    ]);
    let word_after_sign = text.starts_with(['-', '?', ':'])
        && text[1..].starts_with(|one: char| !one.is_whitespace() && !",[]{}".contains(one));
    let is_marker = ["", "=", "<<", "---", "..."].contains(&text);
    resolve(text).is_none()
        && !is_marker
        && (!begins_special || word_after_sign)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains([',', '[', ']', '{', '}'])
}

/// Resolves an unquoted scalar to a value as PyYAML's resolver (YAML 1.1) does; None if it is a text.
fn resolve(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::from(()),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::from(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::from(false)
        }
        _ => number(text)?,
    })
}

/// Parses a number of YAML 1.1. Values without a counterpart in JSON (dates, base-60 numbers) stay text.
fn number(text: &str) -> Option<Value> {
    let is_number = |pattern: &Regex| pattern.is_match(text).unwrap_or(false);
    if is_number(&DATE) || is_number(&BASE_60) {
        return Some(Value::from(text));
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if is_number(&INTEGER) {
        let (digits, base) = match (digits.get(..2), digits.get(..1)) {
            (Some("0x"), _) => (&digits[2..], 16),
            (Some("0b"), _) => (&digits[2..], 2),
            (_, Some("0")) if digits.len() > 1 => (&digits[1..], 8),
            _ => (digits, 10),
        };
        let number = i64::from_str_radix(digits, base);
        return Some(
            number.map_or_else(|_| Value::from(text), |number| Value::from(sign * number)),
        );
    }
    if is_number(&FLOAT) {
        return Some(match digits.to_lowercase().as_str() {
            ".inf" => Value::from(f64::INFINITY.copysign(sign as f64)),
            ".nan" => Value::from(f64::NAN),
            _ => Value::from(plain.parse::<f64>().ok()?),
        });
    }
    None
}

static INTEGER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[-+]?(0b[0-1_]+|0[0-7_]+|(0|[1-9][0-9_]*)|0x[0-9a-fA-F_]+)"));
static FLOAT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[-+]?([0-9][0-9_]*)\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    )
});
static BASE_60: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"));
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?([Tt \t]+[0-9][0-9]?:[0-9]{2}:[0-9]{2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9][0-9]?(:[0-9]{2})?))?)?",
    )
});

/// Compiles a pattern that must match the whole text.
fn pattern(source: &str) -> Regex {
    let pattern = Regex::new(&format!(r"\A(?:{source})\z"));
    pattern.expect("the patterns of YAML's numbers are valid")
}

/// Returns the first YAML document of a text. Fails for deep nesting, and for aliases, which could expand a
/// small text into a huge value.
pub fn read(text: &str) -> Result<Value, Error> {
    let mut open: Vec<Collection> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|reason| not_yaml(&reason))?;
        let value = match event {
            Event::SequenceStart(..) => {
                open.push(Collection::default());
                None
            }
            Event::MappingStart(..) => {
                open.push(Collection {
                    is_map: true,
                    ..Collection::default()
                });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Collection::value),
            Event::Scalar(text, ScalarStyle::Plain, _, None) => {
                Some(resolve(&text).unwrap_or_else(|| Value::from(text.as_ref())))
            }
            Event::Scalar(text, ..) => Some(Value::from(text.as_ref())),
            Event::Alias(..) => return Err(error("YAML with aliases is not supported")),
            Event::DocumentEnd => break,
            _ => None,
        };
        if open.len() > MAX_DEPTH {
            return Err(error("the YAML is nested too deeply"));
        }
        match (value, open.last_mut()) {
            (Some(value), Some(around)) => around.values.push(value),
            (Some(value), None) => return Ok(value),
            (None, _) => {}
        }
    }
    Ok(Value::from(()))
}

/// A list or dictionary being read; a dictionary as alternating keys and values.
#[derive(Default)]
struct Collection {
    is_map: bool,
    values: Vec<Value>,
}

impl Collection {
    fn value(self) -> Value {
        if !self.is_map {
            return Value::from(self.values);
        }
        let mut values = self.values.into_iter();
        let pair = || Some((values.next()?, values.next()?));
        Value::from_pairs(std::iter::from_fn(pair))
    }
}

fn not_yaml(reason: &ScanError) -> Error {
    error(format!(
        "not YAML: {}",
        reason.to_string().replace('\n', " ")
    ))
}
