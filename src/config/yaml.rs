//! Untrusted YAML, parsed within bounded memory.

use saphyr::{LoadableYamlNode as _, Yaml};
use saphyr_parser::{Event, Parser};

/// Limit of values in a document. Each value counts once more for every anchor around it: the loader keeps
/// a copy for each.
const MAX_VALUES: usize = 20_000;
/// Limit of nesting in a document.
const MAX_DEPTH: usize = 100;

/// Returns the first document of a text; None if it is not YAML, or too large for settings.
pub fn load(text: &str) -> Option<Yaml<'_>> {
    if !is_modest(text) {
        return None;
    }
    // The loader itself limits the expansion of aliases.
    Yaml::load_from_str(text).ok()?.into_iter().next()
}

fn is_modest(text: &str) -> bool {
    // One entry per open list or mapping: true if it has an anchor.
    let mut open = Vec::new();
    let mut values = 0;
    for event in Parser::new_from_str(text) {
        match event {
            Err(_) => return false,
            Ok((Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _), _)) => {
                open.push(anchor > 0);
            }
            Ok((Event::SequenceEnd | Event::MappingEnd, _)) => {
                open.pop();
                continue;
            }
            Ok((Event::Scalar(..) | Event::Alias(_), _)) => {}
            Ok(_) => continue,
        }
        values += 1 + open.iter().filter(|anchored| **anchored).count();
        if values > MAX_VALUES || open.len() > MAX_DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fill_the_memory_is_no_settings() {
        let laughs: String = (1..40)
            .map(|level| format!("a{level}: &a{level} [*a{0}, *a{0}, *a{0}]\n", level - 1))
            .collect();
        let nested: String = (1..90).map(|level| format!("&a{level} [")).collect();
        for text in [
            format!("a0: &a0 x\n{laughs}"),
            format!("{nested}{}{}", "x, ".repeat(5000), "]".repeat(89)),
            "- ".repeat(30_000),
            "[".repeat(30_000),
            "- x\n".repeat(30_000),
        ] {
            assert_eq!(load(&text), None, "{}", &text[..60]);
        }
        let settings = "common: &common {url: http://h/}\nmine: *common\nother: [*common]\n";
        assert!(load(settings).is_some());
    }
}
