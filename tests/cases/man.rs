//! The manual pages.

use std::collections::BTreeMap;
use std::process::Command;

use crate::sandbox::{Outcome, Sandbox};

/// The pages by their file name, as `man --output` writes them.
fn pages() -> BTreeMap<String, String> {
    let sandbox = Sandbox::new();
    sandbox.run(&["man", "--output", "made/man"]).expect(0, "");
    let files = std::fs::read_dir(sandbox.path("made/man")).unwrap();
    let read = |file: std::fs::DirEntry| {
        let text = std::fs::read_to_string(file.path()).unwrap();
        (file.file_name().into_string().unwrap(), text)
    };
    files.map(|file| read(file.unwrap())).collect()
}

/// The names of the subcommands that a help lists.
fn subcommands(help: &Outcome) -> Vec<String> {
    let (_, list) = help.stdout.split_once("Commands:\n").unwrap();
    let list = list.split("\n\n").next().unwrap().lines();
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn each_subcommand_has_a_page() {
    let sandbox = Sandbox::new();
    let mut expected = vec![
        "ansible-notify.1".to_owned(),
        "plugin_config.ini.5".to_owned(),
    ];
    for command in subcommands(&sandbox.run(&["-h"])) {
        if ["import", "relay"].contains(&command.as_str()) {
            for action in subcommands(&sandbox.run(&[&command, "-h"])) {
                expected.push(format!("ansible-notify-{command}-{action}.1"));
            }
        }
        expected.push(format!("ansible-notify-{command}.1"));
    }
    expected.sort();
    let mut written: Vec<String> = pages().into_keys().collect();
    written.sort();
    assert_eq!(written, expected);
}

#[test]
fn pages_have_their_sections() {
    for (name, text) in pages() {
        let mut sections = vec!["NAME", "DESCRIPTION", "FILES", "\"SEE ALSO\""];
        if name != "plugin_config.ini.5" {
            sections.extend(["SYNOPSIS", "OPTIONS", "\"EXIT STATUS\"", "ENVIRONMENT"]);
        }
        for section in sections {
            let heading = format!("\n.SH {section}\n");
            assert_eq!(text.matches(&heading).count(), 1, "{name}: {section}");
        }
    }
}

#[test]
fn a_page_is_printed_as_it_is_written() {
    let (sandbox, pages) = (Sandbox::new(), pages());
    for (arguments, file) in [
        (&["man"][..], "ansible-notify.1"),
        (&["man", "send"], "ansible-notify-send.1"),
        (&["man", "import", "awx"], "ansible-notify-import-awx.1"),
        (&["man", "plugin_config.ini"], "plugin_config.ini.5"),
    ] {
        sandbox.run(arguments).expect(0, "");
        assert_eq!(sandbox.run(arguments).stdout, pages[file], "{file}");
    }
    sandbox.run(&["man", "nonsense"]).expect_line(
        2,
        &[
            "there is no manual page `nonsense`; pages: send, ",
            "import awx",
        ],
    );
    sandbox.file("taken", "");
    sandbox
        .run(&["man", "--output", "taken"])
        .expect_line(74, &["cannot write to `taken`: "]);
}

/// The text that `man` shows, and the complaints of the formatter.
fn rendered(sandbox: &Sandbox, name: &str, text: &str) -> (String, String) {
    let file = sandbox.file(name, text);
    let output = Command::new("groff")
        .args(["-man", "-Tascii", "-P-c", "-rLL=200n", "-ww"])
        .arg(file)
        .output()
        .expect("tests/setup.sh groff");
    let read = |bytes| String::from_utf8(bytes).unwrap();
    // Bold letters are struck twice.
    let shown = read(output.stdout);
    let letters: Vec<char> = shown.chars().collect();
    let is_struck = |at: usize| letters.get(at + 1) == Some(&'\u{8}') || letters[at] == '\u{8}';
    let shown = (0..letters.len()).filter(|at| !is_struck(*at));
    (shown.map(|at| letters[at]).collect(), read(output.stderr))
}

#[test]
fn pages_are_sound() {
    let sandbox = Sandbox::new();
    for (name, text) in pages() {
        // The device has no characters beyond ASCII.
        let text: String = text.chars().filter(char::is_ascii).collect();
        let (shown, complaints) = rendered(&sandbox, &name, &text);
        assert_eq!(complaints, "", "{name}");
        assert!(shown.contains("\nNAME\n"), "{name}: {shown}");
    }
    let pages = pages();
    let (shown, _) = rendered(&sandbox, "awx.1", &pages["ansible-notify-import-awx.1"]);
    for code in ["0      success", "65     a file contains no AWX templates"] {
        assert!(shown.contains(code), "{shown}");
    }
    let (shown, _) = rendered(&sandbox, "ini.5", &pages["plugin_config.ini.5"]);
    for line in [
        "type = ntfy",
        "how long the end of a play may wait for deliveries. Default: 5s",
        "In any form of a secret: routing_key",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

/// The keys are those that the program knows, each with its meaning.
#[test]
fn the_configuration_has_every_key() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["schema", "configuration"]).stdout;
    let known: serde_json::Value = serde_json::from_str(&output).unwrap();
    let page = &pages()["plugin_config.ini.5"];
    let page = page
        .replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fR", "");
    for (kind, keys) in known["kinds"].as_object().unwrap() {
        let start = format!("\n.SS \"type = {kind}\"\n");
        let (_, section) = page.split_once(&start).unwrap();
        let section = section.split("\n.S").next().unwrap();
        for key in keys
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap())
        {
            let is_form = ["_file", "_env", "_command"]
                .iter()
                .any(|form| key != "ca_file" && key.ends_with(form));
            let mut words = section.split([' ', ',', '.', '\n']);
            assert!(is_form || words.any(|word| word == key), "{kind}: {key}");
        }
    }
}
