//! An `ansible.cfg`, found and read as Ansible does.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::system::home;

/// Name of the file.
const NAME: &str = "ansible.cfg";

/// Values of a file by section, and by key in lower case.
#[derive(Debug, Default)]
pub struct Settings {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

/// Finds the file that Ansible would read here; notes why a file is ignored.
pub fn find(ignored: &mut Vec<String>) -> Option<PathBuf> {
    let named = home::variable("ANSIBLE_CONFIG").map(|path| match path.is_dir() {
        true => path.join(NAME),
        false => path,
    });
    let mut here = Some(PathBuf::from(NAME)).filter(|path| path.exists());
    // Ansible's own rule: anyone who can write there could choose the callbacks.
    if here.is_some() && is_writable_by_all(Path::new(".")) {
        ignored.push("./ansible.cfg is ignored: everyone can write to its directory".to_owned());
        here = None;
    }
    let own = home::directory().map(|home| home.join(".ansible.cfg"));
    let system = Some(Path::new("/etc/ansible").join(NAME));
    let mut paths = [named, here, own, system].into_iter().flatten();
    paths.find(|path| path.is_file())
}

fn is_writable_by_all(folder: &Path) -> bool {
    let metadata = folder.metadata();
    metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

impl Settings {
    /// Reads a text as Python's configparser does for Ansible. An error has the number of its line.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let mut section: Option<String> = None;
        // The last key, and its indentation: deeper lines continue its value.
        let mut last: Option<(String, usize)> = None;
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let content = without_comment(line);
            if content.is_empty() {
                continue;
            }
            let indentation = line.len() - line.trim_start().len();
            let wrong = |problem: &str| Err(format!("line {}: {problem}", number + 1));
            if let (Some(section), Some((key, above))) = (&section, &last)
                && indentation > *above
            {
                let values = settings.sections.entry(section.clone()).or_default();
                let value = values.entry(key.clone()).or_default();
                value.push('\n');
                value.push_str(content);
                continue;
            }
            last = None;
            if let Some(name) = content
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
            {
                section = Some(name.0.to_owned());
                continue;
            }
            let Some(section) = &section else {
                return wrong("there is no [section] above it");
            };
            let Some((key, value)) = content.split_once(['=', ':']) else {
                return wrong("it is neither a section nor `key = value`");
            };
            let key = key.trim().to_lowercase();
            let values = settings.sections.entry(section.clone()).or_default();
            values.insert(key.clone(), value.trim().to_owned());
            last = Some((key, indentation));
        }
        Ok(settings)
    }

    /// Returns a value, without quotes around it; an empty one counts as absent.
    pub fn get(&self, section: &str, key: &str) -> Option<String> {
        let value = self.sections.get(section)?.get(key)?.trim();
        let inner = ['"', '\''].into_iter().find_map(|quote| {
            let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
            (value.len() > 1).then_some(inner)
        });
        let value = inner.unwrap_or(value);
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Returns the keys of a section.
    pub fn keys(&self, section: &str) -> Vec<&str> {
        let keys = self.sections.get(section).into_iter();
        keys.flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// Returns the enabled callbacks, without the name of their collection if that is community.general.
    pub fn enabled(&self) -> BTreeSet<String> {
        let of_environment = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let listed = of_environment("ANSIBLE_CALLBACKS_ENABLED")
            .or_else(|| of_environment("ANSIBLE_CALLBACK_WHITELIST"))
            .or_else(|| self.get("defaults", "callbacks_enabled"))
            .or_else(|| self.get("defaults", "callback_whitelist"))
            .unwrap_or_default();
        let names = listed.split([',', '\n']).map(str::trim);
        let names = names.map(|name| name.strip_prefix("community.general.").unwrap_or(name));
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Returns a line without a comment: a whole line after `#` or `;`, or the end after ` ;`.
fn without_comment(line: &str) -> &str {
    let content = line.trim();
    if content.starts_with(['#', ';']) {
        return "";
    }
    let mut marks = content.match_indices(';');
    let is_comment = |at: &usize| content[..*at].ends_with(char::is_whitespace);
    let end = marks.find_map(|(at, _)| Some(at).filter(is_comment));
    content[..end.unwrap_or(content.len())].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_parsed_like_configparser() {
        let text = "# a comment\n[defaults]\nCallbacks_Enabled: community.general.slack,\n  mail ; and more\n    # none\n\
            ;x = 1\n[callback_slack]\nchannel = \"#ops;x\"\nwebhook_url=https://h/x?a=b;c ; d\nempty =\n";
        let settings = Settings::parse(text).unwrap();
        let get = |key| settings.get("callback_slack", key);
        assert_eq!(get("channel").as_deref(), Some("#ops;x"));
        assert_eq!(get("webhook_url").as_deref(), Some("https://h/x?a=b;c"));
        assert_eq!(get("empty"), None);
        let enabled = ["mail", "slack"].map(str::to_owned);
        assert_eq!(settings.enabled(), enabled.into());
        for (text, line) in [("a = 1\n", "line 1"), ("[a]\n\nb\n", "line 3")] {
            assert!(
                Settings::parse(text).unwrap_err().starts_with(line),
                "{text}"
            );
        }
    }
}
