//! Settings that the environment must give, because they are not stored.

use crate::delivery::destination::variable;
use crate::spool::DestinationStatus;

/// Returns the keys that a destination needs and the environment does not set now.
pub fn unset(status: &DestinationStatus) -> Vec<&str> {
    let is_unset = |key: &&str| std::env::var_os(variable(key)).is_none();
    let needs = status.needs.iter().map(String::as_str);
    needs.filter(is_unset).collect()
}

/// Returns the message that the environment must set these keys.
pub fn not_stored(keys: &[&str]) -> String {
    let names: Vec<String> = keys.iter().map(|key| variable(key)).collect();
    let names = names.join(", ");
    format!("the play's vars set values that are not stored; set {names}")
}
