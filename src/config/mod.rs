//! The configuration as written: files of several levels merged into sections, with their mistakes.

pub mod advice;
mod binding;
pub mod checked;
pub mod command;
pub mod emitters;
pub mod entry;
pub mod event;
mod fingerprint;
mod host;
pub mod ini;
pub mod levels;
mod lines;
pub mod listing;
pub mod literal;
pub mod mask;
mod mentions;
mod misread;
pub mod otel;
pub mod problem;
pub mod secrets;
pub mod section;
pub mod single;
pub mod strays;
mod times;
pub mod trouble;
pub mod units;
mod unknown;
pub mod vault;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::secret;
use emitters::Emitters;
use entry::{Entry, File, Origin, Reads};
use levels::{Level, Search};
use problem::{Harm, Problem};
use section::{Section, truth};
use vault::Vault;

/// Settings from the play's vars that replace those of the files; see the protocol's `overrides` record.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Overrides {
    pub callback_url: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    #[serde(deserialize_with = "flag_or_text")]
    pub validate_certs: Option<String>,
    /// Number of times the plays of the run changed them: a process that resumes the run then names its
    /// destinations like the previous one.
    pub generation: u64,
}

/// The four settings that the environment and the play's vars may override.
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

/// Options for loading the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub search: Search,
    pub overrides: Overrides,
    /// Settings passed on by a running ansible-runner.
    pub emitters: Emitters,
    /// Settings that the environment may give; None allows all.
    pub environment: Option<Vec<String>>,
    /// True if a user at the terminal can be asked for a password.
    pub may_prompt: bool,
    pub reads: Reads,
}

impl Options {
    /// Returns true if the environment may give one of these settings.
    pub fn allows(&self, keys: &[&str]) -> bool {
        let Some(allowed) = &self.environment else {
            return true;
        };
        allowed.iter().any(|key| keys.contains(&key.as_str()))
    }
}

/// Sections by their names, without brackets.
pub type Sections = BTreeMap<String, Section>;

/// Merged content of all levels, before it is interpreted.
#[derive(Default)]
pub struct Reading {
    pub sections: Sections,
    /// Problems of sections that do not exist, or not yet, each with the name of its section.
    pub of_sections: Vec<(String, Problem)>,
    /// The `[secret:NAME]` sections.
    pub vault: Vault,
    /// The `[mask]` section of each level that has one.
    pub masks: Vec<Section>,
    /// Every level; true if its file could be read.
    pub levels: Vec<(Level, bool)>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Allowed values of `type`.
    kinds: Vec<&'static str>,
}

/// The spool that a configuration names.
#[derive(Default)]
pub struct NamedSpool {
    /// Directory of the spool, if one is named.
    pub folder: Option<PathBuf>,
    /// The project's file, if no other level names the spool.
    pub project: Option<PathBuf>,
    /// Files that do not exist or cannot be read.
    pub problems: Vec<Problem>,
}

/// Finds the spool that the configuration names, ignoring all other settings.
pub fn spool_of(search: Search) -> NamedSpool {
    let options = Options {
        search,
        ..Options::default()
    };
    let read = Reading::new(&options, Vec::new());
    let mut named = NamedSpool {
        problems: read.problems,
        ..NamedSpool::default()
    };
    let delivery = read.sections.get("delivery");
    let entry = delivery
        .iter()
        .flat_map(|delivery| &delivery.entries)
        .find(|entry| entry.key == "spool");
    let (Some(delivery), Some(entry)) = (delivery, entry) else {
        return named;
    };
    named.folder = delivery.path("spool");
    let project = read.levels.iter().find(|(level, _)| {
        let here = matches!(&entry.origin, Origin::File { file, .. } if file.path == level.path);
        here && level.name == "project"
    });
    let project = project.filter(|_| named.folder.is_some());
    named.project = project.map(|(level, _)| level.path.clone());
    named
}

impl Reading {
    /// Reads all levels. `kinds` are the allowed values of `type`.
    pub fn new(options: &Options, kinds: Vec<&'static str>) -> Reading {
        let mut read = Reading {
            kinds,
            ..Reading::default()
        };
        read.read_levels(options);
        read
    }

    /// Reads a text as the only configuration file, at `path`.
    pub fn of_text(path: &Path, text: &str, kinds: Vec<&'static str>) -> Reading {
        let mut read = Reading {
            kinds,
            ..Reading::default()
        };
        let file = Rc::new(File {
            path: path.to_owned(),
            exposed: None,
        });
        read.parse(&file, text.as_bytes());
        read
    }

    fn read_levels(&mut self, options: &Options) {
        let (levels, passed_over) = options.search.levels();
        for text in passed_over {
            self.warnings.push(Problem::new("configuration", text));
        }
        for level in levels {
            self.read_level(level);
        }
        let own = self.levels.last().filter(|(level, _)| level.is_own());
        let own = own.map(|(level, _)| level.path.as_path());
        apply_overrides(&mut self.sections, options, own);
    }

