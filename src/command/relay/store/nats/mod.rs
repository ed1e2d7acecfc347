//! The store `nats`: a stream of NATS JetStream, with a subject per partition. A segment is safe once the stream has
//! acknowledged it, if its servers write to disk first.

mod checks;
mod layout;
mod partition;
pub mod settings;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::jetstream::consumer::{
    AckPolicy, DeliverPolicy, FromConsumer as _, PullConsumer, pull,
};
use async_nats::jetstream::context::{
    ConsumerInfoErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind,
};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context, ErrorCode, context::ContextBuilder};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, HeaderMap};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use hyper::StatusCode;
use tokio::time::sleep;

use super::connecting::{self, AGAIN, Refused};
use super::segments::Segment;
use super::{Backlog, Partition, Queue, Store};
use crate::cli::serve::PARTITIONS;
use crate::command::relay::segment::Rejected;
use crate::command::relay::tenant::Tenant;
use crate::console::stderr;
use crate::failpoint;
use crate::notifier::relay::FORMAT;
use layout::{aside, consumer_name, subject};
use partition::{Consumed, publish};
use settings::{Login, Settings};

/// Headers of a segment.
const TENANT: &str = "Ansible-Notify-Tenant";
const FORM: &str = "Ansible-Notify-Format";
/// Headers of a segment that was set aside: the reason, and the subject that it had.
const REASON: &str = "Ansible-Notify-Reason";
const SUBJECT: &str = "Ansible-Notify-Subject";

/// Time limit of an answer; a cluster that elects a leader takes longer, and the node sends the events again.
const ANSWER: Duration = Duration::from_secs(5);
/// Seconds after which a node may send events again that the servers did not take.
const RETRY_AFTER: u64 = 2;
/// Time between two looks at the room in the stream.
const TIDY: Duration = Duration::from_secs(10);
/// Part of `max_size`, in percent, from which on acknowledged segments are deleted.
const FULL: u64 = 75;

/// A connection to the servers.
pub struct Nats {
    client: Client,
    context: Context,
    settings: Rc<Known>,
}

/// Settings that the connection needs.
struct Known {
    stream: String,
    wanted: jetstream::stream::Config,
    consumers: Vec<pull::Config>,
    max_size: u64,
}

impl Nats {
    /// Connects to the servers, and refuses those that are not durable.
    pub async fn connect(settings: &Settings, name: &str) -> Result<Rc<Nats>> {
        let client = connecting::connect(async || {
            let options = options(settings, name).map_err(|error| Refused {
                error,
                is_final: true,
            })?;
            let connected = options.connect(settings.servers.clone()).await;
            connected.map_err(|error| refused(&error, settings))
        })
        .await?;
        checks::version(&client)?;
        checks::durability(settings).await?;
        let context = ContextBuilder::new().timeout(ANSWER);
        let context = context.ack_timeout(ANSWER).build(client.clone());
        let partitions = 0..PARTITIONS;
        Ok(Rc::new(Nats {
            client,
            context,
            settings: Rc::new(Known {
                stream: settings.stream.clone(),
                wanted: layout::stream(settings),
                consumers: partitions
                    .map(|number| layout::consumer(settings, number))
                    .collect(),
                max_size: settings.max_size,
            }),
        }))
    }

    async fn stream(&self) -> Result<Stream> {
        let stream = self.context.get_stream(&self.settings.stream).await;
        stream.map_err(failure)
    }

    /// Deletes acknowledged segments while the stream is almost full, so that it has room for others.
    async fn make_room(&self) -> Result<()> {
        let stream = self.stream().await?;
        let used = stream.cached_info().state.bytes;
        if used < self.settings.max_size / 100 * FULL {
            return Ok(());
        }
        for partition in 0..PARTITIONS {
            let info = stream.consumer_info(consumer_name(partition)).await;
            let floor = info.map_err(failure)?.ack_floor.stream_sequence;
            // Nothing of it was acknowledged yet.
            if floor == 0 {
                continue;
            }
            let subject = subject(&self.settings.stream, partition);
            let purge = stream.purge().filter(subject).sequence(floor + 1);
            purge.await.map_err(failure)?;
        }
        Ok(())
    }

    /// Returns the age of the first segment of a partition behind this number.
    async fn age(&self, stream: &Stream, partition: u16, floor: u64) -> Result<Duration> {
        let subject = subject(&self.settings.stream, partition);
        let first = next_message(stream, &subject, floor + 1).await?;
        let stored = first.time.unix_timestamp();
        let age = jiff::Timestamp::now().as_second() - stored;
        Ok(Duration::from_secs(u64::try_from(age).unwrap_or_default()))
    }
}

