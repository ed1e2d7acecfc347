//! Start of a period as users write it: a date, a time, or an age.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

use crate::system::clock;

/// Accepted forms, for messages.
const FORMS: &str = "2026-11-27, 2026-11-27T10:00, 19:00, 5min, 2h or 3d";

/// Parses a date or time, in local time unless it has a zone, or an age before now. Returns milliseconds
/// since 1970.
pub fn parse(text: &str) -> Result<i64, String> {
    parse_at(text, &ZonedDateTime::now()).map(|time| time.as_millisecond())
}

/// Longest time until an end, in days.
const MAX_DAYS: i64 = 366;

/// Accepts the end of a period: a date or time, in local time unless it has a zone, or a duration from now. Returns
/// milliseconds since 1970.
pub fn parse_end(text: &str) -> Result<i64, String> {
    end_at(text, &clock::now().to_zoned_datetime(TimeZone::system()))
        .map(|time| time.as_millisecond())
}

fn end_at(text: &str, now: &ZonedDateTime) -> Result<Timestamp, String> {
    let text = text.trim();
    let later = || now.checked_add(text.parse::<Span>().ok()?.abs()).ok();
    let time = moment(text, now.time_zone(), now.date());
    let time = time.or_else(|| later().map(|time| time.timestamp()));
    let time = time.ok_or_else(|| {
        format!("`{text}` is not a time or duration; write 1h, 3d, 18:00, 2026-11-30 or 2026-11-30T06:00")
    })?;
    if time <= now.timestamp() {
        let tomorrow = now.date().tomorrow().ok().zip(text.parse::<Time>().ok());
        return Err(match tomorrow {
            Some((tomorrow, _)) => {
                format!("`{text}` of today is in the past; for tomorrow, write {tomorrow}T{text}")
            }
            None => format!("`{text}` is in the past"),
        });
    }
    match time.as_millisecond() - now.timestamp().as_millisecond() <= MAX_DAYS * 86_400_000 {
        true => Ok(time),
        false => Err(format!(
            "`{text}` is too far; it can be at most {MAX_DAYS} days"
        )),
    }
}

fn parse_at(text: &str, now: &ZonedDateTime) -> Result<Timestamp, String> {
    let text = text.trim();
    let bare = text.strip_suffix('.').unwrap_or(text);
    if !bare.is_empty() && bare.chars().all(|character| character.is_ascii_digit()) {
        return Err(format!(
            "`{text}` has no unit; write {bare}min, {bare}h or {bare}d"
        ));
    }
    let time = moment(text, now.time_zone(), now.date()).or_else(|| before(text, now));
    time.ok_or_else(|| format!("`{text}` is not a date, time or age; write {FORMS}"))
}

/// Returns the moment of a date, a time of today, or both.
fn moment(text: &str, zone: &TimeZone, today: Date) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let local = if text.starts_with(['T', 't']) || text.find(':').is_some_and(|at| at < 3) {
        today.to_datetime(text.parse::<Time>().ok()?)
    } else if text.get(4..5) == Some("-") {
        text.parse::<DateTime>().ok()?
    } else {
        return None;
    };
    Some(local.to_zoned_datetime(zone.clone()).ok()?.timestamp())
}

/// Returns the moment this long before now.
fn before(text: &str, now: &ZonedDateTime) -> Option<Timestamp> {
    let age = text.parse::<Span>().ok()?.abs();
    Some(now.checked_sub(age).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, String> {
        let now: ZonedDateTime = "2026-11-27T20:30:00+02:00[+02:00]".parse().unwrap();
        parse_at(text, &now).map(|time| time.to_string())
    }

    #[test]
    fn dates_times_and_ages() {
        for (text, expected) in [
            ("2026-11-27", "2026-11-26T22:00:00Z"),
            ("2026-11-27T10:00", "2026-11-27T08:00:00Z"),
            ("2026-11-27 10:00", "2026-11-27T08:00:00Z"),
            ("2026-11-27T10:00:30", "2026-11-27T08:00:30Z"),
            ("2026-11-27T10:00:00Z", "2026-11-27T10:00:00Z"),
            ("2026-11-27T10:00:00+01:00", "2026-11-27T09:00:00Z"),
            ("19:00", "2026-11-27T17:00:00Z"),
            ("19:00:05", "2026-11-27T17:00:05Z"),
            ("5min", "2026-11-27T18:25:00Z"),
            ("5m", "2026-11-27T18:25:00Z"),
            ("2h", "2026-11-27T16:30:00Z"),
            ("1h30m", "2026-11-27T17:00:00Z"),
            ("1.5h", "2026-11-27T17:00:00Z"),
            ("3d", "2026-11-24T18:30:00Z"),
            ("2 weeks", "2026-11-13T18:30:00Z"),
            ("2h ago", "2026-11-27T16:30:00Z"),
            ("500ms", "2026-11-27T18:29:59.5Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn ends_lie_ahead() {
        let now: ZonedDateTime = "2026-11-27T20:30:00+02:00[+02:00]".parse().unwrap();
        let at = |text| end_at(text, &now).map(|time| time.to_string());
        for (text, expected) in [
            ("1h", "2026-11-27T19:30:00Z"),
            ("3d", "2026-11-30T18:30:00Z"),
            ("21:00", "2026-11-27T19:00:00Z"),
            ("2026-11-30", "2026-11-29T22:00:00Z"),
            ("2026-11-30T06:00Z", "2026-11-30T06:00:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, reason) in [
            ("20:00", "for tomorrow, write 2026-11-28T20:00"),
            ("0h", "is in the past"),
            ("2026-11-27", "is in the past"),
            ("400d", "at most 366 days"),
            ("soon", "is not a time"),
            ("", "is not a time"),
        ] {
            assert!(at(text).unwrap_err().contains(reason), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        assert_eq!(
            at("5").unwrap_err(),
            "`5` has no unit; write 5min, 5h or 5d"
        );
        for text in [
            "",
            "soon",
            "25:00",
            "2026-13-01",
            "2026-02-30",
            "5x",
            "20261127T",
            "1e99d",
            "99999999y",
        ] {
            let error = at(text).unwrap_err();
            assert!(error.contains("write 2026-11-27, "), "{text}: {error}");
        }
    }
}
