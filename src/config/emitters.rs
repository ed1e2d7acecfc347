//! Settings of ansible-runner's own emitters, ansible-runner-http and the ZeroMQ one, as sections.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use saphyr::Yaml;
use serde::Deserialize;

use super::entry::{Entry, File, Origin};
use super::section::Section;
use super::yaml;
use crate::secret;
use crate::system::trusted;

/// Names of the destinations.
const HTTP: &str = "runner-http";
const ZEROMQ: &str = "runner-zeromq";

/// Size limit of a settings file, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// Values found under these names in `env/settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Emitters {
    pub runner_http_url: Option<String>,
    pub runner_http_path: Option<String>,
    pub runner_http_headers: Option<BTreeMap<String, String>>,
    pub runner_socket_url: Option<String>,
}

/// A setting with the place that it came from.
type Found = Option<(String, Origin)>;

/// Builds sections from the file, from the settings passed to the run, and from the environment, which
/// takes precedence where it is `allowed` to give one of these keys.
pub fn sections(file: &Path, given: &Emitters, allowed: &dyn Fn(&[&str]) -> bool) -> Vec<Section> {
    let (stored, text) = read(file);
    let origin = |key: &str| {
        let file = Rc::new(File {
            path: file.to_owned(),
            exposed: None,
        });
        let line = text.lines().position(|line| line.contains(key));
        Origin::File {
            file,
            line: line.unwrap_or(0) + 1,
        }
    };
    let find =
        |key: &'static str, variable: &'static str, field: fn(&Emitters) -> Option<String>| {
            let value = environment(variable).filter(|_| allowed(keys_from(variable)));
            if let Some(value) = value {
                return Some((value, Origin::Environment(variable)));
            }
            match (field(given), field(&stored)) {
                (Some(given), stored) if stored.as_ref() != Some(&given) => {
                    Some((given, Origin::Runner))
                }
                (_, stored) => stored.map(|value| (value, origin(key))),
            }
        };
    let url = find("runner_http_url", "RUNNER_HTTP_URL", |settings| {
        settings.runner_http_url.clone()
    });
    let path = find("runner_http_path", "RUNNER_HTTP_PATH", |settings| {
        settings.runner_http_path.clone()
    });
    let headers = find("runner_http_headers", "RUNNER_HTTP_HEADERS", |settings| {
        let headers = settings.runner_http_headers.as_ref()?;
        serde_json::to_string(headers).ok()
    });
    let socket = find("runner_socket_url", "RUNNER_SOCKET_URL", |settings| {
        settings.runner_socket_url.clone()
    });
    http(url, path, headers, allowed)
        .into_iter()
        .chain(zeromq(socket))
        .collect()
}

/// Returns the keys of a section that a variable sets.
fn keys_from(variable: &str) -> &'static [&'static str] {
    match variable {
        "RUNNER_HTTP_URL" => &["url", "socket"],
        "RUNNER_HTTP_PATH" | "RUNNER_SOCKET_URL" => &["url"],
        "RUNNER_HTTP_HEADERS" => &["headers"],
        _ => &["ca_file"],
    }
}

/// Returns true if the settings or the environment name a destination.
pub fn are_set(emitters: &Emitters) -> bool {
    let given = [&emitters.runner_http_url, &emitters.runner_socket_url];
    given
        .into_iter()
        .flatten()
        .cloned()
        .chain(environment("RUNNER_HTTP_URL"))
        .chain(environment("RUNNER_SOCKET_URL"))
        .any(|url| !url.is_empty())
}

/// Returns the remedy for a destination whose settings were in no file, or in one that is gone or not
/// trusted: they are not stored.
pub fn how_to_name(destination: &str, file: &Path) -> String {
    let gone = || "the settings of its ansible-runner no longer exist".to_owned();
    let reason = refused(file).unwrap_or_else(gone);
    if destination == ZEROMQ {
        format!("{reason}; set RUNNER_SOCKET_URL")
    } else {
        format!("{reason}; set RUNNER_HTTP_URL (and RUNNER_HTTP_PATH, RUNNER_HTTP_HEADERS as JSON)")
    }
}

/// Builds the section for the endpoint that ansible-runner-http would post to.
fn http(
    url: Found,
    path: Found,
    headers: Found,
    allowed: &dyn Fn(&[&str]) -> bool,
) -> Option<Section> {
    let (url, origin) = url.filter(|(url, _)| !url.is_empty())?;
    let mut section = drop_in(HTTP, "webhook", &origin);
    if Path::new(&url).exists() {
        let socket = std::path::absolute(&url).unwrap_or_else(|_| url.clone().into());
        set(&mut section, "socket", &socket.to_string_lossy(), origin);
        let (path, origin) = path.unwrap_or_else(|| ("/".to_owned(), Origin::DropIn));
        let slash = if path.starts_with('/') { "" } else { "/" };
        set(
            &mut section,
            "url",
            &format!("http://localhost{slash}{path}"),
            origin,
        );
    } else {
        set(&mut section, "url", &url, origin);
        let secure = url.starts_with("https:");
        // Python's requests does the same.
        set(&mut section, "proxy", "env", Origin::DropIn);
        for variable in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            let bundle = environment(variable).filter(|path| Path::new(path).is_file());
            let counts = secure && allowed(keys_from(variable));
            if let Some(bundle) = bundle.filter(|_| counts) {
                set(
                    &mut section,
                    "ca_file",
                    &bundle,
                    Origin::Environment(variable),
                );
                break;
            }
        }
    }
    if let Some((headers, origin)) = headers {
        // Values are treated as secrets, whatever the headers are called.
        let parsed: BTreeMap<String, String> = serde_json::from_str(&headers).unwrap_or_default();
        parsed.values().for_each(|value| secret::mask(value));
        set(&mut section, "headers", &headers, origin);
    }
    Some(section)
}

