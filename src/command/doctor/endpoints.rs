//! The configuration that the plugin would use, and the endpoints in it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::{JoinSet, LocalSet};

use super::Finding;
use super::ansible::Probe;
use super::plugin::Plugins;
use crate::cli;
use crate::command::flush::trust::is_all_of;
use crate::config::Options;
use crate::config::entry::{Origin, Reads};
use crate::config::levels::{FILE_NAME, Search};
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::event::sample;
use crate::exit::Exit;
use crate::failure::Check;
use crate::net::http::Http;
use crate::system::home;
use crate::template::context::Context;

/// Maximum number of problems that are listed one by one.
const MOST: usize = 5;

/// The configuration.
pub struct Configured {
    pub config: Config,
    /// The project's file, if the user did not name it: it may be someone else's.
    stranger: Option<PathBuf>,
    /// The same configuration without secrets from other places.
    bare: Config,
}

impl Configured {
    /// Loads it as the plugin would.
    pub fn load(
        arguments: &cli::Doctor,
        plugins: &Plugins,
        probe: &Probe,
        project: &Path,
    ) -> Configured {
        let named = &arguments.configuration;
        let is_named = named.config.is_some()
            || named.project.is_some()
            || home::variable("ANSIBLE_NOTIFY_CONFIG").is_some();
        let search = match is_named {
            true => named.search(),
            false => search(plugins, probe, project).unwrap_or_else(|| named.search()),
        };
        let reads = |reads| Options {
            search: search.clone(),
            reads,
            may_prompt: arguments.connect && std::io::stderr().is_terminal(),
            ..Options::default()
        };
        let samples = sample::all().into_iter();
        let samples: Vec<Context> = samples.map(|event| Context::new(Arc::new(event))).collect();
        let read = match arguments.connect {
            true => Reads::All,
            false => Reads::NoCommands,
        };
        let config = Config::load(&reads(read), &samples, &Http::default());
        let own = config
            .levels
            .iter()
            .find(|(level, read)| level.is_own() && *read);
        Configured {
            stranger: own
                .map(|(level, _)| level.path.clone())
                .filter(|_| !is_named),
            bare: Config::load(
                &Options {
                    may_prompt: false,
                    ..reads(Reads::None)
                },
                &[],
                &Http::default(),
            ),
            config,
        }
    }

    /// Returns the findings about the files.
    pub fn findings(&self) -> Vec<Finding> {
        let (check, config) = ("configuration", &self.config);
        let all = "`ansible-notify check-config` shows every value and problem";
        let mut findings: Vec<Finding> = config
            .problems
            .iter()
            .take(MOST)
            .map(|problem| Finding::problem(check, problem.to_string(), Exit::Config).advise(all))
            .collect();
        if let Some(more) = config.problems.len().checked_sub(MOST + 1) {
            let text = format!("{} further problems", more + 1);
            findings.push(Finding::problem(check, text, Exit::Config).advise(all));
        }
        if findings.is_empty() {
            findings.push(Finding::ok(check, self.summary()));
        }
        let warnings = config.warnings.iter().map(ToString::to_string);
        let muted = crate::command::muted(config);
        findings.extend(warnings.chain(muted).map(|text| Finding::note(check, text)));
        findings
    }

    fn summary(&self) -> String {
        let destinations = self.config.destinations.iter();
        let kinds = destinations.map(|one| format!("{} ({})", one.name, one.kind.name));
        let levels = self.config.levels.iter().filter(|(_, read)| *read);
        let files = levels.map(|(level, _)| level.path.display().to_string());
        let (kinds, files): (Vec<String>, Vec<String>) = (kinds.collect(), files.collect());
        let kinds = match kinds.is_empty() {
            true => "no active notifier".to_owned(),
            false => kinds.join(", "),
        };
        format!("{kinds} in {}", files.join(", "))
    }

    /// Contacts each endpoint without notifying anyone, and returns the findings.
    pub async fn endpoints(&self, connect: bool) -> Vec<Finding> {
        let mut findings: Vec<Option<Finding>> = Vec::new();
        let mut asked = JoinSet::new();
        let local = LocalSet::new();
        for (at, destination) in self.config.destinations.iter().enumerate() {
            let refused = self.refusal(destination, connect);
            if refused.is_none() {
                let notifier = destination.notifier.clone();
                asked.spawn_local_on(async move { (at, notifier.check().await) }, &local);
            }
            findings.push(refused);
        }
        local
            .run_until(async {
                while let Some(answer) = asked.join_next().await {
                    let Ok((at, check)) = answer else { continue };
                    findings[at] = Some(judged(&self.config.destinations[at], &check));
                }
            })
            .await;
        findings.into_iter().flatten().collect()
    }

    /// Returns the reason not to contact an endpoint, if any.
    fn refusal(&self, destination: &Destination, connect: bool) -> Option<Finding> {
        let (check, name) = ("endpoint", &destination.name);
        if let Some(note) = destination.section.withheld().first() {
            let text = format!("{name}: not contacted: {note}");
            return Some(
                Finding::note(check, text)
                    .advise("`doctor --connect` runs it and contacts the endpoint"),
            );
        }
        if let Some(trouble) = &destination.trouble {
            // Already listed among the problems of the configuration.
            let text = format!("{name}: not contacted: {}", trouble.reason);
            return Some(Finding::note(check, text));
        }
        let file = self.stranger.as_deref().filter(|_| !connect)?;
        let is_here = |origin: &Origin| matches!(origin, Origin::File { file: from, .. } if from.path == file);
        let touches = destination.section.origins().any(is_here);
        let bare = self
            .bare
            .position(name)
            .map(|at| &self.bare.destinations[at]);
        let is_alone = bare.is_some_and(|bare| is_all_of(&bare.section, file));
        let text = format!(
            "{name}: not contacted: the file here would send it settings or secrets from other files"
        );
        let advice = "if you trust the file, run `doctor --connect`";
        (touches && !is_alone).then(|| Finding::note(check, text).advise(advice))
    }
}

/// Returns the plugin's search for the project's file, if it differs from the usual one.
fn search(plugins: &Plugins, probe: &Probe, project: &Path) -> Option<Search> {
    let option = probe
        .answer()
        .and_then(|answer| answer.options.get("config"));
    if let Some(path) = option.filter(|path| !path.is_empty()) {
        let path = super::plugin::expanded(Path::new(path));
        return Some(Search {
            config: Some(path),
            ..Search::default()
        });
    }
    let beside = plugins.used.as_ref()?.parent()?;
    let is_usual = beside == project.join("callback_plugins") || beside == project;
    (!is_usual && beside.join(FILE_NAME).is_file()).then(|| Search {
        project: Some(beside.to_owned()),
        ..Search::default()
    })
}

/// Judges the answer of an endpoint.
fn judged(destination: &Destination, check: &Check) -> Finding {
    let name = &destination.name;
    match &check.error {
        Some(error) => {
            let text = format!("{name}: {error}");
            let advice = "`ansible-notify check-config --connect` shows each step";
            Finding::problem("endpoint", text, Exit::Undelivered).advise(advice)
        }
        None => {
            let step = check.steps.last().map_or("answers", String::as_str);
            Finding::ok("endpoint", format!("{name}: {step}"))
        }
    }
}
