//! A partition in JetStream: a consumer that is pinned to one process at a time.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::message::AckKind;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{Context, Message};
use async_trait::async_trait;
use futures_util::StreamExt as _;

use super::super::{Partition, Taken};
use super::layout::{GROUP, aside};
use super::{FORM, REASON, TENANT, failure};

/// Time for which the server keeps a request for segments: much shorter than that after which another process is asked.
const EXPIRES: Duration = Duration::from_secs(2);

/// A consumer, and the segment that it has given out.
pub struct Consumed {
    context: Context,
    stream: Stream,
    consumer: PullConsumer,
    /// True if the consumer belongs to one process at a time.
    is_pinned: bool,
    /// Sequence number of the last message, for a consumer that ends.
    last: Option<u64>,
    messages: Option<Pin<Box<pull::Stream>>>,
    current: Option<Message>,
    /// True if this process got a segment, so that it has the partition.
    has_it: bool,
}

impl Consumed {
    /// Creates a partition of a consumer. With `last`, it ends with the message of this number.
    pub fn new(
        context: &Context,
        stream: Stream,
        consumer: PullConsumer,
        last: Option<u64>,
    ) -> Consumed {
        Consumed {
            context: context.clone(),
            stream,
            consumer,
            is_pinned: last.is_none(),
            last,
            messages: None,
            current: None,
            has_it: false,
        }
    }

    async fn message(&mut self) -> Result<Message> {
        if self.messages.is_none() {
            let mut stream = self.consumer.stream();
            if self.is_pinned {
                stream = stream.group(GROUP);
            }
            let stream = stream.max_messages_per_batch(1).expires(EXPIRES);
            let messages = stream.messages().await.map_err(failure)?;
            self.messages = Some(Box::pin(messages));
        }
        let Some(messages) = &mut self.messages else {
            bail!("there is no connection");
        };
        match messages.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => {
                self.messages = None;
                Err(failure(error))
            }
            None => {
                self.messages = None;
                bail!("the connection has ended")
            }
        }
    }

    /// Returns true if a consumer that ends has given out everything.
    async fn is_at_end(&mut self) -> Result<bool> {
        let Some(last) = self.last else {
            return Ok(false);
        };
        let info = self.consumer.info().await.map_err(failure)?;
        Ok(info.num_pending == 0 || info.delivered.stream_sequence >= last)
    }

    fn current(&self) -> Result<&Message> {
        self.current.as_ref().context("no segment was taken")
    }
}

#[async_trait(?Send)]
impl Partition for Consumed {
    async fn next(&mut self) -> Result<Option<Taken>> {
        if self.is_at_end().await? {
            return Ok(None);
        }
        let message = self.message().await?;
        self.has_it = true;
        let header = |name: &str| {
            let headers = message.headers.as_ref();
            let value = headers.and_then(|headers| headers.get(name));
            value.map_or_else(String::new, ToString::to_string)
        };
        let taken = Taken {
            tenant: header(TENANT),
            form: header(FORM),
            packed: message.payload.clone(),
        };
        self.current = Some(message);
        Ok(Some(taken))
    }

    async fn extend(&mut self) -> Result<()> {
        let message = self.current()?;
        message.ack_with(AckKind::Progress).await.map_err(nested)
    }

    async fn done(&mut self) -> Result<()> {
        let acknowledged = self.current()?.double_ack().await;
        acknowledged.map_err(nested)?;
        self.current = None;
        Ok(())
    }

    async fn set_aside(&mut self, reason: &str) -> Result<()> {
        let message = self.current()?;
        let mut headers = message.headers.clone().unwrap_or_default();
        headers.insert(REASON, reason);
        headers.insert(super::SUBJECT, message.subject.as_str());
        let info = message.info().map_err(nested)?;
        let id = format!("aside-{}", info.stream_sequence);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        let subject = aside(&self.stream.cached_info().config.name);
        publish(&self.context, subject, headers, message.payload.clone()).await?;
        self.done().await
    }

    async fn release(&mut self) {
        self.messages = None;
        if std::mem::take(&mut self.has_it) && self.is_pinned {
            let name = &self.consumer.cached_info().name;
            // Without an answer, another process has to wait for it.
            let _ = self.stream.unpin_consumer(name, GROUP).await;
        }
    }
}

/// Publishes a message, and waits until the stream has it.
pub async fn publish(
    context: &Context,
    subject: String,
    headers: HeaderMap,
    payload: hyper::body::Bytes,
) -> Result<()> {
    let sent = context.publish_with_headers(subject, headers, payload);
    let sent = sent.await.map_err(failure)?;
    sent.await.map_err(failure)?;
    Ok(())
}

fn nested(error: async_nats::Error) -> anyhow::Error {
    anyhow!("NATS: {error}")
}
