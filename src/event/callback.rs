//! Kinds of events: Ansible's callbacks, and the states of a run that are in none of them.

pub mod words;

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::event::State;

/// Makes [`Callback`] from one table: variant, name in an event, and the state that it stands for.
macro_rules! callbacks {
    (
        ansible { $($callback:ident $name:literal $state:expr,)+ }
        others { $($other:ident $other_name:literal,)+ }
    ) => {
        /// Kind of an event. Callbacks of a newer Ansible pass through under their names.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Callback {
            $(#[doc = concat!("`", $name, "`")] $callback,)+
            $(#[doc = concat!("`", $other_name, "`")] $other,)+
            /// Any other name, and none of those above.
            Unknown(Box<str>),
        }

        impl Callback {
            /// Ansible's callbacks; each is also a trigger under its own name.
            pub const ANSIBLE: &[Callback] = &[$(Callback::$callback),+];

            /// Returns the name in an event: Ansible's, without `v2_`.
            pub fn name(&self) -> &str {
                match self {
                    $(Callback::$callback => $name,)+
                    $(Callback::$other => $other_name,)+
                    Callback::Unknown(name) => name,
                }
            }

            /// Returns the state of the task that it reports; None if it is not a result.
            pub fn state(&self) -> Option<State> {
                match self {
                    $(Callback::$callback => $state,)+
                    $(Callback::$other)|+ | Callback::Unknown(_) => None,
                }
            }
        }

        impl From<&str> for Callback {
            fn from(name: &str) -> Callback {
                match name {
                    $($name => Callback::$callback,)+
                    $($other_name => Callback::$other,)+
                    _ => Callback::Unknown(name.into()),
                }
            }
        }
    };
}

// The callbacks are those of ansible-core's `CallbackBase`, the others are ansible-runner's and our own.
callbacks! {
    ansible {
        RunnerOnOk "runner_on_ok" Some(State::Success),
        RunnerOnFailed "runner_on_failed" Some(State::Failed),
        RunnerOnSkipped "runner_on_skipped" Some(State::Skipped),
        RunnerOnUnreachable "runner_on_unreachable" Some(State::Unreachable),
        RunnerOnNoHosts "runner_on_no_hosts" None,
        RunnerOnAsyncPoll "runner_on_async_poll" Some(State::Success),
        RunnerOnAsyncOk "runner_on_async_ok" Some(State::Success),
        RunnerOnAsyncFailed "runner_on_async_failed" Some(State::Failed),
        RunnerRetry "runner_retry" Some(State::Failed),
        RunnerItemOnOk "runner_item_on_ok" Some(State::Success),
        RunnerItemOnFailed "runner_item_on_failed" Some(State::Failed),
        RunnerItemOnSkipped "runner_item_on_skipped" Some(State::Skipped),
        OnFileDiff "on_file_diff" Some(State::Success),
        PlaybookOnStart "playbook_on_start" None,
        PlaybookOnNotify "playbook_on_notify" None,
        PlaybookOnNoHostsMatched "playbook_on_no_hosts_matched" None,
        PlaybookOnNoHostsRemaining "playbook_on_no_hosts_remaining" None,
        PlaybookOnTaskStart "playbook_on_task_start" None,
        PlaybookOnCleanupTaskStart "playbook_on_cleanup_task_start" None,
        PlaybookOnHandlerTaskStart "playbook_on_handler_task_start" None,
        PlaybookOnVarsPrompt "playbook_on_vars_prompt" None,
        PlaybookOnPlayStart "playbook_on_play_start" None,
        PlaybookOnStats "playbook_on_stats" None,
        PlaybookOnInclude "playbook_on_include" None,
        PlaybookOnImportForHost "playbook_on_import_for_host" None,
        PlaybookOnNotImportForHost "playbook_on_not_import_for_host" None,
    }
    others {
        RunStart "run_start",
        RunRunning "run_running",
        RunEnd "run_end",
        RunOverdue "run_overdue",
        RunStalled "run_stalled",
        RunMissing "run_missing",
        TaskSlow "task_slow",
        RunnerOnStart "runner_on_start",
        Verbose "verbose",
        Error "error",
    }
}

impl Callback {
    /// Returns Ansible's callback of a name.
    pub fn of_ansible(name: &str) -> Option<&'static Callback> {
        let mut all = Callback::ANSIBLE.iter();
        all.find(|callback| callback.name() == name)
    }

    /// Returns the callback that reports the end of a task in a state.
    pub fn of_state(state: State) -> Callback {
        match state {
            State::Success => Callback::RunnerOnOk,
            State::Failed => Callback::RunnerOnFailed,
            State::Skipped => Callback::RunnerOnSkipped,
            State::Unreachable => Callback::RunnerOnUnreachable,
        }
    }

    /// Returns true if it reports the end of a task on a host, not one of its items, polls or retries.
    pub fn is_task_end(&self) -> bool {
        self.state().map(Callback::of_state).as_ref() == Some(self)
    }

    /// Returns true if it reports the start of a task.
    pub fn is_task_start(&self) -> bool {
        matches!(
            self,
            Callback::PlaybookOnTaskStart
                | Callback::PlaybookOnCleanupTaskStart
                | Callback::PlaybookOnHandlerTaskStart
        )
    }

    /// Returns true if it is about one task.
    pub fn is_about_task(&self) -> bool {
        self.is_task_start() || *self == Callback::PlaybookOnNotify || self.state().is_some()
    }

    /// Returns true if it reports one item of a loop.
    pub fn is_item(&self) -> bool {
        matches!(
            self,
            Callback::RunnerItemOnOk | Callback::RunnerItemOnFailed | Callback::RunnerItemOnSkipped
        )
    }

    /// Returns true if it is about time: something takes too long, or does not happen.
    pub fn is_alert(&self) -> bool {
        matches!(
            self,
            Callback::RunOverdue | Callback::RunStalled | Callback::RunMissing | Callback::TaskSlow
        )
    }

    /// Returns true if it is a state of a run, outside of any playbook.
    pub fn is_of_run(&self) -> bool {
        matches!(
            self,
            Callback::RunStart | Callback::RunRunning | Callback::RunEnd
        )
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Callback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Callback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Callback, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Callback;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E>(self, name: &str) -> Result<Callback, E> {
                Ok(Callback::from(name))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_callback_has_one_name() {
        for callback in Callback::ANSIBLE {
            assert_eq!(Callback::from(callback.name()), *callback);
            assert_eq!(Callback::of_ansible(callback.name()), Some(callback));
        }
    }

    #[test]
    fn names_of_a_newer_ansible_pass_through() {
        for name in [
            "runner_on_rescue",
            "v2_runner_on_ok",
            "Runner_on_ok",
            "",
            "é",
        ] {
            let text = serde_json::to_string(name).unwrap();
            let callback: Callback = serde_json::from_str(&text).unwrap();
            assert_eq!(callback, Callback::Unknown(name.into()));
            assert_eq!(serde_json::to_string(&callback).unwrap(), text);
            assert_eq!((callback.state(), Callback::of_ansible(name)), (None, None));
        }
    }

    #[test]
    fn a_task_ends_once() {
        let ends = Callback::ANSIBLE.iter().filter(|one| one.is_task_end());
        let names: Vec<&str> = ends.map(Callback::name).collect();
        let results = ["ok", "failed", "skipped", "unreachable"];
        assert_eq!(names, results.map(|result| format!("runner_on_{result}")));
    }
}
