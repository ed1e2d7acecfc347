//! `demo`: a recorded run is sent to services on this machine, and what they got is shown.

mod recording;
mod services;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::cli::demo::Demo;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::exit::Exit;
use crate::net::server::{self, Listener};
use services::Services;

/// The configuration; `{address}` is that of the services.
const CONFIG: &str = include_str!("plugin_config.ini");
const CONFIG_FILE: &str = "plugin_config.ini";
const RECORDING: &str = "run.ndjson";
/// Any free port that only this machine reaches.
const FREE: &str = "127.0.0.1:0";
/// Variables that the commands inherit. Others may name an endpoint, a proxy or a spool.
const INHERITED: [&str; 9] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "LANG",
    "LC_ALL",
    "NO_COLOR",
    "TERM",
    "TZ",
];
/// Interval between two looks whether a command has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `demo`.
pub async fn run(arguments: Demo) -> Exit {
    match LocalSet::new().run_until(play(&arguments)).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            stderr::say(format!("{error:#}"));
            Exit::Unexpected
        }
    }
}

/// Plays the demo until its end or a signal, in a folder that is then removed.
async fn play(arguments: &Demo) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("ansible-notify-demo-")
        .disable_cleanup(arguments.keep)
        .tempdir()
        .context("cannot create a folder for the demo")?;
    let stage = Stage {
        folder: folder.path(),
        program: std::env::current_exe().context("cannot find this program")?,
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shown = tokio::select! {
        shown = stage.show(arguments) => shown,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if arguments.keep {
        let kept = stage.folder.display();
        stdout::show(&format!(
            "\nThe folder is kept. `cd {kept}`: there, `history`, `serve` and the others show this run.\n"
        ));
    }
    shown
}

/// The folder in which the demo takes place, and the program that plays it.
struct Stage<'a> {
    folder: &'a Path,
    program: PathBuf,
}

impl Stage<'_> {
    async fn show(&self, arguments: &Demo) -> Result<()> {
        let listener = Listener::bind(FREE, None, false).await?;
        let address = listener.name("http")?;
        let services = Rc::new(Services::default());
        let answering = services.clone();
        tokio::task::spawn_local(async move {
            server::accept(&listener, &answering, None).await;
        });
        let config = CONFIG.replace("{address}", &address);
        self.write(CONFIG_FILE, &config)?;
        self.write(RECORDING, &recording::ending_at(Timestamp::now())?)?;
        stdout::show(&format!(
            "A recorded run of Ansible is sent to three services, which this program plays at {address}.\n\
             Everything is in {}.\n",
            self.folder.display()
        ));
        heading("$ cat plugin_config.ini");
        stdout::show(&config);
        let delivered = self.run(&["stream", "--config", CONFIG_FILE]).await?;
        ensure!(delivered.success(), "the demo could not deliver everything");
        heading("What the services got:");
        stdout::show_styled(&services.table());
        self.run(&["status"]).await?;
        self.run(&["runs", "last"]).await?;
        if arguments.serve || std::io::stdout().is_terminal() {
            heading("The page, until Ctrl-C:");
            self.run(&["serve", "--listen", FREE]).await?;
        }
        Ok(())
    }

    /// Writes a file that only its owner can read, as the URL of a chat must be.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// Runs a command of this program, with the recording as its input if it reads one, and nothing of the user's.
    async fn run(&self, arguments: &[&str]) -> Result<ExitStatus> {
        let is_stream = arguments[0] == "stream";
        let line = format!("$ ansible-notify {}", arguments.join(" "));
        let (input, output) = match is_stream {
            // Its answers are for a plugin.
            true => (
                File::open(self.folder.join(RECORDING))?.into(),
                Stdio::null(),
            ),
            false => (Stdio::null(), Stdio::inherit()),
        };
        if arguments[0] != "serve" {
            heading(&match is_stream {
                true => format!("{line} <{RECORDING}"),
                false => line,
            });
        }
        let inherited = INHERITED
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let inherited: Vec<(&str, OsString)> = inherited.collect();
        let child = Command::new(&self.program)
            .args(arguments)
            .current_dir(self.folder)
            .env_clear()
            .envs(inherited)
            .env("HOME", self.folder)
            .stdin(input)
            .stdout(output)
            .spawn();
        let mut child = Ended(child.context("cannot run this program")?);
        loop {
            if let Some(status) = child.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A command that ends with the demo.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn heading(text: &str) {
    let line_break = || Styled::Plain("\n".to_owned());
    stdout::show_styled(&[line_break(), Styled::Good(text.to_owned()), line_break()]);
}
