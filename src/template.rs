//! Expressions and templates from the configuration, in Jinja.

use std::collections::HashSet;
use std::sync::LazyLock;

use minijinja::{Environment, Expression, UndefinedBehavior, Value};
use serde_json::value::{RawValue, to_raw_value};

use crate::context::{Context, VARIABLES};
use crate::escape::Escape;
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
            Compiled::Variable(name) => Ok(context.variable(name)),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
