//! The rules that decide when a notifier sends, as they are now: those of the configuration, and mutes by hand.

use crate::config::levels::Search;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::spool::{self, DestinationStatus, Inspected, default_folder};
use crate::system::clock;

/// The rules of all notifiers of a configuration.
pub struct Timing<'a> {
    search: &'a Search,
    /// The spool, unless it cannot be read.
    spool: Option<Inspected>,
}

impl<'a> Timing<'a> {
    /// Reads the mutes, without changing the spool.
    pub fn of(config: &Config, search: &'a Search) -> Timing<'a> {
        let folder = config.spool.clone().or_else(default_folder);
        Timing {
            search,
            spool: folder.and_then(|folder| spool::inspect(&folder, &config.limits).ok()),
        }
    }

    /// Describes the effect of each rule on an event now, one sentence each.
    pub fn rules(&self, destination: &Destination) -> Vec<String> {
        let timing = destination.timing.as_deref();
        let mut rules = timing.map_or_else(Vec::new, |timing| timing.explain(clock::now()));
        if let Some(spool) = &self.spool {
            let key = destination.key(self.search, "");
            let is_it = |row: &&DestinationStatus| {
                row.name == key.name && row.search.as_ref() == Some(&key.search)
            };
            let ids = spool.destinations.iter().filter(is_it).map(|row| row.id);
            let ids: Vec<_> = ids.collect();
            let mutes = spool.mutes.iter();
            let mutes = mutes.filter(|mute| ids.contains(&mute.destination));
            rules.extend(mutes.map(|mute| format!("{mute}; events are kept")));
        }
        rules
    }
}
