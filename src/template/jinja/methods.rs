//! Methods of Python's strings, lists and dictionaries that the template engine lacks.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

use super::arguments::Arguments;
use super::{error, items_of};
use crate::template::limits;

/// Longest encoding of a character, in bytes.
const CHARACTER: usize = 4;

/// Calls the method, if it is one of these.
pub fn call(
    state: &State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    match (value.as_str(), value.kind(), method) {
        (Some(text), ..) => of_text(state, text, method, args),
        (None, ValueKind::Seq, "index") => {
            let wanted = args.first().ok_or_else(|| error("`index` needs a value"))?;
            let found = items_of(value)?.iter().position(|item| item == wanted);
            let missing = || error("the value is not in the list");
            found.map(|at| Some(Value::from(at))).ok_or_else(missing)
        }
        (None, ValueKind::Seq | ValueKind::Map, "copy") => Ok(Some(value.clone())),
        _ => Ok(None),
    }
}

fn of_text(
    state: &State,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    let result = match method {
        "rsplit" => rsplit(text, args)?,
        "partition" | "rpartition" => partition(text, method, args)?,
        "zfill" | "ljust" | "rjust" | "center" => padded(state, text, method, args)?,
        "removeprefix" => {
            let part = part(args)?;
            Value::from(text.strip_prefix(&*part).unwrap_or(text))
        }
        "removesuffix" => {
            let part = part(args)?;
            Value::from(text.strip_suffix(&*part).unwrap_or(text))
        }
        "swapcase" => text.chars().map(swapped).collect::<String>().into(),
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn part(args: &[Value]) -> Result<String, Error> {
    Arguments::of(args.to_vec(), ["text"])?.text(0, "")
}

fn swapped(one: char) -> String {
    if one.is_uppercase() {
        one.to_lowercase().collect()
    } else {
        one.to_uppercase().collect()
    }
}

/// Splits a text from its end, so that the first piece may still contain separators.
fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let given = Arguments::of(args.to_vec(), ["sep", "maxsplit"])?;
    let most = given.get(1).and_then(Value::as_i64).unwrap_or(-1);
    let most = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
    let mut pieces: Vec<&str> = match given.get(0).and_then(Value::as_str) {
        Some("") => return Err(error("the separator is empty")),
        Some(separator) => text.rsplitn(most, separator).collect(),
        None => {
            let mut pieces = Vec::new();
            let mut rest = text.trim_end();
            while !rest.is_empty() {
                let blank = rest.rfind(char::is_whitespace);
                let begin = blank.filter(|_| pieces.len() + 1 < most);
                let (before, piece) = match begin {
                    Some(_) => {
                        let piece = rest.rsplit(char::is_whitespace).next().unwrap_or(rest);
                        (&rest[..rest.len() - piece.len()], piece)
                    }
                    None => ("", rest),
                };
                pieces.push(piece);
                rest = before.trim_end();
            }
            pieces
        }
    };
    pieces.reverse();
    Ok(pieces.into_iter().map(Value::from).collect())
}

/// Returns the text before a separator, the separator, and the text after it.
fn partition(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let separator = part(args)?;
    if separator.is_empty() {
        return Err(error("the separator is empty"));
    }
    let is_last = method == "rpartition";
    let found = if is_last {
        text.rsplit_once(&*separator)
    } else {
        text.split_once(&*separator)
    };
    let parts = match found {
        Some((before, after)) => [before, &separator, after],
        None if is_last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Pads a text to the requested width.
fn padded(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let given = Arguments::of(args.to_vec(), ["width", "fillchar"])?;
    let width = given.size(0, 0)?;
    let default = if method == "zfill" { "0" } else { " " };
    let fill = given.text(1, default)?;
    limits::ensure_bytes(state, width.saturating_mul(CHARACTER))?;
    let missing = width.saturating_sub(text.chars().count());
    let (sign, text) = match text.strip_prefix(['-', '+']) {
        Some(rest) if method == "zfill" => text.split_at(text.len() - rest.len()),
        _ => ("", text),
    };
    let left = match method {
        "ljust" => 0,
        // Python does the same: the odd space goes to the left if the width is odd.
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let (left, right) = (fill.repeat(left), fill.repeat(missing - left));
    Ok(format!("{sign}{left}{text}{right}").into())
}
