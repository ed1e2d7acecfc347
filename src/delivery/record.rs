//! Record of runs: the parts of each event that are kept, whether or not a notifier wants it. Records without
//! space are left out; they never obstruct a delivery.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::console::stderr;
use crate::delivery::Deliverer;
use crate::delivery::page::PageAddress;
use crate::event::shorten::shortened;
use crate::event::{Event, Play, Run, RunEnd, State, Task};
use crate::json::lookup;
use crate::secret;
use crate::spool::record::alive::{Alive, Part};
use crate::spool::record::{
    NewDetail, NewEnd, NewResult, Outcome, Record, Recorded, RunAbout, TaskAbout, What,
};
use crate::spool::{self, Spool};
use crate::text::{characters, cut};

/// Value of `record` in `[delivery]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    #[default]
    Off,
    /// Every result, but texts and diffs only of what failed or changed.
    Failed,
    All,
}

/// Number of tasks remembered; larger than the number of those that run at once.
const TASKS: usize = 16;
/// Maximum number and size of the events that wait for a commit.
const MOST: usize = 1000;
const MOST_BYTES: u64 = 1 << 20;
/// Maximum time for which they wait.
const WAIT: Duration = Duration::from_millis(500);
/// Maximum number of runs that are shown to be alive, each by an open file.
const MOST_ALIVE: usize = 256;
/// Length limit of a message, in characters.
const MESSAGE: usize = 1000;
/// Size of a result, in bytes, above which its long texts are cut.
const RESULT: usize = 64 << 10;

/// A task with its play, and the form in which it is recorded.
struct KnownTask {
    task: Arc<Task>,
    play: Option<Arc<Play>>,
    about: Arc<TaskAbout>,
}

/// Records what happens in runs.
#[derive(Default)]
pub struct Recorder {
    recording: Cell<Recording>,
    /// Address of the page that shows what is recorded.
    page: RefCell<Option<PageAddress>>,
    /// True if this process shows that the runs live.
    shows_alive: Cell<bool>,
    /// Prefix of the ids of runs.
    pub(super) scope: RefCell<String>,
    runs: RefCell<Option<(Arc<Run>, Arc<RunAbout>)>>,
    tasks: RefCell<Vec<KnownTask>>,
    /// Events that have not been written yet.
    waiting: RefCell<Record>,
    bytes: Cell<u64>,
    /// True if they will be written without a further event.
    is_planned: Cell<bool>,
    /// True if something could not be recorded: from then on only the ends of runs are.
    gave_up: Cell<bool>,
    alive: RefCell<HashMap<String, Option<Alive>>>,
    /// Those without an event for a while.
    fading: RefCell<HashMap<String, Option<Alive>>>,
}

impl Recorder {
    /// Returns true if an event is recorded.
    fn wants(&self, event: &Event) -> bool {
        self.recording.get() != Recording::Off && !event.test && !event.run.id.is_empty()
    }

    /// Returns the address at which a recorded event is shown, if the page has one.
    pub(super) fn link(&self, sequence: u64, event: &Event) -> Option<String> {
        let page = self.page.borrow();
        let page = page.as_ref().filter(|_| self.wants(event))?;
        let is_result = is_result(event) && !self.gave_up.get();
        let run = self.scoped(&event.run);
        Some(page.of(&run, is_result.then_some(sequence)))
    }

    /// Adds an event to those that wait.
    fn note(&self, sequence: u64, event: &Event, spool: &Spool) {
        if !self.wants(event) {
            return;
        }
        let what = self.what(event);
        if self.gave_up.get() && !matches!(what, What::End(_)) {
            return;
        }
        let row = Recorded {
            run: self.run(&event.run, spool),
            time: event.time.as_millisecond(),
            seq: i64::try_from(sequence).unwrap_or(i64::MAX),
            what,
        };
        if let What::Result(result) = &row.what {
            let detail = result.detail.as_ref();
            self.bytes
                .set(self.bytes.get() + detail.map_or(0, NewDetail::size));
        }
        self.waiting.borrow_mut().rows.push(row);
    }

    /// Returns a run in its recorded form; if wanted, shows from then on that it is alive.
    fn run(&self, run: &Arc<Run>, spool: &Spool) -> Arc<RunAbout> {
        let mut known = self.runs.borrow_mut();
        if let Some((_, about)) = known.as_ref().filter(|(known, _)| Arc::ptr_eq(known, run)) {
            return about.clone();
        }
        let mut about = RunAbout::of(run);
        about.id = self.scoped(run);
        about.name = secret::redact(&about.name);
        about.about = secret::redact(&about.about);
        let about = Arc::new(about);
        *known = Some((run.clone(), about.clone()));
        if self.shows_alive.get() {
            self.show(&about.id, spool);
        }
        about
    }

    /// Returns the id under which a run is recorded.
    fn scoped(&self, run: &Run) -> String {
        format!("{}{}", self.scope.borrow(), run.id)
    }

