//! Clock of a run: decides when the run is overdue or has stalled, and which of its tasks are slow. Its input
//! is events and times; it reads no clock itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::event::alert::{Alert, Delay, Delays};
use crate::event::callback::Callback;
use crate::event::{Event, Play, Run, Task};
use crate::route::thresholds::Thresholds;

/// Delay of a check from which this process, not the run, is assumed to have stalled: it was stopped or waited
/// for a disk. Events that have arrived since are read first, within `GRACE`.
const LATE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(1);
/// Maximum number of stalls and of slow tasks that the end of a run lists.
const LISTED: usize = 100;

/// State of a run in time.
pub struct Watch {
    overdue: Clock,
    stalled: Clock,
    /// Times for slow tasks, shortest first.
    slow_task: Vec<Duration>,
    began: Instant,
    /// Arrival of the last event, and its number.
    last: Instant,
    sequence: u64,
    /// Tasks that have started and not ended, in the order of their starts.
    running: Vec<Running>,
    /// Id of the last started task, until something else follows.
    current: Option<String>,
    /// Slow tasks that were reported, by id.
    slow: HashMap<String, Slow>,
    /// True once the plugin has reported a host that starts a task; old plugins do not.
    knows_starts: bool,
    delays: Delays,
    /// True while the last of the stalls continues.
    is_stalled: bool,
    /// Time for which a timer was set, and time until which nothing is reported.
    armed: Option<Instant>,
    not_before: Option<Instant>,
}

/// Times of one kind, shortest first, and the longest that was reported.
#[derive(Default)]
struct Clock {
    times: Vec<Duration>,
    reported: Duration,
}

/// A running task.
struct Running {
    id: String,
    task: Arc<Task>,
    play: Option<Arc<Play>>,
    began: Instant,
    /// Time of the last result, if no host runs it now.
    idle_since: Option<Instant>,
    /// Hosts without a result.
    hosts: BTreeSet<String>,
}

/// Reports of a slow task.
#[derive(Default)]
struct Slow {
    /// Longest time reported.
    reported: Duration,
    /// Place in the list of slow tasks.
    listed: Option<usize>,
}

/// Something that takes too long.
#[derive(Clone, Debug)]
pub struct Late {
    pub callback: Callback,
    pub threshold: Duration,
    /// Time so far.
    took: Duration,
    /// Part of the event's id, the same in a process that resumes the run.
    id: String,
    task: Option<Arc<Task>>,
    play: Option<Arc<Play>>,
    hosts: Vec<String>,
}

impl Late {
    /// Returns the event about it.
    pub fn event(&self, run: &Arc<Run>) -> Event {
        let mut event = Event::new(self.callback.clone(), run.clone(), 0);
        event.id = format!("{}-{}", run.id, self.id);
        event.duration = Some(seconds(self.took));
        event.task = self.task.clone();
        event.play = self.play.clone();
        event.alert = Some(Arc::new(Alert {
            threshold: Some(seconds(self.threshold)),
            waiting_for: self.hosts.clone(),
            last_run: None,
        }));
        event
    }

    /// Returns it as the end of the run lists it.
    fn delay(&self) -> Delay {
        let task = self.task.as_ref();
        Delay {
            task: task.map_or_else(String::new, |task| task.name.clone()),
            hosts: self.hosts.clone(),
            seconds: seconds(self.took),
        }
    }
}

/// Returns a time in seconds, as events carry it.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Clock {
    fn set(&mut self, times: impl Iterator<Item = Duration>) {
        self.times = sorted(times);
    }

    /// Returns the next time to report.
    fn next(&self) -> Option<Duration> {
        let mut times = self.times.iter().copied();
        times.find(|time| *time > self.reported)
    }

    /// Returns the limits that have passed, and marks them as reported.
    fn pass(&mut self, took: Duration) -> Vec<Duration> {
        let passed = between(&self.times, self.reported, took);
        self.reported = passed.last().copied().unwrap_or(self.reported);
        passed
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let times: BTreeSet<Duration> = times.collect();
    times.into_iter().collect()
}

fn between(times: &[Duration], after: Duration, until: Duration) -> Vec<Duration> {
    let times = times.iter().copied();
    times
        .filter(|time| *time > after && *time <= until)
        .collect()
}

impl Watch {
    /// Creates the state of a run with its start time and the number of its events so far.
    pub fn new(began: Instant, sequence: u64, now: Instant) -> Watch {
        Watch {
            overdue: Clock::default(),
            stalled: Clock::default(),
            slow_task: Vec::new(),
            began,
            last: now,
            sequence,
            running: Vec::new(),
            current: None,
            slow: HashMap::new(),
            knows_starts: false,
            delays: Delays::default(),
            is_stalled: false,
            armed: None,
            not_before: None,
        }
    }

