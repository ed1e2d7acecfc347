//! Keys that take a time.

use std::time::Duration;

use super::advice;
use super::section::Section;
use super::units::{self, parse_duration};

/// Keys whose times are usually some seconds.
const SHORT: [&str; 3] = ["drain", "group_wait", "timeout"];

impl Section {
    /// Returns a time such as `500ms`, `30s`, `5m`, `72h` or `14d`; a bare number is in seconds.
    pub fn duration(&self, key: &str, default: Duration) -> Duration {
        if !self.is_given(key) {
            self.note_default(key, units::duration(default));
        }
        self.warn_of_unit(key, self.text(key).unwrap_or_default());
        self.parsed(key, default, |text| {
            parse_duration(text).ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a duration such as 500ms, 30s, 5m or 72h, not {given}")
            })
        })
    }

    /// Returns the time limit of an attempt, which the key `timeout` gives; a problem if it leaves no time at all.
    pub fn time_limit(&self, default: Duration) -> Duration {
        let limit = self.duration("timeout", default);
        if limit.is_zero() {
            let text = "`timeout` must be more than 0: no attempt could succeed";
            self.problem("timeout", text.to_owned());
        }
        limit
    }

    /// Warns about a time without a unit, which is in seconds: minutes or hours may be meant.
    pub fn warn_of_unit(&self, key: &str, time: &str) {
        let is_bare = time.parse().is_ok_and(|number: f64| number > 0.0);
        if is_bare && !SHORT.contains(&key) {
            let text = format!(
                "`{key}`: {time} means {time} seconds; write `{time}s`, or the unit that you mean, such as `{time}m` or `{time}h`"
            );
            self.warning(key, text);
        }
    }
}
