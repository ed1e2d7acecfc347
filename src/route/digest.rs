//! Times at which a notifier's events are sent together: `digest = 1d at 08:00 Europe/Berlin`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::window::{Edge, instant, read_day, read_time, read_zone, weekday};
use crate::config::units::parse_duration;
use crate::system::clock;

/// Seconds of a day.
const DAY: u64 = 86400;

/// Regular times.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    every: Every,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Every {
    /// Seconds between two times, counted from the start of the day if they divide it.
    Seconds(i64),
    /// Days between two times, and the time of day in minutes.
    Days { days: i64, at: u16 },
    /// Day of the week, Monday first, and the time of day in minutes.
    Week { day: usize, at: u16 },
}

impl Digest {
    /// Parses `1h`, `1d at 08:00`, `7d at Mon 08:00 Europe/Berlin`.
    pub fn parse(text: &str, system: &TimeZone) -> Result<Digest, String> {
        let wrong = || {
            let given = crate::config::advice::quoted(text);
            format!(
                "`digest` must be a time such as `1h`, `1d at 08:00`, `1d at 08:00 Europe/Berlin` or `7d at Mon 08:00`, not {given}"
            )
        };
        let mut words = text.split_whitespace().peekable();
        let every = words.next().and_then(parse_duration).ok_or_else(wrong)?;
        let (mut day, mut at) = (None, None);
        if words.next_if_eq(&"at").is_some() {
            day = words.peek().and_then(|word| read_day(word));
            if day.is_some() {
                words.next();
            }
            let time = words.next().and_then(read_time);
            at = Some(time.filter(|time| *time < 24 * 60).ok_or_else(wrong)?);
        }
        let zone = match words.next() {
            None => system.clone(),
            Some(name) => read_zone(name).ok_or_else(|| {
                format!("`digest`: `{name}` is not a time zone; write one such as `Europe/Berlin`, `UTC` or `local`")
            })?,
        };
        let every = every_of(every, day, at).filter(|_| words.next().is_none());
        Ok(Digest {
            every: every.ok_or_else(wrong)?,
            zone,
        })
    }

    /// Returns its next time after this one.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned_datetime(self.zone.clone()).date();
        match self.every {
            Every::Seconds(seconds) => Some(self.next_step(now, today, seconds)),
            Every::Days { days, at } => self.next_day(now, today, at, |day| {
                let number = (day - Date::constant(1970, 1, 1)).get_days();
                i64::from(number) % days == 0
            }),
            Every::Week { day, at } => {
                let day = weekday(day);
                self.next_day(now, today, at, |date| date.weekday() == day)
            }
        }
    }

    fn next_day(
        &self,
        now: Timestamp,
        today: Date,
        at: u16,
        is_meant: impl Fn(Date) -> bool,
    ) -> Option<Timestamp> {
        let days = (0..=367).filter_map(|day| today.checked_add(Span::new().days(day)).ok());
        let mut times = days
            .filter(|day| is_meant(*day))
            .filter_map(|day| instant(&self.zone, day, at, Edge::Start));
        times.find(|time| *time > now)
    }

    /// Returns the next multiple of a duration since the start of the day, or since 1970.
    fn next_step(&self, now: Timestamp, today: Date, seconds: i64) -> Timestamp {
        let divides = DAY.cast_signed() % seconds == 0;
        let midnight = instant(&self.zone, today, 0, Edge::Start).filter(|_| divides);
        let start = midnight.map_or(0, |midnight| midnight.as_second());
        let steps = (now.as_second() - start).div_euclid(seconds) + 1;
        Timestamp::from_second(start + steps * seconds).unwrap_or(now)
    }
}

/// Returns the times of a digest; None if its parts contradict each other.
fn every_of(every: Duration, day: Option<usize>, at: Option<u16>) -> Option<Every> {
    let seconds = every.as_secs();
    if every.subsec_nanos() > 0 || seconds < 60 {
        return None;
    }
    let (days, is_days) = ((seconds / DAY).cast_signed(), seconds.is_multiple_of(DAY));
    match (day, at) {
        (Some(day), Some(at)) if seconds == 7 * DAY => Some(Every::Week { day, at }),
        (None, at) if is_days => Some(Every::Days {
            days,
            at: at.unwrap_or(0),
        }),
        (None, None) => Some(Every::Seconds(seconds.cast_signed())),
        _ => None,
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let every = match self.every {
            Every::Seconds(seconds) => seconds.unsigned_abs(),
            Every::Days { days, .. } => days.unsigned_abs() * DAY,
            Every::Week { .. } => 7 * DAY,
        };
        formatter.write_str(&clock::length(Duration::from_secs(every)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(digest: &str, now: &str) -> String {
        let digest = Digest::parse(digest, &TimeZone::UTC).unwrap();
        let next = digest.next(now.parse().unwrap()).unwrap();
        next.to_string()
    }

    #[test]
    fn the_next_time_is_after_now() {
        for (digest, now, expected) in [
            ("1h", "2026-11-28T07:00:00Z", "2026-11-28T08:00:00Z"),
            ("1h", "2026-11-28T07:59:59Z", "2026-11-28T08:00:00Z"),
            ("15m", "2026-11-28T07:46:00Z", "2026-11-28T08:00:00Z"),
            (
                "1d at 08:00",
                "2026-11-28T07:59:59Z",
                "2026-11-28T08:00:00Z",
            ),
            (
                "1d at 08:00",
                "2026-11-28T08:00:00Z",
                "2026-11-29T08:00:00Z",
            ),
            ("1d", "2026-11-28T08:00:00Z", "2026-11-29T00:00:00Z"),
            (
                "1d at 08:00 Europe/Berlin",
                "2026-11-28T06:00:00Z",
                "2026-11-28T07:00:00Z",
            ),
            (
                "1d at 08:00 Europe/Berlin",
                "2026-07-28T06:00:00Z",
                "2026-07-29T06:00:00Z",
            ),
            (
                "7d at Mon 08:00",
                "2026-11-28T08:00:00Z",
                "2026-11-30T08:00:00Z",
            ),
            (
                "7d at mon 08:00",
                "2026-11-30T08:00:00Z",
                "2026-12-07T08:00:00Z",
            ),
            // 02:30 does not exist, and is reached when the clock moves forward.
            (
                "1d at 02:30 Europe/Berlin",
                "2026-03-29T00:00:00Z",
                "2026-03-29T01:00:00Z",
            ),
            // It occurs twice; only the first counts.
            (
                "1d at 02:30 Europe/Berlin",
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "1d at 02:30 Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
            (
                "1h Asia/Kolkata",
                "2026-11-28T07:00:00Z",
                "2026-11-28T07:30:00Z",
            ),
        ] {
            assert_eq!(next(digest, now), expected, "{digest} after {now}");
        }
    }

    #[test]
    fn several_days_are_counted_from_1970() {
        let first = next("3d at 08:00", "2026-11-28T09:00:00Z");
        let second = next("3d at 08:00", &first);
        let third: Timestamp = second.parse().unwrap();
        let apart = third.duration_since(first.parse().unwrap());
        assert_eq!(apart.as_hours(), 72);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "daily",
            "1h at 08:00",
            "1d at",
            "1d at 8",
            "1d at 24:00",
            "1d at Mon 08:00",
            "1d at 08:00 Nowhere/City",
            "1d at 08:00 UTC UTC",
            "0",
            "1s",
            "2d at Mon 08:00",
        ] {
            assert!(Digest::parse(text, &TimeZone::UTC).is_err(), "{text}");
        }
    }
}
