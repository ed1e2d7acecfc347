//! Routes of the page and of the API, with access checks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Duration, sleep, timeout};

use super::access::{Access, Credentials, Refused, own_path};
use super::actions::{Action, Actions, Muting, Said};
use super::answer::{self, Answer, Content};
use super::events::Events;
use super::learned::Learned;
use super::preview::Previews;
use super::problem::{Problem, absent, bad};
use super::query::Filters;
use super::view::Delivery;
use super::{assets, metrics, render};
use crate::cli::serve::Serve;
use crate::net::server::{Handler, PATIENCE};
use crate::spool::{DestinationStatus, Unseen, Viewer};
use crate::system::user;

/// Size limit of a request's body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Delay after a wrong token or password; such clients wait one after another.
const PENALTY: Duration = Duration::from_millis(500);

/// State of the page.
pub struct Page {
    access: Access,
    pub(super) viewer: Rc<Viewer>,
    events: Rc<Events>,
    actions: Actions,
    previews: Previews,
    learned: Learned,
    is_read_only: bool,
    /// Name of the only user, unless a proxy names them.
    user: String,
    /// Lock for the delay after a wrong token or password.
    penalty: Mutex<()>,
}

/// Form of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Page,
    Api,
}

/// Context of every template.
#[derive(Serialize)]
struct Shown<'a, T> {
    /// Section that the navigation highlights.
    place: &'a str,
    spool: String,
    /// Path of the same data in the API.
    json: String,
    /// Version of the spool before it was read; empty for a page that does not change.
    version: String,
    can_act: bool,
    /// Outcome of the action that led here.
    said: Option<Said>,
    #[serde(flatten)]
    data: T,
}

impl<T> Shown<'_, T> {
    /// Returns the context of a page for a client without access.
    fn bare(data: T) -> Shown<'static, T> {
        Shown {
            place: "",
            spool: String::new(),
            json: String::new(),
            version: String::new(),
            can_act: false,
            said: None,
            data,
        }
    }
}

fn page<T: Serialize>(status: StatusCode, template: &str, shown: Shown<'_, T>) -> Answer {
    match render::page(template, shown) {
        Ok(text) => answer::html(status, text),
        Err(reason) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")),
    }
}

#[derive(Serialize)]
struct Reason<'a> {
    reason: &'a str,
}

/// Page on which a person signs in, and the path on this page that is shown next.
#[derive(Serialize)]
struct SignIn<'a> {
    reason: &'a str,
    to: String,
}

impl Handler for Page {
    const MAX_CONNECTIONS: usize = 64;
    // A client that has left needs no live updates.
    const ANSWERS_LATE: bool = false;
    type Body = Content;
    type Error = Infallible;

    fn headers() -> &'static str {
        &answer::PROTECTION
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        from: Option<SocketAddr>,
    ) -> Result<Answer, Infallible> {
        let (head, body) = request.into_parts();
        let mut answer = self.respond(&head, body, from).await;
        answer::protect(&mut answer);
        Ok(answer::compress(answer, &head.headers).await)
    }
}

impl Page {
    /// Creates the page of the spool in `folder`.
    pub fn new(access: Access, viewer: Viewer, arguments: &Serve) -> Page {
        let viewer = Rc::new(viewer);
        Page {
            access,
            events: Events::new(viewer.clone()),
            actions: Actions::new(arguments.place.clone(), viewer.clone()),
            previews: Previews::new(arguments.place.clone()),
            learned: Learned::new(arguments.place.clone()),
            is_read_only: arguments.read_only,
            user: arguments
                .username
                .clone()
                .or_else(user::name)
                .unwrap_or_default(),
            viewer,
            penalty: Mutex::new(()),
        }
    }

