//! Missing end events of ansible-runner's runs, derived from the earlier records and from the files next to
//! a directory of job events.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::event::callback::Callback;
use crate::event::run_summary::{Before, RunSummary};
use crate::event::runner;
use crate::event::{Event, Run, Status};
use crate::text::{characters, cut, printable};

/// Limits for a kept error: number of lines, and length of each.
const LINES: usize = 3;
const LINE: usize = 1000;

/// Runs of an input, in the order of their first records.
#[derive(Default)]
pub struct Ends {
    runs: Vec<Ending>,
    /// Index of the run that the last record belongs to.
    current: Option<usize>,
    /// Plain-text errors before any record.
    early: Errors,
    /// True inside a directory, where there is no text between the records.
    in_folder: bool,
}

#[derive(Default)]
struct Ending {
    run: Arc<Run>,
    progress: RunSummary,
    /// Id and time of the run's last event.
    last: Option<(String, Timestamp)>,
    /// True once the playbook has begun; `counted` is true once its counts have arrived.
    began: bool,
    counted: bool,
    /// True if the end event itself was among the records.
    said: bool,
    /// Reason why ansible-runner ended the run.
    reason: Option<String>,
    errors: Errors,
    /// For a directory: the final status and exit code written by ansible-runner.
    status: Option<String>,
    exit_code: Option<i64>,
    is_folder: bool,
}

impl Ends {
    /// Records an event, and completes a run's end event from the earlier ones.
    pub fn note(&mut self, event: &mut Event) {
        let Some(ident) = &event.run.ident else {
            return;
        };
        let known = |ending: &Ending| ending.run.ident.as_ref() == Some(ident);
        let number = self.runs.iter().position(known).unwrap_or_else(|| {
            self.runs.push(Ending {
                errors: std::mem::take(&mut self.early),
                ..Ending::default()
            });
            self.runs.len() - 1
        });
        self.current = Some(number);
        self.runs[number].note(event);
    }

    /// Reads text between the records.
    pub fn read_text(&mut self, bytes: &[u8]) {
        match self.current {
            _ if self.in_folder => {}
            Some(number) => self.runs[number].errors.feed(bytes),
            None => self.early.feed(bytes),
        }
    }

    /// Returns true if the input had only plain text, including an error from Ansible.
    pub fn is_only_text(&self) -> bool {
        self.runs.is_empty() && !self.early.lines.is_empty()
    }

    /// Starts the directory of another run.
    pub fn open_folder(&mut self) {
        self.in_folder = true;
        self.current = None;
    }

    /// Reads the files next to the job events; returns true if one has a status.
    pub fn close_folder(&mut self, artifacts: &Path) -> bool {
        self.in_folder = false;
        let read = |name| std::fs::read_to_string(artifacts.join(name)).ok();
        let status = read("status").map(|text| text.trim().to_owned());
        let found = status.is_some();
        if self.current.is_none() && found {
            let ident = artifacts.file_name().unwrap_or_default().to_string_lossy();
            let run = Run {
                id: ident.clone().into_owned(),
                ident: Some(ident.into_owned()),
                ..Run::default()
            };
            self.runs.push(Ending {
                run: Arc::new(run),
                ..Ending::default()
            });
            self.current = Some(self.runs.len() - 1);
        }
        let Some(number) = self.current.take() else {
            return found;
        };
        let ending = &mut self.runs[number];
        ending.is_folder = true;
        ending.status = status;
        ending.exit_code = read("rc").and_then(|text| text.trim().parse().ok());
        if ending.run.playbook.is_none() {
            let playbook = read("command").and_then(|text| playbook_of(&text));
            Arc::make_mut(&mut ending.run).playbook = playbook;
        }
        found
    }

    /// Returns the missing end events; `run` is the id for an input without records.
    pub fn finish(self, run: &str) -> Vec<Event> {
        let mut runs = self.runs;
        if runs.is_empty() && !self.early.lines.is_empty() {
            let run = Run {
                id: run.to_owned(),
                ..Run::default()
            };
            runs.push(Ending {
                run: Arc::new(run),
                errors: self.early,
                ..Ending::default()
            });
        }
        runs.into_iter().filter_map(Ending::end).collect()
    }
}

