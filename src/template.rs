//! The Jinja side: expressions and templates from the configuration, and what they see of an event.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, OnceLock};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Environment, Expression, UndefinedBehavior, Value};

use crate::event::{Event, time_text};

/// One environment for all templates: Ansible's habits, no files, no way out of the data.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // As in Ansible, a missing part of a result is undefined however deep one asks.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    // Endless loops end: far above what a message needs, well below a second.
    environment.set_fuel(Some(10_000_000));
    environment.add_filter("to_json", to_json);
    environment
});

/// Ansible's name for the `tojson` filter, without its escapes for HTML.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value).map_err(|error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
    })
}

/// The names that expressions and templates may use.
pub const VARIABLES: [&str; 24] = [
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
];

/// A compiled value of the configuration.
pub struct Template(Compiled);

enum Compiled {
    /// `result.rc`: keeps its type.
    Expression(Expression<'static, 'static>),
    /// `{{ host }} failed`: gives text.
    Text(minijinja::Template<'static, 'static>),
}

impl Template {
    /// Compiles an expression, or a template where the text holds `{{` or `{%`.
    pub fn new(source: &str) -> Result<Template, String> {
        if source.contains("{{") || source.contains("{%") {
            // A configuration lives as long as the process, and so may its few templates.
            let source: &'static str = Box::leak(source.to_owned().into_boxed_str());
            ENVIRONMENT.template_from_str(source).map(Compiled::Text)
        } else {
            ENVIRONMENT
                .compile_expression_owned(source.to_owned())
                .map(Compiled::Expression)
        }
        .map(Template)
        .map_err(|error| explain(&error))
    }

    /// The names it uses that nothing defines.
    pub fn unknown_variables(&self) -> Vec<String> {
        let used: HashSet<String> = match &self.0 {
            Compiled::Expression(expression) => expression.undeclared_variables(false),
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

    /// Its value for an event.
    pub fn evaluate(&self, context: &Context) -> Result<Value, String> {
        match &self.0 {
            Compiled::Expression(expression) => expression.eval(context.value()),
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
        Context(Arc::new(View {
            event,
            result: OnceLock::new(),
        }))
    }

    pub fn event(&self) -> &Event {
        &self.0.event
    }

    fn value(&self) -> Value {
        Value::from_dyn_object(self.0.clone())
    }
}

#[derive(Debug)]
struct View {
    event: Arc<Event>,
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
        let result = self.result();
        let said = |key: &str| {
            let value = result.get_attr(key).ok()?;
            (!value.is_undefined() && !value.is_none()).then_some(value)
        };
        let values: Vec<Value> = ["stdout", "msg", "censored"]
            .into_iter()
            .filter_map(said)
            .collect();
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
        match name {
            "event" => Some(from_json(serde_json::to_value(event.as_ref()).ok()?)),
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
            "item" => event.item.clone().map(from_json),
            "time" => Some(Value::from(time_text(event.time))),
            "duration" => event.duration.map(Value::from),
            "result" => Some(self.result().clone()),
            "task_output" => self.task_output(),
            "status" => end.map(|end| Value::from(end.status.name())),
            "elapsed" => end.map(|end| Value::from(end.elapsed)),
            "stats" => end.map(|end| from_json(serde_json::Value::Object(end.stats.clone()))),
            _ => None,
        }
    }
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
