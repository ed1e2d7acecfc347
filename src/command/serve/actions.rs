//! Actions of the page. Each is a command of this program, run as its user would run it in a terminal: what it
//! does, what it refuses and which rows it changes are the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use super::problem::{Problem, absent};
use crate::cli::{Place, since};
use crate::command;
use crate::exit::Exit;
use crate::spool::{DestinationStatus, Viewer};
use crate::system::trusted;

/// Time that a client waits for the end of an action, which then goes on by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Outcomes that are remembered for the page that follows an action.
const REMEMBERED: usize = 50;
/// Length of an outcome, in bytes.
const MAX_TEXT: usize = 4 << 10;

/// An action, and the page that it returns to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Gives a delivery up.
    Discard(i64),
    /// Ends the pause of a notifier, and tries what is pending.
    Try(i64),
    /// Tries what is dead, too.
    Revive(i64),
    /// Sends a message marked as a test.
    Test(i64),
    /// Mutes a notifier.
    Mute(i64, Muting),
    /// Ends that.
    Unmute(i64),
}

/// End of a mute and its reason, as someone gave them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Muting {
    until: String,
    why: String,
}

impl Muting {
    /// Reads the body of a request.
    pub fn read(body: &[u8], is_json: bool) -> Result<Muting, String> {
        if is_json {
            let read = serde_json::from_slice(body);
            return read.map_err(|error| format!("the request is not understood: {error}"));
        }
        let mut muting = Muting::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            match &*name {
                "until" => muting.until = value.into_owned(),
                "why" => muting.why = value.into_owned(),
                _ => return Err(format!("unknown field `{name}`")),
            }
        }
        Ok(muting)
    }

    /// Checks them as the command does, and returns what is wrong in words that fit a form, too.
    pub fn check(&self) -> Result<(), String> {
        since::parse_end(&self.until).map_err(|reason| format!("`until`: {reason}"))?;
        match self.why.trim() {
            "" => Err("`why` must give a reason".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Action {
    /// Returns the action of a path.
    pub fn of(path: &str) -> Option<Action> {
        let parts: Vec<&str> = path.split('/').collect();
        let [place, id, verb] = parts.as_slice() else {
            return None;
        };
        let id = id.parse().ok()?;
        match (*place, *verb) {
            ("deliveries", "discard") => Some(Action::Discard(id)),
            ("notifiers", "try") => Some(Action::Try(id)),
            ("notifiers", "revive") => Some(Action::Revive(id)),
            ("notifiers", "test") => Some(Action::Test(id)),
            ("notifiers", "mute") => Some(Action::Mute(id, Muting::default())),
            ("notifiers", "unmute") => Some(Action::Unmute(id)),
            _ => None,
        }
    }

    /// Returns the page that shows its effect.
    pub fn page(&self) -> String {
        match self {
            Action::Discard(id) => format!("/deliveries/{id}"),
            Action::Try(id)
            | Action::Revive(id)
            | Action::Test(id)
            | Action::Mute(id, _)
            | Action::Unmute(id) => format!("/notifiers/{id}"),
        }
    }
}

/// Outcome of an action: what the command said, and how it ended.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    text: String,
    /// Exit code; none if it goes on, was not run, or was killed.
    exit: Option<i32>,
    failed: bool,
    /// Mute that was refused, to be corrected.
    typed: Option<Muting>,
}

impl Said {
    /// Returns the outcome of an action that did not run to its end.
    fn without_exit(text: String, failed: bool) -> Said {
        Said {
            text,
            exit: None,
            failed,
            typed: None,
        }
    }

    /// Returns the outcome of a mute with a mistake.
    pub fn refused(reason: &str, muting: Muting) -> Said {
        Said {
            typed: Some(muting),
            ..Said::without_exit(format!("Not muted: {reason}"), true)
        }
    }

    /// Returns the status that tells a program how it ended.
    pub fn status(&self) -> StatusCode {
        let is = |exit: Exit| self.exit == Some(exit as i32);
        match self.exit {
            Some(0) => StatusCode::OK,
            None if !self.failed => StatusCode::ACCEPTED,
            _ if is(Exit::Usage) => StatusCode::BAD_REQUEST,
            _ if is(Exit::NoInput) => StatusCode::NOT_FOUND,
            _ if is(Exit::Config) => StatusCode::CONFLICT,
            _ if is(Exit::Refused) || is(Exit::Undelivered) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns it for a program.
    pub fn json(&self) -> Value {
        let mut data = json!({"text": self.text, "exit": self.exit});
        if self.failed {
            data["error"] = json!(self.text);
        }
        data
    }
}

/// The means to act.
pub struct Actions {
    place: Place,
    viewer: Rc<Viewer>,
    /// One action at a time.
    turn: Semaphore,
    said: RefCell<VecDeque<(u64, Said)>>,
}

impl Actions {
    /// Creates the actions on the spool that these options name.
    pub fn new(place: Place, viewer: Rc<Viewer>) -> Actions {
        Actions {
            place,
            viewer,
            turn: Semaphore::new(1),
            said: RefCell::default(),
        }
    }

    /// Returns the outcome with this number, if it is remembered.
    pub fn said(&self, number: u64) -> Option<Said> {
        let said = self.said.borrow();
        let found = said.iter().find(|(known, _)| *known == number);
        found.map(|(_, said)| said.clone())
    }

    /// Does it for this user, and returns the number of its outcome, and the outcome.
    pub async fn act(&self, action: &Action, user: &str) -> Result<(u64, Said), Problem> {
        let Ok(_turn) = self.turn.try_acquire() else {
            let reason = "another action is under way; try again when it has ended";
            return Err(Problem(StatusCode::TOO_MANY_REQUESTS, reason.to_owned()));
        };
        self.check_spool()?;
        let command = self.command(action, user).await?;
        let mut said = outcome(command).await;
        if let (Action::Mute(_, muting), true) = (action, said.failed) {
            said.typed = Some(muting.clone());
        }
        Ok((self.remember(said.clone()), said))
    }

    /// Remembers an outcome for the page that follows, and returns its number.
    pub fn remember(&self, said: Said) -> u64 {
        let mut all = self.said.borrow_mut();
        let number = all.back().map_or(1, |(last, _)| last + 1);
        all.push_back((number, said));
        if all.len() > REMEMBERED {
            all.pop_front();
        }
        number
    }

    /// Refuses to act on another spool than the one that is shown.
    fn check_spool(&self) -> Result<(), Problem> {
        match command::spool_folder(&self.place) {
            Ok(folder) if folder == self.viewer.folder() => Ok(()),
            _ => Err(Problem(
                StatusCode::CONFLICT,
                "the configuration names another spool now; start `serve` again".to_owned(),
            )),
        }
    }

    async fn command(&self, action: &Action, user: &str) -> Result<Command, Problem> {
        let program = std::env::current_exe();
        let program = program
            .map_err(|error| Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let mut command = Command::new(program);
        // It is recorded with the action.
        let by = format!("--by={user}");
        match action {
            Action::Discard(id) => {
                command
                    .args(["discard", &by, &id.to_string()])
                    .args(self.options());
            }
            Action::Try(id) | Action::Revive(id) => {
                let notifier = self.notifier(*id).await?;
                command
                    .args(["flush", &by])
                    .arg(format!("--notifier={}", notifier.name));
                command.args(self.options());
                if let Action::Revive(_) = action {
                    command.arg("--dead");
                }
            }
            Action::Mute(id, Muting { until, why }) => {
                let notifier = self.notifier(*id).await?.id.0;
                command.args(["mute", &by, &format!("--id={notifier}")]);
                command.args([format!("--until={until}"), format!("--why={why}")]);
                command.args(self.options());
            }
            Action::Unmute(id) => {
                let notifier = self.notifier(*id).await?.id.0;
                command.args(["unmute", &by, &format!("--id={notifier}")]);
                command.args(self.options());
            }
            Action::Test(id) => {
                let notifier = self.notifier(*id).await?;
                command.args(["test", &by]).args(self.settings(&notifier)?);
                command.arg("--noted-in").arg(self.viewer.folder());
                // Whatever the name is, it is no option.
                command.args(["--", &notifier.name]);
                // No project is found here.
                command.current_dir("/");
            }
        }
        Ok(command)
    }

    /// Returns the options that name the spool, as they were given: what comes with a checkout is trusted no
    /// further by being shown.
    fn options(&self) -> Vec<OsString> {
        let Place { config, spool, .. } = &self.place;
        let option = |name: &str, path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            Some([OsString::from(name), path.clone().into_os_string()])
        };
        let given = [option("--config", config), option("--spool", spool)];
        given.into_iter().flatten().flatten().collect()
    }

    /// Returns the options that find the configuration of a notifier, unless somebody else may have put it
    /// there.
    fn settings(&self, notifier: &DestinationStatus) -> Result<Vec<OsString>, Problem> {
        let conflict = |reason: String| Problem(StatusCode::CONFLICT, reason);
        if let Some(file) = command::only_named_by(&self.place) {
            let file = file.display();
            let reason =
                format!("only {file} selects this spool; to trust it, select it with --spool");
            return Err(conflict(reason));
        }
        let unreadable = || conflict("its configuration in the spool cannot be read".to_owned());
        let search = command::search_of(notifier).ok_or_else(unreadable)?;
        if search.runner.is_some() {
            return Err(conflict(
                "it is of ansible-runner, which has no test".to_owned(),
            ));
        }
        let distrusted = |file: PathBuf| trusted::replaceable(&file);
        if let Some(reason) = search.file().and_then(distrusted) {
            return Err(conflict(reason));
        }
        let option = |name: &str, path: &Path| vec![OsString::from(name), path.into()];
        Ok(match (&search.config, &search.project) {
            (Some(file), _) => option("--config", file),
            (None, Some(folder)) => option("--project", folder),
            (None, None) => Vec::new(),
        })
    }

    async fn notifier(&self, id: i64) -> Result<DestinationStatus, Problem> {
        let mut all = self.viewer.destinations().await?.into_iter();
        let found = all.find(|row| row.id.0 == id);
        found.ok_or_else(|| absent(format!("there is no notifier {id}")))
    }
}

/// Runs a command, and returns what it says. One that takes long goes on.
async fn outcome(mut command: Command) -> Said {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || command.output());
    match timeout(PATIENCE, running).await {
        Ok(Ok(Ok(output))) => told(&output),
        Ok(Ok(Err(error))) => {
            Said::without_exit(format!("cannot run ansible-notify: {error}"), true)
        }
        Ok(Err(_)) | Err(_) => {
            let text = "it goes on; this page shows what becomes of it";
            Said::without_exit(text.to_owned(), false)
        }
    }
}

fn told(output: &Output) -> Said {
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let lines = texts.iter().flat_map(|text| text.lines());
    let lines = lines.map(|line| line.strip_prefix("ansible-notify: ").unwrap_or(line));
    let text = lines.collect::<Vec<&str>>().join("\n");
    Said {
        text: super::view::cut(&text, MAX_TEXT).text,
        exit: output.status.code(),
        failed: !output.status.success(),
        typed: None,
    }
}
