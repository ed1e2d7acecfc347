//! Time of day, for decisions that depend on it: windows in which nothing is sent, digests, repetitions.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns the current time.
#[cfg(not(feature = "failpoints"))]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns the current time; a test may choose it by the variable `ANSIBLE_NOTIFY_CLOCK`, a time in RFC 3339
/// form or the path of a file that contains one.
#[cfg(feature = "failpoints")]
pub fn now() -> Timestamp {
    let chosen = std::env::var("ANSIBLE_NOTIFY_CLOCK").ok();
    let text = chosen.map(|text| std::fs::read_to_string(&text).unwrap_or(text));
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(Timestamp::now)
}

/// Returns a time as people read it, in the system's time zone. Takes milliseconds since 1970.
pub fn local(milliseconds: i64) -> String {
    within(milliseconds, &TimeZone::system())
}

/// Returns a time to the second in the system's time zone, for lists: `2026-11-30 06:00:07`. Takes milliseconds
/// since 1970.
pub fn stamp(milliseconds: i64) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    let time = time.to_zoned_datetime(TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns a time as people read it, in a time zone: `Mon 2026-11-30 06:00 CET`.
pub fn within(milliseconds: i64, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    let time = time.to_zoned_datetime(zone.clone());
    time.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
}

/// Returns a duration as it is written in a configuration: `4h`, `90m`, `2d`.
pub fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86400, "d"), (3600, "h"), (60, "m")];
    let unit = units
        .iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{}s", duration.as_secs_f64()),
    }
}
