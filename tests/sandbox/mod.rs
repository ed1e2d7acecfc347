//! A directory of its own for each test, and the binary run in it.

mod canary;
mod config;
pub mod fleet;
pub mod page;
pub mod spooled;

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

pub use config::Config;

/// Time after which something that must happen has not happened: far above what a busy machine takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_ansible-notify");

pub struct Sandbox {
    directory: TempDir,
    /// Commands run so far.
    runs: AtomicU32,
}

/// A run of the binary that goes on beside the test. It ends with the test, even if that panics.
pub struct Beside(Option<Child>);

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox {
            directory: tempfile::tempdir().unwrap(),
            runs: AtomicU32::new(0),
        }
    }

    /// A sandbox whose project is configured by `config`.
    pub fn with_config(config: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.file("plugin_config.ini", config);
        sandbox
    }

    /// A sandbox that sends everything to `url`, with the payload `{"state": …, "host": …}`.
    pub fn sending_to(url: &str) -> Sandbox {
        Sandbox::with_config(&config_for(url))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file that only its owner can read.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        self.mode(name, 0o600);
        path
    }

    pub fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The binary with its arguments, in this directory and with nothing of the user's environment. Each
    /// has a spool of its own: an id is delivered only once.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.program(BINARY, arguments)
    }

    /// The same with one spool for all that are made here.
    pub fn command_on_spool(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command.env("XDG_STATE_HOME", self.path("state"));
        command
    }

    /// The binary, which gets no more than 64 MiB of memory.
    pub fn command_in_little_memory(&self, arguments: &[&str]) -> Command {
        let limited = ["-c", "ulimit -d 65536; exec \"$0\" \"$@\"", BINARY];
        self.program("sh", &[&limited, arguments].concat())
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let number = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_STATE_HOME", self.path(&format!("state-{number}")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command(arguments).spawn().unwrap())
    }

    pub fn run_on_spool(&self, arguments: &[&str]) -> Outcome {
        outcome(self.command_on_spool(arguments).spawn().unwrap())
    }

    /// The same, while the test goes on.
    pub fn start_on_spool(&self, arguments: &[&str]) -> Beside {
        let child = self.command_on_spool(arguments).spawn().unwrap();
        Beside(Some(child))
    }

    /// The same as `run_with_input`, and how much memory it took at the most, in KiB.
    pub fn run_measured(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> (Outcome, usize) {
        let input = self.file("input-of-a-measured-run", input);
        let mut command = self.measured(arguments);
        command.stdin(File::open(input).unwrap());
        let outcome = outcome(command.spawn().unwrap());
        (outcome, self.peak())
    }

    /// The binary, whose use of memory is known when it has ended.
    pub fn measured(&self, arguments: &[&str]) -> Command {
        let script = "import resource, subprocess, sys\n\
            code = subprocess.call(sys.argv[2:])\n\
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)\n\
            open(sys.argv[1], 'w').write(str(usage.ru_maxrss))\n\
            sys.exit(code)";
        let peak = self.path("peak");
        let first = ["-c", script, peak.to_str().unwrap(), BINARY];
        self.program("python3", &[&first, arguments].concat())
    }

    /// The memory that the last measured run took at the most, in KiB.
    pub fn peak(&self) -> usize {
        let text = std::fs::read_to_string(self.path("peak")).unwrap();
        text.parse().unwrap()
    }

    pub fn run_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Outcome {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        // A binary that stops early closes the pipe; its outcome is what the test looks at.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let outcome = outcome(child);
        writer.join().unwrap();
        outcome
    }

    /// Waits until an attempt of the first delivery has failed for this reason.
    #[track_caller]
    pub fn expect_reason(&self, reason: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let history = self.run_on_spool(&["history", "1"]).stdout;
            if history.contains(reason) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{history}");
            self.run_on_spool(&["flush"]);
        }
    }
}

impl Beside {
    /// Waits until it has ended.
    pub fn outcome(mut self) -> Outcome {
        outcome(self.0.take().unwrap())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn outcome(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    let outcome = Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    outcome
}

impl Outcome {
    #[track_caller]
    pub fn expect(&self, code: i32, stderr: &str) {
        assert_eq!(
            (self.code, self.stderr.as_str()),
            (code, stderr),
            "{self:?}"
        );
    }

    /// Standard error is this one line, apart from what varies.
    #[track_caller]
    pub fn expect_line(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no `{part}` in {self:?}");
        }
    }
}

impl Outcome {
    /// Standard error is a warning that holds these, and the summary of what waits for it.
    #[track_caller]
    pub fn expect_warning(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{self:?}");
        for part in ["warning: "].iter().chain(parts) {
            assert!(lines[0].contains(part), "no `{part}` in {self:?}");
        }
        assert!(lines[1].contains(" pending until "), "{self:?}");
    }
}

/// A configuration that sends `state` and `host` of every result to `url`.
pub fn config_for(url: &str) -> String {
    Config::to(url).text()
}

/// Tests all cases at once, where each of them waits more than it works.
pub fn side_by_side<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}
