//! Summary of a run, collected from its events: the content of its end, and the address of its page.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::event::alert::Delays;
use crate::event::callback::Callback;
use crate::event::ending::Exited;
use crate::event::plays::{self, PlaySummary};
use crate::event::{Event, FailedTask, Run, RunEnd, State, Status};
use crate::json::bulk;
use crate::text::{characters, cut};

/// Number of failed tasks that the end of a run lists, and length limit of each one's reason, in characters.
const FAILED_TASKS: usize = 100;
const REASON: usize = 1000;
/// Number of them kept until the end tells which were rescued.
const KEPT: usize = 10 * FAILED_TASKS;

/// Ansible's exit code when interrupted by a person, and the shell's for Ctrl-C.
const INTERRUPTED: [i64; 2] = [99, 130];
/// Reasons of ends that came without one.
const INTERRUPTION: &str = "interrupted";
const CUT_OFF: &str = "Ansible was killed, or ended without saying so";
const UNREAD: &str = "`ansible-notify run` was killed, so Ansible could not write its output";
/// Exit code of Python if its output cannot be written, and the words for it in an error: for a pipe, for a terminal.
const UNWRITTEN: i64 = 120;
/// Text in an error of a YAML file, which Ansible reports with more detail elsewhere.
const YAML: &str = "Syntax Error while loading YAML";
const BROKEN: [&str; 3] = ["Broken pipe", "BrokenPipeError", "Input/output error"];

/// State left by earlier runs of the playbook, as its end reports it.
#[derive(Default)]
pub struct Before {
    pub previous: Option<Status>,
    pub still_failing: Vec<String>,
}

impl Before {
    /// Combines the states before a run of several playbooks: one of them may have failed when run alone.
    /// Each is given by the status of its last run and the hosts still failing.
    pub fn of_all(known: Vec<(Option<String>, Vec<String>)>, status: Status) -> Before {
        let named = |(previous, _): &(Option<String>, _)| Status::named(previous.as_deref()?);
        let all: Vec<Status> = known.iter().filter_map(named).collect();
        let error = all.contains(&Status::Error).then_some(Status::Error);
        let mut still_failing: Vec<String> = known
            .into_iter()
            .flat_map(|(_, still_failing)| still_failing)
            .collect();
        still_failing.sort_unstable();
        still_failing.dedup();
        let mended = status != Status::Success || still_failing.is_empty();
        Before {
            previous: error.or(all.first().copied()).filter(|_| mended),
            still_failing,
        }
    }
}

/// Data of `set_stats`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct CustomStats {
    pub custom_stats: Map<String, Value>,
    pub custom_stats_per_host: Map<String, Value>,
}

impl CustomStats {
    /// Adds the data of a later playbook of the same run.
    fn extend(&mut self, later: CustomStats) {
        self.custom_stats.extend(later.custom_stats);
        let hosts = later.custom_stats_per_host;
        self.custom_stats_per_host.extend(hosts);
    }
}

/// Data for the end of the run.
#[derive(Default)]
pub struct RunSummary {
    first: Option<Timestamp>,
    changed_hosts: BTreeSet<String>,
    plays: Vec<PlaySummary>,
    /// Hosts seen so far: `ansible-console` gives no counts of them.
    hosts: BTreeSet<String>,
    /// Failed tasks, as far as they are kept.
    failed_tasks: Vec<FailedTask>,
    failures: usize,
    /// True if a playbook began: its counts will come, unless it is cut off.
    playbook: bool,
    stats: Option<Map<String, Value>>,
    custom: CustomStats,
    /// True if its end was reported, and not only cut off.
    pub ended: bool,
    /// Ansible's exit code, if known.
    exit_code: Option<i64>,
    /// Error that ended it, in Ansible's words, if nothing in its events says so.
    error: Option<String>,
    /// Last error, of no host and no task, that Ansible printed and continued after.
    said: Option<String>,
    /// True if a person ended it.
    interrupted: bool,
    /// Signal that ended it, and its last lines of output, if `ansible-notify run` saw them.
    signal: Option<String>,
    pub output: Option<String>,
    /// True if some of its events went to a process that died.
    pub resumed: bool,
    /// Its delays.
    pub delays: Delays,
}

