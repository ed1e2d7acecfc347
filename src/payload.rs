//! What an `[outputs]` section makes of an event: any number of fields, each an expression.

use std::cell::Cell;

use serde_json::{Map, Value};

use crate::config::section::{Section, suggest};
use crate::report;
use crate::template::{Context, Template, VARIABLES};

/// What is sent where there is no `[outputs]`: enough to know what happened where, nothing in bulk.
pub const DEFAULT: [(&str, &str); 12] = [
    ("id", "id"),
    ("time", "time"),
    ("event", "callback"),
    ("state", "state"),
    ("changed", "changed"),
    ("host", "host"),
    ("task_name", "task_name"),
    ("task_output", "task_output"),
    ("play_name", "play_name"),
    ("playbook", "playbook"),
    ("run_id", "run_id"),
    ("status", "status"),
];

/// The fields of a payload, in the order in which they were written.
pub struct Payload {
    fields: Vec<Field>,
}

struct Field {
    /// `task.name` is a field `name` within a field `task`.
    path: Vec<String>,
    template: Template,
    /// An evaluation failed before: said once, not once an event.
    failed: Cell<bool>,
}

impl Payload {
    /// The fields of an `[outputs]` section, or the documented ones. Problems are noted in the section.
    pub fn new(section: Option<&Section>) -> Payload {
        let Some(section) = section else {
            let fields = DEFAULT
                .iter()
                .filter_map(|(name, source)| Field::new(name, source).ok());
            return Payload {
                fields: fields.collect(),
            };
        };
        let mut fields: Vec<Field> = Vec::new();
        for entry in &section.entries {
            let Some(source) = section.text(&entry.key) else {
                section.problem(
                    &entry.key,
                    format!("`{}` has no expression; `''` is an empty text", entry.key),
                );
                continue;
            };
            match Field::new(&entry.key, source) {
                Ok(field) => {
                    let clash = fields
                        .iter()
                        .find(|other| overlap(&other.path, &field.path));
                    if let Some(other) = clash {
                        let other = other.path.join(".");
                        section.problem(
                            &entry.key,
                            format!("`{}` and `{other}` cannot both be fields", entry.key),
                        );
                    }
                    for name in field.template.unknown_variables() {
                        let hint = suggest(&name, VARIABLES);
                        section.problem(&entry.key, format!("unknown variable `{name}`{hint}"));
                    }
                    fields.push(field);
                }
                Err(problem) => section.problem(&entry.key, problem),
            }
        }
        Payload { fields }
    }

    /// The payload of an event. A field whose expression fails is null, and the first failure is reported.
    pub fn render(&self, context: &Context) -> Map<String, Value> {
        let mut payload = Map::new();
        for field in &self.fields {
            let value = field.template.evaluate(context).unwrap_or_else(|problem| {
                if !field.failed.replace(true) {
                    let name = field.path.join(".");
                    report::say(format!(
                        "output `{name}` failed and is sent as null: {problem}"
                    ));
                }
                minijinja::Value::from(())
            });
            insert(
                &mut payload,
                &field.path,
                serde_json::to_value(&value).unwrap_or(Value::Null),
            );
        }
        payload
    }

    /// Notes the fields that fail on a sample.
    pub fn try_on(&self, section: &Section, samples: &[Context]) {
        for field in &self.fields {
            let failure = samples.iter().find_map(|sample| {
                let problem = field.template.evaluate(sample).err()?;
                Some(format!(
                    "{problem} (tried on a sample of {})",
                    sample.event().event
                ))
            });
            if let Some(failure) = failure {
                section.problem(&field.path.join("."), failure);
            }
        }
    }
}

impl Field {
    fn new(name: &str, source: &str) -> Result<Field, String> {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(format!(
                "`{name}` is not a field name; a dot stands between two names"
            ));
        }
        Ok(Field {
            path,
            template: Template::new(source)?,
            failed: Cell::new(false),
        })
    }
}

/// Whether one field would have to be both a value and an object.
fn overlap(a: &[String], b: &[String]) -> bool {
    a.len() != b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

fn insert(object: &mut Map<String, Value>, path: &[String], value: Value) {
    let (name, rest) = path.split_first().expect("a field has a name");
    if rest.is_empty() {
        object.insert(name.clone(), value);
    } else if let Value::Object(inner) = object
        .entry(name.clone())
        .or_insert_with(|| Value::Object(Map::new()))
    {
        insert(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::section::{Entry, Origin};
    use crate::reader::Reader;

    fn section(entries: &[(&str, &str)]) -> Section {
        let mut section = Section::new("outputs", Origin::Play);
        for (key, value) in entries {
            section.set(Entry {
                key: (*key).into(),
                value: (*value).into(),
                origin: Origin::Play,
            });
        }
        section
    }

    #[test]
    fn dotted_fields_nest_in_order() {
        let payload = Payload::new(Some(&section(&[
            ("state", "state"),
            ("task.name", "task_name"),
            ("code", "result.rc"),
            ("task.path", "'x'"),
            ("log", "result.log"),
            ("log_file", "'y'"),
        ])));
        let event = br#"{"state":"failed","task":"t","result":{"rc":2}}"#;
        let context = Context::new(Arc::new(Reader::new().read(event).unwrap()));
        let rendered = Value::Object(payload.render(&context)).to_string();
        let expected = r#"{"state":"failed","task":{"name":"t","path":"x"},"code":2,"log":null,"log_file":"y"}"#;
        assert_eq!(rendered, expected);
    }

    #[test]
    fn mistakes_are_found() {
        let section = section(&[
            ("a", "state"),
            ("a.b", "taskname"),
            ("c.", "state"),
            ("d", "1 +"),
            ("e", "x | nofilter"),
        ]);
        Payload::new(Some(&section));
        let problems: Vec<String> = section
            .take_problems()
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        assert_eq!(problems[0], "`a.b` and `a` cannot both be fields");
        assert_eq!(
            problems[1],
            "unknown variable `taskname`; did you mean `task_name`?"
        );
        assert!(problems[2].contains("`c.` is not a field name"));
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}