    /// Sets the times that notifiers ask for.
    pub fn set<'a>(&mut self, asked: impl Iterator<Item = &'a Thresholds> + Clone) {
        let times = |of: fn(&Thresholds) -> Option<Duration>| asked.clone().filter_map(of);
        self.overdue.set(times(|one| one.overdue));
        self.stalled.set(times(|one| one.stalled));
        self.slow_task = sorted(times(|one| one.slow_task));
    }

    /// Adds an event with its number, its arrival, and its own time. Returns delays that ended with it.
    pub fn note(
        &mut self,
        event: &Event,
        sequence: u64,
        now: Instant,
        began: Instant,
    ) -> Vec<Late> {
        self.end_stall(now);
        (self.last, self.sequence) = (now, sequence);
        match event.event {
            Callback::PlaybookOnTaskStart
            | Callback::PlaybookOnCleanupTaskStart
            | Callback::PlaybookOnHandlerTaskStart => self.next_task(event, now, began),
            Callback::RunnerOnStart => {
                self.knows_starts = true;
                if let Some(running) = self.begin(event, began) {
                    running.idle_since = None;
                    running.hosts.insert(event.host_name().to_owned());
                }
                Vec::new()
            }
            Callback::PlaybookOnStart
            | Callback::PlaybookOnPlayStart
            | Callback::PlaybookOnStats
            | Callback::RunEnd => {
                self.current = None;
                self.end_where(now, |_| true)
            }
            _ if event.event.is_task_end() => self.end_on_host(event, now),
            _ => Vec::new(),
        }
    }

    /// Ends the stall that was reported, if any.
    fn end_stall(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_stalled)
            && let Some(stall) = self.delays.stalls.last_mut()
        {
            stall.seconds = seconds(now.saturating_duration_since(self.last));
        }
        self.stalled.reported = Duration::ZERO;
    }

    /// Adds the task of an event to the running tasks, unless it is there.
    fn begin(&mut self, event: &Event, began: Instant) -> Option<&mut Running> {
        let task = event.task.as_ref()?;
        let id = id_of(event, task);
        let known = self.running.iter().position(|running| running.id == id);
        let at = known.unwrap_or_else(|| {
            self.running.push(Running {
                id,
                task: task.clone(),
                play: event.play.clone(),
                began,
                idle_since: None,
                hosts: BTreeSet::new(),
            });
            self.running.len() - 1
        });
        self.running.get_mut(at)
    }

    /// Records the start of another task: tasks that no host runs have ended.
    fn next_task(&mut self, event: &Event, now: Instant, began: Instant) -> Vec<Late> {
        self.current = None;
        let knows_starts = self.knows_starts;
        let late = self.end_where(now, |running| !knows_starts || running.hosts.is_empty());
        self.current = self.begin(event, began).map(|running| running.id.clone());
        late
    }

    /// Records the result of a task on a host.
    fn end_on_host(&mut self, event: &Event, now: Instant) -> Vec<Late> {
        let Some(task) = &event.task else {
            return Vec::new();
        };
        let id = id_of(event, task);
        let mut running = self.running.iter_mut();
        if let Some(running) = running.find(|running| running.id == id)
            && running.hosts.remove(event.host_name())
            && running.hosts.is_empty()
        {
            running.idle_since = Some(now);
        }
        let current = self.current.clone();
        let is_over = |running: &Running| {
            running.idle_since.is_some() && Some(&running.id) != current.as_ref()
        };
        self.end_where(now, is_over)
    }

    /// Ends tasks. Returns slow ones that were not reported yet.
    fn end_where(&mut self, now: Instant, is_over: impl Fn(&Running) -> bool) -> Vec<Late> {
        let mut late = Vec::new();
        for running in self.running.extract_if(.., |running| is_over(running)) {
            let took = running.took(running.idle_since.unwrap_or(now));
            let slow = self.slow.entry(running.id.clone()).or_default();
            late.extend(slow.pass(&running, took, &self.slow_task, &mut self.delays));
        }
        self.slow.retain(|_, slow| !slow.reported.is_zero());
        late
    }

    /// Returns the time of the next check; None if nothing can become late.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let overdue = self.overdue.next().map(|time| self.began + time);
        let stalled = self.stalled.next().map(|time| self.last + time);
        let slow = self.slow_due();
        let due = [overdue, stalled, slow].into_iter().flatten().min()?;
        let due = self.not_before.map_or(due, |time| due.max(time));
        self.armed = Some(due.max(now));
        Some(due)
    }

    /// Returns when the next task is slow.
    fn slow_due(&self) -> Option<Instant> {
        let is_running = |running: &&Running| !self.knows_starts || !running.hosts.is_empty();
        let due = |running: &Running| {
            let slow = self.slow.get(&running.id);
            let reported = slow.map_or(Duration::ZERO, |slow| slow.reported);
            let next = self.slow_task.iter().find(|time| **time > reported)?;
            Some(running.began + *next)
        };
        self.running.iter().filter(is_running).filter_map(due).min()
    }

    /// Returns everything that takes too long by now.
    pub fn look(&mut self, now: Instant) -> Vec<Late> {
        let is_late = |armed: Instant| now.saturating_duration_since(armed) > LATE;
        if self.armed.take().is_some_and(is_late) {
            self.not_before = Some(now + GRACE);
            return Vec::new();
        }
        self.not_before = None;
        let mut late = self.slow_tasks(now);
        late.extend(self.stall(now));
        let took = now.saturating_duration_since(self.began);
        for threshold in self.overdue.pass(took) {
            self.delays.overdue = true;
            let id = format!("overdue-{}", threshold.as_millis());
            late.push(self.late(Callback::RunOverdue, threshold, took, id));
        }
        late
    }

    fn slow_tasks(&mut self, now: Instant) -> Vec<Late> {
        let mut late = Vec::new();
        for running in &self.running {
            if self.knows_starts && running.hosts.is_empty() {
                continue;
            }
            let slow = self.slow.entry(running.id.clone()).or_default();
            let took = running.took(now);
            late.extend(slow.pass(running, took, &self.slow_task, &mut self.delays));
        }
        late
    }

    fn stall(&mut self, now: Instant) -> Vec<Late> {
        let took = now.saturating_duration_since(self.last);
        let mut late = Vec::new();
        for threshold in self.stalled.pass(took) {
            let id = format!("stalled-{}-{}", threshold.as_millis(), self.sequence);
            late.push(self.late(Callback::RunStalled, threshold, took, id));
        }
        if let (Some(first), false) = (late.first(), self.is_stalled) {
            self.is_stalled = self.delays.stalls.len() < LISTED;
            if self.is_stalled {
                self.delays.stalls.push(first.delay());
            }
        }
        late
    }

    /// Returns a delay with the running task.
    fn late(&self, callback: Callback, threshold: Duration, took: Duration, id: String) -> Late {
        let is_busy = |running: &&Running| !running.hosts.is_empty();
        let busy = self.running.iter().find(is_busy);
        let running = busy.or(self.running.last());
        let hosts = running.map(|running| running.hosts.iter().cloned().collect());
        Late {
            callback,
            threshold,
            took,
            id,
            task: running.map(|running| running.task.clone()),
            play: running.and_then(|running| running.play.clone()),
            hosts: hosts.unwrap_or_default(),
        }
    }

    /// Ends the run. Returns delays that were not reported yet, and the summary for the end of the run.
    pub fn end(&mut self, now: Instant) -> (Vec<Late>, Delays) {
        self.end_stall(now);
        let late = self.end_where(now, |_| true);
        let took = now.saturating_duration_since(self.began);
        self.delays.overdue |= !self.overdue.pass(took).is_empty();
        (late, std::mem::take(&mut self.delays))
    }
}

