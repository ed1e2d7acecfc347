//! The page is shown to its user only: no other user of the machine, no other site, no other machine.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::spool::{configure, event, run};
use crate::sandbox::page::{self, Answer, Served};
use crate::sandbox::{PATIENCE, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::dead_url;

/// Every kind of path that needs a token.
const PROTECTED: [&str; 18] = [
    "/",
    "/notifiers",
    "/notifiers/1",
    "/deliveries",
    "/deliveries/1",
    "/metrics",
    "/api/v1/notifiers",
    "/api/v1/deliveries",
    "/api/v1/runs",
    "/runs/r-1",
    "/runs/r-1/results",
    "/api/v1/runs/r-1/results/1",
    "/actions",
    "/trends",
    "/api/v1/trends",
    "/notifiers/1/preview",
    "/api/v1/actions",
    "/nothing",
];

/// A spool with a delivery that waits.
fn waiting() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    assert_eq!(run(&sandbox, &["send", "-"], &event("web1")).code, 75);
    sandbox
}

#[test]
fn nothing_is_shown_without_the_token_of_this_start() {
    let sandbox = waiting();
    let old = Served::start(&sandbox, &[]).token.clone().unwrap();
    let served = Served::start(&sandbox, &[]);
    let token = served.token.clone().unwrap();
    assert_eq!(token.len(), 64);
    assert_ne!(token, old);
    for path in PROTECTED {
        for credentials in [
            "",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n",
            &format!("Authorization: Bearer {old}\r\n"),
            &format!("Authorization: Basic {token}\r\n"),
            &format!(
                "Cookie: token={token}; ansible_notify_{}={token}\r\n",
                served.port()
            ),
        ] {
            let headers = format!("{}{credentials}", served.host());
            let refused = served.ask("GET", path, &headers, "");
            assert_eq!(refused.status, 401, "{path} {credentials}");
            assert!(!refused.body.contains("web1"), "{refused:?}");
            assert!(
                refused
                    .header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer")
            );
        }
        let found = served.get(path).status;
        assert!([200, 303, 404].contains(&found), "{path}: {found}");
    }
    let open = served.ask("GET", "/healthz", &served.host(), "");
    assert_eq!((open.status, open.body.as_str()), (200, "ok\n"));
}

/// The cookie of an answer, as a client sends it back.
fn cookie(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie").unwrap().split(';').next();
    format!("Cookie: other=1; {}\r\n", cookie.unwrap())
}

