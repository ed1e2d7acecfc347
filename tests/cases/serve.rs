//! The page shows what is in the spool, as text and whatever happens to the spool.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::spool::{configure, event, run};
use crate::sandbox::Sandbox;
use crate::sandbox::page::Served;
use crate::server::{OK, Server, dead_url, status};

/// A spool with deliveries that were delivered, wait, and are dead.
fn three_notifiers(sandbox: &Sandbox) {
    let (good, bad) = (Server::start([OK]), Server::start([status(404)]));
    let config = [
        ("chat", good.url()),
        ("pager", dead_url()),
        ("ops", bad.url()),
    ]
    .map(|(name, url)| format!("[notifier:{name}]\ntype = webhook\nurl = {url}\non = failed\n"))
    .concat();
    let config = format!("[delivery]\ndrain = 500ms\nkeep_bodies = true\n{config}");
    sandbox.file("plugin_config.ini", config);
    run(sandbox, &["send", "-"], &(event("web1") + &event("web2")));
}

#[test]
fn notifiers_and_deliveries_are_shown_alike_by_page_and_api() {
    let sandbox = Sandbox::new();
    three_notifiers(&sandbox);
    let served = Served::start(&sandbox, &[]);
    let answer = served.get("/api/v1/notifiers").json();
    let notifiers = answer["notifiers"].as_array().unwrap();
    let facts =
        |key: &str| -> Vec<Value> { notifiers.iter().map(|row| row[key].clone()).collect() };
    assert_eq!(facts("name"), ["chat", "ops", "pager"]);
    assert_eq!(facts("delivered"), [2, 0, 0]);
    assert_eq!(facts("waiting"), [0, 0, 2]);
    assert_eq!(facts("dead"), [0, 2, 0]);
    assert_eq!(facts("state"), ["fine", "has dead deliveries", "waiting"]);
    let page = served.get("/notifiers").body;
    for part in [
        "chat",
        "Connection refused",
        "404 Not Found",
        "plugin_config.ini",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let one = served.get("/notifiers/3").body;
    assert!(one.contains("<h1>pager "), "{one}");
    assert!(
        one.contains("pending · pager · ansible-notify</title>"),
        "{one}"
    );

    let answer = served.get("/api/v1/deliveries").json();
    let rows = answer["deliveries"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    let newest = run(&sandbox, &["history", "--json", "--limit", "1"], "").stdout;
    let newest: Value = serde_json::from_str(&newest).unwrap();
    for key in [
        "id", "event_id", "callback", "host", "task", "notifier", "state", "attempts", "result",
        "run",
    ] {
        assert_eq!(rows[0][key], newest[key], "{key}");
    }
    // People read other words than programs.
    assert_eq!(rows[0]["callback"], "runner_on_failed");
    let pending = served.get("/api/v1/deliveries?state=pending").json();
    assert_eq!(pending["deliveries"][0]["state"], "waiting");
    let waiting = served.get("/api/v1/deliveries?state=waiting").json();
    assert_eq!(waiting["deliveries"], pending["deliveries"]);
    let visible = served.get("/deliveries").body + &one;
    for word in ["pending", ">failed<"] {
        assert!(visible.contains(word), "{word}: {visible}");
    }
    for word in ["waiting", "runner_on"] {
        assert!(!visible.to_lowercase().contains(word), "{word}: {visible}");
    }
    let pending = pending["deliveries"][0]["id"].as_i64().unwrap();
    let page = served.get(&format!("/deliveries/{pending}")).body;
    assert!(page.contains("<p>As sent "), "{page}");
    let dead = served.get("/api/v1/deliveries?state=dead&host=web2").json();
    let dead = dead["deliveries"].as_array().unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["notifier"], &dead[0]["error"]),
        (&json!("ops"), &json!("404 Not Found"))
    );

    let id = &dead[0]["id"];
    let one = served.get(&format!("/api/v1/deliveries/{id}")).json();
    assert_eq!(one["attempts"][0]["outcome"], "404 Not Found");
    assert_eq!(one["event"]["host"]["name"], "web2");
    let history = run(&sandbox, &["history", &id.to_string(), "--json"], "").stdout;
    let history: Value = serde_json::from_str(&history).unwrap();
    assert_eq!(one["message"]["problem"], history["message"]["problem"]);
    // The time of a message that is made now passes between the two.
    let timeless = |of: &Value| -> Vec<String> {
        let lines = of["message"]["now"].as_str().unwrap().lines();
        let lines = lines.filter(|line| !line.starts_with("webhook-timestamp: "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(timeless(&one), timeless(&history));
    assert_eq!(
        one["message"]["sent"]["text"],
        history["message"]["sent"]["text"]
    );
    assert!(
        one["message"]["now"].as_str().unwrap().contains("POST "),
        "{one}"
    );
    let page = served.get(&format!("/deliveries/{id}")).body;
    for part in [
        "dead · delivery",
        "<p>As sent <time",
        "POST http",
        "404 Not Found",
        "&quot;name&quot;: &quot;web2&quot;",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn a_list_is_filtered_and_paged_by_its_address() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    let events: String = (0..130).map(|n| event(&format!("h{n}"))).collect();
    run(&sandbox, &["send", "-", "--no-wait"], &events);
    let served = Served::start(&sandbox, &[]);
    let first = served.get("/deliveries?state=pending&task=install").body;
    assert!(first.contains(">h129</a>") && !first.contains(">h29</a>"));
    assert!(
        first.contains("<option selected>pending</option>"),
        "{first}"
    );
    assert!(first.contains("name=\"task\" value=\"install\""), "{first}");
    let (before, _) = first.split_once("\">Older</a>").unwrap();
    let link = before.rsplit('"').next().unwrap().replace("&amp;", "&");
    assert_eq!(link, "/deliveries?state=pending&task=install&after=31");
    let second = served.get(&link).body;
    assert!(second.contains(">h29</a>") && second.contains(">h0</a>"));
    assert!(!second.contains(">Older</a>"));
    let mut seen = Vec::new();
    let mut query = "limit=50".to_owned();
    loop {
        let answer = served.get(&format!("/api/v1/deliveries?{query}")).json();
        let rows = answer["deliveries"].as_array().unwrap().iter();
        seen.extend(rows.map(|row| row["id"].as_i64().unwrap()));
        match answer["next"].as_str() {
            Some(next) => next.clone_into(&mut query),
            None => break,
        }
    }
    assert_eq!(seen, (1..=130).rev().collect::<Vec<i64>>());
    for (query, reason) in [
        ("state=open", "`state` must be one of pending, delivered"),
        ("colour=red", "unknown parameter `colour`"),
        ("since=never", "`never` is not a date, time or age"),
    ] {
        let refused = served.get(&format!("/api/v1/deliveries?{query}"));
        let said = refused.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 400);
        assert!(said.starts_with(reason), "{said}");
        assert_eq!(served.get(&format!("/deliveries?{query}")).status, 400);
    }
    for path in [
        "/deliveries/999",
        "/deliveries/x",
        "/notifiers/99",
        "/x",
        "/api/v1/x",
    ] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
}

#[test]
fn texts_of_others_are_text() {
    let sandbox = Sandbox::new();
    let hostile =
        "<script>alert(1)</script>\"><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}javascript:";
    let config = "[inputs]\ncallback_url = http://127.0.0.1:1/\n[delivery]\ndrain = 100ms\n";
    sandbox.file("plugin_config.ini", config);
    let line = "x".repeat(1 << 20);
    let event = json!({"state": "failed", "host": hostile, "task": hostile,
        "result": {"msg": hostile, "stdout": line}});
    run(&sandbox, &["send", "-"], &event.to_string());
    let served = Served::start(&sandbox, &[]);
    for path in ["/deliveries", "/deliveries/1", "/notifiers/1"] {
        let page = served.get(path).body;
        for (count, tag) in [(1, "<script"), (0, "<img"), (0, "\u{1b}"), (0, "\u{202e}")] {
            assert_eq!(page.matches(tag).count(), count, "{path}: {tag}");
        }
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{page}"
        );
        assert!(page.len() < 200_000, "{}", page.len());
    }
    let page = served.get("/deliveries/1").body;
    assert!(page.contains("Only the beginning is shown."), "it is cut");
    let whole = served.get("/api/v1/deliveries/1").json();
    assert_eq!(whole["event"]["result"]["stdout"], json!(line));
}

#[test]
fn what_it_must_not_show_is_masked() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    let canary = "canary-0123456789-canary-0123456789";
    sandbox.file("token", canary);
    run(&sandbox, &["send", "-"], &event(canary));
    let mut served = Served::start(&sandbox, &["--token-file", "token"]);
    served.token = Some(canary.to_owned());
    for path in [
        "/deliveries",
        "/deliveries/1",
        "/api/v1/deliveries",
        "/api/v1/deliveries/1",
        "/metrics",
        "/notifiers/1",
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.contains(canary), "{path}: {}", answer.body);
    }
    let page = served.get("/deliveries/1").body;
    assert!(page.contains("[redacted]"), "{page}");
}

