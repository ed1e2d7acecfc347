//! Ansible's tests: `is failed`, `is version(…)`, `is truthy`, `is subset(…)`.

use std::cmp::Ordering;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::arguments::{Arguments, Given};
use super::numbers::convert_bool;
use super::{error, items_of, set_of, text_of, versions};

pub fn add_to(environment: &mut Environment) {
    for name in ["failed", "failure"] {
        environment.add_test(name, |result: &Value| has(result, "failed"));
    }
    for name in ["succeeded", "success", "successful"] {
        environment.add_test(name, |result: &Value| {
            has(result, "failed").map(|failed| !failed)
        });
    }
    environment.add_test("unreachable", |result: &Value| has(result, "unreachable"));
    environment.add_test("reachable", |result: &Value| {
        has(result, "unreachable").map(|unreachable| !unreachable)
    });
    for name in ["changed", "change"] {
        environment.add_test(name, is_changed);
    }
    for name in ["skipped", "skip"] {
        environment.add_test(name, |result: &Value| has(result, "skipped"));
    }
    // A task that is not asynchronous counts as started and finished.
    for name in ["started", "finished"] {
        environment.add_test(name, move |result: &Value| {
            Ok::<bool, Error>(key(result, name)?.is_none_or(|value| value.is_true()))
        });
    }
    environment.add_test("timedout", |result: &Value| {
        let timed_out = key(result, "timedout")?;
        Ok::<bool, Error>(timed_out.is_some_and(|value| {
            value
                .get_attr("period")
                .is_ok_and(|period| period.is_true())
        }))
    });
    for name in ["version", "version_compare"] {
        environment.add_test(name, is_version);
    }
    environment.add_test("truthy", |value: &Value, given: Given| {
        is_truthy(value, given)
    });
    environment.add_test("falsy", |value: &Value, given: Given| {
        is_truthy(value, given).map(|truthy| !truthy)
    });
    for name in ["subset", "issubset"] {
        environment.add_test(name, |part: &Value, whole: &Value| is_subset(part, whole));
    }
    for name in ["superset", "issuperset"] {
        environment.add_test(name, |whole: &Value, part: &Value| is_subset(part, whole));
    }
    // In Python, a text and a dictionary are sequences too.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        )
    });
    environment.add_test("contains", |whole: &Value, part: &Value| is_in(part, whole));
    environment.add_test("any", |values: &Value| {
        Ok::<bool, Error>(items_of(values)?.iter().any(Value::is_true))
    });
    environment.add_test("all", |values: &Value| {
        Ok::<bool, Error>(items_of(values)?.iter().all(Value::is_true))
    });
    environment.add_test("nan", |value: &Value| {
        f64::try_from(value.clone()).is_ok_and(f64::is_nan)
    });
    environment.add_test("uri", |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| url::Url::parse(text).is_ok())
    });
}

/// Returns a key of a result; None if it is absent, as a state such as `failed` may be.
fn key(result: &Value, name: &str) -> Result<Option<Value>, Error> {
    if result.kind() != ValueKind::Map {
        return Err(error(format!(
            "the test expects a result, not {}",
            super::described(result.kind())
        )));
    }
    let value = result.get_attr(name)?;
    Ok((!value.is_undefined()).then_some(value))
}

fn has(result: &Value, name: &str) -> Result<bool, Error> {
    Ok(key(result, name)?.is_some_and(|value| value.is_true()))
}

/// Returns true if the result is changed; a loop is changed if one of its items is.
fn is_changed(result: &Value) -> Result<bool, Error> {
    if let Some(changed) = key(result, "changed")? {
        return Ok(changed.is_true());
    }
    let Some(results) = key(result, "results")? else {
        return Ok(false);
    };
    let changed = |item: &Value| item.get_attr("changed").is_ok_and(|value| value.is_true());
    Ok(items_of(&results)?.iter().any(changed))
}

fn is_version(value: &Value, given: Given) -> Result<bool, Error> {
    let names = ["version", "operator", "strict", "version_type"];
    let given = Arguments::new(given, names)?;
    let (left, right) = (text_of(value)?, given.text(0, "")?);
    if left.is_empty() || right.is_empty() {
        return Err(error("a version to compare is empty"));
    }
    let kind = match (given.flag(2), given.get(3)) {
        (true, None) => "strict".to_owned(),
        (_, Some(kind)) if !kind.is_none() => text_of(kind)?,
        _ => "loose".to_owned(),
    };
    let Some(order) = versions::compare(&kind, &left, &right) else {
        return Err(error(format!(
            "cannot compare `{left}` and `{right}` as `{kind}`; a type is loose, strict or semver"
        )));
    };
    Ok(match given.text(1, "eq")?.as_str() {
        "==" | "=" | "eq" => order == Ordering::Equal,
        "!=" | "<>" | "ne" => order != Ordering::Equal,
        "<" | "lt" => order == Ordering::Less,
        "<=" | "le" => order != Ordering::Greater,
        ">" | "gt" => order == Ordering::Greater,
        ">=" | "ge" => order != Ordering::Less,
        other => {
            return Err(error(format!(
                "an operator must be ==, !=, <, <=, >, >= or its name, not `{other}`"
            )));
        }
    })
}

fn is_truthy(value: &Value, given: Given) -> Result<bool, Error> {
    let given = Arguments::new(given, ["convert_bool"])?;
    let converted = given.flag(0).then(|| convert_bool(value)).flatten();
    Ok(converted.unwrap_or_else(|| value.is_true()))
}

fn is_subset(part: &Value, whole: &Value) -> Result<bool, Error> {
    let whole = set_of(whole)?;
    Ok(items_of(part)?.iter().all(|one| whole.contains(one)))
}

/// Python's `in`: looks in a list, a dictionary's keys, or a text.
fn is_in(part: &Value, whole: &Value) -> Result<bool, Error> {
    match whole.as_str() {
        Some(text) => Ok(text.contains(&text_of(part)?)),
        None => Ok(items_of(whole)?.contains(part)),
    }
}
