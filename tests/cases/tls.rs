//! Every bad TLS set-up ends before one byte of what is to be delivered has gone out.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, SanType, date_time_ymd,
};

use crate::sandbox::{PATIENCE, Sandbox, side_by_side};
use crate::server::certificates::{Authority, Identity};
use crate::server::nginx::Nginx;
use crate::server::relay::Relay;

const CANARY: &str = "canary-7d1f";
/// Longer than a whole handshake, so that not even an encrypted one would pass unseen.
const PAYLOAD: usize = 64 << 10;
const TLS: &str = "ssl_certificate server.pem; ssl_certificate_key server.key;\n";
/// Lets nginx serve what it no longer would by itself.
const OLD: &str = "ssl_ciphers ALL:@SECLEVEL=0;";

/// Sends an event full of canaries to `host`, which must fail for `reason` and leave nothing on the wire.
#[track_caller]
fn refuses(
    sandbox: &Sandbox,
    authority: &Authority,
    relay: &Relay,
    host: &str,
    keys: &str,
    reason: &str,
) {
    sandbox.file("ca.pem", authority.pem());
    let origin = format!("https://{host}:{}", relay.port());
    sandbox.file("plugin_config.ini", format!(
        "[inputs]\ncallback_url = {origin}/{CANARY}?{CANARY}\nusername = {CANARY}\npassword = {CANARY}\nheaders = X-Key: {CANARY}\nca_file = ca.pem\n{keys}\n\
         [delivery]\ndrain = 2\n[outputs]\nsecret = '{CANARY}'\ntext = result.text\n"
    ));
    let event = serde_json::json!({"state": "failed", "host": "h", "result": {"text": CANARY.repeat(PAYLOAD / CANARY.len())}});
    let outcome = sandbox.run_with_input(&["send", "-"], event.to_string());
    outcome.expect_line(
        75,
        &[
            &format!("1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: {origin}: "),
            reason,
        ],
    );
    assert!(!outcome.stderr.contains(CANARY), "{outcome:?}");
    let reached = !relay.record().is_empty();
    assert!(reached && !shows_canary(relay), "{reason}");
}

fn shows_canary(relay: &Relay) -> bool {
    let record = relay.record().concat();
    let mut windows = record.windows(CANARY.len());
    windows.any(|window| window == CANARY.as_bytes())
}

/// Whatever went out is too short to hold the payload, encrypted or not.
#[track_caller]
fn nothing_went_out(relay: &Relay) {
    for bytes in relay.record() {
        assert!(bytes.len() < PAYLOAD / 8, "{} bytes", bytes.len());
    }
}

/// A certificate that only the openssl command still makes.
fn made_by_openssl(authority: &Authority, options: &str) -> Identity {
    let sandbox = Sandbox::new();
    sandbox.file("ca.pem", authority.pem());
    sandbox.file("ca.key", authority.key());
    sandbox.file("req.cnf", "[req]\ndistinguished_name = name\n[name]\n");
    let common = "req -x509 -config req.cnf -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                  -CA ca.pem -CAkey ca.key -out server.pem -keyout server.key -days 2";
    let output = Command::new("openssl")
        .args(common.split_whitespace().chain(options.split(' ')))
        .current_dir(sandbox.root())
        .output()
        .expect("openssl is needed");
    assert!(output.status.success(), "{output:?}");
    let read = |name| std::fs::read_to_string(sandbox.path(name)).unwrap();
    Identity {
        chain: read("server.pem"),
        key: read("server.key"),
    }
}

