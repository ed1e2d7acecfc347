//! Settings that somebody else may have put there, to get what is not theirs.

use std::path::Path;

use crate::config::entry::Origin;
use crate::config::levels::Search;
use crate::config::section::Section;
use crate::system::trusted;

/// Returns why the file with the settings is not trusted, if so.
pub fn distrusted(search: &Search) -> Option<String> {
    // Untrusted settings of ansible-runner are not used; that file is checked when it is read.
    let file = search.file().filter(|_| search.runner.is_none());
    file.and_then(|file| trusted::replaceable(&file))
}

/// Returns the message that a spool named only by this file gets no settings from elsewhere.
pub fn of_stranger(file: &Path) -> String {
    format!(
        "only {} selects this spool, so it gets no settings or secrets from elsewhere; to trust it, select it with --spool",
        file.display()
    )
}

/// Returns true if a section has no settings from outside this file.
pub fn is_all_of(section: &Section, file: &Path) -> bool {
    let is_here =
        |origin: &Origin| matches!(origin, Origin::File { file: from, .. } if from.path == file);
    section.origins().all(is_here) && section.withheld().is_empty()
}
