//! Labels of `[event]`: fixed or templated texts on every event.

use std::cell::Cell;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::checked::noted;
use crate::config::entry::Entry;
use crate::config::section::{Section, has_template};
use crate::console::stderr;
use crate::event::Event;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::{Escape, bytes, cut};

/// Prefix of the keys that set a label.
const PREFIX: &str = "label.";
/// Length limit of a label's value, in bytes.
const MAX_LABEL: usize = 1024;

/// Labels of the configuration.
#[derive(Default)]
pub struct Labels(Vec<Label>);

struct Label {
    name: String,
    text: Text,
    /// True once its template has failed: reported once, not once per event.
    failed: Cell<bool>,
}

enum Text {
    Fixed(String),
    Template(Template),
}

impl Labels {
    /// Reads the keys `label.NAME` of a section, and tries their templates on samples.
    pub fn new(section: &Section, samples: &[Context]) -> Labels {
        let label = |entry: &Entry| {
            let name = entry.key.strip_prefix(PREFIX)?;
            if name.is_empty() {
                section.template(&entry.key);
                section.problem(&entry.key, "a label needs a name: `label.NAME`");
                return None;
            }
            let text = match section.template(&entry.key) {
                None => return None,
                Some(source) if has_template(source) => {
                    let made = Template::text(source, Escape::Plain);
                    let template = noted(section, &entry.key, made)?;
                    let failure = samples.iter().find_map(|one| template.render(one).err());
                    if let Some(problem) = failure {
                        section.warning(&entry.key, format!("`{}` may fail: {problem}", entry.key));
                    }
                    if ["labels", "event.labels"]
                        .iter()
                        .any(|name| template.uses(name))
                    {
                        let text = format!(
                            "`{}` does not see the other labels, so `labels` is empty there; repeat what the other label is",
                            entry.key
                        );
                        section.warning(&entry.key, text);
                    }
                    Text::Template(template)
                }
                Some(_) => Text::Fixed(section.text(&entry.key)?.to_owned()),
            };
            Some(Label {
                name: name.to_owned(),
                text,
                failed: Cell::new(false),
            })
        };
        Labels(section.entries.iter().filter_map(label).collect())
    }

    /// Returns the event with these labels, in addition to its own. A label whose text is empty is left out.
    pub fn apply(&self, event: Event) -> Event {
        if self.0.is_empty() {
            return event;
        }
        let context = Context::new(Arc::new(event));
        let texts = self.0.iter().map(|label| (label, label.render(&context)));
        let texts: Vec<(&Label, String)> = texts.collect();
        let mut event = context.into_event();
        let labels = event.labels.get_or_insert_with(Map::new);
        for (label, text) in texts {
            match text.as_str() {
                "" => labels.remove(&label.name),
                text => labels.insert(label.name.clone(), Value::from(cut(text, MAX_LABEL, bytes))),
            };
        }
        event
    }
}

impl Label {
    fn render(&self, context: &Context) -> String {
        let rendered = match &self.text {
            Text::Fixed(text) => return text.clone(),
            Text::Template(template) => template.render(context),
        };
        rendered.unwrap_or_else(|problem| {
            if !self.failed.replace(true) {
                let name = &self.name;
                stderr::say(format!("label `{name}` failed and is left out: {problem}"));
            }
            String::new()
        })
    }
}
