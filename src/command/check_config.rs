//! `check-config`: reports every problem of every level in one run, and the origin of each value.

use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli;
use crate::command::config_table;
use crate::command::timing::Timing;
use crate::config::Options;
use crate::config::entry::Reads;
use crate::config::entry::Shown;
use crate::config::problem::Problem;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::delivery::setup::Config;
use crate::event::sample;
use crate::exit::Exit;
use crate::failure::Check;
use crate::net::http::Http;
use crate::secret;
use crate::spool::{self, default_folder};
use crate::template::context::Context;

/// Runs `check-config`: prints the settings with their origins, and every problem.
pub async fn run(arguments: cli::CheckConfig) -> Exit {
    let options = Options {
        search: arguments.configuration.search(),
        reads: match arguments.connect || arguments.run_commands {
            true => Reads::All,
            false => Reads::NoCommands,
        },
        may_prompt: arguments.connect && std::io::stderr().is_terminal(),
        ..Options::default()
    };
    let samples = sample::all().into_iter();
    let samples: Vec<Context> = samples.map(|event| Context::new(Arc::new(event))).collect();
    let mut config = Config::load(&options, &samples, &Http::default());
    check_spool(&mut config);
    let mut connections = Vec::new();
    if arguments.connect && config.problems.is_empty() {
        for destination in &config.destinations {
            connections.push((destination.name.clone(), destination.notifier.check().await));
        }
    }
    let good =
        config.problems.is_empty() && connections.iter().all(|(_, check)| check.error.is_none());
    let timing = Timing::of(&config);
    if arguments.json {
        let mut shown = as_json(&config, &timing, &connections, good);
        secret::redact_values(&mut shown);
        stdout::show_json(&format!("{shown:#}\n"));
    } else {
        stdout::show_styled(&as_text(&config, &timing, &connections));
        complain(&config, &connections);
    }
    if good { Exit::Ok } else { Exit::Config }
}

/// Reports an unusable spool. A play continues without its spool, from memory, but a user looking for
/// mistakes wants to know.
fn check_spool(config: &mut Config) {
    let Some(folder) = config.spool.clone().or_else(default_folder) else {
        return;
    };
    let Err(error) = spool::check_folder(&folder, &config.limits) else {
        return;
    };
    let spool = |value: &&Shown| value.section == "delivery" && value.key == "spool";
    match config.values.iter().find(spool) {
        Some(value) => {
            let problem = Problem::new(&value.place, format!("`spool`: {error:#}"));
            config.problems.push(problem);
        }
        None => {
            let text = format!("{error:#}; set `spool` in [delivery]");
            config.warnings.push(Problem::new("spool", text));
        }
    }
}

fn as_text(config: &Config, timing: &Timing, connections: &[(String, Check)]) -> Vec<Styled> {
    let mut parts = vec![verdict(config, connections)];
    for destination in &config.destinations {
        parts.push(Styled::Plain(format!(
            "notifier {}: {} ({})\n",
            destination.name, destination.kind.name, destination.kind.about
        )));
        let rules = timing.rules(destination).into_iter();
        parts.extend(rules.map(|rule| Styled::Plain(format!("  {rule}\n"))));
    }
    let withheld = config.withheld.iter().map(|note| format!("{note}\n"));
    parts.extend(withheld.map(Styled::Plain));
    parts.extend(connections.iter().flat_map(steps));
    parts.extend(config_table::of(config));
    parts
}

/// Returns the lines of a check; one that failed ends with the reason, marked as such.
fn steps((name, check): &(String, Check)) -> Vec<Styled> {
    let done = check.steps.iter();
    let done = done.map(|step| Styled::Plain(format!("{name}: {step}\n")));
    let failed = check.error.iter();
    let failed = failed.map(|error| Styled::Bad(format!("{name}: failed: {error}\n")));
    done.chain(failed).collect()
}

/// Returns the first line: the verdict, with the numbers of problems and warnings.
fn verdict(config: &Config, connections: &[(String, Check)]) -> Styled {
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    let failed = connections
        .iter()
        .filter(|(_, check)| check.error.is_some());
    let wrong = [
        counted(config.problems.len(), "problem"),
        counted(failed.count(), "failed check"),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    match wrong.is_empty() {
        true => Styled::Good("configuration OK\n".to_owned()),
        false => Styled::Bad(format!("configuration not OK: {}\n", wrong.join(", "))),
    }
}

fn complain(config: &Config, connections: &[(String, Check)]) {
    for warning in &config.warnings {
        stderr::say(format!("warning: {warning}"));
    }
    for problem in &config.problems {
        stderr::say(problem);
    }
    for (name, check) in connections {
        if let Some(error) = &check.error {
            stderr::say(format!("{name}: {error}"));
        }
    }
}

fn as_json(config: &Config, timing: &Timing, connections: &[(String, Check)], good: bool) -> Value {
    let levels: Vec<_> = config
        .levels
        .iter()
        .map(|(level, read)| json!({"level": level.name, "path": level.path.to_string_lossy(), "read": read}))
        .collect();
    let notifiers: Vec<_> = config
        .destinations
        .iter()
        .map(|destination| {
            json!({"name": destination.name, "type": destination.kind.name, "timing": timing.rules(destination)})
        })
        .collect();
    let connections: Vec<_> = connections
        .iter()
        .map(|(name, check)| json!({"notifier": name, "steps": check.steps, "error": check.error}))
        .collect();
    json!({
        "ok": good,
        "levels": levels,
        "values": config.values,
        "notifiers": notifiers,
        "connections": connections,
        "not_read": config.withheld,
        "problems": config.problems,
        "warnings": config.warnings,
    })
}
