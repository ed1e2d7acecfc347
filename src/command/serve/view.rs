//! Notifiers, deliveries and attempts, in the form that both the pages and the API show.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::command::status::config_of;
use crate::json::bulk;
use crate::spool::{
    AttemptRow, BreakerState, DeliveryState, DestinationStatus, HistoryRow, Mute, Scope,
};

/// Size limit of an event's text on a page, in bytes; the API returns all of it.
pub const MAX_TEXT: usize = 64 << 10;

/// A notifier, with the counts of its deliveries.
#[derive(Serialize)]
pub struct Notifier {
    pub id: i64,
    pub name: String,
    /// Its configuration file, if it has one of its own.
    pub config: Option<String>,
    /// Run that it belongs to, if the play's vars or the environment changed it.
    pub run: Option<String>,
    pub state: &'static str,
    pub accepted: i64,
    pub delivered: i64,
    pub waiting: i64,
    pub held: i64,
    pub dead: i64,
    pub dropped: i64,
    pub suppressed: i64,
    pub oldest: Option<String>,
    pub next_attempt: Option<String>,
    pub held_until: Option<String>,
    pub held_until_last: Option<String>,
    pub paused_until: Option<String>,
    pub last_error: Option<String>,
    pub breaker: BreakerState,
    pub needs: Vec<String>,
    pub muted: Option<Muted>,
}

/// A mute that someone asked for.
#[derive(Serialize)]
pub struct Muted {
    pub until: String,
    pub who: String,
    pub why: String,
}

impl Notifier {
    /// Returns it with its mute, if there is one among these.
    pub fn with_mute(mut self, mutes: &[Mute]) -> Notifier {
        let mut mutes = mutes.iter();
        let mute = mutes.find(|mute| mute.destination.0 == self.id);
        self.muted = mute.map(|mute| Muted {
            until: time(mute.until),
            who: mute.who.clone(),
            why: mute.why.clone(),
        });
        if self.muted.is_some() && self.breaker == BreakerState::Closed {
            self.state = "muted";
        }
        self
    }
}

impl From<DestinationStatus> for Notifier {
    fn from(row: DestinationStatus) -> Notifier {
        let state = state_of(&row);
        let scope = (row.scope != Scope::Configured).then(|| row.scope.to_string());
        Notifier {
            id: row.id.0,
            config: config_of(&row).map(|path| path.display().to_string()),
            run: scope,
            state,
            name: row.name,
            accepted: row.accepted,
            delivered: row.delivered,
            waiting: row.waiting,
            held: row.held,
            dead: row.dead,
            dropped: row.dropped,
            suppressed: row.suppressed,
            oldest: row.oldest.map(time),
            next_attempt: row.next_attempt.filter(|next| *next > 0).map(time),
            held_until: row.held_until.map(time),
            held_until_last: row.held_until_last.map(time),
            paused_until: row.paused_until.map(time),
            last_error: row.last_error,
            breaker: row.breaker,
            needs: row.needs,
            muted: None,
        }
    }
}

/// Returns a notifier's state in words; the worst one if several apply.
fn state_of(row: &DestinationStatus) -> &'static str {
    match row.breaker {
        BreakerState::Off => "off",
        BreakerState::Open if row.paused_until.is_some() => "paused",
        BreakerState::Open => "failing",
        BreakerState::Closed if row.owed() > 0 => "waiting",
        BreakerState::Closed if row.dead > 0 => "has dead deliveries",
        BreakerState::Closed if row.held > 0 => "held",
        BreakerState::Closed => "fine",
    }
}

/// A delivery in a list.
#[derive(Serialize)]
pub struct Delivery {
    pub id: i64,
    pub event_id: String,
    pub created: String,
    pub callback: String,
    pub host: String,
    pub task: String,
    pub notifier: String,
    pub notifier_id: i64,
    /// The same number, as `history --json` names it.
    pub destination: i64,
    pub state: &'static str,
    pub attempts: i64,
    pub next_attempt: Option<String>,
    pub finished: Option<String>,
    /// Duration of the successful attempt, in milliseconds.
    pub duration: Option<i64>,
    pub error: Option<String>,
    /// The event in words.
    pub result: String,
    pub run: Option<String>,
}

impl From<HistoryRow> for Delivery {
    fn from(row: HistoryRow) -> Delivery {
        Delivery {
            id: row.id,
            event_id: row.event_id,
            created: time(row.created),
            callback: row.callback,
            host: row.host,
            task: row.task,
            notifier: row.notifier,
            notifier_id: row.destination.0,
            destination: row.destination.0,
            state: row.state.map_or("unknown", DeliveryState::key),
            attempts: row.attempts,
            next_attempt: next_attempt(row.state, Some(row.next_at).filter(|next| *next > 0)),
            finished: row.finished.map(time),
            duration: row.duration,
            error: row.error,
            result: row.result,
            run: row.run,
        }
    }
}

/// Returns the time of the next attempt for a delivery in this state; None if there will be none.
pub fn next_attempt(state: Option<DeliveryState>, next_at: Option<i64>) -> Option<String> {
    let is_pending = matches!(state, Some(DeliveryState::Pending | DeliveryState::Held));
    next_at.filter(|_| is_pending).map(time)
}

/// An attempt of a delivery.
#[derive(Serialize)]
pub struct Attempt {
    pub started: String,
    /// Duration in milliseconds.
    pub duration: i64,
    pub outcome: String,
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Attempt {
        Attempt {
            started: time(row.started),
            duration: row.duration,
            outcome: row.outcome,
        }
    }
}

/// Converts milliseconds since 1970 to RFC 3339.
pub fn time(milliseconds: i64) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    format!("{time:.3}")
}

/// Returns the body of an event, if it is kept and can be parsed.
pub fn event(body: Option<&str>) -> Option<Value> {
    body.and_then(|body| bulk::value(body).ok())
}

/// Returns the text of an event for a page, and whether it was cut.
pub fn event_text(body: Option<&str>) -> Option<(String, bool)> {
    let body = body?;
    let whole = match event(Some(body)).filter(|_| !bulk::is_large(body)) {
        Some(value) => format!("{value:#}"),
        None => body.to_owned(),
    };
    let Cut { text, is_cut } = cut(&whole, MAX_TEXT);
    Some((text, is_cut))
}

/// A text, or its beginning.
pub struct Cut {
    pub text: String,
    pub is_cut: bool,
}

/// Returns the text, cut to this size in bytes.
pub fn cut(text: &str, most: usize) -> Cut {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Cut {
        text: text[..end].to_owned(),
        is_cut: end < text.len(),
    }
}