impl RunSummary {
    /// Restores the state of a run whose first events went to a process that died.
    pub fn resume(
        run: &Run,
        began: Option<Timestamp>,
        stats: Option<Map<String, Value>>,
        custom: CustomStats,
    ) -> RunSummary {
        RunSummary {
            first: began,
            playbook: run.playbook.is_some(),
            stats,
            custom,
            resumed: true,
            ..RunSummary::default()
        }
    }

    /// Adds an event.
    pub fn note(&mut self, event: &Event) {
        self.first.get_or_insert(event.time);
        plays::note(&mut self.plays, event);
        if event.state.is_some() && !self.hosts.contains(event.host_name()) {
            self.hosts.insert(event.host_name().to_owned());
        }
        if event.changed && event.state == Some(State::Success) {
            self.changed_hosts.insert(event.host_name().to_owned());
        }
        if event.event == Callback::RunnerOnUnreachable
            || event.event == Callback::RunnerOnFailed && !event.ignored
        {
            self.failures += 1;
            self.remember(failed_task(event));
        }
        if event.event == Callback::PlaybookOnStart {
            self.playbook = true;
            self.stats = None;
        }
        if event.event == Callback::PlaybookOnStats {
            let mut result = event.result_within(bulk::MAX_VALUES);
            if let Value::Object(stats) = result["stats"].take() {
                self.stats = Some(stats);
            }
            let custom = CustomStats::deserialize(result).unwrap_or_default();
            self.custom.extend(custom);
        }
    }

    /// Keeps a failed task: the first ones overall, but for a host among them its last ones.
    fn remember(&mut self, failed: FailedTask) {
        if self.failed_tasks.len() == KEPT {
            let mut kept = self.failed_tasks.iter();
            let Some(earlier) = kept.position(|task| task.host == failed.host) else {
                return;
            };
            self.failed_tasks.remove(earlier);
        }
        self.failed_tasks.push(failed);
    }

    /// Returns true if its counts have come.
    pub fn is_counted(&self) -> bool {
        self.stats.is_some()
    }

    /// Adds the plugin's last record.
    pub fn note_end(&mut self, end: &Value) {
        self.ended = true;
        self.exit_code = end["code"].as_i64();
        let text = |key: &str| {
            let text = end[key].as_str().map(str::trim);
            let text = text.filter(|text| !text.is_empty());
            text.map(|text| cut(text, REASON, characters).into_owned())
        };
        self.error = text("error");
        self.said = text("said");
        self.interrupted = end["reason"] == "interrupt"
            || self
                .exit_code
                .is_some_and(|code| INTERRUPTED.contains(&code));
    }

    /// Adds the end of the command, as `ansible-notify run` saw it, with a reason if nothing else gives one.
    pub fn note_exit(&mut self, exited: &Exited, reason: Option<String>) {
        self.ended = true;
        self.exit_code = Some(exited.code);
        self.signal = exited.signal.clone();
        self.interrupted = exited.status() == Status::Canceled;
        self.error = self.error.take().or(reason);
    }

    /// Takes over the error that Ansible printed, on one line and with its place, if it is the same error.
    pub fn note_printed(&mut self, printed: &str) {
        let words = |text: &str| {
            let words = text.split(|one: char| !one.is_alphanumeric());
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            words.join(" ")
        };
        let Some((message, _)) = printed.rsplit_once(" (") else {
            return;
        };
        let is_same = |error: &String| {
            let (error, message) = (words(error), words(message));
            error == message || error.contains(YAML) && error.ends_with(&message)
        };
        if self.error.as_ref().is_some_and(is_same) {
            self.error = Some(printed.to_owned());
        }
    }

    /// Records that the surrounding `ansible-notify run` is gone, which causes errors of the output.
    pub fn note_unread(&mut self) {
        let is_broken = |text: &String| BROKEN.iter().any(|words| text.contains(words));
        if self.exit_code == Some(UNWRITTEN) || self.error.iter().chain(&self.said).any(is_broken) {
            self.error = Some(UNREAD.to_owned());
        }
    }

