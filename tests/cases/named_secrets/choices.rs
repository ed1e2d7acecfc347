//! Templates that choose a hook among names.

use serde_json::json;

use super::{EVENT, header, send};
use crate::sandbox::{Sandbox, outcome};
use crate::server::{OK, Reply, Server, dead_url};

#[test]
fn a_template_of_a_url_that_can_never_be_right_is_a_problem() {
    let check = |url: &str| {
        let sandbox = Sandbox::with_config(&format!(
            "[secret:dev]\nvalue = http://localhost/canary\n[notifier:n]\ntype = slack\non = any\nurl = {url}\n"
        ));
        sandbox.run(&["check-config"])
    };
    for (url, problem) in [
        (
            "{{ \"secret:\" ~ \"dev\" }}",
            "there is no name after `secret:`; a template must contain each name whole",
        ),
        (
            "{{ 'secret:%s' | format('dev') }}",
            "no [secret:%s] in this file or at a higher level; a template must",
        ),
        (
            "{{ 'secret:dev' if check else '' }}/x",
            "`url`: the template gives none of secret:dev (tried on a sample of",
        ),
        (
            "{{ 'secret:dev' ~ host }}",
            "`url`: the template gives none of secret:dev (tried on a sample of",
        ),
    ] {
        let checked = check(url);
        assert_eq!(checked.code, 78, "{url}: {checked:?}");
        assert_eq!(checked.stderr.lines().count(), 1, "{url}: {checked:?}");
        assert!(checked.stderr.contains(problem), "{url}: {checked:?}");
    }
    for url in [
        "{{ 'secret:dev' if check else '' }}",
        "{{ {'a': 'secret:dev'}[host] }}",
        "{% if check %}{{ 'secret:dev' }}{% endif %}",
        "{% set x = {'a': 'secret:dev'}[host] %}{{ x }}",
    ] {
        let checked = check(url);
        assert_eq!(checked.code, 0, "{url}: {checked:?}");
    }
}

#[test]
fn an_undefined_url_is_a_mistake_and_an_empty_one_is_not() {
    for (url, code, said) in [
        (
            "{{ {'a': 'secret:dev'}[host] }}",
            69,
            "`url`: the template's result is undefined",
        ),
        (
            "{% set x = {'a': 'secret:dev'}[host] %} {{ x }}",
            69,
            "`url`: the template's result is undefined",
        ),
        ("{{ {'a': 'secret:dev'}[host] | default('') }}", 0, "nobody"),
        ("{{ {'a': 'secret:dev', 'h': none}[host] }}", 0, "nobody"),
        ("{{ 'secret:dev' if check else '' }}", 0, "nobody"),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[secret:dev]\nvalue = {}\n[notifier:n]\ntype = slack\non = any\nurl = {url}\n",
            dead_url()
        ));
        let sent = send(&sandbox);
        assert_eq!(sent.code, code, "{url}: {sent:?}");
        let history = sandbox.run_on_spool(&["history", "1"]).stdout;
        assert!(history.contains(said), "{url}: {history}");
    }
}

/// Two hooks, and a template that chooses between them.
fn choosing(kind: &str, template: &str, [ops, dev]: [&str; 2]) -> Sandbox {
    Sandbox::with_config(&format!(
        "[secret:ops]\nvalue = {ops}\n[secret:dev]\nvalue = {dev}\n[secret:other]\nvalue = {ops}/canary-other\n\
         [notifier:n]\ntype = {kind}\nurl = {template}\non = any\n"
    ))
}

fn event(limit: &str, msg: &str) -> String {
    json!({"state": "failed", "host": "h", "run": {"id": format!("r{limit}{msg}").replace(['/', ':'], ""), "limit": limit},
        "result": {"msg": msg}})
    .to_string()
}

const BY_LIMIT: &str =
    "{{ 'secret:ops' if event.run.limit == 'prod' else 'secret:dev' if event.run.limit else '' }}";