    /// Shows that a run is alive.
    fn show(&self, run: &str, spool: &Spool) {
        let mut alive = self.alive.borrow_mut();
        if alive.len() >= MOST_ALIVE || alive.contains_key(run) {
            return;
        }
        let known = self.fading.borrow_mut().remove(run);
        let shown = known.unwrap_or_else(|| spool.live(run, Part::Stream));
        alive.insert(run.to_owned(), shown);
    }

    fn what(&self, event: &Event) -> What {
        if let Some(end) = &event.end {
            return What::End(Box::new(end_of(end)));
        }
        match (event.state, &event.host, &event.task) {
            (Some(state), Some(host), task) if is_result(event) => {
                let task = task.clone().unwrap_or_default();
                let outcome = outcome(event, state);
                let is_hidden = is_hidden(event);
                What::Result(Box::new(NewResult {
                    task: self.task(&task, event.play.as_ref()),
                    host: host.name.clone(),
                    outcome,
                    duration: event.duration.map(|seconds| (seconds * 1000.0) as i64),
                    is_item: event.event.is_item(),
                    is_hidden,
                    is_cut: event.truncated,
                    detail: self.detail(event, outcome),
                }))
            }
            (None, _, Some(task)) if event.event.is_task_start() => {
                What::Task(self.task(task, event.play.as_ref()))
            }
            _ => What::Run,
        }
    }

    /// Returns a task as it is recorded.
    fn task(&self, task: &Arc<Task>, play: Option<&Arc<Play>>) -> Arc<TaskAbout> {
        let mut tasks = self.tasks.borrow_mut();
        let pointer = |play: Option<&Arc<Play>>| play.map(Arc::as_ptr);
        let is_it = |known: &&KnownTask| {
            Arc::ptr_eq(&known.task, task) && pointer(known.play.as_ref()) == pointer(play)
        };
        if let Some(known) = tasks.iter().find(is_it) {
            return known.about.clone();
        }
        if tasks.len() == TASKS {
            tasks.remove(0);
        }
        let known = KnownTask {
            task: task.clone(),
            play: play.cloned(),
            about: Arc::new(about(task, play)),
        };
        let about = known.about.clone();
        tasks.push(known);
        about
    }

    /// Returns the texts that are kept of a result.
    fn detail(&self, event: &Event, outcome: Outcome) -> Option<NewDetail> {
        let is_all = self.recording.get() == Recording::All;
        let is_whole = is_all || matches!(event.state, Some(State::Failed | State::Unreachable));
        if !is_whole && outcome != Outcome::Changed {
            return None;
        }
        let message = event.reason();
        let message = message.map(|text| cut(&secret::redact(&text), MESSAGE, characters).into());
        let item = event
            .item
            .as_ref()
            .map(|item| secret::redact(&item.to_string()));
        let result = match is_whole {
            true => whole(event),
            false => diff(event),
        };
        let detail = NewDetail {
            message,
            item,
            result: result.map(|text| secret::redact(&text)),
        };
        (!detail.is_empty()).then_some(detail)
    }

    /// Takes the pending events, to be written.
    pub(super) fn take(&self) -> Arc<Record> {
        self.bytes.set(0);
        let mut record = self.waiting.take();
        record.is_partial = self.gave_up.get();
        Arc::new(record)
    }

    /// Handles the result of writing a record.
    pub(super) fn note_written(&self, is_written: bool, record: &Record) {
        if is_written || record.rows.is_empty() {
            return;
        }
        if !self.gave_up.get() {
            stderr::say(
                "warning: the spool has no space to record the rest of this run; see `record` and `max_size` in [delivery]",
            );
        }
        self.lose(record);
    }

    /// Handles the loss of a record. The end of a run is tried again: without it, the run would seem to have
    /// been killed.
    pub(super) fn lose(&self, record: &Record) {
        if self.gave_up.replace(true) {
            return;
        }
        let ends = record.rows.iter();
        let ends = ends.filter(|row| matches!(row.what, What::End(_)));
        self.waiting.borrow_mut().rows.extend(ends.cloned());
    }

    /// Writes the pending events.
    async fn write(&self, spool: &Spool) {
        self.is_planned.set(false);
        let record = self.take();
        if record.rows.is_empty() {
            return;
        }
        // Without a spool there is no record, and the missing spool was reported.
        match spool.record(record.clone()).await {
            Ok(is_written) => self.note_written(is_written, &record),
            Err(_) => self.lose(&record),
        }
    }

    /// Writes the pending events, or returns why they are not safe.
    pub(super) async fn commit(&self, spool: &Spool) -> Result<(), spool::Error> {
        let record = self.take();
        if !record.rows.is_empty() {
            let is_written = spool.record(record.clone()).await?;
            self.note_written(is_written, &record);
        }
        Ok(())
    }

    /// Forgets the events that could not be written: they will be noted again.
    pub(super) fn forget_unwritten(&self) {
        self.waiting.take();
        self.bytes.set(0);
        self.gave_up.set(false);
    }

    /// Shows no longer that a run is alive: it has ended.
    pub(super) fn let_go(&self, run: &Run) {
        let id = self.scoped(run);
        self.alive.borrow_mut().remove(&id);
        self.fading.borrow_mut().remove(&id);
    }

