//! Destinations of one configuration, which is loaded once for all of them.

use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use crate::command::unclaimed;
use crate::config::Options;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::net::http::Http;
use crate::secret::Answers;
use crate::spool::DestinationStatus;

/// Destinations to be started with one loading of their configuration.
pub struct Due<'a> {
    pub options: Options,
    pub of: Vec<&'a DestinationStatus>,
}

impl<'a> Due<'a> {
    /// Adds a destination to those of the same configuration.
    pub fn add(due: &mut Vec<Due<'a>>, options: Options, status: &'a DestinationStatus) {
        match due.iter_mut().find(|due| due.options == options) {
            Some(due) => due.of.push(status),
            None => due.push(Due {
                options,
                of: vec![status],
            }),
        }
    }

    /// Loads the configuration, without running its commands for secrets; every problem if nothing can be
    /// sent with it.
    pub fn load(&self, http: &Http) -> Result<Config, Vec<Problem>> {
        let options = Options {
            reads: self.options.reads.without_commands(),
            ..self.options.clone()
        };
        Config::load(&options, &[], http).usable()
    }

    /// Returns the commands for the secrets of these destinations.
    pub fn commands(&self, config: &Config) -> Vec<Vec<String>> {
        let destinations = config.destinations.iter();
        let due = destinations.filter(|destination| self.includes(&destination.name));
        due.flat_map(Destination::commands).collect()
    }

    /// Returns the notifiers of the configuration, those that are due with the secrets that the commands
    /// printed.
    pub fn notifiers(&self, config: Config, answers: Answers, http: &Http) -> Notifiers {
        let mut destinations = config.destinations;
        let due = destinations
            .iter_mut()
            .filter(|destination| self.includes(&destination.name));
        answers.used_by(|| due.for_each(|destination| destination.read_withheld(http)));
        Notifiers {
            destinations: destinations.into_iter().map(Rc::new).collect(),
            muted: config.muted,
        }
    }

    fn includes(&self, name: &str) -> bool {
        self.of.iter().any(|status| status.name == name)
    }
}

/// Notifiers of a configuration. Several destinations may be of one, with other values from the environment.
pub struct Notifiers {
    destinations: Vec<Rc<Destination>>,
    muted: Vec<(String, &'static str)>,
}

impl Notifiers {
    /// Returns the notifier with this name.
    pub fn named(&self, name: &str) -> Option<Rc<Destination>> {
        let mut destinations = self.destinations.iter();
        destinations.find(|one| one.name == name).cloned()
    }

    /// Returns the reason for a notifier that is not among them.
    pub fn why_absent(&self, name: &str) -> String {
        unclaimed::not_there(&self.muted, name)
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
