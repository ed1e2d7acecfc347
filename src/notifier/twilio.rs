//! The kind `twilio`: SMS (Twilio, "Messages resource").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{self, refuse_user};
use crate::net::http::{Http, Reply, Request};
use crate::notifier::over_http::{Service, api_url, join_path, over_http};
use crate::notifier::recipients::{self, Each, Recipients};
use crate::text::{Escape, cut, utf16};

/// Twilio, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "twilio",
    about: "sends text messages (SMS) through Twilio",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of a text, in UTF-16 units.
const MOST: usize = 1600;
/// Twilio's code for a request that came too soon and was not processed.
const TOO_MANY: u64 = 20429;

struct Twilio {
    /// URL to which the account's messages are posted.
    messages: Url,
    authorization: HeaderValue,
    /// `From` or `MessagingServiceSid`, and its value.
    sender: (&'static str, String),
    to_numbers: Recipients,
    /// True if the message is sent as well, because the user wrote one: a text costs by its length.
    with_message: bool,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = api_url(section, "https://api.twilio.com");
    let account = section.required("account_sid");
    let authorization = authorization(section, account);
    refuse_user(section, api.as_ref(), "auth_token");
    let sender = sender(section);
    let to_numbers =
        Recipients::required(section, "to_numbers", &recipients::LIST, recipients::any);
    let with_message = section.template("message").is_some();
    let service = || {
        Some(Twilio {
            messages: join_path(
                api.as_ref()?,
                &["2010-04-01", "Accounts", account?, "Messages.json"],
            ),
            authorization: authorization?,
            sender: sender?,
            to_numbers: to_numbers?,
            with_message,
        })
    };
    over_http(section, http, api.as_ref(), service())
}

/// Reads the account and its token, or an API key and its secret.
fn authorization(section: &Section, account: Option<&str>) -> Option<HeaderValue> {
    let key = section.text("api_key_sid");
    let (token, secret) = (
        section.secret("auth_token"),
        section.secret("api_key_secret"),
    );
    let (user, password) = match (key, secret) {
        (Some(key), secret) => {
            if token.is_some() {
                let problem = "`auth_token` and `api_key_sid` are set; keep one of them";
                section.problem("auth_token", problem);
            }
            (key, secret.or_else(|| section.missing("api_key_secret"))?)
        }
        (None, Some(_)) => return section.missing("api_key_sid"),
        (None, None) => (account?, token.or_else(|| section.missing("auth_token"))?),
    };
    authorization::header(
        section,
        "auth_token",
        &authorization::basic(user, &password),
    )
}

fn sender(section: &Section) -> Option<(&'static str, String)> {
    let number = section.text("from_number");
    let service = section.text("messaging_service_sid");
    match (number, service) {
        (Some(number), None) => Some(("From", number.to_owned())),
        (None, Some(service)) => Some(("MessagingServiceSid", service.to_owned())),
        (Some(_), Some(_)) => {
            let problem = "`from_number` and `messaging_service_sid` are set; keep one of them";
            section.problem("messaging_service_sid", problem);
            None
        }
        (None, None) => section.missing("from_number"),
    }
}

impl Service for Twilio {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let mut text = message.subject.clone();
        if self.with_message {
            text = format!("{text}\n{}", message.text);
        }
        let text = cut(text.trim(), MOST, utf16);
        let request = |number: &String| {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("To", number)
                .append_pair(self.sender.0, &self.sender.1)
                .append_pair("Body", &text);
            Ok(Request {
                body: form.finish().into(),
                ..self.probe(Method::POST)
            })
        };
        self.to_numbers.each(message, request)
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        let judged = match (said["code"].as_u64(), said["message"].as_str()) {
            (Some(code), Some(text)) if !reply.status.is_success() => {
                reply.check_status_with(format!("{text} ({code})").as_bytes())
            }
            _ => reply.from("Twilio", said["sid"].is_string()),
        };
        match judged {
            Err(Failure::Permanent(error)) if said["code"] == TOO_MANY => {
                Err(Failure::retry(error))
            }
            judged => judged.map(|()| said["sid"].as_str().map(str::to_owned)),
        }
    }

    fn probe(&self, method: Method) -> Request {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let authorization = self.authorization.clone();
        Request {
            method,
            url: self.messages.clone(),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, form), (AUTHORIZATION, authorization)]),
            body: Bytes::new(),
        }
    }
}
