//! Playbook and inventory of a command line, so that a run that never started is attributed to the right
//! playbook.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ini::Ini;

use crate::config::levels::FILE_NAME;
use crate::event::wrapped::Wrapped;
use crate::event::{Run, new_id};
use crate::system::{home, user};

/// Options of `ansible-playbook` with a value of their own.
const SHORT: &str = "ilfuceMTtJ";
const LONG: [&str; 24] = [
    "--inventory",
    "--inventory-file",
    "--limit",
    "--forks",
    "--user",
    "--connection",
    "--extra-vars",
    "--module-path",
    "--timeout",
    "--tags",
    "--skip-tags",
    "--start-at-task",
    "--vault-id",
    "--vault-password-file",
    "--vault-pass-file",
    "--private-key",
    "--key-file",
    "--ssh-common-args",
    "--sftp-extra-args",
    "--scp-extra-args",
    "--ssh-extra-args",
    "--become-method",
    "--become-user",
    "--become-password-file",
];
/// Options with which Ansible's commands list or check something and run nothing.
const IDLE: [&str; 6] = [
    "--list-tasks",
    "--list-hosts",
    "--list-tags",
    "--syntax-check",
    "--version",
    "--help",
];
/// Inventory of Ansible without configuration.
const DEFAULT_INVENTORY: &str = "/etc/ansible/hosts";

/// Facts about a command before it runs.
pub struct Job {
    pub run: Run,
    /// Name of the program.
    pub program: String,
    /// Directory with the project's configuration, next to the playbook.
    pub project: Option<PathBuf>,
    /// True if its run is that of a playbook, and other Ansible commands only prepare it.
    pub only_playbooks: bool,
    /// True if it is one of Ansible's commands.
    pub is_ansible: bool,
    /// True if it needs the whole screen for itself.
    pub takes_screen: bool,
}

impl Job {
    /// Reads a command line.
    pub fn of(command: &[OsString], name: Option<&str>) -> Job {
        let words: Vec<String> = command
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let programs: Vec<&str> = words.iter().map(|word| base_name(word)).collect();
        let place = |program: &str| programs.iter().position(|known| *known == program);
        let plain = Run {
            id: new_id(),
            user: user::name(),
            controller: Some(rustix::system::uname().nodename().to_string_lossy().into()),
            ..Run::default()
        };
        let mut run = plain.clone();
        if let Some(place) = place("ansible-playbook") {
            Arguments::of(&words[place + 1..]).describe(&mut run);
        }
        let project = run.path.as_deref().and_then(project_of);
        let program = programs[0].to_owned();
        let ansible = programs
            .iter()
            .position(|program| program.starts_with("ansible"));
        let idle = ansible.and_then(|place| idle(programs[place], &words[place + 1..]));
        if idle.is_some() {
            // It does not run the playbook.
            run = plain;
        }
        let is_named = name.is_some() || run.playbook.is_none();
        let title = name.map_or_else(|| idle.unwrap_or_else(|| program.clone()), str::to_owned);
        run.title = is_named.then_some(title);
        let here = std::env::current_dir().unwrap_or_default();
        let key = match run.playbook_key() {
            key if key.is_empty() => format!("{} in {}", run.name(), here.display()),
            key => key,
        };
        // A whole script in one argument is none of them.
        let is_command = |word: &String| !word.contains(char::is_whitespace);
        let is_ansible =
            |word: &&String| base_name(word).starts_with("ansible") && is_command(word);
        run.wrapped = Some(Wrapped {
            key,
            is_script: !words.iter().any(|word| is_ansible(&word)),
            is_started: false,
        });
        let shows =
            |word: &String| ["stdout", "--mode=stdout", "-mstdout"].contains(&word.as_str());
        Job {
            project,
            only_playbooks: place("ansible-pull").is_some(),
            is_ansible: ansible.is_some(),
            takes_screen: place("ansible-navigator").is_some() && !words.iter().any(shows),
            program,
            run,
        }
    }
}

