//! The life of an incident, as one run of a playbook after the other tells it.

use serde_json::{Value, json};

use super::runs::{failing, stream, succeeding};
use crate::sandbox::Sandbox;
use crate::server::{pagerduty, slack};

#[test]
fn a_playbook_that_fails_twice_and_recovers_is_one_incident() {
    let slack = slack::start();
    let (pagerduty, incidents) = pagerduty::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = slack\napi_url = {}\ntoken = {}\nchannels = ops\n\
         [notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\non = error, recovered\n",
        slack.at("/api"),
        slack::TOKEN,
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
    ));
    for (run, alerts) in [
        (failing("1"), Some(1)),
        (failing("2"), Some(2)),
        (succeeding("3"), None),
        (succeeding("4"), None),
    ] {
        assert_eq!(stream(&sandbox, &run).code, 0);
        let open: Vec<u32> = incidents.lock().unwrap().values().copied().collect();
        assert_eq!(
            open,
            Vec::from_iter(alerts),
            "one incident with so many alerts"
        );
    }
    let actions = pagerduty.bodies().into_iter();
    let actions: Vec<Value> = actions
        .map(|mut body| body["event_action"].take())
        .collect();
    // The recovery is a change too.
    let expected = ["trigger", "trigger", "resolve"].map(Value::from);
    assert_eq!(
        (&actions[..3], &actions[3..]),
        (&expected[..], &[json!(null)][..])
    );

    let posts = slack.bodies();
    let threads: Vec<&Value> = posts.iter().map(|post| &post["thread_ts"]).collect();
    assert_eq!((threads[0], threads[3]), (&json!(null), &json!(null)));
    assert!(
        threads[1].is_string(),
        "it fails again in the thread of the first"
    );
    assert_eq!(threads[1], threads[2], "and recovers there");
    assert_eq!(posts[2]["reply_broadcast"], true);
}
