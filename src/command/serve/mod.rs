//! `serve`: a page and an API that show the spool.

mod access;
mod actions;
mod answer;
mod assets;
mod audit;
mod delivery;
mod events;
mod learned;
mod metrics;
mod notifiers;
mod preview;
mod problem;
mod query;
mod rebuilt;
mod render;
mod routes;
mod run_view;
mod runs;
mod trends;
mod tryout;
mod view;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hyper::header::HeaderName;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::cli::serve::Serve;
use crate::console::stderr;
use crate::exit::Exit;
use crate::net::authorization;
use crate::net::digest::hex;
use crate::net::server::{self, Listener};
use crate::secret::{Secret, Source};
use crate::spool::Viewer;
use access::{Access, Credentials};
use routes::Page;

/// Length of a new token, in bytes; and of the shortest one that is accepted, in characters.
const TOKEN: usize = 32;
const SHORTEST_TOKEN: usize = 32;

/// Runs `serve` until a signal stops it.
pub async fn run(arguments: Serve) -> Exit {
    let folder = match super::spool_folder(&arguments.place) {
        Ok(folder) => folder,
        Err(exit) => return exit,
    };
    match LocalSet::new().run_until(serve(&arguments, &folder)).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            stderr::say(format!("{error:#}"));
            // Nothing fails once it listens.
            Exit::Usage
        }
    }
}

async fn serve(arguments: &Serve, folder: &Path) -> Result<()> {
    let acceptor = match (&arguments.tls_cert, &arguments.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(server::tls(server::identity(certificate, key)?, None)?)
        }
        _ => None,
    };
    let (credentials, token) = credentials(arguments)?;
    let listener = Listener::bind(&arguments.listen, arguments.socket.as_deref(), true).await?;
    let access = Access {
        credentials,
        address: listener.address(),
        hosts: arguments
            .host
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect(),
        is_tls: acceptor.is_some(),
    };
    check_reach(&access)?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    announce(&listener.name(scheme)?, arguments, token);
    let page = Rc::new(Page::new(access, Viewer::new(folder), arguments));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = server::accept(&listener, &page, acceptor.as_ref()) => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    listener.clean_up();
    Ok(())
}

/// Returns the credentials that clients need, and a token if it is a new one.
fn credentials(arguments: &Serve) -> Result<(Credentials, Option<String>)> {
    if let (Some(name), Some(file)) = (&arguments.username, &arguments.password_file) {
        ensure!(!name.contains(':'), "`--username` cannot contain `:`");
        let password = Source::File(file.clone()).read()?;
        return Ok((
            Credentials::Password(authorization::basic(name, &password)),
            None,
        ));
    }
    if let Some(header) = &arguments.trust_header {
        let name = HeaderName::from_bytes(header.as_bytes());
        let name = name.map_err(|_| anyhow!("`--trust-header {header}` is not a header's name"))?;
        ensure!(
            arguments.socket.is_some() || !arguments.proxy.is_empty(),
            "`--trust-header` needs `--socket`, or the address of the proxy: `--proxy ADDRESS`"
        );
        let proxies = arguments.proxy.iter().map(|ip| ip.to_canonical());
        return Ok((Credentials::Header(name, proxies.collect()), None));
    }
    if let Some(file) = &arguments.token_file {
        return Ok((Credentials::Token(token_in(file)?), None));
    }
    if arguments.socket.is_some() {
        return Ok((Credentials::Socket, None));
    }
    let token = new_token()?;
    Ok((Credentials::Token(Secret::unmasked(&token)), Some(token)))
}

/// Reads the token from a file; creates the file if it is missing.
fn token_in(file: &Path) -> Result<Secret> {
    let shown = file.display();
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Ok(mut made) => {
            writeln!(made, "{}", new_token()?).with_context(|| format!("cannot write `{shown}`"))?
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write `{shown}`")),
    }
    let token = Source::File(file.to_owned()).read()?;
    ensure!(
        token.expose().len() >= SHORTEST_TOKEN,
        "the token in `{shown}` is too short; it needs {SHORTEST_TOKEN} characters"
    );
    Ok(token)
}

fn new_token() -> Result<String> {
    let mut bytes = [0; TOKEN];
    let made = SystemRandom::new().fill(&mut bytes);
    made.map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(hex(&bytes))
}

/// Refuses to listen for other machines without TLS and authentication.
fn check_reach(access: &Access) -> Result<()> {
    let Some(address) = access.address.filter(|address| !address.ip().is_loopback()) else {
        return Ok(());
    };
    match &access.credentials {
        Credentials::Header(..) => Ok(()),
        Credentials::Password(_) if access.is_tls => Ok(()),
        _ => bail!(
            "{address} can be reached from other machines; that needs `--tls-cert`, `--tls-key`, `--username` and \
             `--password-file`, or a proxy that lets users in: `--trust-header` and `--proxy`"
        ),
    }
}

/// Prints the address of the page, and a new token.
fn announce(name: &str, arguments: &Serve, token: Option<String>) {
    match (token, &arguments.token_file) {
        (Some(token), _) => {
            stderr::say(format!("listening on {name}/#token={token}"));
            crate::secret::mask(&token);
        }
        (None, Some(file)) => stderr::say(format!(
            "listening on {name}; the token is in `{}`",
            file.display()
        )),
        (None, None) => stderr::say(format!("listening on {name}")),
    }
}