#[test]
fn numbers_for_prometheus() {
    let sandbox = Sandbox::new();
    three_notifiers(&sandbox);
    let served = Served::start(&sandbox, &[]);
    let answer = served.get("/metrics");
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let value = |name: &str, labels: &[&str]| {
        let mut lines = answer.body.lines().filter(|line| {
            let is_named = line.starts_with(&format!("ansible_notify_{name}{{"));
            is_named && labels.iter().all(|label| line.contains(label))
        });
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("{name}: {}", answer.body));
        assert_eq!(lines.next(), None);
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let (chat, pager, ops) = (
        "notifier=\"chat\"",
        "notifier=\"pager\"",
        "notifier=\"ops\"",
    );
    assert_eq!(value("accepted_total", &[chat]), 2.0);
    assert_eq!(value("delivered_total", &[chat]), 2.0);
    assert_eq!(value("waiting", &[pager]), 2.0);
    assert_eq!(value("dead", &[ops]), 2.0);
    assert_eq!(value("up", &[chat]), 1.0);
    assert!(value("oldest_seconds", &[pager]) > 0.0);
    assert_eq!(value("attempts", &[chat, "outcome=\"delivered\""]), 2.0);
    assert_eq!(value("attempts", &[ops, "outcome=\"failed\""]), 2.0);
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.ends_with('}') && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[test]
fn a_spool_that_cannot_be_read_is_one_clear_line() {
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/notifiers");
    assert_eq!(page.status, 200);
    assert!(
        page.body
            .contains("Nothing has been sent from this spool yet.")
    );
    assert_eq!(
        served.get("/api/v1/deliveries").json()["deliveries"],
        json!([])
    );
    assert_eq!(served.get("/metrics").status, 200);
    assert!(
        !sandbox.path("state").exists(),
        "nothing is made by looking"
    );

    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web1"));
    assert!(served.get("/deliveries").body.contains(">web1</a>"));
    let folder = sandbox.path("state/ansible-notify");
    let file = folder.join("spool.db");
    let lock = std::fs::File::open(folder.join("spool.lock")).unwrap();
    lock.lock().unwrap();
    let writer = Connection::open(&file).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; UPDATE event SET host = 'unfinished'")
        .unwrap();
    assert!(
        served.get("/deliveries").body.contains(">web1</a>"),
        "no wait for a writer"
    );
    writer.execute_batch("ROLLBACK").unwrap();

    // A file in its place is seen at once.
    let version = |number: &str| {
        let aside = folder.join("aside.db");
        std::fs::copy(&file, &aside).unwrap();
        let other = Connection::open(&aside).unwrap();
        other
            .execute_batch(&format!("PRAGMA user_version = {number}"))
            .unwrap();
        drop(other);
        std::fs::rename(&aside, &file).unwrap();
    };
    writer
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(writer);
    for (change, reason) in [
        (
            "99",
            "the spool was written by a newer ansible-notify; use that one",
        ),
        (
            "1",
            "the spool was written by an older ansible-notify; the next run, or",
        ),
    ] {
        version(change);
        for path in [
            "/notifiers",
            "/deliveries/1",
            "/api/v1/notifiers",
            "/metrics",
        ] {
            let answer = served.get(path);
            assert_eq!(answer.status, 503, "{path}");
            assert_eq!(answer.body.matches(reason).count(), 1, "{}", answer.body);
        }
    }
    std::fs::write(folder.join("garbage"), "x".repeat(8192)).unwrap();
    std::fs::rename(folder.join("garbage"), &file).unwrap();
    let answer = served.get("/api/v1/notifiers");
    assert!(
        answer.body.contains("the spool is damaged; the next run"),
        "{}",
        answer.body
    );
    drop(lock);
    // Mended by others, it is shown again.
    assert_eq!(run(&sandbox, &["send", "-"], &event("web2")).code, 75);
    assert!(served.get("/deliveries").body.contains(">web2</a>"));
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn answers_are_compressed_for_those_who_accept_it() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    let events: String = (0..9)
        .map(|number| event(&format!("web{number}")))
        .collect();
    run(&sandbox, &["send", "-"], &events);
    let served = Served::start(&sandbox, &[]);
    let style = served.get("/").body;
    let style = style
        .split("href=\"")
        .find(|part| part.starts_with("/assets/page."));
    let style = style.unwrap().split('"').next().unwrap();
    let encoding = |path: &str, accepts: &str| {
        let headers = format!("{}{accepts}", served.allowed());
        let answer = served.ask("GET", path, &headers, "");
        assert_eq!(answer.status, 200);
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        (answer.header("content-encoding").map(str::to_owned), length)
    };
    for path in ["/deliveries", style] {
        let (plain, whole) = encoding(path, "");
        assert_eq!(plain, None);
        let (zipped, part) = encoding(path, "Accept-Encoding: br, gzip;q=0.5\r\n");
        assert_eq!(zipped.as_deref(), Some("gzip"));
        assert!(part * 2 < whole, "{path}: {part} of {whole}");
        for refused in ["br", "gzip;q=0", "*;q=0"] {
            let accepts = format!("Accept-Encoding: {refused}\r\n");
            assert_eq!(encoding(path, &accepts), (None, whole), "{refused}");
        }
    }
    let small = encoding("/healthz", "Accept-Encoding: gzip\r\n");
    assert_eq!(small, (None, 3));
}
