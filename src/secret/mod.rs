//! Values that must not be shown: their sources, and redaction of all output.

mod escaped;
mod forms;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use signal_hook::consts::SIGINT;

use crate::system::trusted;
use crate::text;

/// Replacement for a secret.
pub const MASK: &str = "[redacted]";

/// Shorter values are not masked: that would garble ordinary text.
const SHORTEST_MASKED: usize = 4;

/// Minimum length of a secret that is masked regardless of case.
const LONG: usize = 8;

/// Case sensitivity of the search for a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Exact,
    Any,
}

impl Case {
    /// Returns the case sensitivity for a secret: a short one could be part of an ordinary text in another
    /// case.
    fn of(secret: &str) -> Case {
        match secret.len() >= LONG {
            true => Case::Any,
            false => Case::Exact,
        }
    }
}

/// Size limit of a file with a secret, in bytes.
pub const MAX_FILE: u64 = 64 << 10;

/// Timeout of a command: while it runs, nothing that needs the secret is delivered.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

/// Every secret that was read, longest first, so that a secret that contains another one is masked whole.
static KNOWN: Mutex<Known> = Mutex::new(Known {
    values: Vec::new(),
    forms: Vec::new(),
});

struct Known {
    /// Raw values; also matched with any of their characters escaped.
    values: Vec<String>,
    /// Encodings of whole values, in lower case if the case does not matter; matched verbatim.
    forms: Vec<String>,
}

/// Returns the forms of a value as they are searched for.
fn forms_of(value: &str) -> impl Iterator<Item = String> {
    forms::of(value)
        .into_iter()
        .map(|form| match Case::of(&form) {
            Case::Any => form.to_ascii_lowercase(),
            Case::Exact => form,
        })
}

/// A text that prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Creates a secret from `value`, which is masked in all output from now on.
    pub fn new(value: impl Into<String>) -> Secret {
        let value = value.into();
        mask(&value);
        Secret(value)
    }

    /// Creates a secret that is shown once and masked after that.
    pub fn unmasked(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// Returns the value itself, to be sent but never shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

/// Source of a secret. Does not implement Debug: it may hold the secret itself.
#[derive(Clone)]
pub enum Source {
    /// The value is in the configuration.
    Inline(String),
    /// The first line of a file that only its owner may read.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// Output of a command; words split on blanks, no shell.
    Command(Vec<String>),
}

impl Source {
    /// Reads the secret again, so that a changed one takes effect.
    pub fn read(&self) -> Result<Secret> {
        let value = match self {
            Source::Inline(value) => value.clone(),
            Source::File(path) => read_file(path)?,
            Source::Environment(name) => std::env::var(name)
                .ok()
                .with_context(|| format!("environment variable `{name}` is not set"))?,
            Source::Command(words) => answer(words)?,
        };
        let value = value.trim_end_matches(['\r', '\n']);
        ensure!(!value.is_empty(), "the secret is empty");
        Ok(Secret::new(value))
    }
}

/// A command, and its output or error.
type Answer = (Vec<String>, Result<String, String>);

thread_local! {
    /// Outputs known to the configuration being read; None if none is being read.
    static ANSWERS: RefCell<Option<Vec<Answer>>> = const { RefCell::new(None) };
}

/// Runs `read`, in which each command runs at most once, however many keys use it.
pub fn asking_once<T>(read: impl FnOnce() -> T) -> T {
    match ANSWERS.with_borrow(Option::is_some) {
        true => read(),
        false => Answers::default().used_by(read),
    }
}

/// Returns the output of a command.
fn answer(words: &[String]) -> Result<String> {
    let is_same = |(asked, _): &&Answer| asked == words;
    let known = ANSWERS.with_borrow(|answers| {
        let found = answers.iter().flatten().find(is_same);
        found.map(|(_, answer)| answer.clone())
    });
    let answer = known.unwrap_or_else(|| {
        let answer = run(words).map_err(|error| format!("{error:#}"));
        ANSWERS.with_borrow_mut(|answers| {
            let answer = (words.to_vec(), answer.clone());
            answers.iter_mut().for_each(|all| all.push(answer.clone()));
        });
        answer
    });
    answer.map_err(anyhow::Error::msg)
}

/// Results of commands that were run ahead.
#[derive(Default)]
pub struct Answers(Vec<Answer>);

impl Answers {
    /// Runs commands for secrets, each once, without blocking other tasks.
    pub async fn of(commands: Vec<Vec<String>>) -> Answers {
        if commands.is_empty() {
            return Answers::default();
        }
        let ask = |words: Vec<String>| {
            let answer = run(&words).map_err(|error| format!("{error:#}"));
            (words, answer)
        };
        let commands: BTreeSet<Vec<String>> = commands.into_iter().collect();
        let asked = tokio::task::spawn_blocking(move || commands.into_iter().map(ask).collect());
        Answers(asked.await.unwrap_or_default())
    }

    /// Runs `read`, which uses these results instead of running the commands.
    pub fn used_by<T>(self, read: impl FnOnce() -> T) -> T {
        let before = ANSWERS.replace(Some(self.0));
        let result = read();
        ANSWERS.set(before);
        result
    }
}

fn read_file(path: &Path) -> Result<String> {
    let read = trusted::read(path, MAX_FILE)?;
    if let Some(reason) = trusted::exposed(&read.metadata) {
        bail!("`{}` {reason}", path.display());
    }
    String::from_utf8(read.bytes).with_context(|| format!("`{}` is not text", path.display()))
}

fn run(words: &[String]) -> Result<String> {
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let cannot = || format!("cannot run `{program}`");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Its messages may contain the secret in a form that is not recognized.
        .stderr(Stdio::null())
        .spawn()
        .with_context(cannot)?;
    let pid = rustix::process::Pid::from_child(&child);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut printed = Vec::new();
        let output = child.stdout.take().map(|output| output.take(MAX_FILE + 1));
        // A command that prints more gets a broken pipe, and exits.
        let read = output.map_or(Ok(0), |mut output| output.read_to_end(&mut printed));
        sender.send(read.and_then(|_| Ok((child.wait()?, printed))))
    });
    let Ok(ended) = receiver.recv_timeout(COMMAND_LIMIT) else {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        bail!(
            "`{program}` timed out after {} s; run it by hand to see what it waits for",
            COMMAND_LIMIT.as_secs()
        );
    };
    let (status, printed) = ended.with_context(cannot)?;
    ensure!(
        printed.len() as u64 <= MAX_FILE,
        "`{program}` printed more than {} KiB; a secret is one line",
        MAX_FILE >> 10
    );
    ensure!(
        status.success(),
        "`{program}` failed: {status}; its messages may contain the secret and are not shown; run it by hand to see them"
    );
    String::from_utf8(printed).with_context(|| format!("`{program}` did not print UTF-8 text"))
}

