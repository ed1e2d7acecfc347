//! Settings that somebody else may have put there, to get what is not theirs.

use std::path::Path;

use crate::config::Options;
use crate::config::entry::{Origin, Reads};
use crate::config::levels::Search;
use crate::config::section::Section;
use crate::spool::DestinationStatus;
use crate::system::trusted;

/// Returns how to load a destination's settings again, or why they must not be used. The environment may only
/// give the keys that it, or the play's vars, gave when the events were accepted. If only the project's file
/// `stranger` names the spool, nothing counts but what that file itself contains.
pub fn options(
    status: &DestinationStatus,
    search: Search,
    stranger: Option<&Path>,
) -> Result<Options, String> {
    options_with(&status.needs, search, stranger)
}

/// Like [`options`], with the keys that the environment may give.
pub fn options_with(
    needs: &[String],
    search: Search,
    stranger: Option<&Path>,
) -> Result<Options, String> {
    if let Some(reason) = distrusted(&search) {
        return Err(format!(
            "{reason}, so its configuration may have been planted to redirect them"
        ));
    }
    let options = Options {
        search,
        environment: Some(needs.to_vec()),
        ..Options::default()
    };
    match stranger {
        Some(file) if options.search.file().as_deref() != Some(file) => Err(of_stranger(file)),
        Some(_) => Ok(Options {
            environment: Some(Vec::new()),
            reads: Reads::None,
            ..options
        }),
        None => Ok(options),
    }
}

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