    /// Returns how the run ended.
    pub fn status(&self) -> Status {
        // The counts exclude rescued failures; `ansible-console` gives none.
        let stats = self.stats.as_ref();
        let failed = stats.map_or(self.failures > 0, |stats| {
            stats.values().any(|counts| RunEnd::failures_of(counts) > 0)
        });
        let complete = self.ended && (self.stats.is_some() || !self.playbook);
        match self.exit_code {
            _ if self.interrupted => Status::Canceled,
            None if self.error.is_some() => Status::Error,
            // It says nothing about commands at a prompt.
            Some(0) if self.playbook => Status::Success,
            Some(0) | None if !complete => Status::Canceled,
            Some(0) | None if !failed => Status::Success,
            _ => Status::Error,
        }
    }

    /// Returns the hosts of a run that ended with `status`, and those among them where it failed.
    pub fn hosts(&self, status: Status) -> (Vec<String>, Vec<String>) {
        let is_over = |_: &&String| status == Status::Error;
        match &self.stats {
            Some(stats) => {
                let failed = stats
                    .iter()
                    .filter(|(_, counts)| RunEnd::failures_of(counts) > 0);
                let failed = failed.map(|(host, _)| host).filter(is_over);
                (stats.keys().cloned().collect(), failed.cloned().collect())
            }
            None => {
                let failed: BTreeSet<&String> = self
                    .failed_tasks
                    .iter()
                    .map(|task| &task.host)
                    .filter(is_over)
                    .collect();
                (
                    self.hosts.iter().cloned().collect(),
                    failed.into_iter().cloned().collect(),
                )
            }
        }
    }

    /// Creates the event that ends the run.
    pub fn end(&self, run: &Arc<Run>, before: Before) -> Event {
        let mut event = Event::new(Callback::RunEnd, run.clone(), 0);
        // The same id no matter which process creates it.
        event.id = format!("{}-end", run.id);
        self.complete(&mut event, self.status(), before);
        event
    }

    /// Fills in the event that ends the run; `before` is the state left by earlier runs.
    pub fn complete(&self, event: &mut Event, status: Status, before: Before) {
        let elapsed = self
            .first
            .map_or(0.0, |first| event.time.duration_since(first).as_secs_f64());
        let changed_hosts = self.all_changed_hosts();
        let failed_tasks = self.failed(status);
        event.changed = !changed_hosts.is_empty();
        event.end = Some(Arc::new(RunEnd {
            status,
            exit_code: self.exit_code,
            signal: self.signal.clone(),
            reason: self.reason(status, &failed_tasks),
            elapsed,
            stats: self.stats.clone().unwrap_or_default(),
            previous: before.previous,
            still_failing: before.still_failing,
            failed_tasks,
            failures: match &self.stats {
                Some(stats) => stats.values().map(RunEnd::failures_of).sum(),
                None => self.failures,
            },
            changed_hosts,
            plays: self.plays.clone(),
            custom_stats: self.custom.custom_stats.clone(),
            custom_stats_per_host: self.custom.custom_stats_per_host.clone(),
            delays: self.delays.clone(),
            output: self.output.clone(),
        }));
    }

    /// Returns why the run did not succeed: what ended it, else the first of the failed tasks.
    fn reason(&self, status: Status, failed_tasks: &[FailedTask]) -> Option<String> {
        let failed = || {
            let first = failed_tasks.first()?;
            let text = format!("{}: {}: {}", first.host, first.task, first.message);
            Some(cut(&text, REASON, characters).into_owned())
        };
        match status {
            Status::Success | Status::Running => None,
            Status::Error => {
                let said = || self.said.clone();
                let code = || Some(format!("Ansible ended with exit code {}", self.exit_code?));
                let killed = || self.stats.is_none().then(|| CUT_OFF.to_owned());
                let known = self.error.clone().or_else(failed);
                known.or_else(said).or_else(code).or_else(killed)
            }
            Status::Canceled => {
                let usual = if self.ended { INTERRUPTION } else { CUT_OFF };
                Some(self.error.clone().unwrap_or_else(|| usual.to_owned()))
            }
        }
    }

