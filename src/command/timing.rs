//! The rules that decide when a notifier sends, as they are now: those of the configuration, and mutes by hand.

use std::path::PathBuf;

use super::belongs_to;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::spool::{self, DestinationStatus, Inspected, default_folder};
use crate::system::clock;

/// The rules of all notifiers of a configuration.
pub struct Timing {
    /// The nearest file of the configuration.
    file: Option<PathBuf>,
    /// The spool, unless it cannot be read.
    spool: Option<Inspected>,
}

impl Timing {
    /// Reads the mutes, without changing the spool.
    pub fn of(config: &Config) -> Timing {
        let folder = config.spool.clone().or_else(default_folder);
        let read = config.levels.iter().rev().find(|(_, is_read)| *is_read);
        Timing {
            file: read.map(|(level, _)| level.path.clone()),
            spool: folder.and_then(|folder| spool::inspect(&folder, &config.limits).ok()),
        }
    }

    /// Describes the effect of each rule on an event now, one sentence each.
    pub fn rules(&self, destination: &Destination) -> Vec<String> {
        let timing = destination.timing.as_deref();
        let mut rules = timing.map_or_else(Vec::new, |timing| timing.explain(clock::now()));
        if let (Some(spool), Some(file)) = (&self.spool, &self.file) {
            let is_it =
                |row: &&DestinationStatus| row.name == destination.name && belongs_to(row, file);
            let ids = spool.destinations.iter().filter(is_it).map(|row| row.id);
            let ids: Vec<_> = ids.collect();
            let mutes = spool.mutes.iter();
            let mutes = mutes.filter(|mute| ids.contains(&mute.destination));
            rules.extend(mutes.map(|mute| format!("{mute}; events are kept")));
        }
        rules
    }
}
