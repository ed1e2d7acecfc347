//! Destinations of one configuration, which is loaded once for all of them.

use std::path::Path;
use std::time::SystemTime;

use crate::config::Options;
use crate::config::levels::Search;
use crate::spool::DestinationStatus;

/// Destinations to be started with one loading of their configuration.
pub struct Due<'a> {
    pub options: Options,
    pub of: Vec<&'a DestinationStatus>,
}

impl<'a> Due<'a> {
    /// Adds a destination to those of the same configuration, unless it has another one of that name.
    pub fn add(due: &mut Vec<Due<'a>>, options: Options, status: &'a DestinationStatus) {
        let is_new = |due: &Due| due.of.iter().all(|other| other.name != status.name);
        let same = |due: &&mut Due| due.options == options && is_new(due);
        match due.iter_mut().find(same) {
            Some(due) => due.of.push(status),
            None => due.push(Due {
                options,
                of: vec![status],
            }),
        }
    }
}

/// Modification time and length of each configuration file; None for a missing one.
pub type Stamp = Vec<Option<(SystemTime, u64)>>;

/// Returns the present state of the configuration files of a search.
pub fn stamp(search: &Search) -> Stamp {
    let (levels, _) = search.levels();
    let look = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let files = levels.iter().map(|level| &level.path).chain(&search.runner);
    files.map(|path| look(path)).collect()
}
