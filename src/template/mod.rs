//! Jinja expressions and templates from the configuration.

pub mod awx;
pub mod context;
pub mod jinja;
pub mod limits;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, Expression, UndefinedBehavior, Value};
use serde_json::value::{RawValue, to_raw_value};

use crate::json::bulk;
use crate::json::lookup;
use crate::panics;
use crate::template::context::{Context, VARIABLES};
use crate::template::jinja::{rewrite_percent, rewrite_sets};
use crate::text::{Escape, UNDEFINED};

/// Environment for most events.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(limits::FUEL));

/// Environment for large events.
static ROOMY: LazyLock<Environment<'static>> = LazyLock::new(|| environment(limits::ROOMY_FUEL));

const TOO_MUCH: &str = "it exceeds the time or memory limit of templates";

/// Approximate size of a host's entry in the end event of a run, in bytes.
const HOST: usize = 256;

/// Rendered texts that count as false, in lower case.
const FALSE_TEXTS: [&str; 11] = [
    "", "false", "no", "off", "0", "n", "f", "none", "null", "[]", "{}",
];

/// Returns the environment of templates: Ansible's conventions, no files, and no access beyond the data.
fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    // As in Ansible, a missing part of a result is undefined at any depth.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    // The template's name is the markup of its text.
    environment.set_auto_escape_callback(|name| match Escape::named(name) {
        Some(escape) => minijinja::AutoEscape::Custom(escape.name().into()),
        None => minijinja::AutoEscape::None,
    });
    environment.set_formatter(format_value);
    minijinja_contrib::add_to_environment(&mut environment);
    limits::add_to(&mut environment);
    environment.set_fuel(Some(fuel));
    jinja::add_to(&mut environment);
    environment
}

/// Writes a value into a text, escaped for its markup unless marked as `safe`.
fn format_value(
    output: &mut minijinja::Output<'_>,
    state: &mut minijinja::State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.as_object().is_some() {
        limits::ensure_bytes(state, limits::weigh(value)?)?;
    }
    let minijinja::AutoEscape::Custom(name) = state.auto_escape() else {
        return minijinja::escape_formatter(output, state, value);
    };
    // In text for people, a missing value is left out.
    if value.is_none() {
        return Ok(());
    }
    // `safe` has no effect in a URL: a value that somebody else chose might change the target.
    let escape = Escape::named(name).filter(|escape| *escape == Escape::Url || !value.is_safe());
    if value.is_undefined() && escape == Some(Escape::Choice) {
        return output.write_str(UNDEFINED).map_err(minijinja::Error::from);
    }
    let text = value.to_string();
    let text = escape.map_or(text.clone(), |escape| escape.apply(&text));
    output.write_str(&text).map_err(minijinja::Error::from)
}

/// Result of a template that may be a list.
pub enum Texts {
    One(String),
    List(Vec<String>),
}

/// A compiled value of the configuration.
pub struct Template {
    compiled: Compiled,
    source: Source,
    /// True after a timeout: a thread may still be running it.
    is_spent: AtomicBool,
}

enum Compiled {
    /// `state`: most fields are just a variable.
    Variable(&'static str),
    /// `result.rc`: keeps its type. Has the keys if it is only a part of the result.
    Expression(Expression<'static, 'static>, Option<Vec<String>>),
    /// `{{ host }} failed`: renders to text.
    Text(minijinja::Template<'static, 'static>),
}

/// Source of a compiled value. Each text is kept until the process ends, but only once, however often its
/// configuration is loaded.
#[derive(Clone, Copy)]
struct Source {
    text: &'static str,
    /// Markup for which values in the text are escaped.
    escape: Option<Escape>,
}

impl Template {
    /// Compiles an expression, or a template if the text contains `{{` or `{%`.
    pub fn new(source: &str) -> Result<Template, String> {
        Template::compile(source, None)
    }

    /// Compiles a text whose values are escaped for its markup.
    pub fn text(source: &str, escape: Escape) -> Result<Template, String> {
        Template::compile(source, Some(escape))
    }

    /// Compiles a text that keeps the type of its value if it is only one `{{ … }}`.
    pub fn typed(source: &str) -> Result<Template, String> {
        Template::typed_as(source, Escape::Plain)
    }

    /// Does the same; if it is a text, its values are escaped for its markup.
    pub fn typed_as(source: &str, escape: Escape) -> Result<Template, String> {
        let inner = source.trim().strip_prefix("{{");
        let inner = inner.and_then(|text| text.strip_suffix("}}"));
        match inner.filter(|inner| !inner.contains("{{") && !inner.contains("{%")) {
            Some(expression) => Template::new(expression.trim()),
            None => Template::text(source, escape),
        }
    }

