//! `receive`: an endpoint to try things against, with faults on demand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Child;

use crate::sandbox::{Config, Sandbox};

/// A running `receive` in the sandbox of its user, stopped when dropped.
struct Receiver {
    child: Child,
    /// What it listens on.
    name: String,
    sandbox: Sandbox,
}

impl Receiver {
    fn start(sandbox: Sandbox, arguments: &[&str]) -> Receiver {
        let mut all = vec!["receive"];
        if !arguments.contains(&"--socket") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend(arguments);
        let mut child = sandbox.command(&all).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let name = line
            .trim_end()
            .strip_prefix("ansible-notify: listening on ")
            .expect(&line)
            .to_owned();
        Receiver {
            child,
            name,
            sandbox,
        }
    }

    fn send(&self, more: &str) -> crate::sandbox::Outcome {
        let url = if self.name.starts_with("http") {
            self.name.clone()
        } else {
            "http://localhost/".to_owned()
        };
        let config = Config::to(&url).with(more).text();
        self.sandbox.file("plugin_config.ini", config);
        self.sandbox.run_with_input(
            &["send", "-"],
            r#"{"id":"e-1","state":"failed","host":"web1"}"#,
        )
    }

    /// Everything that it printed.
    fn stop(mut self) -> String {
        let pid = rustix_pid(&self.child);
        assert!(
            std::process::Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Already stopped where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rustix_pid(child: &Child) -> String {
    child.id().to_string()
}

const DELIVERED: &str = "ansible-notify: 1 event, 1 delivery: delivered\n";

#[test]
fn requests_are_shown() {
    let receiver = Receiver::start(Sandbox::new(), &[]);
    receiver.send("").expect(0, DELIVERED);
    assert_eq!(
        receiver.stop(),
        "POST /  e-1  -> 200 OK\n{\n  \"state\": \"failed\",\n  \"host\": \"web1\"\n}\n\n"
    );

    let receiver = Receiver::start(Sandbox::new(), &["--json"]);
    receiver.send("").expect(0, DELIVERED);
    let line: serde_json::Value = serde_json::from_str(&receiver.stop()).unwrap();
    assert_eq!(
        line["body"],
        serde_json::json!({"state": "failed", "host": "web1"})
    );
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"POST".into(), &200.into())
    );
    assert_eq!(line["headers"]["webhook-id"], "e-1");
}

#[test]
fn a_bad_day_can_be_rehearsed() {
    let receiver = Receiver::start(Sandbox::new(), &["--fail-first", "1", "--retry-after", "0"]);
    receiver.send("").expect(0, DELIVERED);
    let shown = receiver.stop();
    assert!(
        shown.contains("-> 503 Service Unavailable") && shown.contains("-> 200 OK"),
        "{shown}"
    );

    let receiver = Receiver::start(Sandbox::new(), &["--status", "418"]);
    receiver
        .send("")
        .expect_line(69, &["1 dead (callback: 418 I'm a teapot)"]);

    let receiver = Receiver::start(Sandbox::new(), &["--drop"]);
    receiver
        .send("timeout = 1s")
        .expect_line(75, &["1 pending"]);

    let receiver = Receiver::start(Sandbox::new(), &["--delay", "1s"]);
    let started = std::time::Instant::now();
    receiver.send("").expect(0, DELIVERED);
    assert!(started.elapsed().as_millis() >= 1000);
}

#[test]
fn basic_authentication() {
    let sandbox = Sandbox::new();
    sandbox.file("password", "p-a-s-s");
    let receiver = Receiver::start(
        sandbox,
        &["--username", "anna", "--password-file", "password"],
    );
    receiver
        .send("username = anna\npassword_file = password")
        .expect(0, DELIVERED);
    receiver
        .send("username = anna\npassword = wrong")
        .expect_line(75, &["401 Unauthorized"]);
    receiver.send("").expect_line(75, &["401 Unauthorized"]);
}

#[test]
fn tls_with_a_certificate_of_its_own() {
    let receiver = Receiver::start(Sandbox::new(), &["--tls", "--save-cert", "ca.pem"]);
    assert!(receiver.name.starts_with("https://127.0.0.1:"));
    receiver.send("ca_file = ca.pem").expect(0, DELIVERED);
    receiver.send("validate_certs = false").expect(0, DELIVERED);
    let shown = receiver.stop();
    assert_eq!(shown.matches("POST").count(), 2);
}

#[test]
fn a_unix_socket() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("endpoint.sock");
    let receiver = Receiver::start(sandbox, &["--socket", path.to_str().unwrap()]);
    receiver.send("socket = endpoint.sock").expect(0, DELIVERED);
    // Relative to the file that names it, and no second listener takes it over.
    let second = receiver
        .sandbox
        .run(&["receive", "--socket", path.to_str().unwrap()]);
    second.expect_line(2, &["already exists; remove it or choose another path"]);
    receiver.stop();
    assert!(!path.exists());
}

