//! Tests of a run's clock, with simulated times.

use super::*;
use crate::event::Host;

/// A run with its own time, in seconds.
struct Story {
    watch: Watch,
    start: Instant,
    sequence: u64,
    /// Id of the play.
    play: String,
}

fn times(overdue: u64, stalled: u64, slow_task: u64) -> Thresholds {
    let time = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    Thresholds {
        overdue: time(overdue),
        stalled: time(stalled),
        slow_task: time(slow_task),
    }
}

impl Story {
    fn new(asked: &[Thresholds]) -> Story {
        let start = Instant::now();
        let mut watch = Watch::new(start, 0, start);
        watch.set(asked.iter());
        Story {
            watch,
            start,
            sequence: 0,
            play: String::new(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn note(&mut self, second: u64, callback: Callback, task: &str, host: &str) -> Vec<String> {
        self.sequence += 1;
        let mut event = Event::new(callback, Arc::default(), self.sequence);
        event.task = (!task.is_empty()).then(|| {
            Arc::new(Task {
                id: task.to_owned(),
                name: task.to_owned(),
                ..Task::default()
            })
        });
        event.play = Some(Arc::new(Play {
            id: self.play.clone(),
            name: "p".to_owned(),
        }));
        event.host = (!host.is_empty()).then(|| Host {
            name: host.to_owned(),
            ..Host::default()
        });
        let now = self.at(second);
        shown(self.watch.note(&event, self.sequence, now, now))
    }

    /// Advances the time to a second, and returns all reports.
    fn until(&mut self, second: u64) -> Vec<String> {
        let mut all = Vec::new();
        let mut now = self.start;
        while let Some(due) = self.watch.due(now).filter(|due| *due <= self.at(second)) {
            now = now.max(due);
            all.extend(shown(self.watch.look(now)));
        }
        all
    }

    fn due(&mut self, now: u64) -> Option<u64> {
        let due = self.watch.due(self.at(now))?;
        Some(due.duration_since(self.start).as_secs())
    }
}

/// Returns the reports as text: id, time so far, task and hosts.
fn shown(late: Vec<Late>) -> Vec<String> {
    let show = |late: Late| {
        let task = late.task.map_or(String::new(), |task| task.name.clone());
        let took = late.took.as_secs();
        format!("{} {took} {task} {}", late.id, late.hosts.join(","))
    };
    late.into_iter().map(show).collect()
}

use Callback::{
    PlaybookOnPlayStart, PlaybookOnStart, PlaybookOnStats, PlaybookOnTaskStart, RunnerOnOk,
    RunnerOnStart,
};

#[test]
fn a_run_is_overdue_once_for_each_time() {
    let mut story = Story::new(&[times(30, 0, 0), times(60, 0, 0), times(30, 0, 0)]);
    story.note(0, PlaybookOnStart, "", "");
    assert_eq!(story.due(0), Some(30));
    assert_eq!(story.until(59), ["overdue-30000 30  "]);
    assert_eq!(story.until(600), ["overdue-60000 60  "]);
    assert_eq!(story.due(600), None);
    assert!(story.watch.end(story.at(601)).1.overdue);
}

#[test]
fn a_stall_names_the_hosts_without_a_result() {
    let mut story = Story::new(&[times(0, 10, 0)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    for host in ["b", "a", "c"] {
        story.note(1, RunnerOnStart, "t", host);
    }
    story.note(2, RunnerOnOk, "t", "c");
    assert_eq!(story.until(100), ["stalled-10000-5 10 t a,b"]);
    // Only once, until something happens.
    assert_eq!(story.until(1000), [] as [&str; 0]);
    story.note(102, RunnerOnOk, "t", "a");
    assert_eq!(story.until(1000), ["stalled-10000-6 10 t b"]);
    let (_, delays) = story.watch.end(story.at(1002));
    let seconds: Vec<f64> = delays.stalls.iter().map(|stall| stall.seconds).collect();
    assert_eq!(seconds, [100.0, 900.0]);
    assert_eq!(delays.stalls[1].hosts, ["b"]);
}

#[test]
fn every_event_is_a_sign_of_life() {
    let mut story = Story::new(&[times(0, 10, 0)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    for (at, callback) in [
        (9, Callback::RunnerRetry),
        (18, Callback::RunnerOnAsyncPoll),
        (27, Callback::RunnerItemOnOk),
        (36, Callback::Verbose),
    ] {
        assert_eq!(story.until(at), [] as [&str; 0]);
        story.note(at, callback, "t", "h");
    }
    assert_eq!(story.due(36), Some(46));
}

#[test]
fn a_slow_task_is_reported_while_it_runs_and_listed_with_its_whole_time() {
    let mut story = Story::new(&[times(0, 0, 10)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    story.note(0, RunnerOnStart, "t", "a");
    story.note(0, RunnerOnStart, "t", "b");
    story.note(5, RunnerOnOk, "t", "a");
    assert_eq!(story.until(100), ["slow-10000-t 10 t b"]);
    story.note(25, RunnerOnOk, "t", "b");
    assert_eq!(
        story.note(26, PlaybookOnTaskStart, "u", ""),
        [] as [&str; 0]
    );
    let (late, delays) = story.watch.end(story.at(27));
    assert!(late.is_empty());
    assert_eq!(delays.slow_tasks.len(), 1);
    assert_eq!(delays.slow_tasks[0].seconds, 25.0);
}

#[test]
fn a_slow_task_between_checks_is_reported_at_its_end() {
    let mut story = Story::new(&[times(0, 0, 10)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    story.note(0, RunnerOnStart, "t", "a");
    story.note(20, RunnerOnOk, "t", "a");
    // Ansible prepares the next task: that does not count for this one.
    assert_eq!(story.due(20), None);
    let late = story.note(90, PlaybookOnTaskStart, "u", "");
    assert_eq!(late, ["slow-10000-t 20 t "]);
}

#[test]
fn a_task_is_reported_once_in_all_batches_of_a_play() {
    let mut story = Story::new(&[times(0, 0, 10), times(0, 0, 30)]);
    let mut told = Vec::new();
    for (batch, (host, took)) in [("a", 12), ("b", 15), ("c", 35), ("d", 20)]
        .into_iter()
        .enumerate()
    {
        let begin = 100 * batch as u64;
        story.play = format!("batch {batch}");
        story.note(begin, PlaybookOnPlayStart, "", "");
        story.note(begin, PlaybookOnTaskStart, "t", "");
        story.note(begin, RunnerOnStart, "t", host);
        told.extend(story.until(begin + took));
        told.extend(story.note(begin + took, RunnerOnOk, "t", host));
        told.extend(story.note(begin + took + 1, PlaybookOnTaskStart, "u", ""));
    }
    assert_eq!(told, ["slow-10000-t 10 t a", "slow-30000-t 30 t c"]);
    let (_, delays) = story.watch.end(story.at(500));
    let slow: Vec<_> = delays
        .slow_tasks
        .iter()
        .map(|slow| (slow.task.as_str(), slow.seconds))
        .collect();
    assert_eq!(slow, [("t", 35.0), ("u", 179.0)]);
}

#[test]
fn without_starts_a_task_runs_until_the_next_one() {
    let mut story = Story::new(&[times(0, 0, 10)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    story.note(5, RunnerOnOk, "t", "a");
    story.note(6, PlaybookOnTaskStart, "u", "");
    assert_eq!(story.until(50), ["slow-10000-u 10 u "]);
    assert_eq!(story.note(51, PlaybookOnStats, "", ""), [] as [&str; 0]);
    assert_eq!(story.due(51), None);
}

#[test]
fn hosts_of_a_free_strategy_have_separate_tasks() {
    let mut story = Story::new(&[times(0, 0, 10)]);
    for (at, task, host) in [(0, "t", "a"), (8, "u", "b")] {
        story.note(at, PlaybookOnTaskStart, task, "");
        story.note(at, RunnerOnStart, task, host);
    }
    story.note(9, RunnerOnOk, "t", "a");
    // Another host comes to the first task much later.
    story.note(12, RunnerOnOk, "u", "b");
    story.note(13, RunnerOnStart, "t", "b");
    assert_eq!(story.due(13), Some(23));
    assert_eq!(story.until(23), ["slow-10000-t 10 t b"]);
}

#[test]
fn a_process_that_was_stopped_reads_before_it_reports() {
    let mut story = Story::new(&[times(0, 10, 0)]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    assert_eq!(story.due(0), Some(10));
    // It continues an hour later; events that have arrived since are read first.
    let late = story.watch.look(story.at(3600));
    assert!(late.is_empty());
    assert_eq!(story.due(3600), Some(3601));
    story.note(3600, RunnerOnOk, "t", "a");
    assert_eq!(story.due(3600), Some(3610));
    // Nothing arrived: it has really stalled.
    story.watch.look(story.at(7200));
    assert_eq!(story.due(7200), Some(7201));
    let late = story.watch.look(story.at(7201));
    assert_eq!(shown(late), ["stalled-10000-2 3601 t "]);
}

#[test]
fn nothing_is_due_without_a_notifier() {
    let mut story = Story::new(&[]);
    story.note(0, PlaybookOnTaskStart, "t", "");
    assert_eq!(story.due(0), None);
    assert_eq!(story.watch.end(story.at(9)).1, Delays::default());
}
