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
/// form or in seconds since 1970, or the path of a file that contains one.
#[cfg(feature = "failpoints")]
pub fn now() -> Timestamp {
    let chosen = std::env::var("ANSIBLE_NOTIFY_CLOCK").ok();
    let text = chosen.map(|text| std::fs::read_to_string(&text).unwrap_or(text));
    let time = text.and_then(|text| {
        let seconds = text.trim().parse().ok();
        let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        time.or_else(|| text.trim().parse().ok())
    });
    time.unwrap_or_else(Timestamp::now)
}

/// Returns a time as text, in the system's time zone: `Mon 2026-11-30 06:00 CET`, or `Mon 2026-11-30 06:00:05
/// CET`. Takes milliseconds since 1970.
pub fn local(milliseconds: i64) -> String {
    local_time(Timestamp::from_millisecond(milliseconds).unwrap_or_default())
}

/// Returns a time always with its seconds, for the lines of a list: `2026-11-30 06:00:07 CET`. Takes milliseconds
/// since 1970.
pub fn stamp(milliseconds: i64) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    let time = time.to_zoned_datetime(TimeZone::system());
    time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Returns a time as [`local`] does.
pub fn local_time(time: Timestamp) -> String {
    within(time, &TimeZone::system())
}

fn within(time: Timestamp, zone: &TimeZone) -> String {
    let time = time.to_zoned_datetime(zone.clone());
    let format = match time.second() {
        0 => "%a %Y-%m-%d %H:%M %Z",
        _ => "%a %Y-%m-%d %H:%M:%S %Z",
    };
    time.strftime(format).to_string()
}

/// Returns a duration in the form of a configuration: `4h`, `90m`, `2d`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_zone_and_seconds_only_if_needed() {
        for (time, zone, text) in [
            (
                "2026-11-30T05:00:00Z",
                "Europe/Berlin",
                "Mon 2026-11-30 06:00 CET",
            ),
            (
                "2026-07-30T05:00:04.9Z",
                "Europe/Berlin",
                "Thu 2026-07-30 07:00:04 CEST",
            ),
            (
                "2026-11-30T05:00:00Z",
                "Asia/Kathmandu",
                "Mon 2026-11-30 10:45 +0545",
            ),
            ("2026-11-30T05:00:00Z", "UTC", "Mon 2026-11-30 05:00 UTC"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(within(time.parse().unwrap(), &zone), text);
        }
    }
}
