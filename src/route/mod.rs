//! Rules for the events that a notifier wants: the triggers of `on`, and `when`.

mod digest;
pub mod expected;
pub mod grouping;
pub mod streak;
pub mod thresholds;
pub mod timing;
mod window;

use std::cell::Cell;

use crate::config::advice;
use crate::config::section::Section;
use crate::console::stderr;
use crate::event::callback::Callback;
use crate::event::{Event, Status};
use crate::route::expected::Expected;
use crate::route::thresholds::Thresholds;
use crate::template::Template;
use crate::template::context::Context;
use crate::template::context::VARIABLES;

/// Test for the events that a trigger of `on` stands for.
type Test = fn(&Event) -> bool;
const TRIGGERS: [(&str, Test); 26] = [
    ("any", |event| is_result(event) || event.end.is_some()),
    ("ok", |event| event.event == Callback::RunnerOnOk),
    ("changed", |event| {
        event.event == Callback::RunnerOnOk && event.changed
    }),
    ("failed", |event| event.event == Callback::RunnerOnFailed),
    ("skipped", |event| event.event == Callback::RunnerOnSkipped),
    ("unreachable", |event| {
        event.event == Callback::RunnerOnUnreachable
    }),
    ("ignored", |event| {
        event.event == Callback::RunnerOnFailed && event.ignored
    }),
    ("retry", |event| event.event == Callback::RunnerRetry),
    ("item_ok", |event| event.event == Callback::RunnerItemOnOk),
    ("item_failed", |event| {
        event.event == Callback::RunnerItemOnFailed
    }),
    ("item_skipped", |event| {
        event.event == Callback::RunnerItemOnSkipped
    }),
    ("async_poll", |event| {
        event.event == Callback::RunnerOnAsyncPoll
    }),
    ("async_ok", |event| event.event == Callback::RunnerOnAsyncOk),
    ("async_failed", |event| {
        event.event == Callback::RunnerOnAsyncFailed
    }),
    ("diff", |event| event.event == Callback::OnFileDiff),
    ("started", |event| {
        // A live ansible-runner reports this before the playbook does.
        let run = &event.run;
        let said = run.ident.as_ref().is_some_and(|ident| *ident != run.id);
        // So does `ansible-notify run`.
        let wrapped = run.wrapped.as_ref().is_some_and(|one| one.is_started);
        let is_start =
            event.event == Callback::RunStart || event.event == Callback::PlaybookOnStart && !said;
        is_start && !wrapped
    }),
    ("success", |event| ended(event, Status::Success)),
    ("error", |event| ended(event, Status::Error)),
    ("canceled", |event| ended(event, Status::Canceled)),
    ("recovered", Event::recovered),
    ("changed_run", |event| event.end.is_some() && event.changed),
    ("runner", |event| event.record.is_some()),
    ("overdue", |event| event.event == Callback::RunOverdue),
    ("stalled", |event| event.event == Callback::RunStalled),
    ("missing", |event| event.event == Callback::RunMissing),
    ("slow_task", |event| event.event == Callback::TaskSlow),
];

/// Returns the names of the triggers, those of callbacks last.
pub fn triggers() -> impl Iterator<Item = &'static str> {
    let callbacks = Callback::ANSIBLE.iter().map(Callback::name);
    TRIGGERS.iter().map(|(name, _)| *name).chain(callbacks)
}

/// Returns the test for the events that a trigger or the name of a callback stands for.
pub fn meaning(trigger: &str) -> Result<impl Fn(&Event) -> bool, String> {
    let test = TRIGGERS.iter().find(|(name, _)| *name == trigger);
    let callback = Callback::of_ansible(trigger);
    if test.is_none() && callback.is_none() {
        return Err(unknown(trigger));
    }
    Ok(move |event: &Event| match test {
        Some((_, test)) => test(event),
        None => Some(&event.event) == callback,
    })
}

/// Returns the sample event for a trigger, or the reason why there is none.
pub fn sample_of(trigger: &str, samples: Vec<Event>) -> Result<Event, String> {
    let is_meant = meaning(trigger)?;
    let found = samples.into_iter().find(is_meant);
    found.ok_or_else(|| format!("no sample of `{trigger}`; pass an event with --event"))
}

/// Returns the error for an unknown trigger, with a similar name, or else with all names.
fn unknown(trigger: &str) -> String {
    let names = || TRIGGERS.iter().map(|(name, _)| *name);
    let mut hint = advice::trigger(trigger, triggers());
    if hint.is_empty() {
        let names: Vec<&str> = names().collect();
        hint = format!(
            "; known triggers: {}, and Ansible's callbacks",
            names.join(", ")
        );
    }
    format!("unknown trigger `{trigger}`{hint}")
}

