//! Conditions as people write them: what `when` lets through, and what is said of one that means nothing.

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

/// How many of these events are sent under a condition.
fn sent(condition: &str, events: &str) -> usize {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\non = any\nwhen = {condition}\n",
        server.url()
    );
    let outcome = Sandbox::with_config(&config).run_with_input(&["send", "-"], events);
    assert_eq!(outcome.code, 0, "{condition}: {outcome:?}");
    server.bodies().len()
}

/// What `check-config` says of lines below [inputs].
fn said(lines: &str) -> (i32, String) {
    let config = format!("[inputs]\ncallback_url = http://localhost/\n{lines}\n");
    let outcome = Sandbox::with_config(&config).run(&["check-config"]);
    (outcome.code, outcome.stderr)
}

const FAILED: &str = r#"{"state":"failed","host":"web1","result":{"msg":"no"}}"#;

#[test]
fn operators_of_other_languages_are_problems_and_cut_nothing_off() {
    for (condition, advice) in [
        ("host == 'web1' && changed", "write `and`"),
        ("host == 'web1' & changed", "write `and`"),
        ("host == 'web1' || changed", "write `or`"),
        ("!changed", "write `not`"),
        ("host = 'web1'", "write `==`"),
        ("host == “web1”", "write ' or \""),
        ("host == 'web1", "is not closed"),
        ("{{ host == 'web1' && changed }}", "write `and`"),
    ] {
        let (code, stderr) = said(&format!("when = {condition}"));
        assert!(
            code == 78 && stderr.contains(advice) && stderr.contains("ini:3: `when`"),
            "{condition}: {stderr}"
        );
    }
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\nwhen = host == 'web1' && changed\n",
        server.url()
    );
    let outcome = Sandbox::with_config(&config).run_with_input(&["send", "-"], FAILED);
    assert_eq!(
        (outcome.code, server.bodies().len()),
        (78, 0),
        "{outcome:?}"
    );
}

#[test]
fn a_comment_is_no_condition() {
    let (code, stderr) = said("when = # only on web1");
    assert!(code == 78 && stderr.contains("`when` is empty"), "{stderr}");
}

#[test]
fn a_condition_in_braces_is_met_only_where_it_holds() {
    for (condition, count) in [
        ("{{ host == 'web1' }}", 1),
        ("{{ host == 'web2' }}", 0),
        ("{{ changed }}", 0),
        ("{{ not changed }}", 1),
        ("{% if changed %}yes{% endif %}", 0),
        ("{% if changed %}yes{% else %}no{% endif %}", 0),
        ("{{ result.list | default([]) }}", 0),
        ("{{ host }}", 1),
    ] {
        assert_eq!(sent(condition, FAILED), count, "{condition}");
    }
    let (code, stderr) = said("when = {{ host == 'web1' }}");
    assert!(code == 0 && stderr.contains("warning: "), "{stderr}");
    assert!(stderr.contains("remove `{{` and `}}`"), "{stderr}");
}

#[test]
fn only_events_that_are_heard_are_tried() {
    for lines in [
        "when = host.startswith('db')",
        "when = result.msg is search('n') and not changed",
        "[outputs]\nshort = host.split('.')[0]\nmessage = result.msg | regex_replace('a', 'b')",
    ] {
        assert_eq!(said(lines), (0, String::new()), "{lines}");
    }
    let (code, stderr) = said("on = any\nwhen = host.startswith('db')");
    assert!(code == 78 && stderr.contains("startswith"), "{stderr}");
}

#[test]
fn an_end_by_hand_needs_a_status_or_counts() {
    let end = |more: &str| {
        format!(r#"{{"event":"run_end","run":{{"id":"r","playbook":"s.yml"}}{more}}}"#)
    };
    for (more, condition) in [
        (
            r#","stats":{"a":{"ok":1,"failures":1}}"#,
            "status == 'error'",
        ),
        (r#","stats":{"a":{"unreachable":1}}"#, "status == 'error'"),
        (r#","stats":{"a":{"ok":1}}"#, "status == 'success'"),
        (
            r#","status":"canceled","stats":{"a":{"ok":1}}"#,
            "status == 'canceled'",
        ),
    ] {
        assert_eq!(sent(condition, &end(more)), 1, "{more}");
    }
    for (more, problem) in [
        (
            "",
            "`run_end` has neither `status` (success, error or canceled) nor `stats`",
        ),
        (
            r#","status":"failed""#,
            "`status` must be running, success, error or canceled, not `failed`; did you mean `error`?",
        ),
        (r#","status":"eror""#, "not `eror`; did you mean `error`?"),
    ] {
        let outcome =
            Sandbox::sending_to("http://localhost/").run_with_input(&["send", "-"], end(more));
        assert_eq!(outcome.code, 65, "{outcome:?}");
        assert!(outcome.stderr.contains(problem), "{outcome:?}");
    }
}
