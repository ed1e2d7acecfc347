//! Events made of what is recorded about them, for messages about a run that is over.

use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::routes::Asked;
use super::view;
use crate::command::drafts::Rebuilt;
use crate::event::State;
use crate::spool::Unseen;
use crate::spool::record::Outcome;
use crate::spool::record::results::{RecordedResult, RecordedTask, ResultFilter};
use crate::spool::record::runs::{RecordedRun, RunFilter, RunState};

/// Number of runs in which a failure, or the run before another one, is looked for.
const RUNS: usize = 200;
/// Number of failed tasks that the end of a run lists.
const FAILED: usize = 20;

/// Parts of a result that are not recorded; of most that did not fail, the return value is not, either.
const OF_RESULT: [&str; 7] = [
    "vars",
    "host.vars",
    "host.address",
    "host.groups",
    "host.delegated_to",
    "task.tags",
    "result",
];
/// Parts of the end of a run that are not recorded.
const OF_END: [&str; 8] = [
    "vars",
    "custom_stats",
    "custom_stats_per_host",
    "still_failing",
    "signal",
    "overdue",
    "stalls",
    "slow_tasks",
];

/// Returns the outcome of the results that a trigger stands for.
fn outcome_of(trigger: &str) -> Option<Outcome> {
    Some(match trigger {
        "failed" | "runner_on_failed" => Outcome::Failed,
        "unreachable" | "runner_on_unreachable" => Outcome::Unreachable,
        "ok" | "runner_on_ok" => Outcome::Ok,
        "changed" => Outcome::Changed,
        "skipped" | "runner_on_skipped" => Outcome::Skipped,
        "ignored" => Outcome::Ignored,
        _ => return None,
    })
}

