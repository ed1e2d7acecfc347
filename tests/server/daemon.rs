//! A real server that says in its log on which port it listens.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

pub struct Daemon {
    process: Child,
    address: String,
}

impl Daemon {
    /// Starts `prometheus-alertmanager`.
    pub fn alertmanager(sandbox: &Sandbox) -> Daemon {
        let config = "route:\n  receiver: none\nreceivers:\n  - name: none\n";
        sandbox.file("alertmanager.yml", config);
        let arguments = [
            "--config.file=alertmanager.yml",
            "--storage.path=alerts",
            "--cluster.listen-address=",
        ];
        Daemon::start(sandbox, "prometheus-alertmanager", &arguments)
    }

    /// Starts `prometheus-pushgateway`.
    pub fn pushgateway(sandbox: &Sandbox) -> Daemon {
        Daemon::start(sandbox, "prometheus-pushgateway", &[])
    }

    fn start(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> Daemon {
        let log = std::fs::File::create(sandbox.path("daemon.log")).unwrap();
        let mut process = Command::new(program)
            .args(arguments)
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(sandbox.root())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be run; is it installed? {error}"));
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = std::fs::read_to_string(sandbox.path("daemon.log")).unwrap();
            let address = log
                .lines()
                .find_map(|line| line.split_once("\"Listening on\" address="));
            if let Some((_, address)) = address {
                let address = address.split(' ').next().unwrap().to_owned();
                return Daemon { process, address };
            }
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{program}: {log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of its root.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers to a GET.
    pub fn get(&self, path: &str) -> String {
        let output = Command::new("curl")
            .args(["-sSf", "--noproxy", "*", &format!("{}{path}", self.url())])
            .output()
            .unwrap();
        assert!(output.status.success(), "{path}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
