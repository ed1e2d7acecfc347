//! The kind `redis`: an entry for each event in a stream of Redis or Valkey (Redis, "XADD").

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, RedisResult, Value,
};
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::{Bulk, Kind, Notifier, Sent};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::event::time_text;
use crate::failure::{Check, Failure};
use crate::message::item::Item;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::names_user;
use crate::net::http::{ATTEMPT_TIMEOUT, Http};
use crate::net::response::{CLOSED, explained, interrupted};
use crate::net::tls::{Channel, Trust, read_identity};
use crate::net::wire::{Allowance, dial};
use crate::notifier::bulk::Results;
use crate::notifier::chosen::Chosen;
use crate::route::grouping::Limits;
use crate::secret::{self, Secret};
use crate::template::context::Context;
use crate::text;

/// Redis, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "redis",
    about: "adds events to a stream of Redis or Valkey",
    form: MessageFormat::Record,
    build,
};

/// Its requests: a transaction delays the other clients of the server, so it is kept short.
pub const BULK: Bulk = Bulk {
    limits: Limits {
        events: 200,
        bytes: 1 << 20,
        event_bytes: 256 << 10,
    },
    record: None,
};

/// Default of `stream`, and the longest name of one, in bytes.
const STREAM: &str = "ansible";
const MAX_NAME: usize = 512;
/// Highest value of `max_length`.
const MAX_LENGTH: usize = 1_000_000_000;
/// Number of databases that a server can have.
const MAX_DATABASE: i64 = 1 << 16;
/// Bytes that a server may send in answer to a transaction.
const MAX_ANSWER: usize = 256 << 10;
/// Size in bytes of the events after which no more of a transaction are shown.
const MAX_SHOWN: usize = 16 << 10;

/// Codes of errors that end by themselves, or once somebody looks after the server (Redis, "server.c").
const PASSING: [&str; 11] = [
    "OOM",
    "LOADING",
    "BUSY",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "UNBLOCKED",
    "ERR max number of clients reached",
];
/// Codes of errors of the login and of rights.
const DENIED: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];
/// Says that the login was refused.
const REFUSED: &str = "the server refused the login; check `username` and `password`";

struct Redis {
    server: Server,
    stream: Chosen<String>,
    max_length: Option<usize>,
    timeout: Duration,
    /// The connection, which all transactions share.
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// Address of a server, and the account on it.
struct Server {
    host: String,
    port: u16,
    /// None for an unencrypted connection.
    tls: Option<Arc<ClientConfig>>,
    info: RedisConnectionInfo,
    database: i64,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, _: &Http) -> Option<Rc<dyn Notifier>> {
    let server = server(section);
    let stream = Chosen::read(section, "stream", stream);
    let max_length = section
        .is_given("max_length")
        .then(|| section.count("max_length", MAX_LENGTH, MAX_LENGTH));
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    Some(Rc::new(Redis {
        server: server?,
        stream,
        max_length,
        timeout,
        connection: Mutex::default(),
    }))
}

fn server(section: &Section) -> Option<Server> {
    let address = address(section);
    let is_encrypted = address
        .as_ref()
        .is_some_and(|(url, _)| url.scheme() == "rediss");
    let trust = Trust::read(section, Channel::encrypted_if(is_encrypted));
    let identity = read_identity(section);
    let username = section.text("username");
    let password = section.secret("password");
    if username.is_some() && !section.is_given("password") {
        section.needs("username", "password");
    }
    let ((url, database), trust) = (address?, trust?);
    let config = is_encrypted.then(|| trust.config(identity.as_deref()));
    let noted = |problem| section.problem("client_cert", problem);
    let tls = config.transpose().map_err(noted).ok()?;
    let host = url.host_str().unwrap_or_default();
    Some(Server {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(6379),
        tls: tls.map(Arc::new),
        info: login(username, password.as_ref()).set_db(database),
        database,
    })
}

/// Returns the login; the name of the library is not sent, for which a user may lack the right.
fn login(username: Option<&str>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = username {
        info = info.set_username(username);
    }
    if let Some(password) = password {
        info = info.set_password(password.expose());
    }
    info
}

/// Reads `url`: the address, and the number of the database.
fn address(section: &Section) -> Option<(Url, i64)> {
    let (_, given) = section.url("url").or_else(|| section.missing("url"))?;
    if !section.is_plain("url", &given) {
        return None;
    }
    let url = Url::parse(&given).ok();
    let problem = match url.filter(|url| ["redis", "rediss"].contains(&url.scheme())) {
        Some(url) if names_user(&url) => {
            secret::mask_user(&url);
            "`url` cannot contain a user or a password; set `username` and `password`"
        }
        Some(url) => {
            let path = url.path().trim_matches('/');
            let database = match path {
                "" => Some(0),
                number => number.parse().ok(),
            };
            let database = database.filter(|number| (0..MAX_DATABASE).contains(number));
            let is_bare = url.query().is_none() && url.fragment().is_none();
            if let (Some(database), true, true) = (database, is_bare, url.has_host()) {
                return Some((url, database));
            }
            "`url` must be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE, with the number of the database"
        }
        None => "`url` must begin with redis:// or, with TLS, rediss://",
    };
    section.problem("url", problem);
    None
}

fn stream(text: &str) -> Result<String, String> {
    let is_name =
        (1..=MAX_NAME).contains(&text.len()) && !text.contains(|one: char| one.is_control());
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        let given = quoted(text);
        format!("`stream` must be a name of at most {MAX_NAME} bytes on one line, not {given}")
    })
}

