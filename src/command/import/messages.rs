//! Messages of a notification template of AWX, as the templates of a notifier.

use std::sync::{Arc, LazyLock};

use fancy_regex::Regex;
use serde_json::Value;

use super::draft::Draft;
use crate::event::callback::Callback;
use crate::event::{Status, sample};
use crate::template::Template;
use crate::template::context::Context;
use crate::text::Escape;

/// Parts of a job about which AWX notifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Started,
    Success,
    /// The job failed or was canceled.
    Error,
}

/// AWX's default message, and its default bodies: data for some kinds, text for email.
const MESSAGE: &str =
    "{{ job_friendly_name }} #{{ job.id }} '{{ job.name }}' {{ job.status }}: {{ url }}";
const DATA: &str = "{{ job_metadata }}";
const MAIL: &str = "{{ job_friendly_name }} #{{ job.id }} had status {{ job.status }}, view details at {{ url }}\n\n{{ job_metadata }}";

static SAMPLES: LazyLock<Vec<Context>> = LazyLock::new(|| {
    let start = sample::of(Callback::PlaybookOnStart);
    let ends = [Status::Success, Status::Error].map(sample::run_end);
    let context = |event| Context::new(Arc::new(event));
    std::iter::once(start).chain(ends).map(context).collect()
});

impl Moment {
    /// Every moment, in the order of a run.
    pub const ALL: [Moment; 3] = [Moment::Started, Moment::Success, Moment::Error];

    /// Returns AWX's name.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Started => "started",
            Moment::Success => "success",
            Moment::Error => "error",
        }
    }

    /// Returns the triggers of `on`: AWX counts a canceled job as failed.
    pub fn triggers(self) -> &'static str {
        match self {
            Moment::Started => "started",
            Moment::Success => "success",
            Moment::Error => "error, canceled",
        }
    }

    fn condition(self) -> &'static str {
        match self {
            Moment::Started => "status == 'running'",
            Moment::Success => "status == 'success'",
            Moment::Error => "status in ['error', 'canceled']",
        }
    }
}

/// Message and body of a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub moment: Moment,
    pub message: String,
    pub body: String,
}

/// Reads the messages of these moments. A missing or unusable part is replaced by AWX's default, with a remark.
pub fn read(messages: &Value, moments: &[Moment], draft: &mut Draft, kind: &str) -> Vec<Said> {
    let default_body = if kind == "email" { MAIL } else { DATA };
    let mut part = |moment: Moment, name: &str, default: &str| {
        let text = messages[moment.name()][name].as_str().unwrap_or_default();
        let text = text.replace("\r\n", "\n");
        if text.trim().is_empty() {
            return default.to_owned();
        }
        let Err(problem) = usable(&text) else {
            for name in missing(&text) {
                draft.remark_once(format!("`{name}` is empty here."));
            }
            return text;
        };
        let (moment, text) = (moment.name(), text.trim_end());
        draft.remark(format!(
            "The {name} of `{moment}` is AWX's default, because its own cannot be used here: {problem}\n{text}"
        ));
        default.to_owned()
    };
    let said = |moment: &Moment| Said {
        moment: *moment,
        message: part(*moment, "message", MESSAGE),
        body: part(*moment, "body", default_body),
    };
    let said = moments.iter().map(said).collect();
    if messages["workflow_approval"]
        .as_object()
        .is_some_and(has_text)
    {
        draft.remark("The messages of `workflow_approval` have no counterpart: ansible-notify has no approvals.");
    }
    said
}

fn has_text(messages: &serde_json::Map<String, Value>) -> bool {
    let texts = messages.values().filter_map(Value::as_object);
    let mut texts = texts.flat_map(|one| one.values());
    texts.any(|text| text.as_str().is_some_and(|text| !text.trim().is_empty()))
}

/// Returns the reason why a template cannot be used, if any.
fn usable(source: &str) -> Result<(), String> {
    let template = Template::text(source, Escape::Plain)?;
    if let Some(unknown) = template.unknown_variables().first() {
        return Err(format!("unknown variable `{unknown}`"));
    }
    SAMPLES
        .iter()
        .try_for_each(|sample| template.render(sample).map(drop))
}

/// Returns the parts of AWX's `job` in a template that are always empty here.
fn missing(source: &str) -> Vec<&str> {
    static PART: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\bjob(\.[a-zA-Z_]+)+").expect("the pattern is valid"));
    let is_missing = |part: &&str| {
        let template = Template::new(&format!("{part} is undefined"));
        let end = SAMPLES.last();
        let missing = template
            .ok()
            .zip(end)
            .map(|(template, end)| template.holds(end));
        missing == Some(Ok(true))
    };
    let parts = PART.find_iter(source).filter_map(Result::ok);
    parts.map(|part| part.as_str()).filter(is_missing).collect()
}

