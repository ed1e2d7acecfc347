//! The command line: types only.

pub mod by;
pub mod demo;
pub mod mute;
pub mod runs;
pub mod serve;
pub mod since;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use by::{By, NotedIn};

use crate::config::levels::Search;
use crate::config::units::parse_duration;
use crate::spool::DeliveryState;

/// Delivers Ansible's results to HTTP endpoints, chat, email and pagers.
///
/// The callback plugin runs `stream`. By hand, `send` delivers events from files and `check-config`
/// reports the problems of a configuration. Exit codes: 0 success; 1 unexpected error; 2 wrong usage;
/// 65 invalid event; 66 input not found; 69 rejected permanently; 74 the spool or standard output cannot
/// be written; 75 not delivered yet; 78 wrong configuration.
#[derive(Parser)]
#[command(name = "ansible-notify", version, max_term_width = 100)]
pub struct Cli {
    /// With --version: also print the versions of the protocol, the spool and the event schema
    #[arg(long, requires = "version")]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Deliver events from files: an object, an array, NDJSON, or ansible-runner's job events
    Send(Send),
    /// Deliver the records that the plugin for Ansible or ansible-runner writes to standard input
    Stream(Stream),
    /// Run a command and report its start and end, even if Ansible never starts
    Run(Run),
    /// Report configuration problems and the source of each value
    CheckConfig(CheckConfig),
    /// Send a sample event to the notifiers with their real settings
    Test(Test),
    /// Show which notifiers an event would reach, and why others are skipped
    Routes(Routes),
    /// Check the plugin, configuration, endpoints and spool, and suggest fixes
    ///
    /// Changes nothing and runs no command from the configuration. Exit codes: 0 if there is no problem, otherwise
    /// that of the first problem: 69 for dead deliveries; 74 for the spool; 75 for an endpoint that does not answer
    /// and for pending deliveries; 78 for the plugin and the configuration.
    Doctor(Doctor),
    /// List recorded runs, or show one in detail
    Runs(runs::Runs),
    /// Write a recorded run to a single HTML file
    Report(runs::Report),
    /// Show delivery counts per notifier
    Status(Status),
    /// List deliveries, or show one with all its attempts
    History(History),
    /// Deliver pending events
    Flush(Flush),
    /// Discard pending or dead deliveries
    ///
    /// IDs, --notifier, --run and --all select both pending and dead deliveries. --pending and --dead select
    /// only one of the two, and can be combined with --notifier and --run. Delivered events are kept.
    Discard(Discard),
    /// Hold the messages of notifiers until a time
    ///
    /// Messages are kept until then and sent afterwards. The mute also applies to processes that already run.
    Mute(mute::Mute),
    /// Send the messages of muted notifiers again
    Unmute(mute::Unmute),
    /// Serve a web page and a JSON API that show the spool
    Serve(serve::Serve),
    /// Accept the events of other machines and deliver them by the configurations of their tenants
    ///
    /// The machines have a notifier of type `relay`. An event is stored before its request is answered. Stops after
    /// SIGTERM or Ctrl-C; what is not delivered yet is delivered after the next start, or by `flush`.
    Relay(serve::Relay),
    /// Take the events that relays have stored in NATS or another store, and deliver them
    ///
    /// Reads the same configuration as `relay`. An event is in the spool before it is acknowledged, and accepted once.
    /// Stops after SIGTERM or Ctrl-C.
    Deliver(serve::Deliver),
    /// Show in a minute what this program does, without Ansible and without a configuration
    ///
    /// A recorded run is sent to services that the program itself plays on this machine. What they got is shown,
    /// and on a terminal the page, until Ctrl-C. Nothing is sent to other machines, and no configuration is read.
    Demo(demo::Demo),
    /// Run an HTTP endpoint for tests
    Receive(Receive),
    /// Write the callback plugin and a commented plugin_config.ini
    Init(Init),
    /// Convert AWX notification templates or the callbacks of an ansible.cfg to a configuration
    Import(Import),
    /// Print the JSON Schema of an event, or the keys of the configuration
    Schema {
        /// Format to describe
        #[arg(value_enum, default_value = "event", value_name = "FORMAT")]
        of: Described,
    },
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them to a directory
    Man(Man),
}

/// Formats that `schema` describes.
#[derive(Clone, Copy, ValueEnum)]
pub enum Described {
    /// JSON Schema of an event
    Event,
    /// Keys of `plugin_config.ini` as JSON, by section and notifier kind
    Configuration,
}

/// Location of the configuration.
#[derive(Args)]
pub struct Configuration {
    /// Use only this configuration file [env: ANSIBLE_NOTIFY_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Project directory; its plugin_config.ini is read there or in its callback_plugins
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
}

