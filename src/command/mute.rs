//! `mute` and `unmute`: messages of a notifier are held until a time that someone names.

use super::asking::{ask, ask_to_show};
use super::status::config_of;
use crate::cli;
use crate::cli::mute::{Mute, Muted, Unmute};
use crate::console::stderr;
use crate::exit::Exit;
use crate::secret;
use crate::spool::{DestinationId, DestinationStatus, Spool};
use crate::system::clock;

/// Runs `mute`.
pub async fn mute(arguments: Mute) -> Exit {
    let (place, until) = (&arguments.place, arguments.until);
    let why = arguments.why.trim().to_owned();
    if why.is_empty() {
        stderr::say("`--why` must give a reason");
        return Exit::Usage;
    }
    let (chosen, names) = match chosen(&arguments.whom, place).await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let why = secret::redact(&why);
    let actor = arguments.by.actor();
    let muted = ask(place, async |spool| {
        spool.mute(chosen, actor, until, why).await
    });
    match muted.await {
        Ok(()) => {
            stderr::say(format!(
                "{names}: muted until {}; the first run, `flush` or timer after that sends what is held",
                clock::local(until)
            ));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// Runs `unmute`.
pub async fn unmute(arguments: Unmute) -> Exit {
    let place = &arguments.place;
    let (chosen, names) = match chosen(&arguments.whom, place).await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let actor = arguments.by.actor();
    match ask(place, async |spool| spool.unmute(chosen, actor).await).await {
        Ok(0) => {
            stderr::say("no such notifier is muted");
            Exit::NoInput
        }
        Ok(_) => {
            stderr::say(format!(
                "{names}: no longer muted; the next run, `flush` or timer sends what was held",
            ));
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// Returns the destinations that the arguments name, and their names for a message.
async fn chosen(whom: &Muted, place: &cli::Place) -> Result<(Vec<DestinationId>, String), Exit> {
    // The reason of a mute is stored, without secrets.
    let known = ask_to_show(place, Spool::status).await?;
    super::check_known(&whom.notifiers, &known)?;
    let is_chosen = |id: DestinationId, name: &String| match whom.id {
        Some(number) => id.0 == number,
        None => whom.notifiers.contains(name),
    };
    let chosen = known.iter().filter(|row| is_chosen(row.id, &row.name));
    let chosen: Vec<&DestinationStatus> = chosen.collect();
    if chosen.is_empty() {
        stderr::say("there is no such notifier");
        return Err(Exit::NoInput);
    }
    let names: Vec<String> = chosen.iter().map(|row| title(row, &known)).collect();
    Ok((chosen.iter().map(|row| row.id).collect(), names.join(", ")))
}

/// Returns the name of a notifier, with its configuration if others have the same name.
fn title(row: &DestinationStatus, known: &[DestinationStatus]) -> String {
    let is_ambiguous = known.iter().filter(|other| other.name == row.name).count() > 1;
    match config_of(row).filter(|_| is_ambiguous) {
        Some(config) => format!("{} ({})", row.name, config.display()),
        None => row.name.clone(),
    }
}
