//! Destinations of `flush`: their settings, if the pending deliveries may go to the addresses that these give
//! now.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Instant;

use super::Flush;
use super::due::{Due, Notifiers};
use super::environment::{not_stored, unset};
use super::trust::{is_all_of, of_stranger};
use crate::command::unclaimed;
use crate::config::emitters;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::console::stderr;
use crate::delivery::destination::Destination;
use crate::exit::Exit;
use crate::spool::DestinationStatus;

impl Flush<'_> {
    /// Returns the notifier of a destination; None if nothing can be delivered to it.
    pub(super) fn ready(
        &mut self,
        status: &DestinationStatus,
        search: &Search,
        found: &Notifiers,
        known: &[DestinationStatus],
    ) -> Option<Rc<Destination>> {
        let Some(destination) = found.named(&status.name) else {
            self.report_absent(status, search, found);
            return None;
        };
        if let Some(file) = &self.stranger
            && !is_all_of(&destination.section, file)
        {
            self.pass_over(status, &of_stranger(file), Exit::Config);
            return None;
        }
        if let Some(reason) = self.lacks(status, search, &destination, known) {
            self.pass_over(status, &reason, Exit::Undelivered);
            return None;
        }
        if let (true, Some(file)) = (status.own, search.file())
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

    /// Reports the destinations of an unusable configuration.
    pub(super) fn report_unusable(&mut self, due: &Due, problems: &[Problem]) {
        let search = &due.options.search;
        let gone = unclaimed::missing_file(search).filter(|_| search.config.is_some());
        if gone.is_none() {
            problems.iter().for_each(stderr::say);
        }
        for status in &due.of {
            if let Some(file) = &gone {
                self.skip(status, unclaimed::address_is_gone(file, &status.name));
                continue;
            }
            // The destination may exist only with those variables.
            let missing = unset(status);
            let reason = match missing.is_empty() || search.runner.is_some() {
                true => "its configuration has a problem".to_owned(),
                false => not_stored(&missing),
            };
            self.pass_over(status, &reason, Exit::Config);
        }
    }

    /// Reports a destination that is missing from its configuration.
    fn report_absent(&mut self, status: &DestinationStatus, search: &Search, found: &Notifiers) {
        if let Some(file) = &search.runner {
            let reason = emitters::how_to_name(&status.name, file);
            return self.pass_over(status, &reason, Exit::Undelivered);
        }
        match unset(status)[..] {
            [] => self.skip(status, found.why_absent(&status.name)),
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
