//! The kind `rocketchat`: an attachment to an incoming webhook (Rocket.Chat, "Integrations").

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

/// Rocket.Chat, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "rocketchat",
    about: "posts to a Rocket.Chat channel through an incoming webhook",
    form: MessageFormat::Text(Escape::Markdown),
    build,
};

/// Default limit of a server for a message, in characters.
const MOST: usize = 5000;
/// Maximum number of fields, and of their characters in total.
const FIELDS: (usize, usize) = (30, 9000);

/// Keys, and their names on different servers.
const REPLACING: [(&str, &[&str]); 3] = [
    ("username", &["alias", "username"]),
    ("icon_url", &["avatar", "icon_url"]),
    ("emoji", &["emoji"]),
];

struct RocketChat {
    url: Url,
    /// Channels in place of the webhook's own.
    channels: Option<Recipients>,
    /// `alias` and other settings that replace the webhook's own.
    replacing: Map<String, Value>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_secret_url(section, "url");
    let channels = Recipients::optional(section, "channel", &recipients::CHANNELS, recipients::any);
    let mut replacing = Map::new();
    for (key, names) in REPLACING {
        for name in names.iter().filter(|_| section.text(key).is_some()) {
            replacing.insert((*name).to_owned(), section.text(key).into());
        }
    }
    let service = url.clone().map(|url| RocketChat {
        url,
        channels,
        replacing,
    });
    over_http(section, http, url.as_ref(), service)
}

impl Service for RocketChat {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let fields = attachment_fields(message, FIELDS);
        let mut attachment = json!({
            "color": message.level.color(),
            "text": cut(&message.text, MOST, characters),
            "fields": fields,
        });
        if let Some(url) = message.link() {
            attachment["title"] = json!("Open the run");
            attachment["title_link"] = json!(url);
        }
        let mut body = self.replacing.clone();
        let subject = Escape::Markdown.apply(&message.subject);
        body.insert("text".to_owned(), json!(cut(&subject, MOST, characters)));
        body.insert("attachments".to_owned(), json!([attachment]));
        to_channels(&self.url, self.channels.as_ref(), &body, message)
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        reply.from("Rocket.Chat", said["success"].is_boolean())?;
        if said["success"] == true {
            return Ok(None);
        }
        let error = said["error"].as_str().unwrap_or("without a reason");
        Err(Failure::permanent(format!("refused: {error}")))
    }

    fn probe(&self, method: Method) -> Request {
        webhook_request(&self.url, method)
    }
}
