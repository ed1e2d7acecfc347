//! The command line of the servers `serve` and `relay`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::Place;

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
pub struct Relay {
    /// Configuration of the relay
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Only check the configurations of the relay and its tenants, and list the notifiers of each tenant
    #[arg(long)]
    pub check: bool,
}
