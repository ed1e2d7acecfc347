//! The store of a relay, and what waits in it.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::Finding;
use crate::command::relay::settings::{self, Role, Settings};
use crate::command::relay::store::{Backlog, Place, Queue};
use crate::config::units;
use crate::console::stderr;
use crate::exit::Exit;
use crate::net::http::Http;

/// Age from which on a segment should have been taken.
const LATE: Duration = Duration::from_secs(60);

/// Returns the findings about the store that a `relay.ini` names.
pub async fn findings(config: &Path) -> Vec<Finding> {
    let settings = match settings::read(config, Role::Store, &Http::default()) {
        Ok(settings) => settings,
        Err(problems) => {
            let problems = problems.iter().map(ToString::to_string);
            let problems = problems.map(|text| Finding::problem("relay", text, Exit::Config));
            return problems.collect();
        }
    };
    let mut findings = vec![Finding::ok("relay", tenants(&settings))];
    match &settings.place {
        Some(place) => findings.extend(store(place).await),
        None => {
            let folder = settings.spool.display();
            let text = format!("events are stored in the spool at {folder}");
            findings.push(Finding::ok("store", text));
        }
    }
    findings
}

fn tenants(settings: &Settings) -> String {
    match settings.tenants.len() {
        1 => "1 tenant".to_owned(),
        count => format!("{count} tenants"),
    }
}

async fn store(place: &Place) -> Vec<Finding> {
    let asked = async {
        let queue: Rc<dyn Queue> = place.connect("ansible-notify doctor").await?;
        let missing = queue.prepare(false).await?;
        let backlog = match missing.is_empty() {
            true => Some(queue.backlog().await?),
            false => None,
        };
        anyhow::Ok((missing, backlog))
    };
    let (missing, backlog) = match asked.await {
        Ok(found) => found,
        Err(error) => return vec![Finding::problem("store", stderr::causes(&error), Exit::Io)],
    };
    let missing = missing.into_iter().map(|line| {
        let advice = "`ansible-notify relay init --apply` does all of this";
        Finding::problem("store", line, Exit::Config).advise(advice)
    });
    let waits = backlog.iter().flat_map(waits);
    missing.chain(waits).collect()
}

/// Returns the findings about what waits.
fn waits(backlog: &Backlog) -> Vec<Finding> {
    let mut findings = Vec::new();
    let age = backlog.oldest.unwrap_or_default();
    let text = backlog.waiting();
    findings.push(match age > LATE {
        false => Finding::ok("store", text),
        true => {
            let since = Duration::from_secs(age.as_secs());
            let text = format!("{text}, the oldest for {}", units::duration(since));
            let advice = "see if a `deliver` runs for each partition";
            Finding::problem("store", text, Exit::Undelivered).advise(advice)
        }
    });
    if backlog.set_aside > 0 {
        let text = backlog.aside();
        let advice = "`deliver` said why; `deliver --set-aside` takes them again";
        findings.push(Finding::problem("store", text, Exit::Refused).advise(advice));
    }
    findings
}