    fn compile(text: &str, escape: Option<Escape>) -> Result<Template, String> {
        limits::check_source(text)?;
        if escape.is_none() || limits::is_template(text) {
            jinja::stray(text).map_or(Ok(()), Err)?;
        }
        if let Some(unknown) = jinja::unknown_name(&ENVIRONMENT, text) {
            return Err(unknown);
        }
        let text = kept(rewrite_sets(&rewrite_percent(text)));
        let source = Source { text, escape };
        let variable = VARIABLES.iter().find(|name| **name == source.text.trim());
        let compiled = match variable {
            Some(name) if escape.is_none() => Compiled::Variable(name),
            _ => panics::caught(|| source.compile(&ENVIRONMENT))??,
        };
        Ok(Template {
            compiled,
            source,
            is_spent: AtomicBool::new(false),
        })
    }

    /// Returns the text rendered for an event.
    pub fn render(&self, context: &Context) -> Result<String, String> {
        let value = self.evaluate(context)?;
        Ok(value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned))
    }

    /// Returns the texts of a list, or the single text; nothing for null.
    pub fn texts(&self, context: &Context) -> Result<Texts, String> {
        let value = self.evaluate(context)?;
        let is_there = |value: &Value| !value.is_none() && !value.is_undefined();
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            let text = is_there(&value).then(|| value.to_string());
            return Ok(Texts::One(text.unwrap_or_default()));
        }
        let values = value.try_iter().map_err(|error| error.to_string())?;
        let texts = values.filter(is_there).map(|value| value.to_string());
        Ok(Texts::List(texts.collect()))
    }

    /// Returns the text of a choice, empty for null; None if it is empty because something is undefined, such as
    /// the value of an unknown key.
    pub fn choice(&self, context: &Context) -> Result<Option<String>, String> {
        let value = self.evaluate(context)?;
        if value.is_none() || value.is_undefined() {
            return Ok(value.is_none().then(String::new));
        }
        let text = value.to_string();
        let defined = text.replace(UNDEFINED, "");
        let is_there = !defined.trim().is_empty() || defined == text;
        Ok(is_there.then_some(defined))
    }

    /// Returns true if the condition holds for an event. A template's text is interpreted as a boolean.
    pub fn holds(&self, context: &Context) -> Result<bool, String> {
        let value = self.evaluate(context)?;
        Ok(match (&self.compiled, value.as_str()) {
            (Compiled::Text(_), Some(text)) => {
                let text = text.trim().to_ascii_lowercase();
                !FALSE_TEXTS.contains(&text.as_str())
            }
            _ => value.is_true(),
        })
    }

    /// Returns true for a template, which renders to text.
    pub fn is_text(&self) -> bool {
        matches!(self.compiled, Compiled::Text(_))
    }

    /// Returns the undefined names it uses.
    pub fn unknown_variables(&self) -> Vec<String> {
        let known = |name: &String| {
            VARIABLES.contains(&name.as_str())
                || ENVIRONMENT.globals().any(|(global, _)| global == name)
        };
        let used = self.used(false).into_iter();
        let mut unknown: Vec<String> = used.filter(|name| !known(name)).collect();
        unknown.sort();
        unknown
    }

    /// Returns true if it uses a variable, or part of it, by these names with dots between them.
    pub fn uses(&self, variable: &str) -> bool {
        self.used(true).iter().any(|name| {
            let rest = name.strip_prefix(variable);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Returns the names that it uses; with `nested`, those with dots, too.
    fn used(&self, nested: bool) -> HashSet<String> {
        match &self.compiled {
            Compiled::Variable(name) => HashSet::from([(*name).to_owned()]),
            Compiled::Expression(expression, _) => expression.undeclared_variables(nested),
            Compiled::Text(template) => template.undeclared_variables(nested),
        }
    }

    /// Returns its value for an event as JSON. A part of the result is copied verbatim, because it may be
    /// large.
    pub fn json(&self, context: &Context) -> Result<Box<RawValue>, String> {
        let keys = match &self.compiled {
            Compiled::Expression(_, Some(keys)) => Some(keys.as_slice()),
            Compiled::Variable("result") => Some(&[][..]),
            _ => None,
        };
        if let (Some(keys), Some(result)) = (keys, &context.event().result)
            && let Some(part) = lookup::part(result, keys)
            && (!keys.is_empty() || bulk::is_large(part.get()))
        {
            return Ok(part.to_owned());
        }
        let value = self.evaluate(context)?;
        let text = panics::caught(|| to_raw_value(&value))?;
        Ok(text.unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }

    /// Returns its value for an event.
    pub fn evaluate(&self, context: &Context) -> Result<Value, String> {
        if let Compiled::Variable(name) = &self.compiled {
            return panics::caught(|| context.variable(name));
        }
        if limits::is_heavy(self.source.text) {
            return self.evaluate_aside(context);
        }
        panics::caught(|| match &self.compiled {
            compiled if !is_large(context) => compiled.evaluate(context),
            _ => self.source.compile(&ROOMY)?.evaluate(context),
        })?
    }

    /// Evaluates on a separate thread with a large stack and a timeout.
    fn evaluate_aside(&self, context: &Context) -> Result<Value, String> {
        let (source, context) = (self.source, context.clone());
        let (environment, stack) = if is_large(&context) {
            (&ROOMY, limits::ROOMY_STACK)
        } else {
            (&ENVIRONMENT, limits::STACK)
        };
        let evaluate = move || source.compile(environment)?.evaluate(&context);
        if self.is_spent.load(Ordering::Relaxed) {
            return Err(TOO_MUCH.to_owned());
        }
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn(move || {
                // The receiver may have timed out.
                let _ = sender.send(panics::caught(evaluate).flatten());
            })
            .map_err(|error| format!("not enough memory to evaluate it: {error}"))?;
        receiver.recv_timeout(limits::PATIENCE).unwrap_or_else(|_| {
            self.is_spent.store(true, Ordering::Relaxed);
            Err(TOO_MUCH.to_owned())
        })
    }
}

impl Source {
    fn compile(self, environment: &'static Environment<'static>) -> Result<Compiled, String> {
        let compiled = match self.escape {
            Some(escape) => environment
                .template_from_named_str(escape.name(), self.text)
                .map(Compiled::Text),
            None if limits::is_template(self.text) => {
                environment.template_from_str(self.text).map(Compiled::Text)
            }
            None => environment
                .compile_expression(self.text)
                .map(|expression| Compiled::Expression(expression, lookup::keys_of(self.text))),
        };
        compiled.map_err(|error| explain(&error))
    }
}

impl Compiled {
    fn evaluate(&self, context: &Context) -> Result<Value, String> {
        let value = match self {
            Compiled::Variable(name) => return Ok(context.variable(name)),
            Compiled::Expression(expression, _) => expression.eval(context.value()),
            Compiled::Text(template) => template.render(context.value()).map(Value::from),
        };
        let value = value.and_then(|value| limits::weigh(&value).map(|_| value));
        value.map_err(|error| explain(&error))
    }
}

/// Returns the text as one that is kept until the process ends: compiled templates borrow from it.
fn kept(text: String) -> &'static str {
    static KEPT: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(text.as_str()) {
        return known;
    }
    let text: &'static str = Box::leak(text.into_boxed_str());
    all.insert(text);
    text
}

fn is_large(context: &Context) -> bool {
    let sizes = context.events().map(|event| {
        let hosts = event.end.as_ref().map_or(0, |end| end.stats.len());
        event.size() + hosts * HOST
    });
    sizes.sum::<usize>() > limits::LARGE
}

/// Returns a one-line description of an error in a template.
fn explain(error: &minijinja::Error) -> String {
    if error.kind() == ErrorKind::OutOfFuel {
        return TOO_MUCH.to_owned();
    }
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    let detail = detail.lines().next().unwrap_or_default();
    jinja::at_line(detail.to_owned(), error.line())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::parse::EventParser;

    fn evaluate(source: &str, event: &str) -> serde_json::Value {
        let event = EventParser::new().read(event.as_bytes()).unwrap();
        let template = Template::new(source).unwrap();
        serde_json::to_value(template.evaluate(&Context::new(Arc::new(event))).unwrap()).unwrap()
    }

    const EVENT: &str = r#"{"state":"failed","host":"web1","changed":true,
        "result":{"rc":2,"stdout":"a\nb","list":[1,null],"big":18446744073709551617,"huge":1e400,"evil":"{{ 7*7 }}"}}"#;

    #[test]
    fn a_text_compiled_again_takes_no_more_memory() {
        let text = || Template::new("{{ host }} again").unwrap().source.text;
        assert!(std::ptr::eq(text(), text()));
    }

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
        for source in ["event.result.stdout_lines", "events[0].result.stdout_lines"] {
            assert_eq!(evaluate(source, EVENT), serde_json::json!(["a", "b"]));
        }
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
    fn the_metadata_are_a_text_and_a_dictionary() {
        let event = r#"{"event":"run_end","status":"error","time":"2026-01-01T00:00:00Z",
            "run":{"id":"r","playbook":"site.yml"},"stats":{"web1":{"ok":1,"failures":1},"db1":{"unreachable":1},"app1":{"ok":1}}}"#;
        let text = evaluate("job_metadata", event);
        let said: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        assert_eq!(said["playbook"], "site.yml");
        for source in [
            "{{ job_metadata }}",
            "job_metadata ~ ''",
            "job_metadata | string",
        ] {
            assert_eq!(evaluate(source, event), text, "{source}");
        }
        let walk = "{% for name, host in job_metadata.hosts.items() if host.failed %}{{ name }} {% endfor %}";
        assert_eq!(evaluate(walk, event), "web1 db1 ");
        assert_eq!(evaluate("job_metadata['hosts'].web1.ok", event), 1);
        assert_eq!(evaluate("job_metadata.get('playbook')", event), "site.yml");
        assert_eq!(evaluate("job_metadata is mapping", event), true);
        assert_eq!(
            evaluate("job_metadata | list | first", event),
            evaluate("job_metadata.keys() | first", event)
        );
        assert!(evaluate("job_metadata.no_such", event).is_null());
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
