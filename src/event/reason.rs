//! Reason why a task failed, as one short text taken from its result. Ansible's own message often says only
//! that something failed: the cause is then in the output, the exception, or the items of a loop.

use serde_json::Value;

use crate::text::{characters, cut};

/// Number of lines quoted from the end of an output, and their total length in characters.
const LINES: usize = 5;
const OUTPUT: usize = 300;

/// Messages that say only that a command failed.
const RETURN_CODE: [&str; 2] = [
    "non-zero return code",
    "the command exited with a non-zero return code",
];
/// Messages that do not name the cause, in lower case and without the full stop.
const VAGUE: [&str; 13] = [
    "a 'failed_when' expression evaluated to 'true'",
    "action failed",
    "all items completed",
    "error executing command",
    "module failed",
    "module failure",
    "module result deserialization failed",
    "no start of json char found",
    "nonetype: none",
    "one or more items failed",
    "task failed",
    "unknown error",
    "(traceback unavailable)",
];
/// Beginnings of messages that do not name the cause.
const VAGUE_STARTS: [&str; 3] = [
    "module failure",
    "module result deserialization failed",
    "the module failed to execute correctly",
];
/// Keys under which a result says why it failed; `message` in `include_vars`, `reason` in an include of tasks.
const MESSAGES: [&str; 5] = ["msg", "reason", "message", "error", "errors"];
/// Prefixes that ansible-core puts before a message.
const LAYERS: [&str; 6] = [
    "Task failed: ",
    "Module failed: ",
    "Action failed: ",
    "A 'failed_when' expression failed: ",
    "Error executing command: ",
    "Unexpected AnsibleActionFail error: ",
];
const TRACEBACK: &str = "Traceback (most recent call last):";
/// Exception in which ansible-core sums up everything that led to a failure.
const SUMMARY: &str = "AnsibleTaskError";

/// Returns the cause of a failure.
pub fn of_failure(result: &Value) -> Option<String> {
    if !result.is_object() {
        return text(result);
    }
    if let Some(hidden) = text(&result["censored"]) {
        return Some(hidden);
    }
    let cause = match unmet_condition(result) {
        Some(condition) => match cause(result) {
            Some(cause) => Some(format!("{condition}: {cause}")),
            None => Some(condition),
        },
        None => cause(result).or_else(|| last_resort(result)),
    }?;
    Some(match result["attempts"].as_u64() {
        Some(attempts) => format!("{cause} (attempts: {attempts})"),
        None => cause,
    })
}

/// Returns the message of a task that did not fail.
pub fn of_other(result: &Value) -> Option<String> {
    let keys = ["censored", "msg", "stderr", "module_stderr", "stdout"];
    keys.into_iter().find_map(|key| text(&result[key]))
}

/// Returns the playbook's condition that turned a successful result into a failure.
fn unmet_condition(result: &Value) -> Option<String> {
    let code = result["rc"].as_i64();
    if let Some((key, error)) = unclear_condition(result) {
        return Some(format!("{key} cannot be evaluated: {}", clean(error)));
    }
    match &result["failed_when_result"] {
        Value::Bool(true) if code.is_none_or(|code| code == 0) => {
            return Some("failed_when was met".to_owned());
        }
        _ => {}
    }
    let is_answer = |status: i64| (200..300).contains(&status);
    let fine = match (code, result["status"].as_i64()) {
        (Some(code), _) => code == 0,
        (None, Some(status)) => is_answer(status),
        (None, None) => text(&result["msg"]).is_none(),
    };
    (fine && !result["attempts"].is_null()).then(|| "until was not met".to_owned())
}

/// Returns a condition of the playbook that cannot be evaluated, and why: Ansible gives the error in place
/// of its value.
fn unclear_condition(result: &Value) -> Option<(&'static str, &str)> {
    ["failed_when", "changed_when"]
        .into_iter()
        .find_map(|key| Some((key, result[format!("{key}_result")].as_str()?)))
}

/// Returns the message with the details it omits, or a replacement for it.
fn cause(result: &Value) -> Option<String> {
    if unclear_condition(result).is_some() {
        return None;
    }
    match message(result).filter(|message| !is_vague(message)) {
        Some(message) => Some(match detail(result, &message) {
            Some(detail) if detail.contains(message.trim_end_matches('.')) => detail,
            Some(detail) => format!("{}: {detail}", message.trim_end_matches('.')),
            None => message,
        }),
        None => exception(result, "").or_else(|| output(result)),
    }
}

