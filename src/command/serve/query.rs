//! The query of a request: filters and the place in a list.

use serde::Serialize;

use crate::cli::since;
use crate::spool::record::Outcome;
use crate::spool::record::results::{self, ResultFilter};
use crate::spool::record::runs::{RunFilter, RunState};
use crate::spool::{ActionFilter, DeliveryFilter, DeliveryState, DestinationId};

/// Default number of rows in an answer, and their maximum.
const ROWS: i64 = 100;
const MAX_ROWS: i64 = 200;
/// Size limit of a value, in bytes.
const MAX_VALUE: usize = 1024;

/// Filters of a list, as given in the query; links leave out empty ones.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Filters {
    pub state: String,
    pub notifier: String,
    pub notifier_id: String,
    pub playbook: String,
    pub run: String,
    pub host: String,
    pub task: String,
    pub items: String,
    pub since: String,
    pub until: String,
    pub after: String,
    pub limit: String,
}

impl Filters {
    /// Filters of deliveries.
    pub const DELIVERIES: [&str; 9] = [
        "state",
        "notifier",
        "notifier_id",
        "run",
        "host",
        "task",
        "since",
        "after",
        "limit",
    ];
    /// Filters of runs.
    pub const RUNS: [&str; 7] = [
        "state", "playbook", "host", "since", "until", "after", "limit",
    ];
    /// Filters of actions.
    pub const ACTIONS: [&str; 4] = ["notifier", "since", "after", "limit"];
    /// Filters of the results of a run.
    pub const RESULTS: [&str; 6] = ["state", "host", "task", "items", "after", "limit"];

    /// Parses a query. Unknown, too long and repeated parameters are errors, because ignoring a filter would show more
    /// than was asked for.
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Filters, String> {
        let mut filters = Filters::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_known = known.contains(&&*name);
            let field = filters.field(&name).filter(|_| is_known);
            let field = field.ok_or_else(|| format!("unknown parameter `{name}`"))?;
            if value.len() > MAX_VALUE {
                return Err(format!("`{name}` can have at most {MAX_VALUE} bytes"));
            }
            if !field.is_empty() {
                return Err(format!("`{name}` is given twice"));
            }
            value.trim().clone_into(field);
        }
        Ok(filters)
    }

    fn field(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "state" => &mut self.state,
            "notifier" => &mut self.notifier,
            "notifier_id" => &mut self.notifier_id,
            "playbook" => &mut self.playbook,
            "run" => &mut self.run,
            "host" => &mut self.host,
            "task" => &mut self.task,
            "items" => &mut self.items,
            "since" => &mut self.since,
            "until" => &mut self.until,
            "after" => &mut self.after,
            "limit" => &mut self.limit,
            _ => return None,
        })
    }

    /// Returns the selection of deliveries, with one row more than is shown, to know if there is another page.
    pub fn selection(&self) -> Result<DeliveryFilter, String> {
        let names = DeliveryState::ALL.map(DeliveryState::name);
        let states = each(&self.state, DeliveryState::named, &names);
        Ok(DeliveryFilter {
            states: states?,
            destination: number("notifier_id", &self.notifier_id)?.map(DestinationId),
            notifier: given(&self.notifier).map(str::to_owned),
            host: given(&self.host).map(str::to_owned),
            task: given(&self.task).map(str::to_owned),
            events: given(&self.run).map(results::events_of),
            since: given(&self.since).map_or(Ok(0), since::parse)?,
            before: number("after", &self.after)?,
            most: Some(self.one_more()?),
            ..DeliveryFilter::default()
        })
    }

    /// Returns the selection of runs, with one row more than is shown.
    pub fn runs(&self) -> Result<RunFilter, String> {
        let names = || RunState::ALL.map(RunState::name).join(", ");
        let state = given(&self.state).map(|name| {
            let state = RunState::named(name);
            state.ok_or_else(|| format!("`state` must be one of {}, not `{name}`", names()))
        });
        Ok(RunFilter {
            state: state.transpose()?,
            playbook: given(&self.playbook).map(str::to_owned),
            host: given(&self.host).map(str::to_owned),
            since: given(&self.since).map(since::parse).transpose()?,
            until: given(&self.until).map(since::parse).transpose()?,
            with: None,
            after: number("after", &self.after)?,
            most: self.one_more()?,
        })
    }

    /// Returns the selection of results, with one row more than is shown.
    pub fn results(&self) -> Result<ResultFilter, String> {
        let names = Outcome::ALL.map(Outcome::name);
        Ok(ResultFilter {
            outcomes: each(&self.state, Outcome::named, &names)?,
            task: number("task", &self.task)?,
            host: given(&self.host).map(str::to_owned),
            after: number("after", &self.after)?,
            items: match self.items.as_str() {
                "" | "no" => false,
                "yes" => true,
                other => return Err(format!("`items` must be yes or no, not `{other}`")),
            },
            whole: false,
            newest: false,
            most: self.one_more()?,
        })
    }

    /// Returns the selection of actions, with one more than is shown.
    pub fn actions(&self) -> Result<ActionFilter, String> {
        Ok(ActionFilter {
            since: given(&self.since).map_or(Ok(0), since::parse)?,
            before: number("after", &self.after)?,
            notifier: given(&self.notifier).map(str::to_owned),
            most: self.rows()? + 1,
        })
    }

    /// Returns true without any filter.
    pub fn is_empty(&self) -> bool {
        self.following(0) == "after=0"
    }

    fn one_more(&self) -> Result<usize, String> {
        Ok(usize::try_from(self.rows()?).unwrap_or_default() + 1)
    }

    /// Returns the number of rows to show.
    pub fn rows(&self) -> Result<i64, String> {
        match number("limit", &self.limit)? {
            None => Ok(ROWS),
            Some(rows) if (1..=MAX_ROWS).contains(&rows) => Ok(rows),
            Some(_) => Err(format!("`limit` must be from 1 to {MAX_ROWS}")),
        }
    }

    /// Returns the query for the rows after this one.
    pub fn following(&self, last: i64) -> String {
        let after = last.to_string();
        let pairs = [
            ("state", &self.state),
            ("notifier", &self.notifier),
            ("notifier_id", &self.notifier_id),
            ("playbook", &self.playbook),
            ("run", &self.run),
            ("host", &self.host),
            ("task", &self.task),
            ("items", &self.items),
            ("since", &self.since),
            ("until", &self.until),
            ("limit", &self.limit),
            ("after", &after),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    }
}

