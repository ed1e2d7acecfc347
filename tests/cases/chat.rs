//! The kinds that post to a chat, each against a server that refuses what the service refuses.

use crate::sandbox::{Outcome, Sandbox};
use crate::server::{Server, mattermost};

/// A failed result whose host, task and message mean harm.
const HOSTILE: &str = r#"{"state":"failed","host":"<!channel> @all","task":"[x](http://evil) *b*\u001b[2J",
    "result":{"msg":"<b>&</b> @everyone `x` \u202e"},"run":{"playbook":"site.yml"}}"#;

/// Sends an event to a notifier with these keys.
fn send(keys: &str, event: &str) -> Outcome {
    let config = format!("[notifier:chat]\non = any\n{keys}\n[delivery]\ndrain = 3\n");
    Sandbox::with_config(&config).run_with_input(&["send", "-"], event)
}

const DELIVERED: &str = "ansible-notify: 1 event: 1 delivered, 0 waiting, 0 dead\n";

fn mattermost_keys(server: &Server, more: &str) -> String {
    let url = server.at(mattermost::PATH);
    format!("type = mattermost\nurl = {url}\n{more}")
}

#[test]
fn mattermost_takes_what_is_posted() {
    let server = mattermost::start();
    send(&mattermost_keys(&server, "channel = ops"), HOSTILE).expect(0, DELIVERED);
    let attachment = &server.requests()[0].json()["attachments"][0];
    assert_eq!(attachment["color"], "#e01e5a");
    assert_eq!(
        attachment["text"],
        "\\<b\\>&\\</b\\> @\u{200b}everyone \\`x\\` "
    );
    let refused = send(&mattermost_keys(&server, "channel = gone"), HOSTILE);
    refused.expect_line(69, &["0 waiting, 1 dead", "404 Not Found", "channel"]);
    assert!(!refused.stderr.contains("canary"), "{refused:?}");
}
