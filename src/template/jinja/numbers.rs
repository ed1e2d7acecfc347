//! Filters for booleans, numbers and sizes: `bool`, `human_readable`, `log`, arithmetic, but not `random`.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::arguments::{Arguments, Given};
use super::{error, text_of};

/// Adds these filters.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("bool", to_bool);
    environment.add_filter("human_readable", human_readable);
    environment.add_filter("human_to_bytes", human_to_bytes);
    environment.add_filter("log", |value: f64, base: Option<f64>| {
        Ok::<f64, Error>(match base {
            None => value.ln(),
            Some(10.0) => value.log10(),
            Some(base) => value.ln() / base.ln(),
        })
    });
    environment.add_filter("pow", |value: f64, exponent: f64| {
        Ok::<f64, Error>(value.powf(exponent))
    });
    environment.add_filter("root", |value: f64, base: Option<f64>| {
        Ok::<f64, Error>(match base {
            None => value.sqrt(),
            Some(2.0) => value.sqrt(),
            Some(base) => value.powf(1.0 / base),
        })
    });
}

/// Ansible's `bool`: yes, on, true and 1 are true, in any case; everything else is false, including any
/// other text. Null stays null.
fn to_bool(value: &Value) -> Result<Value, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => return Err(error("the value is not defined")),
        ValueKind::None => Value::from(false),
        ValueKind::Bool => value.clone(),
        ValueKind::Number => Value::from(*value == Value::from(1)),
        ValueKind::String => {
            let text = text_of(value)?.to_lowercase();
            Value::from(["yes", "on", "true", "1"].contains(&text.as_str()))
        }
        _ => Value::from(false),
    })
}

/// Converts values that Ansible's `boolean` accepts; None for anything else.
pub fn convert_bool(value: &Value) -> Option<bool> {
    match value.kind() {
        ValueKind::Bool => Some(value.is_true()),
        ValueKind::Number if *value == Value::from(1) => Some(true),
        ValueKind::Number if *value == Value::from(0) => Some(false),
        ValueKind::String => {
            let text = value.as_str()?.trim().to_lowercase();
            match text.as_str() {
                "y" | "yes" | "on" | "1" | "true" | "t" => Some(true),
                "n" | "no" | "off" | "0" | "false" | "f" => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}

/// ansible-core's `SIZE_RANGES`, largest first.
const SIZES: [(char, f64); 9] = [
    ('Y', 1_208_925_819_614_629_174_706_176.0),
    ('Z', 1_180_591_620_717_411_303_424.0),
    ('E', 1_152_921_504_606_846_976.0),
    ('P', 1_125_899_906_842_624.0),
    ('T', 1_099_511_627_776.0),
    ('G', 1_073_741_824.0),
    ('M', 1_048_576.0),
    ('K', 1024.0),
    ('B', 1.0),
];

fn human_readable(size: f64, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["isbits", "unit"])?;
    let base = if given.flag(0) { "bits" } else { "Bytes" };
    let unit = match given.get(1) {
        Some(unit) if !unit.is_none() => Some(text_of(unit)?.to_uppercase()),
        _ => None,
    };
    let fits = |(letter, limit): &&(char, f64)| match &unit {
        None => size >= *limit,
        Some(unit) => *unit == letter.to_string(),
    };
    let (letter, limit) = SIZES.iter().find(fits).unwrap_or(&SIZES[8]);
    Ok(if *limit == 1.0 {
        format!("{size:.2} {base}")
    } else {
        format!("{:.2} {letter}{}", size / limit, &base[..1])
    })
}

fn human_to_bytes(value: &Value, given: Given) -> Result<i64, Error> {
    let given = Arguments::new(given, ["default_unit", "isbits"])?;
    let text = text_of(value)?;
    let not_a_size = || error(format!("`{text}` is not a size such as 10M"));
    let trimmed = text.trim_end();
    let end = trimmed.find(|one: char| !one.is_ascii_digit() && one != '.');
    let (number, unit) = trimmed.split_at(end.unwrap_or(trimmed.len()));
    let number: f64 = number.parse().map_err(|_| not_a_size())?;
    let unit = match (unit.trim_start(), given.get(0)) {
        ("", None) => return Ok(number.round_ties_even() as i64),
        ("", Some(unit)) => text_of(unit)?,
        (unit, _) => unit.to_owned(),
    };
    let mut letters = unit.chars();
    let first = letters.next().ok_or_else(not_a_size)?.to_ascii_uppercase();
    let rest = letters.as_str();
    let (_, limit) = SIZES
        .iter()
        .find(|(letter, _)| *letter == first)
        .ok_or_else(not_a_size)?;
    // `B` for bytes and `b` for bits; a single letter means either, and so does the whole word.
    let (symbol, word) = if given.flag(1) {
        ("b", "bit")
    } else {
        ("B", "byte")
    };
    let words = match first {
        'B' => vec![word.to_owned()],
        _ => vec![
            format!("{}{word}", prefix(first)),
            format!("{first}{symbol}"),
        ],
    };
    let known = words
        .iter()
        .any(|known| *known == unit || *known == unit.to_lowercase());
    if !rest.is_empty() && !known {
        return Err(not_a_size());
    }
    Ok((number * limit).round_ties_even() as i64)
}

/// Returns the prefix for a size's letter, as in `megabyte`.
fn prefix(letter: char) -> &'static str {
    match letter {
        'Y' => "yotta",
        'Z' => "zetta",
        'E' => "exa",
        'P' => "peta",
        'T' => "tera",
        'G' => "giga",
        'M' => "mega",
        _ => "kilo",
    }
}
