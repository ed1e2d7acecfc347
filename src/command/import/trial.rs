//! A trial of the drafts with the program's own checks: rejected parts become comments.

use std::path::Path;
use std::sync::Arc;

use super::draft::{Draft, Form, Page, Value};
use crate::delivery::setup::Config;
use crate::event::sample;
use crate::net::http::Http;
use crate::template::context::Context;

/// Path that stands for the file in problems.
const PLACE: &str = "import";

/// Comments out every key, or if needed every notifier, that the program would reject.
pub fn settle(drafts: &mut [Draft]) {
    let keys = drafts.iter_mut().flat_map(Draft::written_keys);
    for key in keys.filter(|key| !key.is_writable()) {
        key.left_out = Some("it has several lines or a control character".to_owned());
    }
    let samples = sample::all().into_iter();
    let samples: Vec<Context> = samples.map(|event| Context::new(Arc::new(event))).collect();
    loop {
        let page = Page::new(&[], drafts, Form::Tried);
        let config = Config::of_text(Path::new(PLACE), &page.text, &samples, &Http::default());
        let mut is_settled = true;
        for problem in config.problems {
            let line = problem.place.rsplit_once(':');
            let line = line.and_then(|(_, line)| line.parse().ok());
            let place = line.and_then(|line| page.at(line));
            if let Some((draft, key)) = place {
                is_settled &= !amend(&mut drafts[draft], key, &problem.text);
            }
        }
        if is_settled {
            return;
        }
    }
}

/// Removes the cause of a problem from a draft. Returns false if that was done before.
fn amend(draft: &mut Draft, key: Option<usize>, problem: &str) -> bool {
    if draft.unfinished.is_some() {
        return false;
    }
    let key = key.map(|key| &mut draft.keys[key]);
    let key = key.filter(|key| key.name != "type" && key.left_out.is_none());
    match key {
        Some(key) => match &mut key.value {
            Value::Text(_) => key.left_out = Some(problem.to_owned()),
            Value::Secret(secret) if secret.known.is_some() => {
                secret.known = None;
                let remark = format!(
                    "`{}`: the value of {} cannot be used here as it is.",
                    key.name, secret.source
                );
                draft.remarks.push(remark);
            }
            Value::Secret(_) => key.left_out = Some("it cannot be a secret here".to_owned()),
        },
        None => draft.unfinished = Some(problem.to_owned()),
    }
    true
}
