//! The command line: types only.

pub mod since;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::levels::Search;
use crate::config::units::parse_duration;

/// Tells other systems what Ansible did.
///
/// The callback plugin feeds `stream`; by hand, `send` delivers events from files and `check-config`
/// says what is wrong with a configuration. Exit codes: 0 delivered; 1 unexpected; 2 usage; 65 an event
/// is not valid; 66 no such file; 69 refused for good; 74 the spool or standard output cannot be
/// written; 75 not delivered yet; 78 configuration.
#[derive(Parser)]
#[command(name = "ansible-notify", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Subcommand)]
pub enum Command {
    /// Deliver events from files: an object, an array, NDJSON, or ansible-runner's job events
    Send(Send),
    /// Deliver what the callback plugin, or the one of ansible-runner, writes to standard input
    Stream(Stream),
    /// Say what is wrong with the configuration, and where each value comes from
    CheckConfig(CheckConfig),
    /// Send a sample event to the notifiers, through their real settings
    Test(Test),
    /// Show which notifiers an event would reach, and why the others not
    Routes(Routes),
    /// Say what was accepted, delivered, waits or is dead, for each notifier
    Status(Status),
    /// List deliveries, or show one with each of its attempts
    History(History),
    /// Deliver what waits
    Flush(Flush),
    /// Give up deliveries that wait or are dead
    ///
    /// IDs, --notifier, --run and --all cover both, those that wait and those that are dead; --waiting and
    /// --dead cover only these, and narrow --notifier and --run. What was delivered stays.
    Discard(Discard),
    /// An HTTP endpoint to try things against
    Receive(Receive),
    /// Write the callback plugin and a commented plugin_config.ini
    Init(Init),
    /// Print the JSON Schema of an event
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Location of the configuration.
#[derive(Args)]
pub struct Configuration {
    /// This configuration file and no other [env: ANSIBLE_NOTIFY_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory whose plugin_config.ini, or that of its callback_plugins, is the project's
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
#[derive(Args)]
pub struct Place {
    /// The spool that this configuration file names, or your own where it names none; `flush` delivers only
    /// what belongs to this file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The directory of the spool, where it is not your own
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

/// Arguments of `send`.
#[derive(Args)]
pub struct Send {
    /// Files to read; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print each request as it would go, secrets masked, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Run the commands that print secrets, too
    #[arg(long, requires = "dry_run")]
    pub run_commands: bool,
    /// Only these notifiers
    #[arg(long, value_name = "NAME")]
    pub notifier: Vec<String>,
    /// Stay until everything is delivered or dead, in place of `drain`
    #[arg(long, conflicts_with = "no_wait")]
    pub wait: bool,
    /// Accept the events and leave their delivery to the next run or `flush`
    #[arg(long)]
    pub no_wait: bool,
    /// Print no summary
    #[arg(long, short)]
    pub quiet: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `stream`.
#[derive(Args)]
pub struct Stream {
    /// Print no summary
    #[arg(long, short)]
    pub quiet: bool,
    /// End at once where the configuration has a problem or a secret cannot be read
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `check-config`.
#[derive(Args)]
pub struct CheckConfig {
    /// Resolve, connect, check TLS and credentials too, without notifying anyone
    #[arg(long)]
    pub connect: bool,
    /// Run the commands that print secrets, too
    #[arg(long)]
    pub run_commands: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `test`.
#[derive(Args)]
pub struct Test {
    /// The notifiers to test; all without one
    #[arg(value_name = "NOTIFIER")]
    pub notifiers: Vec<String>,
    /// Send the events of this file in place of a sample
    #[arg(long, value_name = "FILE", conflicts_with = "trigger")]
    pub event: Option<PathBuf>,
    /// Send a sample of what this trigger stands for, such as error or recovered
    #[arg(long, value_name = "TRIGGER")]
    pub trigger: Option<String>,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `routes`.
#[derive(Args)]
pub struct Routes {
    /// Files of events; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print a line of JSON an event
    #[arg(long)]
    pub json: bool,
    /// Run the commands that print secrets, too
    #[arg(long)]
    pub run_commands: bool,
    #[command(flatten)]
    pub configuration: Configuration,
}

/// Arguments of `status`.
#[derive(Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `history`.
#[derive(Args)]
pub struct History {
    /// One delivery, with each of its attempts
    #[arg(value_name = "ID")]
    pub id: Option<i64>,
    /// Only those that failed at least once
    #[arg(long)]
    pub failed: bool,
    /// Only of this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only of this task
    #[arg(long, value_name = "NAME")]
    pub task: Option<String>,
    /// Only to this notifier
    #[arg(long, value_name = "NAME")]
    pub notifier: Option<String>,
    /// Only since this time, or this long ago: 2026-11-27, 2026-11-27T10:00, 19:00 (of today), 5min, 2h, 3d;
    /// in local time where it has no zone
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    pub since: Option<i64>,
    /// At most so many
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
    /// Try those again that were refused for good
    #[arg(long)]
    pub dead: bool,
    /// Only what is due: no pause is cut short, as a timer should not
    #[arg(long)]
    pub due: bool,
    /// Stay and deliver what comes, until stopped
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `discard`.
#[derive(Args)]
pub struct Discard {
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub place: Place,
}

/// Selection of deliveries to give up.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Which {
    /// These deliveries, waiting or dead, as `history` numbers them
    #[arg(value_name = "ID", conflicts_with_all = ["dead", "waiting", "notifier", "run", "all"])]
    pub ids: Vec<i64>,
    /// Only those that are dead
    #[arg(long)]
    pub dead: bool,
    /// Only those that wait
    #[arg(long, conflicts_with = "dead")]
    pub waiting: bool,
    /// Only those to these notifiers
    #[arg(long, value_name = "NAME")]
    pub notifier: Vec<String>,
    /// Only those of this run: `run.id` of its events, as `history ID --json` shows it
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// All that wait or are dead
    #[arg(long, conflicts_with_all = ["dead", "waiting", "notifier", "run"])]
    pub all: bool,
}

/// Arguments of `init`.
#[derive(Args)]
pub struct Init {
    /// Replace a callback plugin of another version, or changed by hand; plugin_config.ini stays
    #[arg(long)]
    pub upgrade: bool,
    /// Where the playbook is
    #[arg(default_value = ".", value_name = "DIR")]
    pub directory: PathBuf,
}

/// Arguments of `receive`.
#[derive(Args)]
pub struct Receive {
    /// The address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// Listen on a unix socket instead
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Print each request as one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Ask for this user by basic authentication
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// The file that holds the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
    /// Speak TLS, with a certificate made for the occasion
    #[arg(long)]
    pub tls: bool,
    /// Write the certificate that --tls made to this file, to name it as `ca_file`
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub save_cert: Option<PathBuf>,
    /// Speak TLS with this certificate
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "tls")]
    pub cert: Option<PathBuf>,
    /// The key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Accept only clients with a certificate from this authority
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Answer with this status
    #[arg(long, default_value_t = 200, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=999))]
    pub status: u16,
    /// Send this Retry-After with every answer that is not a success
    #[arg(long, value_name = "VALUE")]
    pub retry_after: Option<String>,
    /// Wait before each answer
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = duration)]
    pub delay: Duration,
    /// Answer the first N requests with --status (503 unless set), the others with 200
    #[arg(long, value_name = "N")]
    pub fail_first: Option<u64>,
    /// Close each connection without an answer
    #[arg(long)]
    pub drop: bool,
    /// Stop after N requests
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "not a time such as 500ms, 2s or 1m".to_owned())
}
