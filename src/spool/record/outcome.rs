//! Outcome of a task on a host in the record of runs, and counts of outcomes.

use serde::{Serialize, Serializer};

/// Outcome of a task on a host, with its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// Nothing needed a change.
    Ok = 0,
    Changed = 1,
    Failed = 2,
    Unreachable = 3,
    Skipped = 4,
    /// Failed, but the playbook ignores that.
    Ignored = 5,
}

impl Outcome {
    /// Every outcome, by its number.
    pub const ALL: [Outcome; 6] = [
        Outcome::Ok,
        Outcome::Changed,
        Outcome::Failed,
        Outcome::Unreachable,
        Outcome::Skipped,
        Outcome::Ignored,
    ];

    /// Returns the name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Changed => "changed",
            Outcome::Failed => "failed",
            Outcome::Unreachable => "unreachable",
            Outcome::Skipped => "skipped",
            Outcome::Ignored => "ignored",
        }
    }

    /// Returns the outcome of a name; None for any other word.
    pub fn named(name: &str) -> Option<Outcome> {
        let mut all = Outcome::ALL.into_iter();
        all.find(|outcome| outcome.name() == name)
    }

    /// Returns true if it is a failure that is not ignored.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Unreachable)
    }
}

impl TryFrom<i64> for Outcome {
    type Error = ();

    fn try_from(number: i64) -> Result<Outcome, ()> {
        let mut all = Outcome::ALL.into_iter();
        all.find(|outcome| *outcome as i64 == number).ok_or(())
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Numbers of results, each counted once; items of loops are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ok: i64,
    pub changed: i64,
    pub failed: i64,
    pub unreachable: i64,
    pub skipped: i64,
    pub ignored: i64,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        self.add_many(outcome, 1);
    }

    /// Counts more.
    pub fn add_many(&mut self, outcome: Outcome, count: i64) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Changed => &mut self.changed,
            Outcome::Failed => &mut self.failed,
            Outcome::Unreachable => &mut self.unreachable,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Ignored => &mut self.ignored,
        } += count;
    }

    /// Returns the number of an outcome.
    pub fn of(&self, outcome: Outcome) -> i64 {
        match outcome {
            Outcome::Ok => self.ok,
            Outcome::Changed => self.changed,
            Outcome::Failed => self.failed,
            Outcome::Unreachable => self.unreachable,
            Outcome::Skipped => self.skipped,
            Outcome::Ignored => self.ignored,
        }
    }

    /// Returns the number of all results.
    pub fn all(&self) -> i64 {
        Outcome::ALL.iter().map(|outcome| self.of(*outcome)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_file() {
        for (number, outcome) in (0..).zip(Outcome::ALL) {
            assert_eq!(Outcome::try_from(number), Ok(outcome));
            assert_eq!(Outcome::named(outcome.name()), Some(outcome));
            let mut counts = Counts::default();
            counts.add(outcome);
            assert_eq!((counts.of(outcome), counts.all()), (1, 1));
        }
        assert_eq!(Outcome::try_from(6), Err(()));
    }
}
