//! Rules for when a notifier sends: `after`, `repeat`, `mute`, `muted` and `digest`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::digest::Digest;
use super::window::{self, Window};
use crate::config::problem::{Harm, Problem};
use crate::config::section::Section;
use crate::config::{Sections, advice};
use crate::system::clock;
use crate::text::suggest;

/// Maximum of `after`.
const MOST_FAILURES: usize = 1000;

/// Rules for when a notifier sends, if it has any.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// Number of failures in a row from which on they are sent.
    pub after: u32,
    /// Time for which the same failure is not sent again.
    pub repeat: Duration,
    mute: Vec<Window>,
    /// True if muted events are dropped, not kept.
    drop: bool,
    digest: Option<Digest>,
}

/// Treatment of an event by the time at which it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Delivered as soon as possible.
    Now,
    /// Held until this time.
    Hold(Timestamp),
    /// Dropped, because the notifier is muted until this time.
    Drop(Timestamp),
}

impl Timing {
    /// Reads the rules of a notifier; None if it has none.
    pub fn new(section: &Section, named: &Named) -> Option<Box<Timing>> {
        let system = TimeZone::system();
        let now = clock::now();
        let mut mute = named.windows(section, &system);
        let period = period(section, &system);
        warn_of_past(section, period.as_ref());
        mute.extend(period);
        if window::is_endless(&mute, now) {
            let key = if section.is_given("mute") {
                "mute"
            } else {
                "mute_until"
            };
            let text = "its windows cover all times, so nothing would ever be sent; to turn a notifier off, write `enabled = false`";
            section.problem(key, format!("`{key}`: {text}"));
        }
        let is_muted = !mute.is_empty();
        let drop = section.choice("muted", false, &[("keep", false), ("drop", true)]);
        if drop && !is_muted {
            section.needs("muted", "mute");
        }
        let digest = section.text("digest").unwrap_or_default();
        section.warn_of_unit("digest", digest.split(' ').next().unwrap_or_default());
        let digest = section.parsed("digest", None, |text| {
            Digest::parse(text, &system).map(Some)
        });
        let after = section.count("after", 1, MOST_FAILURES);
        let timing = Timing {
            after: u32::try_from(after).unwrap_or(1),
            repeat: section.duration("repeat", Duration::ZERO),
            mute,
            drop,
            digest,
        };
        let has_any = timing.counts() || is_muted || timing.digest.is_some();
        has_any.then(|| Box::new(timing))
    }

    /// Returns true if failures of the same thing are counted.
    pub fn counts(&self) -> bool {
        self.after > 1 || !self.repeat.is_zero()
    }

    /// Returns true if muted events are dropped.
    pub fn drops(&self) -> bool {
        self.drop && !self.mute.is_empty()
    }

    /// Returns true if events may be held.
    pub fn holds(&self) -> bool {
        self.digest.is_some() || !self.mute.is_empty() && !self.drop
    }

    /// Returns the time until which the notifier is muted, if it is.
    pub fn muted_until(&self, now: Timestamp) -> Option<Timestamp> {
        window::end_of_all(&self.mute, now)
    }

    /// Returns the treatment of an event that is accepted now.
    pub fn treatment(&self, now: Timestamp) -> Treatment {
        if self.drop
            && let Some(until) = self.muted_until(now)
        {
            return Treatment::Drop(until);
        }
        let told = self.digest.as_ref().and_then(|digest| digest.next(now));
        let told = told.unwrap_or(now);
        let told = self.muted_until(told).unwrap_or(told);
        match told > now {
            true => Treatment::Hold(told),
            false => Treatment::Now,
        }
    }

    /// Describes the current effect of each rule, one sentence each.
    pub fn explain(&self, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        if self.after > 1 {
            let number = self.after;
            lines.push(format!(
                "failures are sent only after {number} in a row (`after`)"
            ));
        }
        if !self.repeat.is_zero() {
            let time = clock::length(self.repeat);
            lines.push(format!(
                "the same failure is not sent again for {time} (`repeat`)"
            ));
        }
        lines.extend(self.explain_mute(now));
        if let (Some(digest), Treatment::Hold(time)) = (&self.digest, self.treatment(now)) {
            let time = clock::local_time(time);
            lines.push(format!(
                "events are sent together every {digest}, next at {time}"
            ));
        }
        lines
    }

