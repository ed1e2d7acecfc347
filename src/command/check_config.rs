//! `check-config`: reports every problem of every level in one run, and the origin of each value.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli;
use crate::config::Options;
use crate::config::entry::Shown;
use crate::config::problem::Problem;
use crate::console::stderr;
use crate::console::stdout;
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
        reads: super::reads(!arguments.connect && !arguments.run_commands),
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
    if arguments.json {
        let mut shown = as_json(&config, &connections, good);
        secret::redact_values(&mut shown);
        stdout::show_json(&format!("{shown:#}\n"));
    } else {
        stdout::show(&secret::redact(&as_text(&config, &connections, good)));
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

fn as_text(config: &Config, connections: &[(String, Check)], good: bool) -> String {
    let mut text = String::new();
    for (level, read) in &config.levels {
        let state = if *read { "read" } else { "not found" };
        let _ = writeln!(
            text,
            "{:<12}  {}  ({state})",
            level.name,
            level.path.display()
        );
    }
    let mut section = "";
    for value in &config.values {
        if value.section != section {
            section = &value.section;
            let _ = writeln!(text, "\n[{section}]");
        }
        let shown = value.value.replace('\n', "\n    ");
        let _ = writeln!(text, "{} = {shown}  ({})", value.key, value.place);
    }
    text.push('\n');
    for destination in &config.destinations {
        let _ = writeln!(
            text,
            "notifier {}: {} ({})",
            destination.name, destination.kind.name, destination.kind.about
        );
    }
    for note in &config.withheld {
        let _ = writeln!(text, "{note}");
    }
    for (name, check) in connections {
        for step in &check.steps {
            let _ = writeln!(text, "{name}: {step}");
        }
    }
    if good {
        let _ = writeln!(text, "configuration OK");
    }
    text
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

fn as_json(config: &Config, connections: &[(String, Check)], good: bool) -> Value {
    let levels: Vec<_> = config
        .levels
        .iter()
        .map(|(level, read)| json!({"level": level.name, "path": level.path.to_string_lossy(), "read": read}))
        .collect();
    let notifiers: Vec<_> = config
        .destinations
        .iter()
        .map(|destination| json!({"name": destination.name, "type": destination.kind.name}))
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
