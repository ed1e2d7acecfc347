//! Suggestions for unknown words: names from other sections, from AWX and from other programs.

use crate::text::nearest;
use crate::text::{characters, cut};

/// Other names of kinds.
const KIND_NAMES: [(&str, &str); 26] = [
    ("smtp", "email"),
    ("mail", "email"),
    ("e-mail", "email"),
    ("sendmail", "email"),
    ("http", "webhook"),
    ("https", "webhook"),
    ("url", "webhook"),
    ("uri", "webhook"),
    ("generic", "webhook"),
    ("callback", "webhook"),
    ("rest", "webhook"),
    ("json", "webhook"),
    ("cloudevents", "webhook"),
    ("opsgenie", "webhook"),
    ("msteams", "teams"),
    ("office365", "teams"),
    ("sns", "awssns"),
    ("aws_sns", "awssns"),
    ("sms", "twilio"),
    ("pd", "pagerduty"),
    ("zmq", "zeromq"),
    ("rocket.chat", "rocketchat"),
    ("opensearch", "elasticsearch"),
    ("elastic", "elasticsearch"),
    ("hec", "splunk"),
    ("grafana-loki", "loki"),
];

/// Names that AWX, other tools or other sections have for our keys. Of several, the first one that the
/// section knows is suggested.
const KEY_NAMES: [(&str, &[&str]); 62] = [
    ("account_token", &["auth_token"]),
    ("address", &["url", "callback_url", "host", "server"]),
    ("annotation_tags", &["tags"]),
    ("api_key", &["token", "routing_key"]),
    ("api_token", &["token"]),
    ("aws_access_key_id", &["access_key_id"]),
    ("aws_region", &["region"]),
    ("aws_secret_access_key", &["secret_access_key"]),
    ("aws_session_token", &["session_token"]),
    ("bearer_token", &["token"]),
    ("bot_token", &["token"]),
    ("ca_cert", &["ca_file"]),
    ("ca_path", &["ca_file"]),
    ("callback_url", &["url"]),
    ("cert", &["client_cert"]),
    ("channel", &["channels", "targets", "rooms"]),
    ("channels", &["channel", "targets", "rooms"]),
    ("chat_id", &["chat_ids"]),
    ("client_name", &["client"]),
    ("condition", &["when"]),
    ("dashboardid", &["dashboard_id"]),
    ("endpoint", &["url", "callback_url"]),
    ("events", &["on"]),
    ("filter", &["when"]),
    ("from_email", &["from"]),
    ("grafana_key", &["token"]),
    ("grafana_url", &["url"]),
    ("hex_color", &["color"]),
    ("hook", &["url", "callback_url"]),
    ("host", &["server", "url"]),
    ("http_method", &["method"]),
    ("key", &["client_key"]),
    ("mailto", &["to"]),
    ("mattermost_channel", &["channel"]),
    ("mattermost_icon_url", &["icon_url"]),
    ("mattermost_url", &["url"]),
    ("mattermost_username", &["username"]),
    ("nick", &["nickname"]),
    ("panelid", &["panel_id"]),
    ("pass", &["password"]),
    ("recipient", &["to", "to_numbers"]),
    ("recipients", &["to", "to_numbers", "targets"]),
    ("rocketchat_icon_url", &["icon_url"]),
    ("rocketchat_url", &["url"]),
    ("rocketchat_username", &["username"]),
    ("secret", &["password", "signing_secret"]),
    ("sender", &["from"]),
    ("server", &["host", "url"]),
    ("service_key", &["routing_key"]),
    ("smtp_host", &["host"]),
    ("smtp_port", &["port"]),
    ("sns_topic_arn", &["topic_arn"]),
    ("text", &["message"]),
    ("title", &["subject"]),
    ("triggers", &["on"]),
    ("uri", &["url", "callback_url"]),
    ("url", &["callback_url", "host", "server", "api_url"]),
    ("user", &["username"]),
    ("webhook", &["url"]),
    ("webhook_url", &["url", "callback_url"]),
    ("use_ssl", &["tls"]),
    ("use_tls", &["tls"]),
];

