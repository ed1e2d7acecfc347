//! `relay.ini`: where the relay listens, its spool, and its tenants with the configurations by which their events are
//! delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::{Options, single};
use crate::console::stderr;
use crate::delivery::setup::Config;
use crate::net::http::Http;
use crate::secret::Secret;
use crate::spool::{Limits, default_folder};
use crate::text::suggest;

/// Address on which a relay listens if `listen` is not set.
const LISTEN: &str = "127.0.0.1:8485";
/// Default of `max_size`.
const MAX_SIZE: u64 = 1 << 30;
/// Length of the shortest token, in characters.
const SHORTEST_TOKEN: usize = 16;
/// Beginning of the name of a tenant's section.
const TENANT: &str = "tenant:";
/// Highest rate of a tenant, in events per second.
const MAX_RATE: usize = 1_000_000;
/// Keys of a tenant's `[delivery]` that belong to the spool, which all tenants share.
const OF_SPOOL: [&str; 4] = ["spool", "max_size", "overflow", "spool_on_network"];
/// Keys for the machine that runs the plays: in `[event]`, and in a notifier.
const OF_NODE: [&str; 3] = ["vars", "groups", "expect"];

/// Content of `relay.ini`.
#[derive(Default)]
pub struct Settings {
    pub listen: String,
    /// Certificate and key of the server.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Authorities that must have signed the certificates of clients.
    pub client_ca: Option<PathBuf>,
    pub spool: PathBuf,
    pub limits: Limits,
    pub tenants: Vec<TenantSettings>,
}

/// A tenant: the name in front of its ids, its token, and the configuration of its notifiers.
pub struct TenantSettings {
    pub name: String,
    /// Token of its nodes; None in `deliver`, which has no nodes.
    pub token: Option<Secret>,
    /// Events per second that it may send, if limited.
    pub rate: Option<u32>,
    /// None in a relay that only stores.
    pub routes: Option<Routes>,
}

/// The configuration by which a tenant's events are delivered, and where it was found.
pub struct Routes {
    pub search: Search,
    pub config: Config,
}

impl TenantSettings {
    /// Returns the names of its notifiers.
    pub fn notifiers(&self) -> Vec<&str> {
        let routes = self.routes.iter();
        let destinations = routes.flat_map(|routes| &routes.config.destinations);
        destinations.map(|one| one.name.as_str()).collect()
    }
}

/// Reads `relay.ini` and the configurations that it names; returns all problems at once.
pub fn read(path: &Path, http: &Http) -> Result<Settings, Vec<Problem>> {
    let mut settings = Settings::default();
    let (mut problems, mut found) = (Vec::new(), BTreeMap::new());
    for section in single::read(path)? {
        if let Some(line) = found.insert(section.name.clone(), section.origin.to_string()) {
            section.problem("", format!("[{}] is already at {line}", section.name));
        }
        match section.name.strip_prefix(TENANT) {
            Some(name) => {
                let tenant = tenant(&section, name.trim(), http);
                settings.tenants.extend(tenant);
            }
            None if section.name == "relay" => settings.read_relay(&section),
            None => section.problem("", unknown(&section.name)),
        }
        if section.name == "relay" || section.name.starts_with(TENANT) {
            section.report_unknown();
        }
        problems.extend(section.take_problems());
    }
    settings.check(path, &mut problems);
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems),
    }
}

fn unknown(name: &str) -> String {
    let hint = suggest(name, ["relay", TENANT]);
    format!("unknown section [{name}]{hint}; a relay has [relay] and [tenant:NAME]")
}

impl Settings {
    fn read_relay(&mut self, section: &Section) {
        self.listen = section.text("listen").unwrap_or(LISTEN).to_owned();
        let (certificate, key) = (section.path("cert"), section.path("key"));
        if certificate.is_some() || key.is_some() || section.is_given("client_ca") {
            section.needs("key", "cert");
            section.needs("cert", "key");
        }
        self.identity = certificate.zip(key);
        self.client_ca = section.path("client_ca");
        let folder = section.path("spool").or_else(default_folder);
        if folder.is_none() {
            let text = "there is no home directory for the spool; set `spool`";
            section.problem("spool", text);
        }
        self.spool = folder.unwrap_or_default();
        self.limits = Limits {
            max_size: Some(section.size("max_size", MAX_SIZE)),
            ..Limits::default()
        };
    }