    /// Shows no longer that runs are alive that had no event since the last call, and tries again to record.
    pub(super) fn renew(&self) {
        self.fading.replace(self.alive.take());
        self.runs.take();
        self.gave_up.set(false);
    }

    /// Returns true if the pending events should be written now.
    fn is_due(&self) -> bool {
        let waiting = self.waiting.borrow();
        let is_end = |row: &Recorded| matches!(row.what, What::End(_));
        let is_much = waiting.rows.len() >= MOST || self.bytes.get() >= MOST_BYTES;
        is_much || waiting.rows.last().is_some_and(is_end)
    }
}

impl Deliverer {
    /// Sets what is recorded from here on, and where it is shown; deletes runs that ended longer than `keep` ago.
    pub fn record(&self, recording: Recording, page: Option<PageAddress>, keep: Duration) {
        self.recorder.recording.set(recording);
        self.recorder.page.replace(page);
        self.prune_runs(keep);
    }

    /// Deletes runs that ended longer than `keep` ago, in the background.
    pub fn prune_runs(&self, keep: Duration) {
        let spool = self.spool().clone();
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = crate::system::clock::now()
            .as_millisecond()
            .saturating_sub(keep);
        tokio::task::spawn_local(async move {
            let mut is_changed = false;
            // If the spool cannot be written, there is nothing to delete.
            while spool.tidy_runs(before).await.unwrap_or(false) {
                is_changed = true;
                tokio::time::sleep(super::TIDY).await;
            }
            if is_changed {
                let _ = spool.tidy_names().await;
            }
        });
    }

    /// Shows that the recorded runs are alive, until the end of this process.
    pub fn show_alive(&self) {
        self.recorder.shows_alive.set(true);
    }

    /// Adds an event to the record.
    pub(super) fn note(&self, sequence: u64, event: &Event) {
        self.recorder.note(sequence, event, self.spool());
    }

    /// Schedules a write of the pending records alone.
    pub(super) async fn record_soon(&self) {
        if self.recorder.is_due() {
            return self.recorder.write(self.spool()).await;
        }
        let is_empty = self.recorder.waiting.borrow().rows.is_empty();
        if is_empty || self.recorder.is_planned.replace(true) {
            return;
        }
        let (recorder, spool) = (self.recorder.clone(), self.spool().clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(WAIT).await;
            recorder.write(&spool).await;
        });
    }

    /// Writes the remaining records.
    pub(super) async fn record_rest(&self) {
        self.recorder.write(self.spool()).await;
    }

    /// Stops showing that the runs of this process are alive.
    pub(super) fn end_record(&self) {
        self.recorder.alive.take();
        self.recorder.fading.take();
    }
}

fn about(task: &Task, play: Option<&Arc<Play>>) -> TaskAbout {
    let text = |text: &Option<String>| secret::redact(text.as_deref().unwrap_or_default());
    TaskAbout {
        key: if task.id.is_empty() {
            &task.name
        } else {
            &task.id
        }
        .clone(),
        play: play.map_or_else(String::new, |play| secret::redact(&play.name)),
        name: secret::redact(&task.name),
        action: text(&task.action),
        path: text(&task.path),
        role: text(&task.role),
        is_handler: task.handler,
    }
}

fn outcome(event: &Event, state: State) -> Outcome {
    match state {
        State::Success if event.changed => Outcome::Changed,
        State::Success => Outcome::Ok,
        State::Failed | State::Unreachable if event.ignored => Outcome::Ignored,
        State::Failed => Outcome::Failed,
        State::Unreachable => Outcome::Unreachable,
        State::Skipped => Outcome::Skipped,
    }
}

fn end_of(end: &RunEnd) -> NewEnd {
    let rescued = end
        .stats
        .values()
        .filter_map(|counts| counts["rescued"].as_i64());
    NewEnd {
        status: end.status,
        exit_code: end.exit_code,
        reason: end.reason.as_deref().map(secret::redact),
        rescued: rescued.sum(),
    }
}

/// Returns true if an event is the result of a task on a host, or of one item of its loop.
fn is_result(event: &Event) -> bool {
    let is_end = event.event.is_task_end() || event.event.is_item();
    is_end && event.state.is_some() && event.host.is_some()
}

/// Returns true if Ansible hid what a result holds.
fn is_hidden(event: &Event) -> bool {
    let result = event.result.as_deref().map_or("", |raw| raw.get());
    result.contains("\"censored\"")
        && lookup::member(result, "censored").is_some_and(|text| text.get().starts_with('"'))
}

/// Returns the result as JSON; in a large one, long texts are cut.
fn whole(event: &Event) -> Option<String> {
    let result = event.result.as_deref()?.get();
    if result.len() <= RESULT {
        return Some(result.to_owned());
    }
    let short = shortened(event).result?;
    Some(short.get().to_owned())
}

/// Returns a JSON object with the diff of a result, if it has one that is not too large.
fn diff(event: &Event) -> Option<String> {
    let diff = lookup::member(event.result.as_deref()?.get(), "diff")?.get();
    let is_empty = ["null", "[]", "{}"].contains(&diff);
    (!is_empty && diff.len() <= RESULT).then(|| format!("{{\"diff\":{diff}}}"))
}
