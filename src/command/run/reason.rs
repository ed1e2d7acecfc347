//! Reason why a command did not succeed, from the last lines that it printed.

use serde_json::Value;

use crate::event::Status;
use crate::event::ending::Exited;
use crate::event::reason::of_failure;
use crate::text::{characters, cut, one_line};

/// Length limit of a reason, in characters, and the number of its lines.
const REASON: usize = 1000;
const REASON_LINES: usize = 3;

/// Reason of a run that a user ended.
const INTERRUPTED: &str = "interrupted";
/// Ansible's marks of an error.
const MARKS: [&str; 2] = ["ERROR! ", "[ERROR]: "];
/// Beginnings of lines in which other programs report an error.
const BEGINNINGS: [&str; 5] = ["fatal: ", "Error: ", "error: ", "ERROR: ", "FATAL: "];
/// Marks of the result of a task that failed; the result follows as JSON.
const RESULTS: [&str; 2] = [" FAILED! => ", " UNREACHABLE! => "];
/// Words in lines that probably report an error.
const WORDS: [&str; 8] = [
    "error",
    "fatal",
    "exception",
    "not found",
    "no such file",
    "denied",
    "failed",
    "cannot",
];

/// Line of ansible-core before 2.19 that precedes the error of a YAML file. The lines before it do not help.
const YAML: &str = "Syntax Error while loading YAML.";
/// Advice about modules that Ansible adds to the error about any missing file.
const ADVICE: &str = "If you are using a module and expect the file to exist";
/// Beginnings of the line that names file and line of an error: of ansible-core before 2.19, and of later ones.
const PLACES: [&str; 2] = [
    "The error appears to be in '",
    "The error appears to have been in '",
];
const ORIGIN: &str = "Origin: ";
/// Prefix of errors that do not say what is wrong with an inventory, and of the warning that does.
const INVENTORY: [&str; 2] = [
    "No inventory was parsed",
    "Completely failed to parse inventory source",
];
const WARNING: &str = "[WARNING]: ";
const UNPARSED: &str = "Failed to parse ";

/// Returns why a command did not succeed.
pub fn reason_of(name: &str, exited: &Exited, output: Option<&str>) -> Option<String> {
    let status = exited.status();
    match &exited.signal {
        _ if status == Status::Success => None,
        Some(signal) if signal == "SIGINT" => Some(INTERRUPTED.to_owned()),
        Some(signal) => Some(format!("`{name}` was ended by {signal}")),
        None if status == Status::Canceled => Some(INTERRUPTED.to_owned()),
        None => {
            let usual = || format!("`{name}` ended with exit code {}", exited.code);
            Some(output.and_then(last_error).unwrap_or_else(usual))
        }
    }
}

/// Returns the last error in the output of a command that failed.
pub fn last_error(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().collect();
    let marked = (0..lines.len()).rev().find(|at| is_marked(&lines[*at..]));
    let raised = lines.iter().rposition(|line| is_exception(line));
    let found = marked.max(raised).or_else(|| {
        let is_likely = |line: &&str| {
            let lower = line.to_lowercase();
            !lower.contains("failed=") && WORDS.iter().any(|word| lower.contains(word))
        };
        lines.iter().rposition(is_likely)
    })?;
    let line = unframed(lines[found]);
    let error = MARKS.iter().find_map(|mark| line.strip_prefix(mark));
    let reason = match error {
        Some(first) => in_words(first, &lines[found + 1..], &lines[..found]),
        None => result_in(&lines[found..]).unwrap_or_else(|| without_class(line).to_owned()),
    };
    Some(cut(reason.trim(), REASON, characters).into_owned())
}

/// Returns a line without Terraform's frame and leading blanks.
fn unframed(line: &str) -> &str {
    line.trim_start_matches(['╷', '│', ' '])
}

/// Returns true if the first of these lines reports an error that the command did not ignore.
fn is_marked(lines: &[&str]) -> bool {
    let line = unframed(lines[0]);
    if is_result(line) {
        let behind = lines[1..].iter().find(|line| !line.starts_with([' ', '}']));
        return !behind.is_some_and(|line| line.starts_with("...ignoring"));
    }
    let marks = MARKS.iter().chain(&BEGINNINGS);
    marks.into_iter().any(|mark| line.starts_with(mark)) || line.contains(": error: ")
}

fn is_result(line: &str) -> bool {
    RESULTS.iter().any(|mark| line.contains(mark))
}

/// Returns true for the last line of a Python traceback.
fn is_exception(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_name = |character: char| character.is_alphanumeric() || "._".contains(character);
    name.chars().all(is_name) && (last.ends_with("Error") || last.ends_with("Exception"))
}

