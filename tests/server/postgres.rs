//! A real PostgreSQL in a directory of its own. Its programs refuse to run as root, so root runs them as `postgres`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::sandbox::PATIENCE;

const PASSWORD: &str = "canary-of-postgres";

/// A server, which is stopped when it is dropped.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Postgres {
    /// Makes a new database cluster and starts its server.
    pub fn start() -> Postgres {
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            expect(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let data = folder.path().join("data");
        let file = format!("--pwfile={}", folder.path().join("password").display());
        let arguments = [
            "--auth=scram-sha-256",
            "--username=postgres",
            "--no-sync",
            &file,
            "-D",
        ];
        expect(program("initdb").args(arguments).arg(&data));
        // Nobody else listens there: the port was free a moment ago.
        let any = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Postgres {
            folder,
            port: any.local_addr().unwrap().port(),
            process: None,
        };
        drop(any);
        server.restart();
        server
    }

    /// Starts the server again, and waits until it answers.
    pub fn restart(&mut self) {
        let process = program("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"])
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while self.ask("SELECT 1").is_none() {
            assert!(Instant::now() < deadline, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server and all its sessions at once, as a crash would.
    pub fn crash(&mut self) {
        let data = self.data();
        let mut stop = program("pg_ctl");
        expect(stop.args(["stop", "-m", "immediate", "-D"]).arg(data));
        self.process.take().unwrap().wait().unwrap();
    }

    /// The answer to a question in SQL.
    pub fn ask(&self, sql: &str) -> Option<String> {
        let asked = Command::new("psql")
            .args(["-X", "-t", "-A", "-c", sql, &self.url()])
            .output()
            .unwrap();
        let text = String::from_utf8(asked.stdout).unwrap();
        asked.status.success().then(|| text.trim().to_owned())
    }

    /// The section of `relay.ini` for it.
    pub fn section(&self) -> String {
        format!("[postgres]\nurl = {}\nmax_size = 64MiB\n", self.url())
    }

    fn url(&self) -> String {
        let port = self.port;
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.crash();
        }
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A program of the newest version that is installed.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.expect("tests/setup.sh psql=postgresql");
    let newest = versions.map(|one| one.unwrap().path()).max().unwrap();
    let path = newest.join("bin").join(name);
    let mut command = match is_root() {
        true => Command::new("setpriv"),
        false => Command::new(&path),
    };
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(path);
    }
    command.current_dir(Path::new("/"));
    command
}

#[track_caller]
fn expect(command: &mut Command) {
    let ended = command.stdout(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}
