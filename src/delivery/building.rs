//! Turns the section of a notifier into a destination.

use std::rc::Rc;

use crate::config::advice;
use crate::config::entry::Reads;
use crate::config::problem::{Harm, Problem};
use crate::config::section::Section;
use crate::config::trouble::Trouble;
use crate::delivery::destination::{Destination, unless_in_trouble};
use crate::delivery::setup::Config;
use crate::message::fields::Fields;
use crate::message::outputs::Payload;
use crate::message::{MessageFormat, MessageTemplates};
use crate::net::http::Http;
use crate::notifier::{
    BULK_REQUESTS, KINDS, Kind, LEFT_OUT, Notifier, PASSING_ON, RECORDING, SINGLE, UNKNOWN, WAKING,
    choice, relay, webhook,
};
use crate::route::grouping::{Batching, Grouping};
use crate::route::timing::{Named, Timing};
use crate::route::{CheckMode, Defaults, Rules};
use crate::template::context::Context;

impl Config {
    /// Builds the destination of a notifier's section and its `[outputs]`, trying every expression on `samples`.
    pub fn add_destination(
        &mut self,
        mut section: Section,
        output: Option<Section>,
        times: &Named,
        http: &Http,
        samples: &[Context],
    ) {
        let begin = self.problems.len();
        let enabled = read_switches(&mut section);
        let kind = kind_of(&section);
        let known = kind.unwrap_or(&UNKNOWN);
        let rules = Rules::new(&section, defaults_of(&section, kind));
        let samples = rules.samples(samples);
        rules.try_on(&section, &samples);
        let payload = self.payload(output.as_ref(), &samples);
        if let (Some(output), true) = (&output, known.form == MessageFormat::Event) {
            let text = format!(
                "a {} sends events as they are; remove this section",
                known.name
            );
            section.note(Problem::new(output.origin.to_string(), text));
        }
        let texts = MessageTemplates::new(&section, known.form);
        texts.try_on(&section, &samples);
        let timing = Timing::new(&section, times);
        let bulk = known.bulk();
        let requests = bulk.map_or(16, |_| BULK_REQUESTS);
        let concurrency = section.count("concurrency", requests, 64);
        let grouping = grouping_of(&section, kind, timing.is_some(), concurrency);
        let shows_output = names_output(&section) || output.as_ref().is_some_and(names_output);
        let notifier = notifier_of(kind, &section, http, &samples);
        self.collect(&section);
        let name = section.name.strip_prefix("notifier:");
        let name = name.unwrap_or("callback").to_owned();
        if !enabled {
            return self.muted.push((name, known.name));
        }
        let trouble = self.trouble(begin, &section, notifier.is_some());
        if let Some(notifier) = unless_in_trouble(notifier, trouble.as_ref()) {
            self.destinations.push(Destination {
                name,
                kind: known,
                rules: rules.unless(trouble.as_ref().is_some_and(Trouble::is_unclear)),
                payload,
                texts,
                grouping,
                fields: match output {
                    Some(_) => Fields::OfPayload,
                    None => Fields::OfEvent,
                },
                timing: timing.filter(|_| !trouble.as_ref().is_some_and(Trouble::is_mistake)),
                concurrency,
                verbatim: is_verbatim(&section),
                shows_output,
                max_age: self.max_age,
                drain: self.drain,
                keep_bodies: self.keep_bodies,
                recording: self.recording,
                masks: self.masks.clone(),
                notifier,
                trouble,
                section,
            });
        }
    }

    /// Reads the `[outputs]` of a notifier.
    fn payload(&mut self, output: Option<&Section>, samples: &[&Context]) -> Payload {
        let payload = Payload::new(output);
        if let Some(output) = output {
            payload.try_on(output, samples);
            output.warn_of_mentions();
            self.collect(output);
        }
        payload
    }

    /// Returns the reason why a notifier cannot deliver, if any: a problem after the first `begin`, or, without
    /// a notifier, a secret that was not read.
    fn trouble(&self, begin: usize, section: &Section, has_notifier: bool) -> Option<Trouble> {
        let withheld = section.withheld().into_iter().next();
        let withheld = withheld.filter(|_| !has_notifier);
        let withheld = withheld.map(|note| note.with(Harm::Unread));
        let trouble = Trouble::of(&self.problems[begin..]);
        trouble.or_else(|| Trouble::of(withheld.as_slice()))
    }
}

