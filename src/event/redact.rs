//! Redaction of results and items: removes data that must not leave Ansible.

use serde_json::{Map, Value};

/// Keys kept of a result under `no_log`, if they are numbers or flags.
const PUBLIC: [&str; 3] = ["changed", "attempts", "retries"];

/// Keys that must not leave Ansible: arguments, variables given to an include, the environment, and all items of a
/// loop, some of which may be under `no_log`. The plugin has the same; `tests/redaction.json` holds for both.
const PRIVATE: [&str; 4] = ["invocation", "include_args", "ansible_env", "ansible_loop"];

/// Removes data that must not leave Ansible, at every depth, and the key named by `variables`; returns true
/// if this object itself was censored.
pub fn strip(value: &mut Value, variables: Option<&str>) -> bool {
    match value {
        Value::Object(object) => {
            // A value that is not text is the user's own.
            let censored = object.get("censored").is_some_and(Value::is_string)
                || object
                    .get("_ansible_no_log")
                    .is_some_and(|flag| *flag != Value::Bool(false));
            let labelled = labelled(object);
            object.retain(|key, value| {
                if censored {
                    let is_state =
                        PUBLIC.contains(&key.as_str()) && (value.is_number() || value.is_boolean());
                    is_state || key == "censored" && value.is_string()
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

/// Returns the key that holds a loop's item with a label, which may be there to hide the rest of it. For an
/// item that is not an object, the label is only its text.
fn labelled(item: &Map<String, Value>) -> Option<String> {
    let label = item.get("_ansible_item_label")?;
    let variable = item.get("ansible_loop_var").and_then(Value::as_str);
    let variable = variable.unwrap_or("item");
    let value = item.get(variable).filter(|value| value.is_object())?;
    (value != label).then(|| variable.to_owned())
}

/// Returns true if a JSON text may hold something that must not leave Ansible.
pub fn is_suspicious(text: &str) -> bool {
    const KEYS: [&str; 6] = [
        "\"_ansible_",
        "\"include_args\"",
        "\"ansible_env\"",
        "\"ansible_loop\"",
        "\"censored\"",
        "\"invocation\"",
    ];
    KEYS.iter().any(|key| text.contains(key)) || escapes_letters(text)
}

/// Returns true if a letter or other plain character is escaped, which only someone hiding something does:
/// such a key is not what it looks like.
fn escapes_letters(text: &str) -> bool {
    text.match_indices("\\u00").any(|(at, _)| {
        let code = text.as_bytes().get(at + 4);
        code.is_some_and(|digit| (b'2'..=b'7').contains(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_and_plugin_redact_alike() {
        let vectors = include_str!("../../tests/redaction.json");
        let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
        for vector in &vectors {
            let mut result = vector["result"].clone();
            let is_changed = result != vector["kept"];
            assert!(
                !is_changed || is_suspicious(&result.to_string()),
                "{vector}"
            );
            strip(&mut result, None);
            assert_eq!(result, vector["kept"], "{vector}");
        }
        assert!(vectors.len() > 10);
    }
}
