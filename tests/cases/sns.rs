//! Publishing to Amazon SNS, against a server that makes every signature again and refuses what SNS refuses.

use serde_json::json;

use super::services::{FAILED, delivered, run_end, send, send_with, service};
use crate::sandbox::{Sandbox, side_by_side};
use crate::server::{Server, sns};

fn sns_keys(server: &Server, topic: &str, more: &str) -> String {
    let (url, (id, secret)) = (server.at("/"), sns::KEY);
    format!(
        "type = awssns\napi_url = {url}\ntopic_arn = {topic}\naccess_key_id = {id}\nsecret_access_key = {secret}\n{more}"
    )
}

#[test]
fn a_topic_gets_signed_messages() {
    let server = sns::start();
    send(&sns_keys(&server, sns::TOPIC, ""), FAILED).expect(0, &delivered(1));
    let session = format!(
        "session_token = {}\nsubject = é {{{{ playbook }}}}\nbody = {{\"why\": \"{{{{ reason }}}}\"}}\n",
        sns::SESSION
    );
    send(
        &sns_keys(&server, sns::FIFO, &session),
        &run_end("r1", "error", None),
    )
    .expect(0, &delivered(1));
    let parameters: Vec<_> = server.requests().iter().map(sns::parameters).collect();
    let get = |index: usize, name: &str| parameters[index].get(name).map(String::as_str);
    assert_eq!(get(0, "Subject"), Some("web1: Install: failed"));
    assert_eq!(get(0, "Message"), Some("no space left"));
    let attributes: Vec<Option<&str>> = (1..=5)
        .map(|number| {
            get(
                0,
                &format!("MessageAttributes.entry.{number}.Value.StringValue"),
            )
        })
        .collect();
    assert_eq!(
        attributes,
        [
            Some("runner_on_failed"),
            Some("failed"),
            Some("site.yml"),
            Some("web1"),
            None
        ]
    );
    assert_eq!(get(1, "Message"), Some("{\"why\":null}"));
    assert_eq!(get(1, "MessageDeduplicationId"), Some("r1"));
    assert_eq!(
        get(1, "MessageGroupId").unwrap().len(),
        64,
        "a key with blanks is hashed"
    );
    assert_eq!(get(1, "Subject"), Some("? site.yml"));
}

#[test]
fn sns_takes_what_is_too_long() {
    let server = sns::start();
    let event =
        json!({"state": "failed", "host": "é".repeat(300), "result": {"msg": "é".repeat(200_000)}})
            .to_string();
    send(
        &sns_keys(&server, sns::TOPIC, "message = {{ reason }}\n"),
        &event,
    )
    .expect(0, &delivered(1));
    let sent = sns::parameters(&server.requests()[0]);
    assert!(sent["Message"].ends_with("é […]") && sent["Subject"].ends_with("? ..."));
    let refused = send(
        &sns_keys(&server, sns::TOPIC, "body = [\"{{ reason }}\"]\n"),
        &event,
    );
    refused.expect_line(
        69,
        &[
            "1 dead",
            "`body` gives 400004 bytes; Amazon SNS accepts at most 26",
        ],
    );
}

#[test]
fn the_keys_may_come_from_the_usual_variables() {
    let server = sns::start();
    let keys = format!(
        "[notifier:service]\non = any\ntype = awssns\napi_url = {}\ntopic_arn = {}\n",
        server.at("/"),
        sns::TOPIC
    );
    let sandbox = Sandbox::with_config(&keys);
    sandbox.file("event.json", FAILED);
    let child = sandbox
        .command(&["send", "event.json"])
        .env("AWS_ACCESS_KEY_ID", sns::KEY.0)
        .env("AWS_SECRET_ACCESS_KEY", sns::KEY.1)
        .env("AWS_SESSION_TOKEN", sns::SESSION)
        .spawn()
        .unwrap();
    crate::sandbox::outcome(child).expect(0, &delivered(1));
    assert_eq!(
        server.requests()[0].header("x-amz-security-token"),
        Some(sns::SESSION)
    );
    let without = sandbox.run(&["send", "event.json"]);
    without.expect_warning(78, &["[notifier:service] has no `access_key_id`"]);
}

#[test]
fn the_errors_of_sns_are_told_apart() {
    let server = sns::start();
    let config = service(&sns_keys(&server, sns::TOPIC, ""));
    let other = format!("topic_arn = {}", sns::TOPIC.replace(":runs", ":other"));
    side_by_side(
        &[
            (
                "secret_access_key = canary-wrong",
                75,
                "403 Forbidden: SignatureDoesNotMatch: The request",
            ),
            (
                "access_key_id = AKIDCANARY2",
                75,
                "403 Forbidden: InvalidClientTokenId: The security",
            ),
            (&other, 69, "404 Not Found: NotFound: Topic does not exist"),
        ],
        |(key, code, error)| {
            let refused = send_with(&config.clone().with(key), FAILED);
            refused.expect_line(*code, &[error]);
            assert!(!refused.stderr.contains("canary"), "{refused:?}");
        },
    );
    side_by_side(
        &[
            (400, "Throttling", 75),
            (400, "KMSAccessDenied", 69),
            (400, "ExpiredToken", 75),
            (500, "InternalError", 75),
        ],
        |&(status, error, code)| {
            let server = Server::answering(move |_| sns::refusal(status, error, "as it is"));
            let failed = send(&sns_keys(&server, sns::TOPIC, ""), FAILED);
            failed.expect_line(code, &[&format!("{error}: as it is")]);
        },
    );
}

#[test]
fn a_topic_is_named_by_its_arn() {
    for (more, problem) in [
        (
            "topic_arn = runs\n",
            "`topic_arn` must have the form arn:aws:sns:",
        ),
        (
            "topic_arn = arn:aws:sns:eu-central-1:1:x\nregion = a.b\n",
            "`region` must be a name such as",
        ),
    ] {
        let keys = format!("type = awssns\naccess_key_id = abcd\nsecret_access_key = abcd\n{more}");
        send(&keys, FAILED).expect_warning(78, &[problem]);
    }
}

#[test]
fn the_topic_s_region_decides_the_host() {
    let topic = sns::TOPIC.replace("eu-central-1", "cn-north-1");
    let config = format!(
        "[notifier:service]\ntype = awssns\ntopic_arn = {topic}\naccess_key_id = AKID\nsecret_access_key = canary-secret\n"
    );
    let sandbox = Sandbox::with_config(&config);
    let shown = sandbox.run_with_input(&["send", "--dry-run", "-"], run_end("r", "error", None));
    assert!(
        shown
            .stdout
            .contains("POST https://sns.cn-north-1.amazonaws.com.cn/\n"),
        "{shown:?}"
    );
    assert!(
        shown.stdout.contains("authorization: [redacted]"),
        "{shown:?}"
    );
}
