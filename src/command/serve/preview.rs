//! Messages as a notifier would send them now.

use tokio::sync::Mutex;

use crate::cli::Place;
use crate::command::{self, rendered};
use crate::spool::DestinationStatus;

/// The means to show messages: the configuration as it is now, without running commands.
pub struct Previews {
    place: Place,
    /// One at a time.
    turn: Mutex<()>,
}

impl Previews {
    /// Creates the previews of the spool that these options name.
    pub fn new(place: Place) -> Previews {
        let turn = Mutex::new(());
        Previews { place, turn }
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
}