/// Returns the first of Ansible's messages that says something, without Ansible's prefixes.
fn message(result: &Value) -> Option<String> {
    let is_said =
        |key: &&&str| **key == "msg" || result[**key].is_string() || result[**key].is_array();
    let said = || {
        MESSAGES
            .iter()
            .filter(is_said)
            .filter_map(|key| text(&result[*key]))
    };
    let message = said()
        .map(|said| clean(&said))
        .find(|said| !is_vague(said))
        .or_else(|| said().next().map(|said| clean(&said)))?;
    let unfinished = result["async_result"]["finished"] == false;
    if message == "async task produced unparsable results" && unfinished {
        return Some("async task did not complete within the requested time".to_owned());
    }
    Some(message)
}

/// Returns the part of the cause that a message does not name.
fn detail(result: &Value, message: &str) -> Option<String> {
    match message {
        "Assertion failed" => text(&result["assertion"]),
        "Request failed" => text(&result["response"]),
        _ if result["msg"].is_array() => None,
        _ => of_modules(result)
            .or_else(|| exception(result, message))
            .or_else(|| refused(result, message)),
    }
}

/// Returns the causes of the failed modules if an action, such as gathering facts, runs several.
fn of_modules(result: &Value) -> Option<String> {
    let modules = result["failed_modules"].as_object()?;
    let mut causes: Vec<String> = modules.values().filter_map(cause).collect();
    causes.dedup();
    (!causes.is_empty()).then(|| causes.join("\n"))
}

/// Returns the packages that a package manager rejected, and why.
fn refused(result: &Value, message: &str) -> Option<String> {
    let failures = result["failures"].as_array().map(|_| &result["failures"]);
    failures
        .and_then(text)
        .filter(|failures| is_new(failures, message))
}

/// Returns the text for a result that names no cause.
fn last_resort(result: &Value) -> Option<String> {
    let message = message(result).filter(|message| !RETURN_CODE.contains(&plain(message).as_str()));
    let code = || Some(format!("return code {}", text(&result["rc"])?));
    message
        .map(|message| message.trim_end_matches('.').to_owned())
        .or_else(code)
}

/// Returns the message of the exception that led to the failure: the last one not yet in `known`.
fn exception(result: &Value, known: &str) -> Option<String> {
    let text = result["exception"].as_str()?;
    if !text.contains(TRACEBACK) {
        let message = clean(text);
        return is_new(&message, known).then_some(message);
    }
    for part in text.rsplit(TRACEBACK) {
        let message = raised(part);
        let (class, bare) = match message.split_once(": ") {
            Some((class, bare)) if !class.contains(char::is_whitespace) => (class, clean(bare)),
            _ => ("", clean(&message)),
        };
        if class.ends_with(SUMMARY) {
            return is_new(&bare, known).then_some(bare);
        }
        if is_new(&bare, known) && !is_vague(&message) {
            return Some(message);
        }
    }
    None
}

fn is_new(message: &str, known: &str) -> bool {
    !message.is_empty() && !is_vague(message) && !known.contains(message)
}

/// Returns the end of a traceback: the lines after the code of its last frame.
fn raised(traceback: &str) -> String {
    let lines: Vec<&str> = traceback.lines().collect();
    let frame = lines.iter().rposition(|line| line.starts_with("  File \""));
    let rest = &lines[frame.map_or(0, |frame| frame + 1)..];
    let code = rest.iter().take_while(|line| line.starts_with("    "));
    let message = rest[code.count()..].join("\n");
    let chained = ["\n\nThe above ", "\n\nDuring handling of "];
    before(&message, &chained).trim().to_owned()
}

/// Returns the last lines of the output of a command or a crashed module.
fn output(result: &Value) -> Option<String> {
    let keys = ["stderr", "module_stderr", "stdout", "module_stdout"];
    keys.into_iter()
        .find_map(|key| Some(last_lines(&text(&result[key])?)).filter(|lines| !lines.is_empty()))
}

fn last_lines(output: &str) -> String {
    let traceback = output.rsplit(TRACEBACK).next().unwrap_or_default();
    let raised = output.contains(TRACEBACK).then(|| raised(traceback));
    let output = raised.filter(|raised| !raised.is_empty());
    let output = output.as_deref().unwrap_or(traceback);
    let mut lines = Vec::new();
    let mut room = OUTPUT;
    for line in output.lines().rev() {
        // The last state of a progress bar.
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.trim().is_empty() || is_farewell(line) {
            continue;
        }
        let length = line.chars().count();
        if lines.len() == LINES || length > room && !lines.is_empty() {
            break;
        }
        room = room.saturating_sub(length);
        lines.push(cut(line, OUTPUT, characters));
    }
    lines.reverse();
    lines.join("\n").trim().to_owned()
}

