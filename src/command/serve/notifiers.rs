//! Notifiers on the page and in the API.

use serde::Serialize;

use super::answer::Answer;
use super::problem::{Problem, absent};
use super::query::Filters;
use super::routes::Asked;
use super::view::{Delivery, Notifier};
use crate::command::status::together;
use crate::spool::{Mute, Unseen};

impl Asked<'_> {
    async fn mutes(&self) -> Result<Vec<Mute>, Unseen> {
        match self.viewer.mutes().await {
            Err(Unseen::Missing(_)) => Ok(Vec::new()),
            found => found,
        }
    }

    /// Lists the notifiers.
    pub(super) async fn notifiers(&self) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Notifiers {
            notifiers: Vec<Notifier>,
        }
        let rows = together(self.destinations().await?);
        let mutes = self.mutes().await?;
        let notifiers = rows.into_iter();
        let notifiers = notifiers.map(|row| Notifier::from(row).with_mute(&mutes));
        let notifiers = notifiers.collect();
        Ok(self.reply("notifiers", "notifiers", Notifiers { notifiers }))
    }

    /// Shows a notifier with its newest deliveries.
    pub(super) async fn notifier(&self, id: i64) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct OneNotifier {
            notifier: Notifier,
            deliveries: Vec<Delivery>,
        }
        let mut rows = self.destinations().await?.into_iter();
        let row = rows.find(|row| row.id.0 == id);
        let row = row.ok_or_else(|| absent(format!("there is no notifier {id}")))?;
        let filters = Filters {
            notifier_id: id.to_string(),
            limit: "50".to_owned(),
            ..Filters::default()
        };
        let (deliveries, _) = self.listed(&filters).await?;
        let data = OneNotifier {
            notifier: Notifier::from(row).with_mute(&self.mutes().await?),
            deliveries,
        };
        Ok(self.reply("notifier", &format!("notifiers/{id}"), data))
    }
}
