//! The configuration: levels merged into sections, sections made into destinations, all problems at once.

pub mod advice;
mod binding;
mod command;
pub mod emitters;
mod fingerprint;
mod host;
pub mod ini;
pub mod levels;
mod lines;
mod listing;
pub mod literal;
pub mod section;
mod strays;
pub mod trouble;
pub mod units;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::context::Context;
use crate::destination::Destination;
use crate::group::Grouping;
use crate::http::Http;
use crate::message::{Form, Texts};
use crate::notifier::{KINDS, Kind, Notifier, UNKNOWN, Unready};
use crate::payload::Payload;
use crate::route::{CheckMode, Defaults, Rules};
use crate::secret;
use crate::spool::Limits;
use emitters::Emitters;
use levels::{Level, Search};
use section::{Entry, File, Harm, Origin, Problem, Reads, Section, Shown, truth};
use trouble::Trouble;

/// What the play's vars say in place of the files; see the protocol's `overrides` record.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Overrides {
    pub callback_url: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    #[serde(deserialize_with = "flag_or_text")]
    pub validate_certs: Option<String>,
    /// How often the plays of the run changed them, so that a process that goes on with it names its
    /// destinations as the one before.
    pub generation: u64,
}

/// `max_size` where [delivery] has none.
const MAX_SIZE: u64 = 256 << 20;

/// The four settings that the environment and the play's vars may give.
const OVERRIDABLE: [(&str, &str); 4] = [
    ("callback_url", "ANSIBLE_NOTIFY_CALLBACK_URL"),
    ("username", "ANSIBLE_NOTIFY_USERNAME"),
    ("password", "ANSIBLE_NOTIFY_PASSWORD"),
    ("validate_certs", "ANSIBLE_NOTIFY_VALIDATE_CERTS"),
];

fn flag_or_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    use serde::Deserialize as _;
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// All that the levels together say.
pub struct Config {
    pub destinations: Vec<Destination>,
    /// How long the end of a play may wait for deliveries.
    pub drain: Duration,
    /// What is older is given up.
    pub max_age: Duration,
    /// What is finished is forgotten after this time.
    pub keep: Duration,
    pub limits: Limits,
    /// What was delivered stays in the spool, for `history`.
    pub keep_bodies: bool,
    /// The directory of the spool, where it is not the user's own.
    pub spool: Option<PathBuf>,
    /// Notifiers that `enabled = false` mutes, with their kinds.
    pub muted: Vec<(String, &'static str)>,
    pub levels: Vec<(Level, bool)>,
    /// Every value with its place, for `check-config`.
    pub values: Vec<Shown>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Secrets that are there and were not read.
    pub withheld: Vec<Problem>,
}

/// The spool that a configuration names.
#[derive(Default)]
pub struct NamedSpool {
    /// Its directory, where one is named.
    pub folder: Option<PathBuf>,
    /// The project's file, where that alone names it.
    pub project: Option<PathBuf>,
    /// Files that are not there or cannot be read.
    pub problems: Vec<Problem>,
}

/// How to load the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub search: Search,
    pub overrides: Overrides,
    /// What ansible-runner's settings say, where they come from a running one.
    pub emitters: Emitters,
    /// The settings that the environment may give; all of them where nothing is said.
    pub environment: Option<Vec<String>>,
    /// A person sits at the terminal and can be asked for a password.
    pub may_prompt: bool,
    pub reads: Reads,
    /// Events to try every expression on.
    pub samples: Vec<Context>,
}

impl Options {
    /// Whether the environment may give one of these settings.
    fn allows(&self, keys: &[&str]) -> bool {
        let Some(allowed) = &self.environment else {
            return true;
        };
        allowed.iter().any(|key| keys.contains(&key.as_str()))
    }
}

type Sections = BTreeMap<String, Section>;

/// The sections of all levels, and the problems of some that belong to none.
#[derive(Default)]
struct Merged {
    sections: Sections,
    /// With the name of the section that each concerns.
    problems: Vec<(String, Problem)>,
}

