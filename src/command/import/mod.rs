//! `import`: writes a configuration from that of another program.

mod awx;
mod draft;
mod export;
mod fields;
mod kinds;
mod messages;
mod trial;
mod webhook;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli;
use crate::console::{stderr, stdout};
use crate::exit::Exit;
use draft::{Draft, Form, Page};
use export::Export;

/// Size limit of a file that is read, and of the configuration, in bytes.
const MAX_INPUT: u64 = 64 << 20;
const MAX_OUTPUT: usize = 1 << 20;

/// Runs `import`.
pub fn run(arguments: &cli::Import) -> Exit {
    let (drafts, origin, output) = match &arguments.source {
        cli::Source::Awx { files, output } => {
            let mut export = Export::default();
            for file in files {
                if let Err(exit) = read_export(file, &mut export) {
                    return exit;
                }
            }
            if export.templates.is_empty() {
                stderr::say("there is no notification template in these files");
                return Exit::InvalidEvent;
            }
            (awx::drafts(&export), "AWX's notification templates", output)
        }
    };
    finish(drafts, origin, output.as_deref())
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

/// Tries the drafts, writes them, and says what is left to do.
fn finish(mut drafts: Vec<Draft>, origin: &str, output: Option<&Path>) -> Exit {
    trial::settle(&mut drafts);
    let text = page(&drafts, origin);
    if text.len() > MAX_OUTPUT {
        stderr::say("the configuration would be longer than 1 MiB; import fewer files at a time");
        return Exit::InvalidEvent;
    }
    if let Err(exit) = write(&text, output) {
        return exit;
    }
    report(&drafts);
    let is_whole = drafts.iter().all(|draft| draft.unfinished.is_none());
    if is_whole { Exit::Ok } else { Exit::Config }
}

/// Returns the text of the configuration.
fn page(drafts: &[Draft], origin: &str) -> String {
    let heading = [
        format!("Written by `ansible-notify import` from {origin}."),
        "`ansible-notify check-config` checks it; `ansible-notify test` sends a sample event."
            .to_owned(),
    ];
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

/// Says what was left out, and which variables to set.
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
