//! Variables of the run, its plays and its hosts, as the plugin sent them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Stream, answer};
use crate::config::event::Variables;
use crate::event::Event;
use crate::protocol::{HostRecord, PlayRecord};

/// Variables received so far. Empty unless the configuration lists some.
#[derive(Default)]
pub struct Vars {
    /// Those of all plays so far; later plays win.
    run: Option<Arc<Map<String, Value>>>,
    plays: HashMap<String, Arc<Map<String, Value>>>,
    hosts: HashMap<String, HostRecord>,
}

impl Vars {
    /// Restores the variables of a run whose first events went to a process that died.
    pub fn resume(&mut self, run: Option<Map<String, Value>>) {
        self.run = run.map(Arc::new);
    }

    /// Adds the variables of a play.
    pub fn note_play(&mut self, play: &mut PlayRecord) {
        let Some(vars) = play.vars.take() else { return };
        let all = Arc::make_mut(self.run.get_or_insert_default());
        all.extend(vars.clone());
        self.plays.insert(play.id.clone(), Arc::new(vars));
    }

    /// Replaces the variables and groups of a host.
    pub fn note_host(&mut self, host: HostRecord) {
        self.hosts.insert(host.name.clone(), host);
    }

    /// Adds the variables to an event, which is of a play or of the whole run.
    pub fn add_to(&self, event: &mut Event, play: Option<&str>) {
        event.vars = match play {
            Some(play) => self.plays.get(play).cloned(),
            None => self.run.clone(),
        };
        let Some(host) = &mut event.host else { return };
        if let Some(known) = self.hosts.get(&host.name) {
            (host.vars, host.groups) = (known.vars.clone(), known.groups.clone());
        }
    }
}

impl Stream {
    /// Tells the plugin which variables to send.
    pub(super) fn answer_config(&self) {
        answer(&json!({ "config": Variables::find(&self.search) }));
    }
}