/// Returns the message of one of Ansible's own exceptions, without its class name.
fn without_class(line: &str) -> &str {
    let message = line.strip_prefix("ansible.errors.");
    let message = message.and_then(|rest| rest.split_once(": "));
    message.map_or(line, |(_, message)| message)
}

/// Returns the host and the reason of a failed task, from the result that Ansible printed.
fn result_in(lines: &[&str]) -> Option<String> {
    let mark = RESULTS.iter().find(|mark| lines[0].contains(*mark))?;
    let (host, first) = lines[0].split_once(mark)?;
    let host = host
        .trim_start_matches("fatal: ")
        .trim_end_matches(['|', ' ', ':']);
    let host = host.trim_matches(['[', ']']);
    let text = [&[first], &lines[1..]].concat().join("\n");
    let result = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let reason = of_failure(&result.flatten().next()?)?;
    Some(format!("{host}: {}", one_line(&reason)))
}

/// Returns an error of Ansible on one line, with the file and line that it names; `before` are the lines before it.
fn in_words(first: &str, rest: &[&str], before: &[&str]) -> String {
    let end = rest.iter().position(|line| is_marked(&[line]));
    let rest = &rest[..end.unwrap_or(rest.len())];
    let message = match rest.iter().position(|line| line.starts_with(YAML)) {
        Some(at) => {
            let mut detail = rest[at + 1..].iter().map(|line| line.trim());
            let detail = detail.find(|line| !line.is_empty()).unwrap_or_default();
            format!("{}: {detail}", YAML.trim_end_matches('.'))
        }
        None => paragraph(first, rest),
    };
    let mut details: Vec<String> = place_in(rest).into_iter().collect();
    if INVENTORY.iter().any(|begin| message.starts_with(begin)) {
        details.extend(unparsed(before));
    }
    details.retain(|detail| !message.contains(detail.as_str()));
    match details.is_empty() {
        true => message,
        false => format!("{message} ({})", details.join("; ")),
    }
}

/// Returns a long message, which continues on the next lines.
fn paragraph(first: &str, rest: &[&str]) -> String {
    let is_more = |line: &&&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(ORIGIN) && !line.starts_with(ADVICE)
    };
    let more = rest.iter().take(REASON_LINES - 1).take_while(is_more);
    let lines: Vec<&str> = [&first]
        .into_iter()
        .chain(more)
        .map(|line| line.trim())
        .collect();
    let message = lines.join(" ");
    let advice = message.find(ADVICE).unwrap_or(message.len());
    message[..advice].trim_end().to_owned()
}

/// Returns the place of an error as `FILE:LINE`, or the file alone.
fn place_in(lines: &[&str]) -> Option<String> {
    lines.iter().find_map(|line| {
        if let Some(path) = line.strip_prefix(ORIGIN) {
            return path
                .starts_with('/')
                .then(|| without_column(path).to_owned());
        }
        let rest = PLACES.iter().find_map(|begin| line.strip_prefix(begin))?;
        let (path, rest) = rest.split_once("': line ")?;
        let line = rest.split(',').next()?;
        Some(format!("{path}:{line}"))
    })
}

/// Returns `FILE:LINE` of `FILE:LINE:COLUMN`.
fn without_column(place: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let line = place
        .rsplit_once(':')
        .filter(|(_, column)| is_number(column));
    let line = line.map(|(line, _)| line);
    let is_line = |line: &&str| {
        line.rsplit_once(':')
            .is_some_and(|(_, line)| is_number(line))
    };
    line.filter(is_line).unwrap_or(place)
}