fn is_result(event: &Event) -> bool {
    event.event.state().is_some()
}

fn ended(event: &Event, status: Status) -> bool {
    event.end.as_ref().is_some_and(|end| end.status == status)
}

/// Handling of runs in check mode, which change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckMode {
    Include,
    Exclude,
    Only,
}

const CHECK_MODES: [(&str, CheckMode); 3] = [
    ("include", CheckMode::Include),
    ("exclude", CheckMode::Exclude),
    ("only", CheckMode::Only),
];

impl CheckMode {
    fn name(self) -> &'static str {
        let of = CHECK_MODES.iter().find(|(_, mode)| *mode == self);
        of.map_or("include", |(name, _)| name)
    }

    fn admits(self, event: &Event) -> bool {
        match self {
            CheckMode::Include => true,
            CheckMode::Exclude => !event.run.check,
            CheckMode::Only => event.run.check,
        }
    }
}

/// Defaults for a section that does not set its own rules.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    pub on: &'static [&'static str],
    pub check_mode: CheckMode,
}

/// Rules for the events that a notifier wants.
pub struct Rules {
    check_mode: CheckMode,
    triggers: Vec<(&'static str, Test)>,
    /// Callbacks given by their own names.
    callbacks: Vec<&'static Callback>,
    when: Option<Template>,
    /// Times after which a run or a task takes too long.
    pub thresholds: Thresholds,
    /// Playbooks that are expected to run.
    pub expected: Vec<Expected>,
    /// True once `when` failed: reported once, not once per event.
    failed: Cell<bool>,
    /// True if it is unclear what is meant: no event is wanted.
    unclear: bool,
}

impl Rules {
    /// Reads the rules of a section.
    pub fn new(section: &Section, default: Defaults) -> Rules {
        let check_mode = section.choice("check_mode", default.check_mode, &CHECK_MODES);
        let mut rules = Rules {
            check_mode,
            triggers: Vec::new(),
            callbacks: Vec::new(),
            when: None,
            thresholds: Thresholds::default(),
            expected: Vec::new(),
            failed: Cell::new(false),
            unclear: false,
        };
        // A value that is only a comment, or only commas, counts as empty.
        let says_nothing = |key: &&&str| {
            let nothing = match **key {
                "when" => section.expression(key).is_none(),
                _ => section.list(key).is_empty(),
            };
            section.is_blank(key) || section.is_given(key) && nothing
        };
        for key in ["on", "when"].iter().filter(says_nothing) {
            section.problem(key, format!("`{key}` is empty; remove it, or list events"));
        }
        let names = section.list("on");
        let names = if names.is_empty() { default.on } else { &names };
        rules.thresholds = Thresholds::new(section, names);
        rules.expected = Expected::list(section, names);
        for name in names {
            if let Some(trigger) = TRIGGERS.iter().find(|(trigger, _)| trigger == name) {
                rules.triggers.push(*trigger);
            } else if let Some(callback) = Callback::of_ansible(name) {
                rules.callbacks.push(callback);
            } else {
                section.problem("on", unknown(name));
            }
        }
        rules.when = section
            .expression("when")
            .and_then(|source| match Template::new(&source) {
                Ok(template) => {
                    for name in template.unknown_variables() {
                        section.problem(
                            "when",
                            format!(
                                "unknown variable `{name}`{}",
                                advice::variable(&name, &VARIABLES)
                            ),
                        );
                    }
                    if template.is_text() {
                        let warning = "`when` must be an expression; remove `{{` and `}}`";
                        section.warning("when", warning);
                    }
                    Some(template)
                }
                Err(problem) => {
                    section.problem("when", format!("`when`: {problem}"));
                    None
                }
            });
        rules
    }

    /// Returns these rules; with a mistake in them, they want no event.
    pub fn unless(self, unclear: bool) -> Rules {
        let thresholds = match unclear {
            true => Thresholds::default(),
            false => self.thresholds,
        };
        let expected = match unclear {
            true => Vec::new(),
            false => self.expected,
        };
        Rules {
            unclear,
            thresholds,
            expected,
            ..self
        }
    }

    /// Returns true if the notifier wants this event.
    pub fn want(&self, context: &Context) -> bool {
        !self.unclear
            && self.trigger(context.event()).is_some()
            && self.check_mode.admits(context.event())
            && self.holds(context)
    }

    /// Returns the trigger by which an event is wanted, if any.
    pub fn trigger(&self, event: &Event) -> Option<&'static str> {
        let trigger = self.triggers.iter().find(|(_, test)| test(event));
        let mut callbacks = self.callbacks.iter();
        let callback = callbacks.find(|callback| ***callback == event.event);
        trigger
            .map(|(name, _)| *name)
            .or(callback.map(|callback| callback.name()))
    }

