//! Which part of its playbook a run is, and with it what its success says of earlier failures.

use crate::event::{Event, Run, Status};

impl Run {
    /// The tasks that it ran, as text: the same in runs of the same ones, and empty for all of them.
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

    /// All tasks on all hosts, and in earnest.
    pub fn is_whole(&self) -> bool {
        !self.check && self.limit.is_none() && self.scope().is_empty()
    }

    /// The ad hoc command as it is typed, without its arguments.
    pub fn command(&self) -> Option<String> {
        let module = self.module.as_ref()?;
        let pattern = self.pattern.as_deref().unwrap_or("all");
        Some(format!("ansible {pattern} -m {module}"))
    }

    /// A name for people: the playbook's, or the ad hoc command.
    pub fn name(&self) -> String {
        let playbook = self.playbook.clone().or_else(|| self.command());
        playbook.unwrap_or_else(|| "ansible".to_owned())
    }
}

impl Event {
    /// The run succeeded where the one before it had failed, and nothing of that is left.
    pub fn recovered(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.status == Status::Success && end.previous == Some(Status::Error))
    }

    /// The playbook is well, as far as is known: the run mended all that had failed, or is a whole one. The
    /// failure may have been another machine's.
    pub fn resolves(&self) -> bool {
        let succeeded = |status| status == Status::Success && !self.run.check;
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
