//! Builds the destinations of a configuration from its sections; reports all problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::config::entry::Shown;
use crate::config::event::Variables;
use crate::config::levels::Level;
use crate::config::problem::{Harm, Problem};
use crate::config::section::{Section, truth};
use crate::config::trouble::Trouble;
use crate::config::{Options, Reading, Sections, emitters, listing, mask, strays, units};
use crate::delivery::destination::Destination;
use crate::delivery::page::{self, PageAddress};
use crate::delivery::record::Recording;
use crate::event::masked::Masks;
use crate::message::labels::Labels;
use crate::net::http::Http;
use crate::notifier::{KINDS, PASSING_ON};
use crate::route::timing::Named;
use crate::secret;
use crate::spool::{self, Limits};
use crate::template::context::Context;

/// Default of `max_size` in `[delivery]`.
const MAX_SIZE: u64 = 256 << 20;
/// Default of `drain` if a relay must have the events before the spool vanishes.
const LONG_DRAIN: Duration = Duration::from_secs(60);

/// Combined configuration of all levels.
pub struct Config {
    pub destinations: Vec<Destination>,
    /// Longest time that the end of a play waits for deliveries.
    pub drain: Duration,
    /// Age after which deliveries are given up.
    pub max_age: Duration,
    /// Time after which finished entries are deleted.
    pub keep: Duration,
    pub limits: Limits,
    /// Amount that is recorded of runs, and the time after which it is deleted.
    pub recording: Recording,
    pub keep_runs: Duration,
    /// True if delivered events stay in the spool, for `history`.
    pub keep_bodies: bool,
    /// Directory of the spool, if not the user's default.
    pub spool: Option<PathBuf>,
    /// Labels that every event gets when it is accepted.
    pub labels: Rc<Labels>,
    /// Address of the page, for links to what is recorded.
    pub page: Option<PageAddress>,
    /// Notifiers turned off by `enabled = false`, with their kinds.
    pub muted: Vec<(String, &'static str)>,
    /// Mask for everything that events must not show.
    pub masks: Option<Rc<Masks>>,
    pub levels: Vec<(Level, bool)>,
    /// Every value with its origin, for `check-config`.
    pub values: Vec<Shown>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Secrets that exist but were not read.
    pub withheld: Vec<Problem>,
    /// Defaults in effect, by section and key.
    pub defaults: BTreeMap<String, BTreeMap<String, String>>,
    /// Keys that were read, by section.
    keys: BTreeMap<String, BTreeSet<String>>,
}

impl Config {
    /// Reads all levels and builds their destinations, trying every expression on `samples`. Never fails:
    /// errors are in `problems`.
    pub fn load(options: &Options, samples: &[Context], http: &Http) -> Config {
        secret::asking_once(|| Config::read(options, samples, http))
    }

    fn read(options: &Options, samples: &[Context], http: &Http) -> Config {
        let kinds = KINDS.iter().map(|kind| kind.name).collect();
        let read = Reading::new(options, kinds);
        let mut sections = read.sections;
        let mut config = Config {
            levels: read.levels,
            problems: read.problems,
            warnings: read.warnings,
            ..Config::empty()
        };
        if let Some(settings) = &options.search.runner {
            // The runner's settings choose the notifiers; only [delivery], shared by all, still counts.
            sections.retain(|name, _| name == "delivery");
            let allowed = |keys: &[&str]| options.allows(keys);
            let made = emitters::sections(settings, &options.emitters, &allowed);
            sections.extend(
                made.into_iter()
                    .map(|section| (section.name.clone(), section)),
            );
        }
        let had_inputs = sections.contains_key("inputs");
        for section in sections.values_mut() {
            section.may_prompt = options.may_prompt;
            section.reads = options.reads;
        }
        config.read_masks(&read.masks);
        let vault = read.vault.all;
        let absent = config.place(read.of_sections, &sections);
        config.build(sections, &absent, http, samples);
        for section in vault {
            config.collect_slight(&section);
        }
        // Each mistake is reported once.
        let problems = &config.problems;
        let is_more = |warning: &Problem| problems.iter().all(|one| one.place != warning.place);
        config.warnings.retain(is_more);
        let paths = config.levels.iter().map(|(level, _)| level.path.clone());
        let paths: Vec<PathBuf> = paths.collect();
        listing::sort(&mut config.problems, &paths);
        listing::sort(&mut config.warnings, &paths);
        listing::merge_same(&mut config.problems);
        listing::merge_unread(&mut config.problems);
        let nobody = config.destinations.is_empty() && config.problems.is_empty();
        // Pending events may be for a muted or removed notifier; a command that asks for them says so itself.
        let is_asked = options.search.runner.is_none() && !options.search.stored;
        if nobody && !had_inputs && is_asked && config.muted.is_empty() {
            config.nobody_to_notify();
        }
        config
    }