impl Running {
    /// Returns how long it ran until `now`.
    fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }
}

impl Slow {
    /// Returns the reports of a task that has taken that long, and lists it among the delays.
    fn pass(
        &mut self,
        running: &Running,
        took: Duration,
        times: &[Duration],
        delays: &mut Delays,
    ) -> Vec<Late> {
        let mut late = Vec::new();
        for threshold in between(times, self.reported, took) {
            self.reported = threshold;
            late.push(Late {
                callback: Callback::TaskSlow,
                threshold,
                took,
                id: format!("slow-{}-{}", threshold.as_millis(), running.id),
                task: Some(running.task.clone()),
                play: running.play.clone(),
                hosts: running.hosts.iter().cloned().collect(),
            });
        }
        match (self.listed, late.first()) {
            (None, Some(first)) if delays.slow_tasks.len() < LISTED => {
                self.listed = Some(delays.slow_tasks.len());
                delays.slow_tasks.push(first.delay());
            }
            (Some(at), _) => {
                let longest = &mut delays.slow_tasks[at].seconds;
                *longest = longest.max(seconds(took));
            }
            _ => {}
        }
        late
    }
}

/// Returns the identity of a task: the same in each process of a run, and in each batch of a play with
/// `serial`, where the play has a new id. Task ids are unique across plays.
fn id_of(event: &Event, task: &Task) -> String {
    if !task.id.is_empty() {
        return task.id.clone();
    }
    let play = event.play.as_ref().map_or("", |play| play.id.as_str());
    format!("{play}-{}", task.name)
}

#[cfg(test)]
mod tests;
