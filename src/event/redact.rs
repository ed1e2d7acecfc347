//! What must not leave Ansible, and is taken out of results and items.

use serde_json::{Map, Value};

/// What stays of a result under `no_log`.
const PUBLIC: [&str; 4] = ["changed", "attempts", "retries", "censored"];

/// What must not leave Ansible: arguments, the environment, and all items of a loop, some of which may be
/// under `no_log`.
const PRIVATE: [&str; 3] = ["invocation", "ansible_env", "ansible_loop"];

/// Takes out what must not leave Ansible, at every depth, and what the key `variables` holds; whether this
/// object itself was censored.
pub fn strip(value: &mut Value, variables: Option<&str>) -> bool {
    match value {
        Value::Object(object) => {
            // Another value than a text is somebody's own.
            let censored = object.get("censored").is_some_and(Value::is_string)
                || object
                    .get("_ansible_no_log")
                    .is_some_and(|flag| *flag != Value::Bool(false));
            let labelled = labelled(object);
            object.retain(|key, _| {
                if censored {
                    PUBLIC.contains(&key.as_str())
                } else {
                    !PRIVATE.contains(&key.as_str())
                        && variables != Some(key)
                        && labelled.as_ref() != Some(key)
                        && !key.starts_with("_ansible_")
                }
            });
            object.values_mut().for_each(|value| {
                strip(value, variables);
            });
            censored
        }
        Value::Array(array) => {
            array.iter_mut().for_each(|value| {
                strip(value, variables);
            });
            false
        }
        _ => false,
    }
}

/// Under which key the item of a loop stands that has a label, which may be there to hide the rest of it. Of
/// another item than an object, the label is only its text.
fn labelled(item: &Map<String, Value>) -> Option<String> {
    let label = item.get("_ansible_item_label")?;
    let variable = item.get("ansible_loop_var").and_then(Value::as_str);
    let variable = variable.unwrap_or("item");
    let value = item.get(variable).filter(|value| value.is_object())?;
    (value != label).then(|| variable.to_owned())
}

/// Whether a JSON text may hold what must not leave Ansible.
pub fn is_suspicious(text: &str) -> bool {
    const KEYS: [&str; 5] = [
        "\"_ansible_",
        "\"ansible_env\"",
        "\"ansible_loop\"",
        "\"censored\"",
        "\"invocation\"",
    ];
    KEYS.iter().any(|key| text.contains(key)) || escapes_letters(text)
}

/// Whether a letter or another plain character is written as an escape, as nobody does who hides nothing: such
/// a key is another than it looks.
fn escapes_letters(text: &str) -> bool {
    text.match_indices("\\u00").any(|(at, _)| {
        let code = text.as_bytes().get(at + 4);
        code.is_some_and(|digit| (b'2'..=b'7').contains(digit))
    })
}