impl Configuration {
    /// Returns the places in which the configuration is looked for.
    pub fn search(&self) -> Search {
        Search {
            config: self.config.clone(),
            project: self.project.clone(),
            here: true,
            ..Search::default()
        }
    }
}

/// Location of the spool.
#[derive(Args, Clone)]
pub struct Place {
    /// Use the spool that this configuration file sets, or the default one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Spool directory, if not the default
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

/// Arguments of `send`.
#[derive(Args)]
pub struct Send {
    /// Files to read; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print each request, with secrets masked, instead of sending it
    #[arg(long)]
    pub dry_run: bool,
    /// Also run the commands that print secrets
    #[arg(long, requires = "dry_run")]
    pub run_commands: bool,
    /// Send only to these notifiers
    #[arg(long, value_name = "NAME")]
    pub notifier: Vec<String>,
    /// Wait until everything is delivered or dead, instead of at most `drain`
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Accept the events and leave delivery to the next run or `flush`
    #[arg(long)]
    pub no_wait: bool,
    /// Do not print a summary
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `stream`.
#[derive(Args)]
pub struct Stream {
    /// Do not print a summary
    #[arg(long, short)]
    pub quiet: bool,
    /// Exit immediately if the configuration has a problem or a secret cannot be read
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `run`.
#[derive(Args)]
pub struct Run {
    /// Name of the run in messages (default: that of the playbook or the program)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Keep the last N lines of output for `output` and `attach`; with 0, the command writes directly to the
    /// terminal
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub tail: usize,
    /// Do not print a summary
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub configuration: Configuration,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = clap::ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// Arguments of `check-config`.
#[derive(Args)]
pub struct CheckConfig {
    /// Also resolve names, connect, and check TLS and credentials, without notifying anyone
    #[arg(long)]
    pub connect: bool,
    /// Also run the commands that print secrets
    #[arg(long)]
    pub run_commands: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `doctor`.
#[derive(Args)]
pub struct Doctor {
    /// Trust the configuration found here: read its secrets, run its secret commands and contact its endpoints
    #[arg(long)]
    pub connect: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Check the store of the relay with this configuration, and what waits in it, instead of Ansible
    #[arg(long, value_name = "FILE", conflicts_with_all = ["connect", "config", "project"])]
    pub relay: Option<PathBuf>,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `test`.
#[derive(Args)]
pub struct Test {
    /// Notifiers to test (default: all)
    #[arg(value_name = "NOTIFIER")]
    pub notifiers: Vec<String>,
    /// Send the events of this file instead of a sample
    #[arg(long, value_name = "FILE", conflicts_with = "trigger")]
    pub event: Option<PathBuf>,
    /// Send a sample event of this trigger, such as error or recovered
    #[arg(long, value_name = "TRIGGER")]
    pub trigger: Option<String>,
    #[command(flatten)]
    pub noted: NotedIn,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `routes`.
#[derive(Args)]
pub struct Routes {
    /// Files of events; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print one line of JSON per event
    #[arg(long)]
    pub json: bool,
    /// Also run the commands that print secrets
    #[arg(long)]
    pub run_commands: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `status`.
#[derive(Args)]
pub struct Status {
    /// Count only deliveries of this run: its id, the beginning of the id of a recorded run, or `last`
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Only notifiers that have deliveries in one of these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = states())]
    pub state: Vec<DeliveryState>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `history`.
#[derive(Args)]
pub struct History {
    /// Show this delivery, with all its attempts
    #[arg(value_name = "ID")]
    pub id: Option<i64>,
    /// Only deliveries that failed at least once
    #[arg(long)]
    pub failed: bool,
    /// Only deliveries about this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only deliveries about this task
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Only to this notifier
    #[arg(long, value_name = "NAME")]
    pub notifier: Option<String>,
    /// Only deliveries of this run: its id, the beginning of the id of a recorded run, or `last`
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Only deliveries in these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = states())]
    pub state: Vec<DeliveryState>,
    /// Only since this date, time or age: 2026-11-27, 2026-11-27T10:00, 19:00 (today), 5min, 2h, 3d (local time
    /// unless a time zone is given)
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    pub since: Option<i64>,
    /// List what people did to deliveries and notifiers instead: who, when, and to which
    #[arg(long, conflicts_with_all = ["id", "failed", "host", "task", "run", "state"])]
    pub actions: bool,
    /// Show at most N deliveries
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: i64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `flush`.
#[derive(Args)]
pub struct Flush {
    /// Only to these notifiers
    #[arg(long, value_name = "NAME")]
    pub notifier: Vec<String>,
    /// Also retry dead deliveries
    #[arg(long)]
    pub dead: bool,
    /// Also deliver events that `mute` or `digest` holds
    #[arg(long)]
    pub held: bool,
    /// Deliver only what is due and respect pauses; for timers
    #[arg(long)]
    pub due: bool,
    /// Keep running and deliver new events until stopped
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub by: By,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `discard`.
#[derive(Args)]
pub struct Discard {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub by: By,
    #[command(flatten)]
    pub place: Place,
}

/// Selection of deliveries to give up.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Which {
    /// Pending or dead deliveries to discard, by their `history` ID
    #[arg(value_name = "ID", conflicts_with_all = ["dead", "pending", "notifier", "run", "all"])]
    pub ids: Vec<i64>,
    /// Only dead deliveries
    #[arg(long)]
    pub dead: bool,
    /// Only pending deliveries
    #[arg(long, alias = "waiting", conflicts_with = "dead")]
    pub pending: bool,
    /// Only deliveries to these notifiers
    #[arg(long, value_name = "NAME")]
    pub notifier: Vec<String>,
    /// Only deliveries of this run: the `run.id` in `history ID --json`
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// All pending and dead deliveries
    #[arg(long, conflicts_with_all = ["dead", "pending", "notifier", "run"])]
    pub all: bool,
}

/// Arguments of `init`.
#[derive(Args)]
pub struct Init {
    /// Replace a callback plugin of another version, unless it was changed since `init` wrote it;
    /// plugin_config.ini is kept
    #[arg(long)]
    pub upgrade: bool,
    /// Directory of the playbook
    #[arg(default_value = ".", value_name = "DIR")]
    pub directory: PathBuf,
}

/// Arguments of `import`.
#[derive(Args)]
pub struct Import {
    #[command(subcommand)]
    pub source: Source,
}

/// Programs whose configuration can be imported.
///
/// Secrets become environment variables, which are listed at the end.
#[derive(Subcommand)]
pub enum Source {
    /// Convert notification templates from `awx export` or AWX's API
    ///
    /// Exit codes: 65 if a file contains no AWX templates; 66 if it cannot be read; 74 if the output exists or
    /// cannot be written; 78 if a notifier is incomplete and was written as a comment.
    Awx {
        /// JSON or YAML files with exports or API responses; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write to this file, which must not exist, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Convert the notification callbacks of community.general, from an ansible.cfg and the environment
    ///
    /// Exit codes: 65 if the file configures none; 66 if it cannot be read; 74 if the output exists or cannot be
    /// written; 78 if a callback has no counterpart or is incomplete and was written as a comment.
    #[command(visible_alias = "ansible.cfg")]
    AnsibleCfg {
        /// File to read (default: the one that Ansible would use here)
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Write to this file, which must not exist, instead of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Arguments of `man`.
#[derive(Args)]
pub struct Man {
    /// Subcommand or `plugin_config.ini` (default: the program's own page)
    #[arg(value_name = "PAGE", conflicts_with = "output")]
    pub page: Vec<String>,
    /// Write all pages to this directory
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Arguments of `receive`.
#[derive(Args)]
pub struct Receive {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Listen on a unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Print one line of JSON per request
    #[arg(long)]
    pub json: bool,
    /// Require basic authentication as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Use TLS, with a temporary certificate
    #[arg(long)]
    pub tls: bool,
    /// Write the certificate of --tls to this file, for use as `ca_file`
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub save_cert: Option<PathBuf>,
    /// Use TLS with this certificate
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "tls")]
    pub cert: Option<PathBuf>,
    /// Private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Accept only clients with a certificate from this CA
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Answer with this status
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=999))]
    pub status: u16,
    /// Send this Retry-After with every unsuccessful response
    #[arg(long, value_name = "VALUE")]
    pub retry_after: Option<String>,
    /// Wait before each response
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = duration)]
    pub delay: Duration,
    /// Answer the first N requests with --status (default here: 503), the others with 200
    #[arg(long, value_name = "N")]
    pub fail_first: Option<u64>,
    /// Close each connection without a response
    #[arg(long)]
    pub drop: bool,
    /// Stop after N requests
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Returns the parser of states, which completions list.
fn states() -> impl TypedValueParser<Value = DeliveryState> {
    // The name in JSON is accepted, too.
    let names = DeliveryState::ALL.map(|state| PossibleValue::new(state.name()).alias(state.key()));
    PossibleValuesParser::new(names).try_map(|name| DeliveryState::named(&name).ok_or("no state"))
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "must be a duration such as 500ms, 2s or 1m".to_owned())
}
