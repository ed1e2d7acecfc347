//! Listing of problems: in the order of files and lines, each only once.

use std::path::PathBuf;

use super::problem::{Harm, Problem};

/// Sorts problems by file and line; those without a file come last.
pub fn sort(problems: &mut [Problem], files: &[PathBuf]) {
    problems.sort_by_cached_key(|problem| {
        let (path, line) = split(&problem.place);
        let is_here = |file: &PathBuf| file.display().to_string() == path;
        let file = files.iter().position(is_here).unwrap_or(files.len());
        (file, line)
    });
}

/// Keeps the worst of the problems with the same place and text: several notifiers may use one secret.
pub fn merge_same(problems: &mut Vec<Problem>) {
    problems.dedup_by(|next, first| {
        let same = next.place == first.place && next.text == first.text;
        if same {
            first.harm = first.harm.max(next.harm);
        }
        same
    });
}

/// Merges the problems that several lines have with the same secret.
pub fn merge_unread(problems: &mut Vec<Problem>) {
    let mut listed: Vec<Problem> = Vec::new();
    let mut others: Vec<(usize, String)> = Vec::new();
    for problem in problems.drain(..) {
        let is_same = |one: &Problem| one.harm == Harm::Unread && one.text == problem.text;
        match listed.iter().position(is_same) {
            Some(first) if problem.harm == Harm::Unread => others.push((first, problem.place)),
            _ => listed.push(problem),
        }
    }
    for (first, place) in others {
        let problem = &mut listed[first];
        let ((file, here), (other, line)) = (split(&problem.place), split(&place));
        if (file, here) == (other, line) {
            continue;
        }
        let also = match file == other && line > 0 {
            true => format!("; also on line {line}"),
            false => format!("; also in {place}"),
        };
        problem.text.push_str(&also);
    }
    *problems = listed;
}

/// Splits a place into file and line; the line is 0 if there is none.
fn split(place: &str) -> (&str, usize) {
    let numbered = || {
        let (path, line) = place.rsplit_once(':')?;
        Some((path, line.parse().ok()?))
    };
    numbered().unwrap_or((place, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_in_order_and_a_secret_is_said_once() {
        let unread = |place: &str| Problem::new(place, "cannot read `/t`").with(Harm::Unread);
        let mut problems = vec![
            unread("/b:12"),
            Problem::new("/b:7", "same"),
            unread("/b:9"),
            Problem::new("elsewhere", "x"),
            unread("/a:30"),
            Problem::new("/b:8", "same"),
        ];
        sort(&mut problems, &["/a".into(), "/b".into()]);
        merge_unread(&mut problems);
        let listed: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert_eq!(
            listed,
            [
                "/a:30: cannot read `/t`; also in /b:9; also in /b:12",
                "/b:7: same",
                "/b:8: same",
                "elsewhere: x",
            ]
        );
    }
}
