//! `test`: a sample event to the notifiers, through their real settings and once.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use crate::cli;
use crate::config::{Destination, Options};
use crate::exit::Exit;
use crate::http::Http;
use crate::notifier::Failure;
use crate::{report, sample};

pub async fn run(arguments: cli::Test) -> Exit {
    let options = Options {
        search: arguments.configuration.search(),
        may_prompt: std::io::stderr().is_terminal(),
        ..Options::default()
    };
    let config = match super::load(&options, &Http::default()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let selected = match super::select(&config, &arguments.notifiers) {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Ok;
    for (destination, _) in config
        .destinations
        .iter()
        .zip(selected)
        .filter(|(_, selected)| *selected)
    {
        match send(destination).await {
            Ok(()) => {
                let _ = writeln!(std::io::stdout(), "{}: delivered", destination.name);
            }
            Err(failure) => {
                report::say(format!("{}: {}", destination.name, failure.error()));
                let exit = match failure {
                    Failure::Retry { .. } => Exit::Undelivered,
                    _ => Exit::Refused,
                };
                worst = if worst == Exit::Refused { worst } else { exit };
            }
        }
    }
    worst
}

async fn send(destination: &Destination) -> Result<(), Failure> {
    let message = destination.message(vec![Arc::new(sample::of("runner_on_failed"))]);
    destination.notifier.send(&message).await
}