/// Asks for a secret on the terminal; None without a terminal or an answer.
pub fn ask(question: &str) -> Option<Secret> {
    // Ctrl-C ends the program, but only after the terminal is restored.
    let asked = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(SIGINT, asked.clone()).ok()?;
    let answer = rpassword::prompt_password(text::visible(question));
    asked.store(true, Ordering::Relaxed);
    if matches!(&answer, Err(error) if error.kind() == ErrorKind::Interrupted) {
        let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    answer
        .ok()
        .filter(|answer| !answer.is_empty())
        .map(Secret::new)
}

/// Masks `value` in all output from now on, in each form in which it may appear.
pub fn mask(value: &str) {
    mask_new(value);
}

/// Masks a value, and returns true if it was not masked before.
pub fn mask_new(value: &str) -> bool {
    if value.len() < SHORTEST_MASKED {
        return false;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.values.iter().any(|known| known == value) {
        return false;
    }
    known.values.push(value.to_owned());
    for form in forms_of(value) {
        if form.len() >= SHORTEST_MASKED && !known.forms.contains(&form) {
            known.forms.push(form);
        }
    }
    known.values.sort_by_key(|value| Reverse(value.len()));
    known.forms.sort_by_key(|form| Reverse(form.len()));
    true
}

/// Stops masking a value for which `mask_new` returned true, such as an old token: there may be any number of
/// them.
pub fn unmask(value: &str) {
    let forms: Vec<String> = forms_of(value).collect();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.values.retain(|known| known != value);
    known.forms.retain(|known| !forms.contains(known));
}

/// Masks the password of a URL, and the Basic credentials sent for it.
pub fn mask_user(url: &url::Url) {
    if let Some(password) = url.password() {
        let (user, decoded) = (percent_decoded(url.username()), percent_decoded(password));
        mask(password);
        mask(&decoded);
        mask(&STANDARD.encode(format!("{user}:{decoded}")));
    }
}

/// Parts of secret URLs that occur in many other addresses.
const PLAIN: [&str; 5] = ["services", "webhooks", "workflows", "triggers", "incoming"];

/// Masks the parts of a URL that is itself a secret: each longer path segment and query value.
pub fn mask_url(url: &url::Url) {
    mask(url.path());
    url.query().into_iter().for_each(mask);
    let values = url.query().into_iter().flat_map(|query| query.split('&'));
    let values = values.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let parts = url.path().split('/').chain(values);
    for part in parts.filter(|part| part.len() >= LONG && !PLAIN.contains(part)) {
        mask(part);
        mask(&percent_decoded(part));
    }
}

/// Decodes `%41` and the like in a part of a URL.
pub fn percent_decoded(text: &str) -> String {
    // In user information, `+` is literal, not a blank.
    let text = text.replace('+', "%2B");
    let pair = url::form_urlencoded::parse(text.as_bytes()).next();
    pair.map(|(name, _)| name.into_owned()).unwrap_or_default()
}

/// Masks the user information of a URL, even if it is too short to be known as a secret, or the URL is
/// invalid.
pub fn without_user(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(end) => format!("{scheme}://{MASK}{}", &rest[end..]),
        None => value.to_owned(),
    }
}

/// Masks every known secret in a text.
pub fn redact(text: &str) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = text.to_owned();
    let mut lower = text.to_ascii_lowercase();
    for form in &known.forms {
        let case = Case::of(form);
        let found = match case {
            Case::Any => lower.contains(form),
            Case::Exact => text.contains(form),
        };
        if found {
            text = forms::replace(&text, form, case, MASK);
            lower = text.to_ascii_lowercase();
        }
    }
    for value in &known.values {
        if let Some(masked) = escaped::replace(&text, value, Case::of(value), MASK) {
            text = masked;
        }
    }
    text
}

/// Masks every known secret in the strings of a value.
pub fn redact_values(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact(text),
        Value::Array(array) => array.iter_mut().for_each(redact_values),
        Value::Object(object) => object.values_mut().for_each(redact_values),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let secret = Secret::new("canary \"7f\" &");
        let encoded = base64::engine::general_purpose::STANDARD.encode(secret.expose());
        let text = format!(
            "{} {encoded} canary+%227f%22+%26 canary \\\"7f\\\" &",
            secret.expose()
        );
        assert_eq!(redact(&text), format!("{MASK} {MASK} {MASK} {MASK}"));
        assert_eq!(format!("{secret:?}"), MASK);
    }

    #[test]
    fn a_command_is_run_without_a_shell() {
        let words = ["echo", "a;b", "$HOME"].map(str::to_owned).to_vec();
        assert_eq!(Source::Command(words).read().unwrap().expose(), "a;b $HOME");
    }
}
