//! Messages as a notifier would send them now.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::Mutex;

use crate::cli::Place;
use crate::command::drafts::{self, Choice, Draft, Templates};
use crate::command::{self, rendered};
use crate::spool::DestinationStatus;

/// Number of mails that are remembered until a browser shows them.
const REMEMBERED: usize = 8;

/// The means to show messages: the configuration as it is now, without running commands.
pub struct Previews {
    place: Place,
    /// One at a time.
    turn: Mutex<()>,
    /// HTML of the last mails, by number.
    mails: RefCell<VecDeque<(u64, String)>>,
}

impl Previews {
    /// Creates the previews of the spool that these options name.
    pub fn new(place: Place) -> Previews {
        Previews {
            place,
            turn: Mutex::new(()),
            mails: RefCell::default(),
        }
    }

    /// Returns the request that a notifier would send now for the text of an event, with secrets masked, or why
    /// none can be shown.
    pub async fn of(&self, notifier: DestinationStatus, body: String) -> Result<String, String> {
        let _turn = self.turn.lock().await;
        let stranger = command::only_named_by(&self.place);
        let made = tokio::task::spawn_blocking(move || {
            rendered::now(&notifier, &body, stranger.as_deref())
        });
        made.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Returns the templates of a notifier as they are configured.
    pub async fn templates(&self, notifier: DestinationStatus) -> Result<Templates, String> {
        let _turn = self.turn.lock().await;
        let stranger = command::only_named_by(&self.place);
        let read =
            tokio::task::spawn_blocking(move || Templates::of(&notifier, stranger.as_deref()));
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Returns the message that these templates give.
    pub async fn draft(
        &self,
        notifier: DestinationStatus,
        templates: Templates,
        choice: Choice,
    ) -> Result<Draft, String> {
        let _turn = self.turn.lock().await;
        let stranger = command::only_named_by(&self.place);
        let made = tokio::task::spawn_blocking(move || {
            drafts::draft(&notifier, &templates, choice, stranger.as_deref())
        });
        made.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Remembers a mail for the frame that shows it, and returns its number.
    pub fn remember(&self, html: String) -> u64 {
        let mut mails = self.mails.borrow_mut();
        let number = mails.back().map_or(1, |(last, _)| last + 1);
        mails.push_back((number, html));
        if mails.len() > REMEMBERED {
            mails.pop_front();
        }
        number
    }

    /// Returns a remembered mail.
    pub fn mail(&self, number: u64) -> Option<String> {
        let mails = self.mails.borrow();
        let mut all = mails.iter();
        all.find(|(known, _)| *known == number)
            .map(|(_, html)| html.clone())
    }
}
