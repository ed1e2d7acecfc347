//! The spool, and its pending and dead deliveries.

use std::path::PathBuf;

use super::Finding;
use super::endpoints::Configured;
use crate::console::stderr;
use crate::exit::Exit;
use crate::spool::{self, DestinationStatus, Inspected, default_folder};
use crate::system::clock;

/// A spool, or the reason why it cannot be used.
pub struct Examined {
    folder: PathBuf,
    limit: Option<u64>,
    result: anyhow::Result<Inspected>,
}

/// Examines the configured spool, or the user's own.
pub fn inspect(configured: &Configured) -> Option<Examined> {
    let config = &configured.config;
    let folder = config.spool.clone().or_else(default_folder)?;
    Some(Examined {
        limit: config.limits.max_size,
        result: spool::inspect(&folder, &config.limits),
        folder,
    })
}

/// Returns the findings about it.
pub fn findings(examined: Option<Examined>) -> Vec<Finding> {
    let check = "spool";
    let Some(examined) = examined else {
        let text = "no directory: the user has no home directory";
        let advice = "set `spool` in [delivery]";
        return vec![Finding::problem(check, text, Exit::Io).advise(advice)];
    };
    let folder = examined.folder.display();
    let inspected = match examined.result {
        Ok(inspected) => inspected,
        Err(error) => {
            let text = format!("{folder}: {}", stderr::causes(&error));
            let advice =
                "until this is fixed, events that cannot be delivered immediately are lost";
            return vec![Finding::problem(check, text, Exit::Io).advise(advice)];
        }
    };
    let mebibytes = |size: u64| format!("{:.1} MiB", size as f64 / f64::from(1 << 20));
    let text = match (inspected.size, examined.limit) {
        (None, _) => format!("{folder}: empty, nothing has been sent yet"),
        (Some(size), Some(limit)) => {
            format!(
                "{folder}: {} of {} in use",
                mebibytes(size),
                mebibytes(limit)
            )
        }
        (Some(size), None) => format!("{folder}: {} in use", mebibytes(size)),
    };
    if inspected.is_old {
        let text = format!("{text}, written by an older version");
        return vec![Finding::note(check, text).advise("the next run upgrades it")];
    }
    let mut findings = vec![Finding::ok(check, text)];
    let rows = inspected.destinations.iter();
    let deliveries: Vec<Finding> = rows.flat_map(|row| deliveries(row, &inspected)).collect();
    let muted = inspected.mutes.iter().map(|mute| {
        let mut rows = inspected.destinations.iter();
        let row = rows.find(|row| row.id == mute.destination);
        let name = row.map_or("", |row| &row.name);
        Finding::note(check, format!("{name}: {mute}")).advise("`unmute` ends that")
    });
    findings.extend(muted);
    match deliveries.is_empty() {
        true => findings.push(Finding::ok("deliveries", "none pending, none dead")),
        false => findings.extend(deliveries),
    }
    findings
}

/// Returns the findings about a notifier's pending and dead deliveries.
fn deliveries(row: &DestinationStatus, inspected: &Inspected) -> Vec<Finding> {
    let (check, name) = ("deliveries", &row.name);
    let error = row.last_error.as_ref();
    let error = error.map_or_else(String::new, |error| format!(" (last error: {error})"));
    let mut findings = Vec::new();
    if row.dead > 0 {
        let text = format!("{name}: {} dead{error}", row.dead);
        let advice = "`history --state dead` shows why, `flush --dead` retries them, `discard --dead` gives them up";
        findings.push(Finding::problem(check, text, Exit::Refused).advise(advice));
    }
    if row.owed() > 0 && inspected.delivering.contains(&row.id) {
        let text = format!(
            "{name}: {} pending; a process is delivering them",
            row.owed()
        );
        findings.push(Finding::note(check, text));
    } else if row.owed() > 0 {
        let since = row.oldest.map_or_else(String::new, |oldest| {
            format!(" since {}", clock::local(oldest))
        });
        let text = format!("{name}: {} pending{since}{error}", row.owed());
        let advice = "`flush` sends them now";
        findings.push(Finding::problem(check, text, Exit::Undelivered).advise(advice));
    }
    if let Some(until) = row.held_range() {
        let text = format!("{name}: {} held {}", row.held, until.shown());
        let note = Finding::note(check, text);
        findings.push(match until.is_over() {
            true => note,
            false => note.advise("`flush --held` sends them now"),
        });
    }
    findings
}