/// Returns true for ssh's message at the end of a connection.
fn is_farewell(line: &str) -> bool {
    let connection = line
        .strip_prefix("Shared c")
        .or_else(|| line.strip_prefix('C'));
    connection.is_some_and(|rest| rest.starts_with("onnection to ") && rest.ends_with(" closed."))
}

/// Returns a message without its prefixes, the position in the playbook, and repetitions.
fn clean(message: &str) -> String {
    let mut message = before(message, &["\n\nThe error appears to "]).trim();
    while let Some(rest) = LAYERS.iter().find_map(|layer| message.strip_prefix(layer)) {
        message = rest.trim();
    }
    while let Some((first, again)) = message.rsplit_once(". ")
        && first.contains(again)
    {
        message = first.trim_end();
    }
    message.to_owned()
}

/// Returns the text before the first of these marks.
fn before<'t>(text: &'t str, marks: &[&str]) -> &'t str {
    let places = marks.iter().filter_map(|mark| text.find(mark));
    &text[..places.min().unwrap_or(text.len())]
}

fn plain(message: &str) -> String {
    message.trim().trim_end_matches('.').to_lowercase()
}

fn is_vague(message: &str) -> bool {
    let message = plain(message);
    RETURN_CODE.contains(&message.as_str())
        || VAGUE.contains(&message.as_str())
        || VAGUE_STARTS.iter().any(|start| message.starts_with(start))
}

