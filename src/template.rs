//! The Jinja side: expressions and templates from the configuration, and what they see of an event.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Environment, Expression, UndefinedBehavior, Value};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::awx;
use crate::escape::Escape;
use crate::event::{Event, time_text};
use crate::part;

/// One environment for all templates: Ansible's habits, no files, no way out of the data.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // As in Ansible, a missing part of a result is undefined however deep one asks.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    // A template is named after the markup of its text.
    environment.set_auto_escape_callback(|name| match Escape::named(name) {
        Some(escape) => minijinja::AutoEscape::Custom(escape.name().into()),
        None => minijinja::AutoEscape::None,
    });
    environment.set_formatter(format_value);
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // Endless loops end: far above what a message needs, well below a second.
    environment.set_fuel(Some(10_000_000));
    environment.add_filter("to_json", to_json);
    environment
});

/// Writes a value into a text: escaped for its markup, unless it was marked as `safe`.
fn format_value(
    output: &mut minijinja::Output<'_>,
    state: &mut minijinja::State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let minijinja::AutoEscape::Custom(name) = state.auto_escape() else {
        return minijinja::escape_formatter(output, state, value);
    };
    // In a text for people, what is not there is not written.
    if value.is_none() {
        return Ok(());
    }
    // Nothing is safe in a URL: one that could be chosen might lead elsewhere.
    let escape = Escape::named(name).filter(|escape| *escape == Escape::Url || !value.is_safe());
    let text = value.to_string();
    let text = escape.map_or(text.clone(), |escape| escape.apply(&text));
    output.write_str(&text).map_err(minijinja::Error::from)
}

fn check_length(source: &str) -> Result<(), String> {
    if source.len() > LONGEST {
        return Err(format!(
            "an expression or template has at most {LONGEST} bytes, and this one {}",
            source.len()
        ));
    }
    Ok(())
}

/// Ansible's name for the `tojson` filter, without its escapes for HTML.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    })
}

/// The names that expressions and templates may use.
pub const VARIABLES: [&str; 40] = [
    "event",
    "state",
    "changed",
    "ignored",
    "host",
    "host_address",
    "task_name",
    "task_action",
    "task_path",
    "role",
    "play_name",
    "playbook",
    "run_id",
    "item",
    "time",
    "duration",
    "result",
    "task_output",
    "check",
    "id",
    "callback",
    "status",
    "stats",
    "elapsed",
    "previous",
    "recovered",
    "failed_tasks",
    "failures",
    "changed_hosts",
    "events",
    "hosts",
    "reason",
    "user",
    "controller",
    "inventory",
    "url",
    "test",
    "job",
    "job_friendly_name",
    "job_metadata",
];

/// A longer text is no template: what is compiled of one is as deep as its longest chain of operators.
const LONGEST: usize = 32 << 10;

/// A compiled value of the configuration.
pub struct Template(Compiled);

enum Compiled {
    /// `state`: most fields are no more than that.
    Variable(&'static str),
    /// `result.rc`: keeps its type. With its keys, where it is nothing but a part of the result.
    Expression(Expression<'static, 'static>, Option<Vec<String>>),
    /// `{{ host }} failed`: gives text.
    Text(minijinja::Template<'static, 'static>),
}

impl Template {
    /// Compiles an expression, or a template where the text holds `{{` or `{%`.
    pub fn new(source: &str) -> Result<Template, String> {
        check_length(source)?;
        if let Some(name) = VARIABLES.iter().find(|name| **name == source.trim()) {
            Ok(Compiled::Variable(name))
        } else if source.contains("{{") || source.contains("{%") {
            // A configuration lives as long as the process, and so may its few templates.
            let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
            ENVIRONMENT.template_from_str(source).map(Compiled::Text)
        } else {
            ENVIRONMENT
                .compile_expression_owned(source.to_owned())
                .map(|expression| Compiled::Expression(expression, part::keys_of(source)))
        }
        .map(Template)
        .map_err(|error| explain(&error))
    }

