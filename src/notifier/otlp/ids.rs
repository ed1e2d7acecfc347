//! Ids of traces and spans, made of the event: one that is sent again is the same span.

use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::event::{Event, Run};

/// Flag of a trace context: it is recorded (W3C Trace Context, "sampled").
const SAMPLED: u8 = 1;
/// Flags of a span: whether its parent is elsewhere is known, and it is (opentelemetry-proto, `SpanFlags`).
const KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// A trace, as seen from a run.
pub struct Trace {
    pub id: [u8; 16],
    /// Span that started Ansible, if the environment named one.
    pub parent: Option<[u8; 8]>,
    flags: u8,
}

impl Trace {
    /// Returns the trace of an event's playbook: the one that TRACEPARENT named, else one of its own.
    pub fn of(run: &Run) -> Trace {
        let given = run.traceparent.as_deref().and_then(parse);
        given.unwrap_or_else(|| Trace {
            id: own_id(run),
            parent: None,
            flags: SAMPLED,
        })
    }

    /// Returns true unless whoever started Ansible decided not to record this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the flags of a log record.
    pub fn flags(&self) -> u32 {
        u32::from(self.flags)
    }

    /// Returns the flags of a span; `is_root` if its parent is that of the trace.
    pub fn span_flags(&self, is_root: bool) -> u32 {
        let is_remote = is_root && self.parent.is_some();
        self.flags() | KNOWN | if is_remote { REMOTE } else { 0 }
    }
}

/// Reads a `traceparent` (W3C Trace Context, section 3.2).
fn parse(text: &str) -> Option<Trace> {
    let mut parts = text.trim().split('-');
    let version = bytes::<1>(parts.next()?)?;
    let trace = Trace {
        id: bytes(parts.next()?)?,
        parent: Some(bytes(parts.next()?)?),
        flags: bytes::<1>(parts.next()?)?[0],
    };
    let is_whole = match version[0] {
        0 => parts.next().is_none(),
        version => version != 0xff,
    };
    let is_set = trace.id != [0; 16] && trace.parent != Some([0; 8]);
    (is_whole && is_set).then_some(trace)
}

/// Reads bytes in lower-case hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Returns true if the command line names several playbooks: each has a trace of its own.
pub fn is_one_of_several(run: &Run) -> bool {
    run.playbooks.len() > 1
}

/// Returns the id of a run's own trace: its UUID, which every message contains.
fn own_id(run: &Run) -> [u8; 16] {
    if is_one_of_several(run) {
        return hashed(&["trace", &run.id, path(run)]);
    }
    // A relay puts the name of a tenant before it.
    let end = run.id.len().saturating_sub(36);
    let uuid = run
        .id
        .get(end..)
        .and_then(|text| Uuid::try_parse(text).ok());
    let uuid = uuid.filter(|uuid| !uuid.is_nil());
    uuid.map_or_else(|| hashed(&["trace", &run.id]), Uuid::into_bytes)
}

fn path(run: &Run) -> &str {
    run.path.as_deref().unwrap_or_default()
}

/// Returns the id of the span of a run, or of one of its playbooks.
pub fn run_span(run: &Run) -> [u8; 8] {
    match is_one_of_several(run) {
        true => hashed(&["run", &run.id, path(run)]),
        false => hashed(&["run", &run.id]),
    }
}

/// Returns the id of the span of a play.
pub fn play_span(run: &Run, play: &str) -> [u8; 8] {
    hashed(&["play", &run.id, play])
}

/// Returns the id of the span of a task on a host, by its result.
pub fn result_span(event: &Event) -> [u8; 8] {
    hashed(&["result", &event.id])
}

fn hashed<const N: usize>(parts: &[&str]) -> [u8; N] {
    let digest = digest(&SHA256, parts.join("\n").as_bytes());
    let mut id = [0; N];
    id.copy_from_slice(&digest.as_ref()[..N]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(traceparent: &str) -> Run {
        Run {
            id: "0199a4be-52c5-7d3c-9a52-3e0f5a2b7c10".into(),
            traceparent: Some(traceparent.into()),
            ..Run::default()
        }
    }

    #[test]
    fn a_trace_is_the_one_that_was_named_or_that_of_the_run() {
        let named = Trace::of(&run(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ));
        assert_eq!((named.id[0], named.id[15]), (0x0a, 0x9c));
        assert_eq!(named.parent.unwrap()[0], 0xb7);
        assert_eq!(
            (named.span_flags(true), named.span_flags(false)),
            (0x301, 0x101)
        );
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert!(!Trace::of(&run(unsampled)).is_sampled());
        let newer = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(Trace::of(&run(newer)).parent.is_some());
        for wrong in [
            "None",
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        ] {
            let own = Trace::of(&run(wrong));
            assert!(own.parent.is_none() && own.is_sampled(), "{wrong}");
            assert_eq!(own.id[..2], [0x01, 0x99], "{wrong}");
        }
    }

    #[test]
    fn ids_tell_runs_and_playbooks_apart() {
        let of = |id: &str, path: &str| Run {
            id: id.into(),
            path: Some(path.into()),
            playbooks: vec!["/a.yml".into(), "/b.yml".into()],
            ..Run::default()
        };
        let (first, second) = (of("r", "/a.yml"), of("r", "/b.yml"));
        assert_ne!(Trace::of(&first).id, Trace::of(&second).id);
        assert_ne!(run_span(&first), run_span(&second));
        let tenant = Run {
            id: "acme/0199a4be-52c5-7d3c-9a52-3e0f5a2b7c10".into(),
            ..Run::default()
        };
        assert_eq!(Trace::of(&tenant).id[..2], [0x01, 0x99]);
    }
}
