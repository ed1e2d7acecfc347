//! `relay.ini`: where the relay listens, its spool, and its tenants with the configurations by which their events are
//! delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::store::{self, Kind, Place};
use super::tenant::Tenant;
use crate::config::levels::Search;
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::{Options, single};
use crate::console::{stderr, stdout};
use crate::delivery::setup::Config;
use crate::exit::Exit;
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

/// The command that reads `relay.ini`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// `relay`, to which nodes send events.
    #[default]
    Relay,
    /// `deliver`, which takes them from a store.
    Deliver,
    /// A command about the store alone, which reads no secret of a tenant.
    Store,
}

/// Content of `relay.ini`.
#[derive(Default)]
pub struct Settings {
    role: Role,
    /// Store outside of the process; None for the spool.
    pub place: Option<Place>,
    kind: Kind,
    /// Address on which `deliver` answers questions about its state.
    pub status: Option<String>,
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
    /// Creates the tenant, whose quota is unused.
    pub fn tenant(&self) -> Tenant {
        let masks = self.routes.as_ref();
        let masks = masks.and_then(|routes| routes.config.masks.clone());
        Tenant::new(&self.name, self.token.clone(), masks, self.rate)
    }

    /// Returns the names of its notifiers.
    fn notifiers(&self) -> Vec<&str> {
        let routes = self.routes.iter();
        let destinations = routes.flat_map(|routes| &routes.config.destinations);
        destinations.map(|one| one.name.as_str()).collect()
    }
}

/// Reads `relay.ini` and the configurations that it names, as far as the command needs them; returns all problems at
/// once.
pub fn read(path: &Path, role: Role, http: &Http) -> Result<Settings, Vec<Problem>> {
    let mut settings = Settings {
        role,
        ..Settings::default()
    };
    let sections = single::read(path)?;
    let (mut problems, mut found) = (Vec::new(), BTreeMap::new());
    // What the other sections need depends on the store.
    if let Some(relay) = sections.iter().find(|section| section.name == "relay") {
        settings.read_relay(relay);
    }
    for section in &sections {
        if let Some(line) = found.insert(section.name.clone(), section.origin.to_string()) {
            section.problem("", format!("[{}] is already at {line}", section.name));
        }
        if settings.read_section(section, http) {
            section.report_unknown();
        }
        problems.extend(section.take_problems());
    }
    if settings.kind != Kind::Spool && !found.contains_key(settings.kind.name()) {
        let name = settings.kind.name();
        let text = format!("has no section [{name}], which `store = {name}` needs");
        problems.push(Problem::new(path.display().to_string(), text));
    }
    settings.check(path, &mut problems);
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(problems),
    }
}

/// Reads `relay.ini`, and reports its problems and the notifiers that cannot deliver now.
pub fn load(path: &Path, role: Role) -> Result<Settings, Exit> {
    match read(path, role, &Http::default()) {
        Ok(settings) => {
            settings.report_troubles();
            Ok(settings)
        }
        Err(problems) => {
            problems.iter().for_each(stderr::say);
            Err(Exit::Config)
        }
    }
}

fn unknown(name: &str) -> String {
    let stores = store::KINDS.iter().map(|(name, _)| *name);
    let hint = suggest(name, ["relay", "deliver", TENANT].into_iter().chain(stores));
    format!("unknown section [{name}]{hint}; a relay has [relay] and [tenant:NAME]")
}

impl Settings {
    /// Reads a section; returns false if it is unknown.
    fn read_section(&mut self, section: &Section, http: &Http) -> bool {
        let stores = store::KINDS.iter().filter(|(_, kind)| *kind != Kind::Spool);
        let named = stores.clone().find(|(name, _)| *name == section.name);
        match (section.name.strip_prefix(TENANT), named) {
            (Some(name), _) => self.tenants.extend(self.tenant(section, name.trim(), http)),
            (None, Some((_, kind))) if *kind == self.kind => {
                self.place = Place::read(*kind, section, http);
            }
            (None, Some((name, _))) => {
                let text = format!("[{name}] has no effect; set `store = {name}` in [relay]");
                section.problem("", text);
                return false;
            }
            (None, None) if section.name == "deliver" => {
                self.status = section.text("listen").map(str::to_owned);
            }
            (None, None) if section.name == "relay" => {}
            (None, None) => {
                section.problem("", unknown(&section.name));
                return false;
            }
        }
        true
    }

    /// Returns true if this command delivers events itself.
    fn delivers(&self) -> bool {
        match self.role {
            Role::Relay => self.kind == Kind::Spool,
            Role::Deliver => true,
            Role::Store => false,
        }
    }

