//! `man`: the manual pages, one per subcommand, and that of plugin_config.ini.

mod configuration;
mod tables;

use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::cli::{self, Cli};
use crate::console::stderr;
use crate::console::stdout;
use crate::exit::Exit;
use crate::protocol::VERSION;

const PROGRAM: &str = "ansible-notify";
/// Requests that keep names such as `ansible-notify` whole at the end of a line.
const NO_HYPHENS: &[u8] = b".nh\n.ad l\n";
/// Start of the sentence in a description that lists the exit codes.
const CODES: &str = "Exit codes: ";

const ENVIRONMENT: [(&str, &str); 8] = [
    (
        "ANSIBLE_NOTIFY_CONFIG",
        "The only configuration file to use, as with --config.",
    ),
    (
        "ANSIBLE_NOTIFY_CALLBACK_URL, ANSIBLE_NOTIFY_USERNAME, ANSIBLE_NOTIFY_PASSWORD, ANSIBLE_NOTIFY_VALIDATE_CERTS",
        "Override the keys of these names in the section [inputs].",
    ),
    (
        "ANSIBLE_NOTIFY_BINARY",
        "The program that the plugins run, if they would not find it.",
    ),
    (
        "ANSIBLE_NOTIFY_ENABLED",
        "If it is 0, the callback plugin does nothing.",
    ),
    (
        "http_proxy, https_proxy, no_proxy",
        "The proxies of notifiers with proxy = env.",
    ),
    (
        "XDG_CONFIG_HOME, XDG_STATE_HOME",
        "Directories of the user's configuration and spool, instead of ~/.config and ~/.local/state.",
    ),
    (
        "HOME",
        "The home directory, instead of that in the password database.",
    ),
    ("NO_COLOR", "If it is not empty, nothing is coloured."),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/ansible-notify/plugin_config.ini",
        "Configuration of the organization.",
    ),
    (
        "~/.config/ansible-notify/plugin_config.ini",
        "Configuration of the user.",
    ),
    (
        "callback_plugins/plugin_config.ini",
        "Configuration of the project, next to the callback plugin.",
    ),
    (
        "~/.local/state/ansible-notify/",
        "The spool, which keeps events until they are delivered.",
    ),
];

/// A manual page.
struct Page {
    /// Name without the section: `ansible-notify-send`.
    name: String,
    section: u8,
    text: String,
}

/// Runs `man`: prints one page, or writes all of them.
pub fn run(arguments: &cli::Man) -> Exit {
    let pages = pages();
    if let Some(folder) = &arguments.output {
        return match write(folder, &pages) {
            Ok(()) => Exit::Ok,
            Err(error) => {
                stderr::say(format!("cannot write to `{}`: {error}", folder.display()));
                Exit::Io
            }
        };
    }
    let name = match arguments.page.as_slice() {
        [file] if file == configuration::FILE => configuration::FILE.to_owned(),
        words => [&[PROGRAM.to_owned()], words].concat().join("-"),
    };
    match pages.iter().find(|page| page.name == name) {
        Some(page) => {
            stdout::print(&page.text);
            Exit::Ok
        }
        None => {
            let known = pages
                .iter()
                .map(|page| page.name.replacen("ansible-notify-", "", 1));
            let known: Vec<String> = known.filter(|name| name != PROGRAM).collect();
            let wanted = arguments.page.join(" ");
            stderr::say(format!(
                "there is no manual page `{wanted}`; pages: {}",
                known.join(", ").replace("import-", "import ")
            ));
            Exit::Usage
        }
    }
}

/// Writes each page to a file of its name in the directory.
fn write(folder: &Path, pages: &[Page]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for page in pages {
        let file = folder.join(format!("{}.{}", page.name, page.section));
        std::fs::write(file, &page.text)?;
    }
    Ok(())
}

/// Returns all pages: the program's, those of its subcommands, and that of the configuration.
fn pages() -> Vec<Page> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let codes = codes_of(&program).unwrap_or_default();
    let mut pages = Vec::new();
    add(&program, &codes, &mut pages);
    let names = pages
        .iter()
        .map(|page| page.name.clone())
        .collect::<Vec<_>>();
    for page in &mut pages {
        let others = names.iter().filter(|name| **name != page.name);
        let others = others.filter(|name| page.name == PROGRAM || *name == PROGRAM);
        page.text += &see_also(
            others
                .map(|name| (name.as_str(), 1))
                .chain([(configuration::FILE, 5)]),
        );
    }
    pages.push(Page {
        name: configuration::FILE.to_owned(),
        section: 5,
        text: configuration::page() + &see_also([(PROGRAM, 1)]),
    });
    pages
}

/// Adds the pages of a command and of its subcommands.
fn add(command: &Command, codes: &str, pages: &mut Vec<Page>) {
    let own = codes_of(command).filter(|own| own != codes);
    let own = own.map_or(codes.to_owned(), |own| with_general(&own, codes));
    pages.push(Page {
        name: command.get_display_name().unwrap_or(PROGRAM).to_owned(),
        section: 1,
        text: page(command, &own),
    });
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        add(subcommand, codes, pages);
    }
}

fn page(command: &Command, codes: &str) -> String {
    let described = match description(command) {
        Some(text) => command.clone().long_about(text),
        None => command.clone(),
    };
    let manual = clap_mangen::Man::new(described)
        .source(format!("{PROGRAM} {VERSION}"))
        .manual("ansible-notify");
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = manual.render_title(&mut text);
    text.extend_from_slice(NO_HYPHENS);
    let _ = manual.render_name_section(&mut text);
    let _ = manual.render_synopsis_section(&mut text);
    let _ = manual.render_description_section(&mut text);
    let _ = manual.render_options_section(&mut text);
    if command.has_subcommands() {
        let _ = manual.render_subcommands_section(&mut text);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for code in codes.split("; ") {
        if let Some((number, meaning)) = code.split_once(' ') {
            let meaning = meaning.trim_start_matches("if ");
            entry(&mut roff, number, meaning);
        }
    }
    listed(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    listed(&mut roff, "FILES", &FILES);
    String::from_utf8_lossy(&text).into_owned() + &roff.render()
}

/// Returns the exit codes that the description of a command lists, as `NUMBER MEANING; …`.
fn codes_of(command: &Command) -> Option<String> {
    let about = command.get_long_about()?.to_string();
    let (_, codes) = about.split_once(CODES)?;
    Some(codes.trim_end().trim_end_matches('.').to_owned())
}

/// Returns the exit codes of a command that lists codes of its own, completed from all codes.
fn with_general(own: &str, codes: &str) -> String {
    let general = codes
        .split("; ")
        .take_while(|code| !code.starts_with("65 "));
    general.chain([own]).collect::<Vec<_>>().join("; ")
}

/// Returns the description of a command without its exit codes, which have a section of their own.
fn description(command: &Command) -> Option<String> {
    let about = command.get_long_about()?.to_string();
    let (before, _) = about.split_once(CODES)?;
    Some(before.trim_end().to_owned())
}

fn listed(roff: &mut Roff, heading: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, meaning) in entries {
        entry(roff, name, meaning);
    }
}

fn entry(roff: &mut Roff, name: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(meaning)]);
}

fn see_also<'a>(pages: impl IntoIterator<Item = (&'a str, u8)>) -> String {
    let mut inlines = Vec::new();
    for (name, section) in pages {
        if !inlines.is_empty() {
            inlines.push(roman(", "));
        }
        inlines.extend([italic(name), roman(format!("({section})"))]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text(inlines);
    roff.render()
}
