//! Events in a word or two, for people: `failed`, `changed`, `run failed`.

use serde::Deserialize;

use crate::event::Status;
use crate::event::callback::Callback;

/// The part of a stored event that describes it in short.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Head {
    run: RunId,
    changed: bool,
    ignored: bool,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RunId {
    id: String,
}

/// Returns the id of a run in the spool, by the id of one of its events there: a relay puts the name of the tenant in
/// front of both.
pub fn run_in_spool(event_id: &str, run: &str) -> String {
    match event_id.split_once(':') {
        Some((tenant, id)) if id.starts_with(run) && !event_id.starts_with(run) => {
            format!("{tenant}:{run}")
        }
        _ => run.to_owned(),
    }
}

impl Head {
    /// Reads it from the text of an event; everything is unknown if the text was deleted or is damaged.
    pub fn read(body: Option<&str>) -> Head {
        let head = body.and_then(|body| serde_json::from_str(body).ok());
        head.unwrap_or_default()
    }

    /// Returns the run of the event with this id, if it is known.
    pub fn run(&self, event_id: &str) -> Option<String> {
        if !self.run.id.is_empty() {
            return Some(run_in_spool(event_id, &self.run.id));
        }
        // The id of an event is that of its run with a number, unless a user chose it.
        let (run, last) = event_id.rsplit_once('-')?;
        // The last part of a UUID has twelve digits.
        let is_number =
            (1..12).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_digit());
        (is_number || ["end", "exit"].contains(&last)).then(|| run.to_owned())
    }

    /// Returns true if this callback is the end of a run, and its status is unknown.
    pub fn lacks_status(&self, callback: &str) -> bool {
        let callback = Callback::from(callback);
        self.status.is_none() && matches!(callback, Callback::PlaybookOnStats | Callback::RunEnd)
    }

    /// Adds the status of the run.
    pub fn with_status(self, status: Option<Status>) -> Head {
        Head { status, ..self }
    }

    /// Returns the event in words.
    pub fn words(&self, callback: &str) -> String {
        let words = match Callback::from(callback) {
            Callback::RunnerOnOk | Callback::RunnerOnAsyncOk if self.changed => "changed",
            Callback::RunnerItemOnOk if self.changed => "item changed",
            Callback::PlaybookOnStats | Callback::RunEnd => match self.status {
                Some(Status::Success) => "run ok",
                Some(Status::Error) => "run failed",
                Some(Status::Canceled) => "run canceled",
                Some(Status::Running) | None => "run ended",
            },
            callback => return self.of_callback(&callback),
        };
        words.to_owned()
    }

    fn of_callback(&self, callback: &Callback) -> String {
        let words = match callback {
            Callback::RunnerOnOk => "ok",
            Callback::RunnerOnFailed => "failed",
            Callback::RunnerOnSkipped => "skipped",
            Callback::RunnerOnUnreachable => "unreachable",
            Callback::RunnerOnStart => "started",
            Callback::RunnerRetry => "retry",
            Callback::RunnerOnNoHosts => "no hosts",
            Callback::RunnerOnAsyncPoll => "still running",
            Callback::RunnerOnAsyncOk => "ok",
            Callback::RunnerOnAsyncFailed => "failed",
            Callback::RunnerItemOnOk => "item ok",
            Callback::RunnerItemOnFailed => "item failed",
            Callback::RunnerItemOnSkipped => "item skipped",
            Callback::OnFileDiff => "diff",
            Callback::PlaybookOnStart | Callback::RunStart => "run started",
            Callback::RunRunning => "run running",
            Callback::RunOverdue => "run overdue",
            Callback::RunStalled => "run stalled",
            Callback::RunMissing => "run missing",
            Callback::TaskSlow => "task slow",
            Callback::PlaybookOnPlayStart => "play started",
            Callback::PlaybookOnTaskStart => "task started",
            Callback::PlaybookOnCleanupTaskStart => "cleanup started",
            Callback::PlaybookOnHandlerTaskStart => "handler started",
            Callback::PlaybookOnNotify => "handler notified",
            Callback::PlaybookOnNoHostsMatched => "no hosts matched",
            Callback::PlaybookOnNoHostsRemaining => "no hosts left",
            Callback::PlaybookOnVarsPrompt => "prompt",
            Callback::PlaybookOnInclude => "included",
            Callback::PlaybookOnImportForHost => "file imported",
            Callback::PlaybookOnNotImportForHost => "file not imported",
            other => {
                let name = other.name();
                let name = name.strip_prefix("playbook_on_").unwrap_or(name);
                let name = name.strip_prefix("runner_on_").unwrap_or(name);
                return name.replace('_', " ");
            }
        };
        match self.ignored {
            true => format!("{words}, ignored"),
            false => words.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(callback: &str, body: &str) -> String {
        Head::read(Some(body)).words(callback)
    }

    #[test]
    fn no_callback_is_shown_by_its_internal_name() {
        for callback in Callback::ANSIBLE {
            let words = Head::default().words(callback.name());
            assert!(!words.contains('_'), "{words}");
            assert_ne!(words, "", "{callback}");
        }
        assert_eq!(words("runner_on_rescue", ""), "rescue");
    }

    #[test]
    fn the_text_adds_details() {
        for (callback, body, expected) in [
            ("runner_on_ok", r#"{"changed":true}"#, "changed"),
            ("runner_on_ok", r#"{"changed":false}"#, "ok"),
            ("runner_on_failed", r#"{"ignored":true}"#, "failed, ignored"),
            ("run_end", r#"{"status":"error","result":{}}"#, "run failed"),
            ("run_end", r#"{"status":"error","run":7}"#, "run ended"),
            ("playbook_on_stats", r#"{"status":"success"}"#, "run ok"),
        ] {
            assert_eq!(words(callback, body), expected, "{body}");
        }
    }

    #[test]
    fn a_run_is_named_by_its_event() {
        let run = |body: &str, id: &str| Head::read(Some(body)).run(id);
        assert_eq!(run(r#"{"run":{"id":"r"}}"#, "x-1").as_deref(), Some("r"));
        assert_eq!(
            run(r#"{"run":{"id":"r"}}"#, "t:r-1").as_deref(),
            Some("t:r")
        );
        assert_eq!(
            run(r#"{"run":{"id":"t:r"}}"#, "t:r-1").as_deref(),
            Some("t:r")
        );
        assert_eq!(run(r#"{"run":{"id":"r"}}"#, "t:x-1").as_deref(), Some("r"));
        assert_eq!(run("", "t:r-1").as_deref(), Some("t:r"));
        assert_eq!(run("", "a-b-12").as_deref(), Some("a-b"));
        assert_eq!(run("", "a-end").as_deref(), Some("a"));
        assert_eq!(run("", "chosen"), None);
        assert_eq!(run("", "r-0199aa2e-0000-7000-8000-000000000001"), None);
        assert_eq!(run("", "chosen-"), None);
    }
}