impl Ending {
    fn note(&mut self, event: &mut Event) {
        if self.run.playbook.is_none() {
            self.run = event.run.clone();
        }
        self.errors.note(event);
        self.began |= event.event == Callback::PlaybookOnStart;
        self.counted |= event.event == Callback::PlaybookOnStats;
        self.progress.note(event);
        if let Some((status, reason)) = event.end.as_ref().map(|end| (end.status, &end.reason)) {
            self.said = true;
            self.reason = reason.clone();
            event.run = self.run.clone();
            self.conclude();
            self.progress.complete(event, status, Before::default());
        }
        self.last = Some((event.id.clone(), event.time));
    }

    /// Records how Ansible ended in the progress, as far as that is known.
    fn conclude(&mut self) {
        // Some events of the run may be missing; the counts make up for them.
        self.progress.resumed = true;
        if self.status.as_deref() == Some("timeout") {
            self.reason = Some(runner::TIMEOUT.to_owned());
        }
        let mut end = self
            .errors
            .last_record(self.counted, self.reason.as_deref());
        end["code"] = json!(self.exit_code);
        if self.said || self.counted || end["error"].is_string() || self.exit_code.is_some() {
            self.progress.note_end(&end);
        }
    }

    /// Returns the run's end event if it is missing and the run is over.
    fn end(mut self) -> Option<Event> {
        let status = match self.status.as_deref() {
            Some("successful") => Some(Status::Success),
            Some("failed" | "timeout" | "error") => Some(Status::Error),
            Some("canceled") => Some(Status::Canceled),
            _ => None,
        };
        let over = match self.is_folder {
            // The run may still be in progress.
            true => status.is_some() || self.counted,
            false => self.began || self.errors.text().is_some(),
        };
        if self.said || !over {
            return None;
        }
        self.conclude();
        let mut event = Event::new(Callback::RunEnd, self.run.clone(), 0);
        let (last, time) = self.last.unwrap_or((self.run.id.clone(), event.time));
        event.id = format!("{last}-end");
        event.time = time;
        let status = status.unwrap_or_else(|| self.progress.status());
        self.progress
            .complete(&mut event, status, Before::default());
        Some(event)
    }
}

/// Returns the playbook from the command line that ansible-runner recorded.
fn playbook_of(command: &str) -> Option<String> {
    let command: Value = serde_json::from_str(command).ok()?;
    let words = command["command"].as_array()?;
    let is_playbook = words.first()?.as_str()?.ends_with("ansible-playbook");
    let last = words.last()?.as_str().filter(|_| is_playbook)?;
    Some(last.to_owned())
}

/// The first error in Ansible's plain output, with its continuation lines.
#[derive(Default)]
pub struct Errors {
    /// The line being read, up to the length that is kept.
    line: Vec<u8>,
    lines: Vec<String>,
    over: bool,
}

impl Errors {
    /// Reads output of Ansible that comes as a record of its own, outside of tasks and callbacks.
    pub fn note(&mut self, event: &Event) {
        if matches!(event.event, Callback::Verbose | Callback::Error)
            && let Some(record) = &event.record
        {
            let record: Value = serde_json::from_str(record.get()).unwrap_or_default();
            let said = record["stdout"].as_str().unwrap_or_default();
            said.lines().for_each(|line| self.add_line(line));
        }
    }

    /// Returns the last record of a run, in the form of the callback plugin. If the counts arrived, no
    /// error ended the run.
    pub fn last_record(&self, counted: bool, reason: Option<&str>) -> Value {
        let said = self.text();
        let error = said.as_deref().filter(|_| !counted).or(reason);
        json!({"reason": "exit", "error": error, "said": said})
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if lines.peek().is_some() {
                let line = std::mem::take(&mut self.line);
                self.add_line(&String::from_utf8_lossy(&line));
            }
        }
    }

    fn add_line(&mut self, line: &str) {
        let line = printable(line);
        let line = line.trim();
        let marks = ["[ERROR]:", "ERROR!"];
        let error = marks.iter().find_map(|mark| line.strip_prefix(mark));
        match error {
            _ if self.over => {}
            Some(error) if self.lines.is_empty() => self.lines.push(error.trim().to_owned()),
            None if self.lines.is_empty() => {}
            _ if line.is_empty() || line.starts_with('{') || self.lines.len() == LINES => {
                self.over = true;
            }
            _ => self.lines.push(cut(line, LINE, characters).into_owned()),
        }
    }

    fn text(&self) -> Option<String> {
        (!self.lines.is_empty()).then(|| self.lines.join("\n"))
    }
}
