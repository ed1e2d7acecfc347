//! Texts that look like configuration.

use serde_json::{Value, json};

use super::{checked, import, template};
use crate::sandbox::Sandbox;

/// Pieces of text that would have a meaning on separate lines.
const PIECES: [&str; 24] = [
    "\n",
    "\r",
    "\r\n",
    "\n[inputs]\n",
    "\ncallback_url = http://evil.example.com\n",
    "\n[notifier:evil]\ntype = webhook\n",
    "]",
    "[",
    "=",
    "#",
    " # ",
    ";",
    " ; ",
    "%",
    "\"",
    "'",
    "\\",
    "{{ host }}",
    "{{",
    "{% if x %}",
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{0}",
];

fn text(random: &mut fastrand::Rng) -> String {
    let piece = |random: &mut fastrand::Rng| match random.u8(..3) {
        0 => PIECES[random.usize(..PIECES.len())].to_owned(),
        1 => " ü日 ".repeat(random.usize(..3)),
        _ => random.alphanumeric().to_string(),
    };
    (0..random.usize(..8)).map(|_| piece(random)).collect()
}

/// No text of the input becomes a section or a key in the written configuration.
#[track_caller]
fn nothing_is_added(sandbox: &Sandbox, config: &str) {
    let shown = checked(sandbox, config);
    for value in shown["values"].as_array().unwrap() {
        let (section, key) = (
            value["section"].as_str().unwrap(),
            value["key"].as_str().unwrap(),
        );
        let is_ours = section == "outputs:splunk"
            || section.starts_with("notifier:") && section != "notifier:evil";
        assert!(is_ours, "{value}\n{config}");
        assert_ne!(key, "callback_url", "{config}");
    }
    for line in config.lines() {
        let is_continued = line.is_empty() || line.starts_with("  ");
        let is_section = ["[notifier:", "[outputs:"]
            .iter()
            .any(|begin| line.starts_with(begin));
        let is_key = line
            .split_once(" =")
            .is_some_and(|(key, _)| !key.contains([' ', '[', '{']));
        assert!(
            is_continued || line.starts_with('#') || is_section || is_key,
            "{line:?}"
        );
        assert!(
            !line.starts_with("callback_url") && line != "[inputs]",
            "{config}"
        );
    }
}

#[test]
fn no_text_adds_a_section_or_a_key() {
    let kinds = [
        ("slack", "token channels hex_color"),
        (
            "email",
            "host port username password sender recipients timeout",
        ),
        ("webhook", "url http_method username password"),
        (
            "grafana",
            "grafana_url grafana_key dashboardId panelId annotation_tags",
        ),
        ("irc", "server port nickname password targets"),
        ("twilio", "account_sid account_token from_number to_numbers"),
        ("hipchat", "token rooms color api_url message_from"),
        (
            "awssns",
            "aws_region aws_access_key_id aws_secret_access_key sns_topic_arn",
        ),
        ("pagerduty", "service_key client_name subdomain"),
        (
            "mattermost",
            "mattermost_url mattermost_channel mattermost_username",
        ),
        ("rocketchat", "rocketchat_url rocketchat_username"),
    ];
    let good = json!({
        "channels": ["ops"], "host": "mail", "sender": "a@example.com", "recipients": ["b@example.com"],
        "url": "https://h.example.com/x", "grafana_url": "https://g.example.com", "server": "irc", "targets": "#ops",
        "rooms": ["a"], "api_url": "https://c.example.com", "sns_topic_arn": "arn:aws:sns:eu-central-1:1:t",
        "account_sid": "AC1", "from_number": "+1", "to_numbers": ["+2"],
    });
    let mut random = fastrand::Rng::with_seed(7);
    let sandbox = Sandbox::new();
    for _ in 0..4 {
        let (mut templates, mut attached) = (Vec::new(), Vec::new());
        for (kind, fields) in kinds.iter().cycle().take(33) {
            let mut configuration = json!({"headers": {
                text(&mut random): text(&mut random), format!("X-{}", random.alphanumeric()): text(&mut random),
            }});
            for field in fields.split(' ') {
                let odd = random.bool().then(|| text(&mut random));
                configuration[field] = odd.map_or_else(|| good[field].clone(), Value::from);
            }
            configuration[text(&mut random)] = json!(text(&mut random));
            let mut one = template(&text(&mut random), kind, configuration);
            one["description"] = json!(text(&mut random));
            one["organization"]["name"] = json!(text(&mut random));
            one["messages"] = json!({
                "started": {"message": text(&mut random), "body": text(&mut random)},
                "error": {"message": text(&mut random), "body": text(&mut random)},
            });
            attached.push(json!({"name": one["name"]}));
            templates.push(one);
        }
        let resource = json!({"name": text(&mut random), "playbook": text(&mut random), "related": {
            "notification_templates_started": attached, "notification_templates_error": attached,
        }});
        let export = json!({"notification_templates": templates, "job_templates": [resource]});
        let (outcome, config) = import(&sandbox, &export);
        assert!([0, 78].contains(&outcome.code), "{outcome:?}");
        nothing_is_added(&sandbox, &config);
    }
}

#[test]
fn no_option_of_a_callback_adds_a_section_or_a_key() {
    let options = [
        ("slack", "webhook_url channel username validate_certs"),
        ("mail", "smtphost smtpport to sender cc bcc"),
        ("splunk", "url authtoken batch"),
        ("nrdp", "url token hostname servicename"),
        ("hipchat", "token room from notify"),
        ("logstash", "server port"),
    ];
    let variables = [
        "SLACK_CHANNEL",
        "SMTPHOST",
        "SPLUNK_BATCH",
        "NRDP_HOSTNAME",
        "HIPCHAT_ROOM",
        "NRDP_URL",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    let sandbox = Sandbox::new();
    for _ in 0..12 {
        let enabled = options.map(|(name, _)| name).join(",");
        let mut file = format!(
            "[defaults]\ncallbacks_enabled = {enabled},{}\n",
            text(&mut random).replace(['\n', '\r'], "\n  ")
        );
        for (name, keys) in options {
            file += &format!("[callback_{name}]\n");
            for key in keys.split(' ') {
                let value = text(&mut random).replace(['\n', '\r'], "\n  ");
                file += &format!("{key} = {value}\n");
            }
        }
        sandbox.file("ansible.cfg", file);
        let given = variables.map(|name| (name, text(&mut random).replace('\0', "")));
        let given = given.iter().filter(|_| random.bool());
        let child = sandbox
            .command(&["import", "ansible.cfg"])
            .envs(given.cloned())
            // With any other text, the fields are comments.
            .env("SPLUNK_URL", "https://splunk.example.com:8088")
            .spawn();
        let outcome = crate::sandbox::outcome(child.unwrap());
        assert!([0, 78].contains(&outcome.code), "{outcome:?}");
        nothing_is_added(&sandbox, &outcome.stdout);
    }
}
