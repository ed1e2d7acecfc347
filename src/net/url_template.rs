//! Target URL of a notifier: the path and query may contain templates, the host never does.

use url::Url;

use crate::config::checked::noted;
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::net::urls::{origin, parse_url, unfit};
use crate::template::Template;
use crate::template::context::Context;
use crate::text::Escape;

/// Replaces each template in a text by an `x`.
fn without_templates(text: &str) -> String {
    let mut left = text;
    let mut plain = String::new();
    let marks = [("{{", "}}"), ("{%", "%}")];
    let first = |text: &str| {
        let found = marks.map(|(open, close)| text.find(open).map(|at| (at, close)));
        found.into_iter().flatten().min()
    };
    while let Some((begin, close)) = first(left) {
        plain.push_str(&left[..begin]);
        plain.push('x');
        let end = left[begin..]
            .find(close)
            .map(|end| begin + end + close.len());
        left = &left[end.unwrap_or(left.len())..];
    }
    plain + left
}

/// URL of an endpoint, parts of which may be made from each event.
pub struct Address {
    /// The URL up to the first template.
    pub base: Url,
    /// Only the origin of a secret one is shown.
    pub secrecy: Secrecy,
    template: Option<Template>,
    /// True if its path is meant to end with a `/`.
    ends_open: bool,
}

impl Address {
    /// Reads the URL of `key`.
    pub fn read(section: &Section, key: &str) -> Option<Address> {
        let (secrecy, text) = section.url(key).or_else(|| section.missing(key))?;
        let marks = ["{{", "{%"].into_iter().filter_map(|mark| text.find(mark));
        let start = marks.min();
        let fixed = &text[..start.unwrap_or(text.len())];
        let base = parse_url(section, key, fixed, secrecy)?;
        if start.is_some()
            && !fixed
                .splitn(2, "://")
                .skip(1)
                .any(|rest| rest.contains(['/', '?']))
        {
            let problem = "a URL can have templates in its path and query, but not in its host";
            section.problem(key, problem);
            return None;
        }
        if let Some(problem) = start.and_then(|_| unfit(&without_templates(&text))) {
            section.problem(key, format!("`{key}` is not a URL: {problem}"));
            return None;
        }
        let template = match start {
            Some(_) => Some(noted(section, key, Template::text(&text, Escape::Url))?),
            None => None,
        };
        Some(Address {
            base,
            secrecy,
            template,
            ends_open: text
                .split(['?', '#'])
                .next()
                .is_some_and(|path| path.ends_with('/')),
        })
    }

    /// Returns true if it depends on the event.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Returns the URL for an event: on the same host, with as many path segments as the template.
    pub fn url(&self, context: &Context) -> Result<Url, Failure> {
        let Some(template) = &self.template else {
            return Ok(self.base.clone());
        };
        let failed =
            |problem: &str| Failure::permanent(format!("{}: {problem}", origin(&self.base)));
        let text = template
            .render(context)
            .map_err(|problem| failed(&problem))?;
        if self.has_gap(&text) {
            return Err(failed(
                "a part of the URL's path is empty, `.` or `..` for this event",
            ));
        }
        let url = Url::parse(&text).map_err(|problem| failed(&problem.to_string()))?;
        let same = |part: fn(&Url) -> String| part(&url) == part(&self.base);
        if same(origin) && same(|url| format!("{}:{:?}", url.username(), url.password())) {
            Ok(url)
        } else {
            Err(failed("the URL leads to another host for this event"))
        }
    }

    /// Returns true if a value emptied a path segment, or turned it into `.` or `..`.
    fn has_gap(&self, text: &str) -> bool {
        let (_, rest) = text.split_once("://").unwrap_or_default();
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let segments: Vec<String> = path
            .split(['/', '\\'])
            .skip(1)
            .map(|segment| segment.to_ascii_lowercase().replace("%2e", "."))
            .collect();
        let gaps = segments
            .iter()
            .enumerate()
            .filter(|(index, segment)| match segment.as_str() {
                "." | ".." => true,
                "" => !(self.ends_open && index + 1 == segments.len()),
                _ => false,
            });
        gaps.count() > 0
    }
}
