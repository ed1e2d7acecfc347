//! A real SMTP server (aiosmtpd), with a directory and a socket of its own.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::relay::Relay;
use crate::sandbox::Sandbox;

pub struct Smtp {
    process: Child,
    mails: PathBuf,
    pub relay: Relay,
}

impl Smtp {
    /// Starts a server; smtp.py says what the options are and whom it takes mail for.
    pub fn start(sandbox: &Sandbox, options: &[&str]) -> Smtp {
        let socket = sandbox.path("smtp.sock");
        let mut process = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/smtp.py"))
            .arg(&socket)
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .expect("target/venvs/servers is needed; make target/venvs/servers/done");
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            let ended = process.try_wait().unwrap();
            let late = started.elapsed() > Duration::from_secs(20);
            assert!(
                ended.is_none() && !late,
                "smtp.py does not listen: {ended:?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Smtp {
            process,
            mails: sandbox.path("mails.json"),
            relay: Relay::to(socket),
        }
    }

    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    /// The mails so far, as Python's own parser reads them.
    pub fn mails(&self) -> Vec<Value> {
        let lines = std::fs::read_to_string(&self.mails).unwrap_or_default();
        let mails = lines.lines().map(serde_json::from_str);
        mails.collect::<Result<_, _>>().unwrap()
    }

    /// All that the clients sent, as text.
    pub fn wire(&self) -> String {
        String::from_utf8_lossy(&self.relay.record().concat()).into_owned()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python with what the tests' servers need.
fn python() -> PathBuf {
    let venvs = std::env::var_os("ANSIBLE_NOTIFY_VENVS").map(PathBuf::from);
    let venvs =
        venvs.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/venvs").into());
    venvs.join("servers/bin/python")
}
