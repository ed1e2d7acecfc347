//! Counts of a run by state, as Ansible reports them at its end.

use super::RunEnd;

/// States by Ansible's name of the count, and as metrics call them.
const STATES: [(&str, &str); 7] = [
    ("ok", "ok"),
    ("changed", "changed"),
    ("failures", "failed"),
    ("unreachable", "unreachable"),
    ("skipped", "skipped"),
    ("rescued", "rescued"),
    ("ignored", "ignored"),
];

/// Count of a state in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateCount {
    pub state: &'static str,
    /// Results of tasks on hosts.
    pub results: u64,
    /// Hosts with at least one such result.
    pub hosts: u64,
}

impl RunEnd {
    /// Returns the count of every state, also of those that no host has.
    pub fn by_state(&self) -> impl Iterator<Item = StateCount> {
        STATES.into_iter().map(|(counted, state)| {
            let of_hosts = self.stats.values();
            let of_hosts = of_hosts.map(|counts| counts[counted].as_u64().unwrap_or(0));
            let any = of_hosts.filter(|count| *count > 0);
            let (results, hosts) = any.fold((0, 0), |(all, hosts), count| (all + count, hosts + 1));
            StateCount {
                state,
                results,
                hosts,
            }
        })
    }
}