    /// Builds the configuration from a text as the only file, at `path`, trying every expression on `samples`.
    /// Of the environment, only its secrets are used.
    pub fn of_text(path: &Path, text: &str, samples: &[Context], http: &Http) -> Config {
        let kinds = KINDS.iter().map(|kind| kind.name).collect();
        let read = Reading::of_text(path, text, kinds);
        let mut config = Config {
            problems: read.problems,
            warnings: read.warnings,
            ..Config::empty()
        };
        let absent = config.place(read.of_sections, &read.sections);
        config.build(read.sections, &absent, http, samples);
        config
    }

    /// Default configuration.
    fn empty() -> Config {
        Config {
            destinations: Vec::new(),
            drain: Duration::from_secs(5),
            max_age: Duration::from_secs(72 * 3600),
            keep: Duration::from_secs(14 * 86400),
            limits: Limits {
                max_size: Some(MAX_SIZE),
                ..Limits::default()
            },
            recording: Recording::Failed,
            keep_runs: Duration::from_secs(30 * 86400),
            keep_bodies: false,
            spool: None,
            labels: Rc::default(),
            page: None,
            muted: Vec::new(),
            masks: None,
            levels: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            withheld: Vec::new(),
            defaults: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Returns the keys that are read while these sections are built.
    pub fn known_keys(sections: Sections, http: &Http) -> BTreeMap<String, BTreeSet<String>> {
        let mut config = Config::empty();
        config.build(sections, &[], http, &[]);
        config.keys
    }

    fn build(
        &mut self,
        mut sections: Sections,
        absent: &[String],
        http: &Http,
        samples: &[Context],
    ) {
        let delivery = sections.remove("delivery");
        if passes_on(&sections) && vanishes(delivery.as_ref()) {
            self.drain = LONG_DRAIN;
        }
        if let Some(delivery) = delivery {
            self.read_delivery(&delivery);
        }
        if let Some(event) = sections.remove("event") {
            Variables::new(&event);
            self.labels = Rc::new(Labels::new(&event, samples));
            event.report_unknown();
            self.collect_slight(&event);
        }
        if let Some(page) = sections.remove(page::NAME) {
            self.page = PageAddress::read(&page);
            page.report_unknown();
            self.collect_slight(&page);
        }
        let times = Named::take(&mut sections, |section| self.collect(section));
        let mut outputs: Sections = BTreeMap::new();
        let names: Vec<String> = sections
            .keys()
            .filter(|name| name.starts_with("outputs"))
            .cloned()
            .collect();
        for name in names {
            outputs.extend(sections.remove_entry(&name));
        }
        strays::misnamed_outputs(&sections, &outputs, absent);
        for (name, section) in sections {
            let output = match name.strip_prefix("notifier:") {
                Some(notifier) => outputs.remove(&format!("outputs:{notifier}")),
                None => outputs.remove("outputs"),
            };
            self.add_destination(section, output, &times, http, samples);
        }
        for output in outputs.values() {
            // [outputs] alone is fine: the play's vars may bring the URL.
            if output.name != "outputs" {
                self.collect(output);
            }
        }
    }

    fn read_masks(&mut self, sections: &[Section]) {
        let (masks, problems) = mask::read(sections);
        self.masks = masks;
        self.problems.extend(problems);
        sections.iter().for_each(|section| self.collect(section));
    }

    /// Reads the settings shared by all notifiers. If one is wrong, nothing is given up or deleted earlier
    /// than may have been intended.
    fn read_delivery(&mut self, delivery: &Section) {
        let longest = Duration::from_secs(units::LONGEST);
        let or_longest = |key, default| match delivery.is_given(key) {
            true => delivery.duration(key, longest),
            false => delivery.duration(key, default),
        };
        self.drain = delivery.duration("drain", self.drain);
        self.max_age = or_longest("max_age", self.max_age);
        self.keep = or_longest("keep", self.keep);
        self.keep_bodies = delivery.flag("keep_bodies", false);
        self.recording = delivery.choice(
            "record",
            self.recording,
            &[
                ("all", Recording::All),
                ("failed", Recording::Failed),
                ("off", Recording::Off),
            ],
        );
        self.keep_runs = or_longest("keep_runs", self.keep_runs);
        self.limits = limits(delivery);
        self.spool = delivery.path("spool");
        delivery.report_unknown();
        self.collect_slight(delivery);
    }

    /// Collects a section whose mistakes keep no notifier from delivering. A notifier that uses it has already
    /// noted them.
    fn collect_slight(&mut self, section: &Section) {
        let begin = self.problems.len();
        self.collect(section);
        for problem in &mut self.problems[begin..] {
            problem.harm = Harm::Slight;
        }
    }

    /// Attaches problems found outside the sections to the sections they concern; returns the names of
    /// those that do not exist.
    fn place(&mut self, problems: Vec<(String, Problem)>, sections: &Sections) -> Vec<String> {
        let mut absent = Vec::new();
        for (name, problem) in problems {
            match sections.get(&name) {
                Some(section) => section.note(problem),
                None => {
                    self.problems.push(problem.with(Harm::Slight));
                    absent.push(name);
                }
            }
        }
        absent
    }

    fn nobody_to_notify(&mut self) {
        let place = self
            .levels
            .last()
            .map_or_else(String::new, |(level, _)| level.path.display().to_string());
        self.problem(
            &place,
            "no notifier is configured: set `callback_url` in [inputs], or add a [notifier:NAME]; `ansible-notify init` writes an example",
        );
    }

    /// Collects the values, keys and problems of a section.
    pub fn collect(&mut self, section: &Section) {
        self.values.extend(section.shown());
        self.problems.extend(section.take_problems());
        self.warnings.extend(section.take_warnings());
        self.withheld.extend(section.withheld());
        self.keys.insert(section.name.clone(), section.asked());
        self.defaults
            .insert(section.name.clone(), section.defaults());
    }

    fn problem(&mut self, place: &str, text: impl Into<String>) {
        let problem = Problem::new(place, text).with(Harm::Everything);
        self.problems.push(problem);
    }

    /// Returns the configuration if anything can be sent with it; else every problem.
    pub fn usable(self) -> Result<Config, Vec<Problem>> {
        let is_all = |problem: &Problem| problem.harm == Harm::Everything;
        if self.problems.iter().any(is_all) {
            Err(self.problems)
        } else {
            Ok(self)
        }
    }

    /// Returns the place of the destination with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        let mut destinations = self.destinations.iter();
        destinations.position(|destination| destination.name == name)
    }

    /// Returns true if `enabled = false` mutes this notifier.
    pub fn is_muted(&self, name: &str) -> bool {
        self.muted.iter().any(|(muted, _)| muted == name)
    }

    /// Returns the messages about a configuration that is used despite its problems: one line per notifier
    /// in trouble, and one per problem that concerns no notifier.
    pub fn troubles(&self, which: impl Fn(&Trouble) -> bool) -> Vec<String> {
        let slight = |problem: &&Problem| problem.harm == Harm::Slight;
        let others = self.problems.iter().filter(slight).map(Problem::to_string);
        let troubled = self.destinations.iter().filter_map(|destination| {
            let trouble = destination
                .trouble
                .as_ref()
                .filter(|trouble| which(trouble))?;
            Some(trouble.said_of(&destination.name))
        });
        others.chain(troubled).collect()
    }

    /// Returns true if something is wrong that only a change of the configuration can fix.
    pub fn has_mistakes(&self) -> bool {
        let slight = |problem: &Problem| problem.harm == Harm::Slight;
        let troubled = self
            .destinations
            .iter()
            .filter_map(|destination| destination.trouble.as_ref());
        self.problems.iter().any(slight) || troubled.into_iter().any(Trouble::is_mistake)
    }
}

/// Returns true if a section passes events on to a relay.
fn passes_on(sections: &Sections) -> bool {
    sections.values().any(|section| {
        let mut entries = section.entries.iter();
        let is_off = |value: &str| truth(value.trim()) == Some(false);
        let is_kind = |value: &str| PASSING_ON.contains(&value.trim());
        entries
            .clone()
            .any(|one| one.key == "type" && is_kind(&one.value))
            && !entries.any(|one| one.key == "enabled" && is_off(&one.value))
    })
}

/// Returns true if the spool is on a file system that vanishes.
fn vanishes(delivery: Option<&Section>) -> bool {
    let folder = delivery.and_then(|delivery| delivery.path("spool"));
    let folder = folder.or_else(spool::default_folder);
    folder.is_some_and(|folder| spool::vanishes(&folder))
}

/// Returns the spool's limits as set in `[delivery]`.
fn limits(delivery: &Section) -> Limits {
    let drop_oldest = delivery.choice(
        "overflow",
        false,
        &[("refuse", false), ("drop_oldest", true)],
    );
    Limits {
        max_size: Some(delivery.size("max_size", MAX_SIZE)),
        drop_oldest,
        on_network: delivery.flag("spool_on_network", false),
        check: false,
    }
}
