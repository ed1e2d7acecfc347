//! Fields of an event as defined by an `[outputs]` section: any number, each an expression.

use std::cell::Cell;

use hyper::body::Bytes;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::config::advice;
use crate::config::section::Section;
use crate::console::stderr;
use crate::template::Template;
use crate::template::context::Context;
use crate::template::context::VARIABLES;

/// Fields sent without an `[outputs]` section: enough to know what happened where, nothing large.
pub const DEFAULT: [(&str, &str); 13] = [
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
    (HELD_BACK, HELD_BACK),
];

/// Field of them that is left out unless failures were held back.
const HELD_BACK: &str = "held_back";

/// Fields of a payload, in the order in which they were written.
pub struct Payload {
    fields: Vec<Field>,
    shape: Shape,
}

/// Fields of an object by name; names with dots are in nested objects.
#[derive(Default)]
struct Shape(Vec<(String, Member)>);

enum Member {
    /// Index of a field.
    Field(usize),
    Object(Shape),
}

/// Values of the fields in their shape.
struct Shaped<'a> {
    shape: &'a Shape,
    fields: &'a [Field],
    values: &'a [Box<RawValue>],
}

struct Field {
    /// `task.name` is a field `name` within a field `task`.
    path: Vec<String>,
    template: Template,
    /// True if it is left out while it is null.
    is_optional: bool,
    /// True once an evaluation failed: reported once, not once per event.
    failed: Cell<bool>,
}

impl Payload {
    /// Reads the fields of an `[outputs]` section, or the documented ones. Notes problems in the section.
    pub fn new(section: Option<&Section>) -> Payload {
        let Some(section) = section else {
            let field = |(name, source): &(&str, &str)| {
                let field = Field::new(name, source).ok()?;
                Some(Field {
                    is_optional: *name == HELD_BACK,
                    ..field
                })
            };
            return Payload::of(DEFAULT.iter().filter_map(field).collect());
        };
        let mut fields: Vec<Field> = Vec::new();
        for entry in &section.entries {
            let Some(source) = section.expression(&entry.key) else {
                section.problem(
                    &entry.key,
                    format!(
                        "`{}` has no expression; write `''` for an empty string",
                        entry.key
                    ),
                );
                continue;
            };
            match Field::new(&entry.key, &source) {
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
                    let unknown = field.template.unknown_variables();
                    let constant = advice::constant(&unknown, &source, &VARIABLES);
                    if let Some(hint) = constant {
                        section.problem(&entry.key, format!("unknown variable `{source}`{hint}"));
                    } else {
                        for name in unknown {
                            let hint = advice::variable(&name, &VARIABLES);
                            section.problem(&entry.key, format!("unknown variable `{name}`{hint}"));
                        }
                    }
                    fields.push(field);
                }
                Err(problem) => {
                    let hint = advice::text(&source);
                    section.problem(&entry.key, format!("`{}`: {problem}{hint}", entry.key));
                }
            }
        }
        Payload::of(fields)
    }

    fn of(fields: Vec<Field>) -> Payload {
        let mut shape = Shape::default();
        for (number, field) in fields.iter().enumerate() {
            shape.insert(&field.path, number);
        }
        Payload { fields, shape }
    }

    /// Renders the payload of an event, the text of a JSON object. A field whose expression fails is null,
    /// and the first failure is reported.
    pub fn render(&self, context: &Context) -> Bytes {
        let is_absent = context.events().all(|event| event.held_back == 0);
        let value = |field: &Field| {
            if field.is_optional && is_absent {
                return RawValue::NULL.to_owned();
            }
            field.template.json(context).unwrap_or_else(|problem| {
                if !field.failed.replace(true) {
                    let name = field.path.join(".");
                    stderr::say(format!(
                        "output `{name}` failed and is sent as null: {problem}"
                    ));
                }
                RawValue::NULL.to_owned()
            })
        };
        let values: Vec<Box<RawValue>> = self.fields.iter().map(value).collect();
        let shaped = Shaped {
            shape: &self.shape,
            fields: &self.fields,
            values: &values,
        };
        // A large one is held while it is sent, and growing would leave its buffer half empty.
        let size: usize = values.iter().map(|value| value.get().len()).sum();
        let mut text = Vec::with_capacity(size + 64 * values.len());
        serde_json::to_writer(&mut text, &shaped).expect("JSON values can be written");
        text.into()
    }

    /// Notes the fields that fail on a sample.
    pub fn try_on(&self, section: &Section, samples: &[&Context]) {
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
                "`{name}` is not a field name; separate names by single dots"
            ));
        }
        Ok(Field {
            path,
            template: Template::new(source)?,
            is_optional: false,
            failed: Cell::new(false),
        })
    }
}

/// Returns true if one field would have to be both a value and an object.
fn overlap(a: &[String], b: &[String]) -> bool {
    a.len() != b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

impl Shape {
    fn insert(&mut self, path: &[String], field: usize) {
        let (name, rest) = path.split_first().expect("a field has a name");
        let known = self.0.iter_mut().find(|(known, _)| known == name);
        match (known, rest) {
            (Some((_, Member::Object(inner))), [_, ..]) => inner.insert(rest, field),
            (Some((_, member)), _) => *member = Member::Field(field),
            (None, []) => self.0.push((name.clone(), Member::Field(field))),
            (None, _) => {
                let mut inner = Shape::default();
                inner.insert(rest, field);
                self.0.push((name.clone(), Member::Object(inner)));
            }
        }
    }
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (name, member) in &self.shape.0 {
            match member {
                Member::Field(number) => {
                    let value = &self.values[*number];
                    if !self.fields[*number].is_optional || value.get() != "null" {
                        object.serialize_entry(name, value)?;
                    }
                }
                Member::Object(shape) => object.serialize_entry(
                    name,
                    &Shaped {
                        shape,
                        fields: self.fields,
                        values: self.values,
                    },
                )?,
            }
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::entry::{Entry, Origin};
    use crate::event::parse::EventParser;

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
        let context = Context::new(Arc::new(EventParser::new().read(event).unwrap()));
        let rendered = payload.render(&context);
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
