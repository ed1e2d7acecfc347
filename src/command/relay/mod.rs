//! `relay`: accepts the events of many machines, and delivers them by the configurations of their tenants.

pub mod answers;
mod quota;
pub mod segment;
pub mod settings;
pub mod spooled;
pub mod store;
mod store_commands;
pub mod tenant;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::cli;
use crate::cli::serve::RelayAction;
use crate::console::stderr;
use crate::exit::Exit;
use crate::net::server::{self, Handler, Listener};
use crate::notifier::relay::{FORMAT, FORMAT_HEADER, PATH};
use crate::panics;
use answers::{Answer, Counts, answer, health, metrics, problem, with};
use segment::Rejected;
use settings::{Role, Settings};
use store::{Backlog, Queue, Store};
use tenant::Tenant;

/// Size limit of a compressed segment, and of all that are read at the same time, in bytes.
const MAX_SEGMENT: usize = 1 << 20;
const MAX_SEGMENTS: usize = 32 << 20;
/// Time for which requests may still be answered after a signal.
const FINISH: Duration = Duration::from_secs(30);

/// Runs `relay` until a signal stops it, or one of its actions.
pub async fn run(arguments: cli::serve::Relay) -> Exit {
    match (arguments.action, arguments.config) {
        (Some(RelayAction::Init(init)), _) => store_commands::init(&init).await,
        (Some(RelayAction::Status(status)), _) => store_commands::status(&status).await,
        (None, Some(config)) => start(&config, arguments.check).await,
        (None, None) => Exit::Usage,
    }
}

