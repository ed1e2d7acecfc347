//! An endpoint in trouble: it is left alone as long as it asks, or seems to need, by every process.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::spool::{configure, event, expect_status, only_status, run};
use crate::sandbox::{Config, Outcome, PATIENCE, Sandbox, outcome};
use crate::server::{OK, Reply, Server, status};

/// Sends an event each of `hosts` hosts.
fn send(sandbox: &Sandbox, hosts: usize) -> Outcome {
    let events: String = (0..hosts).map(|n| event(&format!("h{n}"))).collect();
    run(sandbox, &["send", "-"], &events)
}

fn status_line(sandbox: &Sandbox) -> String {
    run(sandbox, &["status"], "").stdout
}

/// A `flush --watch` beside the test.
struct Watch(Child);

impl Watch {
    fn start(sandbox: &Sandbox) -> Watch {
        let mut command = sandbox.command_on_spool(&["flush", "--watch"]);
        Watch(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn stop(self) -> Outcome {
        let process = Pid::from_child(&self.0);
        kill_process(process, Signal::TERM).unwrap();
        outcome(self.0)
    }
}

#[test]
fn a_pause_that_was_asked_for_holds_for_every_process() {
    let server = Server::start([Reply::Full(503, "Retry-After: 1000\r\n", ""), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    for _ in 0..3 {
        assert_eq!(send(&sandbox, 1).code, 75);
    }
    assert_eq!(server.requests().len(), 1);
    let status = only_status(&sandbox);
    assert_eq!(status["breaker"], "open");
    let left = status["paused_until"].as_i64().unwrap() - jiff::Timestamp::now().as_millisecond();
    assert!((980_000..1_100_000).contains(&left), "{left}");
    assert_eq!(status["next_attempt"], status["paused_until"]);
    assert!(status_line(&sandbox).contains("breaker open: paused until "));

    // A person who asks for it knows better.
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 3 deliveries: all delivered\n");
    let status = only_status(&sandbox);
    assert_eq!(
        (&status["breaker"], status["paused_until"].is_null()),
        (&"closed".into(), true)
    );
}

#[test]
fn a_clock_that_was_set_back_makes_no_pause() {
    let server = Server::start([Reply::Full(503, "Retry-After: 5\r\n", ""), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    assert_eq!(send(&sandbox, 1).code, 75);
    let spool = rusqlite::Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    spool
        .execute_batch(
            "UPDATE delivery SET next_at = next_at + 864000000;
             UPDATE destination SET failures = 5, paused_until = unixepoch() * 1000 + 864000000",
        )
        .unwrap();
    run(&sandbox, &["flush", "--due"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn one_in_trouble_gets_one_attempt_at_a_time_in_every_process() {
    let replies: Vec<Reply> = std::iter::repeat_n(status(503), 18).chain([OK]).collect();
    let server = Server::start(replies);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    // So many hosts are served side by side, and each of them once; then it is known to be in trouble.
    assert_eq!(send(&sandbox, 16).code, 75);
    assert_eq!(server.requests().len(), 16);
    assert_eq!(only_status(&sandbox)["breaker"], "open");
    for more in 1..=2 {
        let flushed = run(&sandbox, &["flush"], "");
        flushed.expect_line(
            75,
            &["16 deliveries: 16 pending until the next run, `flush` or the timer (callback: 503 "],
        );
        assert_eq!(server.requests().len(), 16 + more);
    }
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 16 deliveries: all delivered\n");
    assert_eq!(server.requests().len(), 18 + 16);
    assert_eq!(only_status(&sandbox)["breaker"], "closed");
}

#[test]
fn one_that_is_gone_is_off_until_its_configuration_changes() {
    let server = Server::start([status(410), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let off = "off until its configuration changes";
    send(&sandbox, 1).expect_line(69, &[&format!("1 dead (callback: 410 Gone; {off})")]);
    send(&sandbox, 2).expect_line(
        69,
        &[&format!(
            "2 dead (callback: the endpoint answered 410 Gone before; {off})"
        )],
    );
    assert_eq!(server.requests().len(), 1);
    assert_eq!(only_status(&sandbox)["breaker"], "off");
    assert!(status_line(&sandbox).contains(&format!("\n    {off}\n")));

    let config = Config::to(&server.url()).with("timeout = 20s").text();
    sandbox.file("plugin_config.ini", config);
    assert_eq!(send(&sandbox, 1).code, 0);
    assert_eq!(only_status(&sandbox)["breaker"], "closed");
    expect_status(&sandbox, 1, 0, 3, 0);
}

#[test]
fn one_that_is_gone_is_tried_again_when_its_dead_are() {
    let server = Server::start([status(410), status(410), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    assert_eq!(send(&sandbox, 1).code, 69);
    assert_eq!(send(&sandbox, 9).code, 69);
    let flushed = run(&sandbox, &["flush", "--dead"], "");
    flushed.expect_line(69, &["10 deliveries: 10 dead (callback: ", "410 Gone"]);
    assert_eq!(server.requests().len(), 2, "one attempt is enough to know");
    let flushed = run(&sandbox, &["flush", "--dead"], "");
    flushed.expect(0, "ansible-notify: 10 deliveries: all delivered\n");
}

#[test]
fn what_a_secret_names_is_part_of_the_configuration() {
    let (gone, server) = (Server::start([status(410)]), Server::start([OK]));
    let sandbox = Sandbox::with_config("[inputs]\ncallback_url_file = url\n");
    sandbox.file("url", gone.url());
    assert_eq!(send(&sandbox, 1).code, 69);
    sandbox.file("url", server.url());
    assert_eq!(send(&sandbox, 1).code, 0);
}

#[test]
fn refused_credentials_lock_no_account() {
    let server = Server::start([status(401)]);
    let sandbox = Sandbox::new();
    let config = Config::to(&server.url()).with("concurrency = 4");
    sandbox.file("plugin_config.ini", config.delivery("drain = 500ms").text());
    send(&sandbox, 20).expect_line(
        75,
        &["20 pending until the next run, `flush` or the timer (callback: 401 Unauthorized)"],
    );
    assert_eq!(
        server.requests().len(),
        4 + 1,
        "once more with the secret read anew"
    );
    send(&sandbox, 20);
    assert_eq!(server.requests().len(), 5, "the next process knows");

    // A clock that jumped is no reason to give up.
    let spool = rusqlite::Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    spool
        .execute_batch(
            "UPDATE event SET created = created - 25 * 3600000;
             UPDATE attempt SET started = started - 25 * 3600000",
        )
        .unwrap();
    let flushed = run(&sandbox, &["flush"], "");
    assert_eq!(flushed.code, 75, "{flushed:?}");

    // A day of attempts is enough to mend them.
    spool
        .execute_batch(
            "WITH RECURSIVE hour(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM hour WHERE n < 25)
             INSERT INTO attempt SELECT delivery, started + n * 3600000, 1, outcome
             FROM (SELECT delivery, min(started) AS started, outcome FROM attempt GROUP BY delivery), hour",
        )
        .unwrap();
    let flushed = run(&sandbox, &["flush"], "");
    assert_eq!(flushed.code, 69, "{flushed:?}");
    let errors = run(&sandbox, &["history", "--failed"], "").stdout;
    assert!(
        errors.contains("  given up after 86400s: 401 Unauthorized\n"),
        "{errors}"
    );
}

#[test]
fn who_watches_goes_on_as_soon_as_the_endpoint_is_back() {
    let replies: Vec<Reply> = std::iter::repeat_n(status(503), 18).chain([OK]).collect();
    let server = Server::start(replies);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    assert_eq!(send(&sandbox, 16).code, 75);
    let watch = Watch::start(&sandbox);
    let requests = server.wait_for(18 + 16);
    let (down, back) = (requests[17].at, requests[18].at);
    assert!(back - down < PATIENCE, "{:?}", back - down);
    let last = requests.last().unwrap().at;
    assert!(last - back < PATIENCE, "{:?}", last - back);
    watch
        .stop()
        .expect(0, "ansible-notify: 16 deliveries: all delivered\n");
}

#[test]
fn who_watches_is_asked_to_try_now() {
    let wait = Reply::Full(503, "Retry-After: 3600\r\n", "");
    let server = Server::start([wait.clone(), wait, OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    assert_eq!(send(&sandbox, 1).code, 75);
    let watch = Watch::start(&sandbox);
    let lock =
        std::fs::File::open(sandbox.path("state/ansible-notify/destination-1.lock")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while lock.try_lock().is_ok() {
        lock.unlock().unwrap();
        assert!(Instant::now() < deadline, "it does not take over");
        std::thread::sleep(Duration::from_millis(50));
    }
    run(&sandbox, &["flush"], "").expect_line(
        75,
        &["(callback: another process delivers them and was asked to retry now)"],
    );
    server.wait_for(2);
    run(&sandbox, &["flush"], "");
    server.wait_for(3);
    watch.stop();
    expect_status(&sandbox, 1, 0, 0, 0);
}

#[test]
fn a_secret_that_could_not_be_read_anew_can_be_the_next_time() {
    let sandbox = Sandbox::new();
    let broken = sandbox.path("broken");
    let server = Server::answering(move |request| {
        if request.target == "/new" {
            return OK;
        }
        std::fs::write(&broken, "").unwrap();
        status(401)
    });
    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ncallback_url_command = ./url\n",
    );
    sandbox.file("url", "#!/bin/sh\n[ -e broken ] && exit 1\ncat value\n");
    sandbox.mode("url", 0o700);
    sandbox.file("value", server.at("/old"));
    let accepted = run(&sandbox, &["send", "--no-wait", "-"], &event("h"));
    assert_eq!(accepted.code, 0, "{accepted:?}");
    let watch = Watch::start(&sandbox);
    server.wait_for(1);
    let deadline = Instant::now() + PATIENCE;
    while !status_line(&sandbox).contains("breaker open: paused until ") {
        assert!(Instant::now() < deadline, "it makes no pause");
    }
    std::fs::remove_file(sandbox.path("broken")).unwrap();
    sandbox.file("value", server.at("/new"));
    // The one that watches is asked to try now.
    run(&sandbox, &["flush"], "");
    assert_eq!(server.wait_for(2)[1].target, "/new");
    watch
        .stop()
        .expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn who_watches_sees_what_is_mended_in_the_configuration() {
    let (gone, server) = (Server::start([status(503)]), Server::start([OK]));
    let sandbox = Sandbox::new();
    configure(&sandbox, &gone.url());
    assert_eq!(send(&sandbox, 3).code, 75);
    sandbox.file("plugin_config.ini", "[inputs]\ncallback_url = nonsense\n");
    let watch = Watch::start(&sandbox);
    std::thread::sleep(Duration::from_secs(1));
    configure(&sandbox, &gone.url());
    gone.wait_for(4);
    configure(&sandbox, &server.url());
    server.wait_for(3);
    let said = watch.stop();
    assert!(
        said.stderr.contains("callback: skipping 3 deliveries"),
        "{said:?}"
    );
    expect_status(&sandbox, 3, 0, 0, 0);
}

#[test]
fn a_timer_cuts_no_pause_short() {
    let server = Server::start([Reply::Full(503, "Retry-After: 1000\r\n", ""), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    assert_eq!(send(&sandbox, 1).code, 75);
    run(&sandbox, &["flush", "--due"], "").expect_line(75, &["1 pending", "503"]);
    assert_eq!(server.requests().len(), 1);
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
}
