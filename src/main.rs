//! `ansible-notify`: tells other systems what Ansible did.

mod cli;
mod command;
mod config;
mod console;
mod delivery;
mod event;
mod exit;
mod failpoint;
mod failure;
mod json;
mod message;
mod net;
mod notifier;
mod panics;
mod protocol;
mod route;
mod secret;
mod spool;
mod system;
mod template;
mod text;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::SignalKind;

use cli::{Cli, Command, Described};
use console::{stderr, stdout};
use delivery::keys::KnownKeys;
use exit::Exit;
use protocol::{PROTOCOL, VERSION};

/// Schema of an event, for programs that read or write one.
const SCHEMA: &str = include_str!("../docs/event.schema.json");

fn main() -> ExitCode {
    panics::install();
    if let Some(exit) = command::completions::answer() {
        return exit.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayVersion && is_verbose() => {
            std::process::exit(stdout::exit(versions()) as i32)
        }
        Err(error) => error.exit(),
    };
    if !matches!(cli.command, Command::Run(_)) {
        // Its command inherits the limit, so it sets the limit later.
        system::forbid_core_file();
    }
    let exit = match cli.command {
        Command::Schema { of } => schema(of),
        Command::Completions { shell } => command::completions::run(shell),
        Command::Man(arguments) => command::man::run(&arguments),
        Command::Init(arguments) => command::init::run(&arguments),
        command => run_async(command),
    };
    // A thread may still wait for standard input; the process does not.
    std::process::exit(stdout::exit(exit) as i32);
}

/// Returns true if the command line has `--verbose`, which is parsed only up to `--version`.
fn is_verbose() -> bool {
    std::env::args_os().any(|argument| argument == "--verbose")
}

/// Prints the versions of the program and of everything that others read or write.
fn versions() -> Exit {
    stdout::print(format!(
        "ansible-notify {VERSION}\nprotocol: {PROTOCOL}\nspool: {}\nevent schema: {}\n",
        spool::SCHEMA,
        event::SCHEMA
    ));
    Exit::Ok
}

fn run_async(command: Command) -> Exit {
    // ring is set here and nowhere else; it is in the tree for TLS and for certificates.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        stderr::say("another TLS provider is installed already");
        return Exit::Unexpected;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            stderr::say(format!("cannot start: {error}"));
            return Exit::Unexpected;
        }
    };
    runtime.block_on(async {
        // Exceeding the file size limit is an error to report, not a reason to die.
        let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let _handled = tokio::signal::unix::signal(too_large);
        match command {
            Command::Send(arguments) => command::send::run(arguments).await,
            Command::Stream(arguments) => command::stream::run(arguments).await,
            Command::Run(arguments) => command::run::run(arguments).await,
            Command::CheckConfig(arguments) => command::check_config::run(arguments).await,
            Command::Doctor(arguments) => command::doctor::run(arguments).await,
            Command::Routes(arguments) => command::routes::run(arguments).await,
            Command::Test(arguments) => command::test::run(arguments).await,
            Command::Flush(arguments) => command::flush::run(arguments).await,
            Command::Runs(arguments) => command::runs::run(arguments).await,
            Command::Report(arguments) => command::report::run(arguments).await,
            Command::Status(arguments) => command::status::run(arguments).await,
            Command::Mute(arguments) => command::mute::mute(arguments).await,
            Command::Unmute(arguments) => command::mute::unmute(arguments).await,
            Command::History(arguments) => command::history::history(arguments).await,
            Command::Discard(arguments) => command::history::discard(arguments).await,
            Command::Demo(arguments) => command::demo::run(arguments).await,
            Command::Receive(arguments) => command::receive::run(arguments).await,
            Command::Serve(arguments) => command::serve::run(arguments).await,
            Command::Relay(arguments) => command::relay::run(arguments).await,
            Command::Deliver(arguments) => command::deliver::run(arguments).await,
            Command::Import(arguments) => command::import::run(&arguments),
            Command::Schema { .. }
            | Command::Completions { .. }
            | Command::Man(_)
            | Command::Init(_) => Exit::Ok,
        }
    })
}

fn schema(of: Described) -> Exit {
    match of {
        Described::Event => print(SCHEMA.as_bytes()),
        Described::Configuration => match serde_json::to_vec_pretty(&KnownKeys::collect()) {
            Ok(keys) => print(&keys),
            Err(_) => Exit::Unexpected,
        },
    }
}

fn print(bytes: &[u8]) -> Exit {
    stdout::print(bytes);
    Exit::Ok
}
