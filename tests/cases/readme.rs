//! What the documentation says is true: its examples work, and nothing that exists is left out.

use std::collections::BTreeMap;

use crate::sandbox::Sandbox;

/// The README and its reference pages.
const README: &str = concat!(
    include_str!("../../README.md"),
    include_str!("../../docs/getting-started.md"),
    include_str!("../../docs/commands.md"),
    include_str!("../../docs/configuration.md"),
    include_str!("../../docs/delivery.md")
);

/// The fenced blocks of the README and its reference pages that carry exactly this label.
fn blocks(label: &str) -> Vec<String> {
    blocks_of(README, label)
}

fn blocks_of(page: &str, label: &str) -> Vec<String> {
    let opening = format!("```{label}\n");
    let starts = page
        .match_indices(&opening)
        .map(|(at, _)| at + opening.len());
    starts
        .map(|start| page[start..].split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_configuration_in_the_readme_is_good() {
    let configurations = blocks("ini");
    assert!(configurations.len() > 1);
    for mut configuration in configurations {
        if !["[inputs]", "type = "]
            .iter()
            .any(|part| configuration.contains(part))
        {
            configuration.push_str("[inputs]\ncallback_url = http://localhost/\n");
        }
        let sandbox = Sandbox::with_config(&configuration);
        sandbox.file("home/.config/ansible-notify/password", "secret");
        let url = "https://chat.example.com/hooks/x";
        sandbox.file("home/.config/ansible-notify/chat-url", url);
        sandbox.run(&["check-config"]).expect(0, "");
    }
    Sandbox::with_config(include_str!("../../examples/plugin_config.ini"))
        .run(&["check-config"])
        .expect(0, "");
}

/// The lines of the shell in a page, without comments.
fn shell_lines(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let lines = blocks.flat_map(str::lines);
    let lines = lines.map(|line| line.split(" # ").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_first_steps_work_one_after_the_other() {
    let readme = include_str!("../../README.md");
    let lines = shell_lines(readme);
    assert!(lines.len() >= 6, "{lines:?}");
    let server = crate::server::Server::start([crate::server::OK]);
    let sandbox = Sandbox::new();
    let config = "callback_plugins/plugin_config.ini";
    let makefile = read("Makefile");
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ansible-notify", arguments @ ..] => {
                let outcome = sandbox.run(arguments);
                assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
            }
            ["make", target, ..] => assert!(makefile.contains(&format!("\n{target}:")), "{line}"),
            ["ansible-playbook", "site.yml"] => {}
            _ => panic!("{line} is not known"),
        }
        if line == "ansible-notify init" {
            assert!(sandbox.path("callback_plugins/ansible_notify.py").exists());
            let [shown] = blocks_of(readme, "ini").try_into().unwrap();
            let address = "https://ops.example.com/ansible/events";
            assert!(shown.contains(address));
            sandbox.file(config, shown.replace(address, &server.url()));
        }
    }
    // The one of `test`; `check-config --connect` sends no event.
    let posts = server.requests();
    let posts = posts.iter().filter(|request| request.method == "POST");
    assert_eq!(posts.count(), 1);
}

#[test]
fn commands_and_options_in_the_documentation_exist() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let sandbox = Sandbox::new();
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        let quoted = text.split('`').skip(1).step_by(2).map(str::to_owned);
        let commands = quoted.chain(shell_lines(&text));
        for command in commands.filter(|command| !command.contains('\n')) {
            let Some(rest) = command.trim().strip_prefix("ansible-notify ") else {
                continue;
            };
            let mut words = rest.split_whitespace();
            let name = words.next().unwrap();
            if !name
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '-')
                || name.starts_with('-')
            {
                continue;
            }
            let help = helps
                .entry(name.to_owned())
                .or_insert_with(|| sandbox.run(&[name, "--help"]).stdout);
            assert!(!help.is_empty(), "{page}: there is no `{name}`: {command}");
            // What follows belongs to another command.
            let own = words.take_while(|word| !["run", "|", "&&", ">", "--"].contains(word));
            for option in own.filter(|word| word.starts_with("--") && name != "run") {
                let option = option.split(['=', ',', ')', ';']).next().unwrap();
                let is_there = help.split([' ', ',', '\n']).any(|word| word == option);
                assert!(is_there, "{page}: `{name}` has no {option}");
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

#[test]
fn the_commented_keys_of_the_example_are_keys() {
    let mut text = String::new();
    for line in include_str!("../../examples/plugin_config.ini").lines() {
        let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        // Either the user and password, or the token.
        let line = key.filter(|key| !key.starts_with("token")).unwrap_or(line);
        text += &format!("{line}\n");
    }
    let text = text
        .replace("~/.config/ansible-notify/password", "password")
        .replace("ca_file", "#ca_file");
    let sandbox = Sandbox::with_config(&text);
    sandbox.file("password", "secret");
    sandbox.run(&["check-config"]).expect(0, "");
}

#[test]
fn the_event_by_hand_is_delivered() {
    let console = blocks("console");
    let example = console
        .iter()
        .find(|block| block.contains("ansible-notify send -"))
        .unwrap();
    let (command, output) = example
        .strip_prefix("$ ")
        .unwrap()
        .split_once('\n')
        .unwrap();
    let server = crate::server::Server::start([crate::server::OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    let input = command.split('\'').nth(1).unwrap();
    sandbox
        .run_with_input(&["send", "-"], input)
        .expect(0, output);
}

#[test]
fn every_command_and_exit_code_is_documented() {
    let help = Sandbox::new().run(&["--help"]).stdout;
    let help = help.replacen("\n", " ", 5);
    let commands = help
        .split("Commands:")
        .nth(1)
        .unwrap()
        .split("Options:")
        .next()
        .unwrap();
    for line in commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
    {
        let command = line.split_whitespace().next().unwrap();
        assert!(
            command == "help" || README.contains(&format!("`{command}")),
            "{command}"
        );
    }
    let words: Vec<&str> = help.split_whitespace().collect();
    let text = words.join(" ");
    let codes = text.split_once("Exit codes: ").unwrap().1;
    let codes = codes.split_once(". ").unwrap().0;
    let codes: Vec<&str> = codes
        .split("; ")
        .map(|meaning| meaning.split_once(' ').unwrap().0)
        .collect();
    let rows = README.lines().filter_map(|line| {
        let first = line.strip_prefix("| ")?.split(" |").next()?;
        first.parse::<u8>().is_ok().then_some(first)
    });
    assert_eq!(rows.collect::<Vec<_>>(), codes);
}

#[test]
fn every_key_and_variable_is_documented() {
    let output = Sandbox::new().run(&["schema", "configuration"]).stdout;
    let known: serde_json::Value = serde_json::from_str(&output).unwrap();
    let keys = |of: &serde_json::Value| -> BTreeMap<String, Vec<String>> {
        serde_json::from_value(of.clone()).unwrap()
    };
    // The forms of a secret are documented once for all.
    let is_form = |key: &str| {
        ["_file", "_env", "_command"]
            .iter()
            .any(|form| key.ends_with(form))
    };
    let check = |place: &str, keys: Vec<String>, page: &str| {
        for key in keys.iter().filter(|key| !is_form(key) || *key == "ca_file") {
            let quoted = format!("`{key}`");
            let is_there = page.contains(&quoted) || README.contains(&quoted);
            assert!(is_there, "{place}: `{key}` is in no page");
        }
    };
    let general = include_str!("../../docs/notifiers/README.md");
    let sections = keys(&known["sections"]);
    // A misnamed section is answered with all sections; the keys of an output are the user's own.
    let misnamed = Sandbox::with_config("[xyzzy]\n").run(&["check-config"]);
    let (_, named) = misnamed.stderr.split_once("known sections: ").unwrap();
    for name in named.lines().next().unwrap().split(", ") {
        let name = name.trim_matches(['[', ']']);
        let has_keys = !name.starts_with("outputs") && name != "notifier:NAME";
        assert_eq!(
            sections.contains_key(name),
            has_keys,
            "{name}: {sections:?}"
        );
    }
    assert!(sections.values().all(|keys| !keys.is_empty()));
    for (section, keys) in sections {
        check(&section, keys, "");
    }
    for (kind, keys) in keys(&known["kinds"]) {
        let page = format!("{}/docs/notifiers/{kind}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(page).unwrap();
        check(&kind, keys, &format!("{page}{general}"));
    }
    let context = include_str!("../../src/template/context.rs");
    let variables = context
        .split("const TABLE")
        .nth(1)
        .unwrap()
        .split("];")
        .next()
        .unwrap();
    for name in variables.split('"').skip(1).step_by(2) {
        assert!(README.contains(&format!("`{name}`")), "variable {name}");
    }
}

/// Events for each branch of the default templates.
const EVENTS: &str = r#"[
{"state":"failed","host":"a","task":{"name":"t","path":"/x.yml:3"},"result":{"msg":"boom"}},
{"state":"failed","host":"b","task":{"name":"t"},"ignored":true,"result":{"msg":"boom"}},
{"state":"unreachable","host":"c","task":{"name":"t"},"result":{"msg":"gone"}},
{"state":"success","host":"d","task":{"name":"t"},"changed":true},
{"event":"playbook_on_task_start","task":{"name":"u"}},
{"event":"run_start","run":{"playbook":"s.yml","user":"anna","controller":"deploy1"}},
{"event":"run_end","status":"canceled","run":{"playbook":"s.yml"}},
{"event":"run_end","status":"success","run":{"playbook":"s.yml","check":true},"stats":{"a":{"changed":1}}},
{"event":"run_end","status":"error","run":{"playbook":"s.yml"},"reason":"no such role"},
{"event":"run_end","status":"error","run":{"playbook":"s.yml"},"failures":12,"failed_tasks":[
{"host":"a","task":"t","path":"/x.yml:1","message":"boom"},{"host":"b","task":"t","message":"boom"}]}
]"#;

/// Events that are one message with `group_by = task`.
const GROUP: &str = r#"[
{"state":"failed","host":"a","task":{"name":"t"},"result":{"msg":"boom"}},
{"state":"failed","host":"b","task":{"name":"t"},"result":{"msg":"boom"}}
]"#;

#[test]
fn the_templates_that_are_shown_are_the_defaults() {
    let shown = include_str!("../../docs/notifiers/README.md");
    let mut shown = shown.split("```jinja\n").skip(1).map(|rest| {
        let template = rest.split_once("\n```").unwrap().0;
        template.replace('\n', "\n    ")
    });
    let (subject, message) = (shown.next().unwrap(), shown.next().unwrap());
    let texts = |templates: &str| {
        let server = crate::server::ntfy::start();
        let config = format!(
            "[notifier:phone]\ntype = ntfy\napi_url = {}\ntopic = ops\ntoken = {}\n\
             on = any, started, playbook_on_task_start\n{templates}\n",
            server.at("/"),
            crate::server::ntfy::TOKEN
        );
        let sandbox = Sandbox::with_config(&config);
        sandbox.file("grouped.ini", config.clone() + "group_by = task\n");
        let mut all = sandbox
            .run_with_input(&["send", "-", "--dry-run"], EVENTS)
            .stdout;
        let grouped = ["send", "-", "--config", "grouped.ini"];
        assert_eq!(sandbox.run_with_input(&grouped, GROUP).code, 0);
        // No event by hand says that a run recovered.
        assert_eq!(sandbox.run(&["test", "--trigger", "recovered"]).code, 0);
        for body in server.bodies() {
            all += &format!("{} {}\n", body["title"], body["message"]);
        }
        all.replace(&server.at("/"), "")
    };
    let defaults = texts("");
    for branch in [
        "started",
        "recovered",
        "succeeded (check mode)",
        "s.yml failed",
        "canceled",
        "2 results on 2 hosts",
        "unreachable",
        "changed",
        "ignored",
        "boom",
        "and 2 more",
        "no such role",
        "anna on deploy1",
    ] {
        assert!(defaults.contains(branch), "no {branch} in {defaults}");
    }
    let templates = format!("subject =\n    {subject}\nmessage =\n    {message}");
    assert_eq!(texts(&templates), defaults);
}

const GUIDE: &str = include_str!("../../docs/adding-a-notifier.md");
const CONTRIBUTING: &str = include_str!("../../CONTRIBUTING.md");
const ARCHITECTURE: &str = include_str!("../../docs/architecture.md");

fn read(path: &str) -> String {
    let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_code_of_the_guide_is_the_code_of_the_program() {
    let mut shown = Vec::new();
    for block in GUIDE.split("\n```").skip(1).step_by(2) {
        let (label, code) = block.split_once('\n').unwrap();
        if let Some((_, path)) = label.split_once(' ') {
            let code = format!("{code}\n");
            let file = read(path);
            assert!(
                file.contains(&code),
                "{path} has other code than this:\n{code}"
            );
            shown.push((path, file == code));
        }
    }
    for path in [
        "src/notifier/ntfy.rs",
        "examples/notifiers/ntfy.ini",
        "tests/server/ntfy.rs",
    ] {
        assert!(shown.contains(&(path, true)), "{path} is not shown whole");
    }
    let lines = shown
        .iter()
        .filter(|(path, _)| *path == "src/notifier/mod.rs");
    assert_eq!(lines.count(), 2);
}

#[test]
fn the_guide_explains_what_a_kind_consists_of() {
    let source = read("src/notifier/mod.rs") + &read("src/notifier/over_http.rs");
    let bullets = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
    let mut explained = 0;
    for (first, rest) in bullets {
        let second = rest
            .strip_prefix(" and `")
            .and_then(|rest| rest.split('`').next());
        for name in [first].into_iter().chain(second) {
            let forms = [format!("fn {name}("), format!("pub {name}: ")];
            let is_there = forms.iter().any(|form| source.contains(form));
            assert!(is_there, "{name} is neither a method nor a field of a kind");
            explained += 1;
        }
    }
    assert!(explained > 5);
}

#[test]
fn every_path_in_the_documentation_exists() {
    for text in [GUIDE, CONTRIBUTING, ARCHITECTURE, README] {
        let mut paths = 0;
        for path in text
            .split('`')
            .filter(|path| !path.contains(['*', ' ', '\n']))
        {
            let is_path = ["src/", "tests/", "docs/", "examples/", "python/"]
                .iter()
                .any(|folder| path.starts_with(folder));
            if is_path {
                let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
                assert!(whole.exists(), "{path}");
                paths += 1;
            }
        }
        assert!(paths > 0 || text == README);
    }
}

/// Every page of the documentation, by its path.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(str::to_owned)
    .into();
    for folder in ["docs", "docs/notifiers"] {
        let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in std::fs::read_dir(whole).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    pages
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars()
            .filter(|character| character.is_alphanumeric() || "-_ ".contains(*character))
            .map(|character| if character == ' ' { '-' } else { character })
            .collect()
    };
    headings.map(slug).collect()
}

/// The links of a page within the repository: path from its root, and anchor.
fn links(path: &str) -> Vec<(String, String)> {
    let folder = std::path::Path::new(path).parent().unwrap();
    let text = read(path);
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let inside = targets.filter(|target| !target.contains("://"));
    inside
        .map(|target| {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let mut whole = Vec::new();
            for part in folder.join(file).components() {
                match part.as_os_str().to_str().unwrap() {
                    ".." => drop(whole.pop()),
                    name => whole.push(name.to_owned()),
                }
            }
            let file = if file.is_empty() {
                path.to_owned()
            } else {
                whole.join("/")
            };
            (file, anchor.to_owned())
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere_and_the_readme_leads_to_every_page() {
    for page in pages() {
        for (file, anchor) in links(&page) {
            let whole = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
            assert!(whole.exists(), "{page}: {file}");
            assert!(
                anchor.is_empty() || anchors(&read(&file)).contains(&anchor),
                "{page}: {file}#{anchor}"
            );
        }
    }
    let linked = links("README.md");
    for page in pages().iter().filter(|page| *page != "README.md") {
        let is_linked = linked.iter().any(|(file, _)| file == page);
        assert!(is_linked, "README.md has no link to {page}");
    }
}

#[test]
fn the_floors_are_told_as_they_are_checked() {
    let script = read("tests/structure.py");
    let (_, list) = script.split_once("FLOORS = [").unwrap();
    let list = list.split(']').next().unwrap();
    let mut floors: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    floors.reverse();
    let (_, told) = CONTRIBUTING.split_once("\n> ").unwrap();
    let told = told.split("\n\n").next().unwrap();
    let told: Vec<&str> = told.split('`').skip(1).step_by(2).collect();
    assert_eq!(told, floors);
    let (_, table) = ARCHITECTURE.split_once("| folder | content |").unwrap();
    let table = table.split("\n\n").next().unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let rows: Vec<&str> = names
        .filter_map(|path| path.strip_prefix("src/"))
        .map(|name| name.trim_end_matches('/').trim_end_matches(".rs"))
        .collect();
    assert_eq!(rows, floors);
}