    /// Reports which notifiers cannot deliver now.
    pub fn report_troubles(&self) {
        let routes = self.tenants.iter().filter_map(|one| one.routes.as_ref());
        for trouble in routes.flat_map(|routes| routes.config.troubles(|one| !one.is_mistake())) {
            stderr::say(format!("warning: {trouble}"));
        }
    }

    /// Notes what is missing or given twice.
    fn check(&self, path: &Path, problems: &mut Vec<Problem>) {
        let place = path.display().to_string();
        if self.listen.is_empty() && problems.is_empty() {
            problems.push(Problem::new(&place, "has no section [relay]"));
        }
        if self.tenants.is_empty() && problems.is_empty() {
            let text = "has no [tenant:NAME], so it would accept no events";
            problems.push(Problem::new(&place, text));
        }
        let mut tokens = BTreeMap::new();
        for tenant in &self.tenants {
            let Some(token) = &tenant.token else { continue };
            if let Some(other) = tokens.insert(token.expose(), &tenant.name) {
                let text = format!(
                    "[tenant:{}] and [tenant:{other}] have the same token",
                    tenant.name
                );
                problems.push(Problem::new(&place, text));
            }
        }
    }
}

/// Reads a tenant and its configuration; notes problems in the section.
fn tenant(section: &Section, name: &str, http: &Http) -> Option<TenantSettings> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "_-.".contains(one);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let text = "the name of a tenant has 1 to 64 letters, digits, `_`, `-` and `.`";
        section.problem("", text);
    }
    let token = section.required_secret("token");
    let token = token.filter(|token| {
        let is_long = token.expose().len() >= SHORTEST_TOKEN;
        if !is_long {
            let text = format!("`token` is too short; it needs {SHORTEST_TOKEN} characters");
            section.problem("token", text);
        }
        is_long
    });
    let rate = section
        .is_given("rate")
        .then(|| section.count("rate", 0, MAX_RATE));
    section.required("config");
    let search = Search {
        config: Some(section.path("config")?),
        ..Search::default()
    };
    let config = configuration(section, &search, http)?;
    Some(TenantSettings {
        name: name.to_owned(),
        token: Some(token?),
        rate: rate.and_then(|rate| u32::try_from(rate).ok()),
        routes: Some(Routes { search, config }),
    })
}

fn is_of_node(section: &str, key: &str) -> bool {
    OF_NODE.contains(&key) && (section == "event" || key == "expect")
}

/// Reads the configuration of a tenant. The environment is that of all tenants, so it changes none of them.
fn configuration(section: &Section, search: &Search, http: &Http) -> Option<Config> {
    let options = Options {
        search: search.clone(),
        environment: Some(Vec::new()),
        ..Options::default()
    };
    let config = Config::load(&options, &[], http).usable();
    let config = config.map_err(|problems| problems.into_iter().for_each(|one| section.note(one)));
    let config = config.ok()?;
    for shown in &config.values {
        let key = &*shown.key;
        let why = match &*shown.section {
            "delivery" if OF_SPOOL.contains(&key) => "tenants share the spool that [relay] sets",
            name if is_of_node(name, key) => "set it on the machine that runs the plays",
            _ => continue,
        };
        let text = format!("`{key}` has no effect here: {why}");
        section.note(Problem::new(&shown.place, text));
    }
    if config.has_mistakes() {
        let mistakes = config.problems.iter().cloned();
        mistakes.for_each(|problem| section.note(problem));
    }
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::entry::Origin;

    #[test]
    fn each_key_is_on_its_page() {
        let page = include_str!("../../../docs/scale-out.md");
        let relay = Section::new("relay", Origin::DropIn);
        Settings::default().read_relay(&relay);
        let own = Section::new("tenant:x", Origin::DropIn);
        assert!(tenant(&own, "x", &Http::default()).is_none());
        for key in relay.asked().union(&own.asked()) {
            let forms = ["_file", "_env", "_command"];
            let is_form = forms.iter().any(|form| key.ends_with(form));
            assert!(is_form || page.contains(&format!("`{key}`")), "{key}");
        }
    }
}
