//! The services of the demo: one HTTP server that answers as each of them does, and keeps what it gets.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::console::stdout::Styled;
use crate::console::table::{Align, Table};
use crate::net::server::Handler;

/// Size limit of a request's body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Host whose first message the chat refuses, to show that it is sent again.
const REFUSED: &str = "web3";

/// Services by the name of their notifier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Callback,
    Chat,
    Phone,
}

/// A request that arrived.
struct Arrived {
    service: Service,
    body: Value,
    status: StatusCode,
}

/// All services.
#[derive(Default)]
pub struct Services {
    arrived: RefCell<Vec<Arrived>>,
    /// True once the chat has refused a message.
    has_refused: Cell<bool>,
}

impl Handler for Services {
    const MAX_CONNECTIONS: usize = 64;
    type Body = Full<Bytes>;
    type Error = Infallible;

    async fn answer(
        &self,
        request: Request<Incoming>,
        _from: Option<SocketAddr>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let service = Service::at(request.uri().path());
        let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let is_refused = service == Service::Chat && body.to_string().contains(REFUSED);
        let status = match is_refused && !self.has_refused.replace(true) {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::OK,
        };
        self.arrived.borrow_mut().push(Arrived {
            service,
            body,
            status,
        });
        let mut response = Response::new(Full::from(service.reply()));
        *response.status_mut() = status;
        Ok(response)
    }
}

impl Services {
    /// Returns a table of what arrived, by service.
    pub fn table(&self) -> Vec<Styled> {
        let columns = [
            ("NOTIFIER", Align::Left),
            ("ANSWER", Align::Left),
            ("MESSAGE", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for service in [Service::Callback, Service::Chat, Service::Phone] {
            let arrived = self.arrived.borrow();
            for request in arrived.iter().filter(|request| request.service == service) {
                let (title, more) = service.message(&request.body);
                let status = request.status.as_u16().to_string();
                let answer = match request.status.is_success() {
                    true => Styled::Good(status),
                    false => Styled::Warn(format!("{status}, once")),
                };
                let name = Styled::Plain(service.name().to_owned());
                let more = more.lines().map(|line| Styled::Dim(line.to_owned()));
                table.row(vec![name, answer, Styled::Plain(title)], more.collect());
            }
        }
        table.parts()
    }
}

impl Service {
    fn at(path: &str) -> Service {
        match path {
            "/ansible/events" => Service::Callback,
            "/hooks/deployments" => Service::Chat,
            _ => Service::Phone,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Service::Callback => "callback",
            Service::Chat => "chat",
            Service::Phone => "phone",
        }
    }

    /// Returns the answer that its notifier expects.
    fn reply(self) -> String {
        match self {
            Service::Callback => String::new(),
            Service::Chat => "ok".to_owned(),
            Service::Phone => json!({"id": "demo", "event": "message"}).to_string(),
        }
    }

    /// Returns what a reader of the message would see: its title, and further lines.
    fn message(self, body: &Value) -> (String, String) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            Service::Callback => {
                let fields = ["state", "host", "task_name"];
                let fields = fields.map(|field| text(&body[field])).join("  ");
                (fields, String::new())
            }
            Service::Chat => {
                let message = &body["attachments"][0];
                (text(&message["title"]), text(&message["text"]))
            }
            Service::Phone => (text(&body["title"]), text(&body["message"])),
        }
    }
}
