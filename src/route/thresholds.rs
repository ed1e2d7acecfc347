//! Times after which a notifier reports that a run or a task takes too long.

use std::time::Duration;

use crate::config::advice;
use crate::config::section::Section;
use crate::config::units::parse_duration;
use crate::event::callback::Callback;

/// Defaults of `stalled_after` and `slow_task_after`.
const STALLED: Duration = Duration::from_secs(10 * 60);
const SLOW_TASK: Duration = Duration::from_secs(5 * 60);

/// Times of one notifier; None without the trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    pub overdue: Option<Duration>,
    pub stalled: Option<Duration>,
    pub slow_task: Option<Duration>,
}

impl Thresholds {
    /// Reads the times of the triggers in `on`, and reports times without their trigger.
    pub fn new(section: &Section, triggers: &[&str]) -> Thresholds {
        Thresholds {
            overdue: threshold(section, triggers, ("overdue", "overdue_after"), None),
            stalled: threshold(
                section,
                triggers,
                ("stalled", "stalled_after"),
                Some(STALLED),
            ),
            slow_task: threshold(
                section,
                triggers,
                ("slow_task", "slow_task_after"),
                Some(SLOW_TASK),
            ),
        }
    }

    /// Returns the time of a kind of event.
    pub fn of(&self, callback: &Callback) -> Option<Duration> {
        match callback {
            Callback::RunOverdue => self.overdue,
            Callback::RunStalled => self.stalled,
            Callback::TaskSlow => self.slow_task,
            _ => None,
        }
    }
}

/// Reads the time of a trigger; without a default it must be given.
fn threshold(
    section: &Section,
    triggers: &[&str],
    (trigger, key): (&str, &str),
    default: Option<Duration>,
) -> Option<Duration> {
    let given = section.parsed(key, None, |text| {
        let time = parse_duration(text).filter(|time| !time.is_zero());
        time.map(Some).ok_or_else(|| {
            let given = advice::quoted(text);
            format!("`{key}` must be a duration such as 30s, 10m or 2h, longer than 0, not {given}")
        })
    });
    section.warn_of_unit(key, section.text(key).unwrap_or_default());
    let is_asked = triggers.contains(&trigger);
    if section.is_given(key) && !is_asked {
        section.problem(key, format!("`{key}` requires `{trigger}` in `on`"));
    }
    let is_missing = is_asked && default.is_none() && !section.is_given(key);
    if is_missing {
        section.problem(
            "on",
            format!("`{trigger}` in `on` requires `{key}`, such as `{key} = 30m`"),
        );
    }
    given.or(default).filter(|_| is_asked)
}
