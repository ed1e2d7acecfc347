//! Destinations of `flush`: their settings, if the pending deliveries may go where these lead now.

use std::collections::HashSet;
use std::time::Instant;

use super::Flush;
use super::environment::{not_stored, unset};
use super::trust::{is_all_of, of_stranger};
use crate::command::unclaimed;
use crate::config::Options;
use crate::config::emitters;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::console::stderr;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::exit::Exit;
use crate::spool::DestinationStatus;

impl Flush<'_> {
    /// Loads a destination's settings; None if nothing can be delivered to it.
    pub(super) fn ready(
        &mut self,
        status: &DestinationStatus,
        options: &Options,
        known: &[DestinationStatus],
    ) -> Option<Destination> {
        let mut config = match self.load(options, &status.name) {
            Ok(config) => config,
            Err(problems) => {
                let gone = unclaimed::missing_file(&options.search);
                if let Some(file) = gone.filter(|_| options.search.config.is_some()) {
                    self.skip(status, unclaimed::address_is_gone(&file, &status.name));
                    return None;
                }
                problems.iter().for_each(stderr::say);
                // The destination may exist only with those variables.
                let missing = unset(status);
                let reason = match missing.is_empty() || options.search.runner.is_some() {
                    true => "its configuration has a problem".to_owned(),
                    false => not_stored(&missing),
                };
                self.pass_over(status, &reason, Exit::Config);
                return None;
            }
        };
        let Some(found) = config.position(&status.name) else {
            self.report_absent(status, &options.search, &config);
            return None;
        };
        let destination = config.destinations.swap_remove(found);
        self.loaded.push((options.clone(), config));
        if let Some(file) = &self.stranger
            && !is_all_of(&destination.section, file)
        {
            self.pass_over(status, &of_stranger(file), Exit::Config);
            return None;
        }
        if let Some(reason) = self.lacks(status, &options.search, &destination, known) {
            self.pass_over(status, &reason, Exit::Undelivered);
            return None;
        }
        if let (true, Some(file)) = (status.own, options.search.file())
            && !destination.section.is_addressed_by(&file)
        {
            let reason = unclaimed::address_is_elsewhere(&file, &status.name);
            self.skip(status, reason);
            return None;
        }
        if let Some(trouble) = &destination.trouble {
            self.unread.push((Instant::now(), status.id));
            let exit = match trouble.is_mistake() {
                true => Exit::Config,
                false => Exit::Undelivered,
            };
            self.pass_over(status, &trouble.reason, exit);
            return None;
        }
        Some(destination)
    }

    /// Reads a configuration, unless one is there already with a destination of this name.
    fn load(&mut self, options: &Options, name: &str) -> Result<Config, Vec<Problem>> {
        let has_it = |(known, config): &(Options, Config)| {
            known == options && config.position(name).is_some()
        };
        match self.loaded.iter().position(has_it) {
            Some(at) => Ok(self.loaded.swap_remove(at).1),
            None => Config::load(options, &[], self.deliverer.http()).usable(),
        }
    }

    /// Reports a destination that is missing from its configuration.
    fn report_absent(&mut self, status: &DestinationStatus, search: &Search, config: &Config) {
        if let Some(file) = &search.runner {
            let reason = emitters::how_to_name(&status.name, file);
            return self.pass_over(status, &reason, Exit::Undelivered);
        }
        match unset(status)[..] {
            [] => self.skip(status, unclaimed::not_there(config, &status.name)),
            // The destination may exist only with those variables.
            ref missing => self.pass_over(status, &not_stored(missing), Exit::Config),
        }
    }

    /// Returns the variables to set so that the events go to their original destination, if any are missing
    /// or changed.
    fn lacks(
        &self,
        status: &DestinationStatus,
        search: &Search,
        destination: &Destination,
        known: &[DestinationStatus],
    ) -> Option<String> {
        let section = &destination.section;
        let given: HashSet<&str> = section.passing().map(|entry| entry.key.as_str()).collect();
        let needs = status.needs.iter().map(String::as_str);
        let missing: Vec<&str> = needs.filter(|key| !given.contains(key)).collect();
        if !missing.is_empty() {
            return Some(match &search.runner {
                Some(file) => emitters::how_to_name(&status.name, file),
                None => not_stored(&missing),
            });
        }
        let meant = self.is_meant(status, destination, known);
        (!meant).then(|| {
            let variables: Vec<String> = section
                .addressed()
                .map(|entry| entry.origin.to_string())
                .collect();
            format!(
                "{} had another value when they were accepted; restore that value",
                variables.join(", ")
            )
        })
    }

    /// Returns true if the variables give the address and user that the events were accepted for. If all
    /// pending events were accepted for the same ones, a user may send them elsewhere.
    fn is_meant(
        &self,
        status: &DestinationStatus,
        destination: &Destination,
        known: &[DestinationStatus],
    ) -> bool {
        let Some(accepted_for) = status.scope.addressee() else {
            return true;
        };
        let attended = self.is_attended();
        let others = known.iter().filter(|other| {
            let alike = (&other.search, &other.name) == (&status.search, &status.name);
            alike && self.concerned(other) > 0
        });
        let alone = others
            .filter_map(|other| other.scope.addressee())
            .all(|other| other == accepted_for);
        destination.section.addressee() == accepted_for || attended && alone
    }
}
