//! Windows, compared with a wall clock that is read every minute.

use jiff::SignedDuration;

use super::*;

fn windows(text: &str) -> Vec<Window> {
    let items: Vec<&str> = text.split(',').map(str::trim).collect();
    parse_list(&items, &TimeZone::UTC).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Returns whether a wall clock shows a time within days and times of day, which may pass midnight.
fn on_the_wall(now: Timestamp, zone: &str, days: &[i8], start: i16, end: i16) -> bool {
    let wall = now
        .to_zoned_datetime(TimeZone::get(zone).unwrap())
        .datetime();
    let minute = i16::from(wall.hour()) * 60 + i16::from(wall.minute());
    let today = wall.weekday().to_monday_zero_offset();
    let yesterday = (today + 6) % 7;
    match start < end {
        true => days.contains(&today) && (start..end).contains(&minute),
        false => {
            days.contains(&today) && minute >= start || days.contains(&yesterday) && minute < end
        }
    }
}

#[test]
fn windows_agree_with_a_wall_clock() {
    const ALL: [i8; 7] = [0, 1, 2, 3, 4, 5, 6];
    // A week around a change of the clock in each zone, and one without.
    for (zone, from) in [
        ("Europe/Berlin", "2026-03-25T00:00:00Z"),
        ("Europe/Berlin", "2026-10-22T00:00:00Z"),
        ("America/New_York", "2026-03-05T00:00:00Z"),
        ("America/New_York", "2026-10-29T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-02T00:00:00Z"),
        // The clocks change at midnight.
        ("America/Santiago", "2026-09-03T00:00:00Z"),
        ("Asia/Kathmandu", "2026-11-26T00:00:00Z"),
        ("Pacific/Apia", "2026-12-28T00:00:00Z"),
    ] {
        for (text, days, start, end) in [
            ("22:00-06:00", &ALL[..], 22 * 60, 6 * 60),
            ("12:30-13:15", &ALL, 12 * 60 + 30, 13 * 60 + 15),
            ("Sat-Sun", &[5, 6], 0, 24 * 60),
            ("Fri-Mon 18:00-24:00", &[4, 5, 6, 0], 18 * 60, 24 * 60),
            ("Fri 22:00-07:30", &[4], 22 * 60, 7 * 60 + 30),
            ("Sun 00:00-05:00", &[6], 0, 5 * 60),
        ] {
            let windows = windows(&format!("{text} {zone}"));
            let mut now = time(from);
            for _ in 0..7 * 24 * 12 {
                let end_found = end_of_all(&windows, now);
                let expected = on_the_wall(now, zone, days, start, end);
                assert_eq!(end_found.is_some(), expected, "{text} {zone} at {now}");
                if let Some(until) = end_found {
                    let before = until - SignedDuration::from_secs(1);
                    assert!(
                        on_the_wall(before, zone, days, start, end),
                        "{text} {zone}: {until}"
                    );
                    assert!(
                        !on_the_wall(until, zone, days, start, end),
                        "{text} {zone}: {until}"
                    );
                }
                now += SignedDuration::from_mins(5);
            }
        }
    }
}

#[test]
fn a_time_that_is_skipped_or_occurs_twice_ends_once() {
    for (text, now, until) in [
        ("02:15-02:45 Europe/Berlin", "2026-03-29T00:59:00Z", None),
        ("02:15-02:45 Europe/Berlin", "2026-03-29T01:00:00Z", None),
        (
            "02:15-03:15 Europe/Berlin",
            "2026-03-29T01:00:00Z",
            Some("2026-03-29T01:15:00Z"),
        ),
        (
            "01:00-02:15 Europe/Berlin",
            "2026-03-29T00:30:00Z",
            Some("2026-03-29T01:00:00Z"),
        ),
        (
            "02:15-02:45 Europe/Berlin",
            "2026-10-25T00:15:00Z",
            Some("2026-10-25T01:45:00Z"),
        ),
        (
            "02:15-02:45 Europe/Berlin",
            "2026-10-25T00:50:00Z",
            Some("2026-10-25T01:45:00Z"),
        ),
        (
            "01:30-02:00 America/New_York",
            "2026-11-01T05:30:00Z",
            Some("2026-11-01T07:00:00Z"),
        ),
        (
            "Sat America/Santiago",
            "2026-09-05T12:00:00Z",
            Some("2026-09-06T04:00:00Z"),
        ),
    ] {
        let found = end_of_all(&windows(text), time(now));
        assert_eq!(found, until.map(time), "{text} at {now}");
    }
}

#[test]
fn adjacent_windows_are_merged() {
    let nights_and_weekends = windows("Sat-Sun, 22:00-06:00 Europe/Berlin");
    let found = end_of_all(&nights_and_weekends, time("2026-11-27T21:00:00Z"));
    assert_eq!(found, Some(time("2026-11-30T05:00:00Z")));
    let found = end_of_all(
        &windows("Mon 20:00-24:00, Tue"),
        time("2026-11-30T21:00:00Z"),
    );
    assert_eq!(found, Some(time("2026-12-02T00:00:00Z")));
}

#[test]
fn dates_may_be_of_one_year_or_of_each() {
    for (text, now, until) in [
        (
            "2026-12-24..2026-12-26",
            "2026-12-25T12:00:00Z",
            Some("2026-12-27T00:00:00Z"),
        ),
        ("2026-12-24", "2027-12-24T12:00:00Z", None),
        (
            "12-24..01-02",
            "2027-12-31T12:00:00Z",
            Some("2028-01-03T00:00:00Z"),
        ),
        (
            "02-29",
            "2028-02-29T12:00:00Z",
            Some("2028-03-01T00:00:00Z"),
        ),
        ("02-29", "2027-02-28T12:00:00Z", None),
        (
            "12-31 22:00-06:00",
            "2027-01-01T05:00:00Z",
            Some("2027-01-01T06:00:00Z"),
        ),
        (
            "Mon-Fri 2026-12-24..2026-12-31",
            "2026-12-26T12:00:00Z",
            None,
        ),
    ] {
        assert_eq!(
            end_of_all(&windows(text), time(now)),
            until.map(time),
            "{text} at {now}"
        );
    }
}

#[test]
fn a_time_zone_applies_to_the_windows_before_it() {
    let zone = |text: &str| {
        let all = windows(text).into_iter();
        all.map(|window| window.zone.iana_name().unwrap_or("UTC").to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        zone("Sat, 22:00-06:00 Europe/Berlin"),
        "Europe/Berlin Europe/Berlin"
    );
    assert_eq!(
        zone("Sat Europe/Rome, Sun, Mon Asia/Tokyo"),
        "Europe/Rome Asia/Tokyo Asia/Tokyo"
    );
    assert_eq!(zone("Sat Europe/Rome, Sun"), "Europe/Rome Europe/Rome");
    assert_eq!(zone("Sat"), "UTC");
}

#[test]
fn windows_without_an_end_are_noticed() {
    let now = time("2026-11-28T12:00:00Z");
    assert!(is_endless(&windows("Mon-Sun"), now));
    assert!(is_endless(&windows("00:00-12:00, 12:00-24:00"), now));
    assert!(is_endless(&windows("06:00-05:00, 04:00-07:00"), now));
    assert!(!is_endless(&windows("Mon-Sat, Sun 00:00-23:59"), now));
    assert!(!is_endless(&windows("2026-01-01..2031-12-31"), now));
}
