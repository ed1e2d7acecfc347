//! The state of `deliver` over HTTP: `/healthz` and `/metrics`, for this machine or a trusted network. They name no tenant.

use std::net::SocketAddr;
use std::rc::Rc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};

use super::Takers;
use crate::command::relay::answers::{health, metrics, problem};
use crate::command::relay::segment::Rejected;
use crate::command::relay::store::Store as _;
use crate::console::stderr;
use crate::exit::Exit;
use crate::net::server::{self, Handler};

pub use crate::net::server::Listener;

/// Listens on the configured address, if there is one.
pub async fn bind(address: Option<&str>) -> Result<Option<Listener>, Exit> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = Listener::bind(address, None, true).await;
    let listener = bound.map_err(|error| {
        stderr::say(format!("{error:#}"));
        Exit::Usage
    })?;
    stderr::say(format!(
        "listening on {}",
        listener.name("http").unwrap_or_default()
    ));
    Ok(Some(listener))
}

/// Answers requests. Never ends.
pub async fn answer(listener: Option<Listener>, takers: &Rc<Takers>) {
    match listener {
        Some(listener) => server::accept(&listener, takers, None).await,
        None => std::future::pending().await,
    }
}

impl Handler for Takers {
    const MAX_CONNECTIONS: usize = 16;
    type Body = Full<Bytes>;
    type Error = std::convert::Infallible;

    async fn answer(
        &self,
        request: Request<Incoming>,
        _from: Option<SocketAddr>,
    ) -> Result<Response<Full<Bytes>>, Self::Error> {
        let backlog = || async { self.queue.backlog().await.ok() };
        Ok(match (request.uri().path(), request.method()) {
            ("/healthz", &Method::GET) => {
                let trouble = self.spooled.trouble().or_else(|| self.queue.trouble());
                health(trouble, backlog().await.as_ref())
            }
            ("/metrics", &Method::GET) => {
                let own = self.accepted.metrics(
                    ("deliver_segments_total", "Segments accepted from the store"),
                    (
                        "deliver_events_total",
                        "Events accepted from the store, those that came again included",
                    ),
                );
                metrics(&own, backlog().await.as_ref())
            }
            _ => problem(&Rejected::new(StatusCode::NOT_FOUND, "nothing here")),
        })
    }
}
