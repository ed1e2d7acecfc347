//! The kinds that post to a chat, each against a server that refuses what the service refuses.

use std::time::Duration;

use serde_json::{Value, json};

use super::googlechat::GOOGLE;
use super::matrix::MATRIX;
use super::webex::WEBEX;
use crate::sandbox::{Config, Outcome, Sandbox, side_by_side};
use crate::server::{Server, discord, hipchat, mattermost, rocketchat, slack, teams, telegram};

/// One kind, and its service.
pub struct Chat {
    pub kind: &'static str,
    pub start: fn() -> Server,
    /// The keys that send to a channel: `ops` takes what fits, `busy` asks to wait at first, others are gone.
    pub keys: fn(&Server, &str) -> String,
    /// What the service says of a channel that is gone.
    pub gone: &'static str,
    /// How long `busy` asks to wait.
    pub wait: Duration,
    /// How the hostile text of [`hostile`] is told.
    pub disarmed: &'static str,
}

pub const MARKDOWN: &str = "\\<b\\>&\\</b\\> \\<@\u{200b}U1\\> @\u{200b}everyone \\`x\\`";

pub const HTML: &str = "&lt;b&gt;&amp;&lt;/b&gt; &lt;@U1&gt; @everyone `x`";

pub const SLACK: Chat = Chat {
    kind: "slack",
    start: slack::start,
    keys: |server, channel| {
        let (api, token) = (server.at("/api"), slack::TOKEN);
        format!("api_url = {api}\ntoken = {token}\nchannels = {channel}")
    },
    gone: "channel_not_found",
    wait: Duration::from_secs(1),
    disarmed: HTML,
};

pub const SLACK_WEBHOOK: Chat = Chat {
    kind: "slack",
    start: slack::start,
    keys: |server, channel| {
        format!(
            "url = {}",
            server.at(&format!("/services/T0/B0/canary-{channel}"))
        )
    },
    gone: "404 Not Found: no_service",
    wait: Duration::from_secs(1),
    disarmed: HTML,
};

const MATTERMOST: Chat = Chat {
    kind: "mattermost",
    start: mattermost::start,
    keys: |server, channel| format!("url = {}", server.at(&format!("/hooks/canary-{channel}"))),
    gone: "400 Bad Request: web.incoming_webhook.invalid.app_error",
    wait: Duration::from_secs(1),
    disarmed: MARKDOWN,
};

const ROCKETCHAT: Chat = Chat {
    kind: "rocketchat",
    start: rocketchat::start,
    keys: |server, channel| format!("url = {}", server.at(&format!("/hooks/canary-{channel}"))),
    gone: "400 Bad Request: Invalid integration id or token provided.",
    wait: Duration::from_secs(1),
    disarmed: MARKDOWN,
};

const HIPCHAT: Chat = Chat {
    kind: "hipchat",
    start: hipchat::start,
    keys: |server, channel| {
        let (api, token) = (server.at(""), hipchat::TOKEN);
        format!("api_url = {api}\ntoken = {token}\nrooms = {channel}")
    },
    gone: "404 Not Found: Room not found",
    wait: Duration::from_secs(1),
    disarmed: HTML,
};

const TEAMS: Chat = Chat {
    kind: "teams",
    start: teams::start,
    keys: |server, channel| format!("url = {}", server.at(&teams::path(channel))),
    gone: "404 Not Found: The workflow could not be found.",
    wait: Duration::from_secs(1),
    disarmed: MARKDOWN,
};

const DISCORD: Chat = Chat {
    kind: "discord",
    start: discord::start,
    keys: |server, channel| {
        format!(
            "url = {}",
            server.at(&format!("/api/webhooks/1/canary-{channel}"))
        )
    },
    gone: "404 Not Found: Unknown Webhook; off until its configuration changes",
    wait: Duration::from_millis(1500),
    disarmed: MARKDOWN,
};

pub const TELEGRAM: Chat = Chat {
    kind: "telegram",
    start: telegram::start,
    keys: |server, channel| {
        let chat = match channel {
            "ops" => "1",
            "busy" => "429",
            other => other,
        };
        let (api, token) = (server.at(""), telegram::TOKEN);
        format!("api_url = {api}\ntoken = {token}\nchat_ids = {chat}")
    },
    gone: "400 Bad Request: Bad Request: chat not found",
    wait: Duration::from_secs(1),
    disarmed: HTML,
};

