//! Metrics: durations of runs and tasks, and counts of tasks and hosts by state. They are deltas: each point counts what
//! one event adds, because nothing is remembered from one process to the next.

use std::collections::BTreeMap;

use super::attributes::{self, Attributes, before, nanoseconds};
use super::model::{
    DELTA, Data, Histogram, HistogramDataPoint, KeyValue, Metric, NumberDataPoint, Sum,
};
use crate::event::{Event, RunEnd};

/// Upper bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 12] = [
    0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0,
];

/// Returns true if an event adds to the metrics.
pub fn has(event: &Event) -> bool {
    event.end.is_some() || attributes::is_result(event) && event.duration.is_some()
}

/// Returns the metrics of events.
pub fn of<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Metric> {
    let mut tasks = BTreeMap::new();
    let (mut runs, mut errors, mut states, mut hosts) = Default::default();
    for event in events {
        match &event.end {
            Some(end) => {
                add_run(event, end, &mut runs, &mut errors);
                add_counts(event, end, &mut states, &mut hosts);
            }
            None if has(event) => add_task(event, &mut tasks),
            None => {}
        }
    }
    let tasks = tasks.into_values().collect();
    let metrics = [
        histogram("cicd.pipeline.run.duration", "Duration of a run", runs),
        sum(
            "cicd.pipeline.run.errors",
            "Errors of runs",
            "{error}",
            errors,
        ),
        histogram(
            "ansible.task.duration",
            "Duration of a task on a host",
            tasks,
        ),
        sum(
            "ansible.tasks",
            "Results of tasks on hosts by state",
            "{result}",
            states,
        ),
        sum("ansible.hosts", "Hosts of runs by state", "{host}", hosts),
    ];
    metrics.into_iter().flatten().collect()
}

fn histogram(name: &str, description: &str, points: Vec<HistogramDataPoint>) -> Option<Metric> {
    let is_any = !points.is_empty();
    let data = Data::Histogram(Histogram {
        aggregation_temporality: DELTA,
        data_points: points,
    });
    is_any.then(|| metric(name, description, "s", data))
}

fn sum(name: &str, description: &str, unit: &str, points: Vec<NumberDataPoint>) -> Option<Metric> {
    let is_any = !points.is_empty();
    let data = Data::Sum(Sum {
        aggregation_temporality: DELTA,
        is_monotonic: true,
        data_points: points,
    });
    is_any.then(|| metric(name, description, unit, data))
}

fn metric(name: &str, description: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: description.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    }
}

/// Returns a point of durations without any.
fn empty(attributes: Vec<KeyValue>, start: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: start,
        count: 0,
        sum: Some(0.0),
        bucket_counts: vec![0; BOUNDS.len() + 1],
        explicit_bounds: BOUNDS.to_vec(),
        min: None,
        max: None,
    }
}

impl HistogramDataPoint {
    /// Adds a duration in seconds that ended at a time.
    fn observe(&mut self, seconds: f64, end: u64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.bucket_counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.count += 1;
        self.sum = self.sum.map(|sum| sum + seconds);
        self.min = Some(self.min.map_or(seconds, |min| min.min(seconds)));
        self.max = Some(self.max.map_or(seconds, |max| max.max(seconds)));
        let start = before(end, seconds);
        self.start_time_unix_nano = self.start_time_unix_nano.min(start);
        self.time_unix_nano = self.time_unix_nano.max(end);
    }
}

/// Attributes that metrics of a run have in common. They have few values: no ids, no hosts.
fn common(event: &Event) -> Attributes {
    let mut all = Attributes::default();
    all.text("cicd.pipeline.name", Some(&event.run.name()));
    all
}

fn add_run(
    event: &Event,
    end: &RunEnd,
    runs: &mut Vec<HistogramDataPoint>,
    errors: &mut Vec<NumberDataPoint>,
) {
    let result = attributes::result_of(end);
    let mut all = common(event);
    all.text("cicd.pipeline.run.state", Some("executing"));
    all.text("cicd.pipeline.result", Some(result));
    let mut error = common(event);
    error.text("error.type", Some(result));
    if result != "success" {
        all.text("error.type", Some(result));
        errors.push(count(event, end, error, 1));
    }
    let time = nanoseconds(event.time);
    let mut point = empty(all.0, time);
    point.observe(end.elapsed, time);
    runs.push(point);
}

/// Returns a count of what a run has added.
fn count(event: &Event, end: &RunEnd, attributes: Attributes, count: u64) -> NumberDataPoint {
    let time = nanoseconds(event.time);
    NumberDataPoint {
        attributes: attributes.0,
        start_time_unix_nano: before(time, end.elapsed),
        time_unix_nano: time,
        as_int: i64::try_from(count).ok(),
    }
}

/// Adds the counts that Ansible reports at the end of a run.
fn add_counts(
    event: &Event,
    end: &RunEnd,
    states: &mut Vec<NumberDataPoint>,
    hosts: &mut Vec<NumberDataPoint>,
) {
    for counted in end.by_state().filter(|counted| counted.hosts > 0) {
        let attributes = || {
            let mut all = common(event);
            all.text("ansible.state", Some(counted.state));
            all
        };
        states.push(count(event, end, attributes(), counted.results));
        hosts.push(count(event, end, attributes(), counted.hosts));
    }
}

/// Adds the duration of a task on a host to the point of its playbook, module and state.
fn add_task(event: &Event, tasks: &mut BTreeMap<[String; 3], HistogramDataPoint>) {
    let module = event
        .task
        .as_deref()
        .and_then(|task| task.action.as_deref());
    let state = match event.state {
        Some(state) if state.name() == "success" && event.changed => "changed",
        Some(state) if state.name() == "success" => "ok",
        Some(state) => state.name(),
        None => return,
    };
    let (end, seconds) = (nanoseconds(event.time), event.duration.unwrap_or(0.0));
    let module = module.unwrap_or_default();
    let key = [event.run.name(), module.to_owned(), state.to_owned()];
    let point = tasks.entry(key).or_insert_with(|| {
        let mut all = common(event);
        all.text("ansible.task.module", Some(module));
        all.text("ansible.state", Some(state));
        empty(all.0, end)
    });
    point.observe(seconds, end);
}
