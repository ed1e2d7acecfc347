//! Windows of time: days of the week, times of day, dates, or one period, in a time zone.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Maximum number of windows without a gap between them; more count as forever.
const MOST: usize = 400;
/// Maximum number of consecutive whole days.
const MOST_DAYS: usize = 4000;
/// Number of days in which every date falls on every day of the week, including 29 February.
const ALL_DAYS: usize = 15000;

/// Examples of a window, for messages about mistakes.
pub const EXAMPLES: &str = "write windows such as `Sat-Sun`, `22:00-06:00 Europe/Berlin`, `Fri 18:00-24:00`, `2026-12-24..2026-12-26` or `time:NAME`";

/// Times at which something applies: on the chosen days and dates, in the chosen times of day.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Days of the week, Monday first; a time of day belongs to the day on which it starts.
    pub days: [bool; 7],
    /// Times of day; whole days if empty.
    pub times: Vec<Times>,
    /// Dates; all if empty.
    pub dates: Vec<Dates>,
    /// Period to which the window is limited.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub zone: TimeZone,
}

/// Part of a day, in minutes; beyond 24 hours, it ends on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    start: u16,
    end: u16,
}

/// Range of dates, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    Once(Date, Date),
    /// Month and day, in every year; may start in one year and end in the next.
    Yearly((i8, i8), (i8, i8)),
}

/// Side of a window, for times of day that occur twice or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Start,
    End,
}

/// Returns the moment of a time of day. A skipped time is reached when the clock moves forward. If a time
/// occurs twice, the first counts as a start and the second as an end.
pub fn instant(zone: &TimeZone, date: Date, minutes: u16, edge: Edge) -> Option<Timestamp> {
    let date = date
        .checked_add(Span::new().days(i64::from(minutes / DAY)))
        .ok()?;
    let (hour, minute) = (minutes % DAY / 60, minutes % 60);
    let time = Time::new(hour as i8, minute as i8, 0, 0).ok()?;
    let ambiguous = zone.to_ambiguous_timestamp(date.to_datetime(time));
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            // With the later offset, it is before the change.
            let before = ambiguous.earlier().ok()?;
            let change = zone.following(before).next()?;
            Some(change.timestamp())
        }
        _ if edge == Edge::Start => ambiguous.earlier().ok(),
        _ => ambiguous.later().ok(),
    }
}

impl Window {
    /// Creates a window that applies always.
    pub fn always(zone: TimeZone) -> Window {
        Window {
            days: [true; 7],
            times: Vec::new(),
            dates: Vec::new(),
            from: None,
            until: None,
            zone,
        }
    }

    /// Returns its end, if it applies at this time.
    pub fn end_of(&self, time: Timestamp) -> Option<Timestamp> {
        let today = time.to_zoned_datetime(self.zone.clone()).date();
        let times = self.times_of_day();
        let is_limited = self.days != [true; 7] || !self.dates.is_empty() || !self.times.is_empty();
        if !is_limited {
            let end = self.until.unwrap_or(Timestamp::MAX);
            return (self.from.is_none_or(|from| from <= time) && time < end).then_some(end);
        }
        // A time of day may have started yesterday; clock changes are shorter than a day.
        let days = (-2..=1).filter_map(|day| today.checked_add(Span::new().days(day)).ok());
        let days = days.filter(|day| self.is_on(*day));
        let parts = days.flat_map(|day| times.iter().map(move |times| (day, *times)));
        parts
            .filter_map(|(day, times)| self.part(day, times))
            .filter(|(start, end)| *start <= time && time < *end)
            .map(|(_, end)| end)
            .max()
    }

    /// Returns its next start after this time, if it does not apply then.
    pub fn start_after(&self, time: Timestamp) -> Option<Timestamp> {
        let earliest = self.from.map_or(time, |from| from.max(time));
        let first = earliest.to_zoned_datetime(self.zone.clone()).date();
        let first = first.checked_sub(Span::new().days(1)).ok()?;
        let last = self.until.map_or(Date::MAX, |until| {
            until.to_zoned_datetime(self.zone.clone()).date()
        });
        let last = last.min(self.last_date());
        let days = first.series(Span::new().days(1)).take(ALL_DAYS);
        let days = days.take_while(|day| *day <= last);
        let starts = days.filter(|day| self.is_on(*day)).filter_map(|day| {
            let parts = self.times_of_day().iter();
            let parts = parts.filter_map(|times| self.part(day, *times));
            let starts = parts.filter(|(start, end)| *start > time && start < end);
            starts.map(|(start, _)| start).min()
        });
        starts.into_iter().next()
    }

