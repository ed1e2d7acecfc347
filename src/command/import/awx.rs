//! `import awx`: notification templates of AWX as notifiers.

use super::draft::{Draft, Names};
use super::export::{Attachment, Export, Template};
use super::fields::Fields;
use super::kinds::{KINDS, Kind, Speech};
use super::messages::{self, Moment, Said};
use crate::config::advice::quoted;
use crate::text::one_line;

/// Moments for a template without attachments: the default of `on`.
const UNATTACHED: [Moment; 2] = [Moment::Success, Moment::Error];

/// Returns the notifiers for the templates of an export.
pub fn drafts(export: &Export) -> Vec<Draft> {
    let mut names = Names::default();
    let templates = export.templates.iter();
    let drafts = templates.flat_map(|template| {
        let attachments = export.attachments(template);
        let mut drafts = of_template(template, &attachments, &mut names);
        let is_for_approvals = |one: &&Attachment| one.trigger == "approvals";
        if !attachments.is_empty() && attachments.iter().all(is_for_approvals) {
            let reason = "AWX uses it only for approvals.";
            drafts.iter_mut().for_each(|draft| draft.mute(reason));
        }
        drafts
    });
    drafts.collect()
}

/// Returns the notifiers for a template: one, or one per body if bodies are data.
fn of_template(template: &Template, attachments: &[&Attachment], names: &mut Names) -> Vec<Draft> {
    let name = names.notifier(&template.name, "awx");
    let Some(kind) = KINDS.iter().find(|kind| kind.name == template.kind) else {
        let mut draft = Draft::new(name, "");
        introduce(&mut draft, template, attachments);
        let problem = format!("AWX's kind {} has no counterpart", quoted(&template.kind));
        draft.unfinished = Some(problem);
        remark_others(&mut draft, &Fields::new(&template.configuration, "AWX's"));
        return vec![draft];
    };
    let moments = moments(attachments);
    let mut first = Draft::new(name.clone(), kind.name);
    introduce(&mut first, template, attachments);
    let said = messages::read(&template.messages, &moments, &mut first, kind.name);
    let groups = groups(said, kind.speech);
    if groups.len() == 1 {
        finish(&mut first, kind, template, &groups[0], names);
        return vec![first];
    }
    let mut drafts = Vec::new();
    for group in groups {
        let moment = group[0].moment.name();
        let own = names.notifier(&format!("{name}-{moment}"), kind.name);
        let mut draft = Draft::new(own, kind.name);
        draft.stem.clone_from(&name);
        draft.about = std::mem::take(&mut first.about);
        draft.remarks = std::mem::take(&mut first.remarks);
        if drafts.is_empty() {
            draft.describe("One notifier for each of its bodies.");
        }
        finish(&mut draft, kind, template, &group, names);
        drafts.push(draft);
    }
    drafts
}

/// Returns the moments at which AWX notifies.
fn moments(attachments: &[&Attachment]) -> Vec<Moment> {
    let is_attached = |moment: &Moment| {
        let mut triggers = attachments.iter().map(|one| one.trigger.as_str());
        triggers.any(|trigger| trigger == moment.name() || trigger == "any")
    };
    let moments: Vec<Moment> = Moment::ALL.into_iter().filter(is_attached).collect();
    match moments.is_empty() {
        true => UNATTACHED.to_vec(),
        false => moments,
    }
}

/// Groups moments with the same body, for a kind that sends it as data.
fn groups(said: Vec<Said>, speech: Speech) -> Vec<Vec<Said>> {
    if speech != Speech::Data {
        return vec![said];
    }
    let mut groups: Vec<Vec<Said>> = Vec::new();
    for one in said {
        match groups.iter_mut().find(|group| group[0].body == one.body) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    groups
}

/// Writes the origin of a notifier as remarks.
fn introduce(draft: &mut Draft, template: &Template, attachments: &[&Attachment]) {
    let organization = template.organization.as_ref();
    let of = organization.map_or_else(String::new, |name| {
        format!(" of {}", quoted(&one_line(name)))
    });
    let name = quoted(&one_line(&template.name));
    draft.describe(format!("AWX's notification template {name}{of}"));
    if !template.description.trim().is_empty() {
        draft.describe(one_line(&template.description));
    }
    let (approvals, others): (Vec<&Attachment>, Vec<&Attachment>) = attachments
        .iter()
        .partition(|attachment| attachment.trigger == "approvals");
    for attachment in &others {
        let playbook = attachment.playbook.as_ref();
        let playbook = playbook.map_or_else(String::new, |one| format!(" ({})", one_line(one)));
        let resource = one_line(&attachment.resource);
        draft.describe(format!(
            "  {}: {resource}{playbook}",
            one_line(&attachment.trigger)
        ));
    }
    for attachment in &approvals {
        let resource = one_line(&attachment.resource);
        draft.remark(format!("Approvals of {resource} have no counterpart."));
    }
    if others.is_empty() && approvals.is_empty() {
        draft.remark("The export attaches it to nothing: choose the triggers in `on`.");
    } else {
        draft.describe(
            "It is for every run that this file applies to; `when = playbook == '…'` selects some.",
        );
    }
}

fn finish(draft: &mut Draft, kind: &Kind, template: &Template, said: &[Said], names: &mut Names) {
    let fields = Fields::new(&template.configuration, "AWX's");
    let triggers: Vec<&str> = said.iter().map(|one| one.moment.triggers()).collect();
    (kind.connect)(draft, &fields, names);
    draft.set("on", triggers.join(", "));
    (kind.speak)(draft, &fields, said, names);
    remark_others(draft, &fields);
}

/// Adds remarks about fields without a counterpart.
fn remark_others(draft: &mut Draft, fields: &Fields) {
    for name in fields.others() {
        draft.remark(format!(
            "AWX's {} has no counterpart.",
            quoted(&one_line(name))
        ));
    }
}
