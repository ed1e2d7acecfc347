//! The kind `exec`: a command that gets each event on its standard input (exit codes as in `sysexits.h`).

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::{Kind, Notifier, Sent};
use crate::config::advice::quoted;
use crate::config::command;
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::{Level, Message, MessageFormat, Receipts};
use crate::net::http::{ATTEMPT_TIMEOUT, Http};
use crate::notifier::format::Format;
use crate::secret;
use crate::text::{self, bytes, characters, cut, one_line};

/// Commands, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "exec",
    about: "runs a command that gets the [outputs] as JSON on its standard input",
    form: MessageFormat::Data,
    build,
};

/// Variables that the command gets from the environment; all others may hold secrets.
const KEPT: [&str; 11] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR", "LANG", "LANGUAGE", "LC_ALL",
    "LC_CTYPE",
];
/// Exit code of a command that could not deliver yet (`EX_TEMPFAIL`).
const TEMPORARY: i32 = 75;
/// Maximum length of a variable about the event, in bytes, and of a reason, in characters.
const VARIABLE: usize = 4096;
const REASON: usize = 300;
/// Size of the last part of the standard error that is kept, in bytes.
const TAIL: usize = 16 << 10;
/// Time for which the output of a command that has ended is read: a process that it left behind may keep it
/// open.
const GRACE: Duration = Duration::from_secs(1);

struct Exec {
    /// The program and its arguments.
    words: Vec<String>,
    /// Names of further variables that the command gets.
    environment: Vec<String>,
    format: Format,
    timeout: Duration,
}

fn build(section: &Section, _: &Http) -> Option<Rc<dyn Notifier>> {
    let words = section
        .required("command")
        .and_then(|text| words(section, text));
    let environment = section.list("environment");
    let environment = environment.into_iter().map(str::to_owned).collect();
    let format = Format::of(section);
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    let words = words?;
    section.may_use("command").then(|| {
        Rc::new(Exec {
            words,
            environment,
            format,
            timeout,
        }) as Rc<dyn Notifier>
    })
}

/// Splits a command into the program, whose path begins at the configuration, and its arguments.
fn words(section: &Section, text: &str) -> Option<Vec<String>> {
    if let Some(operator) = command::operator(text) {
        section.warning("command", format!("`{operator}` has no special meaning, as `command` does not run in a shell; quote it, or write `sh -c '…'`"));
    }
    let problem = |problem: &str| section.problem("command", format!("`command`: {problem}"));
    let mut words = command::split(text).map_err(problem).ok()?;
    let program = words.first_mut()?;
    if program.contains('/') {
        *program = section
            .resolved("command", program)
            .to_string_lossy()
            .into_owned();
    }
    Some(words)
}

/// Processes of a command: killed together if it is given up.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Group(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Exec {
    fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn command(&self, message: &Message) -> Command {
        let mut command = Command::new(self.program());
        let kept = KEPT
            .into_iter()
            .chain(self.environment.iter().map(String::as_str));
        let kept = kept.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
        command
            .args(&self.words[1..])
            .env_clear()
            .envs(kept)
            .envs(variables(message))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command; returns its exit status, and the last line of its standard error.
    async fn run(&self, message: &Message, input: &Bytes) -> Result<(ExitStatus, String), Failure> {
        let program = self.program();
        let cannot = |error| Failure::retry(format!("cannot run `{program}`: {error}"));
        let mut child = self.command(message).spawn().map_err(cannot)?;
        let mut group = Group::of(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut tail = Vec::new();
        let ended = {
            let both = async { tokio::join!(write(stdin, input), last_part(stderr, &mut tail)) };
            let (mut both, mut is_done) = (std::pin::pin!(both), false);
            let ended = loop {
                tokio::select! {
                    ended = child.wait() => break ended,
                    _ = &mut both, if !is_done => is_done = true,
                }
            };
            if !is_done {
                let _ = timeout(GRACE, both).await;
            }
            ended
        };
        let status = ended.map_err(cannot)?;
        // Processes that it left running on purpose go on.
        group.0 = None;
        Ok((status, last_line(&tail)))
    }

    fn judge(&self, status: ExitStatus, said: &str) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let program = self.program();
        let error = match said {
            "" => format!("`{program}` failed: {status}"),
            said => format!("`{program}` failed: {status}: {said}"),
        };
        Err(match status.code() {
            // Somebody has killed it.
            Some(TEMPORARY) | None => Failure::retry(error),
            Some(_) => Failure::Permanent(error),
        })
    }
}

