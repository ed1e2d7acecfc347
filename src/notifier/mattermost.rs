//! The kind `mattermost`: an attachment to an incoming webhook (Mattermost, "Incoming webhooks" and
//! "Message attachments").

use std::rc::Rc;

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_secret_url;
use crate::notifier::over_http::{
    Service, attachment_fields, over_http, to_channels, webhook_request,
};
use crate::notifier::recipients::{self, Each, Recipients};
use crate::text::{Escape, characters, cut};

/// Mattermost, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "mattermost",
    about: "posts to a Mattermost channel through an incoming webhook",
    form: MessageFormat::Text(Escape::Markdown),
    build,
};

/// Mattermost's limit for a post, in characters.
const MOST: usize = 16_383;
/// Maximum length of a title, in characters: a long one belongs in the text.
const TITLE: usize = 256;
/// Maximum number of fields, and of their characters in total.
const FIELDS: (usize, usize) = (30, 9000);

struct Mattermost {
    url: Url,
    /// Channels in place of the webhook's own.
    channels: Option<Recipients>,
    /// `username` and other settings that replace the webhook's own.
    replacing: Map<String, Value>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_secret_url(section, "url");
    let channels = Recipients::optional(section, "channel", &recipients::CHANNELS, recipients::any);
    let keys = ["username", "icon_url", "icon_emoji"];
    let given = |key: &str| Some((key.to_owned(), Value::from(section.text(key)?)));
    let replacing = keys.into_iter().filter_map(given).collect();
    let service = url.clone().map(|url| Mattermost {
        url,
        channels,
        replacing,
    });
    over_http(section, http, url.as_ref(), service)
}

impl Service for Mattermost {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let fields = attachment_fields(message, FIELDS);
        let mut body = self.replacing.clone();
        let attachment = json!({
            "fallback": cut(&message.subject, TITLE, characters),
            "color": message.level.color(),
            "title": cut(&Escape::Markdown.apply(&message.subject), TITLE, characters),
            "title_link": message.link(),
            "text": cut(&message.text, MOST, characters),
            "fields": fields,
        });
        body.insert("attachments".to_owned(), json!([attachment]));
        to_channels(&self.url, self.channels.as_ref(), &body, message)
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        reply.from("Mattermost", reply.text() == "ok")?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        webhook_request(&self.url, method)
    }
}
