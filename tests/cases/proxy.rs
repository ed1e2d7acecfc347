//! Proxies that speak SOCKS, and those that nobody knows.

use crate::sandbox::{Config, Sandbox};
use crate::server::socks::Socks;
use crate::server::{OK, Server};

const FAILED: &str = r#"{"state":"failed","host":"web1"}"#;

#[test]
fn a_socks_proxy_is_spoken_to() {
    let target = "nowhere.invalid";
    for (scheme, user, login) in [
        ("socks5", "", None),
        ("socks5h", "", None),
        ("socks5h", "anna:s3cret@", Some(("anna", "s3cret"))),
    ] {
        let server = Server::start([OK]);
        let address = server.at("").replace("http://", "");
        let proxy = Socks::start(&address, login);
        // Only the proxy can say where the host is.
        let url = server.url().replace("127.0.0.1", target);
        let key = format!("proxy = {}", proxy.url(scheme, user));
        let config = Config::to(&url).with(&key).text();
        let sent = Sandbox::with_config(&config).run_with_input(&["send", "-"], FAILED);
        assert_eq!(sent.code, 0, "{scheme}: {sent:?}");
        assert_eq!(
            (server.requests().len(), proxy.targets()),
            (1, vec![target.to_owned()])
        );
    }
}

#[test]
fn what_a_socks_proxy_refuses_waits_and_names_it() {
    let proxy = Socks::start("127.0.0.1:9", Some(("anna", "s3cret")));
    let url = proxy.url("socks5h", "anna:canary@");
    let config = Config::to("http://nowhere.invalid/")
        .with(&format!("proxy = {url}"))
        .delivery("drain = 1");
    let sent = Sandbox::with_config(&config.text()).run_with_input(&["send", "-"], FAILED);
    let shown = format!("(proxy {})", proxy.url("socks5h", ""));
    sent.expect_line(75, &[&shown]);
    assert!(!sent.stderr.contains("canary"), "{sent:?}");
}

#[test]
fn a_proxy_that_speaks_something_else_is_refused_with_its_line() {
    for proxy in [
        "ftp://localhost:21",
        "socks4://localhost:1080",
        "socks://localhost:1080",
        "localhost:3128",
    ] {
        let key = format!("proxy = {proxy}");
        let config = Config::to("http://localhost/").with(&key).text();
        let checked = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(checked.code, 78, "{checked:?}");
        let problem = "plugin_config.ini:3: `proxy` must be `env`, or a URL such as http://proxy.example.com:3128";
        assert!(checked.stderr.contains(problem), "{checked:?}");
    }
}