fn zeromq(url: Found) -> Option<Section> {
    let (url, origin) = url.filter(|(url, _)| !url.is_empty())?;
    let mut section = drop_in(ZEROMQ, "zeromq", &origin);
    set(&mut section, "url", &url, origin);
    Some(section)
}

/// Returns a section that sends all of ansible-runner's events, in its own form and order.
fn drop_in(name: &str, kind: &str, origin: &Origin) -> Section {
    let mut section = Section::new(&format!("notifier:{name}"), origin.clone());
    for (key, value) in [
        ("type", kind),
        ("on", "runner"),
        ("format", "runner"),
        ("order", "run"),
    ] {
        set(&mut section, key, value, Origin::DropIn);
    }
    section
}

fn set(section: &mut Section, key: &str, value: &str, origin: Origin) {
    section.set(Entry {
        key: key.to_owned(),
        value: value.to_owned(),
        origin,
    });
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns why an existing settings file is not used, if so.
pub fn refused(file: &Path) -> Option<String> {
    let above = trusted::replaceable(file);
    let reason = above.or_else(|| Some(trusted::read(file, MAX_SIZE).err()?.to_string()));
    reason.filter(|_| file.symlink_metadata().is_ok())
}

/// Reads the file: its settings and its text. A file that is missing, not trusted or not YAML yields
/// nothing: ansible-runner has already reported what it read.
fn read(file: &Path) -> (Emitters, String) {
    let trusted = trusted::replaceable(file).is_none();
    let read = trusted
        .then(|| trusted::read(file, MAX_SIZE).ok())
        .flatten();
    let bytes = read.map(|file| file.bytes).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    (parse(&text).unwrap_or_default(), text)
}

fn parse(text: &str) -> Option<Emitters> {
    let settings = yaml::load(text)?;
    let value = |key: &str| Some(settings.as_mapping_get(key)?.as_str()?.to_owned());
    let headers = settings
        .as_mapping_get("runner_http_headers")
        .and_then(Yaml::as_mapping)
        .map(|headers| {
            let text = |(name, value): (&Yaml, &Yaml)| Some((scalar(name)?, scalar(value)?));
            headers.iter().filter_map(text).collect()
        });
    Some(Emitters {
        runner_http_url: value("runner_http_url"),
        runner_http_path: value("runner_http_path"),
        runner_http_headers: headers,
        runner_socket_url: value("runner_socket_url"),
    })
}

/// Returns a scalar as text.
fn scalar(value: &Yaml) -> Option<String> {
    value
        .as_str()
        .map(str::to_owned)
        .or_else(|| value.as_integer().map(|number| number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_yaml_or_json() {
        let yaml = "---\nidle_timeout: 600\nrunner_http_url: https://h/events\n\
            runner_http_headers:\n  X-Token: s3cret\n  X-Number: 5\nrunner_socket_url: tcp://h:5556\n";
        let json = r#"{"idle_timeout": 600, "runner_http_url": "https://h/events",
            "runner_http_headers": {"X-Token": "s3cret", "X-Number": 5}, "runner_socket_url": "tcp://h:5556"}"#;
        let settings = parse(yaml).unwrap();
        assert_eq!(Some(&settings), parse(json).as_ref());
        assert_eq!(
            settings.runner_http_url.as_deref(),
            Some("https://h/events")
        );
        assert_eq!(settings.runner_http_headers.unwrap()["X-Number"], "5");
        assert_eq!(settings.runner_http_path, None);
        for nothing in ["", "- a\n", "a: [", "\"text\""] {
            assert_eq!(
                parse(nothing).unwrap_or_default(),
                Emitters::default(),
                "{nothing}"
            );
        }
    }

    #[test]
    fn a_setting_of_the_file_is_found_again_and_any_other_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings");
        std::fs::write(&file, "a: 1\nrunner_http_url: http://h/\n").unwrap();
        let places = |given: &Emitters| -> Vec<String> {
            let sections = sections(&file, given, &|_| true);
            let urls = sections.iter().flat_map(|section| &section.entries);
            urls.filter(|entry| entry.key == "url")
                .map(|entry| format!("{} {}", entry.value, entry.origin))
                .collect()
        };
        let same = Emitters {
            runner_http_url: Some("http://h/".into()),
            ..Emitters::default()
        };
        let found = format!("http://h/ {}:2", file.display());
        for given in [same, Emitters::default()] {
            assert_eq!(places(&given), std::slice::from_ref(&found));
        }
        let other = Emitters {
            runner_http_url: Some("http://other/".into()),
            runner_socket_url: Some("ipc:///run/s".into()),
            ..Emitters::default()
        };
        let elsewhere =
            ["http://other/", "ipc:///run/s"].map(|url| format!("{url} ansible-runner's settings"));
        assert_eq!(places(&other), elsewhere);
    }
}
