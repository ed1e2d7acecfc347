//! One delivery on the page and in the API: its attempts, its message and its event.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::answer::{self, Answer};
use super::problem::{Problem, absent};
use super::routes::{Asked, Form};
use super::view::{self, Attempt, Delivery};
use crate::command::history::NOT_KEPT;
use crate::spool::{DeliveryDetails, SentMessage, Unseen};

/// A message as it was sent.
#[derive(Serialize)]
struct Sent {
    time: String,
    text: String,
}

impl From<SentMessage> for Sent {
    fn from(row: SentMessage) -> Sent {
        Sent {
            time: view::time(row.time),
            text: row.text,
        }
    }
}

/// The message of a delivery: as it was sent, as it would be sent now, or the reason why that cannot be shown.
#[derive(Serialize)]
struct Message {
    sent: Option<Sent>,
    now: Option<String>,
    problem: Option<String>,
}

impl Message {
    /// Cuts the texts for a page; returns true if something is missing.
    fn shorten(&mut self) -> bool {
        let sent = self.sent.as_mut().map(|sent| &mut sent.text);
        let texts = sent.into_iter().chain(&mut self.now);
        let cut = texts.map(|text| {
            let cut = view::cut(text, view::MAX_TEXT);
            *text = cut.text;
            cut.is_cut
        });
        cut.fold(false, |one, other| one | other)
    }
}

impl Asked<'_> {
    /// Shows a delivery.
    pub(super) async fn delivery(&self, id: i64) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct OneDelivery {
            delivery: Delivery,
            attempts: Vec<Attempt>,
            message: Message,
            event: Option<String>,
            is_cut: bool,
        }
        let found = match self.viewer.delivery(id).await {
            Err(Unseen::Missing(_)) => None,
            found => found?,
        };
        let mut found = found.ok_or_else(|| absent(format!("there is no delivery {id}")))?;
        let mut message = self.message(&mut found).await?;
        let body = found.body.as_deref();
        let delivery = Delivery::from(found.row);
        let attempts: Vec<Attempt> = found.attempts.into_iter().map(Attempt::from).collect();
        if self.form == Form::Api {
            let data = json!({
                "delivery": delivery, "attempts": attempts, "event": view::event(body), "message": message,
            });
            return Ok(answer::json(StatusCode::OK, data));
        }
        let is_message_cut = message.shorten();
        let (event, is_cut) = view::event_text(body).unzip();
        let data = OneDelivery {
            delivery,
            attempts,
            message,
            event,
            is_cut: is_cut.unwrap_or_default() || is_message_cut,
        };
        Ok(self.reply("delivery", &format!("deliveries/{id}"), data))
    }

    /// Returns the message of a delivery. A page shows the one that was last sent, if it is kept.
    async fn message(&self, found: &mut DeliveryDetails) -> Result<Message, Problem> {
        let mut message = Message {
            sent: found.message.take().map(Sent::from),
            now: None,
            problem: None,
        };
        if self.form == Form::Page && message.sent.is_some() {
            return Ok(message);
        }
        let mut all = self.destinations().await?.into_iter();
        let notifier = all.find(|row| row.id == found.row.destination);
        let made = match (notifier, &found.body) {
            (_, None) => Err(NOT_KEPT.to_owned()),
            (None, _) => Err("its destination in the spool cannot be read".to_owned()),
            (Some(notifier), Some(body)) => self.previews.of(notifier, body.clone()).await,
        };
        message.now = made.as_ref().ok().cloned();
        message.problem = made.err();
        Ok(message)
    }
}