#[test]
fn a_template_chooses_the_hook_of_every_kind() {
    for (kind, reply) in [
        ("webhook", OK),
        ("slack", Reply::Full(200, "", "ok")),
        ("teams", Reply::Full(202, "", "")),
        ("discord", Reply::Full(200, "", r#"{"id":"1"}"#)),
        ("mattermost", Reply::Full(200, "", "ok")),
        ("rocketchat", Reply::Full(200, "", r#"{"success":true}"#)),
    ] {
        let servers = [(); 2].map(|()| Server::start([reply.clone()]));
        let urls = servers
            .each_ref()
            .map(|server| server.at("/canary-hook-path"));
        let sandbox = choosing(kind, BY_LIMIT, urls.each_ref().map(String::as_str));
        for (limit, requests) in [("prod", [1, 0]), ("web", [1, 1]), ("", [1, 1])] {
            sandbox.file("event.json", event(limit, ""));
            let sent = sandbox.run_on_spool(&["send", "event.json"]);
            assert_eq!(sent.code, 0, "{kind}: {sent:?}");
            let got = servers.each_ref().map(|server| server.requests().len());
            assert_eq!(got, requests, "{kind} {limit}");
        }
        let history = sandbox.run_on_spool(&["history", "3"]).stdout;
        assert!(history.contains("nobody was notified"), "{history}");
        let shown = sandbox.run(&["send", "--dry-run", "event.json"]);
        assert!(shown.stdout.contains("nobody"), "{shown:?}");
        sandbox.expect_no_canary();
    }
}

#[test]
fn no_text_of_a_result_chooses_a_host() {
    let [ops, dev] = [(); 2].map(|()| Server::start([OK]));
    let template = "{{ result.msg if result.msg else 'secret:dev' }}";
    let sandbox = choosing("webhook", template, [&ops.url(), &dev.url()]);
    for msg in [
        ops.url().as_str(),
        "secret:ops",
        "secret:other",
        "ops",
        "secret:dev secret:ops",
        "canary-anything",
    ] {
        sandbox.file("event.json", event("", msg));
        let sent = sandbox.run_on_spool(&["send", "event.json"]);
        assert_eq!(sent.code, 69, "{msg}: {sent:?}");
        assert!(
            sent.stderr
                .contains("`url`: the template gives none of secret:dev"),
            "{sent:?}"
        );
        assert!(!sent.stderr.contains("canary"), "{sent:?}");
    }
    assert_eq!(ops.requests().len() + dev.requests().len(), 0);
    sandbox.file("event.json", event("", "secret:dev"));
    assert_eq!(sandbox.run_on_spool(&["send", "event.json"]).code, 0);
    assert_eq!((ops.requests().len(), dev.requests().len()), (0, 1));
}

#[test]
fn a_template_that_cannot_choose_is_a_mistake() {
    for (template, more, problem) in [
        (
            "{{ result.msg }}",
            "",
            "`url` must begin with http:// or https://, or choose among secrets that its template names",
        ),
        (
            "{{ 'secret:opz' }}",
            "",
            "`url`: there is no [secret:opz] in this file or at a higher level; did you mean `ops`?",
        ),
        (
            "{{ 'secret:ops' }}",
            "batch = 2\n",
            "`batch` cannot be used with a template that chooses the URL",
        ),
        (
            "{{ 'secret:ops' if nosuch else '' }}",
            "",
            "unknown variable `nosuch`",
        ),
    ] {
        let sandbox = choosing(
            "webhook",
            template,
            ["http://localhost:1/a", "http://localhost:1/b"],
        );
        let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
        sandbox.file(
            "plugin_config.ini",
            format!("{config}username = anna\npassword = canary\n{more}"),
        );
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 78, "{template}: {checked:?}");
        assert!(checked.stderr.contains(problem), "{template}: {checked:?}");
        let lines = checked.stderr.lines().count();
        assert_eq!(lines, 1, "{template}: {checked:?}");
    }
}

#[test]
fn every_candidate_is_checked_and_none_is_shown() {
    let ops = Server::start([OK]);
    let dead = dead_url();
    let sandbox = choosing("webhook", BY_LIMIT, [&ops.at("/canary-hook-path"), &dead]);
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert_eq!(checked.code, 78, "{checked:?}");
    assert!(
        checked
            .stdout
            .contains("n: secret:ops: OPTIONS http://127.0.0.1"),
        "{checked:?}"
    );
    assert!(
        checked.stderr.contains("n: secret:dev: http://127.0.0.1"),
        "{checked:?}"
    );
    assert!(!checked.printed().contains("canary"), "{checked:?}");
}

#[test]
fn values_from_the_environment_are_literal() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[secret:a]\nvalue = canary\n[inputs]\ncallback_url = {}\nusername = anna\npassword = secret:a\n",
        server.url()
    ));
    sandbox.file("event.json", EVENT);
    let mut command = sandbox.command_on_spool(&["send", "event.json"]);
    command.env("ANSIBLE_NOTIFY_PASSWORD", "secret:a");
    let sent = outcome(command.spawn().unwrap());
    assert_eq!(sent.code, 0, "{sent:?}");
    // "anna:secret:a"
    let expected = "Basic YW5uYTpzZWNyZXQ6YQ==";
    assert_eq!(header(&server, "authorization").as_deref(), Some(expected));
}