#[test]
fn it_stops_after_a_count() {
    let mut receiver = Receiver::start(Sandbox::new(), &["--count", "2"]);
    receiver.send("").expect(0, DELIVERED);
    receiver.send("").expect(0, DELIVERED);
    assert!(receiver.child.wait().unwrap().success());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Sandbox::new()
        .run(&["receive", "--listen", &address])
        .expect_line(
            2,
            &["cannot listen on 127.0.0.1:", "Address already in use"],
        );
}

#[test]
fn what_shows_who_sends_is_not_shown() {
    for arguments in [&[][..], &["--json"]] {
        let receiver = Receiver::start(Sandbox::new(), arguments);
        let sent =
            receiver.send("headers =\n  X-Api-Key: canary-key\n  Authorization: Custom canary\n");
        assert_eq!(sent.code, 0, "{sent:?}");
        let shown = receiver.stop();
        assert!(
            shown.contains("e-1") && !shown.contains("canary"),
            "{shown}"
        );
    }
}

/// What an endpoint of `receive` says to these bytes on a connection of their own, until it is closed.
fn talk(name: &str, said: &[u8]) -> String {
    let address = name.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    stream.write_all(said).unwrap();
    let mut answer = Vec::new();
    // It may be reset: not all that was said has been read.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_has_no_password_is_refused_before_the_body_comes() {
    let sandbox = Sandbox::new();
    sandbox.file("password", "s3cret");
    let receiver = Receiver::start(
        sandbox,
        &["--username", "ops", "--password-file", "password"],
    );
    for length in ["5", "100000000000"] {
        let said = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let answer = talk(&receiver.name, said.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[test]
fn a_client_that_is_slow_or_says_too_much_is_closed_and_the_others_go_on() {
    let receiver = Receiver::start(Sandbox::new(), &[]);
    let head = "POST / HTTP/1.1\r\nHost: h\r\n";
    let cases = [
        (String::new(), ""),
        (head.to_owned(), ""),
        (format!("{head}X: {}", "x".repeat(100_000)), "HTTP/1.1 431 "),
        (format!("{head}Content-Length: 9\r\n\r\nx"), "HTTP/1.1 408 "),
        (
            format!("{head}Content-Length: 100000000\r\n\r\n"),
            "HTTP/1.1 413 ",
        ),
    ];
    std::thread::scope(|scope| {
        for (said, expected) in &cases {
            let name = &receiver.name;
            scope.spawn(move || {
                let answer = talk(name, said.as_bytes());
                assert!(answer.starts_with(expected), "{expected}: {answer}");
            });
        }
        assert_eq!(receiver.send("").code, 0);
    });
    assert_eq!(receiver.send("").code, 0);
}

#[test]
fn without_descriptors_it_waits_for_some() {
    let sandbox = Sandbox::new();
    let limited = "ulimit -n 20; exec \"$0\" \"$@\"";
    let mut command = sandbox.command(&[]);
    command = {
        let mut limiting = std::process::Command::new("/bin/sh");
        limiting
            .args(["-c", limited])
            .arg(command.get_program())
            .args(["receive", "--listen", "127.0.0.1:0"])
            .current_dir(sandbox.root())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        limiting
    };
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    let name = line.trim_end().rsplit(' ').next().unwrap().to_owned();
    let receiver = Receiver {
        child,
        name,
        sandbox,
    };
    let address = receiver.name.strip_prefix("http://").unwrap();
    let idle: Vec<_> = (0..40)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    line.clear();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains("cannot accept a connection"), "{line}");
    drop(idle);
    assert_eq!(receiver.send("").code, 0);
}