/// Keys whose counterpart takes another value, and the replacement to suggest.
const REWRITTEN: [(&str, &str, &str); 8] = [
    ("use_tls", "encryption", "encryption = starttls"),
    ("use_ssl", "encryption", "encryption = tls"),
    ("ssl", "encryption", "encryption = tls"),
    ("no_verify_ssl", "validate_certs", "validate_certs = false"),
    (
        "disable_ssl_verification",
        "validate_certs",
        "validate_certs = false",
    ),
    ("verify_ssl", "validate_certs", "validate_certs = true"),
    ("ssl_verify", "validate_certs", "validate_certs = true"),
    ("insecure", "validate_certs", "validate_certs = false"),
];

/// Keys of `[delivery]`.
const DELIVERY: [&str; 10] = [
    "drain",
    "max_age",
    "keep",
    "keep_bodies",
    "record",
    "keep_runs",
    "max_size",
    "overflow",
    "spool",
    "spool_on_network",
];

/// Keys that every notifier knows but `[delivery]` does not.
const NOTIFIER: [&str; 12] = [
    "callback_url",
    "url",
    "username",
    "password",
    "on",
    "when",
    "enabled",
    "inherit",
    "timeout",
    "concurrency",
    "validate_certs",
    "proxy",
];

/// Ansible's names for our template variables.
const VARIABLES: [(&str, &str); 23] = [
    ("inventory_hostname", "host"),
    ("inventory_hostname_short", "host.split('.')[0]"),
    ("ansible_hostname", "host"),
    ("ansible_host", "host_address"),
    ("ansible_play_name", "play_name"),
    ("ansible_user", "user"),
    ("ansible_user_id", "user"),
    ("ansible_check_mode", "check"),
    ("ansible_date_time", "time"),
    ("ansible_inventory_sources", "inventory"),
    ("ansible_role_name", "role"),
    ("ansible_version", "event.run.ansible_version"),
    ("groups", "host_groups"),
    ("group_names", "host_groups"),
    ("hostvars", "host_vars"),
    ("hostname", "host"),
    ("task", "task_name"),
    ("play", "play_name"),
    ("action", "task_action"),
    ("rc", "result.rc"),
    ("stdout", "result.stdout"),
    ("stderr", "result.stderr"),
    ("msg", "result.msg"),
];

/// Words that `history`, AWX and other programs use for triggers.
const TRIGGERS: [(&str, &str); 12] = [
    ("run_end", "error, success, canceled"),
    ("run_start", "started"),
    ("start", "started"),
    ("failure", "failed, unreachable, or error for the whole run"),
    (
        "failures",
        "failed, unreachable, or error for the whole run",
    ),
    ("fatal", "failed"),
    ("successful", "success"),
    ("always", "any"),
    ("all", "any"),
    ("end", "error, success, canceled"),
    ("cancelled", "canceled"),
    ("dark", "unreachable"),
];

/// Longest text that a suggestion repeats.
const LONGEST: usize = 80;

fn looked_up<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    let word = word.to_ascii_lowercase();
    let found = table.iter().find(|(name, _)| *name == word);
    found.map(|(_, meant)| *meant)
}