impl Config {
    /// Reads all levels and builds what they name. Never fails: what is wrong is in `problems`.
    pub fn load(options: &Options, http: &Http) -> Config {
        let mut config = Config::empty();
        let Merged {
            mut sections,
            problems,
        } = config.read_levels(options);
        if let Some(settings) = &options.search.runner {
            // They say who is told; only what belongs to no notifier still counts.
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
        let absent = config.place(problems, &sections);
        config.build(sections, &absent, http, &options.samples);
        // A mistake is said once.
        let problems = &config.problems;
        let is_more = |warning: &Problem| problems.iter().all(|one| one.place != warning.place);
        config.warnings.retain(is_more);
        let paths = config.levels.iter().map(|(level, _)| level.path.clone());
        let paths: Vec<PathBuf> = paths.collect();
        listing::sort(&mut config.problems, &paths);
        listing::sort(&mut config.warnings, &paths);
        listing::merge_unread(&mut config.problems);
        let nobody = config.destinations.is_empty() && config.problems.is_empty();
        // What waits in the spool may be for one that is muted or gone; who asks for it says so.
        let is_asked = options.search.runner.is_none() && !options.search.stored;
        if nobody && !had_inputs && is_asked && config.muted.is_empty() {
            config.nobody_to_notify();
        }
        config
    }

    /// What holds where nothing is said.
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
            keep_bodies: false,
            spool: None,
            muted: Vec::new(),
            levels: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            withheld: Vec::new(),
        }
    }

    /// Finds the spool that the configuration names; nothing else of it matters.
    pub fn spool_of(search: Search) -> NamedSpool {
        let options = Options {
            search,
            ..Options::default()
        };
        let mut config = Config::empty();
        let sections = config.read_levels(&options).sections;
        let mut named = NamedSpool {
            problems: std::mem::take(&mut config.problems),
            ..NamedSpool::default()
        };
        let delivery = sections.get("delivery");
        let entry = delivery
            .iter()
            .flat_map(|delivery| &delivery.entries)
            .find(|entry| entry.key == "spool");
        let (Some(delivery), Some(entry)) = (delivery, entry) else {
            return named;
        };
        named.folder = delivery.path("spool");
        let project = config.levels.iter().find(|(level, _)| {
            let here =
                matches!(&entry.origin, Origin::File { file, .. } if file.path == level.path);
            here && level.name == "project"
        });
        let project = project.filter(|_| named.folder.is_some());
        named.project = project.map(|(level, _)| level.path.clone());
        named
    }

    /// The sections of all levels together.
    fn read_levels(&mut self, options: &Options) -> Merged {
        let (levels, passed_over) = options.search.levels();
        for text in passed_over {
            self.warnings.push(Problem::new("configuration", text));
        }
        let mut merged = Merged::default();
        for level in levels {
            self.read_level(level, &mut merged);
        }
        let own = self.levels.last().filter(|(level, _)| level.is_own());
        let own = own.map(|(level, _)| level.path.as_path());
        apply_overrides(&mut merged.sections, options, own);
        merged
    }

    fn read_level(&mut self, level: Level, merged: &mut Merged) {
        let place = level.path.display().to_string();
        let content = match levels::read(&level.path) {
            Ok(Some(content)) => content,
            Ok(None) => {
                if let Some(problem) = level.missing {
                    self.problem(&place, problem);
                }
                self.levels.push((level, false));
                return;
            }
            Err(reason) => {
                self.problem(&place, reason);
                self.levels.push((level, false));
                return;
            }
        };
        let file = Rc::new(File {
            path: level.path.clone(),
            exposed: content.exposed,
        });
        self.levels.push((level, true));
        match ini::parse(&content.bytes) {
            Ok(raw) => self.merge(&file, raw, merged),
            Err(faults) => {
                for fault in faults {
                    self.problem(&format!("{place}:{}", fault.line), fault.text);
                }
            }
        }
    }

    fn merge(&mut self, file: &Rc<File>, raw: Vec<ini::RawSection>, into: &mut Merged) {
        let cuts_off = raw
            .iter()
            .filter(|section| section.name == "inputs")
            .flat_map(|section| &section.entries)
            .any(|entry| entry.key == "inherit" && truth(&entry.value) == Some(false));
        if cuts_off {
            *into = Merged::default();
        }
        for section in raw {
            let at = |line| Origin::File {
                file: file.clone(),
                line,
            };
            let origin = at(section.line);
            if !is_section(&section.name) {
                let (concerned, text) = strays::unknown(&section.name);
                let problem = Problem::new(origin.to_string(), text);
                into.problems.push((concerned, problem));
                continue;
            }
            for fault in section.faults {
                let problem = Problem::new(at(fault.line).to_string(), fault.text);
                let problem = problem.with(Harm::of(&fault.key));
                into.problems.push((section.name.clone(), problem));
            }
            let merged = into
                .sections
                .entry(section.name.clone())
                .or_insert_with(|| Section::new(&section.name, origin));
            for entry in section.entries {
                if [" ;", " #"].iter().any(|mark| entry.value.contains(mark)) {
                    let text = format!(
                        "the value of `{}` holds what looks like a comment; a comment stands on a line of its own",
                        entry.key
                    );
                    let place = at(entry.line).to_string();
                    self.warnings.push(Problem::new(place, text));
                }
                let continued = entry.continued;
                let entry = Entry {
                    key: entry.key,
                    value: entry.value,
                    origin: at(entry.line),
                };
                merged.set_continued(entry, continued);
            }
            merged.bind(
                |origin| matches!(origin, Origin::File { file: from, .. } if Rc::ptr_eq(from, file)),
            );
        }
    }

    fn build(
        &mut self,
        mut sections: Sections,
        absent: &[String],
        http: &Http,
        samples: &[Context],
    ) {
        if let Some(delivery) = sections.remove("delivery") {
            self.read_delivery(&delivery);
        }
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
            self.destination(section, output, http, samples);
        }
        for output in outputs.values() {
            // [outputs] alone is fine: the play's vars may bring the URL.
            if output.name != "outputs" {
                self.collect(output);
            }
        }
    }

    /// What belongs to no notifier. With a mistake in it, nothing is given up or forgotten any earlier than
    /// may have been meant.
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
        self.limits = limits(delivery);
        self.spool = delivery.path("spool");
        delivery.report_unknown();
        let begin = self.problems.len();
        self.collect(delivery);
        for problem in &mut self.problems[begin..] {
            problem.harm = Harm::Slight;
        }
    }

    /// Gives the problems that were found beside the sections to those that they concern; gives the names of
    /// those that are not there.
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
            "nobody to notify: set `callback_url` in [inputs], or add a [notifier:NAME]; `ansible-notify init` writes an example",
        );
    }

    /// Makes a notifier's section into a destination.
    fn destination(
        &mut self,
        section: Section,
        output: Option<Section>,
        http: &Http,
        samples: &[Context],
    ) {
        let begin = self.problems.len();
        let payload = Payload::new(output.as_ref());
        if section.name == "notifier:callback" {
            section.problem(
                "",
                "[inputs] is the notifier `callback`; give this one another name",
            );
        }
        let enabled = section.flag("enabled", true);
        section.flag("inherit", true);
        let main = section.name == "inputs";
        let kind = if main {
            Some(&crate::notifier::webhook::KIND)
        } else {
            kind_of(&section)
        };
        let default = Defaults {
            on: if main {
                &["ok", "failed", "skipped", "unreachable"]
            } else {
                &["error", "success"]
            },
            check_mode: match kind {
                Some(kind) if crate::notifier::WAKING.contains(&kind.name) => CheckMode::Exclude,
                _ => CheckMode::Include,
            },
        };
        let rules = Rules::new(&section, default);
        let samples = rules.samples(samples);
        if let Some(output) = &output {
            payload.try_on(output, &samples);
            self.collect(output);
        }
        rules.try_on(&section, &samples);
        let known = kind.unwrap_or(&UNKNOWN);
        let texts = Texts::new(&section, known.form);
        texts.try_on(&section, &samples);
        let batches = kind.is_some_and(|kind| kind.form == Form::Data);
        let grouping = Grouping::new(&section, batches);
        let concurrency = section.count("concurrency", 16, 64);
        let verbatim = section
            .entries
            .iter()
            .any(|entry| entry.key == "format" && entry.value.eq_ignore_ascii_case("runner"));
        let notifier = kind.and_then(|kind| (kind.build)(&section, http));
        if kind.is_some() {
            section.report_unknown();
        }
        self.collect(&section);
        let withheld = section.withheld().into_iter().next();
        let withheld = withheld.filter(|_| notifier.is_none());
        let withheld = withheld.map(|note| note.with(Harm::Unread));
        let trouble = Trouble::of(&self.problems[begin..]);
        let trouble = trouble.or_else(|| Trouble::of(withheld.as_slice()));
        let notifier = match &trouble {
            Some(trouble) => Some(Rc::new(Unready(trouble.reason.clone())) as Rc<dyn Notifier>),
            None => notifier,
        };
        if let Some(notifier) = notifier {
            let name = section
                .name
                .strip_prefix("notifier:")
                .unwrap_or("callback")
                .to_owned();
            if !enabled {
                return self.muted.push((name, known.name));
            }
            self.destinations.push(Destination {
                name,
                kind: known,
                rules: rules.unless(trouble.as_ref().is_some_and(Trouble::takes_nothing)),
                payload,
                texts,
                grouping,
                mapped: output.is_some(),
                concurrency,
                verbatim,
                max_age: self.max_age,
                drain: self.drain,
                keep_bodies: self.keep_bodies,
                notifier,
                trouble,
                section,
            });
        }
    }

    fn collect(&mut self, section: &Section) {
        self.values.extend(section.shown());
        self.problems.extend(section.take_problems());
        self.warnings.extend(section.take_warnings());
        self.withheld.extend(section.withheld());
    }

    fn problem(&mut self, place: &str, text: impl Into<String>) {
        let problem = Problem::new(place, text).with(Harm::Everything);
        self.problems.push(problem);
    }

    /// The configuration, if something can be sent with it; else every problem.
    pub fn usable(self) -> Result<Config, Vec<Problem>> {
        let is_all = |problem: &Problem| problem.harm == Harm::Everything;
        if self.problems.iter().any(is_all) {
            Err(self.problems)
        } else {
            Ok(self)
        }
    }

    /// Says whether `enabled = false` mutes this notifier.
    pub fn is_muted(&self, name: &str) -> bool {
        self.muted.iter().any(|(muted, _)| muted == name)
    }

    /// What to say of a configuration that is used with its problems: a line for each notifier in trouble,
    /// and one for each problem of nobody's.
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

    /// Whether something is wrong that only a change of the configuration can mend.
    pub fn has_mistakes(&self) -> bool {
        let slight = |problem: &Problem| problem.harm == Harm::Slight;
        let troubled = self
            .destinations
            .iter()
            .filter_map(|destination| destination.trouble.as_ref());
        self.problems.iter().any(slight) || troubled.into_iter().any(Trouble::is_mistake)
    }
}