/// Returns the consequence of an error for all events that it is about.
fn failure(error: &RedisError) -> Failure {
    if error.kind() == ErrorKind::AuthenticationFailed {
        // redis-rs drops the server's own words.
        return Failure::Denied(REFUSED.to_owned());
    }
    if error.is_connection_dropped() {
        return Failure::retry(CLOSED);
    }
    let text = text::one_line(&secret::redact(&error.to_string()));
    let code = error.code().unwrap_or_default();
    let is_one_of = |codes: &[&str]| {
        let mut codes = codes.iter();
        codes.any(|one| *one == code || text.starts_with(one))
    };
    if is_one_of(&DENIED) {
        return Failure::Denied(text);
    }
    let is_of_server = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    match is_of_server && !is_one_of(&PASSING) {
        true => Failure::Permanent(text),
        false => Failure::retry(explained(&text)),
    }
}

impl Server {
    fn name(&self) -> String {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        let (host, port, database) = (&self.host, self.port, self.database);
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}/{database}"),
            false => format!("{scheme}://{host}:{port}/{database}"),
        }
    }

    /// Connects, and logs in.
    async fn open(&self) -> Result<MultiplexedConnection, Failure> {
        let allowance = Allowance::Request(MAX_ANSWER);
        let wire = dial(&self.host, self.port, self.tls.clone(), allowance).await;
        let wire = wire.map_err(|error| Failure::retry(interrupted(&error)))?;
        // The time limit is that of the attempt.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None);
        let opened = MultiplexedConnection::new_with_config(&self.info, wire, config).await;
        let (mut connection, driver) = opened.map_err(|error| failure(&error))?;
        // It ends with the last handle of the connection.
        tokio::spawn(driver);
        // A server that wants a login says so only in answer to a command.
        let answered: RedisResult<Value> = redis::cmd("PING").query_async(&mut connection).await;
        answered.map_err(|error| failure(&error))?;
        Ok(connection)
    }
}

impl Redis {
    /// Returns the command that adds an event.
    fn command(&self, item: &Item) -> Result<Cmd, Failure> {
        let stream = self.stream.in_context(&Context::new(item.event.clone()));
        let stream = stream.map_err(Failure::Permanent)?;
        let mut command = redis::cmd("XADD");
        command.arg(stream.as_deref().unwrap_or(STREAM));
        if let Some(most) = self.max_length {
            command.arg("MAXLEN").arg("~").arg(most);
        }
        command.arg("*").arg("id").arg(item.id());
        command.arg("time").arg(time_text(item.time()).to_string());
        if !item.host().is_empty() {
            command.arg("host").arg(item.host());
        }
        command.arg("event").arg(&item.payload[..]);
        Ok(command)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Failure> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let opened = self.server.open().await?;
        Ok(slot.insert(opened).clone())
    }

