//! Loops in progress: collects the reasons of failed items for the event that ends the loop.

use std::collections::HashMap;

use crate::event::callback::Callback;
use crate::event::items::Items;
use crate::event::{Event, State};

/// Limit on the loops remembered; larger than the number of hosts worked on at once.
const LOOPS: usize = 4096;

/// Loops in progress whose items are reported one by one, and whose end does not contain them.
#[derive(Debug, Default)]
pub struct Loops(HashMap<[String; 3], Items>);

impl Loops {
    /// Remembers the reason of an item that failed, and adds it to the end of its loop.
    pub fn note(&mut self, event: &mut Event) {
        if event.event == Callback::RunnerItemOnFailed {
            let key = key(event);
            if self.0.len() < LOOPS || self.0.contains_key(&key) {
                let items = self.0.entry(key).or_default();
                items.add(event.item.as_ref(), event.reason());
            }
        } else if !self.0.is_empty() && event.event.is_task_end() {
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

/// Returns the run, the task and the host.
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
