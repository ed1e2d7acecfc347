//! Trying out templates: what they give for an event, as people would see it.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::problem::{Problem, absent, bad};
use super::rebuilt;
use super::routes::Asked;
use super::view::{self, Notifier};
use crate::command::drafts::{Choice, Templates};
use crate::spool::record::runs::{Found, RunFilter, RunState};
use crate::spool::{DestinationStatus, Unseen};

/// Number of runs among which a person can choose.
const RUNS: usize = 20;

/// A request for a preview.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    subject: Option<String>,
    message: Option<String>,
    body: Option<String>,
    /// A trigger, whose last event is taken, or an event.
    event: Option<Value>,
    /// Id of a run, whose end is taken.
    run: Option<String>,
}

/// A run to choose.
#[derive(Serialize)]
struct Candidate {
    id: String,
    name: String,
    state: &'static str,
    started: String,
}

impl Asked<'_> {
    async fn row(&self, id: i64) -> Result<DestinationStatus, Problem> {
        let mut rows = self.destinations().await?.into_iter();
        let row = rows.find(|row| row.id.0 == id);
        row.ok_or_else(|| absent(format!("there is no notifier {id}")))
    }

    /// Shows the page on which templates can be tried out.
    pub(super) async fn tryout(&self, id: i64) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Tryout {
            notifier: Notifier,
            templates: Option<Templates>,
            problem: Option<String>,
            runs: Vec<Candidate>,
        }
        let row = self.row(id).await?;
        let (templates, problem) = match self.previews.templates(row.clone()).await {
            Ok(templates) => (Some(templates), None),
            Err(problem) => (None, Some(problem)),
        };
        let filter = RunFilter {
            most: RUNS,
            ..RunFilter::default()
        };
        let runs = self.recorded(filter).await?.into_iter();
        let runs = runs.map(|run| Candidate {
            state: run.state.name(),
            started: view::time(run.started),
            id: run.id,
            name: run.name,
        });
        let data = Tryout {
            notifier: Notifier::from(row),
            templates,
            problem,
            runs: runs.collect(),
        };
        Ok(self.reply("preview", "", data))
    }

    /// Answers with the message that a client's templates give.
    pub(super) async fn draft(&self, id: i64, wish: &[u8]) -> Result<Answer, Problem> {
        let wish: Wish = serde_json::from_slice(wish)
            .map_err(|error| bad(format!("the request is not understood: {error}")))?;
        let row = self.row(id).await?;
        let choice = self.choice(wish.event, wish.run).await?;
        let templates = Templates {
            subject: wish.subject,
            message: wish.message,
            body: wish.body,
        };
        templates.check().map_err(bad)?;
        let made = self.previews.draft(row, templates, choice).await;
        let mut draft = made.map_err(|reason| Problem(StatusCode::CONFLICT, reason))?;
        let frame = draft.html.take().map(|html| self.previews.remember(html));
        let (request, problem) = match draft.request {
            Ok(request) => (Some(request), None),
            Err(problem) => (None, Some(problem)),
        };
        let event = serde_json::to_string_pretty(&draft.event).unwrap_or_default();
        let data = json!({
            "kind": draft.kind, "problems": draft.problems, "level": draft.level,
            "subject": draft.subject, "text": draft.text, "fields": draft.fields,
            "mail": frame.map(|number| format!("/mails/{number}")),
            "request": request, "problem": problem,
            "event": view::cut(&event, view::MAX_TEXT).text,
            "source": draft.source, "missing": draft.missing, "note": draft.note,
        });
        Ok(answer::json(StatusCode::OK, data))
    }

    /// Shows a mail in the frame of its preview, which can neither run a script nor load anything.
    pub(super) fn mail(&self, number: &str) -> Result<Answer, Problem> {
        let mail = number
            .parse()
            .ok()
            .and_then(|number| self.previews.mail(number));
        let mail = mail.ok_or_else(|| absent("this mail is no longer remembered"))?;
        Ok(answer::framed(mail))
    }

    async fn choice(&self, event: Option<Value>, run: Option<String>) -> Result<Choice, Problem> {
        let trigger = match (event, run) {
            (Some(_), Some(_)) => return Err(bad("give `event` or `run`, not both".to_owned())),
            (None, Some(run)) => return self.end_of(&run).await,
            (Some(Value::String(trigger)), None) => trigger,
            (Some(own), None) => return Ok(Choice::Own(own.to_string())),
            (None, None) => "failed".to_owned(),
        };
        let stored = match self.viewer.bodies(None).await {
            Err(Unseen::Missing(_)) => Vec::new(),
            found => found?,
        };
        let recorded = self.newest(&trigger).await?;
        Ok(Choice::Newest {
            trigger,
            stored,
            recorded,
        })
    }

    /// Returns the end of a run: the event itself if it is in the spool, or else what is recorded.
    async fn end_of(&self, id: &str) -> Result<Choice, Problem> {
        let Found::One(run) = self.viewer.run(id).await? else {
            return Err(absent(format!("there is no run `{id}` in the record")));
        };
        let trigger = match run.state {
            RunState::Ok => "success",
            RunState::Failed => "error",
            RunState::Canceled => "canceled",
            RunState::Running => return Err(bad("this run has not ended yet".to_owned())),
        };
        let before = rebuilt::previous(&run, &self.before(&run).await?);
        Ok(Choice::Newest {
            trigger: trigger.to_owned(),
            stored: Vec::new(),
            recorded: Some(self.end(&run, before).await?),
        })
    }
}