const CHATS: [&Chat; 11] = [
    &SLACK,
    &SLACK_WEBHOOK,
    &MATTERMOST,
    &ROCKETCHAT,
    &HIPCHAT,
    &TEAMS,
    &DISCORD,
    &TELEGRAM,
    &GOOGLE,
    &MATRIX,
    &WEBEX,
];

pub const DELIVERED: &str = "ansible-notify: 1 event, 1 delivery: delivered\n";

impl Chat {
    pub fn config(&self, server: &Server, channel: &str) -> Config {
        let (kind, keys) = (self.kind, (self.keys)(server, channel));
        Config::from(format!(
            "[notifier:chat]\ntype = {kind}\non = any\n{keys}\n[delivery]\ndrain = 60\n"
        ))
    }

    pub fn send(&self, server: &Server, channel: &str, event: &Value) -> Outcome {
        send(&self.config(server, channel), event)
    }
}

pub fn send(config: &str, event: &Value) -> Outcome {
    Sandbox::with_config(config).run_with_input(&["send", "-"], event.to_string())
}

/// A failed result whose names and message mean harm.
fn hostile() -> Value {
    let message = "<b>&</b> <@U1> @everyone `x`\u{1b}[2J\u{202e}";
    json!({"state": "failed", "host": "<!channel>", "task": "[x](http://evil) *b* @all",
        "result": {"msg": message}, "run": {"playbook": "site.yml", "url": "https://ci.example.com/1"}})
}

/// The end of a run in which a task failed on each of so many hosts.
pub fn failed_run(hosts: usize) -> Value {
    let failed = |number| {
        json!({"host": format!("web{number}"), "task": "Install nginx",
        "path": "/srv/site.yml:12", "message": "No package nginx available."})
    };
    let failed: Vec<Value> = (1..=hosts).map(failed).collect();
    json!({"event": "run_end", "status": "error", "elapsed": 12.5, "failures": hosts,
        "failed_tasks": failed, "run": {"playbook": "site.yml", "inventory": ["hosts"]}})
}

#[test]
fn a_run_that_failed_is_told_with_its_tasks() {
    side_by_side(&CHATS, |chat| {
        let server = (chat.start)();
        chat.send(&server, "ops", &failed_run(12))
            .expect(0, DELIVERED);
        let body = server.requests()[0].body.replace('\\', "");
        for part in [
            "site.yml failed",
            "web10: Install nginx",
            "and 2 more",
            "12 failed, in 12.5 s",
        ] {
            assert!(body.contains(part), "{}: no `{part}` in {body}", chat.kind);
        }
    });
}

#[test]
fn a_hostile_text_says_what_it_says_and_does_nothing_else() {
    side_by_side(&CHATS, |chat| {
        let server = (chat.start)();
        chat.send(&server, "ops", &hostile()).expect(0, DELIVERED);
        let request = &server.requests()[0];
        let said = texts(&request.json()).join("\n");
        assert!(said.contains(chat.disarmed), "{}: {said}", chat.kind);
        for harm in ["<@U1>", "\u{1b}", "\u{202e}"] {
            // The plain text next to Matrix's HTML has no markup.
            let is_plain = chat.kind == "matrix" && harm.starts_with('<');
            assert!(
                is_plain || !said.contains(harm),
                "{}: `{harm}` in {said}",
                chat.kind
            );
        }
    });
}

/// Every text in a JSON value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn what_is_too_long_is_cut_between_characters() {
    side_by_side(&CHATS, |chat| {
        for text in ["😀", "\"\\", "<&", "é"] {
            let server = (chat.start)();
            let texts = "message = {{ result.msg }}\nsubject = {{ result.msg }}";
            let config = chat.config(&server, "ops").with(texts).text();
            let name = "a name ".repeat(100);
            let fields: String = (0..60)
                .map(|n| format!("field-{n} {name} = result.short\n"))
                .collect();
            let long = text.repeat(2000);
            let event = json!({"state": "failed", "host": long, "task": long,
                "run": {"playbook": long, "url": format!("https://ci.example.com/{}", "x".repeat(3000))},
                "result": {"msg": text.repeat(20_000), "short": text.repeat(400)}});
            send(&format!("{config}[outputs:chat]\n{fields}"), &event).expect(0, DELIVERED);
            assert!(server.requests()[0].body.contains(" […]"), "{}", chat.kind);
        }
    });
}

#[test]
fn a_refusal_is_final_and_says_the_reason_of_the_service() {
    side_by_side(&CHATS, |chat| {
        let server = (chat.start)();
        let refused = chat.send(&server, "gone", &failed_run(1));
        refused.expect_line(69, &["1 dead", chat.gone]);
        assert_eq!(server.requests().len(), 1, "{}", chat.kind);
    });
}