    /// Returns true if it does not apply now, nor ever again.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let ends = self.until.is_some() || self.last_date() < Date::MAX;
        ends && self.end_of(now).is_none() && self.start_after(now).is_none()
    }

    /// Returns the last of its dates; a yearly date never ends.
    fn last_date(&self) -> Date {
        let last = self.dates.iter().map(|dates| match dates {
            Dates::Once(_, last) => *last,
            Dates::Yearly(..) => Date::MAX,
        });
        last.max().unwrap_or(Date::MAX)
    }

    /// Returns its times of day; without any, the whole day.
    fn times_of_day(&self) -> &[Times] {
        const WHOLE: [Times; 1] = [Times { start: 0, end: DAY }];
        match self.times.is_empty() {
            true => &WHOLE,
            false => &self.times,
        }
    }

    /// Returns the start and the end of a time of day, within the period.
    fn part(&self, day: Date, times: Times) -> Option<(Timestamp, Timestamp)> {
        let start = instant(&self.zone, day, times.start, Edge::Start)?;
        let last = match self.times.is_empty() {
            true => self.last_day(day),
            false => day,
        };
        let end = instant(&self.zone, last, times.end, Edge::End)?;
        let start = self.from.map_or(start, |from| start.max(from));
        let end = self.until.map_or(end, |until| end.min(until));
        Some((start, end))
    }

    /// Returns the last of the whole days that follow this one without a gap.
    fn last_day(&self, day: Date) -> Date {
        let following = day.series(Span::new().days(1)).take(MOST_DAYS);
        following
            .take_while(|day| self.is_on(*day))
            .last()
            .unwrap_or(day)
    }

    /// Returns true if a time of day may start on this day.
    fn is_on(&self, day: Date) -> bool {
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or(0);
        let is_in = |dates: &Dates| dates.contain(day);
        self.days[weekday] && (self.dates.is_empty() || self.dates.iter().any(is_in))
    }
}

impl Dates {
    fn contain(&self, day: Date) -> bool {
        match *self {
            Dates::Once(first, last) => (first..=last).contains(&day),
            Dates::Yearly(first, last) => {
                let day = (day.month(), day.day());
                match first <= last {
                    true => (first..=last).contains(&day),
                    false => day >= first || day <= last,
                }
            }
        }
    }
}

/// Returns the end of the windows that apply at this time, including those that follow without a gap.
pub fn end_of_all(windows: &[Window], time: Timestamp) -> Option<Timestamp> {
    let mut end = time;
    for _ in 0..MOST {
        let next = windows.iter().filter_map(|window| window.end_of(end)).max();
        match next.filter(|next| *next > end) {
            Some(next) => end = next,
            None => break,
        }
    }
    (end > time).then_some(end)
}

/// Returns the next start of any window after this time, and the end; None if there is none.
pub fn next_of_all(windows: &[Window], time: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let starts = windows.iter().filter_map(|one| one.start_after(time));
    let start = starts.min()?;
    Some((start, end_of_all(windows, start)?))
}

/// Returns true if the windows leave no time between them.
pub fn is_endless(windows: &[Window], now: Timestamp) -> bool {
    let end = end_of_all(windows, now);
    end.is_some_and(|end| {
        end == Timestamp::MAX || windows.iter().any(|one| one.end_of(end).is_some())
    })
}

/// Parses the windows of a list: `Sat-Sun`, `22:00-06:00 Europe/Berlin`. A zone applies to the windows before
/// it that have none, and to those after it.
pub fn parse_list(items: &[&str], system: &TimeZone) -> Result<Vec<Window>, String> {
    let mut windows: Vec<Window> = Vec::new();
    let mut without = 0;
    let mut last: Option<TimeZone> = None;
    for item in items {
        let (window, zone) = parse(item, system)?;
        windows.push(window);
        let Some(zone) = zone else { continue };
        for window in &mut windows[without..] {
            window.zone = zone.clone();
        }
        without = windows.len();
        last = Some(zone);
    }
    if let Some(zone) = last {
        for window in &mut windows[without..] {
            window.zone = zone.clone();
        }
    }
    Ok(windows)
}

/// Parses one window; also returns its zone, if it names one.
fn parse(text: &str, system: &TimeZone) -> Result<(Window, Option<TimeZone>), String> {
    let mut window = Window::always(system.clone());
    let mut zone = None;
    let mut has_days = false;
    let joined = text.replace(['–', '—'], "-").replace(" - ", "-");
    for word in joined.split_whitespace() {
        let is_second = if let Some(days) = read_days(word) {
            window.days = days;
            std::mem::replace(&mut has_days, true)
        } else if word.starts_with(|first: char| first.is_ascii_digit()) && word.contains(':') {
            let is_second = !window.times.is_empty();
            window.times.push(read_times(word)?);
            is_second
        } else if word.starts_with(|first: char| first.is_ascii_digit()) {
            let is_second = !window.dates.is_empty();
            window.dates.push(read_dates(word)?);
            is_second
        } else {
            let is_second = zone.is_some();
            let named = read_zone(word).ok_or_else(|| {
                format!("`{word}` is not a day, time, date or time zone; {EXAMPLES}")
            })?;
            zone = Some(named);
            is_second
        };
        if is_second {
            return Err(format!(
                "`{text}` has two parts of the same kind; separate windows by commas"
            ));
        }
    }
    if !has_days && window.times.is_empty() && window.dates.is_empty() {
        return Err(format!("`{text}` is not a window; {EXAMPLES}"));
    }
    Ok((window, zone))
}

