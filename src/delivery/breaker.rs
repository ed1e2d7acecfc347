//! Circuit breaker of a notifier: pauses and back-off after failures. All processes share it through the spool.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::spool::{BREAKER, BreakerRow};

/// Longest time between two attempts at a delivery.
pub const MAX_BACK_OFF: Duration = Duration::from_secs(300);
/// Pause between attempts while credentials are refused.
const DENIED_PAUSE: Duration = Duration::from_secs(300);
/// Upper bound of a stored pause: a Retry-After counts for an hour at most, plus jitter.
pub const MAX_PAUSE: Duration = Duration::from_secs(3960);

/// State of a notifier's circuit breaker.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// Earliest time of the next attempt.
    paused_until: Option<Instant>,
    /// Fingerprint of the configuration for which the endpoint said it is gone for good; the notifier is
    /// then off.
    gone: Option<String>,
}

impl Breaker {
    /// Returns the stored state, or a fresh one if the configuration changed since the notifier was turned off.
    pub fn restore(row: BreakerRow, now: Instant, fingerprint: impl FnOnce() -> String) -> Breaker {
        if row.gone.as_ref().is_some_and(|gone| *gone != fingerprint()) {
            return Breaker::default();
        }
        Breaker {
            failures: row.failures,
            paused_until: left_until(row.paused_until).map(|left| now + left),
            gone: row.gone,
        }
    }

    /// Returns the state in the form the spool stores.
    pub fn row(&self, now: Instant) -> BreakerRow {
        let paused_until = self.pause(now).map_or(0, |until| {
            let left = until.saturating_duration_since(now).as_millis();
            Timestamp::now().as_millisecond() + i64::try_from(left).unwrap_or(0)
        });
        BreakerRow {
            failures: self.failures,
            paused_until,
            gone: self.gone.clone(),
        }
    }

    /// Returns the end of the current pause, if there is one.
    pub fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Returns how many attempts may run at once, given the configured limit `most`.
    pub fn limit(&self, most: usize) -> usize {
        if self.failures < BREAKER { most } else { 1 }
    }

    /// Returns true if the endpoint answered that it is gone for good.
    pub fn is_off(&self) -> bool {
        self.gone.is_some()
    }

    /// Returns true if something failed since the last success.
    pub fn is_troubled(&self) -> bool {
        self.failures > 0 || self.is_off() || self.paused_until.is_some()
    }

    /// Records a success; returns true if that ends a period of single attempts.
    pub fn succeeded(&mut self) -> bool {
        // A requested pause stays: other attempts may just have been told to wait.
        let was_open = std::mem::take(&mut self.failures) >= BREAKER;
        if was_open {
            self.paused_until = None;
        }
        was_open
    }

    /// Records a failure, with the wait the service asked for, if any. Returns the delay before the next
    /// attempt at the delivery, which had `attempts` before.
    pub fn failed(&mut self, attempts: u32, after: Option<Duration>, now: Instant) -> Duration {
        // Attempts that ran concurrently count as one failure: a pause means that it is already known.
        if self.pause(now).is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        let asked = after.map(|after| after.mul_f64(1.0 + fastrand::f64() / 10.0));
        if let Some(asked) = asked {
            self.pause_for(asked, now);
        } else if self.failures >= BREAKER && self.pause(now).is_none() {
            self.pause_for(back_off(self.failures - BREAKER), now);
        }
        back_off(attempts).max(asked.unwrap_or_default())
    }

    /// Records refused credentials: from now on one attempt at a time, so that no account gets locked.
    pub fn denied(&mut self) {
        self.failures = self.failures.saturating_add(1).max(BREAKER);
    }

    /// Records that credentials were refused even after being read again. Returns the delay before the next
    /// attempt.
    pub fn denied_again(&mut self, now: Instant) -> Duration {
        self.pause_for(DENIED_PAUSE, now);
        DENIED_PAUSE
    }

    /// Turns the notifier off for this configuration: the endpoint is gone for good.
    pub fn turn_off(&mut self, fingerprint: impl FnOnce() -> String) {
        self.gone.get_or_insert_with(fingerprint);
    }

    fn pause_for(&mut self, time: Duration, now: Instant) {
        self.paused_until = self.paused_until.max(Some(now + time));
    }
}

/// Returns the time left until a stored time, in milliseconds since 1970. None if it has passed, or is so
/// far ahead that the clock must have been set back since.
pub fn left_until(time: i64) -> Option<Duration> {
    let left = time.saturating_sub(Timestamp::now().as_millisecond());
    let left = Duration::from_millis(u64::try_from(left).ok()?);
    (!left.is_zero() && left <= MAX_PAUSE).then_some(left)
}

/// Returns the delay before the next attempt: 1 s, doubled each time, at most 5 minutes; randomised to
/// 50–100 %.
pub fn back_off(attempts: u32) -> Duration {
    let whole = Duration::from_secs(1)
        .saturating_mul(1 << attempts.min(16))
        .min(MAX_BACK_OFF);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        for (attempts, whole) in [(0, 1.0), (1, 2.0), (5, 32.0), (9, 300.0), (u32::MAX, 300.0)] {
            let seconds = back_off(attempts).as_secs_f64();
            assert!(
                (whole / 2.0..=whole).contains(&seconds),
                "{attempts}: {seconds}"
            );
        }
    }

    #[test]
    fn failures_in_a_row_leave_one_attempt_at_a_time_until_one_succeeds() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..BREAKER {
            breaker.failed(0, None, now);
        }
        assert_eq!((breaker.limit(16), breaker.pause(now)), (16, None));
        assert!(!breaker.succeeded());
        for _ in 0..BREAKER {
            breaker.failed(0, None, now);
        }
        assert_eq!(breaker.limit(16), 1);
        assert!(breaker.pause(now).is_some());
        assert!(breaker.succeeded());
        assert_eq!((breaker.limit(16), breaker.pause(now)), (16, None));
    }

    #[test]
    fn a_pause_that_was_asked_for_is_a_tenth_longer_at_most_and_outlives_the_process() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let asked = Duration::from_secs(1000);
        let wait = breaker.failed(0, Some(asked), now);
        assert!(wait >= asked && wait <= asked.mul_f64(1.1), "{wait:?}");
        let restored = Breaker::restore(breaker.row(now), now, String::new);
        let left = restored.pause(now).unwrap() - now;
        assert!(left > Duration::from_secs(990) && left <= wait, "{left:?}");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_pause() {
        let now = Instant::now();
        for paused_until in [
            i64::MAX,
            Timestamp::now().as_millisecond() + 7_200_000,
            i64::MIN,
        ] {
            let row = BreakerRow {
                paused_until,
                ..BreakerRow::default()
            };
            let breaker = Breaker::restore(row, now, String::new);
            assert_eq!(breaker.pause(now), None, "{paused_until}");
        }
    }

    #[test]
    fn one_that_is_gone_is_off_until_its_configuration_changes() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.turn_off(|| "a".into());
        let restored =
            |now_set: &str| Breaker::restore(breaker.row(now), now, || now_set.into()).is_off();
        assert!(restored("a") && !restored("b"));
    }
}
