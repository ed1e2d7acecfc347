//! Collectors of OpenTelemetry: one that decodes and refuses as the standard says (otlp.py), and a real one (rotel).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::sandbox::{PATIENCE, Sandbox};

pub struct Collector {
    process: Child,
    port: u16,
    taken: PathBuf,
}

impl Collector {
    pub fn start(sandbox: &Sandbox) -> Collector {
        let taken = sandbox.path("taken.jsonl");
        let mut process = Command::new(venv("bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server/otlp.py"))
            .arg(&taken)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("target/venvs/servers is needed; make target/venvs/servers/done");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let port = line.trim().parse();
        Collector {
            process,
            port: port.unwrap_or_else(|_| panic!("otlp.py does not listen: {line}")),
            taken,
        }
    }

    pub fn url(&self, mode: &str) -> String {
        format!("http://127.0.0.1:{}/{mode}", self.port)
    }

    /// The requests that it took.
    pub fn requests(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.taken).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    /// The items of a signal that it took.
    pub fn items(&self, signal: &str) -> Vec<Value> {
        let mut items = Vec::new();
        for mut request in self.requests() {
            if request["signal"] == signal {
                items.append(request["items"].as_array_mut().unwrap());
            }
        }
        items
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The attributes of an item, by key.
pub fn attributes(item: &Value) -> BTreeMap<String, Value> {
    let all = item["attributes"].as_array().cloned().unwrap_or_default();
    let attribute = |one: Value| {
        let value = one["value"]
            .as_object()
            .and_then(|value| value.values().next());
        (
            one["key"].as_str().unwrap().to_owned(),
            value.cloned().unwrap_or_default(),
        )
    };
    all.into_iter().map(attribute).collect()
}

/// rotel, a collector that writes what it gets to its log.
pub struct Rotel {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Rotel {
    pub fn start(sandbox: &Sandbox) -> Rotel {
        let [http, grpc] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, grpc] = [http, grpc].map(|listener| listener.local_addr().unwrap().port());
        let log = sandbox.path("rotel.log");
        let output = std::fs::File::create(&log).unwrap();
        let packages = std::fs::read_dir(venv("lib")).expect("target/venvs/servers is needed");
        let mut agents = packages.map(|entry| {
            let packages = entry.unwrap().path().join("site-packages");
            packages.join("rotel/rotel-agent")
        });
        let agent = agents.find(|path| path.exists());
        let mut process = Command::new(agent.expect("the package rotel is needed"))
            .args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log-verbosity",
                "detailed",
            ])
            .args([
                "--debug-log",
                "traces",
                "--debug-log",
                "logs",
                "--debug-log",
                "metrics",
            ])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .current_dir(sandbox.root())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", http)).is_err() {
            let ended = process.try_wait().unwrap();
            let log = std::fs::read_to_string(&log).unwrap();
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "rotel: {log}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Rotel {
            process,
            port: http,
            log,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until its log has these texts.
    #[track_caller]
    pub fn expect(&self, texts: &[&str]) {
        let began = Instant::now();
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            let missing = texts.iter().find(|text| !log.contains(**text));
            let Some(missing) = missing else { return };
            assert!(began.elapsed() < PATIENCE, "no `{missing}` in {log}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn venv(path: &str) -> String {
    format!("{}/target/venvs/servers/{path}", env!("CARGO_MANIFEST_DIR"))
}