/// Returns the warnings about inventories that Ansible could not read.
fn unparsed(lines: &[&str]) -> Vec<String> {
    let warning = |(at, line): (usize, &&str)| {
        let text = line.strip_prefix(WARNING)?.trim_start_matches([' ', '*']);
        let is_more = |line: &&&str| !line.trim().is_empty() && !line.starts_with('[');
        // Old versions break the line.
        let more = lines[at + 1..].iter().take_while(is_more);
        let text: Vec<&str> = [&text].into_iter().chain(more).copied().collect();
        text[0].starts_with(UNPARSED).then(|| text.join(" "))
    };
    lines.iter().enumerate().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_error() {
        for (output, expected) in [
            (
                "[WARNING]: x\n[ERROR]: the role 'x' was\nnot found\nOrigin: /srv/site.yml:3:5\n",
                Some("the role 'x' was not found (/srv/site.yml:3)"),
            ),
            (
                "usage: ansible-playbook [-h]\nansible-playbook: error: unrecognized arguments: --x",
                Some("ansible-playbook: error: unrecognized arguments: --x"),
            ),
            (
                "Traceback (most recent call last):\n  File \"a\", line 1\nyaml.parser.ParserError: no\n\n",
                Some("yaml.parser.ParserError: no"),
            ),
            (
                "ERROR: no\nTraceback (most recent call last):\nansible.errors.AnsibleError: Invalid forks\nx\n",
                Some("Invalid forks"),
            ),
            (
                "Cloning\nfatal: repository 'x' does not exist\n",
                Some("fatal: repository 'x' does not exist"),
            ),
            (
                "╷\n│ Error: No configuration files\n│ \n│ Apply requires\n╵",
                Some("Error: No configuration files"),
            ),
            ("sh: 1: nope: not found", Some("sh: 1: nope: not found")),
            ("PLAY RECAP\nweb1 : ok=1 failed=0", None),
            ("all is well", None),
        ] {
            assert_eq!(last_error(output).as_deref(), expected, "{output}");
        }
    }

    /// The way in which ansible-core before 2.19 continues an error.
    const CONTEXT: &str = "\n\nThe error appears to be in '/srv/site.yml': line 2, column 11, but may\n\
        be elsewhere in the file depending on the exact syntax problem.\n\n\
        The offending line appears to be:\n\n- hosts: web\n  roles: [x]\n          ^ here";

    #[test]
    fn an_error_of_ansible_has_its_cause_and_place() {
        let yaml = "ERROR! We were unable to read either as JSON nor YAML, these are the errors we got from each:\n\
            JSON: Expecting value: line 1 column 1 (char 0)\n\nSyntax Error while loading YAML.\n\
            \x20 did not find expected node content";
        let missing = "Could not find or access '/srv/x.yml' on the Ansible Controller.";
        let advice = "If you are using a module and expect the file to exist on the remote, see x";
        for (output, expected) in [
            (
                format!("ERROR! the role 'x' was not found in /srv{CONTEXT}"),
                "the role 'x' was not found in /srv (/srv/site.yml:2)",
            ),
            (
                format!("{yaml}{CONTEXT}"),
                "Syntax Error while loading YAML: did not find expected node content (/srv/site.yml:2)",
            ),
            (
                "[ERROR]: YAML parsing failed: Tabs are usually invalid.\nOrigin: /srv/a:b.yml:4:1\n\n2 x\n".into(),
                "YAML parsing failed: Tabs are usually invalid. (/srv/a:b.yml:4)",
            ),
            (
                "[ERROR]: Attempting to decrypt but no vault secrets found.\nOrigin: /srv/v.yml\n".into(),
                "Attempting to decrypt but no vault secrets found. (/srv/v.yml)",
            ),
            (
                format!("ERROR! Unable to retrieve file contents\n{missing}\n{advice}"),
                "Unable to retrieve file contents Could not find or access '/srv/x.yml' on the Ansible Controller.",
            ),
            (
                format!("[ERROR]: Unable to retrieve file contents. {missing} {advice}"),
                "Unable to retrieve file contents. Could not find or access '/srv/x.yml' on the Ansible Controller.",
            ),
            (
                " [ERROR]: No matching task \"x\" found. Note: --start-at-task can only\nfollow static includes.".into(),
                "No matching task \"x\" found. Note: --start-at-task can only follow static includes.",
            ),
            (
                "[WARNING]:  * Failed to parse /srv/inv with ini plugin: not\nenough values to unpack\n\
                 [WARNING]: Unable to parse /srv/inv\nERROR! No inventory was parsed, please check it.".into(),
                "No inventory was parsed, please check it. (Failed to parse /srv/inv with ini plugin: not enough values to unpack)",
            ),
        ] {
            assert_eq!(last_error(&output).as_deref(), Some(expected), "{output}");
        }
    }

    #[test]
    fn a_failed_task_has_the_reason_that_the_plugin_gives() {
        for (output, expected) in [
            (
                "localhost | FAILED! => {\n    \"msg\": \"fatal: no repository\\nx\",\n    \"rc\": 128\n}\nStarting\n",
                "localhost: fatal: no repository x",
            ),
            (
                "TASK [x]\nfatal: [web1]: UNREACHABLE! => {\"msg\": \"no route\", \"unreachable\": true}\nPLAY RECAP",
                "web1: no route",
            ),
            (
                "fatal: [web1]: FAILED! => {\"msg\": \"first\"}\nfatal: [web2]: FAILED! => {\"msg\": \"second\"}\n...ignoring",
                "web1: first",
            ),
            (
                "fatal: [web1]: FAILED! => cut",
                "fatal: [web1]: FAILED! => cut",
            ),
        ] {
            assert_eq!(last_error(output).as_deref(), Some(expected), "{output}");
        }
    }
}
