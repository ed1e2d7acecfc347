//! The kinds of AWX's notification templates, as the keys of a notifier.

use serde_json::{Value, json};

use super::draft::{Draft, Names};
use super::fields::Fields;
use super::messages::{self, Said};
use super::webhook;

/// Parts of a message that AWX sends with a kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Only the message.
    Line,
    /// The body as data, and perhaps the message.
    Data,
    /// Message and body as text.
    Mail,
}

/// A kind of AWX's.
pub struct Kind {
    /// The same name in AWX and here.
    pub name: &'static str,
    pub speech: Speech,
    /// Writes the keys of address, credentials and recipients.
    pub connect: fn(&mut Draft, &Fields, &mut Names),
    /// Writes the keys of the text.
    pub speak: fn(&mut Draft, &Fields, &[Said], &mut Names),
}

/// All kinds of AWX, and HipChat, which older ones have.
pub const KINDS: [Kind; 11] = [
    Kind {
        name: "awssns",
        speech: Speech::Data,
        connect: awssns,
        speak: incident,
    },
    Kind {
        name: "email",
        speech: Speech::Mail,
        connect: email,
        speak: mail,
    },
    Kind {
        name: "grafana",
        speech: Speech::Line,
        connect: grafana,
        speak: line,
    },
    Kind {
        name: "hipchat",
        speech: Speech::Line,
        connect: hipchat,
        speak: |draft, _, said, _| replace(draft, said, &[("message_format", json!("text"))]),
    },
    Kind {
        name: "irc",
        speech: Speech::Line,
        connect: irc,
        speak: line,
    },
    Kind {
        name: "mattermost",
        speech: Speech::Line,
        connect: mattermost,
        speak: |draft, _, said, _| replace(draft, said, &[("attachments", Value::Null)]),
    },
    Kind {
        name: "pagerduty",
        speech: Speech::Data,
        connect: pagerduty,
        speak: incident,
    },
    Kind {
        name: "rocketchat",
        speech: Speech::Line,
        connect: rocketchat,
        speak: |draft, _, said, _| replace(draft, said, &[("attachments", Value::Null)]),
    },
    Kind {
        name: "slack",
        speech: Speech::Line,
        connect: slack,
        speak: post,
    },
    Kind {
        name: "twilio",
        speech: Speech::Line,
        connect: twilio,
        speak: |draft, _, said, _| draft.set("subject", messages::message(said)),
    },
    Kind {
        name: "webhook",
        speech: Speech::Data,
        connect: webhook::connect,
        speak: |draft, _, said, names| webhook::write_body(draft, &data(said), names),
    },
];

fn awssns(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(
        draft,
        &[("sns_topic_arn", "topic_arn"), ("aws_region", "region")],
    );
    let has_keys = ["aws_access_key_id", "aws_secret_access_key"]
        .map(|name| fields.text(name).is_some())
        .contains(&true);
    match has_keys {
        true => {
            fields.secret(draft, names, "aws_access_key_id", "access_key_id");
            fields.secret(draft, names, "aws_secret_access_key", "secret_access_key");
        }
        false => draft.describe(
            "Without an access key, it is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment.",
        ),
    }
    if fields.text("aws_session_token").is_some() {
        fields.secret(draft, names, "aws_session_token", "session_token");
    }
    draft.remark("AWX sends no subject to SNS; here the message is the subject.");
}

fn email(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("host", "host"), ("port", "port")]);
    let encryption = match (fields.flag("use_ssl"), fields.flag("use_tls")) {
        (true, _) => "tls",
        (false, true) => "starttls",
        (false, false) => "none",
    };
    draft.set("encryption", encryption);
    login(draft, fields, names);
    fields.copy(draft, &[("sender", "from")]);
    let recipients = fields.list("recipients");
    let recipients: Vec<String> = recipients.iter().map(|one| address(one)).collect();
    draft.set("to", recipients.join(", "));
    if let Some(seconds) = fields.text("timeout").filter(|seconds| seconds != "30") {
        draft.set("timeout", seconds);
    }
    draft.outputs = Some(Vec::new());
}

/// Returns an address whose name is quoted if it contains a comma.
fn address(text: &str) -> String {
    match text.rsplit_once('<') {
        Some((name, rest)) if name.contains(',') && !name.contains('"') => {
            format!("\"{}\" <{rest}", name.trim())
        }
        _ => text.to_owned(),
    }
}

/// Writes a user and the password: AWX exports the password as an empty text, so a user is taken to have one.
fn login(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("username", "username")]);
    let has_password = fields.text("password").is_some();
    if fields.text("username").is_some() || has_password {
        fields.secret(draft, names, "password", "password");
    }
}

fn grafana(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("grafana_url", "url")]);
    fields.secret(draft, names, "grafana_key", "token");
    fields.copy(
        draft,
        &[("dashboardId", "dashboard_id"), ("panelId", "panel_id")],
    );
    fields.copy_list(draft, "annotation_tags", "tags");
    fields.copy_unverified(draft, "grafana_no_verify_ssl");
    if fields.value("isRegion").is_some() {
        draft.remark("`isRegion` has no counterpart: an annotation with an end is a region.");
    }
}

fn hipchat(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("api_url", "api_url")]);
    fields.secret(draft, names, "token", "token");
    fields.copy_list(draft, "rooms", "rooms");
    let keys = [
        ("color", "color"),
        ("notify", "notify"),
        ("message_from", "message_from"),
    ];
    fields.copy(draft, &keys);
}