#[test]
fn a_server_that_proves_nothing_gets_nothing() {
    let authority = Authority::new("private");
    let good = || authority.sign(|_| {});
    let intermediate = authority.below(|_| {});
    let unknown = "invalid peer certificate: UnknownIssuer; for a private CA, set `ca_file`)";
    let forged = "invalid peer certificate: BadSignature; signed with a different key, or with one that is too weak)";
    let cases = [
        (
            authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            "",
            "localhost",
            "invalid peer certificate: certificate expired: ",
        ),
        (
            authority.sign(|params| params.not_before = date_time_ymd(2120, 1, 1)),
            "",
            "localhost",
            "invalid peer certificate: certificate not valid yet: ",
        ),
        (
            authority.sign(|params| params.subject_alt_names = names("other.example")),
            "",
            "localhost",
            "invalid peer certificate: certificate not valid for name \"localhost\"; certificate is only valid for other.example)",
        ),
        // The common name, which once counted, is none of `localhost`'s business.
        (
            authority.sign(|params| {
                params.subject_alt_names = vec![];
                params
                    .distinguished_name
                    .push(DnType::CommonName, "localhost");
            }),
            "",
            "localhost",
            "invalid peer certificate: certificate not valid for name \"localhost\"; certificate is not valid for any names",
        ),
        (
            good(),
            "",
            "127.0.0.1",
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"; certificate is only valid for localhost)",
        ),
        (Identity::self_signed(), "", "localhost", unknown),
        (
            Authority::new("stranger").sign(|_| {}),
            "",
            "localhost",
            unknown,
        ),
        (
            Authority::new("private").sign(|_| {}),
            "",
            "localhost",
            forged,
        ),
        // The intermediate authority is not sent along.
        (intermediate.sign(|_| {}), "", "localhost", unknown),
        (
            through(&authority.below(|params| params.is_ca = IsCa::ExplicitNoCa)),
            "",
            "localhost",
            "invalid peer certificate: Other(OtherError(EndEntityUsedAsCa)))",
        ),
        (
            through(&authority.below(|params| {
                params.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".into())],
                    excluded_subtrees: vec![],
                });
            })),
            "",
            "localhost",
            "invalid peer certificate: Other(OtherError(NameConstraintViolation))",
        ),
        (
            Identity {
                chain: authority.pem(),
                key: authority.key(),
            },
            "",
            "localhost",
            "invalid peer certificate: CaUsedAsEndEntity; it is a CA certificate",
        ),
        (
            authority.sign(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
            "",
            "localhost",
            "invalid peer certificate: certificate does not allow extended key usage for server authentication",
        ),
        (
            made_by_openssl(&authority, "-newkey rsa:1024"),
            OLD,
            "localhost",
            forged,
        ),
        (
            made_by_openssl(&authority, "-newkey rsa:2048 -sha1"),
            OLD,
            "localhost",
            "invalid peer certificate: UnsupportedSignatureAlgorithmContext; its algorithm is too weak, such as SHA-1)",
        ),
        (
            good(),
            "ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;",
            "localhost",
            "received fatal alert: ProtocolVersion; the server supports neither TLS 1.2 nor 1.3)",
        ),
        (
            good(),
            "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-SHA;",
            "localhost",
            "received fatal alert: HandshakeFailure; no cipher in common)",
        ),
    ];
    side_by_side(&cases, |(identity, directives, host, reason)| {
        let sandbox = Sandbox::new();
        sandbox.file("server.pem", &identity.chain);
        sandbox.file("server.key", &identity.key);
        let nginx = Nginx::start(&sandbox, " ssl", &format!("{TLS}{directives}"));
        refuses(&sandbox, &authority, &nginx.relay, host, "", reason);
        nothing_went_out(&nginx.relay);
        assert_eq!(nginx.requests().len(), 0, "{reason}");
    });
}

fn names(name: &str) -> Vec<SanType> {
    vec![SanType::DnsName(name.try_into().unwrap())]
}

/// A good certificate of an authority below the trusted one, and that one's own with it.
fn through(authority: &Authority) -> Identity {
    let mut identity = authority.sign(|_| {});
    identity.chain.push_str(&authority.pem());
    identity
}

/// A server on a socket of the sandbox that does what no real one does.
fn peer(sandbox: &Sandbox, answer: &'static [u8]) -> Relay {
    let socket = sandbox.path("peer.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(answer);
        }
    });
    Relay::to(socket)
}