/// Returns the messages of all moments as one template, on one line.
pub fn message(said: &[Said]) -> String {
    let text = |one: &Said| one.message.trim().replace('\n', " ");
    chosen(said, text, false)
}

/// Returns the bodies of all moments as one template.
pub fn body(said: &[Said]) -> String {
    chosen(said, |one| one.body.clone(), true)
}

/// Joins the texts of several moments into one template; as a block, with tags on separate lines.
fn chosen(said: &[Said], text: impl Fn(&Said) -> String, is_block: bool) -> String {
    let Some((last, others)) = said.split_last() else {
        return String::new();
    };
    if others.iter().all(|one| text(one) == text(last)) {
        return text(last);
    }
    let (open, close) = match is_block {
        true => ("\n{%-", "-%}\n"),
        false => ("{%", "%}"),
    };
    let mut template = String::new();
    for one in others {
        let word = if template.is_empty() { "if" } else { "elif" };
        let condition = one.moment.condition();
        template.push_str(&format!("{open} {word} {condition} {close}{}", text(one)));
    }
    let template = format!(
        "{template}{open} else {close}{}{open} endif %}}",
        text(last)
    );
    template.trim_start().to_owned()
}

/// Returns a template that gives text even if it is only one value.
pub fn as_text(template: &str) -> String {
    let is_alone = template.trim().starts_with("{{")
        && template.trim().ends_with("}}")
        && template.matches("{{").count() == 1
        && !template.contains("{%");
    match is_alone {
        true => format!("{}{{{{ '' }}}}", template.trim()),
        false => template.to_owned(),
    }
}

/// Returns the JSON of a body whose texts are templates, each of which gives text; None if it is not JSON.
pub fn json(body: &str) -> Option<String> {
    let value: Value = serde_json::from_str(body).ok()?;
    let texts = with_texts(value.clone());
    match texts == value {
        true => Some(body.to_owned()),
        false => serde_json::to_string_pretty(&texts).ok(),
    }
}

fn with_texts(value: Value) -> Value {
    match value {
        // In AWX this text would break its JSON; here it is data.
        Value::String(text) if text.trim() == DATA => Value::String(text),
        Value::String(text) => as_text(&text).into(),
        Value::Array(values) => values.into_iter().map(with_texts).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| (name, with_texts(value)))
                .collect()
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_template_combines_all_moments() {
        let said = |moments: &[(Moment, &str)]| -> Vec<Said> {
            let said = |(moment, text): &(Moment, &str)| Said {
                moment: *moment,
                message: (*text).to_owned(),
                body: (*text).to_owned(),
            };
            moments.iter().map(said).collect()
        };
        let same = said(&[(Moment::Started, "a"), (Moment::Error, "a")]);
        assert_eq!((message(&same), body(&same)), ("a".into(), "a".into()));
        let all = [
            (Moment::Started, "a"),
            (Moment::Success, "b"),
            (Moment::Error, "c\nd"),
        ];
        let all = said(&all);
        assert_eq!(
            message(&all),
            "{% if status == 'running' %}a{% elif status == 'success' %}b{% else %}c d{% endif %}"
        );
        assert_eq!(
            body(&all),
            "{%- if status == 'running' -%}\na\n{%- elif status == 'success' -%}\nb\n{%- else -%}\nc\nd\n{%- endif %}"
        );
    }

    #[test]
    fn a_text_stays_a_text() {
        assert_eq!(as_text("{{ job.id }}"), "{{ job.id }}{{ '' }}");
        assert_eq!(as_text("{{ a }}{{ b }}"), "{{ a }}{{ b }}");
        assert_eq!(json("{\"a\": 1}").as_deref(), Some("{\"a\": 1}"));
        assert_eq!(json("{{ job_metadata }}"), None);
        assert_eq!(
            json("[\"{{ x }}\", \"{{ job_metadata }}\"]").as_deref(),
            Some("[\n  \"{{ x }}{{ '' }}\",\n  \"{{ job_metadata }}\"\n]")
        );
    }

    #[test]
    fn empty_variables_are_reported() {
        let text = "{{ job.name }} {{ job.summary_fields.project.name }} {{ job.artifacts.url | default('') }} {{ myjob.x }}";
        assert_eq!(
            missing(text),
            ["job.summary_fields.project.name", "job.artifacts.url"]
        );
    }
}