/// Returns the first message of a subject from this number on.
async fn next_message(stream: &Stream, subject: &str, from: u64) -> Result<StreamMessage> {
    let asked = stream.raw_message_builder().next_by_subject(subject);
    asked.sequence(from).send().await.map_err(failure)
}

/// Returns how to connect to the servers.
fn options(settings: &Settings, name: &str) -> Result<ConnectOptions> {
    let is_lost = Arc::new(AtomicBool::new(false));
    let mut options = ConnectOptions::new()
        .name(name)
        .max_reconnects(None)
        .reconnect_delay_callback(|tries| AGAIN * u32::try_from(tries.min(4)).unwrap_or(1))
        .event_callback(move |event| {
            report(&event, &is_lost);
            std::future::ready(())
        });
    if let Some(tls) = &settings.tls {
        options = options.require_tls(true).tls_client_config(tls.clone());
    }
    options = match &settings.login {
        Login::None => options,
        Login::Credentials(text) => {
            let read = options.credentials(text.expose());
            read.context("`credentials_file` in [nats]")?
        }
        Login::Password(user, password) => {
            options.user_and_password(user.clone(), password.expose().to_owned())
        }
        Login::Token(token) => options.token(token.expose().to_owned()),
    };
    Ok(options)
}

/// Says that the connection was lost, and that there is one again.
fn report(event: &Event, is_lost: &AtomicBool) {
    match event {
        Event::Connected if is_lost.swap(false, Ordering::Relaxed) => {
            stderr::say("NATS: connected again");
        }
        Event::Disconnected => {
            is_lost.store(true, Ordering::Relaxed);
            stderr::say(format!("NATS: {event}"));
        }
        Event::ServerError(_) => stderr::say(format!("NATS: {event}")),
        _ => {}
    }
}

/// Returns the reason why the servers cannot be connected, and what to do.
fn refused(error: &ConnectError, settings: &Settings) -> Refused {
    let servers = settings.servers.join(", ");
    let is_login = matches!(
        error.kind(),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
    );
    let error = match is_login {
        true => anyhow!(
            "NATS at {servers} refuses the login: check `username` and `password`, `token` or `credentials_file` of [nats]"
        ),
        false => anyhow!("cannot connect to NATS at {servers} (`servers` of [nats]): {error}"),
    };
    Refused {
        error,
        is_final: is_login,
    }
}

/// Returns an error of the client with its causes.
fn failure(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let text = stderr::causes(&anyhow::Error::new(error));
    anyhow!("NATS: {text}")
}

/// Returns the answer for a segment that the servers did not take: its sender keeps it.
fn refusal(error: PublishError) -> Rejected {
    let source = std::error::Error::source(&error);
    let source = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    let is_full = source.is_some_and(|error| error.error_code() == ErrorCode::STREAM_STORE_FAILED);
    let status = match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        _ if is_full => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let is_passing = status == StatusCode::SERVICE_UNAVAILABLE;
    let text = format!("the relay cannot store events: {:#}", failure(error));
    Rejected {
        after: is_passing.then_some(RETRY_AFTER),
        ..Rejected::new(status, text)
    }
}

#[async_trait(?Send)]
impl Store for Nats {
    async fn put(&self, tenant: &Tenant, packed: &[u8]) -> Result<usize, Rejected> {
        let events = tenant.read(packed)?;
        failpoint::pass("relay_read");
        let segment = Segment::new(&tenant.name, &events)?;
        drop(events);
        let message = PublishMessage::build()
            .message_id(&segment.id)
            .header(TENANT, tenant.name.as_str())
            .header(FORM, FORMAT)
            .payload(segment.packed);
        let subject = subject(&self.settings.stream, segment.partition);
        let sent = self.context.send_publish(subject, message).await;
        let stored = sent.map_err(refusal)?.await;
        failpoint::pass("relay_committed");
        stored.map(|_| segment.count).map_err(refusal)
    }

    fn trouble(&self) -> Option<String> {
        let is_connected =
            self.client.connection_state() == async_nats::connection::State::Connected;
        (!is_connected).then(|| "there is no connection to NATS".to_owned())
    }

    async fn tidy(&self) {
        loop {
            sleep(TIDY).await;
            // Without an answer, it is tried again.
            let _ = self.make_room().await;
        }
    }

    async fn stop(&self) -> Result<()> {
        // What was not sent yet was not acknowledged either.
        let _ = tokio::time::timeout(ANSWER, self.client.flush()).await;
        Ok(())
    }
}

#[async_trait(?Send)]
impl Queue for Nats {
    async fn partition(&self, number: u16) -> Result<Box<dyn Partition>> {
        let stream = self.stream().await?;
        let consumer: PullConsumer = stream
            .get_consumer(&consumer_name(number))
            .await
            .map_err(|error| anyhow!("NATS: {error}"))?;
        Ok(Box::new(Consumed::new(
            &self.context,
            stream,
            consumer,
            None,
        )))
    }

