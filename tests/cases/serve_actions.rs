//! Actions of the page do what the commands do, and only for those who may ask.

use serde_json::json;

use super::spool::{configure, event, expect_status, run};
use crate::sandbox::Sandbox;
use crate::sandbox::page::{Answer, Served};
use crate::server::{OK, Server, dead_url, status};

fn post(served: &Served, path: &str) -> Answer {
    served.ask("POST", path, &served.allowed(), "")
}

/// The page that an action leads to.
#[track_caller]
fn after(served: &Served, path: &str) -> String {
    let answer = post(served, path);
    assert_eq!(answer.status, 303, "{answer:?}");
    served.get(answer.header("location").unwrap()).body
}

#[test]
fn a_delivery_is_discarded_as_by_the_command() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &(event("web1") + &event("web2")));
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/deliveries/1").body;
    assert!(page.contains("action=\"/deliveries/1/discard\""), "{page}");
    let page = after(&served, "/deliveries/1/discard");
    assert!(page.contains("1 discarded"), "{page}");
    assert!(!page.contains("/discard\""), "{page}");
    expect_status(&sandbox, 0, 1, 0, 1);
    let again = post(&served, "/api/v1/deliveries/1/discard");
    let text = "no pending or dead delivery: 1";
    let said = json!({"text": text, "exit": 66, "error": text});
    assert_eq!((again.status, again.json()), (404, said));
    expect_status(&sandbox, 0, 1, 0, 1);
}

#[test]
fn a_notifier_is_tried_again_as_by_flush() {
    let (bad, good) = (Server::start([status(404)]), Server::start([OK]));
    let sandbox = Sandbox::new();
    configure(&sandbox, &bad.url());
    run(&sandbox, &["send", "-"], &event("web1"));
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web2"));
    expect_status(&sandbox, 0, 1, 1, 0);
    let served = Served::start(&sandbox, &[]);
    let page = after(&served, "/notifiers/1/try");
    assert!(page.contains("Connection refused"), "{page}");
    assert!(page.contains("(exit code 75)"), "{page}");
    expect_status(&sandbox, 0, 1, 1, 0);
    configure(&sandbox, &good.url());
    let page = after(&served, "/notifiers/1/try");
    assert!(page.contains("1 delivery: delivered"), "{page}");
    expect_status(&sandbox, 1, 0, 1, 0);
    assert!(page.contains("action=\"/notifiers/1/revive\""), "{page}");
    after(&served, "/notifiers/1/revive");
    expect_status(&sandbox, 2, 0, 0, 0);
    assert_eq!(post(&served, "/notifiers/9/try").status, 404);
}

#[test]
fn a_test_goes_to_the_notifier_with_its_own_settings() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let answer = post(&served, "/api/v1/notifiers/1/test").json();
    assert_eq!(answer, json!({"text": "callback: delivered", "exit": 0}));
    assert_eq!(server.requests().len(), 2);
    expect_status(&sandbox, 1, 0, 0, 0);
}

#[test]
fn a_spool_that_came_with_a_checkout_sends_no_test() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let config = format!(
        "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 500ms\nspool = spool\n",
        server.url()
    );
    sandbox.file("plugin_config.ini", config);
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let refused = post(&served, "/api/v1/notifiers/1/test");
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(
        refused.body.contains("selects this spool; to trust it"),
        "{refused:?}"
    );
    let spool = sandbox.path("spool");
    let served = Served::start(&sandbox, &["--spool", spool.to_str().unwrap()]);
    let answer = post(&served, "/api/v1/notifiers/1/test").json();
    assert_eq!(answer["exit"], 0, "{answer}");
}

#[test]
fn nothing_is_changed_for_others_nor_read_only() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let paths = [
        "/deliveries/1/discard",
        "/api/v1/deliveries/1/discard",
        "/notifiers/1/try",
    ];
    for path in paths {
        assert_eq!(served.ask("POST", path, &served.host(), "").status, 401);
        for origin in [
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            "Origin: http://evil.example\r\n",
        ] {
            let headers = format!("{}{origin}", served.allowed());
            assert_eq!(served.ask("POST", path, &headers, "").status, 403);
        }
        assert_eq!(served.get(path).status, 404);
        assert_eq!(
            served.ask("DELETE", path, &served.allowed(), "").status,
            405
        );
    }
    let served = Served::start(&sandbox, &["--read-only"]);
    for path in paths {
        assert_eq!(post(&served, path).status, 403);
    }
    for page in ["/deliveries/1", "/notifiers/1"] {
        let page = served.get(page);
        assert!(
            page.status == 200 && !page.body.contains("method=\"post\""),
            "{page:?}"
        );
    }
    expect_status(&sandbox, 0, 1, 0, 0);
}

