//! `import`: converts the configuration of another program.

mod ansible_cfg;
mod awx;
mod callbacks;
mod clear_text;
mod draft;
mod export;
mod fields;
mod hide;
mod kinds;
mod messages;
mod services;
mod streams;
mod trial;
mod webhook;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::cli;
use crate::console::{stderr, stdout};
use crate::exit::Exit;
use ansible_cfg::Settings;
use draft::{Draft, Form, Page};
use export::Export;

/// Size limit of a file that is read, and of the configuration, in bytes.
const MAX_INPUT: u64 = 64 << 20;
const MAX_OUTPUT: usize = 1 << 20;

/// Notifiers to write, and where they come from.
struct Found {
    drafts: Vec<Draft>,
    origin: String,
    /// Remarks that belong to no notifier.
    notes: Vec<String>,
}

/// Runs `import`.
pub fn run(arguments: &cli::Import) -> Exit {
    let (found, output) = match &arguments.source {
        cli::Source::Awx { files, output } => (from_awx(files), output),
        cli::Source::AnsibleCfg { file, output } => (from_ansible_cfg(file.as_deref()), output),
    };
    match found {
        Ok(found) => finish(found, output.as_deref()),
        Err(exit) => exit,
    }
}

fn from_awx(files: &[PathBuf]) -> Result<Found, Exit> {
    let mut export = Export::default();
    files
        .iter()
        .try_for_each(|file| read_export(file, &mut export))?;
    if export.templates.is_empty() {
        stderr::say("these files contain no notification template");
        return Err(Exit::InvalidEvent);
    }
    Ok(Found {
        drafts: awx::drafts(&export),
        origin: "AWX's notification templates".to_owned(),
        notes: Vec::new(),
    })
}

fn from_ansible_cfg(file: Option<&Path>) -> Result<Found, Exit> {
    let mut notes = Vec::new();
    let found = match file {
        Some(file) => Some(file.to_owned()),
        None => ansible_cfg::find(&mut notes),
    };
    let (text, place) = match &found {
        Some(file) => (read(file)?, file.display().to_string()),
        // The environment may set everything.
        None => (
            String::new(),
            "the environment (no ansible.cfg was found)".to_owned(),
        ),
    };
    let settings = Settings::parse(&text).map_err(|problem| {
        stderr::say(format!("`{place}`: {problem}"));
        Exit::InvalidEvent
    })?;
    let drafts = callbacks::drafts(&settings, &mut notes);
    if drafts.is_empty() {
        notes.iter().for_each(stderr::say);
        stderr::say(format!(
            "no callback that notifies is enabled or configured in {place}"
        ));
        return Err(if found.is_some() {
            Exit::InvalidEvent
        } else {
            Exit::NoInput
        });
    }
    Ok(Found {
        drafts,
        origin: place,
        notes,
    })
}

fn read_export(file: &Path, export: &mut Export) -> Result<(), Exit> {
    let text = read(file)?;
    export.read(&text).map_err(|problem| {
        stderr::say(format!("`{}`: {problem}", file.display()));
        Exit::InvalidEvent
    })
}

/// Reads a file; `-` is standard input.
fn read(file: &Path) -> Result<String, Exit> {
    let mut bytes = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().take(MAX_INPUT + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(file)
            .and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes)),
    };
    let failed = |exit, problem: String| {
        stderr::say(format!("`{}`: {problem}", file.display()));
        Err(exit)
    };
    match read {
        Err(error) => failed(Exit::NoInput, format!("cannot be read: {error}")),
        Ok(size) if size as u64 > MAX_INPUT => {
            failed(Exit::InvalidEvent, "is longer than 64 MiB".to_owned())
        }
        Ok(_) => String::from_utf8(bytes)
            .or_else(|_| failed(Exit::InvalidEvent, "is not UTF-8 text".to_owned())),
    }
}

/// Tries the drafts, writes them, and reports the remaining steps.
fn finish(mut found: Found, output: Option<&Path>) -> Exit {
    hide::hide(&mut found.drafts);
    trial::settle(&mut found.drafts);
    let text = page(&found);
    if text.len() > MAX_OUTPUT {
        stderr::say("the configuration would be longer than 1 MiB; import fewer files at a time");
        return Exit::InvalidEvent;
    }
    if let Err(exit) = write(&text, output) {
        return exit;
    }
    found.notes.iter().for_each(stderr::say);
    report(&found.drafts);
    let is_whole = found.drafts.iter().all(|draft| draft.unfinished.is_none());
    if is_whole { Exit::Ok } else { Exit::Config }
}

/// Returns the text of the configuration.
fn page(found: &Found) -> String {
    let drafts = &found.drafts;
    let mut heading = vec![
        format!("Written by `ansible-notify import` from {}.", found.origin),
        "`ansible-notify check-config` checks it; `ansible-notify test` sends a sample event."
            .to_owned(),
    ];
    heading.extend(found.notes.iter().cloned());
    let mut page = Page::new(&heading, drafts, Form::Written);
    if drafts.iter().all(|draft| draft.unfinished.is_some()) {
        page.line("");
        page.comment("No notifier above is active. This section has no effect.");
        page.line("[inputs]");
        page.line("inherit = true");
    }
    let variables = variables(drafts);
    if !variables.is_empty() {
        page.line("");
        page.comment(
            "Set these environment variables, or replace KEY_env by KEY_file or KEY_command:",
        );
        variables
            .iter()
            .for_each(|text| page.comment(&format!("  {text}")));
    }
    page.text
}

/// Returns the environment variables to set, each with its meaning.
fn variables(drafts: &[Draft]) -> Vec<String> {
    let mut variables = Vec::new();
    for draft in drafts.iter().filter(|draft| draft.unfinished.is_none()) {
        for secret in draft.secrets() {
            let known = match secret.known {
                Some(_) => ", which the input has in clear text",
                None => "",
            };
            let (name, source, stem) = (&secret.variable, &secret.source, &draft.stem);
            let text = format!("{name}: {source} of `{stem}`{known}");
            if !variables.contains(&text) {
                variables.push(text);
            }
        }
    }
    variables
}

/// Writes the configuration to standard output, or to a file that does not exist yet.
fn write(text: &str, output: Option<&Path>) -> Result<(), Exit> {
    let Some(path) = output else {
        stdout::print(text);
        return Ok(());
    };
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let path = path.display();
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                stderr::say(format!("`{path}` already exists, left unchanged"));
            }
            _ => stderr::say(format!("cannot write `{path}`: {error}")),
        }
        Exit::Io
    })
}

/// Reports the omissions and the variables to set.
fn report(drafts: &[Draft]) {
    for draft in drafts {
        let name = &draft.name;
        draft
            .remarks
            .iter()
            .flat_map(|text| text.lines())
            .for_each(|line| {
                stderr::say(format!("{name}: {}", line.trim()));
            });
        for key in &draft.keys {
            if let Some(reason) = &key.left_out {
                stderr::say(format!("{name}: `{}` is left out: {reason}", key.name));
            }
        }
        if let Some(reason) = &draft.unfinished {
            stderr::say(format!("{name}: not active: {reason}"));
        }
    }
    for text in variables(drafts) {
        stderr::say(format!("set {text}"));
    }
}
