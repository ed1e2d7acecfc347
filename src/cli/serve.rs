//! The command line of the servers `serve`, `relay` and `deliver`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Place, since};

/// Number of partitions of a store. The events of a playbook are in one of them, in their order.
pub const PARTITIONS: u16 = 64;

/// Arguments of `serve`.
#[derive(Args)]
pub struct Serve {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, default_value = "127.0.0.1:8484", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Listen on a unix socket that only you can open; forward it with `ssh -L 8484:PATH`
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Also answer requests for this host name, in addition to loopback names
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// File with the token, at least 32 characters; created if missing (default: a new token at each start)
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Ask for a user name and password instead of a token
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// File with the password
    #[arg(
        long,
        value_name = "FILE",
        requires = "username",
        conflicts_with = "token_file"
    )]
    pub password_file: Option<PathBuf>,
    /// Trust the user name in this header, set by a proxy on the unix socket or at --proxy
    #[arg(long, value_name = "HEADER", conflicts_with_all = ["token_file", "password_file"])]
    pub trust_header: Option<String>,
    /// Address of the proxy; connections from other addresses are refused
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "trust_header",
        conflicts_with = "socket"
    )]
    pub proxy: Vec<IpAddr>,
    /// Use TLS with this certificate
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Show everything, and change nothing
    #[arg(long)]
    pub read_only: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `relay`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Relay {
    /// Configuration of the relay
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Only check the configurations of the relay and its tenants, and list the notifiers of each tenant
    #[arg(long)]
    pub check: bool,
    #[command(subcommand)]
    pub action: Option<RelayAction>,
}

/// Actions of `relay` other than accepting events.
#[derive(Subcommand)]
pub enum RelayAction {
    /// Show what the store outside of the relay lacks: streams, consumers or tables; with --apply, create them
    Init(RelayInit),
    /// Show how much waits in the store outside of the relay
    Status(RelayStatus),
}

/// Arguments of `relay init`.
#[derive(Args)]
pub struct RelayInit {
    /// Configuration of the relay
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Create and change what is shown
    #[arg(long)]
    pub apply: bool,
}

/// Arguments of `relay status`.
#[derive(Args)]
pub struct RelayStatus {
    /// Configuration of the relay
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `deliver`.
#[derive(Args)]
pub struct Deliver {
    /// Configuration of the relay
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Only check the configurations of the relay and its tenants, and list the notifiers of each tenant
    #[arg(long)]
    pub check: bool,
    /// Take only these partitions of 0 to 63, such as 0-31 or 0-15,48
    #[arg(long, value_name = "NUMBERS", value_parser = partitions, default_value = "0-63")]
    pub partitions: Partitions,
    /// First take everything again that was stored since then, such as after the loss of a disk: a date, a time, or an
    /// age such as 2h
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    pub since: Option<i64>,
    /// First take segments again that were set aside, because they could not be read or had no tenant
    #[arg(long)]
    pub set_aside: bool,
}

/// Numbers of partitions, in their order.
#[derive(Clone)]
pub struct Partitions(pub Vec<u16>);

/// Reads numbers and ranges, separated by commas.
fn partitions(text: &str) -> Result<Partitions, String> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim()
                .parse::<u16>()
                .ok()
                .filter(|one| *one < PARTITIONS)
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => numbers.extend(first..=last),
            _ => {
                let most = PARTITIONS - 1;
                return Err(format!(
                    "`{part}` is not a number or a range from 0 to {most}"
                ));
            }
        }
    }
    Ok(Partitions(numbers.into_iter().collect()))
}
