//! Pages from templates. Every value passes through one function here, which masks secrets, makes control and
//! bidirectional characters visible, and escapes HTML.

use std::sync::LazyLock;

use jiff::Timestamp;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior};
use serde::Serialize;

use super::assets;
use crate::panics;
use crate::secret;
use crate::spool::DeliveryState;
use crate::spool::record::Outcome;
use crate::template::limits;
use crate::text;

/// Templates by name; each extends the layout or is used by others.
const TEMPLATES: [(&str, &str); 15] = [
    ("layout", include_str!("pages/layout.html")),
    ("parts", include_str!("pages/parts.html")),
    ("runs", include_str!("pages/runs.html")),
    ("run", include_str!("pages/run.html")),
    ("results", include_str!("pages/results.html")),
    ("result", include_str!("pages/result.html")),
    ("notifiers", include_str!("pages/notifiers.html")),
    ("notifier", include_str!("pages/notifier.html")),
    ("deliveries", include_str!("pages/deliveries.html")),
    ("delivery", include_str!("pages/delivery.html")),
    ("actions", include_str!("pages/actions.html")),
    ("preview", include_str!("pages/preview.html")),
    ("trends", include_str!("pages/trends.html")),
    ("problem", include_str!("pages/problem.html")),
    ("session", include_str!("pages/session.html")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(write);
    environment.set_fuel(Some(limits::ROOMY_FUEL));
    environment.add_filter("when", when);
    environment.add_filter("took", took);
    environment.add_filter("query", query);
    environment.add_filter("badge", badge);
    environment.add_filter("counts", counts);
    environment.add_filter("word", word);
    environment.add_global("css", assets::path(assets::CSS));
    environment.add_global("js", assets::path(assets::JS));
    environment.add_global("preview_js", assets::path(assets::PREVIEW));
    environment.add_global("icon", assets::path(assets::ICON));
    for (name, source) in TEMPLATES {
        // A test renders each of them.
        let _ = environment.add_template(name, source);
    }
    environment
});

/// Returns the page of a template for this context.
pub fn page(name: &str, context: impl Serialize) -> Result<String, String> {
    panics::caught(|| {
        let template = ENVIRONMENT.get_template(name);
        template.and_then(|template| template.render(Value::from(Serde(context))))
    })?
    .map_err(|error| format!("cannot show this page: {}", error.kind()))
}

fn write(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(());
    }
    let text = value.to_string();
    if value.is_safe() {
        return output.write_str(&text).map_err(Error::from);
    }
    output.write_str(&shown(&text)).map_err(Error::from)
}

/// Returns a text as escaped HTML.
fn shown(text: &str) -> String {
    let text = text::visible_lines(&secret::redact(text));
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Shows a time in RFC 3339 form; a script converts it to the reader's time zone.
fn when(time: Option<String>) -> Value {
    let Some(time) = time.and_then(|time| time.parse::<Timestamp>().ok()) else {
        return Value::from("");
    };
    let text = time.strftime("%Y-%m-%d %H:%M:%S");
    Value::from_safe_string(format!("<time datetime=\"{time}\">{text} UTC</time>"))
}

/// Shows a duration in milliseconds.
fn took(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => String::new(),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        Some(ms) => {
            let seconds = (ms / 1000.0).round();
            format!(
                "{:.0} min {:02.0} s",
                (seconds / 60.0).floor(),
                seconds % 60.0
            )
        }
    }
}

/// Symbols and classes of states: no state is shown by colour alone.
const SIGNS: [(&str, &str, &[&str]); 7] = [
    ("ok", "✓", &["fine", "delivered", "ok", "success"]),
    ("changed", "~", &["changed"]),
    ("pending", "…", &["pending"]),
    ("running", "▸", &["running"]),
    ("paused", "‖", &["paused", "held", "muted"]),
    (
        "skipped",
        "–",
        &["skipped", "discarded", "suppressed", "ignored"],
    ),
    ("failed", "!", &["unreachable"]),
];

/// Shows a state as a word with a symbol.
fn badge(state: String) -> Value {
    let state = word(state);
    let (kind, sign) = sign(&state);
    let word = shown(&state);
    Value::from_safe_string(format!(
        "<span class=\"state {kind}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>"
    ))
}

/// Shows the numbers of results by state. A run may have thousands of them, so they are short.
fn counts(counts: Value) -> Value {
    let shown = Outcome::ALL.into_iter().map(|outcome| {
        let name = outcome.name();
        let number = counts.get_attr(name).ok().and_then(|number| i64::try_from(number).ok());
        let Some(number) = number.filter(|number| *number > 0) else {
            return String::new();
        };
        let (kind, sign) = sign(name);
        format!("<span class=\"count {kind}\">{number} <i aria-hidden=\"true\">{sign}</i> {name}</span> ")
    });
    Value::from_safe_string(shown.collect())
}

/// Returns the class and the symbol of a state. Unknown states count as failures.
fn sign(state: &str) -> (&'static str, &'static str) {
    let mut known = SIGNS.iter();
    let known = known.find(|(.., words)| words.contains(&state));
    known.map_or(("failed", "✗"), |(kind, sign, _)| (kind, sign))
}

/// Returns the word that people read for a state of a delivery or a notifier; any other state has one name.
fn word(state: String) -> String {
    DeliveryState::named(&state).map_or(state, |state| state.name().to_owned())
}

/// Escapes a value of a link's query.
fn query(text: Option<String>) -> String {
    text::Escape::Url.apply(&text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_compiles() {
        for (name, _) in TEMPLATES {
            ENVIRONMENT.get_template(name).unwrap();
        }
    }

    #[test]
    fn every_value_is_text() {
        let mut environment = ENVIRONMENT.clone();
        let source = "<p title=\"{{ a }}\">{{ a }}{{ b }}</p>";
        environment.add_template("test", source).unwrap();
        let hostile = "<script>\"'&\u{1b}[31m\u{202e}";
        let context = minijinja::context! { a => hostile, b => () };
        let template = environment.get_template("test").unwrap();
        let escaped = "&lt;script&gt;&quot;&#39;&amp;\\u{1b}[31m\\u{202e}";
        assert_eq!(
            template.render(context).unwrap(),
            format!("<p title=\"{escaped}\">{escaped}</p>")
        );
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(took(Some(12.4)), "12 ms");
        assert_eq!(took(Some(18_840.0)), "18.8 s");
        assert_eq!(took(Some(119_900.0)), "2 min 00 s");
    }
}