#[test]
fn a_browser_gets_a_cookie_for_the_token() {
    let sandbox = waiting();
    let served = Served::start(&sandbox, &[]);
    let token = served.token.clone().unwrap();
    let host = served.host();
    let form = |token: &str| served.ask("POST", "/session", &host, &format!("token={token}"));
    for wrong in ["", "x", &token[1..]] {
        let refused = form(wrong);
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(refused.header("set-cookie"), None);
    }
    let begun = form(&token);
    assert_eq!((begun.status, begun.header("location")), (303, Some("/")));
    let set = begun.header("set-cookie").unwrap();
    for part in ["; Path=/", "; HttpOnly", "; SameSite=Strict"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(
        !set.contains(&token),
        "others on this host get the cookie, too"
    );
    let headers = format!("{host}{}", cookie(&begun));
    assert_eq!(served.ask("GET", "/deliveries", &headers, "").status, 200);
    assert_eq!(served.ask("GET", "/session", &headers, "").status, 204);
    assert_eq!(served.ask("GET", "/session", &host, "").status, 401);
    let other = Served::start(&sandbox, &[]);
    let headers = format!("{}{}", other.host(), cookie(&begun));
    assert_eq!(other.ask("GET", "/deliveries", &headers, "").status, 401);

    let accepts = format!("{host}Accept: text/html\r\n");
    let asked = served.ask("GET", "/deliveries", &accepts, "");
    assert_eq!(asked.status, 401);
    let form = "<form id=\"session\"";
    assert!(asked.body.contains(form), "{}", asked.body);
    let root = sandbox.root().to_str().unwrap();
    assert!(!asked.body.contains(root), "not even where the spool is");

    let link = "/runs/r-1/results/27?a=1&b=2";
    let asked = served.ask("GET", link, &accepts, "");
    let field = "name=\"to\" value=\"/runs/r-1/results/27?a=1&amp;b=2\"";
    assert!(asked.body.contains(field), "{}", asked.body);
    let sign_in = |token: &str, to: &str| {
        let form = format!("token={token}&to={}", to.replace('&', "%26"));
        served.ask("POST", "/session", &accepts, &form)
    };
    assert!(sign_in("x", link).body.contains(field), "a wrong token");
    assert_eq!(sign_in(&token, link).header("location"), Some(link));
    for foreign in ["//evil.example/", "http://evil.example/", "/\\evil.example"] {
        assert_eq!(sign_in(&token, foreign).header("location"), Some("/"));
    }
}

#[test]
fn a_token_may_be_in_a_file_of_the_users_own() {
    let sandbox = waiting();
    let start = || Served::start(&sandbox, &["--token-file", "token"]);
    let mut served = start();
    let token = std::fs::read_to_string(sandbox.path("token")).unwrap();
    let token = token.trim().to_owned();
    let mode = sandbox
        .path("token")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!((token.len(), mode & 0o777), (64, 0o600));
    assert!(!served.line.contains(&token), "{}", served.line);
    served.token = Some(token.clone());
    assert_eq!(served.get("/notifiers").status, 200);
    drop(served);
    let mut served = start();
    served.token = Some(token);
    assert_eq!(served.get("/notifiers").status, 200);

    sandbox.mode("token", 0o644);
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--token-file", "token"];
    sandbox.run(&arguments).expect_line(
        2,
        &["`token` can be read by others (mode 0644); chmod 600 it"],
    );
    sandbox.file("token", "tiny");
    sandbox.run(&arguments).expect_line(
        2,
        &["the token in `token` is too short; it needs 32 characters"],
    );
}

#[test]
fn a_socket_is_open_to_its_user_only() {
    let sandbox = waiting();
    let path = sandbox.path("page.sock");
    let arguments = ["--socket", path.to_str().unwrap()];
    let served = Served::start(&sandbox, &arguments);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let host = "Host: localhost:8080\r\n";
    assert_eq!(served.ask("GET", "/notifiers", host, "").status, 200);
    let foreign = "Host: evil.example:8080\r\n";
    assert_eq!(served.ask("GET", "/notifiers", foreign, "").status, 403);

    let second = ["serve", "--socket", path.to_str().unwrap()];
    sandbox
        .run(&second)
        .expect_line(2, &["already exists; remove it or choose another path"]);
    // Killed, it leaves its socket behind, which the next one replaces.
    drop(served);
    assert!(path.exists());
    let served = Served::start(&sandbox, &arguments);
    assert_eq!(served.ask("GET", "/notifiers", host, "").status, 200);
    let pid = served.pid().to_string();
    let stopped = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(stopped.unwrap().success());
    let deadline = std::time::Instant::now() + PATIENCE;
    while path.exists() {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    sandbox.file("page.sock", "not a socket");
    sandbox.run(&second).expect_line(2, &["already exists"]);
}

#[test]
fn a_name_that_is_not_its_own_is_refused() {
    let sandbox = waiting();
    let served = Served::start(&sandbox, &["--host", "Ops.example.com"]);
    let (port, token) = (served.port(), served.token.as_deref().unwrap());
    let credentials = format!("Authorization: Bearer {token}\r\n");
    let status = |host: &str| {
        let headers = format!("{host}{credentials}");
        served.ask("GET", "/notifiers", &headers, "").status
    };
    for good in [
        "127.0.0.1",
        "127.9.9.9",
        "localhost",
        "LOCALHOST",
        "x.localhost",
        "[::1]",
    ] {
        assert_eq!(status(&format!("Host: {good}:{port}\r\n")), 200, "{good}");
        assert_eq!(status(&format!("Host: {good}\r\n")), 403, "{good}");
    }
    for good in ["ops.example.com", "ops.example.com:443", "ops.example.com."] {
        assert_eq!(status(&format!("Host: {good}\r\n")), 200, "{good}");
    }
    for bad in [
        "evil.example",
        "10.0.0.1",
        "localhost.evil.example",
        "a@localhost",
        "",
        "x y",
    ] {
        assert_eq!(status(&format!("Host: {bad}:{port}\r\n")), 403, "{bad}");
    }
    assert_eq!(status(""), 403);
    let twice = format!("Host: localhost:{port}\r\nHost: evil.example\r\n");
    assert_eq!(status(&twice), 403);
    let headers = format!("Host: localhost:{port}\r\n{credentials}");
    let absolute = served.ask("GET", "http://evil.example/notifiers", &headers, "");
    assert_eq!(absolute.status, 403);
}

#[test]
fn what_another_site_makes_a_browser_send_is_refused() {
    let sandbox = waiting();
    let served = Served::start(&sandbox, &[]);
    let allowed = served.allowed();
    let own = format!("Origin: http://{}\r\n", served.place);
    let token = format!("token={}", served.token.as_deref().unwrap());
    for (headers, get, post) in [
        ("", 200, 303),
        (own.as_str(), 200, 303),
        ("Origin: http://evil.example\r\n", 403, 403),
        ("Origin: null\r\n", 403, 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200, 303),
        ("Sec-Fetch-Site: none\r\n", 200, 303),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n",
            403,
            403,
        ),
        (
            "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",
            403,
            403,
        ),
        // A link that is followed; a form that is sent.
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            200,
            403,
        ),
    ] {
        let headers = format!("{allowed}{headers}");
        for path in ["/notifiers", "/api/v1/notifiers", "/metrics"] {
            assert_eq!(
                served.ask("GET", path, &headers, "").status,
                get,
                "{headers}"
            );
        }
        let answer = served.ask("POST", "/session", &headers, &token);
        assert_eq!(answer.status, post, "{headers}");
    }
    for (method, path) in [
        ("POST", "/notifiers"),
        ("DELETE", "/deliveries/1"),
        ("PUT", "/"),
    ] {
        let refused = served.ask(method, path, &allowed, "");
        assert_eq!(refused.status, 405, "{method} {path}");
    }
}

