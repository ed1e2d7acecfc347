//! A hook whose URL a template chooses for each message, among named secrets.

use std::rc::Rc;

use async_trait::async_trait;

use super::recipients::NOBODY;
use super::{Kind, Notifier, Sent, Thread};
use crate::config::checked::noted;
use crate::config::section::Section;
use crate::config::vault::PREFIX;
use crate::failure::{Check, Failure};
use crate::message::Message;
use crate::net::http::Http;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::Escape;

/// Reason for a choice without a defined value.
const UNDEFINED: &str =
    "the template's result is undefined; add `| default('')` to send to nobody in that case";

/// Kinds whose URL is a secret that a template may choose.
const HOOKS: [&str; 7] = [
    "webhook",
    "slack",
    "teams",
    "discord",
    "mattermost",
    "rocketchat",
    "googlechat",
];

/// One notifier for each secret that the template names. Its result only selects one of them, so no text of
/// an event can lead to another host.
struct Choice {
    key: &'static str,
    template: Template,
    candidates: Vec<(String, Rc<dyn Notifier>)>,
}

/// Builds the notifier of a section; notes problems in the section.
pub fn build(kind: &Kind, section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let key = key_of(section);
    let is_hook = HOOKS.contains(&kind.name);
    let Some(names) = section.choices(key).filter(|_| is_hook) else {
        return (kind.build)(section, http);
    };
    let built = |name: Option<&str>| {
        let one = section.choosing(key, name);
        let built = (kind.build)(&one, http);
        section.absorb(&one);
        built
    };
    if names.is_empty() {
        let text = format!(
            "`{key}` must begin with http:// or https://, or choose among secrets that its template names, as in {{{{ 'secret:ops' if check else 'secret:dev' }}}}"
        );
        section.problem(key, text);
        // Makes its other keys known.
        built(None);
        return None;
    }
    section.no_batch("`batch` cannot be used with a template that chooses the URL");
    let template = section.expression(key).unwrap_or_default();
    let template = noted(section, key, compiled(&template));
    let candidates: Vec<_> = names
        .into_iter()
        .map(|name| Some((name.to_owned(), built(Some(name))?)))
        .collect();
    Some(Rc::new(Choice {
        key,
        template: template?,
        candidates: candidates.into_iter().collect::<Option<Vec<_>>>()?,
    }))
}

/// Compiles a template that chooses: an undefined value in it is distinguished from an empty text.
fn compiled(template: &str) -> Result<Template, String> {
    Template::typed_as(template, Escape::Choice)
}

/// Returns the index of the name that a template chose; None for an empty text.
fn chosen(text: &str, names: &[&str]) -> Result<Option<usize>, String> {
    let chosen = text.trim();
    if chosen.is_empty() {
        return Ok(None);
    }
    let found = names
        .iter()
        .position(|name| chosen.strip_prefix(PREFIX) == Some(*name));
    let known = || names.iter().map(|name| format!("{PREFIX}{name}"));
    // The result may be any text of the event, so it is not shown.
    let none = || {
        let known: Vec<String> = known().collect();
        format!("the template gives none of {}", known.join(", "))
    };
    found.map(Some).ok_or_else(none)
}

/// Notes a problem in the section if the template of a URL fails on a sample, or results in anything but a
/// name. Undefined is allowed: a sample lacks the data of a real event.
pub fn try_on(section: &Section, samples: &[&Context]) {
    let key = key_of(section);
    let names = section.choices(key).unwrap_or_default();
    let template = section.expression(key).map(|text| compiled(&text));
    let Some(Ok(template)) = template.filter(|_| !names.is_empty()) else {
        return;
    };
    let problem = samples.iter().find_map(|sample| {
        let problem = match template.choice(sample) {
            Ok(text) => chosen(&text?, &names).err()?,
            Err(problem) => problem,
        };
        let name = &sample.event().event;
        Some(format!("`{key}`: {problem} (tried on a sample of {name})"))
    });
    if let Some(problem) = problem {
        section.problem(key, problem);
    }
}

fn key_of(section: &Section) -> &'static str {
    match section.name.as_str() {
        "inputs" => "callback_url",
        _ => "url",
    }
}

impl Choice {
    /// Returns the notifier for a message; None if nobody is to be notified.
    fn of(&self, message: &Message) -> Result<Option<&dyn Notifier>, Failure> {
        let failed = |problem: &str| Failure::permanent(format!("`{}`: {problem}", self.key));
        let names = self.candidates.iter().map(|(name, _)| name.as_str());
        let names: Vec<&str> = names.collect();
        let text = self.template.choice(&message.context);
        let text = text.map_err(|problem| failed(&problem))?;
        let text = text.ok_or_else(|| failed(UNDEFINED))?;
        let chosen = chosen(&text, &names).map_err(|problem| failed(&problem))?;
        Ok(chosen.map(|at| self.candidates[at].1.as_ref()))
    }
}

#[async_trait(?Send)]
impl Notifier for Choice {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        match self.of(message)? {
            Some(notifier) => notifier.send(message).await,
            None => Ok(Sent::to(0, message.reached.clone(), Vec::new())),
        }
    }

    fn thread(&self) -> Thread {
        let first = self.candidates.first();
        first.map_or(Thread::None, |(_, notifier)| notifier.thread())
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        match self.of(message)? {
            Some(notifier) => notifier.preview(message),
            None => Ok(NOBODY.to_owned()),
        }
    }

    async fn check(&self) -> Check {
        let mut all = Check::default();
        for (name, notifier) in &self.candidates {
            let check = notifier.check().await;
            let named = |text: String| format!("{PREFIX}{name}: {text}");
            all.steps.extend(check.steps.into_iter().map(named));
            all.error = all.error.or(check.error.map(named));
        }
        all
    }
}
