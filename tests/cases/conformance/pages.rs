//! The page of each kind.

use super::names;
use crate::sandbox::Sandbox;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The source of a kind: a file, or a folder where it has more than one.
fn source_of(kind: &str) -> String {
    let folder = format!("src/notifier/{kind}/mod.rs");
    match std::fs::exists(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))) {
        Ok(true) => read(&folder),
        _ => read(&format!("src/notifier/{kind}.rs")),
    }
}

/// The first block of a page that is a configuration.
fn example(page: &str) -> &str {
    let (_, rest) = page.split_once("```ini\n").expect("an example");
    rest.split_once("```").unwrap().0
}

#[test]
fn every_kind_has_a_page_whose_example_works() {
    for name in names() {
        let page = read(&format!("docs/notifiers/{name}.md"));
        let file = read(&format!("examples/notifiers/{name}.ini"));
        let (_, keys) = file.split_once('\n').unwrap();
        assert_eq!(
            keys,
            example(&page),
            "{name}: the example and its page differ"
        );
        let sandbox = Sandbox::with_config(&file);
        for line in file.lines() {
            if let Some((key, path)) = line.split_once('=')
                && key.trim().ends_with("_file")
            {
                let secret = match key.trim() {
                    "url_file" => "https://example.com/hooks/canary",
                    "signing_secret_file" => "whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5",
                    _ => "123456:canary",
                };
                sandbox.file(path.trim(), secret);
            }
        }
        let checked = sandbox.run(&["check-config"]);
        checked.expect(0, "");
        assert!(!checked.stdout.contains("canary"), "{checked:?}");
        assert_eq!(page.lines().next(), Some(format!("# {name}").as_str()));
        for part in [
            "**What it needs",
            "**What it looks like.**",
            "| key | meaning |",
        ] {
            assert!(page.contains(part), "{name} lacks {part}");
        }
        for (list, link) in [
            (
                "README.md",
                format!("| [`{name}`](docs/notifiers/{name}.md) | "),
            ),
            (
                "docs/notifiers/README.md",
                format!("| [`{name}`]({name}.md) | "),
            ),
        ] {
            assert!(read(list).contains(&link), "{list} lacks {name}");
        }
    }
}

/// The keys that a source asks a section for.
fn keys(source: &str) -> Vec<String> {
    let getters = [
        "text",
        "flag",
        "count",
        "duration",
        "parsed",
        "choice",
        "list",
        "lines",
        "path",
        "file",
        "secret",
        "url",
        "required",
        "required_host",
        "required_secret",
    ];
    let source: String = source.split_whitespace().collect();
    let calls = getters.iter().map(|getter| format!(".{getter}(\""));
    let readers = [
        "read_url(section,\"",
        "read_secret_url(section,\"",
        "number(\"",
        "api_url(section,",
        "required(section,\"",
        "optional(section,\"",
        "Chosen::read(section,\"",
    ];
    let calls = calls.chain(readers.map(str::to_owned));
    let mut keys = Vec::new();
    for call in calls {
        for rest in source.split(&call).skip(1) {
            let key = if call.starts_with("api_url") {
                "api_url"
            } else {
                rest.split('"').next().unwrap()
            };
            keys.push(key.to_owned());
        }
    }
    keys
}

#[test]
fn every_key_of_a_kind_is_on_its_page() {
    for name in names() {
        let page = read(&format!("docs/notifiers/{name}.md"));
        let keys = keys(&source_of(&name));
        assert!(!keys.is_empty(), "{name}");
        for key in keys {
            assert!(page.contains(&format!("`{key}`")), "{name}: {key}");
        }
    }
}