#[test]
fn a_busy_service_is_given_the_time_that_it_asks_for() {
    side_by_side(&CHATS, |chat| {
        let server = (chat.start)();
        chat.send(&server, "busy", &failed_run(1))
            .expect(0, DELIVERED);
        let requests = server.requests();
        let waited = requests[1].at - requests[0].at;
        assert_eq!(requests.len(), 2, "{}", chat.kind);
        assert!(waited >= chat.wait, "{}: {waited:?}", chat.kind);
    });
}

#[test]
fn no_secret_is_shown_or_kept() {
    side_by_side(&CHATS, |chat| {
        for channel in ["ops", "gone"] {
            let server = (chat.start)();
            let sandbox = Sandbox::with_config(&chat.config(&server, channel));
            sandbox.file("event.json", hostile().to_string());
            sandbox.expect_no_canary();
        }
    });
}

#[test]
fn a_body_of_ones_own_replaces_what_it_names() {
    let server = mattermost::start();
    let with = |body: &str| MATTERMOST.config(&server, "ops").with(body);
    let body = r#"body = {"priority": {"priority": "{{ 'urgent' if status == 'error' }}"}}"#;
    send(&with(body), &failed_run(1)).expect(0, DELIVERED);
    let sent = server.requests()[0].json();
    assert_eq!(sent["priority"]["priority"], "urgent");
    assert!(sent["attachments"][0]["text"].is_string());
    let refused = send(&with("body = [1]"), &failed_run(1));
    refused.expect_line(69, &["`body` must give a JSON object"]);
}

#[test]
fn rocketchat_knows_a_poster_by_two_names() {
    let server = rocketchat::start();
    let chat = &ROCKETCHAT;
    let more = "username = Ansible\nicon_url = https://h/i.png\nemoji = :robot:\nchannel = #ops";
    let config = chat.config(&server, "ops").with(more);
    send(&config, &failed_run(1)).expect(0, DELIVERED);
    let sent = server.requests()[0].json();
    assert_eq!(
        (&sent["alias"], &sent["username"]),
        (&json!("Ansible"), &json!("Ansible"))
    );
    assert_eq!(
        (&sent["avatar"], &sent["emoji"]),
        (&json!("https://h/i.png"), &json!(":robot:"))
    );
    assert_eq!(sent["attachments"][0]["color"], "#e01e5a");
    send(&config.with("channel = #none"), &failed_run(1))
        .expect_line(69, &["400 Bad Request: invalid-channel"]);
}

#[test]
fn a_success_that_is_none_is_told_apart() {
    let server = rocketchat::start();
    let refused = ROCKETCHAT.send(&server, "silent", &failed_run(1));
    refused.expect_line(69, &["refused: error-not-allowed"]);
}

/// Ends of runs of the same playbook: failed twice, then recovered.
pub fn incident() -> String {
    let end = |run: &str, more: Value| {
        let mut event =
            json!({"event": "run_end", "id": run, "run": {"id": run, "playbook": "site.yml"}});
        event
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        format!("{event}\n")
    };
    let error = json!({"status": "error"});
    let recovered = json!({"status": "success", "previous": "error"});
    end("first", error.clone()) + &end("second", error) + &end("third", recovered)
}

#[test]
fn hipchat_tells_every_room_in_its_colour() {
    let server = hipchat::start();
    let chat = &HIPCHAT;
    let more = "notify = true\nmessage_from = Ansible\ncolor = Purple";
    let config = chat.config(&server, "ops, war room, none").with(more);
    let told = send(&config, &hostile());
    told.expect_line(
        69,
        &["1 of 3 not reached: none: 404 Not Found: Room not found"],
    );
    let requests = server.requests();
    assert_eq!(requests[1].target, "/v2/room/war%20room/notification");
    let sent = requests[0].json();
    assert_eq!(
        (&sent["color"], &sent["notify"], &sent["from"]),
        (&json!("purple"), &json!(true), &json!("Ansible"))
    );
    let title = "<b><a href=\"https://ci.example.com/1\">&lt;!channel&gt;: [x](http://evil) *b* @all: failed</a></b><br>";
    assert!(
        sent["message"].as_str().unwrap().starts_with(title),
        "{sent}"
    );
    send(&chat.config(&server, "ops"), &failed_run(1)).expect(0, DELIVERED);
    assert_eq!(server.requests()[3].json()["color"], "red");
}

