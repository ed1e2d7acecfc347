//! Leadership of a destination, and a record of what its process was doing when it ended: a delivery that
//! crashes the process whenever its message is built must not block the others.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Number of crashes in a row while building a delivery's message after which that delivery is given up.
pub const MAX_CRASHES: u32 = 3;
/// Maximum number of bytes read from the file.
const MAX_NOTE: usize = 64 << 10;

/// Right to deliver to a destination, held by one process at a time.
///
/// The first line of its file lists the deliveries whose message is being built; the second, how often the
/// process ended while building each of them, `12=1 15=2`. It is written in place and without fsync: it must
/// survive the process, not the machine.
pub struct Leadership {
    /// Locked while it is open. None if no other process knows the destination.
    file: Option<File>,
    crashes: RefCell<BTreeMap<i64, u32>>,
}

impl Leadership {
    /// Returns the leadership of a destination that no other process knows.
    pub fn unshared() -> Leadership {
        Leadership {
            file: None,
            crashes: RefCell::default(),
        }
    }

    /// Takes over in a locked file. The deliveries it lists as under way crashed the previous leader.
    pub fn new(file: File) -> Leadership {
        let leadership = Leadership {
            file: Some(file),
            crashes: RefCell::default(),
        };
        let text = leadership.read();
        let mut lines = text.lines();
        let under_way = lines.next().unwrap_or_default();
        let counts = lines.next().unwrap_or_default().split_whitespace();
        let mut crashes: BTreeMap<i64, u32> = counts
            .filter_map(|count| {
                let (delivery, crashes) = count.split_once('=')?;
                Some((delivery.parse().ok()?, crashes.parse().ok()?))
            })
            .collect();
        let ended = under_way.split_whitespace();
        for delivery in ended.filter_map(|word| word.parse().ok()) {
            *crashes.entry(delivery).or_default() += 1;
        }
        leadership.crashes.replace(crashes);
        if !under_way.is_empty() {
            leadership.write(&[]);
        }
        leadership
    }

    /// Returns how often the process ended while building a delivery's message, for those where it did.
    pub fn crashes(&self) -> BTreeMap<i64, u32> {
        self.crashes.borrow().clone()
    }

    /// Records that the message of these deliveries is being built.
    pub fn begin(&self, deliveries: &[i64]) {
        self.write(deliveries);
    }

    /// Records that the message was built: none of these deliveries crashes the process.
    pub fn end(&self, deliveries: &[i64]) {
        self.crashes
            .borrow_mut()
            .retain(|delivery, _| !deliveries.contains(delivery));
        self.write(&[]);
    }

    /// Records that no message is being built; the counts so far are kept.
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
        let crashes = self.crashes.borrow();
        let crashes: Vec<String> = crashes
            .iter()
            .map(|(delivery, crashes)| format!("{delivery}={crashes}"))
            .collect();
        // The rest of a longer text comes after the second line, which is never read.
        let text = format!("{}\n{}\n", under_way.join(" "), crashes.join(" "));
        // If this cannot be written, only the count is lost.
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
        let leadership = lead();
        assert_eq!(leadership.crashes(), BTreeMap::from([(12, 2), (13, 1)]));
        leadership.end(&[12]);
        assert_eq!(lead().crashes(), BTreeMap::from([(13, 1)]));
        lead().begin(&[13]);
        let leadership = lead();
        leadership.begin(&[13]);
        leadership.pause();
        assert_eq!(lead().crashes(), BTreeMap::from([(13, 2)]));
    }
}
