//! Sections that no notifier uses: the name that was probably meant, and the correction.

use super::problem::{Harm, Problem};
use super::{Sections, advice, mask};
use crate::text::{nearest, suggest};

/// Sections without a name of their own.
const PLAIN: [&str; 6] = ["inputs", "outputs", "delivery", "event", "mask", "page"];
/// Sections with a name after a colon.
const NAMED: [&str; 4] = ["notifier", "outputs", "secret", "time"];

/// Returns the section that an unknown one probably concerns, and the problem.
pub fn unknown(name: &str, kinds: &[&'static str]) -> (String, String) {
    let (concerned, hint) = meant(name, kinds);
    (concerned, format!("unknown section [{name}]{hint}"))
}

fn meant(name: &str, kinds: &[&'static str]) -> (String, String) {
    let nobody = String::new;
    let lower = name.to_ascii_lowercase();
    // Events must not leave without what a misspelt one would hide.
    let kind = lower.split(':').next().unwrap_or_default().trim();
    if kind.starts_with(mask::NAME)
        || nearest(kind, PLAIN.into_iter().chain(NAMED)) == Some(mask::NAME)
    {
        return (mask::NAME.to_owned(), "; did you mean [mask]?".to_owned());
    }
    if let Some((before, after)) = lower.split_once(':') {
        let own = name[before.len() + 1..].trim();
        let Some(near) = nearest(before.trim(), NAMED) else {
            return (nobody(), among());
        };
        let own = if after.trim().is_empty() { "NAME" } else { own };
        let hint = format!("; did you mean [{near}:{own}]?");
        if ["secret", "time"].contains(&near) {
            return (nobody(), hint);
        }
        return (format!("notifier:{own}"), hint);
    }
    let near = nearest(&lower, PLAIN.into_iter().chain(["notifier", "secret"]));
    if let (None, Some(kind)) = (near, advice::kind(&lower, kinds)) {
        let hint = format!("; write [notifier:{lower}], with `type = {kind}` below it");
        return (nobody(), hint);
    }
    match near {
        Some("secret") => (nobody(), "; did you mean [secret:NAME]?".to_owned()),
        Some("notifier") => (nobody(), "; did you mean [notifier:NAME]?".to_owned()),
        // Without its own [outputs] or rules, the notifier would send something else.
        Some(near @ ("inputs" | "outputs")) => {
            ("inputs".to_owned(), format!("; did you mean [{near}]?"))
        }
        Some(near) => (near.to_owned(), format!("; did you mean [{near}]?")),
        None => (nobody(), among()),
    }
}

fn among() -> String {
    "; known sections: [inputs], [outputs], [delivery], [event], [mask], [page], [notifier:NAME], [outputs:NAME], [secret:NAME], [time:NAME]"
        .to_owned()
}

/// Records each `[outputs:NAME]` without a notifier, with the notifier probably meant: without it, other
/// fields would be sent. Those in `absent` are known to be misspelt.
pub fn misnamed_outputs(notifiers: &Sections, outputs: &Sections, absent: &[String]) {
    let names = || {
        let names = notifiers.keys();
        names.filter_map(|name| name.strip_prefix("notifier:"))
    };
    for (section, output) in outputs {
        let Some(name) = section.strip_prefix("outputs:") else {
            continue;
        };
        let is_absent = absent.contains(&format!("notifier:{name}"));
        if is_absent || names().any(|notifier| notifier == name) {
            continue;
        }
        let without =
            names().filter(|notifier| !outputs.contains_key(&format!("outputs:{notifier}")));
        let near = nearest(name, without);
        let hint = near.map_or_else(String::new, |near| suggest(name, [near]));
        let text = format!("[{section}] has no matching [notifier:{name}]{hint}");
        let problem = Problem::new(output.origin.to_string(), text);
        let concerned = near.and_then(|near| notifiers.get(&format!("notifier:{near}")));
        match concerned {
            Some(notifier) => notifier.note(problem),
            None => output.note(problem.with(Harm::Slight)),
        }
    }
}
