//! Access to fields of the JSON objects that events are made from.

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::from_seconds;

/// Serialises a value.
pub fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value can be written")
}

/// Returns a text field of an object; None if it is absent, empty or not text.
pub fn text<'a>(object: impl Into<Fields<'a>>, key: &str) -> Option<String> {
    let Fields(object) = object.into();
    object?
        .get(key)?
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// Fields of an object; none if a value is not an object.
pub struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> From<&'a Map<String, Value>> for Fields<'a> {
    fn from(object: &'a Map<String, Value>) -> Self {
        Fields(Some(object))
    }
}

impl<'a> From<&'a Value> for Fields<'a> {
    fn from(value: &'a Value) -> Self {
        Fields(value.as_object())
    }
}

/// Reads a time: RFC 3339, with or without a zone (then UTC), or seconds since 1970.
pub fn read_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text
            .parse()
            .or_else(|_| {
                let time = text.parse::<jiff::civil::DateTime>()?;
                jiff::tz::TimeZone::UTC.to_timestamp(time)
            })
            .ok(),
        Value::Number(seconds) => from_seconds(seconds.as_f64()?),
        _ => None,
    }
}
