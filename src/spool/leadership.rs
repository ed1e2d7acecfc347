//! Who delivers to a destination, and what that process was doing when it ended: a delivery that ends the
//! process each time its message is made must not keep the others from being delivered.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A delivery that was being made when the process ended so often, one time after the other, is given up.
pub const MAX_CRASHES: u32 = 3;
/// The most that is read of the file.
const MAX_NOTE: usize = 64 << 10;

/// Held by the process that delivers to a destination.
///
/// Its file says, in a line, the deliveries of which the message is being made now; and, in a second one, how
/// often the process ended while it was at one, `12=1 15=2`. It is written in place and without fsync: it is to
/// survive the process, not the machine.
pub struct Leadership {
    /// Locked as long as it is open. None where the destination is known to no other process.
    file: Option<File>,
    crashes: BTreeMap<i64, u32>,
}

impl Leadership {
    /// Of a destination that is known to no other process.
    pub fn unshared() -> Leadership {
        Leadership {
            file: None,
            crashes: BTreeMap::new(),
        }
    }

    /// In a file that is locked. What it says was under way ended the process that led before.
    pub fn new(file: File) -> Leadership {
        let mut leadership = Leadership {
            crashes: BTreeMap::new(),
            file: Some(file),
        };
        let text = leadership.read();
        let mut lines = text.lines();
        let under_way = lines.next().unwrap_or_default();
        let counts = lines.next().unwrap_or_default().split_whitespace();
        leadership.crashes = counts
            .filter_map(|count| {
                let (delivery, crashes) = count.split_once('=')?;
                Some((delivery.parse().ok()?, crashes.parse().ok()?))
            })
            .collect();
        let ended = under_way.split_whitespace();
        for delivery in ended.filter_map(|word| word.parse().ok()) {
            *leadership.crashes.entry(delivery).or_default() += 1;
        }
        if !under_way.is_empty() {
            leadership.write(&[]);
        }
        leadership
    }

    /// How often the process ended while it made the message of a delivery, of those where it did.
    pub fn crashes(&self) -> &BTreeMap<i64, u32> {
        &self.crashes
    }

    /// The message of deliveries is being made from now on.
    pub fn begin(&self, deliveries: &[i64]) {
        self.write(deliveries);
    }

    /// The message was made: none of them ends the process.
    pub fn end(&mut self, deliveries: &[i64]) {
        self.crashes
            .retain(|delivery, _| !deliveries.contains(delivery));
        self.write(&[]);
    }

    /// None is being made; what is known of those that were stays.
    pub fn pause(&self) {
        self.write(&[]);
    }

    fn read(&self) -> String {
        let mut bytes = vec![0; MAX_NOTE];
        let read = self.file.as_ref().map(|file| file.read_at(&mut bytes, 0));
        bytes.truncate(read.and_then(Result::ok).unwrap_or(0));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn write(&self, under_way: &[i64]) {
        let Some(file) = &self.file else { return };
        let under_way: Vec<String> = under_way.iter().map(i64::to_string).collect();
        let crashes = self.crashes.iter();
        let crashes: Vec<String> = crashes
            .map(|(delivery, crashes)| format!("{delivery}={crashes}"))
            .collect();
        // What is left of a longer text is behind the second line, where nobody looks.
        let text = format!("{}\n{}\n", under_way.join(" "), crashes.join(" "));
        // Where that cannot be written, nothing is lost but the count.
        let _ = file.write_all_at(text.as_bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_of_a_delivery_are_counted_until_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let open = || super::super::private_file(&folder.path().join("lock")).unwrap();
        let lead = || Leadership::new(open());
        lead().begin(&[12, 13]);
        lead().begin(&[12]);
        let mut leadership = lead();
        assert_eq!(leadership.crashes(), &BTreeMap::from([(12, 2), (13, 1)]));
        leadership.end(&[12]);
        assert_eq!(lead().crashes(), &BTreeMap::from([(13, 1)]));
        lead().begin(&[13]);
        let leadership = lead();
        leadership.begin(&[13]);
        leadership.pause();
        assert_eq!(lead().crashes(), &BTreeMap::from([(13, 2)]));
    }
}