#[test]
fn a_peer_that_speaks_no_tls_gets_nothing() {
    let no_tls = "received corrupt message of type InvalidContentType; does this port use TLS?)";
    let closed = "tls handshake eof; the server closed the connection)";
    let cases: [(&[u8], &str); 4] = [
        (b"", closed),
        (b"SSH-2.0-OpenSSH_9.2\r\n", no_tls),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", no_tls),
        // A record that announces more than it brings.
        (b"\x16\x03\x03\x40\x00\x02", closed),
    ];
    let authority = Authority::new("private");
    side_by_side(&cases, |(answer, reason)| {
        let sandbox = Sandbox::new();
        let relay = peer(&sandbox, answer);
        refuses(&sandbox, &authority, &relay, "localhost", "", reason);
        nothing_went_out(&relay);
    });
}

#[test]
fn plain_http_behind_an_https_url_gets_nothing() {
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    let authority = Authority::new("private");
    refuses(
        &sandbox,
        &authority,
        &nginx.relay,
        "localhost",
        "",
        "received corrupt message",
    );
    nothing_went_out(&nginx.relay);
    // All that it saw is what a handshake begins with.
    assert!(
        nginx
            .requests()
            .iter()
            .all(|request| request["status"] == "400")
    );
}

/// Unlike nginx, it refuses a client within the handshake.
struct Strict(Child);

impl Strict {
    fn start(sandbox: &Sandbox) -> Strict {
        let arguments = "s_server -unix strict.sock -cert server.pem -key server.key -CAfile ca.pem -Verify 1 -verify_return_error -quiet";
        let output = std::fs::File::create(sandbox.path("output")).unwrap();
        let process = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(sandbox.root())
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn();
        let server = Strict(process.expect("openssl is needed"));
        let started = Instant::now();
        while !sandbox.path("strict.sock").exists() {
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_that_refuses_the_client_gets_nothing() {
    let authority = Authority::new("private");
    let stranger = Authority::new("stranger").sign(|_| {});
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let cases = [
        (None, "alert: CertificateRequired; set `client_cert`)"),
        (
            Some(&stranger),
            "alert: UnknownCA; the server rejected the client certificate)",
        ),
        (
            Some(&expired),
            "alert: CertificateExpired; the server rejected the client certificate)",
        ),
    ];
    side_by_side(&cases, |&(client, reason)| {
        let sandbox = Sandbox::new();
        let server = authority.sign(|_| {});
        sandbox.file("ca.pem", authority.pem());
        sandbox.file("server.pem", &server.chain);
        sandbox.file("server.key", &server.key);
        if let Some(client) = client {
            sandbox.file("client.pem", format!("{}{}", client.chain, client.key));
        }
        let server = Strict::start(&sandbox);
        let relay = Relay::to(sandbox.path("strict.sock"));
        let keys = client.map_or("", |_| "client_cert = client.pem");
        refuses(&sandbox, &authority, &relay, "localhost", keys, reason);
        drop(server);
        let output = std::fs::read(sandbox.path("output")).unwrap();
        assert_eq!(String::from_utf8_lossy(&output), "", "{reason}");
    });
}

#[test]
fn without_tls_the_canary_would_be_seen() {
    let sandbox = Sandbox::new();
    let nginx = Nginx::start(&sandbox, "", "");
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[inputs]\ncallback_url = {}\n[outputs]\nsecret = '{CANARY}'\n",
            nginx.url()
        ),
    );
    sandbox.run_with_input(&["send", "-"], r#"{"state":"failed"}"#);
    assert!(shows_canary(&nginx.relay));
}

#[test]
fn an_unchecked_certificate_is_warned_of() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = https://ops.example/\nvalidate_certs = no\n",
    );
    let shown = sandbox.run(&["check-config"]).stderr;
    let warning = "plugin_config.ini:3: certificates are not checked, so anyone on the path can impersonate the endpoint";
    assert!(shown.contains(warning), "{shown}");
}
