//! The timer, service or cron job that delivers pending events.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ansible::{is_executable, on_path};
use super::endpoints::Configured;
use super::{Finding, process};
use crate::exit::Exit;
use crate::system::home;

/// Advice to install one.
const ADVICE: &str =
    "`systemctl --user enable --now ansible-notify-flush.timer` starts one every five minutes";
/// Directory of the system's enabled units.
const SYSTEM_UNITS: &str = "/etc/systemd/system";
/// Largest file that is read, in bytes.
const MOST: u64 = 1 << 20;

/// Looks for a timer of systemd, a service or a cron job with `flush`.
pub fn finding(configured: &Configured) -> Finding {
    let check = "timer";
    if let Some(unit) = unit() {
        return of_unit(unit);
    }
    if let Some(unit) = user_name().and_then(|name| system_unit(Path::new(SYSTEM_UNITS), &name)) {
        return Finding::ok(check, format!("{} is enabled", unit.display()));
    }
    if let Some(place) = cron() {
        return Finding::ok(check, format!("`flush` is in {place}"));
    }
    let mut destinations = configured.config.destinations.iter();
    match destinations.find(|one| one.expectations().is_some()) {
        Some(one) => {
            let text = format!(
                "{} expects playbooks (`expect`), but no timer checks for them",
                one.name
            );
            Finding::problem(check, text, Exit::Config).advise(ADVICE)
        }
        None => {
            let text = "none: pending events wait for the next run or `flush`";
            Finding::note(check, text).advise(ADVICE)
        }
    }
}

/// An enabled unit of systemd that runs `flush`.
struct Unit {
    path: PathBuf,
    /// Program that it runs.
    program: PathBuf,
}

fn of_unit(unit: Unit) -> Finding {
    let (path, program) = (unit.path.display(), unit.program.display());
    if unit.program.is_absolute() && !is_executable(&unit.program) {
        let text = format!("{path} runs {program}, which does not exist");
        return Finding::problem("timer", text, Exit::Config)
            .advise("correct its `ExecStart`, then `systemctl --user daemon-reload`");
    }
    let lingers = lingers();
    let text = format!("{path} is enabled");
    match lingers {
        true => Finding::ok("timer", text),
        false => Finding::ok(
            "timer",
            format!("{text}; it runs only while you are logged in"),
        )
        .advise("run `loginctl enable-linger` to keep it running"),
    }
}

/// Returns true if the user's units run without a login.
fn lingers() -> bool {
    user_name().is_some_and(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}

fn user_name() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current());
    user.ok().flatten().map(|user| user.name)
}

/// Returns the unit of the system that delivers for a user, if it is enabled.
fn system_unit(folder: &Path, user: &str) -> Option<PathBuf> {
    let units = [
        format!("timers.target.wants/ansible-notify-flush@{user}.timer"),
        format!("multi-user.target.wants/ansible-notify-watch@{user}.service"),
    ];
    let mut paths = units.into_iter().map(|unit| folder.join(unit));
    // A link to a unit that is gone enables nothing.
    paths.find(|path| path.exists())
}

/// Directories of the user's units, the first one wins.
fn folders() -> Vec<PathBuf> {
    let home = home::directory();
    let config = home::variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let data =
        home::variable("XDG_DATA_HOME").or_else(|| Some(home.as_ref()?.join(".local/share")));
    let own = config
        .into_iter()
        .chain(data)
        .map(|folder| folder.join("systemd/user"));
    let shared = [
        "/etc/systemd/user",
        "/usr/local/lib/systemd/user",
        "/usr/lib/systemd/user",
    ];
    own.chain(shared.map(PathBuf::from)).collect()
}

/// Returns the first enabled unit that runs `flush`.
fn unit() -> Option<Unit> {
    let folders = folders();
    let wanted = ["timers.target.wants", "default.target.wants"];
    let places = folders
        .iter()
        .flat_map(|folder| wanted.map(|name| folder.join(name)));
    places
        .filter_map(|place| place.read_dir().ok())
        .flatten()
        .flatten()
        .find_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.to_owned();
            let text = match name.strip_suffix(".timer") {
                // A timer starts the service of its name.
                Some(base) => {
                    let mut services = folders
                        .iter()
                        .map(|folder| folder.join(format!("{base}.service")));
                    services.find_map(|service| read(&service))?
                }
                None => read(&path)?,
            };
            let program = flushing(&text)?;
            Some(Unit { path, program })
        })
}

/// Returns the program of a service that runs `ansible-notify flush`.
fn flushing(service: &str) -> Option<PathBuf> {
    let mut lines = service.lines().map(str::trim);
    lines.find_map(|line| {
        let command = line
            .strip_prefix("ExecStart=")?
            .trim_start_matches(['-', '@', ':', '+', '!']);
        let words = shlex::split(command)?;
        let program = Path::new(words.first()?);
        runs_flush(command).then(|| program.to_owned())
    })
}

/// Returns true if a command line runs `ansible-notify flush`.
fn runs_flush(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.any(|word| word.ends_with("ansible-notify")) && words.any(|word| word == "flush")
}

/// Returns the place of a cron job with `flush`.
fn cron() -> Option<String> {
    let is_job = |text: &str| {
        let mut lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines.any(runs_flush)
    };
    let crontab = on_path("crontab").and_then(|crontab| {
        let (text, _) = process::output(Command::new(crontab).arg("-l")).ok()?;
        is_job(&text).then(|| "your crontab".to_owned())
    });
    let system = || {
        let folder = Path::new("/etc/cron.d")
            .read_dir()
            .into_iter()
            .flatten()
            .flatten();
        let mut files = folder
            .map(|entry| entry.path())
            .chain([PathBuf::from("/etc/crontab")]);
        let found = files.find(|file| read(file).is_some_and(|text| is_job(&text)));
        found.map(|file| file.display().to_string())
    };
    crontab.or_else(system)
}

/// Reads a small file.
fn read(path: &Path) -> Option<String> {
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.len() < MOST).then(|| std::fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_units_and_jobs_that_run_flush_count() {
        for (line, expected) in [
            (
                "*/5 * * * * /usr/local/bin/ansible-notify flush --due",
                true,
            ),
            ("*/5 * * * * PATH=/x ansible-notify --x flush", true),
            ("@daily ansible-notify status", false),
            ("@daily flush ansible-notify", false),
            ("@daily x/ansible-notify-flush", false),
        ] {
            assert_eq!(runs_flush(line), expected, "{line}");
        }
        let service = "[Service]\nExecStart=-/opt/bin/ansible-notify flush --watch\n";
        assert_eq!(flushing(service), Some("/opt/bin/ansible-notify".into()));
        assert_eq!(flushing("[Service]\nExecStart=/bin/true\n"), None);
    }

    #[test]
    fn a_unit_of_the_system_counts_for_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let unit = "multi-user.target.wants/ansible-notify-watch@anna.service";
        let path = folder.path().join(unit);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert_eq!(system_unit(folder.path(), "anna"), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "[Service]\n").unwrap();
        assert_eq!(system_unit(folder.path(), "anna"), Some(path));
        assert_eq!(system_unit(folder.path(), "bert"), None);
    }
}