async fn start(config: &Path, only_checks: bool) -> Exit {
    let settings = match settings::load(config, Role::Relay) {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    if only_checks {
        return check(&settings);
    }
    LocalSet::new().run_until(serve(config, settings)).await
}

/// Reports the tenants, after their configurations were read.
fn check(settings: &Settings) -> Exit {
    if let Err(error) = acceptor(settings) {
        stderr::say(format!("{error:#}"));
        return Exit::Config;
    }
    settings.list_tenants()
}

async fn serve(config: &Path, settings: Settings) -> Exit {
    let said = |exit: Exit| {
        move |error: anyhow::Error| {
            stderr::say(format!("{error:#}"));
            exit
        }
    };
    let listening = async {
        let acceptor = acceptor(&settings).map_err(said(Exit::Config))?;
        let listener = Listener::bind(&settings.listen, None, true).await;
        let listener = listener.map_err(said(Exit::Usage))?;
        check_reach(&listener, acceptor.is_some()).map_err(said(Exit::Config))?;
        let tenants = tenants(&settings);
        let (store, queue): (Rc<dyn Store>, _) = match &settings.place {
            Some(place) => {
                let queue = place.open("ansible-notify relay").await;
                let queue = queue.map_err(said(Exit::Io))?;
                (queue.clone(), Some(queue))
            }
            None => (spooled::open(settings).await?, None),
        };
        Ok::<_, Exit>((Relay::new(tenants, store, queue), listener, acceptor))
    };
    match listening.await {
        Ok((relay, listener, acceptor)) => relay.run(&listener, acceptor.as_ref(), config).await,
        Err(exit) => exit,
    }
}

fn tenants(settings: &Settings) -> Vec<Rc<Tenant>> {
    let tenants = settings.tenants.iter();
    tenants.map(|one| Rc::new(one.tenant())).collect()
}

/// Refuses to listen for other machines without TLS.
fn check_reach(listener: &Listener, is_tls: bool) -> Result<()> {
    let address = listener.address().filter(|one| !one.ip().is_loopback());
    if let (Some(address), false) = (address, is_tls) {
        bail!("{address} can be reached from other machines; set `cert` and `key` in [relay]");
    }
    Ok(())
}

/// Returns the TLS configuration, if there is a certificate.
fn acceptor(settings: &Settings) -> Result<Option<TlsAcceptor>> {
    let Some((certificate, key)) = &settings.identity else {
        return Ok(None);
    };
    let identity = server::identity(certificate, key)?;
    server::tls(identity, settings.client_ca.as_deref()).map(Some)
}

/// State of the relay, shared by all requests.
struct Relay {
    /// Replaced when the configuration is read again.
    tenants: RefCell<Vec<Rc<Tenant>>>,
    store: Rc<dyn Store>,
    /// The same, if it is outside of the process.
    queue: Option<Rc<dyn Queue>>,
    /// Numbers of segments and events that were stored.
    stored: Counts,
    /// Bytes of segments that may still be read.
    room: Arc<Semaphore>,
    /// Number of requests that are not answered yet.
    busy: Cell<usize>,
    idle: Notify,
}

impl Relay {
    fn new(
        tenants: Vec<Rc<Tenant>>,
        store: Rc<dyn Store>,
        queue: Option<Rc<dyn Queue>>,
    ) -> Rc<Relay> {
        Rc::new(Relay {
            tenants: RefCell::new(tenants),
            store,
            queue,
            stored: Counts::default(),
            room: Arc::new(Semaphore::new(MAX_SEGMENTS)),
            busy: Cell::new(0),
            idle: Notify::new(),
        })
    }

    /// Answers requests until a signal; then finishes those that have begun, and the attempts in progress.
    async fn run(
        self: Rc<Self>,
        listener: &Listener,
        acceptor: Option<&TlsAcceptor>,
        config: &Path,
    ) -> Exit {
        let mut terminate = signal(SignalKind::terminate()).ok();
        let mut interrupt = signal(SignalKind::interrupt()).ok();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let name = listener.name(scheme).unwrap_or_default();
        stderr::say(format!("listening on {name}"));
        tokio::select! {
            () = server::accept(listener, &self, acceptor) => {}
            () = self.store.tidy() => {}
            () = self.read_again(config) => {}
            () = super::recv_signal(&mut terminate) => {}
            () = super::recv_signal(&mut interrupt) => {}
        }
        let idle = async {
            while self.busy.get() > 0 {
                self.idle.notified().await;
            }
            // The last answers must still be sent.
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        // What is stored later is stored all the same.
        let _ = tokio::time::timeout(FINISH, idle).await;
        match self.store.stop().await {
            Ok(()) => Exit::Ok,
            Err(error) => super::spool_failed(&error),
        }
    }

    /// Reads the tokens and rates of the tenants again after each SIGHUP. Never ends.
    async fn read_again(&self, config: &Path) {
        let mut hangup = signal(SignalKind::hangup()).ok();
        loop {
            super::recv_signal(&mut hangup).await;
            match settings::load(config, Role::Relay) {
                Ok(settings) => {
                    let tenants = tenants(&settings);
                    let count = tenants.len();
                    stderr::say(format!(
                        "the tokens and rates of {count} tenants were read again"
                    ));
                    self.tenants.replace(tenants);
                }
                Err(_) => stderr::say("the tokens and rates that were read before stay in use"),
            }
        }
    }

    async fn reply(&self, head: &Parts, body: Incoming) -> Answer {
        match (head.uri.path(), &head.method) {
            ("/healthz", &Method::GET) => {
                let trouble = self.store.trouble();
                health(trouble, self.backlog().await.as_ref())
            }
            ("/metrics", &Method::GET) => {
                let own = self.stored.metrics(
                    ("relay_segments_total", "Segments stored"),
                    ("relay_events_total", "Events stored"),
                );
                metrics(&own, self.backlog().await.as_ref())
            }
            (path, method) if path.trim_matches('/') == PATH.join("/") => {
                self.segments(method, head, body).await
            }
            _ => problem(&Rejected::new(StatusCode::NOT_FOUND, "nothing here")),
        }
    }

    /// Returns what waits in the store, if that is known.
    async fn backlog(&self) -> Option<Backlog> {
        self.queue.as_ref()?.backlog().await.ok()
    }

    async fn segments(&self, method: &Method, head: &Parts, body: Incoming) -> Answer {
        // All tokens are compared, so the time says nothing about which tenants there are.
        let tenants = self.tenants.borrow().clone();
        let tenants = tenants.iter();
        let tenant = tenants.filter(|one| one.is_of(&head.headers)).last();
        // The body of a stranger is not read.
        let Some(tenant) = tenant else {
            let text =
                "the token is missing or unknown; set `token` to that of a tenant of the relay";
            let refused = problem(&Rejected::new(StatusCode::UNAUTHORIZED, text));
            return with(
                refused,
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
            );
        };
        match *method {
            Method::POST => match self.take(tenant, &head.headers, body).await {
                Ok(count) => answer(StatusCode::ACCEPTED, &json!({"accepted": count})),
                Err(rejected) => problem(&rejected),
            },
            Method::OPTIONS => with(
                answer(StatusCode::OK, &json!({"tenant": tenant.name})),
                ALLOW,
                HeaderValue::from_static("OPTIONS, POST"),
            ),
            _ => problem(&Rejected::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "send segments by POST",
            )),
        }
    }

    /// Accepts a segment. Once it is read, it is stored even if the node does not wait for the answer.
    async fn take(
        &self,
        tenant: &Rc<Tenant>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<usize, Rejected> {
        check_form(headers)?;
        let packed = server::read_body(body, MAX_SEGMENT, &self.room).await;
        let (packed, room) = packed.map_err(|status| {
            let reason = status.canonical_reason().unwrap_or_default();
            Rejected::new(status, format!("the segment was not read: {reason}"))
        })?;
        let (tenant, store) = (tenant.clone(), self.store.clone());
        let accepting = tokio::task::spawn_local(panics::caught_async(async move {
            let accepted = store.put(&tenant, &packed).await;
            drop(room);
            accepted
        }));
        let failed = |fault: String| Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, fault);
        let accepted = accepting.await.map_err(|fault| failed(fault.to_string()))?;
        let count = accepted.map_err(failed)??;
        self.stored.add(count);
        Ok(count)
    }
}

/// Checks the headers of a segment. A newer form is for a newer relay: until then, the node keeps the events.
fn check_form(headers: &HeaderMap) -> Result<(), Rejected> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let form = text(&FORMAT_HEADER);
    let number = |text: &str| text.parse::<u32>().ok();
    if form.and_then(number) > number(FORMAT) {
        let text = format!("this relay reads segments of version {FORMAT} only; upgrade it");
        return Err(Rejected::new(StatusCode::SERVICE_UNAVAILABLE, text));
    }
    if form != Some(FORMAT) || text(&CONTENT_ENCODING) != Some("gzip") {
        let text =
            format!("a segment needs `{FORMAT_HEADER}: {FORMAT}` and `Content-Encoding: gzip`");
        return Err(Rejected::new(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

impl Handler for Relay {
    const MAX_CONNECTIONS: usize = 512;
    type Body = Full<Bytes>;
    type Error = std::convert::Infallible;

    async fn answer(
        &self,
        request: Request<Incoming>,
        _from: Option<SocketAddr>,
    ) -> Result<Answer, Self::Error> {
        let (head, body) = request.into_parts();
        let _busy = Busy::enter(self);
        Ok(self.reply(&head, body).await)
    }
}

/// Counts a request as long as it is not answered.
struct Busy<'a>(&'a Relay);

impl Busy<'_> {
    fn enter(relay: &Relay) -> Busy<'_> {
        relay.busy.set(relay.busy.get() + 1);
        Busy(relay)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
        self.0.idle.notify_one();
    }
}