    async fn since(&self, time: i64, partitions: &[u16]) -> Result<Box<dyn Partition>> {
        let stream = self.stream().await?;
        let last = stream.cached_info().state.last_sequence;
        let start_time = async_nats::datetime::from_nanos(i128::from(time) * 1_000_000);
        let start_time = start_time.map_err(|error| anyhow!("{error}"))?;
        let subjects = partitions.iter();
        let subjects = subjects.map(|number| subject(&self.settings.stream, *number));
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartTime { start_time },
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 1,
            filter_subjects: subjects.collect(),
            inactive_threshold: Duration::from_secs(300),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(failure)?;
        Ok(Box::new(Consumed::new(
            &self.context,
            stream,
            consumer,
            Some(last),
        )))
    }

    async fn backlog(&self) -> Result<Backlog> {
        let stream = self.stream().await?;
        let mut backlog = Backlog::default();
        for partition in 0..PARTITIONS {
            let info = stream.consumer_info(consumer_name(partition)).await;
            let info = info.map_err(failure)?;
            let pending = info.num_pending + info.num_ack_pending as u64;
            backlog.pending += pending;
            backlog.redelivered += info.num_redelivered as u64;
            if pending > 0 {
                let floor = info.ack_floor.stream_sequence;
                // It may be acknowledged by now.
                let age = self.age(&stream, partition, floor).await.ok();
                backlog.oldest = backlog.oldest.max(age);
            }
        }
        let aside = aside(&self.settings.stream);
        let mut subjects = stream.info_with_subjects(&aside).await.map_err(failure)?;
        while let Some(subject) = subjects.next().await {
            let (_, count) = subject.map_err(failure)?;
            backlog.set_aside += count as u64;
        }
        Ok(backlog)
    }

    async fn return_aside(&self) -> Result<u64> {
        let stream = self.stream().await?;
        let aside = aside(&self.settings.stream);
        let (mut count, mut next) = (0, 1);
        let last = stream.cached_info().state.last_sequence;
        while let Ok(message) = next_message(&stream, &aside, next).await {
            if message.sequence > last {
                break;
            }
            next = message.sequence + 1;
            let mut headers: HeaderMap = message.headers;
            let subject = headers.get(SUBJECT).map(ToString::to_string);
            let subject = subject.context("a segment that was set aside has no subject")?;
            let id = format!("returned-{}", message.sequence);
            headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
            publish(&self.context, subject, headers, message.payload).await?;
            let deleted = stream.delete_message(message.sequence).await;
            deleted.map_err(failure)?;
            count += 1;
        }
        Ok(count)
    }

    async fn prepare(&self, apply: bool) -> Result<Vec<String>> {
        let wanted = &self.settings.wanted;
        let mut lines = Vec::new();
        match self.context.get_stream(&wanted.name).await {
            Ok(stream) => {
                let is = &stream.cached_info().config;
                lines.extend(layout::differences(is, wanted));
                if apply && !lines.is_empty() {
                    let changed = self.context.update_stream(layout::changed(is, wanted));
                    changed.await.map_err(failure)?;
                }
            }
            Err(error) if is_missing(&error.kind()) => {
                lines.push(format!("there is no stream `{}`", wanted.name));
                if !apply {
                    lines.push(missing_consumers(PARTITIONS));
                    return Ok(lines);
                }
                let made = self.context.create_stream(wanted.clone()).await;
                made.map_err(failure)?;
            }
            Err(error) => return Err(failure(error)),
        }
        lines.extend(self.prepare_consumers(apply).await?);
        Ok(lines)
    }
}

fn missing_consumers(count: u16) -> String {
    format!("{count} of {PARTITIONS} consumers are missing")
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

impl Nats {
    async fn prepare_consumers(&self, apply: bool) -> Result<Vec<String>> {
        let stream = self.stream().await?;
        let (mut lines, mut missing) = (Vec::new(), 0);
        for wanted in &self.settings.consumers {
            let name = wanted.durable_name.as_deref().unwrap_or_default();
            let differing = match stream.consumer_info(name).await {
                Ok(info) => {
                    let is = pull::Config::try_from_consumer_config(info.config);
                    let is = is.map_err(|error| anyhow!("NATS: {error}"))?;
                    layout::consumer_differences(&is, wanted)
                }
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
                    missing += 1;
                    Vec::new()
                }
                // While a leader is elected, nobody knows.
                Err(error) => return Err(failure(error)),
            };
            if apply {
                let made = stream.create_consumer(wanted.clone()).await;
                made.map_err(failure)?;
            }
            lines.extend(differing);
        }
        if missing > 0 {
            lines.push(missing_consumers(missing));
        }
        Ok(lines)
    }
}