    fn read_relay(&mut self, section: &Section) {
        self.kind = section.choice("store", Kind::Spool, store::KINDS);
        if self.role == Role::Deliver && self.kind == Kind::Spool {
            let text = "`deliver` takes events from a store outside of the relay; set `store`";
            section.problem("store", text);
        }
        self.listen = section.text("listen").unwrap_or(LISTEN).to_owned();
        let (certificate, key) = (section.path("cert"), section.path("key"));
        if certificate.is_some() || key.is_some() || section.is_given("client_ca") {
            section.needs("key", "cert");
            section.needs("cert", "key");
        }
        self.identity = certificate.zip(key);
        self.client_ca = section.path("client_ca");
        if self.role == Role::Relay {
            // Files that are missing are mistakes with a place.
            for key in ["cert", "key", "client_ca"] {
                section.file(key);
            }
        }
        let folder = section.path("spool").or_else(default_folder);
        if folder.is_none() && self.delivers() {
            let text = "there is no home directory for the spool; set `spool`";
            section.problem("spool", text);
        }
        self.spool = folder.unwrap_or_default();
        self.limits = Limits {
            max_size: Some(section.size("max_size", MAX_SIZE)),
            ..Limits::default()
        };
    }

    /// Prints the tenants with their notifiers.
    pub fn list_tenants(&self) -> Exit {
        for tenant in &self.tenants {
            let names = tenant.notifiers().join(", ");
            // A relay that only stores does not know them.
            let colon = if names.is_empty() { "" } else { ": " };
            stdout::print(format!("{}{colon}{names}\n", tenant.name));
        }
        Exit::Ok
    }

    /// Reports which notifiers cannot deliver now.
    fn report_troubles(&self) {
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
    }

    /// Notes a token that another tenant has, too.
    fn check_token(&self, section: &Section, name: &str, token: &Secret) {
        let is_same = |one: &&TenantSettings| {
            let other = one.token.as_ref();
            other.is_some_and(|other| other.expose() == token.expose())
        };
        if let Some(other) = self.tenants.iter().find(is_same) {
            let text = format!(
                "[tenant:{name}] has the same token as [tenant:{}]",
                other.name
            );
            section.problem("token", text);
        }
    }
}

/// Reads the token of a tenant's nodes; notes problems in the section.
fn token(section: &Section) -> Option<Secret> {
    let token = section.required_secret("token")?;
    if token.expose().len() < SHORTEST_TOKEN {
        // Not with words that a short token may be.
        let text = format!("`token` must have at least {SHORTEST_TOKEN} characters");
        section.problem("token", text);
        return None;
    }
    Some(token)
}

impl Settings {
    /// Reads a tenant: its token where nodes send, and its configuration where events are delivered. Notes problems in
    /// the section.
    fn tenant(&self, section: &Section, name: &str, http: &Http) -> Option<TenantSettings> {
        let is_plain = |one: char| one.is_ascii_alphanumeric() || "_-.".contains(one);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            let text = "the name of a tenant has 1 to 64 letters, digits, `_`, `-` and `.`";
            section.problem("", text);
        }
        let accepts = self.role == Role::Relay;
        let token = accepts.then(|| token(section)).flatten();
        if let Some(token) = &token {
            self.check_token(section, name, token);
        }
        let rate = section
            .is_given("rate")
            .then(|| section.count("rate", 0, MAX_RATE));
        let routes = match self.delivers() {
            true => Some(routes(section, http)?),
            false => None,
        };
        // The other command reads these.
        for key in [
            "config",
            "token",
            "token_file",
            "token_env",
            "token_command",
        ] {
            section.is_given(key);
        }
        if accepts && token.is_none() {
            return None;
        }
        Some(TenantSettings {
            name: name.to_owned(),
            token,
            rate: rate.and_then(|rate| u32::try_from(rate).ok()),
            routes,
        })
    }
}

/// Reads the configuration of a tenant; notes problems in the section.
fn routes(section: &Section, http: &Http) -> Option<Routes> {
    section.required("config");
    let path = section.path("config")?;
    if !path.exists() {
        section.problem("config", format!("`{}` does not exist", path.display()));
        return None;
    }
    let search = Search {
        config: Some(path),
        ..Search::default()
    };
    let config = configuration(section, &search, http)?;
    Some(Routes { search, config })
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
        let sections = ["relay", "deliver", "tenant:x", "nats", "postgres"];
        let sections = sections.map(|name| Section::new(name, Origin::DropIn));
        let mut settings = Settings::default();
        settings.read_relay(&sections[0]);
        settings.read_section(&sections[1], &Http::default());
        settings.read_section(&sections[2], &Http::default());
        let stores = store::KINDS.iter().filter(|(_, kind)| *kind != Kind::Spool);
        for (name, kind) in stores {
            settings.kind = *kind;
            let section = sections.iter().find(|section| section.name == *name);
            settings.read_section(section.unwrap(), &Http::default());
        }
        for key in sections.iter().flat_map(Section::asked) {
            let forms = ["_file", "_env", "_command"];
            let is_form = forms.iter().any(|form| key.ends_with(form));
            assert!(is_form || page.contains(&format!("`{key}`")), "{key}");
        }
    }
}