/// Returns a value as text; a list of texts becomes one line each. None if it is empty.
pub fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let lines: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            lines.map_or_else(|| value.to_string(), |lines| lines.join("\n"))
        }
        Value::Object(values) if values.is_empty() => return None,
        other => other.to_string(),
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(result: Value) -> String {
        of_failure(&result).unwrap_or_default()
    }

    #[test]
    fn the_cause_is_found_wherever_modules_put_it() {
        for (result, expected) in [
            (
                json!({"msg": "Unknown error", "message": "Could not find '/x.yml'"}),
                "Could not find '/x.yml'",
            ),
            (json!({"message": "no such file"}), "no such file"),
            (json!({"errors": ["first", "second"]}), "first\nsecond"),
            (json!({"error": "the error", "rc": 1}), "the error"),
            (
                json!({"msg": "Failed to install some of the specified packages", "failures": ["No package foo available."]}),
                "Failed to install some of the specified packages: No package foo available.",
            ),
            (
                json!({"msg": "The module failed to execute correctly, you probably need to set the interpreter.\nSee stdout/stderr for the exact error",
                    "rc": 127, "module_stdout": "", "module_stderr": "/bin/sh: 1: /nope/python: not found\n"}),
                "/bin/sh: 1: /nope/python: not found",
            ),
            (
                json!({"changed_when_result": "'nope' is undefined", "rc": 0, "stdout": "fine"}),
                "changed_when cannot be evaluated: 'nope' is undefined",
            ),
            (json!({"msg": {}, "rc": 4}), "return code 4"),
        ] {
            assert_eq!(reason(result), expected);
        }
    }

    #[test]
    fn a_message_says_it_unless_it_says_nothing() {
        let codes = [
            "non-zero return code",
            "The command exited with a non-zero return code.",
        ];
        for msg in codes {
            assert_eq!(
                reason(json!({"msg": msg, "rc": 3, "stderr": "full", "stdout": "x"})),
                "full"
            );
            assert_eq!(
                reason(json!({"msg": msg, "rc": 3, "stderr": " ", "stdout": "x"})),
                "x"
            );
            assert_eq!(
                reason(json!({"msg": msg, "rc": 3, "stderr": ""})),
                "return code 3"
            );
        }
        assert_eq!(
            reason(json!({"msg": "no", "stderr": "warning", "rc": 1})),
            "no"
        );
        assert_eq!(reason(json!({"msg": ["a", "b"]})), "a\nb");
        assert_eq!(reason(json!({"msg": {"a": 1}})), "{\"a\":1}");
        assert_eq!(reason(json!({"reason": "no such file"})), "no such file");
        for vague in [json!(null), json!(""), json!("Task failed: Unknown error.")] {
            let included = json!({"msg": vague, "message": "no such variables"});
            assert_eq!(reason(included), "no such variables");
        }
        assert_eq!(reason(json!({"msg": "no", "message": "more"})), "no");
        let interpreter = "The module failed to execute correctly, you probably need to set the \
                           interpreter.\nSee stdout/stderr for the exact error";
        assert_eq!(
            reason(
                json!({"msg": interpreter, "module_stdout": "sh: /x: not found\r\n", "rc": 127})
            ),
            "sh: /x: not found"
        );
        assert_eq!(reason(json!("a text")), "a text");
        assert_eq!(reason(json!({"rc": 0, "changed": true})), "return code 0");
        assert_eq!(of_failure(&json!({"changed": true})), None);
        let hidden = json!({"censored": "hidden", "msg": "CANARY", "exception": "CANARY"});
        assert_eq!(reason(hidden), "hidden");
    }

    #[test]
    fn layers_places_and_repetitions_are_left_out() {
        for (msg, expected) in [
            ("Task failed: Module failed: the moon", "the moon"),
            ("Task failed.", "Task failed"),
            (
                "no 'x'. no 'x'. no 'x'\n\nThe error appears to be in '/srv/site.yml': line 3",
                "no 'x'",
            ),
            ("Unexpected AnsibleActionFail error: not found", "not found"),
        ] {
            assert_eq!(reason(json!({ "msg": msg })), expected);
        }
    }

    #[test]
    fn the_end_of_an_output_is_quoted() {
        let lines = |count: usize, line: &str| vec![line; count].join("\n");
        let quoted = |stderr: String| reason(json!({"rc": 1, "stderr": stderr}));
        assert_eq!(quoted(lines(9, "a")), lines(5, "a"));
        assert_eq!(quoted(format!("{}\nlast", "x".repeat(299))), "last");
        assert_eq!(quoted("x".repeat(400)).chars().count(), 300);
        assert_eq!(
            quoted("10%\r90%\r\n\nShared connection to h1 closed.\r\n".into()),
            "90%"
        );
        let traceback = "started\nTraceback (most recent call last):\n  File \"x\", line 1\n    \
                         go()\n    ^^^^\nValueError: no\n";
        assert_eq!(quoted(traceback.into()), "ValueError: no");
    }

    #[test]
    fn an_exception_adds_what_the_message_leaves_out() {
        let frame = "Traceback (most recent call last):\n  File \"x\", line 1, in y\n    go()\n";
        let chain = format!(
            "{frame}FileNotFoundError: no such file\n\nThe above exception was the direct cause of \
             the following exception:\n\n{frame}Error: it failed\n"
        );
        let of = |msg: &str, exception: &str| reason(json!({"msg": msg, "exception": exception}));
        assert_eq!(of("", &chain), "Error: it failed");
        assert_eq!(
            of("it failed", &chain),
            "it failed: FileNotFoundError: no such file"
        );
        assert_eq!(
            of("no such file", &format!("{frame}KeyError: no such file\n")),
            "no such file"
        );
        assert_eq!(of("Error executing command.", "[Errno 2] x"), "[Errno 2] x");
        assert_eq!(
            of("cannot touch.", "[Errno 2] x"),
            "cannot touch: [Errno 2] x"
        );
        let summary = format!(
            "{frame}ansible.errors.AnsibleTaskError: Task failed: Module failed: cannot touch: x"
        );
        assert_eq!(of("cannot touch.", &summary), "cannot touch: x");
        assert_eq!(of("no", "NoneType: None\n"), "no");
    }

    #[test]
    fn modules_that_failed_say_why() {
        let of = |modules: Value| {
            let msg = "The following modules failed to execute: setup.";
            reason(json!({"msg": msg, "failed_modules": modules}))
        };
        let same = json!({"msg": "no interpreter"});
        assert_eq!(
            of(json!({"a": same, "b": same, "c": {"msg": "Module failed.", "module_stderr": "x"}})),
            "The following modules failed to execute: setup: no interpreter\nx"
        );
        let nothing = "The following modules failed to execute: setup.";
        assert_eq!(of(json!({"a": {}})), nothing);
        assert_eq!(of(json!("?")), nothing);
    }

    #[test]
    fn a_condition_that_made_it_a_failure_is_named() {
        let met = |mut result: Value| {
            result["failed_when_result"] = json!(true);
            reason(result)
        };
        assert_eq!(
            met(json!({"rc": 0, "stdout": "good"})),
            "failed_when was met: good"
        );
        assert_eq!(met(json!({"rc": 2, "stdout": "bad"})), "bad");
        assert_eq!(met(json!({})), "failed_when was met");
        let waiting = json!({"status": 200, "msg": "OK (2 bytes)", "attempts": 3});
        assert_eq!(
            reason(waiting),
            "until was not met: OK (2 bytes) (attempts: 3)"
        );
        assert_eq!(
            reason(json!({"msg": "down", "attempts": 3})),
            "down (attempts: 3)"
        );
    }
}