/// Parses the name of a time zone; `local` is the system's.
pub fn read_zone(name: &str) -> Option<TimeZone> {
    match name {
        "local" => Some(TimeZone::system()),
        _ => TimeZone::get(name).ok(),
    }
}

/// Parses days of the week: `Sat`, `Monday`, `Fri-Sun`.
pub fn read_days(text: &str) -> Option<[bool; 7]> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (read_day(first)?, read_day(last)?);
    let mut days = [false; 7];
    let mut day = first;
    loop {
        days[day] = true;
        if day == last {
            return Some(days);
        }
        day = (day + 1) % 7;
    }
}

/// Parses a day of the week; Monday is 0.
pub fn read_day(text: &str) -> Option<usize> {
    const NAMES: [&str; 7] = [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
    ];
    let lower = text.to_ascii_lowercase();
    let is_meant = |name: &&str| **name == lower || lower.len() == 3 && name.starts_with(&lower);
    NAMES.iter().position(is_meant)
}

/// Returns the day of the week of an index; Monday is 0.
pub fn weekday(index: usize) -> Weekday {
    let offset = i8::try_from(index).unwrap_or(0);
    Weekday::from_monday_zero_offset(offset).unwrap_or(Weekday::Monday)
}

/// Returns the keys that the parts of a text belong to, if it is not the value of a single key of a
/// `[time:NAME]`, such as a time with its zone.
pub fn misplaced(text: &str, key: &str) -> Option<String> {
    let joined = text.replace(" - ", "-");
    let words: Vec<&str> = joined.split_whitespace().collect();
    let place = |word: &str| {
        let keys = [
            ("days", read_days(word).is_some()),
            ("times", read_times(word).is_ok()),
            ("dates", read_dates(word).is_ok()),
            ("zone", read_zone(word).is_some()),
        ];
        keys.into_iter().find(|(_, fits)| *fits).map(|(key, _)| key)
    };
    let places: Option<Vec<&str>> = words.iter().map(|word| place(word)).collect();
    let places = places?;
    let others = words.iter().zip(&places).filter(|(_, at)| **at != key);
    let others = others.map(|(word, at)| format!("`{at} = {word}`"));
    let others: Vec<String> = others.collect();
    (!others.is_empty()).then(|| {
        let others = others.join(" and ");
        format!("`{text}` does not fit `{key}`; use {others} for that part")
    })
}

/// Parses a range of times: `22:00-06:00`.
pub fn read_times(text: &str) -> Result<Times, String> {
    let wrong = || {
        format!("`{text}` is not a time of day; write a start and an end, such as `22:00-06:00`")
    };
    let (start, end) = text.split_once('-').ok_or_else(wrong)?;
    let (start, end) = (read_time(start.trim()), read_time(end.trim()));
    let (start, end) = start.zip(end).ok_or_else(wrong)?;
    if start == end {
        return Err(format!(
            "`{text}` starts and ends at the same time; leave out the time for whole days"
        ));
    }
    if start == DAY {
        return Err(wrong());
    }
    let end = if end < start { end + DAY } else { end };
    Ok(Times { start, end })
}

/// Parses a time such as `08:00`, in minutes; at most `24:00`.
pub fn read_time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let is_number =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let time = hours * 60 + minutes;
    (minutes < 60 && time <= DAY).then_some(time)
}

/// Parses dates: `2026-12-24`, `2026-12-24..2026-12-26`, or without the year for every year.
pub fn read_dates(text: &str) -> Result<Dates, String> {
    let wrong = || {
        format!(
            "`{text}` is not a date; write `2026-12-24`, `2026-12-24..2026-12-26`, or `12-24..12-26` for every year"
        )
    };
    let split = text.split_once("..").or_else(|| text.split_once('/'));
    let (first, last) = split.unwrap_or((text, text));
    let (first, last) = (first.trim(), last.trim());
    if let (Some(first), Some(last)) = (read_date(first), read_date(last)) {
        return match first <= last {
            true => Ok(Dates::Once(first, last)),
            false => Err(format!("`{text}` ends before it begins")),
        };
    }
    let yearly = read_day_of_year(first).zip(read_day_of_year(last));
    let (first, last) = yearly.ok_or_else(wrong)?;
    Ok(Dates::Yearly(first, last))
}

fn read_date(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == 10)
}

fn read_day_of_year(text: &str) -> Option<(i8, i8)> {
    // A leap year has all days.
    let date = read_date(&format!("2024-{text}"))?;
    Some((date.month(), date.day()))
}

#[cfg(test)]
mod tests;
