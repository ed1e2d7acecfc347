//! Keys that the configuration knows, collected from the getters that read them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::config::Sections;
use crate::config::entry::{Entry, Origin};
use crate::config::mask;
use crate::config::section::Section;
use crate::delivery::page;
use crate::delivery::setup::Config;
use crate::net::http::Http;
use crate::notifier::KINDS;

/// Known keys, as `ansible-notify schema configuration` prints them.
#[derive(Serialize)]
pub struct KnownKeys {
    /// Keys of each section other than a notifier's, and of `[inputs]`.
    pub sections: BTreeMap<String, BTreeSet<String>>,
    /// Keys of `[notifier:NAME]` for each value of `type`.
    pub kinds: BTreeMap<String, BTreeSet<String>>,
}

impl KnownKeys {
    /// Collects the keys by building every section and every kind without any value.
    pub fn collect() -> KnownKeys {
        let mut sections = Sections::new();
        for name in ["inputs", "delivery", "event", page::NAME, "time:NAME"] {
            sections.insert(name.to_owned(), Section::new(name, Origin::DropIn));
        }
        for kind in KINDS {
            let name = format!("notifier:{}", kind.name);
            let mut section = Section::new(&name, Origin::DropIn);
            section.set(Entry {
                key: "type".to_owned(),
                value: kind.name.to_owned(),
                origin: Origin::DropIn,
            });
            sections.insert(name, section);
        }
        let mut keys = Config::known_keys(sections, &Http::default());
        let mut kinds = BTreeMap::new();
        for kind in KINDS {
            let known = keys.remove(&format!("notifier:{}", kind.name));
            kinds.insert(kind.name.to_owned(), known.unwrap_or_default());
        }
        let mask = Section::new(mask::NAME, Origin::DropIn);
        mask::read(std::slice::from_ref(&mask));
        let secret = Section::new("secret:NAME", Origin::DropIn);
        secret.check_named();
        for section in [mask, secret] {
            keys.insert(section.name.clone(), section.asked());
        }
        KnownKeys {
            sections: keys,
            kinds,
        }
    }
}
