//! Fields next to the text of a message.

use serde_json::Value;

use crate::event::Event;
use crate::json::bulk;
use crate::text::{characters, cut, one_line, printable};

/// Maximum length of a field's name and value, in characters: even with an entity for each character, they
/// fit Slack's limits.
const NAME: usize = 80;
const FIELD: usize = 300;

/// Origin of the fields next to the text.
#[derive(Clone, Copy)]
pub enum Fields {
    OfEvent,
    /// An `[outputs]` section of its own defines them.
    OfPayload,
}

/// Returns the fields that `[outputs]` maps, as text, each cut to a length that services accept.
pub fn mapped_fields(payload: &[u8]) -> Vec<(String, String)> {
    let values = values(payload).into_iter();
    values.map(|(name, text)| field(&name, &text)).collect()
}

/// Returns the names and values that `[outputs]` maps, as text; a list or an object is JSON, and null is left out.
pub fn values(payload: &[u8]) -> Vec<(String, String)> {
    let payload = std::str::from_utf8(payload).unwrap_or_default();
    let read = bulk::value(payload);
    let Ok(Value::Object(payload)) = read else {
        return Vec::new();
    };
    let shown = |(name, value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        value => Some((name, value.to_string())),
    };
    payload.into_iter().filter_map(shown).collect()
}

fn field(name: &str, text: &str) -> (String, String) {
    (
        cut(&one_line(name), NAME, characters).into_owned(),
        cut(&printable(text), FIELD, characters).into_owned(),
    )
}

/// Returns the fields next to the text if no `[outputs]` defines them.
pub fn fields(event: &Event) -> Vec<(String, String)> {
    let run = &event.run;
    let host = event.host.as_ref().map(|host| host.name.clone());
    let task = event.task.as_ref().map(|task| task.name.clone());
    let play = event.play.as_ref().map(|play| play.name.clone());
    let inventory = Some(run.inventory.join(", "));
    let tags = Some(&run.tags).filter(|tags| *tags != &["all"]);
    let tags = tags.map(|tags| tags.join(", "));
    let all = [
        ("Host", host),
        ("Task", task),
        ("Play", play),
        ("Playbook", run.playbook.clone()),
        ("Inventory", inventory),
        ("Limit", run.limit.clone()),
        ("Tags", tags),
        ("Skipped tags", Some(run.skip_tags.join(", "))),
        ("Start at task", run.start_at_task.clone()),
        ("Started by", run.user.clone()),
        ("Controller", run.controller.clone()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some(field(name, &value?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}