#[test]
fn every_answer_is_protected_and_no_page_has_inline_code() {
    let sandbox = waiting();
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/notifiers").body;
    let assets = page.split('"').filter(|part| part.starts_with("/assets/"));
    let assets: Vec<&str> = assets.collect();
    assert_eq!(assets.len(), 3, "{page}");
    let mut size = 0;
    let paths = PROTECTED.into_iter().chain(assets).chain([
        "/healthz",
        "/session",
        "/assets/none.css",
        "/deliveries?state=open",
        "/deliveries?state=dead",
    ]);
    let allowed = format!("{}Accept: text/html\r\n", served.allowed());
    let bare = format!("{}Accept: text/html\r\n", served.host());
    for said in [
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "G\0T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
    ] {
        let refused = page::answer(&served.talk(said.as_bytes()));
        assert!([400, 431].contains(&refused.status), "{refused:?}");
        let asked = served.ask("GET", "/", "Host: evil.example\r\n", "");
        for (name, value) in &asked.headers {
            let is_of_content = name.starts_with("content-") && *name != "content-security-policy";
            if !is_of_content && name != "date" {
                assert_eq!(refused.header(name), Some(value.as_str()), "{said}");
            }
        }
    }
    for path in paths {
        for (method, headers) in [
            ("GET", allowed.as_str()),
            ("HEAD", &allowed),
            ("POST", &allowed),
            ("GET", &bare),
            ("GET", "Host: evil.example\r\n"),
        ] {
            let answer = served.ask(method, path, headers, "");
            let policy = answer.header("content-security-policy").expect(path);
            assert!(
                policy.starts_with("default-src 'none'; script-src 'self';"),
                "{policy}"
            );
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
            assert_eq!(answer.header("access-control-allow-origin"), None);
            let is_asset = path.starts_with("/assets/page") || path.starts_with("/assets/icon");
            if !(is_asset && answer.status == 200) {
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            } else if method == "GET" && headers == allowed {
                size += answer.body.len();
            }
            for inline in [
                " style=",
                "<style",
                " onclick",
                " onerror",
                "javascript:",
                "<script>",
            ] {
                let is_page = answer
                    .header("content-type")
                    .is_some_and(|kind| kind.contains("html"));
                assert!(
                    !is_page || !answer.body.contains(inline),
                    "{path}: {inline}"
                );
            }
            assert!(
                !answer.body.contains(served.token.as_deref().unwrap()),
                "{path}"
            );
        }
    }
    assert!(size < 40 << 10, "{size} bytes of style and script");
}

