//! The kind `webhook`: the payload as JSON to a URL of the user's choice.

use std::rc::Rc;
use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::{Kind, Notifier};
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::event::callback::Callback;
use crate::event::sample;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{
    authorization, check_proxy_authorization, warn_of_plain_http, without_credentials,
};
use crate::net::compression::Compress;
use crate::net::headers::{Headers, header_of};
use crate::net::http::{Http, Request};
use crate::net::oauth::{OAuth, refuse_others};
use crate::net::signing::Signing;
use crate::net::url_template::Address;
use crate::notifier::format::Format;
use crate::notifier::over_http::{Service, over_http_with, to_one};
use crate::notifier::recipients::Each;
use crate::template::context::Context;

/// Webhook, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "webhook",
    about: "POSTs the [outputs] as JSON to a URL, over TCP or a unix socket",
    form: MessageFormat::Data,
    build,
};

// From Standard Webhooks 1.0.0, and the IETF's draft of the Idempotency-Key header.
static ID: HeaderName = HeaderName::from_static("webhook-id");
static TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

struct Webhook {
    method: Method,
    address: Address,
    headers: Headers,
    authorization: Option<HeaderValue>,
    format: Format,
    signing: Option<Signing>,
    compress: Compress,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let key = if section.name == "inputs" {
        "callback_url"
    } else {
        "url"
    };
    let methods = [Method::POST, Method::PUT, Method::PATCH];
    let names = methods.each_ref().map(|method| (method.as_str(), method));
    let method = section.choice("method", &Method::POST, &names).clone();
    let format = Format::of(section);
    let headers = Headers::read(section, format.content_type());
    let signing = Signing::read(section);
    let compress = Compress::read(section, Compress::None);
    let address = if is_notifier(section) {
        Address::read(section, key)
    } else {
        section.url(key);
        None
    };
    let base = address.as_ref().map(|address| address.base.clone());
    let authorization = authorization(section, base.as_ref(), &headers);
    check_proxy_authorization(section, base.as_ref(), &headers);
    let oauth = OAuth::read(section, http);
    if matches!(oauth, None | Some(Some(_))) {
        refuse_others(section, base.as_ref(), &headers);
    }
    let is_secret = authorization.is_some() || matches!(oauth, Some(Some(_)));
    if let (true, Some(url)) = (is_secret, &base) {
        warn_of_plain_http(section, key, url);
    }
    if headers.has_templates() || address.as_ref().is_some_and(Address::has_template) {
        section.no_batch("`batch` cannot be used with templates in the URL or headers");
    }
    let service = address.map(|address| Webhook {
        method,
        address,
        headers,
        authorization,
        format,
        signing,
        compress,
    });
    let service = service.filter(|_| oauth.is_some());
    over_http_with(section, http, base.as_ref(), service, oauth.flatten())
}

/// Returns false for an `[inputs]` section that only cuts off or mutes the levels above.
fn is_notifier(section: &Section) -> bool {
    let rules = ["inherit", "enabled"];
    let only_rules = section
        .entries
        .iter()
        .all(|entry| rules.contains(&entry.key.as_str()));
    !(section.name == "inputs" && only_rules)
}

impl Service for Webhook {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let url = self.address.url(&message.context)?;
        let body = self.format.body(message)?;
        let mut headers = self.headers.of(&message.context)?;
        headers.extend(
            self.authorization
                .clone()
                .map(|value| (AUTHORIZATION, value)),
        );
        // Standard Webhooks 1.0.0: the id is the same on every attempt, the time is that of the attempt.
        let timestamp = HeaderValue::from(jiff::Timestamp::now().as_second());
        let id = header_of(&message.id);
        if let Some(signing) = &self.signing {
            let (name, value) = signing.sign(&id, &timestamp, &body);
            headers.insert(name, value);
        }
        headers.insert(&TIMESTAMP, timestamp);
        headers.insert(&ID, id.clone());
        headers.insert(&IDEMPOTENCY_KEY, id);
        let request = self.request(self.method.clone(), url, headers, body);
        Ok(to_one(request))
    }

    fn compress(&self) -> Compress {
        self.compress
    }

    fn probe(&self, method: Method) -> Request {
        let context = Context::new(Arc::new(sample::of(Callback::RunnerOnFailed)));
        let url = self.address.url(&context);
        let url = url.unwrap_or_else(|_| self.address.base.clone());
        let mut headers = self.headers.fixed.clone();
        headers.extend(
            self.authorization
                .clone()
                .map(|value| (AUTHORIZATION, value)),
        );
        self.request(method, url, headers, Bytes::new())
    }
}

impl Webhook {
    fn request(&self, method: Method, url: Url, headers: HeaderMap, body: Bytes) -> Request {
        Request {
            method,
            url: without_credentials(url),
            secret_url: self.address.secrecy == Secrecy::Secret,
            headers,
            body,
        }
    }
}