    /// Returns the hosts that changed, by their results and by their counts. The counts include ignored
    /// failures that changed something, and events that only the process before this one saw.
    fn all_changed_hosts(&self) -> Vec<String> {
        let mut hosts = self.changed_hosts.clone();
        let counts = self.stats.iter().flatten();
        let changed = counts.filter(|(_, counts)| RunEnd::is_changed(counts));
        hosts.extend(changed.map(|(host, _)| host.clone()));
        hosts.into_iter().collect()
    }

    /// Returns the failed tasks for the end of the run. Old versions of Ansible do not count a role that
    /// cannot be included.
    fn failed(&self, status: Status) -> Vec<FailedTask> {
        let lasting = self.lasting();
        let unexplained = status == Status::Error && self.error.is_none();
        if !lasting.is_empty() || !unexplained {
            return lasting;
        }
        let rescued = |host| self.stats.as_ref()?.get(host)?["rescued"].as_u64();
        let failed = self.failed_tasks.iter();
        let failed = failed.filter(|task| rescued(&task.host).unwrap_or(0) == 0);
        failed.take(FAILED_TASKS).cloned().collect()
    }

    /// Returns the failed tasks that were not rescued: for each host the last ones, as many as it counts.
    fn lasting(&self) -> Vec<FailedTask> {
        let mut left: HashMap<&str, usize> = HashMap::new();
        let mut tasks = Vec::new();
        for task in self.failed_tasks.iter().rev() {
            let counts = self.stats.as_ref().and_then(|stats| stats.get(&task.host));
            let all = || counts.map_or(usize::MAX, RunEnd::failures_of);
            let left = left.entry(&task.host).or_insert_with(all);
            if *left > 0 {
                *left -= 1;
                tasks.push(task);
            }
        }
        tasks.reverse();
        tasks.into_iter().take(FAILED_TASKS).cloned().collect()
    }
}

fn failed_task(event: &Event) -> FailedTask {
    let task = event.task.as_deref().cloned().unwrap_or_default();
    let reason = event.reason().unwrap_or_default();
    FailedTask {
        host: event.host_name().to_owned(),
        task: task.name,
        action: task.action,
        path: task.path,
        role: task.role,
        play: event.play.as_ref().map(|play| play.name.clone()),
        unreachable: event.state == Some(State::Unreachable),
        message: cut(&reason, REASON, characters).into_owned(),
    }
}

/// Returns the span that started this process, as the environment names it.
pub fn traceparent() -> Option<String> {
    let given = std::env::var("TRACEPARENT").ok();
    given.filter(|text| !text.is_empty() && text.len() <= MAX_TRACEPARENT)
}

/// Length limit of a `traceparent`, in bytes; version 00 has 55.
const MAX_TRACEPARENT: usize = 128;

/// Returns the run's address in a CI system, from the environment variables that it sets.
pub fn url() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // GitLab, Jenkins, Buildkite, CircleCI
    let whole = [
        "CI_JOB_URL",
        "BUILD_URL",
        "BUILDKITE_BUILD_URL",
        "CIRCLE_BUILD_URL",
    ];
    let github = || {
        let (server, repository) = (
            variable("GITHUB_SERVER_URL")?,
            variable("GITHUB_REPOSITORY")?,
        );
        Some(format!(
            "{server}/{repository}/actions/runs/{}",
            variable("GITHUB_RUN_ID")?
        ))
    };
    let awx = || {
        let host = variable("AWX_HOST").or_else(|| variable("TOWER_HOST"))?;
        let job = variable("JOB_ID")?;
        Some(format!(
            "{}/#/jobs/playbook/{job}",
            host.trim_end_matches('/')
        ))
    };
    whole
        .into_iter()
        .find_map(variable)
        .or_else(github)
        .or_else(awx)
}