    /// Returns true if an event is wanted only because it ends an incident.
    pub fn only_recovers(&self, event: &Event) -> bool {
        let mut triggers = self.triggers.iter().filter(|(_, test)| test(event));
        let is_callback = self.callbacks.iter().any(|one| **one == event.event);
        !is_callback && triggers.all(|(name, _)| *name == "recovered")
    }

    /// Returns true if the notifier wants to know about recoveries.
    pub fn heeds_recovery(&self) -> bool {
        !self.unclear && self.triggers.iter().any(|(name, _)| *name == "recovered")
    }

    /// Returns whether the notifier wants this event, and why.
    pub fn explain(&self, context: &Context) -> (bool, String) {
        let triggers = self.triggers.iter().map(|(name, _)| *name);
        let all: Vec<&str> = triggers
            .chain(self.callbacks.iter().map(|callback| callback.name()))
            .collect();
        match self.trigger(context.event()) {
            _ if self.unclear => (false, "its `on` or `when` has a mistake".to_owned()),
            None => (
                false,
                format!("matches none of its triggers: {}", all.join(", ")),
            ),
            Some(_) if !self.check_mode.admits(context.event()) => (
                false,
                format!("its `check_mode` is {}", self.check_mode.name()),
            ),
            Some(_) if !self.holds(context) => (false, "its `when` is false".to_owned()),
            Some(trigger) => (true, format!("matches its trigger `{trigger}`")),
        }
    }

    /// Evaluates `when`. If that fails, the event is sent: too much is better than nothing.
    fn holds(&self, context: &Context) -> bool {
        let Some(when) = &self.when else { return true };
        when.holds(context).unwrap_or_else(|problem| {
            if !self.failed.replace(true) {
                stderr::say(format!("`when` failed, so the event is sent: {problem}"));
            }
            true
        })
    }

    /// Returns the samples that its triggers let through.
    pub fn samples<'s>(&self, samples: &'s [Context]) -> Vec<&'s Context> {
        let is_heard = |sample: &&Context| self.trigger(sample.event()).is_some();
        samples.iter().filter(is_heard).collect()
    }

    /// Notes in the section if `when` fails on a sample.
    pub fn try_on(&self, section: &Section, samples: &[&Context]) {
        let failure = samples
            .iter()
            .find_map(|sample| self.when.as_ref()?.evaluate(sample).err());
        if let Some(failure) = failure {
            section.problem("when", failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::entry::{Entry, Origin};
    use crate::event::parse::EventParser;

    fn rules(on: &str, when: &str) -> (Rules, Vec<String>) {
        let mut section = Section::new("notifier:x", Origin::Play);
        let given = [("on", on), ("when", when)];
        for (key, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
            section.set(Entry {
                key: key.into(),
                value: value.into(),
                origin: Origin::Play,
            });
        }
        let default = Defaults {
            on: &["error", "success"],
            check_mode: CheckMode::Include,
        };
        let rules = Rules::new(&section, default);
        (
            rules,
            section
                .take_problems()
                .into_iter()
                .map(|problem| problem.text)
                .collect(),
        )
    }

    fn wanted(on: &str, when: &str, event: &str) -> bool {
        let (rules, problems) = rules(on, when);
        assert_eq!(problems, [] as [&str; 0]);
        rules.want(&Context::new(Arc::new(
            EventParser::new().read(event.as_bytes()).unwrap(),
        )))
    }

    #[test]
    fn triggers_select_events() {
        let changed = r#"{"event":"runner_on_ok","changed":true,"host":"a"}"#;
        let ignored = r#"{"event":"v2_runner_on_failed","ignored":true}"#;
        assert!(wanted("failed, changed", "", changed));
        assert!(!wanted("failed", "", changed));
        assert!(wanted("failed", "", ignored) && wanted("ignored", "", ignored));
        assert!(!wanted("failed", "not ignored", ignored));
        assert!(wanted("any", "host == 'a'", changed) && !wanted("any", "host == 'b'", changed));
        assert!(wanted(
            "playbook_on_task_start",
            "",
            r#"{"event":"playbook_on_task_start"}"#
        ));
        assert!(!wanted("any", "", r#"{"event":"playbook_on_task_start"}"#));
        assert!(!wanted("", "", changed));
    }

    #[test]
    fn a_failing_condition_sends() {
        assert!(wanted("ok", "1 / 0", r#"{"event":"runner_on_ok"}"#));
    }

    #[test]
    fn misspelt_words_get_a_suggestion() {
        let (_, problems) = rules("faild", "hots == 1");
        assert_eq!(
            problems[0],
            "unknown trigger `faild`; did you mean `failed`?"
        );
        assert_eq!(problems[1], "unknown variable `hots`; did you mean `host`?");
    }
}
