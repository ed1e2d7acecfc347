//! Data kept about a message for later ones: the thread of a run's or an incident's first message (in
//! Slack, for example), and which recipients already have one. An incident begins with a run that failed
//! and ends when the playbook succeeds again.

use std::collections::{BTreeMap, HashMap};

use crate::delivery::lanes::Delivery;
use crate::event::{Event, Status};
use crate::message::{ENDED, Message};
use crate::notifier::Thread;
use crate::spool::reached_key;

/// Returns the keys of an event's threads, the one to look up first being first: its run's and its
/// incident's. A partial run is part of the incident only when it fails or ends it; check mode never is,
/// nor is a success that leaves something broken.
pub fn keys(event: &Event) -> Vec<String> {
    let run = format!("run {}", event.run.id);
    let playbook = event.run.incident_key();
    if playbook.is_empty() || event.run.check {
        return vec![run];
    }
    let incident = format!("incident {playbook}");
    match event.status() {
        Some(Status::Success) if !event.resolves() => vec![run],
        _ if event.run.is_whole() => vec![run, incident],
        Some(Status::Success | Status::Error) => vec![incident, run],
        _ => vec![run],
    }
}

/// Returns the thread at each recipient: from the first of the event's keys that has any.
pub fn recall(event: &Event, mut kept: HashMap<String, String>) -> BTreeMap<String, String> {
    let found = keys(event).into_iter().filter_map(|key| kept.remove(&key));
    let mut parsed = found.map(|text| serde_json::from_str(&text).unwrap_or_default());
    parsed
        .find(|threads: &BTreeMap<_, _>| !threads.is_empty())
        .unwrap_or_default()
}

/// Returns the recipients reached by a delivery that failed, to be kept: another process must not send to
/// them again.
pub fn keep_reached(delivery: &Delivery) -> Option<(String, String)> {
    let recipients = &delivery.reached;
    let text = || serde_json::to_string(recipients).expect("texts can be written");
    (!recipients.is_empty() && delivery.id > 0).then(|| (reached_key(delivery.id), text()))
}

/// Returns the threads to keep after a message was delivered, or refused by some of its recipients.
pub fn keep(message: &Message, delivered: bool, relation: Thread) -> Vec<(String, String)> {
    let event = message.context.event();
    let late = message.comes_late();
    let mut threads = message.threads.clone();
    for (recipient, name) in &message.reached {
        if let Some(name) = name.as_ref().filter(|_| !late) {
            threads.insert(recipient.clone(), name.clone());
        }
    }
    let ends = relation == Thread::Updates && event.end.is_some() && delivered;
    let text = |threads: &BTreeMap<String, String>| {
        serde_json::to_string(threads).expect("texts can be written")
    };
    // At a recipient that had none, or whose first message no longer exists.
    let began = threads != message.threads;
    let mut kept = Vec::new();
    for key in keys(event) {
        match (key.starts_with("run "), event.status()) {
            (true, _) if ends && !threads.is_empty() => {
                let mut threads = threads.clone();
                threads.insert(ENDED.to_owned(), String::new());
                kept.push((key, text(&threads)));
            }
            (true, _) if began => kept.push((key, text(&threads))),
            // The run may have started the thread before it failed.
            (false, Some(Status::Error)) if !threads.is_empty() => kept.push((key, text(&threads))),
            (false, Some(Status::Success)) if delivered => kept.push((key, text(&BTreeMap::new()))),
            _ => {}
        }
    }
    kept
}