#[test]
fn other_machines_need_tls_and_a_password_or_a_proxy() {
    let sandbox = certified_sandbox();
    sandbox.file("password", "a-long-password");
    let start = |arguments: &[&str]| {
        let all = [&["serve", "--listen", "0.0.0.0:0"], arguments].concat();
        sandbox.run(&all)
    };
    let tls = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
    let password = ["--username", "ops", "--password-file", "password"];
    let reached = "can be reached from other machines; that needs `--tls-cert`";
    start(&[]).expect_line(2, &[reached]);
    start(&tls).expect_line(2, &[reached]);
    start(&password).expect_line(2, &[reached]);
    start(&["--token-file", "token"]).expect_line(2, &[reached]);
    start(&["--trust-header", "X-User"]).expect_line(2, &["`--trust-header` needs `--socket`"]);

    let arguments = [&["--listen", "0.0.0.0:0"][..], &tls, &password].concat();
    let served = Served::start(&sandbox, &arguments);
    let url = format!("https://localhost:{}/notifiers", served.port());
    let own = format!("127.0.0.1:{}", served.port());
    let ask = |host: &str, more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--cacert",
            "ca.pem",
            "--write-out",
            "%{http_code}",
        ]);
        curl.args([
            "--header",
            &format!("Host: {host}"),
            "--output",
            "/dev/null",
            &url,
        ]);
        let output = curl
            .args(more)
            .current_dir(sandbox.root())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&own, &[]), "401");
    assert_eq!(ask(&own, &["--user", "ops:wrong"]), "401");
    assert_eq!(ask(&own, &["--user", "other:a-long-password"]), "401");
    assert_eq!(ask(&own, &["--user", "ops:a-long-password"]), "200");
    assert_eq!(
        ask("evil.example", &["--user", "ops:a-long-password"]),
        "403"
    );
}

#[test]
fn only_the_proxy_may_name_the_user() {
    let sandbox = waiting();
    let arguments = ["--trust-header", "X-Forwarded-User", "--proxy", "127.0.0.1"];
    let served = Served::start(&sandbox, &arguments);
    let status = |headers: &str| {
        let headers = format!("{}{headers}", served.host());
        served.ask("GET", "/notifiers", &headers, "").status
    };
    assert_eq!(status("X-Forwarded-User: anna\r\n"), 200);
    assert_eq!(status(""), 403);
    assert_eq!(status("X-Forwarded-User: \r\n"), 403);
    assert_eq!(
        status("X-Forwarded-User: anna\r\nX-Forwarded-User: ben\r\n"),
        403
    );
    let from = [
        "--interface",
        "127.0.0.2",
        "--header",
        "X-Forwarded-User: anna",
    ];
    let url = format!("http://{}/notifiers", served.place);
    let asked = Command::new("curl")
        .arg("--silent")
        .args(from)
        .arg(url)
        .output();
    let said = String::from_utf8(asked.unwrap().stdout).unwrap();
    assert!(said.contains("only the proxy may connect"), "{said}");

    let path = sandbox.path("page.sock");
    let arguments = [
        "--trust-header",
        "X-Forwarded-User",
        "--socket",
        path.to_str().unwrap(),
    ];
    let served = Served::start(&sandbox, &arguments);
    let host = served.host();
    assert_eq!(served.ask("GET", "/notifiers", &host, "").status, 403);
    let named = format!("{host}X-Forwarded-User: anna\r\n");
    assert_eq!(served.ask("GET", "/notifiers", &named, "").status, 200);
}

#[test]
fn a_client_that_takes_too_much_is_refused_and_the_others_go_on() {
    let sandbox = waiting();
    let served = Served::start(&sandbox, &[]);
    let head = format!(
        "POST /session HTTP/1.1\r\nConnection: close\r\n{}",
        served.host()
    );
    let cases = [
        (String::new(), ""),
        (head.clone(), ""),
        (format!("{head}X: {}", "x".repeat(100_000)), "HTTP/1.1 431 "),
        (format!("{head}Content-Length: 9\r\n\r\nx"), "HTTP/1.1 408 "),
        (
            format!(
                "{head}Content-Length: 1048577\r\n\r\n{}",
                "x".repeat(1_048_577)
            ),
            "HTTP/1.1 413 ",
        ),
    ];
    // More than it serves at once; those that say nothing are closed.
    let idle = || TcpStream::connect(&served.place).unwrap();
    let idle: Vec<TcpStream> = (0..70).map(|_| idle()).collect();
    std::thread::scope(|scope| {
        for (said, expected) in &cases {
            let served = &served;
            scope.spawn(move || {
                let answer = served.talk(said.as_bytes());
                assert!(answer.starts_with(expected), "{expected}: {answer}");
            });
        }
        assert_eq!(served.get("/notifiers").status, 200);
    });
    drop(idle);
}