fn is_inputs(section: &Section) -> bool {
    section.name == "inputs"
}

/// Reads `enabled` and `inherit`; returns false if the notifier is muted.
fn read_switches(section: &mut Section) -> bool {
    if section.name == "notifier:callback" {
        section.problem(
            "",
            "[inputs] is the notifier `callback`; give this one another name",
        );
    }
    let enabled = section.flag("enabled", true);
    if !enabled {
        section.reads = Reads::Muted;
    }
    let cuts_off = section.entries.iter().any(|entry| entry.key == "inherit");
    if is_inputs(section) || cuts_off {
        section.flag("inherit", true);
    }
    if cuts_off && !is_inputs(section) {
        section.warning("inherit", "`inherit` has an effect only in [inputs]");
    }
    enabled
}

/// Returns the kind of a notifier; notes a missing or unknown `type`.
fn kind_of(section: &Section) -> Option<&'static Kind> {
    if is_inputs(section) {
        return Some(&webhook::KIND);
    }
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let Some(name) = section.text("type") else {
        section.problem(
            "",
            format!(
                "[{}] has no `type`; set it to one of: {}",
                section.name,
                names.join(", ")
            ),
        );
        return None;
    };
    let kind = KINDS.iter().copied().find(|kind| kind.name == name);
    if kind.is_none() {
        let text = match LEFT_OUT.contains(&name) {
            true => format!(
                "this program was built without the type `{name}`; build it with `--features {name}`, or install a released one"
            ),
            false => advice::unknown_kind(name, &names),
        };
        section.problem("type", text);
    }
    kind
}

/// Returns the defaults of `on` and `check_mode`.
fn defaults_of(section: &Section, kind: Option<&Kind>) -> Defaults {
    let is_one_of = |kinds: &[&str]| kind.is_some_and(|kind| kinds.contains(&kind.name));
    let is_in_bulk = kind.is_some_and(|kind| kind.bulk().is_some());
    let wants_all = is_in_bulk || is_one_of(&PASSING_ON) || is_one_of(&RECORDING);
    Defaults {
        on: match is_inputs(section) {
            true => &["ok", "failed", "skipped", "unreachable"],
            false if wants_all => &["any"],
            false => &["error", "success"],
        },
        check_mode: match is_one_of(&WAKING) {
            true => CheckMode::Exclude,
            false => CheckMode::Include,
        },
    }
}

/// Reads the grouping of a notifier that makes this many requests at a time; `is_timed` if it may hold events.
fn grouping_of(
    section: &Section,
    kind: Option<&Kind>,
    is_timed: bool,
    concurrency: usize,
) -> Grouping {
    let batching = match (kind.and_then(Kind::bulk), kind.map(|kind| kind.form)) {
        (Some(bulk), _) => Batching::InBulk(bulk.limits, concurrency),
        (None, Some(MessageFormat::Data)) => Batching::Possible,
        (None, Some(MessageFormat::Event)) => Batching::OfRun(relay::BATCH),
        _ => Batching::Impossible,
    };
    let grouping = Grouping::new(section, batching);
    let kind = kind.unwrap_or(&UNKNOWN);
    let tells_each = !kind.form.has_texts() || SINGLE.contains(&kind.name);
    match is_timed && !tells_each {
        true => grouping.sending_together(),
        false => grouping,
    }
}

/// Builds the notifier of a section, and reports keys that nothing has read.
fn notifier_of(
    kind: Option<&Kind>,
    section: &Section,
    http: &Http,
    samples: &[&Context],
) -> Option<Rc<dyn Notifier>> {
    let kind = kind?;
    let notifier = choice::build(kind, section, http);
    if notifier.is_some() {
        choice::try_on(section, samples);
    }
    section.report_unknown();
    notifier
}

/// Returns true if the notifier sends ansible-runner's records unchanged.
fn is_verbatim(section: &Section) -> bool {
    let mut entries = section.entries.iter();
    entries.any(|entry| entry.key == "format" && entry.value.eq_ignore_ascii_case("runner"))
}

/// Returns true if a value may refer to the variable `output`: only then is it stored with an event.
fn names_output(section: &Section) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let mut values = section.entries.iter().map(|entry| &entry.value);
    values.any(|value| {
        let mut words = value.split(|character| !is_part(character));
        words.any(|word| word == "output")
    })
}