/// Gives the command its input; it may end without having read everything.
async fn write(stdin: Option<ChildStdin>, input: &Bytes) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// Reads a stream to its end, and keeps its last part.
async fn last_part(stream: Option<ChildStderr>, tail: &mut Vec<u8>) {
    let Some(mut stream) = stream else {
        return;
    };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk).await {
        tail.extend_from_slice(&chunk[..count]);
        let excess = tail.len().saturating_sub(TAIL);
        tail.drain(..excess);
    }
}

/// Returns the last line that says something, without secrets.
fn last_line(tail: &[u8]) -> String {
    // Redacted before it is cut: half of a secret would not be recognised.
    let text = secret::redact(&String::from_utf8_lossy(tail));
    let mut lines = text.lines().map(one_line);
    let last = lines.rfind(|line| !line.is_empty());
    cut(&last.unwrap_or_default(), REASON, characters).into_owned()
}

/// Returns variables about the event, for scripts.
fn variables(message: &Message) -> Vec<(&'static str, String)> {
    let event = message.context.event();
    let level = match message.level {
        Level::Info => "info",
        Level::Success => "success",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let task = event.task.as_ref().map_or("", |task| task.name.as_str());
    let all = [
        ("NOTIFY_ID", message.id.as_str()),
        ("NOTIFY_EVENT", event.event.name()),
        ("NOTIFY_LEVEL", level),
        ("NOTIFY_SUBJECT", &message.subject),
        ("NOTIFY_RUN", &event.run.name()),
        ("NOTIFY_HOST", event.host_name()),
        ("NOTIFY_TASK", task),
        ("NOTIFY_URL", message.link().unwrap_or_default()),
    ];
    let given = all.into_iter().filter(|(_, value)| !value.is_empty());
    given
        .map(|(name, value)| (name, cut(&one_line(value), VARIABLE, bytes).into_owned()))
        .collect()
}

/// Finds a program as the system does.
fn find(program: &str) -> Option<PathBuf> {
    let is_program = |path: &Path| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH")?;
    let candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates.into_iter().find(|path| is_program(path))
}

#[async_trait(?Send)]
impl Notifier for Exec {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let input = self.format.body(message)?;
        let Ok(ended) = timeout(self.timeout, self.run(message, &input)).await else {
            let error = format!("`{}` did not end within {:?}", self.program(), self.timeout);
            return Err(Failure::retry(error));
        };
        let (status, said) = ended?;
        self.judge(status, &said)?;
        let reached = Receipts::from([(String::new(), None)]);
        Ok(Sent::to(1, reached, Vec::new()))
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let body = self.format.body(message)?;
        let words = self.words.iter().map(|word| text::visible(word));
        let words: Vec<String> = words.collect();
        let variables = variables(message).into_iter();
        let variables: String = variables
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect();
        let shown = format!(
            "RUN {}\n{variables}\n{}",
            words.join(" "),
            String::from_utf8_lossy(&body)
        );
        Ok(text::visible_lines(&secret::redact(&shown)))
    }

    async fn check(&self) -> Check {
        let program = self.program();
        match find(program) {
            Some(path) => Check {
                steps: vec![format!("`{program}`: {} can be run", path.display())],
                error: None,
            },
            None => Check {
                error: Some(format!("{} is no program that can be run", quoted(program))),
                ..Check::default()
            },
        }
    }
}
