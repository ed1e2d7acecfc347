//! `doctor`: checks everything between Ansible and the endpoints, and changes nothing. Each finding is one
//! line, with advice.

mod ansible;
mod endpoints;
mod plugin;
mod process;
mod relay;
mod spool;
mod timer;

use serde::Serialize;
use serde_json::json;

use crate::cli;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Align, Table};
use crate::exit::Exit;
use crate::protocol::VERSION;
use crate::secret;
use ansible::Probe;

/// Result of one check.
#[derive(Serialize)]
pub struct Finding {
    check: &'static str,
    state: State,
    text: String,
    /// Remedy for the user.
    advice: Option<String>,
    /// Exit code that it results in.
    #[serde(skip)]
    exit: Exit,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Nothing is wrong, but it may not be as expected.
    Note,
    Problem,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            check,
            state: State::Ok,
            text: text.into(),
            advice: None,
            exit: Exit::Ok,
        }
    }

    fn note(check: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            state: State::Note,
            ..Finding::ok(check, text)
        }
    }

    fn problem(check: &'static str, text: impl Into<String>, exit: Exit) -> Finding {
        Finding {
            state: State::Problem,
            exit,
            ..Finding::ok(check, text)
        }
    }

    fn advise(self, advice: impl Into<String>) -> Finding {
        Finding {
            advice: Some(advice.into()),
            ..self
        }
    }
}

/// Runs `doctor`: prints what each check found, and ends with the exit code of the first problem.
pub async fn run(arguments: cli::Doctor) -> Exit {
    let findings = findings(&arguments).await;
    let mut problems = findings.iter().filter(|one| one.state == State::Problem);
    let exit = problems.clone().next().map_or(Exit::Ok, |one| one.exit);
    if arguments.json {
        let mut shown =
            json!({"ok": exit == Exit::Ok, "exit_code": exit as i32, "checks": findings});
        secret::redact_values(&mut shown);
        stdout::show_json(&format!("{shown:#}\n"));
        return exit;
    }
    let mut parts = vec![match problems.by_ref().count() {
        0 => Styled::Good("no problem found\n".to_owned()),
        1 => Styled::Bad("1 problem found\n".to_owned()),
        count => Styled::Bad(format!("{count} problems found\n")),
    }];
    let column = ("", Align::Left);
    let mut table = Table::new(&[column, column, column]);
    findings
        .iter()
        .for_each(|one| table.row(cells(one), Vec::new()));
    parts.extend(table.parts());
    stdout::show_styled(&parts);
    exit
}

fn cells(finding: &Finding) -> Vec<Styled> {
    let state = match finding.state {
        State::Ok => Styled::Good("ok".to_owned()),
        State::Note => Styled::Warn("note".to_owned()),
        State::Problem => Styled::Bad("problem".to_owned()),
    };
    let text = match &finding.advice {
        Some(advice) => format!("{}; {advice}", finding.text),
        None => finding.text.clone(),
    };
    vec![
        state,
        Styled::Plain(finding.check.to_owned()),
        Styled::Plain(text),
    ]
}

/// Runs all checks, from Ansible to the endpoints.
async fn findings(arguments: &cli::Doctor) -> Vec<Finding> {
    if let Some(config) = &arguments.relay {
        let mut findings = vec![this_program()];
        findings.extend(relay::findings(config).await);
        return findings;
    }
    let project = arguments.configuration.project.clone();
    let project = project
        .or_else(|| std::env::current_dir().ok())
        .unwrap_or_default();
    let probe = Probe::make(&project);
    let mut findings = vec![this_program()];
    findings.extend(ansible::findings(&probe));
    let plugins = plugin::Plugins::of(&probe, &project);
    findings.extend(plugins.findings(&probe));
    let configured = endpoints::Configured::load(arguments, &plugins, &probe, &project);
    findings.extend(configured.findings());
    findings.extend(configured.endpoints(arguments.connect).await);
    findings.extend(spool::findings(spool::inspect(&configured)));
    findings.push(timer::finding(&configured));
    findings
}

fn this_program() -> Finding {
    let path = std::env::current_exe().map(|path| format!(" ({})", path.display()));
    Finding::ok(
        "program",
        format!("ansible-notify {VERSION}{}", path.unwrap_or_default()),
    )
}
