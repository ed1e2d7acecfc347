//! Audit: what people did to deliveries and notifiers, in a terminal, on the page or by its API.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Serialize, Serializer};

use super::fields;
use super::scope::DestinationId;
use crate::system::clock;
use crate::text;

/// Number of actions that are kept, so that they need little room.
const KEPT: i64 = 10_000;
/// Length of a name or a note, in characters.
const MAX_TEXT: usize = 500;

/// Number of deliveries that an action names.
const NAMED: usize = 20;

/// The user who acts.
#[derive(Clone, Debug)]
pub struct Actor {
    pub who: String,
    /// True on the page or by its API, false in a terminal.
    pub on_page: bool,
}

/// Kind of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Gave up deliveries.
    Discard,
    /// Made dead deliveries pending again.
    Retry,
    /// Made held deliveries pending.
    Release,
    /// Ended the pause of a notifier.
    Try,
    /// Sent a test.
    Test,
    /// Muted a notifier until a time.
    Mute,
    /// Ended that early.
    Unmute,
}

impl Deed {
    /// Returns the name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            Deed::Discard => "discard",
            Deed::Retry => "retry",
            Deed::Release => "release",
            Deed::Try => "try",
            Deed::Test => "test",
            Deed::Mute => "mute",
            Deed::Unmute => "unmute",
        }
    }
}

/// An action that was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct ActionRow {
    pub id: i64,
    /// Milliseconds since 1970.
    pub time: i64,
    pub who: String,
    #[serde(rename = "via", serialize_with = "serialize_place")]
    pub on_page: bool,
    pub what: String,
    /// Name of the notifier, or the numbers of deliveries.
    pub target: String,
    pub note: String,
    /// The notifier; None if only its name is known, or from before this was recorded.
    #[serde(flatten)]
    pub notifier: Option<ActedOn>,
}

/// The notifier that an action was about.
#[derive(Clone, Debug, Serialize)]
pub struct ActedOn {
    #[serde(rename = "notifier")]
    pub name: String,
    #[serde(rename = "notifier_id")]
    pub id: i64,
    /// Text by which its configuration is found again; None if it cannot be read.
    #[serde(skip)]
    pub search: Option<String>,
    /// True if another notifier has the same name.
    #[serde(skip)]
    pub shares_name: bool,
}

/// Returns the word for the place of an action.
pub fn place_name(on_page: bool) -> &'static str {
    if on_page { "page" } else { "terminal" }
}

fn serialize_place<S: Serializer>(on_page: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(place_name(*on_page))
}

/// Selection of actions.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter {
    /// Milliseconds since 1970.
    pub since: i64,
    /// Only those older than this one.
    pub before: Option<i64>,
    /// Name of the notifier.
    pub notifier: Option<String>,
    pub most: i64,
}

/// Records an action, in the transaction that does it.
pub fn add(
    connection: &Connection,
    actor: &Actor,
    deed: Deed,
    target: &str,
    destination: Option<DestinationId>,
    note: &str,
) -> rusqlite::Result<()> {
    let short = |text: &str| text::cut(text, MAX_TEXT, |_| 1).into_owned();
    let id = connection
        .prepare_cached(
            "INSERT INTO action (time, who, page, what, target, note, destination)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .insert(params![
            clock::now().as_millisecond(),
            short(&actor.who),
            actor.on_page,
            deed.name(),
            short(target),
            short(note),
            destination
        ])?;
    connection
        .prepare_cached("DELETE FROM action WHERE id <= ?1")?
        .execute([id - KEPT])?;
    Ok(())
}

/// Records an action on a destination.
pub fn add_for(
    connection: &Connection,
    actor: &Actor,
    deed: Deed,
    destination: DestinationId,
    note: &str,
) -> rusqlite::Result<()> {
    let name = connection
        .prepare_cached("SELECT name FROM destination WHERE id = ?1")?
        .query_row([destination], |row| fields::text(row, 0))?;
    let name = name.unwrap_or_default();
    add(connection, actor, deed, &name, Some(destination), note)
}

/// Records that deliveries were given up, for each destination that has any.
pub fn add_discarded(
    connection: &Connection,
    actor: &Actor,
    deliveries: &[i64],
) -> rusqlite::Result<()> {
    let mut of = connection.prepare_cached("SELECT destination FROM delivery WHERE id = ?1")?;
    let mut by_destination: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for delivery in deliveries {
        let destination = of.query_row([delivery], |row| row.get(0))?;
        by_destination
            .entry(destination)
            .or_default()
            .push(*delivery);
    }
    for (destination, deliveries) in by_destination {
        let named = deliveries.iter().take(NAMED).map(i64::to_string);
        let mut target = named.collect::<Vec<String>>().join(", ");
        if deliveries.len() > NAMED {
            target.push_str(", …");
        }
        let note = count(deliveries.len(), "pending or dead");
        let destination = Some(DestinationId(destination));
        add(
            connection,
            actor,
            Deed::Discard,
            &target,
            destination,
            &note,
        )?;
    }
    Ok(())
}

/// Returns a number of deliveries in words.
pub fn count(deliveries: usize, state: &str) -> String {
    match deliveries {
        1 => format!("1 {state} delivery"),
        _ => format!("{deliveries} {state} deliveries"),
    }
}

/// Returns the newest actions that match the filter, newest first.
pub fn list(connection: &Connection, filter: &ActionFilter) -> rusqlite::Result<Vec<ActionRow>> {
    connection
        .prepare_cached(
            "SELECT action.id, time, who, page, what, target, note, destination.id, name, search,
                (SELECT count(*) FROM destination AS other WHERE other.name = destination.name)
             FROM action LEFT JOIN destination ON destination.id = action.destination
             WHERE time >= ?1 AND (?2 IS NULL OR action.id < ?2) AND (?4 IS NULL OR coalesce(name, target) = ?4)
             ORDER BY action.id DESC LIMIT ?3",
        )?
        .query_map(params![filter.since, filter.before, filter.most, filter.notifier], |row| {
            let text =
                |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
            Ok(ActionRow {
                id: row.get(0)?,
                time: fields::number(row, 1)?.unwrap_or_default(),
                who: text(2)?,
                on_page: fields::number(row, 3)? == Some(1),
                what: text(4)?,
                target: text(5)?,
                note: text(6)?,
                notifier: acted_on(row)?,
            })
        })?
        .collect()
}

fn acted_on(row: &Row<'_>) -> rusqlite::Result<Option<ActedOn>> {
    let Some(id) = fields::number(row, 7)? else {
        return Ok(None);
    };
    Ok(Some(ActedOn {
        id,
        name: fields::text(row, 8)?.unwrap_or_default(),
        search: fields::sound_text(row, 9)?,
        shares_name: fields::number(row, 10)?.is_some_and(|same: i64| same > 1),
    }))
}
