//! Spans: one for each task on a host when its result arrives; those of plays and of the run at its end. Each is made of
//! one event alone, so that nothing has to be remembered, and a run that was killed has its trace.

use super::attributes::{self, before, nanoseconds};
use super::ids::{self, Trace};
use super::model::{ERROR, INTERNAL, SERVER, Span, Status};
use crate::event::plays::PlaySummary;
use crate::event::{Event, Run, RunEnd};
use crate::text::{characters, cut};

/// Length limit of a status' message, in characters.
const MESSAGE: usize = 1000;

/// Returns the spans that an event ends.
pub fn of(event: &Event) -> Vec<Span> {
    if !Trace::of(&event.run).is_sampled() {
        return Vec::new();
    }
    match &event.end {
        Some(end) => of_run(event, end),
        None if attributes::is_result(event) => vec![of_result(event)],
        None => Vec::new(),
    }
}

/// Returns the id of the span that an event belongs to.
pub fn enclosing(event: &Event) -> [u8; 8] {
    match &event.play {
        _ if attributes::is_result(event) => ids::result_span(event),
        Some(play) if event.end.is_none() => ids::play_span(&event.run, &play.id),
        _ => ids::run_span(&event.run),
    }
}

fn of_result(event: &Event) -> Span {
    let trace = Trace::of(&event.run);
    let end = nanoseconds(event.time);
    let parent = match &event.play {
        Some(play) => ids::play_span(&event.run, &play.id),
        None => ids::run_span(&event.run),
    };
    let name = event.task.as_deref().map_or("", |task| task.name.as_str());
    let has_failed = attributes::has_failed(event);
    Span {
        trace_id: trace.id.to_vec(),
        span_id: ids::result_span(event).to_vec(),
        parent_span_id: parent.to_vec(),
        flags: trace.span_flags(false),
        name: name.to_owned(),
        kind: INTERNAL,
        start_time_unix_nano: before(end, event.duration.unwrap_or(0.0)),
        end_time_unix_nano: end,
        attributes: attributes::of_result(event).0,
        status: has_failed.then(|| failure(event.reason().as_deref())),
    }
}

fn failure(reason: Option<&str>) -> Status {
    let message = cut(reason.unwrap_or_default(), MESSAGE, characters);
    Status {
        message: message.into_owned(),
        code: ERROR,
    }
}

/// Returns the spans of a run, or of each of its playbooks, and of their plays.
fn of_run(event: &Event, end: &RunEnd) -> Vec<Span> {
    let mut spans = Vec::new();
    let time = nanoseconds(event.time);
    if ids::is_one_of_several(&event.run) {
        for playbook in playbooks(&end.plays) {
            spans.push(of_playbook(event, end, playbook));
        }
    } else {
        let times = (before(time, end.elapsed), time);
        let reason = end.reason.as_deref();
        spans.push(of_runs(
            &event.run,
            times,
            attributes::result_of(end),
            reason,
        ));
    }
    spans.extend(end.plays.iter().map(|play| of_play(&event.run, play)));
    spans
}

/// Divides plays by their playbooks, which follow each other.
fn playbooks(plays: &[PlaySummary]) -> impl Iterator<Item = &[PlaySummary]> {
    plays.chunk_by(|one, next| one.playbook == next.playbook)
}

/// Returns the run as the events of a play name it.
fn run_of(run: &Run, play: &PlaySummary) -> Run {
    let Some(path) = &play.playbook else {
        return run.clone();
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    Run {
        playbook: Some(name.to_owned()),
        path: Some(path.clone()),
        ..run.clone()
    }
}

/// Returns the span of one of several playbooks. The run's own result is that of the last one.
fn of_playbook(event: &Event, end: &RunEnd, plays: &[PlaySummary]) -> Span {
    let (first, last) = (&plays[0], &plays[plays.len() - 1]);
    let has_failed = plays.iter().any(|play| play.failures > 0);
    let is_last = end.plays.last().is_some_and(|play| play.id == last.id);
    let (result, reason) = match (is_last, has_failed) {
        (true, _) => (attributes::result_of(end), end.reason.as_deref()),
        (false, true) => ("failure", None),
        (false, false) => ("success", None),
    };
    let times = (nanoseconds(first.start), nanoseconds(last.end));
    of_runs(&run_of(&event.run, first), times, result, reason)
}

fn of_runs(run: &Run, (start, end): (u64, u64), result: &str, reason: Option<&str>) -> Span {
    let trace = Trace::of(run);
    Span {
        trace_id: trace.id.to_vec(),
        span_id: ids::run_span(run).to_vec(),
        parent_span_id: trace.parent.map_or_else(Vec::new, |parent| parent.to_vec()),
        flags: trace.span_flags(true),
        name: format!("RUN {}", run.name()),
        kind: SERVER,
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: attributes::of_run(run, result).0,
        status: (result != "success").then(|| failure(reason)),
    }
}

fn of_play(run: &Run, play: &PlaySummary) -> Span {
    let run = run_of(run, play);
    let trace = Trace::of(&run);
    let mut all = attributes::Attributes::default();
    all.text("ansible.play.name", Some(&play.name));
    all.text("ansible.play.id", Some(&play.id));
    let has_failed = play.failures > 0;
    all.text("error.type", has_failed.then_some("failed"));
    Span {
        trace_id: trace.id.to_vec(),
        span_id: ids::play_span(&run, &play.id).to_vec(),
        parent_span_id: ids::run_span(&run).to_vec(),
        flags: trace.span_flags(false),
        name: play.name.clone(),
        kind: INTERNAL,
        start_time_unix_nano: nanoseconds(play.start),
        end_time_unix_nano: nanoseconds(play.end),
        attributes: all.0,
        status: has_failed.then(|| failure(None)),
    }
}