    fn read_level(&mut self, level: Level) {
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
        self.parse(&file, &content.bytes);
    }

    fn parse(&mut self, file: &Rc<File>, bytes: &[u8]) {
        match ini::parse(bytes) {
            Ok(raw) => self.merge(file, raw),
            Err(faults) => {
                let place = file.path.display();
                for fault in faults {
                    self.problem(&format!("{place}:{}", fault.line), fault.text);
                }
            }
        }
    }

    fn merge(&mut self, file: &Rc<File>, raw: Vec<ini::RawSection>) {
        let cuts_off = raw
            .iter()
            .filter(|section| section.name == "inputs")
            .flat_map(|section| &section.entries)
            .any(|entry| entry.key == "inherit" && truth(&entry.value) == Some(false));
        if cuts_off {
            self.sections.clear();
            self.of_sections.clear();
            self.vault.clear();
        }
        let (secrets, raw): (Vec<_>, Vec<_>) = raw.into_iter().partition(is_secret);
        for section in secrets {
            let section = section_of(file, section);
            self.vault.add(section);
        }
        for section in raw {
            let at = |line| Origin::File {
                file: file.clone(),
                line,
            };
            let origin = at(section.line);
            if !is_section(&section.name) {
                let (concerned, text) = strays::unknown(&section.name, &self.kinds);
                if concerned == mask::NAME {
                    self.problem(&origin.to_string(), text);
                    continue;
                }
                let problem = Problem::new(origin.to_string(), text);
                self.of_sections.push((concerned, problem));
                continue;
            }
            if section.name == mask::NAME {
                self.add_mask(file, section);
                continue;
            }
            for fault in section.faults {
                let problem = Problem::new(at(fault.line).to_string(), fault.text);
                let problem = problem.with(Harm::of(&fault.key));
                self.of_sections.push((section.name.clone(), problem));
            }
            let merged = self
                .sections
                .entry(section.name.clone())
                .or_insert_with(|| Section::new(&section.name, origin));
            for entry in section.entries {
                if seems_commented(&entry.value) {
                    let text = format!(
                        "the value of `{}` contains what looks like a comment; put a comment on a line of its own",
                        entry.key
                    );
                    let place = at(entry.line).to_string();
                    self.warnings.push(Problem::new(place, text));
                }
                merged.add(file, entry, Some(&self.vault));
            }
            merged.bind(
                |origin| matches!(origin, Origin::File { file: from, .. } if Rc::ptr_eq(from, file)),
            );
        }
    }

    /// Adds the `[mask]` of a level to those of the others.
    fn add_mask(&mut self, file: &Rc<File>, raw: ini::RawSection) {
        let section = section_of(file, raw);
        for problem in section.take_problems() {
            self.problems.push(problem.with(Harm::Everything));
        }
        self.masks.push(section);
    }

    fn problem(&mut self, place: &str, text: impl Into<String>) {
        let problem = Problem::new(place, text).with(Harm::Everything);
        self.problems.push(problem);
    }
}

/// Returns true if a value contains what looks like a comment. A template after the mark is text, as in
/// AWX's `Job #{{ job.id }}`.
fn seems_commented(value: &str) -> bool {
    let mut marks = [" ;", " #"]
        .into_iter()
        .flat_map(|mark| value.match_indices(mark));
    marks.any(|(at, mark)| !value[at + mark.len()..].starts_with("{{"))
}

/// Returns true for a section with a named secret.
fn is_secret(section: &ini::RawSection) -> bool {
    let name = section.name.strip_prefix(vault::PREFIX);
    name.is_some_and(|name| !name.trim().is_empty())
}

/// Returns a section that belongs to one file alone.
fn section_of(file: &Rc<File>, raw: ini::RawSection) -> Section {
    let at = |line| Origin::File {
        file: file.clone(),
        line,
    };
    let mut section = Section::new(&raw.name, at(raw.line));
    for entry in raw.entries {
        section.add(file, entry, None);
    }
    for fault in raw.faults {
        section.note(Problem::new(at(fault.line).to_string(), fault.text));
    }
    section
}

fn is_section(name: &str) -> bool {
    let named = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest: &str| !rest.trim().is_empty())
    };
    matches!(
        name,
        "inputs" | "outputs" | "delivery" | "page" | event::NAME | mask::NAME
    ) || named("notifier:")
        || named("outputs:")
        || named("time:")
}

/// Applies overrides: the environment wins over the files, and the play's vars win over both. The
/// environment is the user's own, so an address from it gets the credentials of the files. A play may be
/// somebody else's: its address gets only those of `own`, the file of its project, and only if no file has
/// an address.
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
    for section in sections.values_mut() {
        otel::apply(section, options);
    }
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

/// Sets keys of `[inputs]`; values whose origin is `bound` are then bound to the resulting address.
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
