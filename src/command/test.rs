//! `test`: sends an event marked as a test to the notifiers once, with their real settings.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use crate::cli;
use crate::cli::by::NotedIn;
use crate::command::asking::ask;
use crate::command::send::Input;
use crate::config::entry::Reads;
use crate::console::stderr;
use crate::console::stdout;
use crate::delivery::destination::Destination;
use crate::delivery::setup::Config;
use crate::event::callback::Callback;
use crate::event::sample;
use crate::event::{Event, Status};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::http::{CREDENTIALS, Http};
use crate::net::urls::origin;
use crate::panics;
use crate::route;
use crate::spool::Deed;

/// Runs `test`: sends sample events, or those of a file, without the spool.
pub async fn run(arguments: cli::Test) -> Exit {
    let (names, http) = (&arguments.notifiers, Http::default());
    let config = match super::load_chosen(&arguments.configuration, names, Reads::All, &http) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let muted = super::muted(&config).filter(|_| names.is_empty());
    muted.iter().for_each(stderr::say);
    if config.destinations.is_empty() {
        return Exit::Config;
    }
    let given = match given(&arguments, &config).await {
        Ok(given) => given,
        Err(exit) => return exit,
    };
    let mut worst = Exit::Ok;
    for destination in &config.destinations {
        let events = match &given {
            Some(events) => events.clone(),
            None => vec![usual_event(destination)],
        };
        let mut sent = Exit::Ok;
        for event in events {
            let event = config.labels.apply(event);
            sent = worse(sent, tell(destination, event).await);
        }
        note(&arguments.noted, &destination.name, sent).await;
        worst = worse(worst, sent);
    }
    worst
}

/// Records in the spool that a user of the page sent a test.
async fn note(noted: &NotedIn, notifier: &str, sent: Exit) {
    let (Some(folder), Some(actor)) = (&noted.spool, noted.by.page_user()) else {
        return;
    };
    let place = cli::Place {
        config: None,
        spool: Some(folder.clone()),
    };
    let outcome = if sent == Exit::Ok {
        "delivered"
    } else {
        "failed"
    };
    let (target, outcome) = (notifier.to_owned(), outcome.to_owned());
    // Why it cannot be recorded is said there.
    let _ = ask(&place, async |spool| {
        spool.note_action(actor, Deed::Test, target, outcome).await
    })
    .await;
}

/// Returns the events that the user named, if any.
async fn given(arguments: &cli::Test, config: &Config) -> Result<Option<Vec<Event>>, Exit> {
    if let Some(trigger) = &arguments.trigger {
        let event = route::sample_of(trigger, sample::all());
        return event.map(|event| Some(vec![event])).map_err(|problem| {
            stderr::say(problem);
            Exit::Usage
        });
    }
    let Some(file) = &arguments.event else {
        return Ok(None);
    };
    read(file, config).await.map(Some)
}

async fn read(file: &Path, config: &Config) -> Result<Vec<Event>, Exit> {
    let mut events = Vec::new();
    let mut input = Input::new(config);
    input
        .read(file, async |event| {
            events.extend(event.map(|event| Event {
                test: true,
                ..event
            }));
        })
        .await;
    match input.exit {
        Exit::Ok => Ok(events),
        exit => Err(exit),
    }
}

/// Returns a sample of an event that the notifier usually receives.
fn usual_event(destination: &Destination) -> Event {
    let failures = [
        sample::of(Callback::RunnerOnFailed),
        sample::run_end(Status::Error),
    ];
    let mut samples = failures.into_iter().chain(sample::all());
    let wanted = samples.find(|event| destination.rules.trigger(event).is_some());
    wanted.unwrap_or_else(|| sample::of(Callback::RunnerOnFailed))
}

async fn tell(destination: &Destination, event: Event) -> Exit {
    let sent = panics::caught_async(async {
        let message = destination.message(vec![Arc::new(event)]);
        let sent = destination.notifier.send(&message).await?;
        let told = if sent.to_nobody { sent.note() } else { None };
        let note = sent.replaced.or(message.note);
        sent.failure.map_or(Ok((told, note)), Err)
    });
    let sent = sent.await;
    match sent.unwrap_or_else(|fault| Err(Failure::Permanent(fault))) {
        Ok((told, note)) => {
            let told = told.unwrap_or_else(|| "delivered".to_owned());
            stdout::print(format!("{}: {told}\n", destination.name));
            // A test is meant to reveal a failed template.
            note.map_or(Exit::Ok, |_| Exit::Config)
        }
        Err(failure) => {
            stderr::say(format!(
                "{}: {}",
                destination.name,
                told(destination, &failure)
            ));
            match failure {
                Failure::Retry { .. } => Exit::Undelivered,
                _ if destination.trouble.is_some() => Exit::Config,
                _ => Exit::Refused,
            }
        }
    }
}

/// Returns the failure with the address, and with the remedy if the endpoint requires credentials and none
/// are set.
fn told(destination: &Destination, failure: &Failure) -> String {
    let section = &destination.section;
    let given = |keys: &[&str]| keys.iter().any(|key| section.is_given(key));
    let mut text = failure.error().to_owned();
    let is_webhook = destination.kind.name == "webhook";
    if is_webhook
        && text.starts_with("401 ")
        && !given(&["username", "password", "token", "headers"])
    {
        text = format!("{text}: {CREDENTIALS}");
    }
    let url = ["callback_url", "url", "api_url"]
        .into_iter()
        .find_map(|key| section.text(key));
    match url.and_then(|url| Url::parse(url).ok()) {
        Some(url) if !text.contains("://") && url.has_host() => format!("{}: {text}", origin(&url)),
        _ => text,
    }
}

/// Returns the more informative of two exit codes: a refusal rather than a problem that may be fixed.
fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Refused, _) | (_, Exit::Ok) => one,
        _ => other,
    }
}
