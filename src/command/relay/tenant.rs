//! A tenant of the relay: the token of its nodes, its limit, and the reading of its events.

use std::rc::Rc;

use hyper::header::HeaderMap;

use super::quota::Quota;
use super::segment::{self, Rejected};
use crate::event::Event;
use crate::event::masked::Masks;
use crate::net::authorization::{bearer_in, is_same};
use crate::secret::Secret;

/// A team with nodes of its own. Its events are stored under its name.
pub struct Tenant {
    pub name: String,
    /// None where no node can send to it, as in `deliver`.
    token: Option<Secret>,
    masks: Option<Rc<Masks>>,
    quota: Option<Quota>,
}

impl Tenant {
    /// Creates a tenant; `rate` limits its events per second.
    pub fn new(
        name: &str,
        token: Option<Secret>,
        masks: Option<Rc<Masks>>,
        rate: Option<u32>,
    ) -> Tenant {
        Tenant {
            name: name.to_owned(),
            token,
            masks,
            quota: rate.map(Quota::new),
        }
    }

    /// Returns true if a request has this tenant's token.
    pub fn is_of(&self, headers: &HeaderMap) -> bool {
        let token = self.token.as_ref().map(|token| token.expose().as_bytes());
        bearer_in(headers)
            .zip(token)
            .is_some_and(|(given, token)| is_same(given, token))
    }

    /// Reads the events of a segment, each with its number in its run, and takes them off the quota.
    pub fn read(&self, packed: &[u8]) -> Result<Vec<(u64, Event)>, Rejected> {
        let events = segment::read(packed, self.masks.clone())?;
        if let Some(quota) = &self.quota {
            quota.take(events.len())?;
        }
        Ok(events)
    }
}
