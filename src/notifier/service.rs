//! What the services spoken to over HTTP have in common: a request a recipient, and a reply to judge.

use std::rc::Rc;

use async_trait::async_trait;
use reqwest::{Method, Url};

use super::{Check, Failure, Notifier, outcome};
use crate::config::section::Section;
use crate::http::{Endpoint, Http, Reply, Request, read_url};
use crate::message::Message;

/// A service that takes messages over HTTP.
pub trait Service {
    /// The request for each recipient, with the name by which an error calls it; one that stands alone
    /// needs none. Those who have the message already are left out by the caller.
    fn requests(&self, message: &Message) -> Result<Vec<(String, Request)>, Failure>;

    /// What the service says: what it calls the message, where it can be answered later.
    fn judge(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        reply.usual().map(|()| None)
    }

    /// Whether later messages of a run want to know where its first one is.
    fn keeps_threads(&self) -> bool {
        false
    }

    /// A request that changes nothing, to try address and credentials with.
    fn probe(&self, method: Method) -> Request;
}

struct Spoken<S> {
    endpoint: Endpoint,
    service: S,
}

/// The notifier that speaks to `service` at `url`, with the section's settings of the connection.
pub fn over_http(
    section: &Section,
    http: &Http,
    url: Option<&Url>,
    service: Option<impl Service + 'static>,
) -> Option<Rc<dyn Notifier>> {
    // All keys are asked for, even where one is wrong, so that none is called unknown.
    let placeholder = Url::parse("http://localhost").expect("a URL");
    let endpoint = http.endpoint(section, url.unwrap_or(&placeholder))?;
    url?;
    Some(Rc::new(Spoken {
        endpoint,
        service: service?,
    }))
}

/// The address of a service with a fixed one, which `api_url` replaces: a relay, or a server of one's own.
pub fn api_url(section: &Section, default: &str) -> Option<Url> {
    if section.text("api_url").is_none() {
        return Some(Url::parse(default).expect("a service's address is a URL"));
    }
    read_url(section, "api_url").map(|(_, url)| url)
}

/// `base` with more path behind it, each part encoded.
pub fn under(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// A JSON body.
pub fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value can be written")
}

#[async_trait(?Send)]
impl<S: Service> Notifier for Spoken<S> {
    async fn send(&self, message: &Message) -> Result<(), Failure> {
        let requests = self.service.requests(message)?;
        let recipients = requests.len();
        let mut failures = Vec::new();
        for (recipient, request) in requests {
            if message.reached.borrow().contains_key(&recipient) {
                continue;
            }
            let reply = self.endpoint.exchange(request).await;
            match reply.and_then(|reply| self.service.judge(&reply)) {
                Ok(name) => {
                    message.reached.borrow_mut().insert(recipient, name);
                }
                Err(failure) => failures.push((recipient, failure)),
            }
        }
        outcome(recipients, failures)
    }

    fn keeps_threads(&self) -> bool {
        self.service.keeps_threads()
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let requests = self.service.requests(message)?;
        let previews: Vec<String> = requests
            .iter()
            .map(|(_, request)| request.preview())
            .collect();
        Ok(previews.join("\n\n"))
    }

    async fn check(&self) -> Check {
        self.endpoint
            .check(|method| self.service.probe(method))
            .await
    }
}
