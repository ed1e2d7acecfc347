//! What `make install` puts in place, and how real shells complete with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::sandbox::{BINARY, Sandbox};

const CONFIG: &str = "[inputs]\ncallback_url = http://localhost/\n[notifier:ops]\ntype = slack\n";

/// The text up to the cursor, and what it can become.
const WORDS: [(&str, &[&str]); 10] = [
    ("sen", &["send"]),
    ("check", &["check-config"]),
    ("send ev", &["event.json"]),
    ("send --dry", &["--dry-run"]),
    ("test --trigger reco", &["recovered"]),
    ("test --event ev", &["event.json"]),
    ("test op", &["ops"]),
    ("flush --notifier c", &["callback"]),
    ("completions fi", &["fish"]),
    ("check-config --config plugin_c", &["plugin_config.ini"]),
];

fn make(arguments: &[&str], path: &str) -> Output {
    Command::new("make")
        .env_clear()
        .env("PATH", path)
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .unwrap()
}

/// A sandbox below which the program is installed as sudo installs it, without cargo on its path.
fn installed() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_config(CONFIG);
    sandbox.file("event.json", "{}");
    let variables = [
        format!("BINARY={BINARY}"),
        format!("COMPLETIONS={}", sandbox.path("made").display()),
        format!("DESTDIR={}", sandbox.path("root").display()),
    ];
    for target in ["completions", "install"] {
        let [binary, completions, root] = variables.each_ref().map(String::as_str);
        let output = make(&[target, binary, completions, root], "/usr/bin:/bin");
        assert!(output.status.success(), "{output:?}");
        assert!(
            !String::from_utf8_lossy(&output.stdout).contains("cargo"),
            "{output:?}"
        );
    }
    let prefix = sandbox.path("root/usr/local");
    (sandbox, prefix)
}

/// What a shell prints that runs a script in the sandbox, with the installed program on its path.
fn run(sandbox: &Sandbox, prefix: &Path, shell: &[&str], script: &str) -> String {
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .arg(sandbox.file("script", script))
        .current_dir(sandbox.root())
        .env_clear()
        .env("HOME", sandbox.root())
        .env("TERM", "dumb")
        .env("PREFIX", prefix)
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", prefix.join("bin").display()),
        )
        .output()
        .unwrap_or_else(|error| panic!("tests/setup.sh {}: {error}", shell[0]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One command for each of the words, made of the text up to the cursor.
fn for_each(command: impl Fn(&str) -> String) -> String {
    WORDS
        .iter()
        .map(|(typed, _)| command(typed) + "\n")
        .collect()
}

#[test]
fn bash_completes() {
    let (sandbox, prefix) = installed();
    let script = r#"
        source "$PREFIX/share/bash-completion/completions/ansible-notify"
        function=$(complete -p ansible-notify | sed 's/.*-F \([^ ]*\) .*/\1/')
        probe() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9 COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMPREPLY=()
            "$function" ansible-notify "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[@]}"
        }
    "#;
    let probes = for_each(|typed| format!("probe ansible-notify {typed}"));
    let more = "probe ansible-notify flush --notifier ''\nprobe ansible-notify send ''\nprobe ansible-notify nonsense x\n";
    let said = run(
        &sandbox,
        &prefix,
        &["bash", "--norc"],
        &format!("{script}{probes}{more}"),
    );
    let lines: Vec<&str> = said.lines().collect();
    for ((typed, expected), line) in WORDS.iter().zip(&lines) {
        assert_eq!(*line, expected.join(" "), "{typed}");
    }
    let [notifiers, files, nothing] = &lines[WORDS.len()..] else {
        panic!("{said}");
    };
    assert_eq!(*notifiers, "callback ops");
    assert!(files.split(' ').any(|file| file == "event.json"), "{files}");
    assert_eq!(*nothing, "");
}

/// Checks that a shell said of each beginning in WORDS what completes it, a line each.
#[track_caller]
fn expect_words(said: &str) {
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), WORDS.len(), "{said}");
    for ((typed, expected), line) in WORDS.iter().zip(lines) {
        assert_eq!(line, expected.join(" "), "{typed}");
    }
}