fn irc(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("server", "server"), ("port", "port")]);
    draft.set("tls", fields.flag("use_ssl").to_string());
    if fields.flag("use_ssl") {
        draft.remark("AWX does not check the server's certificate; here `validate_certs = false` turns that off.");
    }
    fields.copy(draft, &[("nickname", "nickname")]);
    if fields.text("password").is_some() {
        fields.secret(draft, names, "password", "password");
    } else {
        draft.remark(
            "If the server has a password, which `awx export` leaves out, add `password_env`.",
        );
    }
    fields.copy_list(draft, "targets", "targets");
}

fn mattermost(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.secret(draft, names, "mattermost_url", "url");
    let keys = [
        ("mattermost_channel", "channel"),
        ("mattermost_username", "username"),
        ("mattermost_icon_url", "icon_url"),
    ];
    fields.copy(draft, &keys);
    fields.copy_unverified(draft, "mattermost_no_verify_ssl");
}

fn pagerduty(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.secret(draft, names, "service_key", "routing_key");
    fields.copy(draft, &[("client_name", "client")]);
    draft.remark(
        "AWX uses version 1 of PagerDuty's API; here it is version 2. If the key belongs to an integration of version \
         1, add an integration `Events API V2` to the service, and use its key.\n\
         AWX opens an incident even for a success; here a success resolves the incident.\n\
         Runs in check mode are left out, unless you add `check_mode = include`.",
    );
    for name in ["subdomain", "token"] {
        if fields.text(name).is_some() {
            draft.remark(format!(
                "`{name}` has no counterpart: AWX does not use it either."
            ));
        }
    }
}

fn rocketchat(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.secret(draft, names, "rocketchat_url", "url");
    let keys = [
        ("rocketchat_username", "username"),
        ("rocketchat_icon_url", "icon_url"),
    ];
    fields.copy(draft, &keys);
    fields.copy_unverified(draft, "rocketchat_no_verify_ssl");
}

fn slack(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.secret(draft, names, "token", "token");
    let channel = |name: String| name.replacen(',', "/", 1);
    let channels: Vec<String> = fields.list("channels").into_iter().map(channel).collect();
    draft.set("channels", channels.join(", "));
    draft.remark("AWX's `as_user` is not sent: it is for legacy tokens.");
}

fn twilio(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    fields.copy(draft, &[("account_sid", "account_sid")]);
    fields.secret(draft, names, "account_token", "auth_token");
    fields.copy(draft, &[("from_number", "from_number")]);
    fields.copy_list(draft, "to_numbers", "to_numbers");
    draft.remark("Runs in check mode are left out, unless you add `check_mode = include`.");
}

/// Writes the message as the subject, with nothing below it.
fn line(draft: &mut Draft, _: &Fields, said: &[Said], _: &mut Names) {
    draft.set("subject", messages::message(said));
    draft.set_empty("message");
}

/// Writes the message as the text of a chat's request, without the fields that this program adds.
fn replace(draft: &mut Draft, said: &[Said], others: &[(&str, Value)]) {
    let name = if others[0].0 == "message_format" {
        "message"
    } else {
        "text"
    };
    let text = messages::as_text(&messages::message(said));
    let mut body = json!({name: text});
    for (name, value) in others {
        body[*name] = value.clone();
    }
    with_body(draft, &body);
}

/// Writes Slack's request: the text, or with a colour an attachment.
fn post(draft: &mut Draft, fields: &Fields, said: &[Said], _: &mut Names) {
    let text = messages::as_text(&messages::message(said));
    let color = fields.text("hex_color").filter(|color| is_color(color));
    let (text, attachments) = match color {
        Some(color) => (Value::Null, json!([{"color": color, "text": text}])),
        None => (json!(text), Value::Null),
    };
    let nothing = Value::Null;
    with_body(
        draft,
        &json!({
            "text": text, "attachments": attachments,
            "blocks": nothing, "unfurl_links": nothing, "unfurl_media": nothing,
        }),
    );
}

/// Returns true for a colour that AWX sends.
fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 6) && digits.chars().all(|digit| digit.is_ascii_hexdigit())
}

fn with_body(draft: &mut Draft, body: &Value) {
    draft.describe("`body` makes the request the same as AWX's; without it, title, colour and fields are added.");
    draft.set("body", body.to_string());
}

fn mail(draft: &mut Draft, _: &Fields, said: &[Said], _: &mut Names) {
    draft.set("subject", messages::message(said));
    draft.set("message", messages::body(said));
    draft.describe("The email has the same text as HTML, too.");
}

/// Returns the body of moments that have the same one.
fn data(said: &[Said]) -> String {
    let body = said.first().map_or("", |one| one.body.as_str());
    messages::json(body).unwrap_or_else(|| body.to_owned())
}

/// Writes the message as the subject, and the body below it, as JSON or as text.
fn incident(draft: &mut Draft, _: &Fields, said: &[Said], _: &mut Names) {
    draft.set("subject", messages::message(said));
    draft.set(if is_data(said) { "body" } else { "message" }, data(said));
}

/// Returns true if the body seems to produce JSON, judging by its source.
fn is_data(said: &[Said]) -> bool {
    let body = said.first().map_or("", |one| one.body.trim());
    body == "{{ job_metadata }}" || body.starts_with(['{', '[']) && !body.starts_with("{{")
}