/// Returns the kind meant by an alias or another spelling.
pub fn kind(word: &str, names: &[&'static str]) -> Option<&'static str> {
    let names = || names.iter().copied();
    let lower = word.to_ascii_lowercase();
    let other = looked_up(&KIND_NAMES, word).or_else(|| names().find(|name| *name == lower));
    other.or_else(|| nearest(&lower, names()))
}

/// Returns the problem of an unknown `type`, with a suggestion or the list of kinds.
pub fn unknown_kind(word: &str, names: &[&'static str]) -> String {
    let hint =
        kind(word, names).map_or_else(String::new, |kind| format!("; did you mean `{kind}`?"));
    format!(
        "unknown type `{word}`{hint}; known types: {}",
        names.join(", ")
    )
}

/// Returns the hint for an unknown key of a section, and the key of that section it stands for.
pub fn key<'a>(section: &str, key: &str, known: &'a [&'a str]) -> (String, Option<&'a str>) {
    let is_delivery = section == "delivery";
    if !is_delivery && DELIVERY.contains(&key) {
        return ("; it belongs in [delivery]".to_owned(), None);
    }
    if is_delivery && NOTIFIER.contains(&key) {
        let text = "; it belongs in [inputs] or in a [notifier:NAME]";
        return (text.to_owned(), None);
    }
    if section == "inputs" && key == "type" {
        let text = "; [inputs] is always a webhook; another type needs a [notifier:NAME]";
        return (text.to_owned(), None);
    }
    let lower = key.to_ascii_lowercase();
    let ends = |name: &str| lower == name || lower.ends_with(&format!("_{name}"));
    let rewritten = REWRITTEN
        .iter()
        .find(|(name, ours, _)| ends(name) && known.contains(ours));
    if let Some((_, _, text)) = rewritten {
        return (format!("; write `{text}`"), None);
    }
    let named = looked_up(&KEY_NAMES, key).unwrap_or_default();
    let mut meant = named.iter().copied().chain([lower.as_str()]);
    let exact = meant.find_map(|name| known.iter().copied().find(|known| *known == name));
    let near = exact.or_else(|| nearest(&lower, known.iter().copied()));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    (hint, near)
}

/// Returns one of the named values of a key, ignoring case; otherwise the problem.
pub fn one_of<T: Copy>(key: &str, choices: &[(&str, T)], text: &str) -> Result<T, String> {
    let mut all = choices.iter();
    let found = all.find(|(name, _)| name.eq_ignore_ascii_case(text));
    let names = choices.iter().map(|(name, _)| *name);
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| none_of(key, names, text))
}

/// Returns the problem of a value outside the allowed ones.
pub fn none_of<'a>(key: &str, allowed: impl Iterator<Item = &'a str>, given: &str) -> String {
    let names: Vec<&str> = allowed.collect();
    let lower = given.to_ascii_lowercase();
    let hint = nearest(&lower, names.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let among = match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    };
    let given = self::quoted(given);
    format!("`{key}` must be {among}, not {given}{hint}")
}

/// Quotes a wrong value for a problem, cut if it is long.
pub fn quoted(given: &str) -> String {
    format!("`{}`", cut(given, LONGEST, characters))
}

/// Returns a hint to quote the value if its words are neither variables nor similar to one.
pub fn constant(unknown: &[String], source: &str, known: &[&'static str]) -> Option<String> {
    let first = unknown.first()?;
    let is_word = |character: char| character.is_alphanumeric() || "_-.".contains(character);
    let is_text = source.chars().all(is_word) && variable(first, known).is_empty();
    is_text.then(|| text(source))
}

/// Returns a hint that shows how to quote a constant text.
pub fn text(source: &str) -> String {
    let is_part = |character: char| character.is_alphanumeric() || " _-.:/@,".contains(character);
    let ends_well = source.ends_with(|last: char| last.is_alphanumeric() || last == '/');
    match source.len() <= LONGEST && ends_well && source.chars().all(is_part) {
        true => format!("; quote a constant: '{source}'"),
        false => String::new(),
    }
}

/// Returns a hint with the variable closest to an unknown name.
pub fn variable(name: &str, known: &[&'static str]) -> String {
    let known = known.iter().copied();
    let near = looked_up(&VARIABLES, name).or_else(|| nearest(name, known));
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Returns a hint with the trigger closest to an unknown word.
pub fn trigger<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    if let Some(meant) = looked_up(&TRIGGERS, word) {
        return format!("; write {meant}");
    }
    let near = nearest(&word.to_ascii_lowercase(), known);
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}
