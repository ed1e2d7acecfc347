//! The stream and the consumers that the program needs, and their differences from those that exist.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PriorityPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};

use super::settings::Settings;
use crate::config::units;

/// Priority group of the processes that take segments.
pub const GROUP: &str = "deliver";
/// Time after which a partition goes to another process if the one that has it no longer asks for segments.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// Time after which a segment is given out again if nobody says that it is being worked on.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// Time for which the server recognises a segment that is sent again. Later ones are recognised by their events.
const DUPLICATES: Duration = Duration::from_secs(300);

/// Returns the subject of a partition.
pub fn subject(stream: &str, partition: u16) -> String {
    format!("{stream}.partition.{partition}")
}

/// Returns the subject of the segments that were set aside.
pub fn aside(stream: &str) -> String {
    format!("{stream}.aside")
}

/// Returns the name of a partition's consumer.
pub fn consumer_name(partition: u16) -> String {
    format!("partition-{partition}")
}

/// Returns the stream as it has to be. A full one refuses segments instead of deleting any.
pub fn stream(settings: &Settings) -> Config {
    Config {
        name: settings.stream.clone(),
        subjects: vec![format!("{}.>", settings.stream)],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        num_replicas: settings.replicas,
        max_age: settings.max_age,
        max_bytes: i64::try_from(settings.max_size).unwrap_or(i64::MAX),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        duplicate_window: DUPLICATES.min(settings.max_age),
        allow_direct: true,
        ..Config::default()
    }
}

/// Returns the consumer of a partition. It gives one segment at a time to one process: with more of them, a server
/// gives them out of order after a failure.
pub fn consumer(settings: &Settings, partition: u16) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer_name(partition)),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        // A segment that cannot be handled is set aside; a limit would hide it.
        max_deliver: -1,
        filter_subject: subject(&settings.stream, partition),
        max_ack_pending: 1,
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec![GROUP.to_owned()],
        priority_timeout: TAKE_OVER,
        ..pull::Config::default()
    }
}

/// A setting: its name, its value, and the value that it has to have.
type Row = (&'static str, String, String);

/// Returns a line for each setting of the stream that differs.
pub fn differences(is: &Config, wanted: &Config) -> Vec<String> {
    let size = |bytes: i64| u64::try_from(bytes).map_or("unlimited".to_owned(), units::size);
    let row = |name, value: fn(&Config) -> String| (name, value(is), value(wanted));
    let mut rows = vec![
        row("subjects", |one| one.subjects.join(", ")),
        row("retention", |one| {
            format!("{:?}", one.retention).to_lowercase()
        }),
        row("storage", |one| format!("{:?}", one.storage).to_lowercase()),
        row("discard", |one| format!("{:?}", one.discard).to_lowercase()),
        row("replicas", |one| one.num_replicas.to_string()),
        row("max_age", |one| units::duration(one.max_age)),
        row("duplicate_window", |one| {
            units::duration(one.duplicate_window)
        }),
        row("no_ack", |one| one.no_ack.to_string()),
        row("sealed", |one| one.sealed.to_string()),
    ];
    rows.push(("max_bytes", size(is.max_bytes), size(wanted.max_bytes)));
    lines(&format!("the stream `{}`", wanted.name), rows)
}

/// Returns a line for each setting of a consumer that differs.
pub fn consumer_differences(is: &pull::Config, wanted: &pull::Config) -> Vec<String> {
    let row = |name, value: fn(&pull::Config) -> String| (name, value(is), value(wanted));
    let rows = vec![
        row("filter_subject", |one| one.filter_subject.clone()),
        row("ack_policy", |one| {
            format!("{:?}", one.ack_policy).to_lowercase()
        }),
        row("ack_wait", |one| units::duration(one.ack_wait)),
        row("max_deliver", |one| one.max_deliver.to_string()),
        row("max_ack_pending", |one| one.max_ack_pending.to_string()),
        row("priority_policy", |one| {
            format!("{:?}", one.priority_policy)
        }),
        row("priority_groups", |one| one.priority_groups.join(", ")),
        row("priority_timeout", |one| {
            units::duration(one.priority_timeout)
        }),
    ];
    let name = wanted.durable_name.as_deref().unwrap_or_default();
    lines(&format!("the consumer `{name}`"), rows)
}

fn lines(of: &str, rows: Vec<Row>) -> Vec<String> {
    let differing = rows.into_iter().filter(|(_, is, wanted)| is != wanted);
    let line = |(name, is, wanted)| format!("{of} has {name} = {is}, and needs {wanted}");
    differing.map(line).collect()
}

/// Returns the existing stream with the settings that it has to have.
pub fn changed(is: &Config, wanted: &Config) -> Config {
    Config {
        subjects: wanted.subjects.clone(),
        retention: wanted.retention,
        storage: wanted.storage,
        discard: wanted.discard,
        num_replicas: wanted.num_replicas,
        max_age: wanted.max_age,
        max_bytes: wanted.max_bytes,
        duplicate_window: wanted.duplicate_window,
        no_ack: wanted.no_ack,
        sealed: wanted.sealed,
        ..is.clone()
    }
}