#[test]
fn a_sender_that_hipchat_would_refuse_is_a_problem() {
    let server = hipchat::start();
    let from = |length| {
        let name = format!("message_from = {}", "é".repeat(length));
        HIPCHAT.config(&server, "ops").with(&name)
    };
    let checked = Sandbox::with_config(&from(65)).run(&["check-config"]);
    let problem = "`message_from` must have at most 64 characters, not 65";
    assert!(checked.stderr.contains(problem), "{checked:?}");
    send(&from(64), &failed_run(1)).expect(0, DELIVERED);
}

#[test]
fn the_hosted_hipchat_is_warned_of() {
    let check = |keys: &str| {
        let config =
            format!("[notifier:chat]\ntype = hipchat\ntoken = t-o-k-e-n\nrooms = ops\n{keys}\n");
        Sandbox::with_config(&config).run(&["check-config"])
    };
    check("api_url = https://api.hipchat.com")
        .expect_line(0, &["warning: ", "hosted HipChat ended in 2019"]);
    check("").expect_line(78, &["[notifier:chat] has no `api_url`"]);
    let url = "api_url = https://chat.example.com";
    check(url).expect(0, "");
    check(&format!("{url}\ncolor = pink")).expect_line(78, &["`color` must be `yellow`, `green`"]);
}

#[test]
fn a_card_says_it_in_colour_and_opens_the_run() {
    let server = teams::start();
    TEAMS.send(&server, "ops", &hostile()).expect(0, DELIVERED);
    let card = server.requests()[0].json()["attachments"][0]["content"].clone();
    let title = &card["body"][0];
    assert_eq!(title["style"], "attention");
    let text = "\\<!channel\\>: \\[x\\](http://evil) \\*b\\* @\u{200b}all: failed";
    assert_eq!(title["items"][0]["text"], text);
    assert_eq!(card["actions"][0]["url"], "https://ci.example.com/1");
    assert_eq!(
        card["body"][2]["facts"][0],
        json!({"title": "Host", "value": "\\<!channel\\>"})
    );
}

#[test]
fn a_retired_connector_of_teams_is_told_apart() {
    let config = "[notifier:chat]\ntype = teams\nurl = https://contoso.webhook.office.com/webhookb2/canary\n";
    let outcome = Sandbox::with_config(config).run(&["check-config"]);
    outcome.expect_line(78, &["`url` is an Office 365 connector, which Microsoft has retired; create a Workflows webhook"]);
    assert!(!outcome.stdout.contains("canary"), "{outcome:?}");
}

#[test]
fn discord_mentions_nobody_and_posts_into_a_thread() {
    let server = discord::start();
    let more = "thread_id = 42\nusername = Ansible\navatar_url = https://h/i.png";
    let config = DISCORD.config(&server, "ops").with(more);
    send(&config, &hostile()).expect(0, DELIVERED);
    let request = &server.requests()[0];
    assert_eq!(
        request.target,
        "/api/webhooks/1/canary-ops?wait=true&thread_id=42"
    );
    let sent = request.json();
    assert_eq!(sent["allowed_mentions"], json!({"parse": []}));
    assert_eq!(
        (&sent["username"], &sent["avatar_url"]),
        (&json!("Ansible"), &json!("https://h/i.png"))
    );
    assert_eq!(sent["embeds"][0]["color"], 0xe0_1e5a);
    assert_eq!(sent["embeds"][0]["url"], "https://ci.example.com/1");
    // A thread that is gone is no webhook that is gone.
    let refused = send(&config.with("thread_id = 43"), &hostile());
    refused.expect_line(69, &["404 Not Found: Unknown Channel)"]);
}

#[test]
fn connecting_asks_the_service_whether_it_knows_the_token() {
    let connect = |config: &str| Sandbox::with_config(config).run(&["check-config", "--connect"]);
    for (chat, channel, more, reason) in [
        (
            &TELEGRAM,
            "ops",
            "token = 1:wrong",
            "401 Unauthorized: Unauthorized",
        ),
        (&DISCORD, "gone", "", "404 Not Found: Unknown Webhook"),
    ] {
        let server = (chat.start)();
        connect(&chat.config(&server, "ops")).expect(0, "");
        let refused = connect(&chat.config(&server, channel).with(more));
        refused.expect(78, &format!("ansible-notify: chat: {reason}\n"));
        assert!(
            server
                .requests()
                .iter()
                .all(|request| request.method == "GET")
        );
    }
}
