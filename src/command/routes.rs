//! `routes`: shows which notifiers an event would reach, and why others are skipped.

use std::sync::Arc;

use serde_json::json;

use crate::cli;
use crate::command::send::Input;
use crate::command::timing::Timing;
use crate::config::Options;
use crate::config::entry::Reads;
use crate::console::stderr;
use crate::console::stdout;
use crate::delivery::setup::Config;
use crate::event::Event;
use crate::exit::Exit;
use crate::net::http::Http;
use crate::template::context::Context;

/// Runs `routes`: prints which notifiers want each event, and why.
pub async fn run(arguments: cli::Routes) -> Exit {
    let options = Options {
        search: arguments.configuration.search(),
        reads: match arguments.run_commands {
            true => Reads::All,
            false => Reads::NoCommands,
        },
        ..Options::default()
    };
    let config = match super::load(&options, &Http::default()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    config.withheld.iter().for_each(stderr::say);
    let timing = Timing::of(&config);
    let mut input = Input::new(&config);
    for file in &arguments.files {
        let show = async |event| {
            if let Some(event) = event {
                show(event, &config, &timing, arguments.json);
            }
        };
        input.read(file, show).await;
    }
    super::report_mistakes(&config, input.exit)
}

fn show(event: Event, config: &Config, timing: &Timing, as_json: bool) {
    let context = Context::new(Arc::new(config.labels.apply(event)));
    let routes = config.destinations.iter().map(|destination| {
        let (wanted, mut reason) = destination.rules.explain(&context);
        for rule in timing.rules(destination).iter().filter(|_| wanted) {
            reason.push_str(&format!("; {rule}"));
        }
        (
            destination.name.as_str(),
            destination.kind.name,
            wanted,
            reason,
        )
    });
    let muted = config.muted.iter().map(|(name, kind)| {
        (
            name.as_str(),
            *kind,
            false,
            "it is turned off by `enabled = false`".to_owned(),
        )
    });
    let event = context.event();
    if as_json {
        let routes = routes.chain(muted).map(|(name, kind, wanted, reason)| {
            json!({"notifier": name, "type": kind, "wanted": wanted, "reason": reason})
        });
        let routes: Vec<serde_json::Value> = routes.collect();
        stdout::show_json(&format!(
            "{}\n",
            json!({"id": event.id, "event": event.event, "routes": routes})
        ));
    } else {
        let task = event.task.as_ref().map_or("", |task| &task.name);
        let words = [event.event.name(), event.host_name(), task];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let mut text = format!("{}: {}\n", event.id, words.join(", "));
        for (name, kind, wanted, reason) in routes.chain(muted) {
            let answer = if wanted { "yes" } else { "no" };
            text.push_str(&format!("  {name} ({kind}): {answer}, {reason}\n"));
        }
        stdout::show(&text);
    }
}
