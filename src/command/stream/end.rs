//! The end of a stream: the run's own last event, the last deliveries, the summary.

use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use super::Stream;
use crate::console::stderr;
use crate::exit::Exit;

impl Stream {
    /// Exits after a signal in the middle of a run: another process may resume it and report how it ended.
    pub(super) async fn leave(&mut self, signal: i32) -> Exit {
        self.deliverer.spool().gather(false);
        self.be_accepted().await;
        // It was reported where it failed.
        let _ = self.deliverer.stop().await;
        self.answer_safe();
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        Exit::Unexpected
    }

    /// Finishes the run: its own event, the last deliveries, the summary.
    pub(super) async fn finish(&mut self) -> Result<Exit, Exit> {
        self.release().await?;
        if self.last_sequence == 0 {
            return Ok(Exit::Ok);
        }
        self.deliverer.spool().gather(false);
        // ansible-runner reports the end itself, unless it was cut off.
        if self.runner.is_none() || !self.progress.ended {
            self.end_alerts().await;
            self.note_command().await;
            let status = self.progress.status();
            let before = self.end_run(status).await;
            self.note_success(status).await;
            let mut event = self.progress.end(&self.run, before);
            self.vars.add_to(&mut event, None);
            self.mask_end(&mut event);
            self.batch.push((self.last_sequence + 1, event));
            self.accept().await;
        }
        self.be_accepted().await;
        self.wrapping.told(self.progress.status());
        let mut terminate = signal(SignalKind::terminate()).ok();
        let began = Instant::now();
        let drained = async {
            if self.runner.is_some() {
                // Nothing waits for this process: it stays while deliveries make progress.
                self.deliverer.drain_while_moving(self.drain).await;
            } else {
                self.deliverer.drain(self.drain).await;
            }
            if self.progress.resumed {
                // Deliveries accepted by the previous process are pending too.
                let rest = self.drain.saturating_sub(began.elapsed());
                let _ = tokio::time::timeout(rest, self.deliverer.settle()).await;
            }
        };
        let drained = async {
            tokio::select! {
                () = drained => {}
                () = crate::command::recv_signal(&mut terminate) => {}
            }
        };
        let told = (!self.arguments.quiet).then_some(self.events);
        let exit = self.deliverer.close(drained, told).await;
        self.answer_safe();
        if self.rejected > 0 {
            stderr::say(format!(
                "{} lines of the stream were not records",
                self.rejected
            ));
            return Ok(Exit::InvalidEvent);
        }
        Ok(exit)
    }
}
