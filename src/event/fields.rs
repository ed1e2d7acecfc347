//! Fields of JSON objects, as events are made of them.

use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::from_seconds;

/// A value as its text.
pub fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value can be written")
}

/// A text field of an object; nothing where it is absent, empty or no text.
pub fn text<'a>(object: impl Into<Fields<'a>>, key: &str) -> Option<String> {
    let Fields(object) = object.into();
    object?
        .get(key)?
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// The fields that an object has; none where a value is no object.
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

/// RFC 3339, with or without a zone (then UTC), or seconds since 1970.
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
