//! Rules for when a notifier is told: `after`, `repeat`, `mute`, `muted` and `digest`.

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

/// Rules for when a notifier is told; only for one that has any.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// Number of failures in a row from which on they are told.
    pub after: u32,
    /// Time for which the same failure is not told again.
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
        let mut mute = named.windows(section, &system);
        mute.extend(period(section, &system));
        if window::is_endless(&mute, clock::now()) {
            let key = if section.is_given("mute") {
                "mute"
            } else {
                "mute_until"
            };
            let text = "its windows leave no time at which anything is sent; to turn a notifier off, write `enabled = false`";
            section.problem(key, format!("`{key}`: {text}"));
        }
        let is_muted = !mute.is_empty();
        let drop = section.choice("muted", false, &[("keep", false), ("drop", true)]);
        if drop && !is_muted {
            section.needs("muted", "mute");
        }
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

    /// Returns true if events may be held.
    pub fn holds(&self) -> bool {
        self.digest.is_some() || !self.mute.is_empty() && !self.drop
    }

    /// Returns the time until which the notifier is muted, if it is.
    pub fn muted_until(&self, now: Timestamp) -> Option<Timestamp> {
        window::end_of_all(&self.mute, now)
    }

    /// Returns what becomes of an event that is accepted now.
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

    /// Returns the time zone in which its times are shown.
    fn zone(&self) -> TimeZone {
        let digest = self.digest.as_ref().map(|digest| &digest.zone);
        let zone = self.mute.first().map(|window| &window.zone).or(digest);
        zone.cloned().unwrap_or_else(TimeZone::system)
    }

    /// Returns a time as people read it, in the zone of these rules.
    pub fn shown(&self, time: Timestamp) -> String {
        let zone = self.zone();
        let name = zone.iana_name().map(str::to_owned);
        let text = clock::within(time.as_millisecond(), &zone);
        match (name, text.rsplit_once(' ')) {
            (Some(name), Some((text, _))) => format!("{text} {name}"),
            _ => text,
        }
    }

    /// Describes what the rules do with an event now, and to which they apply, one sentence each.
    pub fn explain(&self, now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        if self.after > 1 {
            let number = self.after;
            lines.push(format!(
                "told from failure {number} in a row of the same thing (`after`)"
            ));
        }
        if !self.repeat.is_zero() {
            let time = clock::length(self.repeat);
            lines.push(format!(
                "the same failure is not told again for {time} (`repeat`)"
            ));
        }
        let muted = self.muted_until(now);
        if let Some(until) = muted {
            let until = self.shown(until);
            let kept = if self.drop { "dropped" } else { "kept" };
            lines.push(format!("muted until {until}; events are {kept}"));
        }
        match (&self.digest, self.treatment(now)) {
            (Some(digest), Treatment::Hold(time)) => {
                let time = self.shown(time);
                lines.push(format!(
                    "events are told together every {digest}, next {time}"
                ));
            }
            _ if muted.is_none() && !self.mute.is_empty() => {
                lines.push("not muted now".to_owned());
            }
            _ => {}
        }
        lines
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
        // Without an end, somebody would have to remember it.
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
    /// Takes the sections of windows out of all sections; hands each to `collect` once it is read. Their
    /// mistakes are those of the notifiers that use them.
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
        if items.is_empty() && section.is_blank("mute") {
            section.problem("mute", format!("`mute` is empty; {}", window::EXAMPLES));
        }
        let mut found = window::parse_list(&windows, system).unwrap_or_else(|problem| {
            section.problem("mute", format!("`mute`: {problem}"));
            Vec::new()
        });
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
                        format!("`mute`: there is no section [{name}]{hint}"),
                    );
                }
            }
        }
        found
    }
}

/// Reads the windows of a `[time:NAME]`: one with all its keys.
fn windows_of(section: &Section) -> Vec<Window> {
    let zone = section.parsed("zone", TimeZone::system(), |text| {
        window::read_zone(text).ok_or_else(|| {
            format!(
                "no time zone `{text}` exists; write one such as `Europe/Berlin`, `UTC` or `local`"
            )
        })
    });
    let mut found = Window::always(zone.clone());
    let mut has_any = false;
    if let Some(period) = period(section, &zone) {
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
            None => section.problem(
                "days",
                format!("`{item}` is no day; write days such as `Mon`, `Fri-Sun`"),
            ),
        }
    }
    for item in section.list("times") {
        has_any = true;
        match window::read_times(&item.replace(' ', "")) {
            Ok(times) => found.times.push(times),
            Err(problem) => section.problem("times", problem),
        }
    }
    for item in section.list("dates") {
        has_any = true;
        match window::read_dates(item) {
            Ok(dates) => found.dates.push(dates),
            Err(problem) => section.problem("dates", problem),
        }
    }
    if !has_any {
        section.problem(
            "",
            format!(
                "[{}] is no window; set `days`, `times`, `dates`, or `mute_start` and `mute_until`",
                section.name
            ),
        );
    }
    vec![found]
}
