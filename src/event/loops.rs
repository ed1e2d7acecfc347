//! Loops under way: the end of one is given what its items said.

use std::collections::HashMap;

use crate::event::items::Items;
use crate::event::{Event, State};

/// The most loops that are kept: more than hosts are worked at side by side.
const LOOPS: usize = 4096;

/// Loops under way whose items are told one by one, and their end without them.
#[derive(Debug, Default)]
pub struct Loops(HashMap<[String; 3], Items>);

impl Loops {
    /// Keeps the reason of an item that failed, and gives it to the end of its loop.
    pub fn note(&mut self, event: &mut Event) {
        let ends = [
            "runner_on_ok",
            "runner_on_failed",
            "runner_on_skipped",
            "runner_on_unreachable",
        ];
        if event.event == "runner_item_on_failed" {
            let key = key(event);
            if self.0.len() < LOOPS || self.0.contains_key(&key) {
                let items = self.0.entry(key).or_default();
                items.add(event.item.as_ref(), event.reason());
            }
        } else if !self.0.is_empty() && ends.contains(&event.event.as_str()) {
            let Some(items) = self.0.remove(&key(event)) else {
                return;
            };
            let failed = matches!(event.state, Some(State::Failed | State::Unreachable));
            if failed
                && event.loop_reason.is_none()
                && !event.result_value()["censored"].is_string()
            {
                event.loop_reason = items.reason();
            }
        }
    }
}

/// The run, the task and the host.
fn key(event: &Event) -> [String; 3] {
    let task = event.task.as_ref().map(|task| match task.id.as_str() {
        "" => task.name.clone(),
        id => id.to_owned(),
    });
    [
        event.run.id.clone(),
        task.unwrap_or_default(),
        event.host_name().to_owned(),
    ]
}
