//! Scope of a run: the part of its playbook that it covers, which decides if its success clears earlier
//! failures.

use std::collections::BTreeSet;

use crate::event::callback::Callback;
use crate::event::{Event, Run, State, Status};

impl Run {
    /// Returns the tasks it was limited to, as text: equal for the same ones, and empty for all.
    pub fn scope(&self) -> String {
        let named = |name: &str, tags: &[String]| {
            let mut tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            tags.sort_unstable();
            tags.dedup();
            let is_all = tags.is_empty() || name == "tags" && tags == ["all"];
            (!is_all).then(|| format!("{name} {}", tags.join(",")))
        };
        let start = self.start_at_task.as_ref();
        let parts = [
            named("tags", &self.tags),
            named("skip_tags", &self.skip_tags),
            start.map(|task| format!("start_at_task {task}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        parts.join("; ")
    }

    /// Returns true if it covers all tasks on all hosts, and is not in check mode.
    pub fn is_whole(&self) -> bool {
        !self.check && self.limit.is_none() && self.scope().is_empty()
    }

    /// Returns the ad hoc command as it is typed, without its arguments.
    pub fn command(&self) -> Option<String> {
        let module = self.module.as_ref()?;
        let pattern = self.pattern.as_deref().unwrap_or("all");
        Some(format!("ansible {pattern} -m {module}"))
    }

    /// Returns a key that identifies the run: the command of `ansible-notify run` that it is part of, or else its
    /// playbook and inventory; empty if nothing identifies it.
    pub fn command_key(&self) -> String {
        let command = self.wrapped.as_ref().map(|wrapped| wrapped.key.clone());
        let command = command.filter(|key| !key.is_empty());
        command.unwrap_or_else(|| self.playbook_key())
    }

    /// Returns the keys of all that its end says something about: its playbooks, and the command around them.
    pub fn ended_keys(&self) -> BTreeSet<String> {
        let own = [self.playbook_key(), self.own_key(), self.command_key()];
        let keys = self.earlier_keys().into_iter().chain(own);
        keys.filter(|key| !key.is_empty()).collect()
    }

    /// Returns the key of the incident that a failure of it begins, and its recovery ends: that of a script, or else
    /// of its playbook.
    pub fn incident_key(&self) -> String {
        let script = self.wrapped.as_ref().filter(|wrapped| wrapped.is_script);
        match script {
            Some(script) => script.key.clone(),
            None if self.playbook_key().is_empty() => self.command_key(),
            None => self.playbook_key(),
        }
    }

    /// Returns true if it is a playbook in a script, which may fail after it.
    pub fn is_in_script(&self) -> bool {
        let script = self.wrapped.as_ref().filter(|wrapped| wrapped.is_script);
        script.is_some() && !self.playbook_key().is_empty()
    }

    /// Returns true if a command around it goes on after its end.
    pub fn goes_on(&self) -> bool {
        let wrapped = self.wrapped.as_ref();
        wrapped.is_some_and(|wrapped| wrapped.is_started && !self.playbook_key().is_empty())
    }

    /// Returns a name for people: the given one, the playbook's, or the ad hoc command.
    pub fn name(&self) -> String {
        let title = self.title.clone().or_else(|| self.playbook.clone());
        let playbook = title.or_else(|| self.command());
        playbook.unwrap_or_else(|| "ansible".to_owned())
    }
}

impl Event {
    /// Returns true if a task failed or a host could not be reached, and the failure is not ignored.
    pub fn is_failure(&self) -> bool {
        matches!(self.state, Some(State::Failed | State::Unreachable))
            && !self.ignored
            && self.event != Callback::RunnerRetry
    }

    /// Returns true if it is such a failure, or the end of a run that failed.
    pub fn is_bad(&self) -> bool {
        let status = self.end.as_ref().map(|end| end.status);
        self.is_failure() || status == Some(Status::Error)
    }

    /// Returns true if the run succeeded after a failed one, and no failure is left.
    pub fn recovered(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.status == Status::Success && end.previous == Some(Status::Error))
    }

    /// Returns true if the playbook is known to be healthy: the run fixed everything that had failed, or is
    /// a whole one. The failure may have been on another machine.
    pub fn resolves(&self) -> bool {
        let may_fail = self.run.check || self.run.is_in_script();
        let succeeded = |status| status == Status::Success && !may_fail;
        self.end.as_ref().is_some_and(|end| {
            succeeded(end.status)
                && end.still_failing.is_empty()
                && (self.recovered() || self.run.is_whole())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_that_of_the_tasks() {
        let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let run = |tags| Run {
            tags,
            ..Run::default()
        };
        for all in [&[] as &[&str], &["all"]] {
            assert_eq!(run(tags(all)).scope(), "");
            assert!(run(tags(all)).is_whole());
        }
        assert_eq!(
            run(tags(&["b", "a"])).scope(),
            run(tags(&["a", "b"])).scope()
        );
        let skipping = Run {
            skip_tags: tags(&["slow"]),
            start_at_task: Some("Install".into()),
            ..run(tags(&["web"]))
        };
        assert_eq!(
            skipping.scope(),
            "tags web; skip_tags slow; start_at_task Install"
        );
        assert!(!skipping.is_whole());
        let limited = Run {
            limit: Some("web1".into()),
            ..Run::default()
        };
        assert!(limited.scope().is_empty() && !limited.is_whole());
    }
}
