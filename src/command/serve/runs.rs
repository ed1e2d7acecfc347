//! Runs on the page and in the API.

use hyper::StatusCode;
use serde::Serialize;

use super::answer::{self, Answer};
use super::problem::{Problem, absent, bad};
use super::query::Filters;
use super::routes::{Asked, Form};
use super::run_view::{Content, Outcome, Run, Task, Told};
use super::view::Delivery;
use crate::spool::record::Outcome as Kind;
use crate::spool::record::results::{RecordedHost, ResultFilter};
use crate::spool::record::runs::{Found, RecordedRun};
use crate::spool::{DeliveryFilter, Unseen};

/// Failures on the page of a run, and the most tasks and hosts there.
const FAILED: usize = 20;
const MAX_TASKS: usize = 1000;
const MAX_HOSTS: usize = 500;

/// A run in the list, with its deliveries.
#[derive(Serialize)]
struct ListedRun {
    #[serde(flatten)]
    run: Run,
    notified: Vec<Told>,
}

impl Asked<'_> {
    /// Shows the runs that the query selects, newest first.
    pub(super) async fn runs(&self, query: Option<&str>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Runs {
            runs: Vec<ListedRun>,
            next: Option<String>,
            filters: Filters,
            filtered: bool,
        }
        let filters = Filters::parse(query, &Filters::RUNS).map_err(bad)?;
        let filter = filters.runs().map_err(bad)?;
        let most = filter.most - 1;
        let mut rows = match self.viewer.runs(filter).await {
            Err(Unseen::Missing(_)) => Vec::new(),
            found => found?,
        };
        let has_more = rows.len() > most;
        rows.truncate(most);
        let last = rows.last().map(|row| row.number).filter(|_| has_more);
        let mut runs = Vec::new();
        for row in rows {
            let notified = self.viewer.notified(&row.id).await?;
            runs.push(ListedRun {
                run: Run::from(row),
                notified: notified.into_iter().map(Told::from).collect(),
            });
        }
        let data = Runs {
            runs,
            next: last.map(|last| filters.following(last)),
            filtered: !filters.is_empty(),
            filters,
        };
        let path = match query {
            Some(query) => format!("runs?{query}"),
            None => "runs".to_owned(),
        };
        Ok(self.reply("runs", &path, data))
    }

    /// Finds a run by its id.
    async fn find(&self, id: &str) -> Result<RecordedRun, Problem> {
        let id = crate::secret::percent_decoded(id);
        let found = match self.viewer.run(&id).await {
            Err(Unseen::Missing(_)) => Found::None,
            found => found?,
        };
        match found {
            Found::One(run) => Ok(*run),
            Found::Several(_) => Err(absent("several runs begin so; give the whole id")),
            Found::None => Err(absent(
                "this run is not in the spool: it is wrong, was deleted after `keep_runs`, or is of another user",
            )),
        }
    }

    /// Shows a run.
    pub(super) async fn run(&self, id: &str) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct OneRun {
            run: Run,
            total: i64,
            failed: Vec<Outcome>,
            notified: Vec<Told>,
            #[serde(skip_serializing_if = "Option::is_none")]
            tasks: Option<Vec<Task>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            hosts: Option<Vec<RecordedHost>>,
        }
        let row = self.find(id).await?;
        let number = row.number;
        let filter = ResultFilter {
            outcomes: vec![Kind::Failed, Kind::Unreachable],
            most: FAILED,
            ..ResultFilter::default()
        };
        let failed = self.viewer.results(number, filter).await?;
        let notified = self.viewer.notified(&row.id).await?;
        let (mut tasks, mut hosts) = (None, None);
        // The API has a place of its own for these.
        if self.form == Form::Page {
            let found = self.viewer.tasks(number).await?;
            tasks = Some(found.into_iter().take(MAX_TASKS).map(Task::from).collect());
            let found = self.viewer.hosts(number).await?;
            hosts = Some(found.into_iter().take(MAX_HOSTS).collect());
        }
        let data = OneRun {
            total: row.counts.all(),
            run: Run::from(row),
            failed: failed.iter().map(Outcome::from).collect(),
            notified: notified.into_iter().map(Told::from).collect(),
            tasks,
            hosts,
        };
        Ok(self.reply("run", &format!("runs/{id}"), data))
    }

    /// Lists the tasks of a run.
    pub(super) async fn tasks(&self, id: &str) -> Result<Answer, Problem> {
        let row = self.find(id).await?;
        let found = self.viewer.tasks(row.number).await?;
        let tasks: Vec<Task> = found.into_iter().map(Task::from).collect();
        Ok(answer::json(
            StatusCode::OK,
            serde_json::json!({"tasks": tasks}),
        ))
    }

    /// Lists the hosts of a run.
    pub(super) async fn hosts(&self, id: &str) -> Result<Answer, Problem> {
        let row = self.find(id).await?;
        let hosts = self.viewer.hosts(row.number).await?;
        Ok(answer::json(
            StatusCode::OK,
            serde_json::json!({"hosts": hosts}),
        ))
    }

    /// Shows the results of a run that the query selects.
    pub(super) async fn results(&self, id: &str, query: Option<&str>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Results {
            run: Run,
            results: Vec<Outcome>,
            next: Option<String>,
            filters: Filters,
            /// Name of the task that was chosen.
            task: Option<String>,
        }
        let filters = Filters::parse(query, &Filters::RESULTS).map_err(bad)?;
        let filter = filters.results().map_err(bad)?;
        let most = filter.most - 1;
        let row = self.find(id).await?;
        let mut rows = self.viewer.results(row.number, filter).await?;
        let has_more = rows.len() > most;
        rows.truncate(most);
        let last = rows.last().map(|row| row.event).filter(|_| has_more);
        let task = rows.first().and_then(|row| row.name.clone());
        let data = Results {
            run: Run::from(row),
            results: rows.iter().map(Outcome::from).collect(),
            next: last.map(|last| filters.following(last)),
            task: task.filter(|_| !filters.task.is_empty()),
            filters,
        };
        let path = match query {
            Some(query) => format!("runs/{id}/results?{query}"),
            None => format!("runs/{id}/results"),
        };
        Ok(self.reply("results", &path, data))
    }

    /// Shows a result by the number of its event.
    pub(super) async fn result(&self, id: &str, event: i64) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct OneResult {
            run: Run,
            result: Outcome,
            deliveries: Vec<Delivery>,
            #[serde(flatten)]
            content: Content,
        }
        let row = self.find(id).await?;
        let found = self.viewer.result(row.number, event).await?;
        let found = found.ok_or_else(|| absent("this result is not recorded"))?;
        let event_id = format!("{}-{event}", row.id);
        let filter = DeliveryFilter {
            events: Some([event_id.clone(), format!("{event_id}\0")]),
            most: Some(100),
            ..DeliveryFilter::default()
        };
        let deliveries = self.viewer.deliveries(filter).await?;
        let deliveries = deliveries
            .into_iter()
            .map(Delivery::from)
            .collect::<Vec<_>>();
        if self.form == Form::Api {
            let mut result = serde_json::to_value(Outcome::from(&found)).unwrap_or_default();
            result["message"] = found.message.into();
            let content = found.result.as_deref();
            let content = content.and_then(|text| crate::json::bulk::value(text).ok());
            result["result"] = content.unwrap_or_default();
            let data = serde_json::json!({"result": result, "deliveries": deliveries});
            return Ok(answer::json(StatusCode::OK, data));
        }
        let data = OneResult {
            run: Run::from(row),
            result: Outcome::from(&found),
            deliveries,
            content: Content::of(found.result.as_deref()),
        };
        Ok(self.reply("result", &format!("runs/{id}/results/{event}"), data))
    }
}