    /// Adds events in a transaction, so that those of a host stay in order whatever is refused.
    async fn add(&self, items: &[Item]) -> Result<Results, Failure> {
        let mut results = vec![Ok(()); items.len()];
        // Written by hand: redis-rs loses the answer if MULTI itself is refused.
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors().cmd("MULTI");
        let mut places = Vec::new();
        for (place, item) in items.iter().enumerate() {
            match self.command(item) {
                Ok(command) => {
                    pipeline.add_command(command);
                    places.push(place);
                }
                Err(failure) => results[place] = Err(failure),
            }
        }
        if places.is_empty() {
            return Ok(results);
        }
        pipeline.cmd("EXEC");
        let mut connection = self.connection().await?;
        let answered: RedisResult<Vec<RedisResult<Value>>> =
            pipeline.query_async(&mut connection).await;
        let answers = answered.map_err(|error| failure(&error))?;
        let each = judged(answers, places.len())?;
        for (place, result) in places.into_iter().zip(each) {
            results[place] = result;
        }
        Ok(results)
    }

    /// Limits the time of an exchange. A connection that failed is not used again.
    async fn limited<T>(
        &self,
        exchange: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let result = timeout(self.timeout, exchange).await;
        let result = result.unwrap_or_else(|_| {
            let text = format!("no answer within {:?}", self.timeout);
            Err(Failure::retry(text))
        });
        if result.is_err()
            && let Ok(mut connection) = self.connection.try_lock()
        {
            connection.take();
        }
        result.map_err(|failure| failure.of(&self.server.name()))
    }
}

/// Returns the result of each command of a transaction from the answers to it, to MULTI before and to EXEC behind it. If the
/// server refuses a command, it runs none: the others can be sent again at once.
fn judged(answers: Vec<RedisResult<Value>>, commands: usize) -> Result<Results, Failure> {
    let incomplete = || Failure::retry("the server's answer to a transaction is incomplete");
    let mut answers = answers.into_iter();
    let of_server = |error: RedisError| failure(&error);
    answers.next().ok_or_else(incomplete)?.map_err(of_server)?;
    let queued: Results = answers
        .by_ref()
        .take(commands)
        .map(|answer| answer.map(drop).map_err(of_server))
        .collect();
    match answers.next().ok_or_else(incomplete)? {
        Ok(Value::Array(added)) if added.len() == commands => {
            Ok(added.into_iter().map(added_one).collect())
        }
        Ok(_) => Err(incomplete()),
        Err(error) => aborted(queued, failure(&error)),
    }
}

/// Returns the result of a command that the server ran.
fn added_one(answer: Value) -> Result<(), Failure> {
    match answer {
        Value::ServerError(error) => Err(failure(&error.into())),
        _ => Ok(()),
    }
}

/// Returns the results of a transaction that was not run. Something that is wrong with the server, and not with an event,
/// concerns all of them.
fn aborted(queued: Results, whole: Failure) -> Result<Results, Failure> {
    let mut refused = queued.iter().filter_map(|one| one.as_ref().err());
    let mended = refused
        .clone()
        .find(|one| !matches!(one, Failure::Permanent(_)));
    match (mended, refused.next()) {
        (Some(failure), _) => Err(failure.clone()),
        (None, None) => Err(Failure::retry(whole.error())),
        (None, Some(_)) => {
            let result = |one: Result<(), Failure>| one.and(Err(Failure::untried()));
            Ok(queued.into_iter().map(result).collect())
        }
    }
}

#[async_trait(?Send)]
impl Notifier for Redis {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let items = message.items();
        self.limited(self.add(&items)).await.map(Sent::each)
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let items = message.items();
        let mut shown = self.server.name();
        shown.push('\n');
        for (place, item) in items.iter().enumerate() {
            if shown.len() > MAX_SHOWN {
                shown.push_str(&format!("\n… and {} more events", items.len() - place));
                break;
            }
            let command = self.command(item)?;
            let words = command.args_iter().map(|word| match word {
                redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
                _ => String::new(),
            });
            let words: Vec<String> = words.collect();
            shown.push_str(&format!("\n{}", words.join(" ")));
        }
        Ok(text::visible_lines(&secret::redact(&shown)))
    }

    async fn check(&self) -> Check {
        match self.limited(self.server.open()).await {
            Ok(_) => Check {
                steps: vec![format!("{}: logged in", self.server.name())],
                error: None,
            },
            Err(failure) => Check {
                error: Some(failure.error().to_owned()),
                ..Check::default()
            },
        }
    }
}