    async fn respond(&self, head: &Parts, body: Incoming, from: Option<SocketAddr>) -> Answer {
        if let Err((status, reason)) = self.access.check_origin(head) {
            return answer::text(status, format!("{reason}\n"));
        }
        let path = head.uri.path();
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        match path {
            "/healthz" if is_read => return answer::text(StatusCode::OK, "ok\n"),
            "/session" => return self.session(head, body).await,
            _ => {}
        }
        if let Some(asset) = assets::get(path).filter(|_| is_read) {
            return asset;
        }
        let user = match self.access.check_user(&head.headers, from) {
            Ok(named) => named.unwrap_or_else(|| self.user.clone()),
            Err(refused) => {
                let target = head.uri.path_and_query().filter(|_| is_read);
                let target = target.map_or("/", PathAndQuery::as_str);
                return self.refuse(head, refused, target).await;
            }
        };
        self.learned.update(&self.viewer).await;
        let (form, rest) = match path.strip_prefix("/api/v1/") {
            Some(rest) => (Form::Api, rest),
            None => (Form::Page, path.trim_start_matches('/')),
        };
        if let Some(action) = asked_for(&head.method, form, rest) {
            return self.act(form, action, body, &user).await;
        }
        if let (&Method::POST, Form::Api, Some(id)) = (&head.method, form, previewed(rest)) {
            return self.draft(id, body).await;
        }
        if !is_read {
            let reason = "this can only be read";
            let answer = answer::problem(StatusCode::METHOD_NOT_ALLOWED, reason);
            return answer::allowing(answer, "GET, HEAD");
        }
        let query = head.uri.query();
        if path == "/events" {
            return self.stream(&head.headers, query);
        }
        let said = query.and_then(|query| query.strip_prefix("said="));
        let query = query.filter(|_| said.is_none());
        let said = said.and_then(|number| self.actions.said(number.parse().ok()?));
        let asked = Asked {
            viewer: &self.viewer,
            previews: &self.previews,
            form,
            // Read first, so that no later change is missed.
            version: self.events.now().await,
            can_act: !self.is_read_only,
            said,
        };
        let shown = asked.show(rest, query).await;
        shown.unwrap_or_else(|problem| asked.problem(&problem))
    }

    /// Runs an action that a button or a program requested.
    async fn act(&self, form: Form, action: Action, body: Incoming, user: &str) -> Answer {
        let page = action.page();
        let done = self.done(form, action, body, user).await;
        let asked = self.asked(form);
        match (form, done) {
            (Form::Page, Ok((number, _))) => answer::see(&format!("{page}?said={number}")),
            (Form::Api, Ok((_, said))) => answer::json(said.status(), said.json()),
            (_, Err(problem)) => asked.problem(&problem),
        }
    }

    async fn done(
        &self,
        form: Form,
        mut action: Action,
        body: Incoming,
        user: &str,
    ) -> Result<(u64, Said), Problem> {
        if self.is_read_only {
            return Err(Problem(
                StatusCode::FORBIDDEN,
                "nothing can be changed: it was started with `--read-only`".to_owned(),
            ));
        }
        if let Action::Mute(_, muting) = &mut action {
            let body = read(body).await;
            let body = body.map_err(|(status, reason)| Problem(status, reason.to_owned()))?;
            *muting = Muting::read(&body, form == Form::Api).map_err(bad)?;
            match (muting.check(), form) {
                (Ok(()), _) => {}
                (Err(reason), Form::Api) => return Err(bad(reason)),
                (Err(reason), Form::Page) => {
                    let said = Said::refused(&reason, muting.clone());
                    return Ok((self.actions.remember(said.clone()), said));
                }
            }
        }
        self.actions.act(&action, user).await
    }

    /// Answers with a message that a client's templates give. That changes nothing.
    async fn draft(&self, id: i64, body: Incoming) -> Answer {
        let asked = self.asked(Form::Api);
        let body = match read(body).await {
            Ok(body) => body,
            Err((status, reason)) => return answer::problem(status, reason),
        };
        let shown = asked.draft(id, &body).await;
        shown.unwrap_or_else(|problem| asked.problem(&problem))
    }