#[test]
fn fish_completes() {
    let (sandbox, prefix) = installed();
    let probes = for_each(|typed| {
        format!("echo (complete -C 'ansible-notify {typed}' | string replace -r '\\t.*' '')")
    });
    let source = "source $PREFIX/share/fish/vendor_completions.d/ansible-notify.fish\n";
    let said = run(
        &sandbox,
        &prefix,
        &["fish", "--no-config"],
        &format!("{source}{probes}"),
    );
    expect_words(&said);
}

#[test]
fn zsh_completes() {
    let (sandbox, prefix) = installed();
    // Outside of its line editor zsh completes nothing: what is handed to it is printed.
    let script = r#"
        compdef() { : }
        _describe() { print -r -- ${${(P)argv[3]}%%:*} }
        source "$PREFIX/share/zsh/site-functions/_ansible-notify"
        probe() { words=("$@") CURRENT=$#; _clap_dynamic_completer_ansible_notify }
    "#;
    let probes = for_each(|typed| format!("probe ansible-notify {typed}"));
    let said = run(
        &sandbox,
        &prefix,
        &["zsh", "-f"],
        &format!("{script}{probes}"),
    );
    expect_words(&said);
}

/// A prompt as people have it, behind a terminal: what stands on its line after the tabulator.
#[test]
fn zsh_completes_at_its_prompt() {
    let (sandbox, prefix) = installed();
    let settings = r#"
        fpath=("$PREFIX/share/zsh/site-functions" $fpath)
        autoload -Uz compinit && compinit -u -D
        PS1=READY
        show() { print -r -- "$BUFFER" >> typed; BUFFER= }
        zle -N show
        bindkey '^T' show
    "#;
    sandbox.file("home/.zshrc", settings);
    let begin = r#"
        zmodload zsh/zpty
        zpty prompt "HOME=$HOME/home TERM=vt100 zsh -i"
        zpty -r prompt line '*READY*'
    "#;
    let typed = for_each(|typed| format!("zpty -w -n prompt $'ansible-notify {typed}\\t\\x14'"));
    let end = "zpty -w prompt exit\nwhile zpty -r prompt line; do :; done\ncat typed\n";
    let script = format!("{begin}{typed}{end}");
    let said = run(&sandbox, &prefix, &["zsh", "-f"], &script);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), WORDS.len(), "{said}");
    for ((typed, expected), line) in WORDS.iter().zip(lines) {
        let before = typed.rsplit_once(' ').map_or("", |(before, _)| before);
        let line = line.strip_prefix("ansible-notify ").unwrap_or_default();
        let completed = format!("{before} {}", expected.join(" "));
        assert_eq!(line.trim(), completed.trim(), "{typed}");
    }
}

#[test]
fn installing_builds_nothing() {
    let (_sandbox, prefix) = installed();
    for file in [
        "bin/ansible-notify",
        "share/man/man1/ansible-notify.1",
        "share/man/man1/ansible-notify-import-awx.1",
        "share/man/man5/plugin_config.ini.5",
    ] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    let version = Command::new(prefix.join("bin/ansible-notify"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.stdout.starts_with(b"ansible-notify "));

    let empty = Sandbox::new();
    let missing = empty.path("missing");
    for variables in [
        [
            format!("BINARY={}", missing.display()),
            "COMPLETIONS=/tmp".to_owned(),
        ],
        [
            format!("BINARY={BINARY}"),
            format!("COMPLETIONS={}", missing.display()),
        ],
    ] {
        let root = format!("DESTDIR={}", empty.path("root").display());
        let output = make(
            &["install", &variables[0], &variables[1], &root],
            "/usr/bin:/bin",
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("run `make build` first"), "{said}");
        assert!(!output.status.success());
        assert!(!empty.path("root").exists());
    }
}
