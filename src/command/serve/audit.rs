//! Recorded actions on deliveries and notifiers, on the page and in the API.

use serde::Serialize;

use super::answer::Answer;
use super::problem::{Problem, bad};
use super::query::Filters;
use super::routes::Asked;
use super::view;
use crate::command::actions::config_of;
use crate::spool::{ActionRow, Unseen, place_name};

/// Something that a user did.
#[derive(Serialize)]
struct Act {
    id: i64,
    time: String,
    who: String,
    /// Place of the action: `page` or `terminal`.
    via: &'static str,
    what: String,
    target: String,
    note: String,
    notifier: Option<String>,
    notifier_id: Option<i64>,
    /// Configuration file of the notifier.
    config: Option<String>,
    /// True if another notifier has the same name.
    shares_name: bool,
}

impl From<ActionRow> for Act {
    fn from(row: ActionRow) -> Act {
        let notifier = row.notifier.as_ref();
        Act {
            config: config_of(&row),
            shares_name: notifier.is_some_and(|one| one.shares_name),
            notifier_id: notifier.map(|one| one.id),
            notifier: notifier.map(|one| one.name.clone()),
            id: row.id,
            time: view::time(row.time),
            who: row.who,
            via: place_name(row.on_page),
            what: row.what,
            target: row.target,
            note: row.note,
        }
    }
}

impl Asked<'_> {
    /// Lists what people did, newest first.
    pub(super) async fn actions(&self, query: Option<&str>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Acts {
            actions: Vec<Act>,
            next: Option<String>,
            filters: Filters,
        }
        let filters = Filters::parse(query, &Filters::ACTIONS).map_err(bad)?;
        let filter = filters.actions().map_err(bad)?;
        let most = usize::try_from(filter.most - 1).unwrap_or_default();
        let mut rows = match self.viewer.actions(filter).await {
            Err(Unseen::Missing(_)) => Vec::new(),
            found => found?,
        };
        let has_more = rows.len() > most;
        rows.truncate(most);
        let last = rows.last().map(|row| row.id).filter(|_| has_more);
        let data = Acts {
            actions: rows.into_iter().map(Act::from).collect(),
            next: last.map(|last| filters.following(last)),
            filters,
        };
        let path = match query {
            Some(query) => format!("actions?{query}"),
            None => "actions".to_owned(),
        };
        Ok(self.reply("actions", &path, data))
    }
}
