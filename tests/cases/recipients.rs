//! Recipients that a template chooses for each message.

use crate::sandbox::{Outcome, Sandbox, side_by_side};
use crate::server::{Reply, Request, Server, status};

/// A kind: its keys, the key of its recipients, and what its service answers to a message that it took.
const KINDS: [(&str, &str, &str, u16, &str); 7] = [
    (
        "slack",
        "token = t0ken\napi_url = BASE",
        "channels",
        200,
        r#"{"ok":true,"ts":"1","channel":"C"}"#,
    ),
    ("mattermost", "url = BASE/hooks/x", "channel", 200, "ok"),
    (
        "rocketchat",
        "url = BASE/hooks/x",
        "channel",
        200,
        r#"{"success":true}"#,
    ),
    (
        "telegram",
        "token = 1:abc\napi_url = BASE",
        "chat_ids",
        200,
        r#"{"ok":true,"result":{"message_id":1}}"#,
    ),
    (
        "twilio",
        "account_sid = a\nauth_token = t0ken\nfrom_number = 1\napi_url = BASE",
        "to_numbers",
        201,
        r#"{"sid":"S"}"#,
    ),
    ("hipchat", "token = t0ken\napi_url = BASE", "rooms", 204, ""),
    (
        "ntfy",
        "token = t0ken\napi_url = BASE",
        "topic",
        200,
        r#"{"id":"a","event":"message"}"#,
    ),
];

const EVENT: &str = r#"{"state":"failed","host":"web1","task":"Install","result":{"msg":"no","teams":["ops","web"],
    "text":"ops, web,ops","none":[],"bad":"a b\u0007c"}}"#;

/// The recipient of a request, wherever its service has it.
fn recipient(request: &Request) -> String {
    let form = |name: &str| {
        let pairs = url::form_urlencoded::parse(request.body.as_bytes());
        pairs
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    if let Some(number) = form("To") {
        return number;
    }
    if let Some((_, room)) = request.target.split_once("/room/") {
        return room.trim_end_matches("/notification").to_owned();
    }
    let body = request.json();
    let names = ["channel", "chat_id", "topic"];
    let name = names.into_iter().find_map(|name| body[name].as_str());
    name.unwrap_or_default().to_owned()
}

/// Sends the event to the recipients that this text names.
fn sent(
    kind: usize,
    recipients: &str,
    answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> (Vec<String>, Outcome, String) {
    let (name, keys, key, code, body) = KINDS[kind];
    let server =
        Server::answering(move |request| answer(request).unwrap_or(Reply::Full(code, "", body)));
    let keys = keys.replace("BASE", &server.at(""));
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = {name}\non = any\n{keys}\n{key} = {recipients}\n[delivery]\ndrain = 60\n"
    ));
    sandbox.file("event.json", EVENT);
    let outcome = sandbox.run_on_spool(&["send", "event.json", "--quiet"]);
    let history = sandbox.run_on_spool(&["history", "--json"]).stdout
        + &sandbox.run_on_spool(&["history", "1"]).stdout;
    (
        server.requests().iter().map(recipient).collect(),
        outcome,
        history,
    )
}

#[test]
fn a_template_chooses_the_recipients() {
    let kinds: Vec<usize> = (0..KINDS.len()).collect();
    side_by_side(&kinds, |kind| {
        for (recipients, expected) in [
            ("{{ result.teams }}", &["ops", "web"][..]),
            ("{{ result.text }}", &["ops", "web"]),
            ("{{ 'night' if changed else host }}", &["web1"]),
            (
                "{% for team in result.teams %}{{ team }}-{{ host }},{% endfor %}",
                &["ops-web1", "web-web1"],
            ),
            ("{{ result.none }}", &[]),
            ("{{ result.no_such_key }}", &[]),
            ("{% if changed %}ops{% endif %}", &[]),
        ] {
            let (reached, outcome, history) = sent(*kind, recipients, |_| None);
            let case = format!("{}: {recipients}: {outcome:?}", KINDS[*kind].0);
            assert_eq!(reached, expected, "{case}");
            assert_eq!(outcome.code, 0, "{case}");
            assert!(
                history.contains(r#""state":"delivered""#),
                "{case}: {history}"
            );
            assert_eq!(
                history.contains("nobody"),
                expected.is_empty(),
                "{case}: {history}"
            );
        }
    });
}

#[test]
fn a_recipient_that_cannot_be_is_a_reason() {
    for (kind, recipients, reason) in [
        (0, "{{ result.bad }}", "`channels`: "),
        (0, "{{ '1726.5' }}", "`1726.5` is a thread"),
        (3, "{{ 1 // 0 }}", "`chat_ids`: "),
        (
            4,
            "{{ range(101) | list }}",
            "gives 101 recipients, more than 100",
        ),
        (
            6,
            "{{ 'a/b' }}",
            "`topic` must have 1 to 64 of the characters",
        ),
    ] {
        let (reached, outcome, history) = sent(kind, recipients, |_| None);
        assert_eq!(reached, [""; 0], "{recipients}");
        assert_eq!(outcome.code, 69, "{recipients}: {outcome:?}");
        assert!(history.contains(reason), "{recipients}: {history}");
    }
}

#[test]
fn a_recipient_that_cannot_be_leaves_the_others_theirs() {
    let kinds: Vec<usize> = (0..KINDS.len()).collect();
    side_by_side(&kinds, |kind| {
        let key = KINDS[*kind].2;
        let recipients = "{{ [result.bad, 'ops', 'web', result.bad] }}";
        let (reached, outcome, history) = sent(*kind, recipients, |_| None);
        let case = format!("{}: {outcome:?} {history}", KINDS[*kind].0);
        assert_eq!(reached, ["ops", "web"], "{case}");
        assert_eq!(outcome.code, 69, "{case}");
        assert!(history.contains("1 of 3 not reached: a b"), "{case}");
        assert!(history.contains(&format!("`{key}`")), "{case}");
    });
}

#[test]
fn only_who_lacks_the_message_gets_it_again() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let (reached, outcome, _) = sent(3, "{{ result.teams }}", move |request| {
        let is_first = recipient(request) == "web"
            && tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        is_first.then(|| status(503))
    });
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(reached, ["ops", "web", "web"]);
}

#[test]
fn a_mistake_in_such_a_template_is_a_problem_of_its_line() {
    for (template, problem) in [
        ("{{ hots }}", "unknown variable `hots`"),
        ("{{ host", "`channels`: "),
        ("{{ host | no_such_filter }}", "no_such_filter"),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = slack\ntoken = t0ken\nchannels = {template}\n"
        ));
        let outcome = sandbox.run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        assert!(
            outcome.stderr.contains("plugin_config.ini:4: "),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(problem), "{outcome:?}");
    }
}
