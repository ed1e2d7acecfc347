//! Filters and functions for times. A time is a text in RFC 3339 form, as in events, or seconds since 1970.

use std::sync::Arc;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::arguments::{Arguments, Given};
use super::{error, text_of};
use crate::event::fields::read_time;

/// Adds these filters and functions.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("strftime", strftime);
    environment.add_filter("to_datetime", to_datetime);
    environment.add_filter("epoch", |time: &Value| {
        let time = timestamp(time)?;
        let nanoseconds = time.subsec_nanosecond();
        Ok::<Value, Error>(match nanoseconds {
            0 => Value::from(time.as_second()),
            _ => Value::from(time.as_duration().as_secs_f64()),
        })
    });
    environment.add_filter("ago", |time: &Value| {
        let seconds = Timestamp::now().duration_since(timestamp(time)?).as_secs();
        Ok::<String, Error>(ago(seconds))
    });
    environment.add_function("now", now);
}

/// Parses a time: a text from an event, or seconds since 1970.
fn timestamp(time: &Value) -> Result<Timestamp, Error> {
    if let Some(moment) = time.downcast_object_ref::<Moment>() {
        return Ok(moment.0.timestamp());
    }
    let json = match time.kind() {
        ValueKind::Number => serde_json::to_value(time).unwrap_or_default(),
        // Ansible's facts have seconds as text.
        _ => match text_of(time)?.trim() {
            text if text.parse::<f64>().is_ok() => text
                .parse()
                .map_or(serde_json::Value::Null, serde_json::Value::Number),
            text => serde_json::Value::String(text.to_owned()),
        },
    };
    read_time(&json).ok_or_else(|| error(format!("`{time}` is not a time")))
}

/// Implements `FORMAT | strftime(seconds, utc)` as in Ansible, or `time | strftime(FORMAT, zone)`.
fn strftime(value: &Value, given: Given) -> Result<String, Error> {
    let format = text_of(value)?;
    if format.contains('%') || given.is_empty() {
        let given = Arguments::new(given, ["second", "utc"])?;
        let time = match given.get(0) {
            Some(second) if !second.is_none() => timestamp(second)?,
            _ => Timestamp::now(),
        };
        let zone = if given.flag(1) {
            TimeZone::UTC
        } else {
            TimeZone::system()
        };
        return write(&format, &time.to_zoned_datetime(zone));
    }
    let given = Arguments::new(given, ["format", "zone"])?;
    let zone = match given.get(1) {
        Some(zone) if !zone.is_none() => zone_named(&text_of(zone)?)?,
        _ => TimeZone::UTC,
    };
    write(
        &given.text(0, "%Y-%m-%d %H:%M:%S")?,
        &timestamp(value)?.to_zoned_datetime(zone),
    )
}

fn zone_named(name: &str) -> Result<TimeZone, Error> {
    match name {
        "local" => Ok(TimeZone::system()),
        _ => TimeZone::get(name).map_err(|_| {
            error(format!(
                "`{name}` is not a time zone; write one such as `Europe/Berlin`, `UTC` or `local`"
            ))
        }),
    }
}

fn write(format: &str, time: &ZonedDateTime) -> Result<String, Error> {
    strtime::format(format, time)
        .map_err(|reason| error(format!("the format of the time: {reason}")))
}

/// Parses a text in the given format, in UTC unless it has a zone. Returns seconds since 1970, so that
/// times can be subtracted.
fn to_datetime(text: &Value, given: Given) -> Result<f64, Error> {
    let given = Arguments::new(given, ["format"])?;
    let text = text_of(text)?;
    let format = given.text(0, "%Y-%m-%d %H:%M:%S")?;
    let read = strtime::parse(&format, &text)
        .map_err(|_| error(format!("`{text}` is not a time in the format `{format}`")))?;
    let time = read
        .to_timestamp()
        .or_else(|_| {
            read.to_datetime()
                .and_then(|time| TimeZone::UTC.to_timestamp(time))
        })
        .or_else(|_| {
            let date = read.to_date()?;
            TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0))
        });
    let time = time.map_err(|_| error(format!("`{text}` is not a time")))?;
    Ok(time.as_duration().as_secs_f64())
}

/// Methods of Python's `datetime` and `timedelta`, for times in seconds.
pub fn method(seconds: f64, method: &str, args: &[Value]) -> Result<Value, Error> {
    let time = || {
        let time = serde_json::Number::from_f64(seconds).map(serde_json::Value::Number);
        let time = time.and_then(|time| read_time(&time));
        time.ok_or_else(|| error(format!("`{seconds}` is not a time")))
    };
    let text = |format: &str| write(format, &time()?.to_zoned_datetime(TimeZone::UTC));
    match (method, args) {
        ("timestamp" | "total_seconds", []) => Ok(Value::from(seconds)),
        ("strftime", [format]) => text(&text_of(format)?).map(Value::from),
        ("isoformat", []) => text("%Y-%m-%dT%H:%M:%S").map(Value::from),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// Formats an age in its largest unit: `5m`, `3h`, `2d`.
fn ago(seconds: i64) -> String {
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.iter().find(|(length, _)| seconds.abs() >= *length);
    let (length, letter) = unit.unwrap_or(&(1, 's'));
    format!("{}{letter}", seconds / length)
}

/// Implements `now(utc, fmt)`: a moment with Python's methods, or its formatted text.
fn now(given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["utc", "fmt"])?;
    let zone = if given.flag(0) {
        TimeZone::UTC
    } else {
        TimeZone::system()
    };
    let time = Timestamp::now().to_zoned_datetime(zone);
    match given.get(1) {
        Some(format) if !format.is_none() => write(&text_of(format)?, &time).map(Value::from),
        _ => Ok(Value::from_object(Moment(time))),
    }
}

/// A time that prints like Python's `datetime`, and has its methods.
#[derive(Debug)]
struct Moment(ZonedDateTime);

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(match key {
            "year" => Value::from(self.0.year()),
            "month" => Value::from(self.0.month()),
            "day" => Value::from(self.0.day()),
            "hour" => Value::from(self.0.hour()),
            "minute" => Value::from(self.0.minute()),
            "second" => Value::from(self.0.second()),
            "microsecond" => Value::from(self.0.subsec_nanosecond() / 1000),
            _ => return None,
        })
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let text = |format: &str| write(format, &self.0).map(Value::from);
        match (method, args) {
            ("strftime", [format]) => text(&text_of(format)?),
            ("isoformat", _) => text("%Y-%m-%dT%H:%M:%S.%6f"),
            ("date", []) => text("%Y-%m-%d"),
            ("time", []) => text("%H:%M:%S.%6f"),
            ("timestamp", []) => Ok(Value::from(self.0.timestamp().as_duration().as_secs_f64())),
            ("weekday", []) => Ok(Value::from(self.0.weekday().to_monday_zero_offset())),
            ("isoweekday", []) => Ok(Value::from(self.0.weekday().to_monday_one_offset())),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = write("%Y-%m-%d %H:%M:%S.%6f", &self.0).map_err(|_| std::fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_tells_how_long_ago() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (200_000, "2d"),
        ] {
            assert_eq!(ago(seconds), text);
        }
        assert_eq!(ago(-120), "-2m");
    }
}