/// Returns the name of an Ansible command that only lists or checks something, with its option and files; None
/// for other commands.
fn idle(program: &str, words: &[String]) -> Option<String> {
    let arguments = Arguments::of(words);
    // Ansible accepts the beginning of a long option, too.
    let is_idle = |flag: &&String| {
        let is_meant = |option: &str| flag.len() > 3 && option.starts_with(flag.as_str());
        *flag == "-h" || IDLE.into_iter().any(is_meant)
    };
    let option = arguments.flags.iter().find(is_idle)?;
    let files = match program {
        "ansible-playbook" => arguments.playbooks.join(" "),
        _ => String::new(),
    };
    let title = format!("{program} {option} {files}");
    Some(title.trim_end().to_owned())
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Returns the directory in which the plugin looks for the project's configuration, if there is one.
fn project_of(playbook: &str) -> Option<PathBuf> {
    let folder = Path::new(playbook).parent()?;
    let mut places = [folder.join("callback_plugins"), folder.to_owned()].into_iter();
    places.find(|place| place.join(FILE_NAME).is_file())
}

/// Arguments of `ansible-playbook`.
#[derive(Default)]
struct Arguments {
    playbooks: Vec<String>,
    options: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Arguments {
    fn of(words: &[String]) -> Arguments {
        let mut arguments = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') || word == "-" {
                arguments.playbooks.push(word.clone());
                continue;
            }
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option.to_owned(), value),
                _ if word.starts_with("--") => (word.clone(), ""),
                // Several letters: the value begins after the first option that has one.
                _ => {
                    let place = word[1..].find(|letter| SHORT.contains(letter));
                    let flags = &word[1..place.map_or(word.len(), |place| place + 1)];
                    let flags = flags.chars().map(|letter| format!("-{letter}"));
                    arguments.flags.extend(flags);
                    let Some(place) = place else { continue };
                    let option = format!("-{}", &word[place + 1..place + 2]);
                    (option, &word[place + 2..])
                }
            };
            let is_short = !option.starts_with("--");
            match value {
                "" if is_short || LONG.contains(&option.as_str()) => {
                    let value = words.next().cloned().unwrap_or_default();
                    arguments.options.push((option, value));
                }
                "" => arguments.flags.push(option),
                value => arguments.options.push((option, value.to_owned())),
            }
        }
        arguments
    }

    fn values<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_named = |(name, _): &&(String, String)| names.contains(&name.as_str());
        let found = self.options.iter().filter(is_named);
        found.map(|(_, value)| value.as_str())
    }

    fn list(&self, names: &[&str]) -> Vec<String> {
        let values = self.values(names).flat_map(|value| value.split(','));
        values.map(|value| value.trim().to_owned()).collect()
    }

    /// Adds them to the run, in the plugin's form.
    fn describe(&self, run: &mut Run) {
        let paths: Vec<String> = self.playbooks.iter().map(|path| absolute(path)).collect();
        let Some(first) = paths.first() else { return };
        run.playbook = Some(base_name(first).to_owned());
        run.path = Some(first.clone());
        run.check = self
            .flags
            .iter()
            .any(|flag| ["-C", "--check"].contains(&flag.as_str()));
        run.limit = self.values(&["-l", "--limit"]).last().map(str::to_owned);
        run.tags = self.list(&["-t", "--tags"]);
        run.skip_tags = self.list(&["--skip-tags"]);
        run.start_at_task = self.values(&["--start-at-task"]).last().map(str::to_owned);
        let given = self.values(&["-i", "--inventory", "--inventory-file"]);
        run.inventory = given.map(inventory).collect();
        if run.inventory.is_empty() {
            run.inventory = default_inventory();
        }
        if paths.len() > 1 {
            run.playbooks = paths;
        }
    }
}

/// Returns an inventory in Ansible's form: a list of hosts unchanged, a file with its absolute path.
fn inventory(source: &str) -> String {
    match source.contains(',') {
        true => source.to_owned(),
        false => absolute(source),
    }
}

/// Returns the inventories of a command line that names none.
fn default_inventory() -> Vec<String> {
    let here = std::env::current_dir().unwrap_or_default();
    let listed = |list: &str, folder: &Path| {
        let names = list.split(',').map(|name| resolved(name.trim(), folder));
        names.collect::<Vec<String>>()
    };
    if let Some(list) = home::variable("ANSIBLE_INVENTORY") {
        return listed(&list.to_string_lossy(), &here);
    }
    let configured = configuration().and_then(|file| {
        let read = Ini::load_from_file(&file).ok()?;
        let list = read.get_from(Some("defaults"), "inventory")?.to_owned();
        Some(listed(&list, file.parent()?))
    });
    configured.unwrap_or_else(|| vec![DEFAULT_INVENTORY.to_owned()])
}