impl Asked<'_> {
    /// Returns the recorded runs that match; none if nothing is recorded.
    pub(super) async fn recorded(&self, filter: RunFilter) -> Result<Vec<RecordedRun>, Problem> {
        match self.viewer.runs(filter).await {
            Err(Unseen::Missing(_)) => Ok(Vec::new()),
            found => Ok(found?),
        }
    }

    /// Returns the newest recorded event for a trigger that is about a result or the end of a run.
    pub(super) async fn newest(&self, trigger: &str) -> Result<Option<Rebuilt>, Problem> {
        if let Some(outcome) = outcome_of(trigger) {
            return self.newest_result(outcome).await;
        }
        let (state, is_recovery) = match trigger {
            "success" => (Some(RunState::Ok), false),
            "recovered" => (Some(RunState::Ok), true),
            "error" => (Some(RunState::Failed), false),
            "canceled" => (Some(RunState::Canceled), false),
            "run_end" => (None, false),
            _ => return Ok(None),
        };
        let filter = RunFilter {
            most: RUNS,
            ..RunFilter::default()
        };
        let runs = self.recorded(filter).await?;
        let is_it = |at: &usize| {
            let run = &runs[*at];
            let has_ended = run.state != RunState::Running;
            let is_meant = state.is_none_or(|state| state == run.state);
            let failed = || previous(run, &runs[at + 1..]) == Some(RunState::Failed);
            has_ended && is_meant && (!is_recovery || failed())
        };
        let Some(at) = (0..runs.len()).find(is_it) else {
            return Ok(None);
        };
        let before = previous(&runs[at], &runs[at + 1..]);
        Ok(Some(self.end(&runs[at], before).await?))
    }

    /// Returns the newest recorded result of this outcome.
    async fn newest_result(&self, outcome: Outcome) -> Result<Option<Rebuilt>, Problem> {
        let filter = RunFilter {
            with: Some(outcome),
            most: RUNS,
            ..RunFilter::default()
        };
        let mut newest: Option<(RecordedRun, RecordedResult)> = None;
        for run in self.recorded(filter).await? {
            // Runs are in the order of their starts, and may overlap.
            let is_older = |(_, known): &(RecordedRun, RecordedResult)| run.seen <= known.time;
            if newest.as_ref().is_some_and(is_older) {
                continue;
            }
            let filter = ResultFilter {
                outcomes: vec![outcome],
                whole: true,
                newest: true,
                most: 1,
                ..ResultFilter::default()
            };
            let found = self.viewer.results(run.number, filter).await?.pop();
            let is_newer = |found: &RecordedResult| {
                let known = newest.as_ref();
                known.is_none_or(|(_, known)| known.time < found.time)
            };
            if let Some(found) = found.filter(is_newer) {
                newest = Some((run, found));
            }
        }
        match newest {
            Some((run, result)) => Ok(Some(self.result_of(&run, result).await?)),
            None => Ok(None),
        }
    }

    /// Returns a result as an event, as far as it is recorded.
    async fn result_of(&self, run: &RecordedRun, row: RecordedResult) -> Result<Rebuilt, Problem> {
        let mut tasks = self.viewer.tasks(run.number).await?.into_iter();
        let task = tasks.find(|task| task.number == row.task);
        let whole = row.result.as_deref();
        let whole = whole.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let outcome = row.outcome.unwrap_or(Outcome::Failed);
        let is_whole = whole.is_some() && outcome != Outcome::Changed;
        let result = whole.or_else(|| Some(json!({"msg": row.message.as_ref()?})));
        let item = row.item.as_deref();
        let item = item.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let event = json!({
            "state": state_of(outcome), "changed": outcome == Outcome::Changed,
            "ignored": outcome == Outcome::Ignored, "truncated": row.is_cut,
            "id": format!("{}-{}", own_id(run), row.event), "time": view::time(row.time),
            "duration": row.duration.map(|took| took as f64 / 1000.0), "item": item,
            "host": row.host, "play": task.as_ref().and_then(|task| task.play.as_ref()),
            "task": task.as_ref().map(task_of), "result": result, "run": run.run,
        });
        let kept = self
            .viewer
            .body(format!("{}-{}", run.id, row.event))
            .await?;
        Ok(Rebuilt {
            event,
            kept: kept.into_iter().collect(),
            run: run.id.clone(),
            result: u64::try_from(row.event).ok(),
            missing: match is_whole {
                true => &OF_RESULT[..OF_RESULT.len() - 1],
                false => &OF_RESULT,
            },
        })
    }

    /// Returns the end of a run as an event, as far as it is recorded; `before` is the state of the run before it.
    pub(super) async fn end(
        &self,
        run: &RecordedRun,
        before: Option<RunState>,
    ) -> Result<Rebuilt, Problem> {
        let mut stats = Map::new();
        for host in self.viewer.hosts(run.number).await? {
            let counts = host.counts;
            let counts = json!({
                "ok": counts.ok + counts.changed, "changed": counts.changed, "failures": counts.failed,
                "unreachable": counts.unreachable, "skipped": counts.skipped, "ignored": counts.ignored,
            });
            stats.insert(host.name, counts);
        }
        let previous = before.map(status_of);
        let event = json!({
            "event": "run_end", "status": status_of(run.state), "id": format!("{}-end", own_id(run)),
            "time": view::time(run.ended.unwrap_or(run.seen)), "elapsed": run.took() as f64 / 1000.0,
            "exit_code": run.exit_code, "reason": run.reason, "previous": previous,
            "failures": run.counts.failed + run.counts.unreachable,
            "failed_tasks": self.failed_tasks(run).await?, "stats": stats, "run": run.run,
        });
        Ok(Rebuilt {
            event,
            kept: self.viewer.bodies(Some(&run.id)).await?,
            run: run.id.clone(),
            result: None,
            missing: &OF_END,
        })
    }

    /// Returns the first failed tasks of a run, as its end lists them.
    async fn failed_tasks(&self, run: &RecordedRun) -> Result<Vec<Value>, Problem> {
        let filter = ResultFilter {
            outcomes: vec![Outcome::Failed, Outcome::Unreachable],
            most: FAILED,
            ..ResultFilter::default()
        };
        let rows = self.viewer.results(run.number, filter).await?;
        let tasks = self.viewer.tasks(run.number).await?;
        let failed = rows.into_iter().map(|row| {
            let mut tasks = tasks.iter();
            let task = tasks.find(|task| task.number == row.task);
            json!({
                "host": row.host.unwrap_or_default(), "task": row.name.unwrap_or_default(),
                "action": task.and_then(|task| task.action.as_ref()),
                "path": task.and_then(|task| task.path.as_ref()),
                "role": task.and_then(|task| task.role.as_ref()),
                "play": task.and_then(|task| task.play.as_ref()),
                "message": row.message.unwrap_or_default(),
                "unreachable": row.outcome == Some(Outcome::Unreachable),
            })
        });
        Ok(failed.collect())
    }

    /// Returns the runs that began before another one, newest first.
    pub(super) async fn before(&self, run: &RecordedRun) -> Result<Vec<RecordedRun>, Problem> {
        let filter = RunFilter {
            after: Some(run.number),
            most: RUNS,
            ..RunFilter::default()
        };
        self.recorded(filter).await
    }
}

/// Returns how the previous run of the same command or playbook ended, among the runs before one, newest first.
pub fn previous(run: &RecordedRun, before: &[RecordedRun]) -> Option<RunState> {
    let key = run.run.command_key();
    let is_it = |other: &&RecordedRun| {
        let has_result = matches!(other.state, RunState::Ok | RunState::Failed);
        has_result && !key.is_empty() && other.run.command_key() == key
    };
    before.iter().find(is_it).map(|other| other.state)
}

/// Returns the id of a run as its events have it.
fn own_id(run: &RecordedRun) -> &str {
    match run.run.id.as_str() {
        "" => &run.id,
        id => id,
    }
}

fn task_of(task: &RecordedTask) -> Value {
    json!({
        "name": task.name.as_deref().unwrap_or_default(), "action": task.action, "path": task.path,
        "role": task.role, "handler": task.is_handler,
    })
}

fn state_of(outcome: Outcome) -> State {
    match outcome {
        Outcome::Ok | Outcome::Changed => State::Success,
        Outcome::Failed | Outcome::Ignored => State::Failed,
        Outcome::Unreachable => State::Unreachable,
        Outcome::Skipped => State::Skipped,
    }
}

fn status_of(state: RunState) -> &'static str {
    match state {
        RunState::Ok => "success",
        RunState::Failed => "error",
        RunState::Canceled | RunState::Running => "canceled",
    }
}
