//! Messages of the callbacks of community.general, as keys of a notifier.

use serde_json::json;
use url::Url;

use super::draft::{Draft, Names, Secret};
use super::fields::Fields;
use super::webhook::holds_secret;
use crate::notifier::over_http::join_path;
use crate::secret;
use crate::text::{Escape, one_line};

/// Sets a key to the environment variable from which the callback reads the secret.
fn put(draft: &mut Draft, key: &str, variable: &str, option: &str, known: Option<String>) {
    let secret = Secret {
        variable: variable.to_owned(),
        source: format!("the callback's `{option}`"),
        known,
        is_guess: false,
    };
    draft.set_secret(key, secret);
}

/// Returns an option for use in a template, unless it would be one itself.
fn literal(draft: &mut Draft, fields: &Fields, name: &'static str) -> Option<String> {
    let text = fields.text(name)?;
    if ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark)) {
        draft.remark(format!(
            "`{name}` is left out: it would be a template here."
        ));
        return None;
    }
    Some(text)
}

fn unverified(draft: &mut Draft, fields: &Fields) {
    if fields.text("validate_certs").is_some() && !fields.flag("validate_certs") {
        draft.set("validate_certs", "false");
    }
}

/// Writes the keys for the callback `slack`.
pub fn slack(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    put(
        draft,
        "url",
        "SLACK_WEBHOOK_URL",
        "webhook_url",
        fields.text("webhook_url"),
    );
    unverified(draft, fields);
    draft.set(
        "on",
        "started, playbook_on_play_start, success, error, canceled",
    );
    let channel = literal(draft, fields, "channel").unwrap_or_else(|| "#ansible".to_owned());
    let username = literal(draft, fields, "username").unwrap_or_else(|| "ansible".to_owned());
    draft.set(
        "body",
        json!({"channel": channel, "username": username}).to_string(),
    );
    draft.remark(
        "The text is this program's own. Only old webhooks follow `channel` and `username`.",
    );
}

/// Writes the keys for the callback `mail`.
pub fn mail(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    draft.set(
        "host",
        fields.text("mta").unwrap_or_else(|| "localhost".to_owned()),
    );
    draft.set(
        "port",
        fields.text("mtaport").unwrap_or_else(|| "25".to_owned()),
    );
    draft.set("encryption", "none");
    let sender = fields.text("sender").unwrap_or_else(|| "root".to_owned());
    draft.set("from", with_domain(&sender));
    let to = fields.text("to").unwrap_or_else(|| "root".to_owned());
    let lists = [
        ("to", Some(to)),
        ("cc", fields.text("cc")),
        ("bcc", fields.text("bcc")),
    ];
    for (key, list) in lists {
        let list = list.unwrap_or_default().replace('\n', ",");
        let addresses: Vec<String> = list.split(',').map(with_domain).collect();
        draft.set(key, addresses.join(", "));
    }
    draft.set("on", "failed, unreachable, async_failed");
    draft.set("when", "not ignored");
    draft.remark("The text is this program's own. The callback does not encrypt; `encryption = starttls` does.");
}

/// Returns an address with a domain: a local user gets `localhost`.
fn with_domain(address: &str) -> String {
    let address = address.trim();
    match address.is_empty() || address.contains(['@', ' ']) {
        true => address.to_owned(),
        false => format!("{address}@localhost"),
    }
}

/// Writes the keys for the callback `hipchat`.
pub fn hipchat(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    draft.set("api_url", "https://api.hipchat.com");
    put(
        draft,
        "token",
        "HIPCHAT_TOKEN",
        "token",
        fields.text("token"),
    );
    draft.set(
        "rooms",
        fields.text("room").unwrap_or_else(|| "ansible".to_owned()),
    );
    draft.set(
        "message_from",
        fields.text("from").unwrap_or_else(|| "ansible".to_owned()),
    );
    let is_quiet = fields.text("notify").is_some() && !fields.flag("notify");
    draft.set("notify", (!is_quiet).to_string());
    draft.set("on", "started, success, error, canceled");
    draft.mute(
        "the callback knows only api.hipchat.com, which ended in 2019. Set `api_url` to a server of your own.",
    );
}

/// Fields of the callback's events, as far as this program has the same data, without `timestamp`.
const SPLUNK: [(&str, &str); 14] = [
    ("uuid", "event.task.id"),
    ("session", "run_id"),
    (
        "status",
        "{'success': 'OK', 'skipped': 'SKIPPED', 'failed': 'FAILED', 'unreachable': 'UNREACHABLE'}[state]",
    ),
    ("host", "controller"),
    ("user", "user"),
    ("runtime", "duration"),
    ("ansible_version", "event.run.ansible_version"),
    ("ansible_check_mode", "check"),
    ("ansible_host", "host"),
    ("ansible_playbook", "playbook"),
    ("ansible_role", "role"),
    ("ansible_task.name", "task_name"),
    ("ansible_task.action", "task_action"),
    ("ansible_result", "result"),
];

/// Sets the address of Splunk's collector, which cannot be a secret here.
fn collector(draft: &mut Draft, fields: &Fields) {
    let Some(url) = fields.text("url") else {
        draft.unfinished = Some("`url` is missing".to_owned());
        return;
    };
    if holds_secret(&url) {
        secret::mask(&url);
        draft.unfinished = Some(
            "`url` may contain a secret, so it is not written: it must be https://HOST:PORT"
                .to_owned(),
        );
        return;
    }
    if !url.contains("/services/collector") {
        draft.remark("`url`: `/services/collector/event` is appended.");
    }
    draft.set("url", url);
}