/// Returns Ansible's configuration file.
fn configuration() -> Option<PathBuf> {
    let name = "ansible.cfg";
    let named = home::variable("ANSIBLE_CONFIG").map(|path| match path.is_dir() {
        true => path.join(name),
        false => path,
    });
    let here = std::env::current_dir().ok().map(|here| here.join(name));
    let own = home::directory().map(|home| home.join(".ansible.cfg"));
    let all = [named, here, own, Some(Path::new("/etc/ansible").join(name))];
    all.into_iter().flatten().find(|path| path.is_file())
}

fn absolute(path: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    resolved(path, &here)
}

/// Returns a path from the root, without `.` and `..`, as Python's `os.path.abspath` does.
fn resolved(path: &str, folder: &Path) -> String {
    let own = path.strip_prefix("~/").zip(home::directory());
    let whole = match own {
        Some((rest, home)) => home.join(rest),
        None => folder.join(path),
    };
    let mut resolved = PathBuf::new();
    for part in whole.components() {
        match part {
            std::path::Component::ParentDir => _ = resolved.pop(),
            std::path::Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    resolved.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: &str) -> Job {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Job::of(&words, None)
    }

    #[test]
    fn a_playbook_is_found_among_its_options() {
        let job = job(
            "env A=1 /usr/bin/ansible-playbook -vi a,b --tags x,y -e @vars.yml -C --limit=web -f5 play/../site.yml other.yml",
        );
        let run = &job.run;
        let here = std::env::current_dir().unwrap();
        let path = |name: &str| here.join(name).to_str().unwrap().to_owned();
        assert_eq!(run.playbook.as_deref(), Some("site.yml"));
        assert_eq!(run.path, Some(path("site.yml")));
        assert_eq!(run.playbooks, [path("site.yml"), path("other.yml")]);
        assert_eq!(
            (run.inventory.as_slice(), run.check),
            (&["a,b".to_owned()][..], true)
        );
        assert_eq!((run.limit.as_deref(), run.tags.len()), (Some("web"), 2));
        assert_eq!((run.name(), &run.title), ("site.yml".to_owned(), &None));
        assert!(job.is_ansible && !job.only_playbooks && !job.takes_screen);
    }

    #[test]
    fn a_command_that_only_lists_or_checks_does_not_run_the_playbook() {
        for (line, name) in [
            ("ansible-playbook --syntax-check site.yml", None),
            (
                "ansible-playbook -vh site.yml",
                Some("ansible-playbook -h site.yml"),
            ),
            (
                "env A=1 /bin/ansible-playbook site.yml -l a --list-ta",
                Some("ansible-playbook --list-ta site.yml"),
            ),
            ("ansible-playbook --version", None),
            ("ansible-pull --help -U x", Some("ansible-pull --help")),
            ("ansible web --list-hosts", Some("ansible --list-hosts")),
        ] {
            let run = job(line).run;
            assert_eq!(run.name(), name.unwrap_or(line), "{line}");
            assert_eq!(
                (&run.playbook, &run.path, &run.limit),
                (&None, &None, &None)
            );
            let key = run.wrapped.unwrap().key;
            assert!(
                key.starts_with(&format!("{} in /", name.unwrap_or(line))),
                "{key}"
            );
        }
        for line in [
            "ansible-playbook site.yml -e a=--help",
            "ansible-playbook site.yml -e --version",
            "ansible-playbook -CDv site.yml",
        ] {
            let run = job(line).run;
            assert_eq!(run.playbook.as_deref(), Some("site.yml"), "{line}");
            assert_eq!(run.check, line.contains('C'));
        }
    }

    #[test]
    fn any_other_command_has_the_name_of_its_program() {
        let terraform = job("/opt/terraform apply");
        assert_eq!(terraform.run.name(), "terraform");
        assert!(
            terraform
                .run
                .wrapped
                .unwrap()
                .key
                .starts_with("terraform in /")
        );
        assert!(job("ansible-pull -U https://x local.yml").only_playbooks);
        assert!(job("ansible-navigator run site.yml").takes_screen);
        assert!(!job("ansible-navigator run site.yml -m stdout").takes_screen);
    }
}