    /// Returns a request whose answer contains nothing that changes.
    fn asked(&self, form: Form) -> Asked<'_> {
        Asked {
            viewer: &self.viewer,
            previews: &self.previews,
            form,
            version: String::new(),
            can_act: !self.is_read_only,
            said: None,
        }
    }

    /// Opens a stream of live updates, starting after the version that the client has.
    fn stream(&self, headers: &HeaderMap, query: Option<&str>) -> Answer {
        let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        let mut fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let after = fields.find(|(name, _)| name == "after");
        let known = last.map(str::to_owned);
        let known = known.or(after.map(|(_, version)| version.into_owned()));
        match self.events.open(known) {
            Some(stream) => answer::stream(stream),
            None => {
                let reason = "too many pages are open; close one of them";
                answer::problem(StatusCode::TOO_MANY_REQUESTS, reason)
            }
        }
    }

    /// Begins a session for a client with the token, or reports if there is one.
    async fn session(&self, head: &Parts, body: Incoming) -> Answer {
        let begun = self.access.has_session(&head.headers);
        match head.method {
            Method::GET | Method::HEAD if begun => {
                return answer::text(StatusCode::NO_CONTENT, "");
            }
            Method::GET | Method::HEAD => {
                return answer::text(StatusCode::UNAUTHORIZED, "there is no session\n");
            }
            Method::POST => {}
            _ => {
                let answer = answer::problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
                return answer::allowing(answer, "GET, HEAD, POST");
            }
        }
        let body = match read(body).await {
            Ok(body) => body,
            Err((status, reason)) => return answer::problem(status, reason),
        };
        let field = |wanted: &str| {
            let mut fields = url::form_urlencoded::parse(&body);
            let found = fields.find(|(name, _)| name == wanted);
            found
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let (token, target) = (field("token"), field("to"));
        let cookie = self.access.cookie();
        match cookie.filter(|_| self.access.is_token(token.trim())) {
            Some(cookie) => {
                let mut answer = answer::see(&own_path(&target));
                answer.headers_mut().insert(SET_COOKIE, cookie);
                answer
            }
            None => {
                let refused = (StatusCode::UNAUTHORIZED, "this is not the token");
                self.refuse(head, refused, &target).await
            }
        }
    }

    /// Answers a client without access that wants `target`; after a delay if its token or password was wrong.
    async fn refuse(&self, head: &Parts, (status, reason): Refused, target: &str) -> Answer {
        let has_guessed =
            head.method == Method::POST || head.headers.contains_key(hyper::header::AUTHORIZATION);
        if has_guessed && status == StatusCode::UNAUTHORIZED {
            let _one_at_a_time = self.penalty.lock().await;
            sleep(PENALTY).await;
        }
        let accepts = head.headers.get(ACCEPT).map(HeaderValue::as_bytes);
        let accepts = String::from_utf8_lossy(accepts.unwrap_or_default());
        let is_page = accepts.contains("text/html");
        if let Credentials::Password(_) = self.access.credentials {
            let answer = answer::problem(status, reason);
            return answer::asking_for(answer, "Basic realm=\"ansible-notify\", charset=\"UTF-8\"");
        }
        let answer = match is_page && status == StatusCode::UNAUTHORIZED {
            true => {
                let to = own_path(target);
                page(status, "session", Shown::bare(SignIn { reason, to }))
            }
            false => answer::problem(status, reason),
        };
        answer::asking_for(answer, "Bearer realm=\"ansible-notify\"")
    }
}

/// A request of a client with access.
pub(super) struct Asked<'a> {
    pub(super) viewer: &'a Viewer,
    pub(super) previews: &'a Previews,
    pub(super) form: Form,
    /// Version of the spool before it was read.
    version: String,
    can_act: bool,
    /// Outcome of the action that led to this page.
    said: Option<Said>,
}