/// Writes the keys for the callback `splunk`.
pub fn splunk(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    collector(draft, fields);
    let token = fields.text("authtoken");
    put(draft, "token", "SPLUNK_AUTHTOKEN", "authtoken", token);
    unverified(draft, fields);
    draft.set("on", "ok, skipped, failed, unreachable, async_failed");
    for (name, expression) in SPLUNK {
        draft.output(name, expression);
    }
    let digits = if fields.flag("include_milliseconds") {
        26
    } else {
        19
    };
    let time = format!("(time | string)[:{digits}] | replace('T', ' ') ~ ' +0000'");
    draft.output("timestamp", time);
    if let Some(batch) = literal(draft, fields, "batch") {
        draft.output("batch", json!(batch).to_string());
    }
    draft.remark("`ip_address` and most of `ansible_task` have no counterpart.");
    draft.remark("`source` is `ansible` and `sourcetype` is `_json` here; the callback left them to the token.");
}

/// The record of the callback `loganalytics_ingestion`, as far as this program has the same data.
const LOGANALYTICS: &str = r#"[{
  "TimeGenerated": "{{ time }}",
  "Host": "{{ host }}",
  "User": "{{ user }}",
  "Playbook": "{{ playbook }}",
  "Role": "{{ role }}",
  "TaskName": "{{ task_name }}",
  "Action": "{{ task_action }}",
  "State": "{{ 'FAILED' if state == 'failed' else 'OK' }}",
  "Result": "{{ RESULT }}",
  "Session": "{{ run_id }}"
}]"#;

/// Writes the keys for the callback `loganalytics_ingestion`: Azure's Logs Ingestion API.
pub fn loganalytics_ingestion(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    let names = ["dce_url", "dcr_id", "stream_name", "tenant_id", "client_id"];
    let given = names.map(|name| literal(draft, fields, name));
    let [
        Some(endpoint),
        Some(rule),
        Some(stream),
        Some(tenant),
        Some(client),
    ] = given
    else {
        draft.unfinished = Some(format!("`{}` are all needed", names.join("`, `")));
        return;
    };
    let address = |base: &str, parts: &[&str]| {
        let base = Url::parse(base).ok().filter(|url| !url.cannot_be_a_base());
        base.map(|base| join_path(&base, parts).to_string())
    };
    let path = ["dataCollectionRules", &rule, "streams", &stream];
    let Some(url) = address(&endpoint, &path) else {
        draft.unfinished = Some("`dce_url` is not a URL".to_owned());
        return;
    };
    draft.set("url", format!("{url}?api-version=2023-01-01"));
    let token_path = [&tenant, "oauth2", "v2.0", "token"];
    let token_url = address("https://login.microsoftonline.com", &token_path);
    draft.set("oauth_token_url", token_url.unwrap_or_default());
    draft.set("oauth_client_id", client);
    put(
        draft,
        "oauth_client_secret",
        "ANSIBLE_LOGANALYTICS_CLIENT_SECRET",
        "client_secret",
        fields.text("client_secret"),
    );
    draft.set("oauth_scope", "https://monitor.azure.com/.default");
    draft.set("timeout", fields.text("timeout").unwrap_or_default());
    draft.set("on", "ok, failed");
    let result = match fields.flag("include_content") {
        true => "result",
        false => "result | dict2items | rejectattr('key', 'eq', 'content') | items2dict",
    };
    draft.set("body", LOGANALYTICS.replace("RESULT", result));
    draft.remark("`Task`, the fields of the task, has no counterpart.");
}

/// Writes the keys for the callback `nrdp`.
pub fn nrdp(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    let url = fields
        .text("url")
        .map(|url| format!("{}/", url.trim_end_matches('/')));
    match url {
        Some(url) if !holds_secret(&url) => draft.set("url", url),
        url => put(draft, "url", "NRDP_URL", "url", url),
    }
    draft.set("on", "success, error, canceled");
    let names = [fields.text("hostname"), fields.text("servicename")];
    let [Some(host), Some(service)] = names.map(|name| name.map(|name| xml(&name))) else {
        draft.unfinished = Some("`hostname` or `servicename` is not set".to_owned());
        return;
    };
    let result = format!(
        "<?xml version='1.0'?>\n<checkresults>\n<checkresult type='service'>\n<hostname>{host}</hostname>\n\
         <servicename>{service}</servicename>\n\
         <state>{{{{ 2 if status != 'success' else 1 if changed_hosts else 0 }}}}</state>\n\
         <output>{{{{ run_name | e }}}} | {{% for name, counts in (stats or {{}}).items() %}}'{{{{ name | e }}}}_ok'={{{{ counts.ok }}}} \
         '{{{{ name | e }}}}_changed'={{{{ counts.changed }}}} '{{{{ name | e }}}}_unreachable'={{{{ counts.unreachable }}}} \
         '{{{{ name | e }}}}_failed'={{{{ counts.failures }}}} {{% endfor %}}</output>\n</checkresult>\n</checkresults>\n"
    );
    draft.set("content", "form");
    put(
        draft,
        "body.token",
        "NRDP_TOKEN",
        "token",
        fields.text("token"),
    );
    draft.set(
        "body",
        json!({"cmd": "submitcheck", "XMLDATA": result}).to_string(),
    );
    if fields.text("validate_certs").is_none() {
        draft.remark("The callback does not check certificates; here they are checked.");
    }
    unverified(draft, fields);
    draft.remark("The output begins with the playbook, not with the play.");
}

/// Returns a text as XML, unless it is a template.
fn xml(text: &str) -> String {
    let text = Escape::Html.apply(&one_line(text));
    text.replace('{', "&#123;")
}
