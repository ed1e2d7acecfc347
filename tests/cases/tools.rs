//! The commands beside the main job: init, schema, completions, man.

use std::path::Path;
use std::process::Stdio;

use crate::sandbox::{BINARY, Sandbox};

#[test]
fn init_writes_what_a_playbook_needs_and_overwrites_nothing() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&["init", "site"]);
    outcome.expect(0, "");
    assert!(
        outcome
            .stdout
            .contains("wrote site/callback_plugins/ansible_notify.py")
    );
    let page = include_str!("../../docs/getting-started.md");
    let (_, settings) = page.split_once("```ini ansible.cfg\n").unwrap();
    for line in settings.lines().take_while(|line| *line != "```") {
        assert!(outcome.stdout.contains(&format!("    {line}\n")), "{line}");
        let example = include_str!("../../examples/ansible.cfg");
        assert!(example.contains(&format!("{line}\n")), "{line}");
    }
    let plugin =
        std::fs::read_to_string(sandbox.path("site/callback_plugins/ansible_notify.py")).unwrap();
    let last = plugin.strip_prefix(include_str!("../../callback_plugins/ansible_notify.py"));
    // Below it is only the line by which `--upgrade` recognizes it.
    assert_eq!(last.map(|line| line.lines().count()), Some(1));
    sandbox
        .run(&["check-config", "--project", "site/callback_plugins"])
        .expect(0, "");

    std::fs::write(
        sandbox.path("site/callback_plugins/plugin_config.ini"),
        "mine",
    )
    .unwrap();
    let outcome = sandbox.run(&["init", "site"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome
            .stderr
            .contains("plugin_config.ini` already exists, left unchanged"),
        "{outcome:?}"
    );
    assert_eq!(
        std::fs::read_to_string(sandbox.path("site/callback_plugins/plugin_config.ini")).unwrap(),
        "mine"
    );

    sandbox.file("taken", "");
    sandbox
        .run(&["init", "taken"])
        .expect_line(66, &["cannot create `taken/callback_plugins`"]);
}

#[test]
fn the_schema_describes_the_events() {
    let sandbox =
        Sandbox::with_config("[inputs]\ncallback_url = http://localhost/\n[outputs]\ne = event\n");
    let schema: serde_json::Value = serde_json::from_str(&sandbox.run(&["schema"]).stdout).unwrap();
    let event = r#"{"state":"failed","host":"h","task":"t","play":"p","item":1,"duration":0.5,"result":{"rc":1},"truncated":true}"#;
    let preview = sandbox
        .run_with_input(&["send", "-", "--dry-run"], event)
        .stdout;
    let body: serde_json::Value =
        serde_json::from_str(preview.trim_end().lines().last().unwrap()).unwrap();
    let event = body["e"].as_object().unwrap();
    for part in ["", "run", "play", "task", "host"] {
        let (fields, described) = match part {
            "" => (event, &schema["properties"]),
            part => (
                event[part].as_object().unwrap(),
                &schema["properties"][part]["properties"],
            ),
        };
        for field in fields.keys() {
            assert!(
                described.get(field).is_some(),
                "the schema has no {part} {field}"
            );
        }
    }
    for required in schema["required"].as_array().unwrap() {
        assert!(event.contains_key(required.as_str().unwrap()));
    }
}

#[test]
fn completions_and_the_manual_are_printed() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = sandbox.run(&["completions", shell]);
        outcome.expect(0, "");
        // Called by its path, as it may be on no PATH.
        assert!(outcome.stdout.contains(BINARY), "{shell}");
    }
    assert!(
        sandbox
            .run(&["man"])
            .stdout
            .contains(".TH ansible-notify 1")
    );
    let version = format!("ansible-notify {}\n", env!("CARGO_PKG_VERSION"));
    for arguments in [&["--version"], &["-V"]] {
        // Plugins read it: it stays one line.
        assert_eq!(sandbox.run(arguments).stdout, version);
    }
    for arguments in [["--version", "--verbose"], ["--verbose", "-V"]] {
        let outcome = sandbox.run(&arguments);
        outcome.expect(0, "");
        let versions = outcome.stdout.strip_prefix(&version).unwrap();
        let names = versions.lines().map(|line| {
            let (name, number) = line.split_once(": ").unwrap();
            assert!(number.parse::<u32>().unwrap() > 0, "{line}");
            name
        });
        let names: Vec<&str> = names.collect();
        assert_eq!(names, ["protocol", "spool", "event schema"]);
    }
    let refused = sandbox.run(&["--verbose", "status"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--version"), "{refused:?}");
}

#[test]
fn what_cannot_be_printed_is_said() {
    let sandbox = Sandbox::sending_to("http://localhost/");
    sandbox.file("event.json", r#"[{"state":"failed"},{"state":"failed"}]"#);
    let run = |arguments: &[&str], output: Stdio| {
        crate::sandbox::outcome(sandbox.command(arguments).stdout(output).spawn().unwrap())
    };
    for arguments in [
        &["schema"][..],
        &["completions", "bash"],
        &["man"],
        &["check-config", "--json"],
        &["status", "--json"],
        &["routes", "event.json"],
        &["send", "--dry-run", "event.json"],
        &["init"],
    ] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let outcome = run(arguments, full.into());
        let said = "ansible-notify: cannot write to standard output: No space left on device (os error 28)";
        // `status` says before that nothing was sent.
        assert_eq!(outcome.stderr.lines().last(), Some(said), "{outcome:?}");
        assert_eq!(outcome.code, 74, "{outcome:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let outcome = run(arguments, writer.into());
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!outcome.stderr.contains("standard output"), "{outcome:?}");
    }
}

#[test]
fn the_units_for_systemd_are_sound() {
    let sandbox = Sandbox::new();
    let verify = |manager: &str, folder: &str, from: &str, to: &str| {
        let mut command = std::process::Command::new("systemd-analyze");
        command
            .args([manager, "--man=no", "verify"])
            .env("XDG_RUNTIME_DIR", sandbox.root())
            .env("HOME", sandbox.root());
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let units = std::fs::read_dir(examples).unwrap();
        let paths = units.map(|unit| unit.unwrap().path());
        for path in paths.filter(|path| path.is_file()) {
            let text = std::fs::read_to_string(&path).unwrap();
            // It looks whether the program is there.
            let text = text.replace("/usr/local/bin/ansible-notify", BINARY);
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = format!("{manager}/{name}");
            command.arg(sandbox.file(&name, text.replace(from, to)));
        }
        let output = command
            .output()
            .expect("tests/setup.sh systemd-analyze=systemd");
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for (manager, folder) in [
        ("--user", "examples/systemd"),
        ("--system", "examples/systemd/system"),
    ] {
        assert_eq!(verify(manager, folder, "", ""), (true, String::new()));
        let (sound, said) = verify(manager, folder, "UMask=", "UMaks=");
        assert!(said.contains("UMaks"), "{sound} {said}");
    }
}