#[test]
fn a_program_sees_by_the_status_how_an_action_ended() {
    let server = Server::start([status(503), status(404), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let ended = |path: &str| {
        let answer = post(&served, path);
        let said = answer.json();
        assert_eq!(
            said.get("error").is_some(),
            answer.status >= 400,
            "{answer:?}"
        );
        (answer.status, said["exit"].clone())
    };
    let try_now = "/api/v1/notifiers/1/try";
    assert_eq!(ended(try_now), (502, json!(75)), "nothing answers");
    configure(&sandbox, &server.url());
    assert_eq!(ended(try_now), (502, json!(75)), "503");
    assert_eq!(ended(try_now), (502, json!(69)), "404");
    sandbox.file("plugin_config.ini", "[inputs]\ncallback_url = nonsense\n");
    let test = "/api/v1/notifiers/1/test";
    assert_eq!(ended(test), (409, json!(78)), "the configuration is wrong");
    configure(&sandbox, &server.url());
    assert_eq!(ended(test), (200, json!(0)));
    assert_eq!(ended("/api/v1/deliveries/7/discard"), (404, json!(66)));
}

#[test]
fn a_mute_with_a_mistake_is_typed_again_where_it_was() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web1"));
    let served = Served::start(&sandbox, &[]);
    let ask = |path: &str, body: &str| served.ask("POST", path, &served.allowed(), body);
    for (until, why, reason) in [
        (
            "25:00",
            "we move &amp; rest",
            "`until`: `25:00` is not a time or duration; write 1h,",
        ),
        (
            "2020-01-01",
            "we move &amp; rest",
            "`until`: `2020-01-01` is in the past",
        ),
        ("2h", " ", "`why` must give a reason"),
    ] {
        let form = format!(
            "until={until}&why={}",
            why.replace("&amp;", "%26").replace(' ', "+")
        );
        let answer = ask("/notifiers/1/mute", &form);
        assert_eq!(answer.status, 303, "{answer:?}");
        let page = served.get(answer.header("location").unwrap()).body;
        assert!(
            page.contains("role=\"alert\"") && page.contains("<details open>"),
            "{page}"
        );
        assert!(page.contains(&format!("Not muted: {reason}")), "{page}");
        for value in [until, why] {
            assert!(page.contains(&format!("value=\"{value}\"")), "{page}");
        }
        assert!(
            !page.contains("--help") && !page.contains("exit code"),
            "{page}"
        );
        let wish = json!({"until": until, "why": why});
        let answer = ask("/api/v1/notifiers/1/mute", &wish.to_string());
        assert_eq!(answer.status, 400);
        assert!(
            answer.json()["error"].as_str().unwrap().contains(reason),
            "{answer:?}"
        );
    }
    let page = served.get("/notifiers/1").body;
    assert!(page.contains("<details><summary>Mute…"), "{page}");
    assert!(
        page.contains("by <code>flush --watch</code>, or by the timer"),
        "{page}"
    );
}

#[test]
fn an_error_is_shown_until_something_arrives() {
    let sandbox = Sandbox::new();
    let error = || {
        let all = run(&sandbox, &["status", "--json"], "").stdout;
        let all: serde_json::Value = serde_json::from_str(&all).unwrap();
        let served = Served::start(&sandbox, &[]).get("/api/v1/notifiers").json();
        assert_eq!(served["notifiers"][0]["last_error"], all[0]["last_error"]);
        all[0]["last_error"].as_str().unwrap_or_default().to_owned()
    };
    let send = |server: &Server, host: &str| {
        configure(&sandbox, &server.url());
        run(&sandbox, &["send", "-"], &event(host));
        // It waits for an attempt, however slow the machine is.
        run(&sandbox, &["flush"], "");
    };
    let (busy, good, bad) = (
        Server::start([status(503)]),
        Server::start([OK]),
        Server::start([status(404)]),
    );
    send(&busy, "web1");
    assert!(error().contains("503"), "{}", error());
    send(&good, "web2");
    expect_status(&sandbox, 2, 0, 0, 0);
    assert_eq!(error(), "");
    send(&bad, "web3");
    send(&good, "web4");
    expect_status(&sandbox, 3, 0, 1, 0);
    assert!(error().contains("404"), "it is why one is dead");
    run(&sandbox, &["discard", "--dead"], "");
    assert_eq!(error(), "");
}