    /// Compiles a text in which values are escaped for its markup.
    pub fn text(source: &str, escape: Escape) -> Result<Template, String> {
        check_length(source)?;
        let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
        ENVIRONMENT
            .template_from_named_str(escape.name(), source)
            .map(|template| Template(Compiled::Text(template)))
            .map_err(|error| explain(&error))
    }

    /// The text that it gives for an event.
    pub fn render(&self, context: &Context) -> Result<String, String> {
        let value = self.evaluate(context)?;
        Ok(value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The names it uses that nothing defines.
    pub fn unknown_variables(&self) -> Vec<String> {
        let used: HashSet<String> = match &self.0 {
            Compiled::Variable(_) => HashSet::new(),
            Compiled::Expression(expression, _) => expression.undeclared_variables(false),
            Compiled::Text(template) => template.undeclared_variables(false),
        };
        let known = |name: &String| {
            VARIABLES.contains(&name.as_str())
                || ENVIRONMENT.globals().any(|(global, _)| global == name)
        };
        let mut unknown: Vec<String> = used.into_iter().filter(|name| !known(name)).collect();
        unknown.sort();
        unknown
    }

    /// Its value for an event as JSON. A part of the result is taken as it is there: it may be large.
    pub fn json(&self, context: &Context) -> Result<Box<RawValue>, String> {
        if let (Compiled::Expression(_, Some(keys)), Some(result)) =
            (&self.0, &context.event().result)
            && let Some(part) = part::part(result, keys)
        {
            return Ok(part.to_owned());
        }
        let value = self.evaluate(context)?;
        Ok(to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// Its value for an event.
    pub fn evaluate(&self, context: &Context) -> Result<Value, String> {
        match &self.0 {
            Compiled::Variable(name) => Ok(context.0.get_value_by_str(name).unwrap_or_default()),
            Compiled::Expression(expression, _) => expression.eval(context.value()),
            Compiled::Text(template) => template.render(context.value()).map(Value::from),
        }
        .map_err(|error| explain(&error))
    }
}

/// One line on what is wrong with a template.
fn explain(error: &minijinja::Error) -> String {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    detail.lines().next().unwrap_or_default().to_owned()
}

/// An event as expressions and templates see it.
#[derive(Clone, Debug)]
pub struct Context(Arc<View>);

impl Context {
    pub fn new(event: Arc<Event>) -> Context {
        Context::group(event, Vec::new())
    }

    /// Several events that one message is about: the first, and the others in their order.
    pub fn group(first: Arc<Event>, others: Vec<Arc<Event>>) -> Context {
        Context(Arc::new(View {
            event: first,
            others,
            result: OnceLock::new(),
        }))
    }

    /// The event, the first one of a group.
    pub fn event(&self) -> &Event {
        &self.0.event
    }

    /// All events of a group.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        std::iter::once(&self.0.event).chain(&self.0.others)
    }

    /// The hosts of all its events, each once.
    pub fn hosts(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.events().map(|event| event.host_name());
        names
            .filter(|name| !name.is_empty() && seen.insert(*name))
            .collect()
    }

    /// The same events, without what was made of them.
    pub fn afresh(&self) -> Context {
        Context::group(self.0.event.clone(), self.0.others.clone())
    }

    fn value(&self) -> Value {
        Value::from_dyn_object(self.0.clone())
    }
}

/// What a task says for people, of all that its result holds.
#[derive(Deserialize)]
struct Said {
    stdout: Option<serde_json::Value>,
    msg: Option<serde_json::Value>,
    censored: Option<serde_json::Value>,
}

#[derive(Debug)]
struct View {
    event: Arc<Event>,
    /// The rest of a group.
    others: Vec<Arc<Event>>,
    /// Parsed when first asked for: most events are delivered without a look inside.
    result: OnceLock<Value>,
}

impl View {
    fn result(&self) -> &Value {
        self.result.get_or_init(|| match self.event.result_value() {
            serde_json::Value::Object(object) => Value::from_object(TaskResult(Value::from_pairs(
                object
                    .into_iter()
                    .map(|(key, value)| (key, from_json(value))),
            ))),
            other => from_json(other),
        })
    }

    /// What a task said: stdout, else msg; that it is hidden under `no_log`; else the result as JSON.
    fn task_output(&self) -> Option<Value> {
        let raw = self.event.result.as_ref()?;
        let said = match serde_json::from_str::<Said>(raw.get()) {
            Ok(said) => [said.stdout, said.msg, said.censored].map(|said| said.map(from_json)),
            // No object, or one that is read with care.
            Err(_) => ["stdout", "msg", "censored"].map(|key| {
                let value = self.result().get_attr(key).ok()?;
                (!value.is_undefined() && !value.is_none()).then_some(value)
            }),
        };
        let values: Vec<Value> = said.into_iter().flatten().collect();
        let full = values.iter().find(|value| value.as_str() != Some(""));
        match full.or(values.first()) {
            Some(value) if value.as_str().is_some() => Some(value.clone()),
            Some(value) => serde_json::to_string(value).ok().map(Value::from),
            None => Some(Value::from(raw.get())),
        }
    }
}

impl Object for View {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let event = &self.event;
        let task = event.task.as_ref();
        let end = event.end.as_ref();
        let text = |text: Option<&str>| text.map(Value::from);
        let context = || Context(self.clone());
        match name {
            "event" => Some(data(event.as_ref())),
            "callback" => text(Some(&event.event)),
            "id" => text(Some(&event.id)),
            "state" => text(event.state.map(|state| state.name())),
            "changed" => Some(Value::from(event.changed)),
            "ignored" => Some(Value::from(event.ignored)),
            "host" => text(event.host.as_ref().map(|host| host.name.as_str())),
            "host_address" => text(event.host.as_ref().and_then(|host| host.address.as_deref())),
            "task_name" => text(task.map(|task| task.name.as_str())),
            "task_action" => text(task.and_then(|task| task.action.as_deref())),
            "task_path" => text(task.and_then(|task| task.path.as_deref())),
            "role" => text(task.and_then(|task| task.role.as_deref())),
            "play_name" => text(event.play.as_ref().map(|play| play.name.as_str())),
            "playbook" => text(event.run.playbook.as_deref()),
            "run_id" => text(Some(&event.run.id)),
            "check" => Some(Value::from(event.run.check)),
            "user" => text(event.run.user.as_deref()),
            "controller" => text(event.run.controller.as_deref()),
            "inventory" => Some(event.run.inventory.iter().map(String::as_str).collect()),
            "url" => text(event.run.url.as_deref()),
            "test" => Some(Value::from(event.test)),
            "reason" => event.reason().map(Value::from),
            "hosts" => Some(context().hosts().into_iter().collect()),
            "events" => Some(
                context()
                    .events()
                    .map(|event| data(event.as_ref()))
                    .collect(),
            ),
            "job" => Some(from_json(awx::job(event))),
            "job_friendly_name" => Some(Value::from(awx::FRIENDLY_NAME)),
            "job_metadata" => Some(Value::from(awx::metadata(event))),
            "item" => event.item.clone().map(from_json),
            "time" => Some(Value::from(time_text(event.time))),
            "duration" => event.duration.map(Value::from),
            "result" => Some(self.result().clone()),
            "task_output" => self.task_output(),
            "status" => event.status().map(|status| Value::from(status.name())),
            "previous" => end?.previous.map(|status| Value::from(status.name())),
            "recovered" => Some(Value::from(event.recovered())),
            "failures" => end.map(|end| Value::from(end.failures)),
            "failed_tasks" => end.map(|end| data(&end.failed_tasks)),
            "changed_hosts" => end.map(|end| data(&end.changed_hosts)),
            "elapsed" => end.map(|end| Value::from(end.elapsed)),
            "stats" => end.map(|end| from_json(serde_json::Value::Object(end.stats.clone()))),
            _ => None,
        }
    }
}

fn data(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).map_or(Value::UNDEFINED, from_json)
}

/// A result, with the lists of lines that Ansible users know made again from the text.
#[derive(Debug)]
struct TaskResult(Value);

impl Object for TaskResult {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self
            .0
            .get_item(key)
            .ok()
            .filter(|value| !value.is_undefined());
        found.or_else(|| {
            let source = key
                .as_str()?
                .strip_suffix("_lines")
                .filter(|name| matches!(*name, "stdout" | "stderr"))?;
            let text = self.0.get_attr(source).ok()?;
            Some(text.as_str()?.lines().map(Value::from).collect())
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = self.0.try_iter().map(Iterator::collect).unwrap_or_default();
        Enumerator::Values(keys)
    }
}

/// JSON as a template value. A number that no machine number holds stays what it is: its text.
fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(flag),
        serde_json::Value::Number(number) => from_number(&number),
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(array) => array.into_iter().map(from_json).collect(),
        serde_json::Value::Object(object) => Value::from_pairs(
            object
                .into_iter()
                .map(|(key, value)| (key, from_json(value))),
        ),
    }
}

fn from_number(number: &serde_json::Number) -> Value {
    let text = number.as_str();
    if let Ok(integer) = text.parse::<i64>() {
        return Value::from(integer);
    }
    if let Ok(integer) = text.parse::<i128>() {
        return Value::from(integer);
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() && text.contains(['.', 'e', 'E']) => Value::from(float),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reader::Reader;

    fn evaluate(source: &str, event: &str) -> serde_json::Value {
        let event = Reader::new().read(event.as_bytes()).unwrap();
        let template = Template::new(source).unwrap();
        serde_json::to_value(template.evaluate(&Context::new(Arc::new(event))).unwrap()).unwrap()
    }

    const EVENT: &str = r#"{"state":"failed","host":"web1","changed":true,
        "result":{"rc":2,"stdout":"a\nb","list":[1,null],"big":18446744073709551617,"huge":1e400,"evil":"{{ 7*7 }}"}}"#;

    #[test]
    fn types_survive() {
        assert_eq!(evaluate("result.rc", EVENT), 2);
        assert_eq!(evaluate("result.list", EVENT), serde_json::json!([1, null]));
        assert_eq!(evaluate("changed", EVENT), true);
        assert_eq!(evaluate("'production'", EVENT), "production");
        assert_eq!(evaluate("{{ host }}: {{ state }}", EVENT), "web1: failed");
        assert_eq!(
            evaluate("result.big", EVENT).to_string(),
            "18446744073709551617"
        );
        assert_eq!(evaluate("result.huge", EVENT), "1e+400");
    }

    #[test]
    fn what_is_missing_is_null() {
        for source in ["result.no.such.thing", "item", "task_name", "status"] {
            assert!(evaluate(source, EVENT).is_null(), "{source}");
        }
        assert_eq!(evaluate("result.no.such | default('x')", EVENT), "x");
    }

    #[test]
    fn values_are_never_templates_themselves() {
        assert_eq!(evaluate("{{ result.evil }}", EVENT), "{{ 7*7 }}");
        assert_eq!(evaluate("result.evil", EVENT), "{{ 7*7 }}");
    }

    #[test]
    fn lines_and_output_are_made_again() {
        assert_eq!(
            evaluate("result.stdout_lines", EVENT),
            serde_json::json!(["a", "b"])
        );
        assert_eq!(evaluate("task_output", EVENT), "a\nb");
        assert_eq!(
            evaluate(
                "task_output",
                r#"{"state":"failed","result":{"stdout":"","msg":["x"]}}"#
            ),
            "[\"x\"]"
        );
        assert_eq!(
            evaluate("task_output", r#"{"state":"failed","result":{"rc":1}}"#),
            "{\"rc\":1}"
        );
        let silent = r#"{"state":"success","result":{"stdout":"","rc":0}}"#;
        assert_eq!(evaluate("task_output", silent), "");
        assert!(evaluate("task_output", r#"{"state":"failed"}"#).is_null());
    }

    #[test]
    fn unknown_names_are_found() {
        assert_eq!(
            Template::new("tsk_name ~ result.x")
                .unwrap()
                .unknown_variables(),
            ["tsk_name"]
        );
        assert!(
            Template::new("{% for x in range(3) %}{{ x }}{% endfor %}")
                .unwrap()
                .unknown_variables()
                .is_empty()
        );
        assert!(Template::new("result. ").is_err());
    }
}
