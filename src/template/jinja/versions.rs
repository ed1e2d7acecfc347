//! Version comparison as in Ansible: Python's `LooseVersion` and `StrictVersion`, and semantic versions.

use std::cmp::Ordering;

/// A part of a loose version. A number sorts before a word, a case where Python defines no order.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    Number(u64),
    Word(String),
}

/// Compares two versions of one scheme; None if either is invalid in it.
pub fn compare(kind: &str, left: &str, right: &str) -> Option<Ordering> {
    match kind {
        "loose" => Some(loose(left).cmp(&loose(right))),
        "strict" => Some(strict(left)?.cmp(&strict(right)?)),
        "semver" | "semantic" => Some(Semantic::new(left)?.cmp(&Semantic::new(right)?)),
        _ => None,
    }
}

/// Splits a version into runs of digits, of letters and of other characters, without dots.
fn loose(version: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = version;
    while let Some(first) = rest.chars().next() {
        let same = |character: &char| match first {
            '0'..='9' => character.is_ascii_digit(),
            'a'..='z' => character.is_ascii_lowercase(),
            '.' => *character == '.',
            _ => {
                !character.is_ascii_digit() && !character.is_ascii_lowercase() && *character != '.'
            }
        };
        let length: usize = rest.chars().take_while(same).map(char::len_utf8).sum();
        let (part, after) = rest.split_at(length);
        rest = after;
        if first == '.' {
            continue;
        }
        parts.push(match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Word(part.to_owned()),
        });
    }
    parts
}

/// Parses `1.2`, `1.2.3`, `1.2a1`: the numbers, and a key that sorts final releases last.
fn strict(version: &str) -> Option<([u64; 3], (bool, char, u64))> {
    let at = version.find(['a', 'b']);
    let (numbers, pre) = at.map_or((version, None), |at| (&version[..at], Some(&version[at..])));
    let numbers: Vec<u64> = numbers
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let numbers = match numbers[..] {
        [major, minor] => [major, minor, 0],
        [major, minor, patch] => [major, minor, patch],
        _ => return None,
    };
    let pre = match pre {
        None => (true, ' ', 0),
        Some(pre) => (false, pre.chars().next()?, pre[1..].parse().ok()?),
    };
    Some((numbers, pre))
}

/// A version as defined by semver.org; build metadata does not affect the order.
#[derive(Eq, PartialEq)]
struct Semantic {
    core: [u64; 3],
    pre: Vec<Part>,
}

impl Semantic {
    fn new(version: &str) -> Option<Semantic> {
        let version = version
            .split_once('+')
            .map_or(version, |(version, _)| version);
        let (core, pre) = match version.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (version, None),
        };
        let core: Vec<u64> = core
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let part = |part: &str| match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Word(part.to_owned()),
        };
        Some(Semantic {
            core: core.try_into().ok()?,
            pre: pre.map_or_else(Vec::new, |pre| pre.split('.').map(part).collect()),
        })
    }
}

impl Ord for Semantic {
    fn cmp(&self, other: &Semantic) -> Ordering {
        // A version without a pre-release ranks above those with one.
        self.core
            .cmp(&other.core)
            .then(self.pre.is_empty().cmp(&other.pre.is_empty()))
            .then_with(|| self.pre.cmp(&other.pre))
    }
}

impl PartialOrd for Semantic {
    fn partial_cmp(&self, other: &Semantic) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_of_their_type() {
        for (kind, smaller, larger) in [
            ("loose", "1.9", "1.10"),
            ("loose", "2.4", "2.4.1"),
            ("loose", "1.2rc1", "1.2rc2"),
            ("strict", "1.2a1", "1.2b1"),
            ("strict", "1.2b1", "1.2"),
            ("semver", "1.0.0-rc.1", "1.0.0"),
            ("semver", "1.0.0-2", "1.0.0-10"),
            ("semver", "1.0.0-10", "1.0.0-alpha"),
        ] {
            assert_eq!(
                compare(kind, smaller, larger),
                Some(Ordering::Less),
                "{smaller}"
            );
            assert_eq!(compare(kind, larger, smaller), Some(Ordering::Greater));
        }
        assert_eq!(
            compare("semver", "1.0.0+a", "1.0.0+b"),
            Some(Ordering::Equal)
        );
        assert_eq!(compare("strict", "1", "1.2"), None);
        assert_eq!(compare("semver", "1.2", "1.2.3"), None);
    }
}
