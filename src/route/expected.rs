//! Playbooks that a notifier expects to run: the key `expect`.

use std::time::Duration;

use crate::config::advice;
use crate::config::section::Section;
use crate::config::units::parse_duration;
use crate::event::Run;

/// Maximum default of `within`, which is a tenth of the interval.
const WITHIN: Duration = Duration::from_secs(3600);

/// A playbook that is expected to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its path, the end of it, or its file name.
    pub playbook: String,
    /// Longest time from one run to the next.
    pub every: Duration,
    /// Allowed delay of a run.
    pub within: Duration,
    /// True if only a success counts.
    pub successful: bool,
}

impl Expected {
    /// Reads the lines of `expect`; notes problems in the section.
    pub fn list(section: &Section, triggers: &[&str]) -> Vec<Expected> {
        let mut expected: Vec<Expected> = Vec::new();
        for line in section.list("expect") {
            for time in line.rsplit(" every ").next().unwrap_or_default().split(' ') {
                section.warn_of_unit("expect", time);
            }
            match Expected::parse(line) {
                Some(one) if expected.iter().any(|known| known.playbook == one.playbook) => {
                    let given = advice::quoted(&one.playbook);
                    section.problem("expect", format!("`expect` names {given} twice"));
                }
                Some(one) => expected.push(one),
                None => {
                    let given = advice::quoted(line);
                    section.problem(
                        "expect",
                        format!(
                            "`expect` must be a playbook and its interval, such as `site.yml every 1d`, \
                             optionally with `within 2h` and `successful`, not {given}"
                        ),
                    );
                }
            }
        }
        match (triggers.contains(&"missing"), section.is_given("expect")) {
            (true, false) => section.problem(
                "on",
                "`missing` in `on` requires `expect`, such as `expect = site.yml every 1d`",
            ),
            (false, true) => section.problem("expect", "`expect` requires `missing` in `on`"),
            _ => {}
        }
        expected
    }

    fn parse(line: &str) -> Option<Expected> {
        let (playbook, rest) = line.split_once(" every ")?;
        let mut words = rest.split_whitespace();
        let time = |text: &str| parse_duration(text).filter(|time| !time.is_zero());
        let every = time(words.next()?)?;
        let mut expected = Expected {
            playbook: playbook.trim().trim_start_matches("./").to_owned(),
            every,
            within: (every / 10).min(WITHIN),
            successful: false,
        };
        while let Some(word) = words.next() {
            match word {
                "within" => expected.within = parse_duration(words.next()?)?,
                "successful" => expected.successful = true,
                _ => return None,
            }
        }
        (!expected.playbook.is_empty()).then_some(expected)
    }

    /// Returns true if the run is one of this playbook, and not in check mode.
    pub fn is_met_by(&self, run: &Run) -> bool {
        let is_it = |name: &String| {
            let rest = name.strip_suffix(&self.playbook);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
        };
        !run.check && run.path.iter().chain(&run.playbook).any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read() {
        let one = Expected::parse("site.yml every 1d").unwrap();
        assert_eq!((one.every.as_secs(), one.within.as_secs()), (86400, 3600));
        let one = Expected::parse("./my plays/a.yml every 30m successful within 0s").unwrap();
        assert_eq!(
            (one.playbook.as_str(), one.within.as_secs()),
            ("my plays/a.yml", 0)
        );
        assert!(one.successful);
        for wrong in [
            "site.yml",
            " every 1d",
            "a every",
            "a every 0s",
            "a every 1d within",
            "a every 1d daily",
        ] {
            assert_eq!(Expected::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_playbook_is_named_by_the_end_of_its_path() {
        let run = |check| Run {
            playbook: Some("site.yml".into()),
            path: Some("/srv/web/site.yml".into()),
            check,
            ..Run::default()
        };
        for (name, is_it) in [
            ("site.yml", true),
            ("web/site.yml", true),
            ("/srv/web/site.yml", true),
            ("b/site.yml", false),
            ("ite.yml", false),
        ] {
            let expected = Expected::parse(&format!("{name} every 1d")).unwrap();
            assert_eq!(expected.is_met_by(&run(false)), is_it, "{name}");
            assert!(!expected.is_met_by(&run(true)));
        }
    }
}