    /// Describes until when it is muted, or when it will be muted.
    fn explain_mute(&self, now: Timestamp) -> Option<String> {
        let kept = if self.drop { "dropped" } else { "kept" };
        let shown = clock::local_time;
        if let Some(until) = self.muted_until(now) {
            return Some(format!("muted until {}; events are {kept}", shown(until)));
        }
        let next = window::next_of_all(&self.mute, now);
        let next = next.map(|(from, until)| {
            let (from, until) = (shown(from), shown(until));
            format!("not muted now; next from {from} until {until}, when events are {kept}")
        });
        let never = || "not muted: all its windows have passed".to_owned();
        (!self.mute.is_empty()).then(|| next.unwrap_or_else(never))
    }
}

/// Warns about a period in the past.
fn warn_of_past(section: &Section, period: Option<&Window>) {
    let past = period.filter(|period| period.is_over(clock::now()));
    if let Some(until) = past.and_then(|period| period.until) {
        let until = clock::local_time(until);
        let text = format!("`mute_until` has passed ({until}), so it mutes nothing");
        section.warning("mute_until", text);
    }
}

/// Warns about dates of a window that are in the past and will not recur.
fn warn_of_past_dates(section: &Section, window: &Window) {
    let items = section.list("dates");
    let is_past = |item: &&str| {
        let dates = window::read_dates(item);
        dates.is_ok_and(|dates| {
            let alone = Window {
                dates: vec![dates],
                from: None,
                until: None,
                ..window.clone()
            };
            alone.is_over(clock::now())
        })
    };
    let past: Vec<&str> = items.into_iter().filter(is_past).collect();
    warn_of_past_items(section, "dates", &past);
}

/// Notes the problem with an item of a list, or the key that it belongs to.
fn wrong(section: &Section, key: &str, item: &str, problem: String) {
    section.problem(key, window::misplaced(item, key).unwrap_or(problem));
}

/// Warns about windows in a list that are in the past and will not recur.
fn warn_of_past_items(section: &Section, key: &str, past: &[&str]) {
    let items: Vec<String> = past.iter().map(|item| format!("`{item}`")).collect();
    match items.as_slice() {
        [] => {}
        [item] => section.warning(
            key,
            format!("`{key}`: {item} has passed, so it mutes nothing"),
        ),
        items => section.warning(
            key,
            format!(
                "`{key}`: {} have passed, so they mute nothing",
                items.join(", ")
            ),
        ),
    }
}

/// Reads `mute_start` and `mute_until`: one period.
fn period(section: &Section, system: &TimeZone) -> Option<Window> {
    let time = |key: &str| {
        section.parsed(key, None, |text| {
            let zoned = text.parse::<Timestamp>().ok();
            let local = || {
                let time: jiff::civil::DateTime = text.replacen(' ', "T", 1).parse().ok()?;
                system.to_timestamp(time).ok()
            };
            let time = zoned.or_else(local);
            time.map(Some).ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a time such as `2026-12-24T18:00:00+01:00` or, in local time, `2026-12-24 18:00`, not {given}")
            })
        })
    };
    let (from, until) = (time("mute_start"), time("mute_until"));
    if from.is_some() {
        // Without an end, it is easily forgotten.
        section.needs("mute_start", "mute_until");
    }
    if let (Some(from), Some(until)) = (from, until)
        && from >= until
    {
        section.problem("mute_until", "`mute_until` must be later than `mute_start`");
    }
    until.map(|until| Window {
        from,
        until: Some(until),
        ..Window::always(system.clone())
    })
}

/// Windows by name, from sections `[time:NAME]`.
#[derive(Default)]
pub struct Named(BTreeMap<String, Result<Vec<Window>, Vec<Problem>>>);