impl Asked<'_> {
    async fn show(&self, path: &str, query: Option<&str>) -> Result<Answer, Problem> {
        let parts: Vec<&str> = path.split('/').collect();
        match (self.form, parts.as_slice()) {
            (Form::Page, [""]) | (Form::Api, ["runs"]) => self.runs(query).await,
            (Form::Page, ["metrics"]) => self.metrics().await,
            (Form::Api, ["runs", id, "tasks"]) => self.tasks(id).await,
            (Form::Api, ["runs", id, "hosts"]) => self.hosts(id).await,
            (_, ["runs", id]) => self.run(id).await,
            (_, ["runs", id, "results"]) => self.results(id, query).await,
            (_, ["runs", id, "results", event]) => self.result(id, number(event)?).await,
            (_, ["notifiers"]) => self.notifiers().await,
            (_, ["notifiers", id]) => self.notifier(number(id)?).await,
            (_, ["deliveries"]) => self.deliveries(query).await,
            (Form::Page, ["notifiers", id, "preview"]) => self.tryout(number(id)?).await,
            (Form::Page, ["mails", mail]) => self.mail(mail),
            (_, ["trends"]) => self.trends(query).await,
            (_, ["actions"]) => self.actions(query).await,
            (_, ["deliveries", id]) => self.delivery(number(id)?).await,
            _ => Err(absent("there is no such page")),
        }
    }

    /// Returns the data as JSON, or as a page from this template.
    pub(super) fn reply<T: Serialize>(&self, template: &str, path: &str, data: T) -> Answer {
        match self.form {
            Form::Page => page(StatusCode::OK, template, self.shown(path, data)),
            Form::Api => match serde_json::to_value(data) {
                Ok(value) => answer::json(StatusCode::OK, value),
                Err(_) => answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
            },
        }
    }

    fn shown<'b, T>(&self, path: &'b str, data: T) -> Shown<'b, T> {
        Shown {
            place: path.split(['/', '?']).next().unwrap_or_default(),
            spool: self.viewer.folder().display().to_string(),
            json: match path {
                "" => String::new(),
                path => format!("/api/v1/{path}"),
            },
            version: self.version.clone(),
            can_act: self.can_act,
            said: self.said.clone(),
            data,
        }
    }

    fn problem(&self, Problem(status, reason): &Problem) -> Answer {
        match self.form {
            Form::Page => page(*status, "problem", self.shown("", Reason { reason })),
            Form::Api => answer::problem(*status, reason),
        }
    }

    /// Returns all destinations; none if nothing was ever sent.
    pub(super) async fn destinations(&self) -> Result<Vec<DestinationStatus>, Unseen> {
        match self.viewer.destinations().await {
            Err(Unseen::Missing(_)) => Ok(Vec::new()),
            found => found,
        }
    }

    /// Returns the selected deliveries, and the query for the next ones.
    pub(super) async fn listed(
        &self,
        filters: &Filters,
    ) -> Result<(Vec<Delivery>, Option<String>), Problem> {
        let most = usize::try_from(filters.rows().map_err(bad)?).unwrap_or_default();
        let selection = filters.selection().map_err(bad)?;
        let mut rows = match self.viewer.deliveries(selection).await {
            Err(Unseen::Missing(_)) => Vec::new(),
            found => found?,
        };
        let has_more = rows.len() > most;
        rows.truncate(most);
        let last = rows.last().map(|row| row.id).filter(|_| has_more);
        let next = last.map(|last| filters.following(last));
        Ok((rows.into_iter().map(Delivery::from).collect(), next))
    }

    async fn deliveries(&self, query: Option<&str>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Deliveries {
            deliveries: Vec<Delivery>,
            /// Query for the next ones.
            next: Option<String>,
            filters: Filters,
        }
        let filters = Filters::parse(query, &Filters::DELIVERIES).map_err(bad)?;
        let (deliveries, next) = self.listed(&filters).await?;
        let path = match query {
            Some(query) => format!("deliveries?{query}"),
            None => "deliveries".to_owned(),
        };
        let data = Deliveries {
            deliveries,
            next,
            filters,
        };
        Ok(self.reply("deliveries", &path, data))
    }

    async fn metrics(&self) -> Result<Answer, Problem> {
        let rows = self.destinations().await?;
        let runs = match self.viewer.runs_by_state().await {
            Err(Unseen::Missing(_)) => Vec::new(),
            found => found?,
        };
        let attempts = match self.viewer.attempts().await {
            // If counting takes too long, the counts of the notifiers are still shown.
            Err(Unseen::Missing(_) | Unseen::Slow) => Vec::new(),
            found => found?,
        };
        Ok(metrics::answer(
            &rows,
            &attempts,
            &runs,
            jiff::Timestamp::now(),
        ))
    }
}

/// Returns the action that a request asks for. A mute is a thing of its own in the API, which can be deleted.
fn asked_for(method: &Method, form: Form, path: &str) -> Option<Action> {
    match (method, form, Action::of(path)?) {
        (&Method::DELETE, Form::Api, Action::Mute(id, _)) => Some(Action::Unmute(id)),
        (&Method::POST, Form::Api, Action::Unmute(_)) => None,
        (&Method::POST, _, action) => Some(action),
        _ => None,
    }
}

/// Returns the notifier whose templates a path of the API tries out.
fn previewed(path: &str) -> Option<i64> {
    let id = path.strip_prefix("notifiers/")?.strip_suffix("/preview")?;
    id.parse().ok()
}

fn number(text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| absent("there is no such page"))
}

/// Reads a body, within its limits.
async fn read(body: Incoming) -> Result<Bytes, Refused> {
    let whole = timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(_)) => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is incomplete or too long",
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )),
    }
}