/// What [delivery] says of the spool.
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

fn is_section(name: &str) -> bool {
    let named = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest: &str| !rest.trim().is_empty())
    };
    matches!(name, "inputs" | "outputs" | "delivery") || named("notifier:") || named("outputs:")
}

fn kind_of(section: &Section) -> Option<&'static Kind> {
    let Some(name) = section.text("type") else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        section.problem(
            "",
            format!(
                "[{}] has no `type`; set it to one of: {}",
                section.name,
                names.join(", ")
            ),
        );
        return None;
    };
    let kind = KINDS.iter().copied().find(|kind| kind.name == name);
    if kind.is_none() {
        section.problem("type", advice::unknown_kind(name));
    }
    kind
}

/// The environment wins over the files, the play's vars over both. The environment is the user's own: an
/// address that it gives gets the credentials of the files. A play may be somebody else's: it gets those of
/// `own`, the file of its project, where no file has an address.
fn apply_overrides(sections: &mut Sections, options: &Options, own: Option<&Path>) {
    let from_environment = |(key, variable): (&'static str, &'static str)| {
        let value = std::env::var(variable).ok();
        let value = value.filter(|value| !value.is_empty() && options.allows(&[key]));
        value.map(|value| (key, value, Origin::Environment(variable)))
    };
    let given = OVERRIDABLE
        .into_iter()
        .filter_map(from_environment)
        .collect();
    override_inputs(sections, given, |_| true);
    let overrides = &options.overrides;
    let from_play = [
        &overrides.callback_url,
        &overrides.username,
        &overrides.password,
        &overrides.validate_certs,
    ];
    let keys = OVERRIDABLE.into_iter().zip(from_play);
    let given = keys
        .filter_map(|((key, _), value)| Some((key, value.clone()?, Origin::Play)))
        .collect();
    let inputs = sections.get("inputs");
    let lacks_address = !inputs.is_some_and(|section| section.is_given("callback_url"));
    let is_own = |path: &Path| lacks_address && own == Some(path);
    override_inputs(sections, given, |origin| match origin {
        Origin::File { file, .. } => is_own(&file.path),
        origin => matches!(origin, Origin::Play),
    });
}

/// Sets keys of [inputs]; those that come from where `bound` says belong to the address that it has then.
fn override_inputs(
    sections: &mut Sections,
    given: Vec<(&'static str, String, Origin)>,
    bound: impl Fn(&Origin) -> bool,
) {
    let Some((_, _, origin)) = given.first() else {
        return;
    };
    let section = sections
        .entry("inputs".to_owned())
        .or_insert_with(|| Section::new("inputs", origin.clone()));
    let addressed = given.iter().any(|(key, ..)| *key == "callback_url");
    for (key, value, origin) in given {
        if key == "password" {
            secret::mask(&value);
        }
        section.set(Entry {
            key: key.to_owned(),
            value,
            origin,
        });
    }
    section.bind(|origin| bound(origin) && (addressed || origin.is_passing()));
}