fn given(value: &str) -> Option<&str> {
    Some(value).filter(|value| !value.is_empty())
}

/// Returns the states that are listed with commas between them.
fn each<T>(list: &str, named: fn(&str) -> Option<T>, names: &[&str]) -> Result<Vec<T>, String> {
    let one = |word: &str| {
        let word = word.trim();
        let problem = || format!("`state` must be one of {}, not `{word}`", names.join(", "));
        named(word).ok_or_else(problem)
    };
    given(list).map_or(Ok(Vec::new()), |list| list.split(',').map(one).collect())
}

fn number(name: &str, value: &str) -> Result<Option<i64>, String> {
    let parsed = given(value).map(str::parse).transpose();
    parsed.map_err(|_| format!("`{name}` must be a number, not `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_taken_whole_or_refused() {
        let filters =
            Filters::parse(Some("state=dead&host=web+1&after=7"), &Filters::DELIVERIES).unwrap();
        let selection = filters.selection().unwrap();
        assert_eq!(selection.states, [DeliveryState::Dead]);
        assert_eq!(selection.host.as_deref(), Some("web 1"));
        assert_eq!((selection.before, selection.most), (Some(7), Some(101)));
        assert_eq!(filters.following(3), "state=dead&host=web+1&after=3");
        let reason = |query| match Filters::parse(Some(query), &Filters::DELIVERIES) {
            Ok(filters) => filters.selection().err(),
            Err(reason) => Some(reason),
        };
        for (query, expected) in [
            ("", None),
            ("state=&host=", None),
            ("state=dead,pending", None),
            ("state=dead, waiting", None),
            ("colour=red", Some("unknown parameter `colour`")),
            ("host=a&host=b", Some("`host` is given twice")),
            ("after=x", Some("`after` must be a number, not `x`")),
            ("limit=0", Some("`limit` must be from 1 to 200")),
            ("limit=201", Some("`limit` must be from 1 to 200")),
        ] {
            assert_eq!(reason(query).as_deref(), expected, "{query}");
        }
        assert!(reason("state=open").unwrap().contains("pending, delivered"));
        assert!(
            reason("since=never")
                .unwrap()
                .contains("`never` is not a date")
        );
    }
}
