//! `completions`: shell scripts that ask the program itself for the possible completions.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _, ValueHint};
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use crate::cli::Cli;
use crate::config::ini;
use crate::config::levels::{self, Search};
use crate::console::stdout;
use crate::exit::Exit;
use crate::route;

const NAME: &str = "ansible-notify";
/// Environment variable in which a script passes its shell's name when it asks.
const ASKED_BY: &str = "_ANSIBLE_NOTIFY_COMPLETE";
/// Code for the function file in zsh, which loads the file when the function is first called.
const ZSH_FIRST_CALL: &str = "
if [[ $funcstack[1] = _ansible-notify ]]; then
    _clap_dynamic_completer_ansible_notify \"$@\"
fi
";

/// Answers a script that asks for completions; None if no script asks.
pub fn answer() -> Option<Exit> {
    std::env::var_os(ASKED_BY)?;
    let words: Vec<OsString> = std::env::args_os().collect();
    let here = std::env::current_dir().ok();
    // A message in the middle of the command line would not help the user.
    let answered = CompleteEnv::with_factory(command)
        .var(ASKED_BY)
        .try_complete(words, here.as_deref());
    Some(answered.map_or(Exit::Usage, |_| Exit::Ok))
}

/// Prints the script for a shell. The script calls the program by the path that it was called with, if any.
pub fn run(shell: Shell) -> Exit {
    let called = std::env::args_os().next().unwrap_or_else(|| NAME.into());
    let path = Path::new(&called);
    let completer = match path.parent() {
        Some(folder) if folder != Path::new("") => std::path::absolute(path).ok(),
        _ => None,
    };
    let completer = completer.map_or(NAME.into(), |path| path.to_string_lossy().into_owned());
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        // Writing to memory cannot fail.
        let _ = shell.write_registration(ASKED_BY, NAME, NAME, &completer, &mut script);
    }
    if shell == Shell::Zsh {
        script.extend_from_slice(ZSH_FIRST_CALL.as_bytes());
    }
    stdout::print(&script);
    Exit::Ok
}

/// Returns the command line, with completions for each value.
fn command() -> Command {
    Cli::command().mut_subcommands(with_completions)
}

fn with_completions(command: Command) -> Command {
    command
        .mut_args(with_values)
        .mut_subcommands(with_completions)
}

fn with_values(arg: Arg) -> Arg {
    if !arg.get_action().takes_values() {
        return arg;
    }
    let name = arg.get_value_names().and_then(|names| names.first());
    let name = name.map(ToString::to_string).unwrap_or_default();
    match (name.as_str(), arg.get_id().as_str()) {
        ("FILE", _) if arg.is_positional() => {
            arg.add(ArgValueCompleter::new(PathCompleter::file().stdio()))
        }
        ("FILE", _) => arg.value_hint(ValueHint::FilePath),
        ("DIR", _) => arg.value_hint(ValueHint::DirPath),
        ("TRIGGER", _) => arg.add(ArgValueCandidates::new(|| {
            route::triggers().map(CompletionCandidate::new).collect()
        })),
        ("NOTIFIER", _) | (_, "notifier") => arg.add(ArgValueCandidates::new(notifiers)),
        _ => arg,
    }
}

/// Returns the notifiers of the configuration found from the current directory. Mistakes in it are not
/// reported here.
fn notifiers() -> Vec<CompletionCandidate> {
    let search = Search {
        here: true,
        ..Search::default()
    };
    let mut names: Vec<String> = Vec::new();
    for level in search.levels().0 {
        let content = levels::read(&level.path).ok().flatten();
        let sections = content.and_then(|content| ini::parse(&content.bytes).ok());
        for section in sections.unwrap_or_default() {
            let name = match section.name.as_str() {
                "inputs" => {
                    let mut entries = section.entries.iter();
                    let is_used = entries.any(|entry| entry.key == "callback_url");
                    is_used.then_some("callback")
                }
                name => name.strip_prefix("notifier:").map(str::trim),
            };
            names.extend(name.map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}
