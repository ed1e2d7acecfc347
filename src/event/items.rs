//! Items of a loop that failed, and their reasons: the end of a loop does not tell them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::event::reason::{of_failure, text};
use crate::text::{characters, cut, one_line};

/// Length limits of an item's name, and of its reason if several items failed, in characters.
const NAME: usize = 80;
const ITEM: usize = 200;
/// Numbers of reasons listed per loop, and of items named per reason.
const LISTED: usize = 3;
const NAMES: usize = 5;
/// Items of a loop that failed.
#[derive(Debug, Default)]
pub struct Items {
    /// Names of items with the same reason, and that reason.
    listed: Vec<(Vec<String>, String)>,
    others: usize,
}

impl Items {
    /// Collects the items that failed among the `results` of a loop, before anything is removed from them.
    pub fn of_results(result: &Value) -> Items {
        let mut items = Items::default();
        let is_true = |item: &Value, key: &str| item[key] == true;
        for item in result["results"].as_array().into_iter().flatten() {
            if is_true(item, "failed") || is_true(item, "unreachable") {
                items.add(name_in(item).as_ref(), of_failure(item));
            }
        }
        items
    }

    /// Adds an item, by the label that its loop gives it.
    pub fn add(&mut self, item: Option<&Value>, reason: Option<String>) {
        let name = item.and_then(text).unwrap_or_else(|| "an item".to_owned());
        let name = cut(&one_line(&name), NAME, characters).into_owned();
        let reason = reason.unwrap_or_else(|| "failed".to_owned());
        let room = self.listed.len() < LISTED;
        match self.listed.iter_mut().find(|(_, known)| *known == reason) {
            Some((names, _)) if names.len() < NAMES && !names.contains(&name) => names.push(name),
            None if room => self.listed.push((vec![name], reason)),
            _ => self.others += 1,
        }
    }

    /// Returns which items failed, and why; None if none is known.
    pub fn reason(&self) -> Option<String> {
        let is_one = self.listed.len() == 1 && self.others == 0;
        let part = |(names, reason): &(Vec<String>, String)| {
            let reason = match is_one {
                true => Cow::Borrowed(reason.as_str()),
                false => Cow::Owned(cut(&one_line(reason), ITEM, characters).into_owned()),
            };
            format!("{}: {reason}", names.join(", "))
        };
        let mut parts: Vec<String> = self.listed.iter().map(part).collect();
        if self.others > 0 {
            parts.push(format!("and {} more", self.others));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Returns the name of an item of `results`: its label, else itself; None if it is hidden.
fn name_in(item: &Value) -> Option<Value> {
    let item = item.as_object().filter(|item| !is_hidden(item))?;
    let variable = item.get("ansible_loop_var").and_then(Value::as_str);
    let found = item.get("_ansible_item_label");
    found
        .or_else(|| item.get(variable.unwrap_or("item")))
        .cloned()
}

fn is_hidden(result: &Map<String, Value>) -> bool {
    result.get("censored").is_some_and(Value::is_string)
        || result
            .get("_ansible_no_log")
            .is_some_and(|flag| *flag != false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_loop_says_which_items_failed_by_their_labels() {
        let of = |results: Value| Items::of_results(&json!({ "results": results })).reason();
        let item = |name: Value, reason: &str| json!({"failed": true, "item": name, "msg": reason});
        let one = of(json!([{"item": "a"}, item(json!("b"), "no\nspace")]));
        assert_eq!(one.unwrap(), "b: no\nspace");
        let alike = of(json!([
            item(json!("a"), "no"),
            item(json!({"b": 1}), "no"),
            item(json!(3), "x\ny")
        ]));
        assert_eq!(alike.unwrap(), "a, {\"b\":1}: no; 3: x y");
        let many: Vec<Value> = (1..=9)
            .map(|n| item(json!(n), &format!("no {n}")))
            .collect();
        assert_eq!(
            of(json!(many)).unwrap(),
            "1: no 1; 2: no 2; 3: no 3; and 6 more"
        );
        let labelled = json!({"failed": true, "item": {"password": "CANARY"}, "_ansible_item_label": "a", "rc": 1});
        assert_eq!(of(json!([labelled])).unwrap(), "a: return code 1");
        let hidden =
            json!({"failed": true, "item": "CANARY", "censored": "hidden", "msg": "CANARY"});
        assert_eq!(of(json!([hidden])).unwrap(), "an item: hidden");
        assert_eq!(of(json!(["installed: nginx", {"item": "fine"}])), None);
    }
}
