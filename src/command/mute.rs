//! `mute` and `unmute`: messages of a notifier are held until a time that someone names.

use super::asking::ask;
use crate::cli;
use crate::cli::mute::{Mute, Muted, Unmute};
use crate::console::stderr;
use crate::exit::Exit;
use crate::spool::{DestinationId, Spool};
use crate::system::clock;

/// Runs `mute`.
pub async fn mute(arguments: Mute) -> Exit {
    let (place, until) = (&arguments.place, arguments.until);
    let why = arguments.why.trim().to_owned();
    if why.is_empty() {
        stderr::say("`--why` must give a reason");
        return Exit::Usage;
    }
    let chosen = match chosen(&arguments.whom, place).await {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let actor = arguments.by.actor();
    let muted = ask(place, async |spool| {
        spool.mute(chosen, actor, until, why).await
    });
    match muted.await {
        Ok(()) => {
            stderr::say(format!(
                "muted until {}; messages are held, and sent then",
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
    let chosen = match chosen(&arguments.whom, place).await {
        Ok(chosen) => chosen,
        Err(exit) => return exit,
    };
    let actor = arguments.by.actor();
    match ask(place, async |spool| spool.unmute(chosen, actor).await).await {
        Ok(0) => {
            stderr::say("no such notifier is muted");
            Exit::NoInput
        }
        Ok(_) => {
            stderr::say(
                "no longer muted; what was held is sent by the next run, `flush` or the timer",
            );
            Exit::Ok
        }
        Err(exit) => exit,
    }
}

/// Returns the destinations that the arguments name.
async fn chosen(whom: &Muted, place: &cli::Place) -> Result<Vec<DestinationId>, Exit> {
    let known = ask(place, Spool::status).await?;
    super::check_known(&whom.notifiers, &known)?;
    let is_chosen = |id: DestinationId, name: &String| match whom.id {
        Some(number) => id.0 == number,
        None => whom.notifiers.contains(name),
    };
    let chosen = known.iter().filter(|row| is_chosen(row.id, &row.name));
    let chosen: Vec<DestinationId> = chosen.map(|row| row.id).collect();
    if chosen.is_empty() {
        stderr::say("there is no such notifier");
        return Err(Exit::NoInput);
    }
    Ok(chosen)
}