impl Named {
    /// Removes the window sections from all sections, and passes each to `collect` once it is read. Their
    /// problems belong to the notifiers that use them.
    pub fn take(sections: &mut Sections, mut collect: impl FnMut(&Section)) -> Named {
        let mut named = Named::default();
        let names = sections.keys().filter(|name| name.starts_with("time:"));
        let names: Vec<String> = names.cloned().collect();
        for name in names {
            let Some(section) = sections.remove(&name) else {
                continue;
            };
            let windows = windows_of(&section);
            section.report_unknown();
            let problems = section.take_problems();
            let result = match problems.is_empty() {
                true => Ok(windows),
                false => Err(problems.clone()),
            };
            for problem in problems {
                section.note(problem.with(Harm::Slight));
            }
            collect(&section);
            named.0.insert(name, result);
        }
        named
    }

    /// Returns the windows of a notifier's `mute`.
    fn windows(&self, section: &Section, system: &TimeZone) -> Vec<Window> {
        let items = section.list("mute");
        let (references, windows): (Vec<&str>, Vec<&str>) =
            items.iter().partition(|item| item.starts_with("time:"));
        if items.is_empty() && section.is_given("mute") {
            section.problem("mute", format!("`mute` is empty; {}", window::EXAMPLES));
        }
        let mut found = window::parse_list(&windows, system).unwrap_or_else(|problem| {
            section.problem("mute", format!("`mute`: {problem}"));
            Vec::new()
        });
        let now = clock::now();
        let past = windows
            .iter()
            .zip(&found)
            .filter(|(_, one)| one.is_over(now));
        let past: Vec<&str> = past.map(|(item, _)| *item).collect();
        warn_of_past_items(section, "mute", &past);
        for name in references {
            match self.0.get(name) {
                Some(Ok(windows)) => found.extend(windows.iter().cloned()),
                Some(Err(problems)) => {
                    let first = problems.first().map_or("", |problem| &problem.place);
                    section.problem("mute", format!("`mute`: [{name}] has a mistake ({first})"));
                }
                None => {
                    let hint = suggest(name, self.0.keys().map(String::as_str));
                    section.problem(
                        "mute",
                        format!("`mute`: section [{name}] does not exist{hint}"),
                    );
                }
            }
        }
        found
    }
}

/// Reads the windows of a `[time:NAME]`: its keys combined.
fn windows_of(section: &Section) -> Vec<Window> {
    let zone = section.parsed("zone", TimeZone::system(), |text| {
        window::read_zone(text).ok_or_else(|| {
            format!(
                "`{text}` is not a time zone; write one such as `Europe/Berlin`, `UTC` or `local`"
            )
        })
    });
    let mut found = Window::always(zone.clone());
    let mut has_any = false;
    if let Some(period) = period(section, &zone) {
        warn_of_past(section, Some(&period));
        (found.from, found.until) = (period.from, period.until);
        has_any = true;
    }
    let days = section.list("days");
    if !days.is_empty() {
        has_any = true;
        found.days = [false; 7];
    }
    for item in days {
        match window::read_days(item) {
            Some(days) => (0..7).for_each(|day| found.days[day] |= days[day]),
            None => {
                let problem = format!("`{item}` is not a day; write days such as `Mon`, `Fri-Sun`");
                wrong(section, "days", item, problem);
            }
        }
    }
    for item in section.list("times") {
        has_any = true;
        match window::read_times(&item.replace(' ', "")) {
            Ok(times) => found.times.push(times),
            Err(problem) => wrong(section, "times", item, problem),
        }
    }
    for item in section.list("dates") {
        has_any = true;
        match window::read_dates(item) {
            Ok(dates) => found.dates.push(dates),
            Err(problem) => wrong(section, "dates", item, problem),
        }
    }
    warn_of_past_dates(section, &found);
    if !has_any {
        section.problem(
            "",
            format!(
                "[{}] is not a window; set `days`, `times`, `dates`, or `mute_start` and `mute_until`",
                section.name
            ),
        );
    }
    vec![found]
}
