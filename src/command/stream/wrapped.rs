//! A run in the command of `ansible-notify run`, reported as one run.

use super::Stream;
use crate::command::run::reason::last_error;
use crate::command::wrapper::{Claim, Wrapper};
use crate::delivery::endings::ends_of;
use crate::event::run_summary::Before;
use crate::event::{Run, Status, run_summary};
use crate::spool::Ended;

/// Connection to the `ansible-notify run` around this process, and the identity that it gave the run.
#[derive(Default)]
pub(super) struct Wrapping {
    wrapper: Option<Wrapper>,
    claim: Option<Claim>,
    /// Ends of playbooks that count once the script around them has succeeded.
    left: Vec<Ended>,
}

impl Wrapping {
    /// Requests the identity of a run that starts.
    pub(super) fn begin(&mut self, run: &Run) {
        self.wrapper = Wrapper::find();
        self.claim = self.wrapper.as_mut().and_then(|wrapper| wrapper.claim(run));
    }

    /// Returns the run with its identity, a URL at which a user can view it, and the span that started it.
    pub(super) fn adopt(&self, run: Run) -> Run {
        let run = Run {
            url: run.url.or_else(run_summary::url),
            traceparent: run.traceparent.or_else(run_summary::traceparent),
            ..run
        };
        match &self.claim {
            Some(claim) => claim.adopt(run),
            None => run,
        }
    }

    /// Reports that the end of the run is safe.
    pub(super) fn told(&mut self, status: Status) {
        if let Some(wrapper) = &mut self.wrapper {
            // Before the report of the end, for which the command waits.
            wrapper.leave(std::mem::take(&mut self.left));
            wrapper.told(status);
        }
    }
}

impl Stream {
    /// Records how the run ended, and returns the state before it. After a success, the script around it decides: it
    /// may fail yet.
    pub(super) async fn end_run(&mut self, status: Status) -> Before {
        let ends = ends_of(&self.run, status, &self.progress);
        if status == Status::Success && self.run.is_in_script() {
            self.wrapping.left = ends;
            return Before::default();
        }
        self.deliverer.record_ends(ends, status).await
    }

    /// Adds the facts that only `ansible-notify run` knows to the end: the last lines, and the command's end if
    /// Ansible was killed.
    pub(super) async fn note_command(&mut self) {
        let Some(mut wrapper) = self.wrapping.wrapper.take() else {
            return;
        };
        if self.wrapping.claim.is_some() {
            let ended = self.progress.ended;
            // It may wait for the end of the command, while deliveries continue.
            let asked = tokio::task::spawn_blocking(move || {
                let ending = wrapper.ending(ended);
                (wrapper, ending)
            });
            let Ok((answered, ending)) = asked.await else {
                return;
            };
            wrapper = answered;
            let Some(ending) = ending else {
                return self.progress.note_unread();
            };
            self.progress.output = ending.output.map(|text| crate::secret::redact(&text));
            let printed = self.progress.output.as_deref().and_then(last_error);
            printed
                .iter()
                .for_each(|error| self.progress.note_printed(error));
            if let (false, Some(exited)) = (ended, ending.exited) {
                self.progress.note_exit(&exited, ending.reason);
            }
        }
        self.wrapping.wrapper = Some(wrapper);
    }
}
