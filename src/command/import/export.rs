//! Notification templates and their attachments, in an export of AWX or a response of its API.

use serde_json::{Deserializer, Map, Value};

use crate::template::jinja::yaml;

/// A notification template of AWX.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pub name: String,
    pub description: String,
    pub organization: Option<String>,
    /// AWX's name of the kind.
    pub kind: String,
    pub configuration: Map<String, Value>,
    pub messages: Value,
}

/// An attachment of a notification template to something that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    template: String,
    organization: Option<String>,
    /// `started`, `success`, `error` or `approvals`.
    pub trigger: String,
    /// Kind and name of the resource that it is attached to.
    pub resource: String,
    /// The playbook that it runs, for a job template.
    pub playbook: Option<String>,
}

/// Content of the files.
#[derive(Debug, Default)]
pub struct Export {
    pub templates: Vec<Template>,
    attachments: Vec<Attachment>,
}

/// Sections of an export whose objects may have notification templates.
const RESOURCES: [(&str, &str); 6] = [
    ("job_templates", "job template"),
    ("workflow_job_templates", "workflow job template"),
    ("projects", "project"),
    ("organizations", "organization"),
    ("inventory_sources", "inventory source"),
    ("system_job_templates", "system job template"),
];

/// Beginning of the keys that hold attachments; the rest is the trigger.
const ATTACHED: &str = "notification_templates_";

impl Export {
    /// Adds the content of a file. Fails if it is neither JSON nor YAML, or contains no AWX templates.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        let mut is_known = false;
        for value in values(text)? {
            is_known |= self.take(&value);
        }
        match is_known {
            true => Ok(()),
            false => Err("no `awx export`, and no notification template of AWX's API".to_owned()),
        }
    }

    /// Returns the attachments of a template.
    pub fn attachments(&self, template: &Template) -> Vec<&Attachment> {
        let is_same = |one: &&Attachment| {
            let organizations = (&one.organization, &template.organization);
            one.template == template.name
                && !matches!(organizations, (Some(one), Some(other)) if one != other)
        };
        self.attachments.iter().filter(is_same).collect()
    }

    /// Adds the content of a value: an object of the API, a page of its results, or an export. Returns true if
    /// it is one of these.
    fn take(&mut self, value: &Value) -> bool {
        match value {
            Value::Array(values) => values
                .iter()
                .fold(false, |known, one| self.take(one) | known),
            Value::Object(object) if object.contains_key("notification_type") => {
                self.add(template(object));
                true
            }
            Value::Object(object) => match object.get("results") {
                // An empty page is a page, too.
                Some(Value::Array(results)) => {
                    for one in results {
                        self.take(one);
                    }
                    true
                }
                _ => self.take_export(object),
            },
            _ => false,
        }
    }

    fn take_export(&mut self, export: &Map<String, Value>) -> bool {
        let list = |name: &str| export.get(name).and_then(Value::as_array);
        let templates = list("notification_templates");
        for object in templates.into_iter().flatten().filter_map(Value::as_object) {
            self.add(template(object));
        }
        let mut is_known = templates.is_some();
        for (name, kind) in RESOURCES {
            let objects = list(name);
            is_known |= objects.is_some();
            for object in objects.into_iter().flatten() {
                self.attach(object, kind);
            }
        }
        is_known
    }

    /// Adds a template, unless it was read before.
    fn add(&mut self, template: Template) {
        if !self.templates.contains(&template) {
            self.templates.push(template);
        }
    }

    fn attach(&mut self, resource: &Value, kind: &str) {
        let name = text(&resource["name"]);
        let related = resource["related"].as_object();
        for (key, attached) in related.into_iter().flatten() {
            let Some(trigger) = key.strip_prefix(ATTACHED) else {
                continue;
            };
            for key in attached.as_array().into_iter().flatten() {
                let attachment = Attachment {
                    template: text(&key["name"]),
                    organization: organization(key),
                    trigger: trigger.to_owned(),
                    resource: format!("{kind} `{name}`"),
                    playbook: resource["playbook"].as_str().map(str::to_owned),
                };
                if !self.attachments.contains(&attachment) {
                    self.attachments.push(attachment);
                }
            }
        }
    }
}

fn template(object: &Map<String, Value>) -> Template {
    let field = |name: &str| object.get(name).unwrap_or(&Value::Null);
    Template {
        name: text(field("name")),
        description: text(field("description")),
        organization: organization(&Value::Object(object.clone())),
        kind: text(field("notification_type")),
        configuration: field("notification_configuration")
            .as_object()
            .cloned()
            .unwrap_or_default(),
        messages: field("messages").clone(),
    }
}

/// Returns the name of the organization: an export refers to it by name, the API by number, with the name in
/// a summary.
fn organization(object: &Value) -> Option<String> {
    let summary = &object["summary_fields"]["organization"]["name"];
    let own = &object["organization"];
    let natural = &object["natural_key"]["organization"]["name"];
    let names = [summary, &own["name"], natural, own];
    names
        .into_iter()
        .find_map(|name| name.as_str().map(str::to_owned))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the JSON values of a text, one after the other, or its YAML.
fn values(text: &str) -> Result<Vec<Value>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let stream = Deserializer::from_str(text).into_iter::<Value>();
    let read: Result<Vec<Value>, _> = stream.collect();
    let reason = match read {
        Ok(values) => return Ok(values),
        Err(error) => error,
    };
    if text.trim_start().starts_with(['{', '[']) {
        return Err(format!("not JSON: {reason}"));
    }
    let value = yaml::read(text).map_err(|error| {
        let reason = error.detail().unwrap_or("not YAML").to_owned();
        format!("neither JSON nor YAML: {reason}")
    })?;
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    Ok(vec![value])
}
