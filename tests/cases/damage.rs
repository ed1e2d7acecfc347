//! A spool that was damaged in all kinds of ways: it starts, keeps the damaged file, saves what can be read,
//! and delivers nothing that was never given.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::sandbox::side_by_side;
use crate::sandbox::spooled::Spooled;
use crate::server::{OK, Server, dead_url};

const WAITING: usize = 300;

/// Changes a file of the spool, with so many random choices as it likes.
type Damage = fn(&Path, &mut fastrand::Rng);

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn log(path: &Path) -> std::path::PathBuf {
    path.with_extension("db-wal")
}

/// Moves what is in the log to the file, so that there is something to damage.
fn checkpoint(path: &Path) {
    let spool = rusqlite::Connection::open(path).unwrap();
    spool
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
}

const DAMAGES: [(&str, Damage); 13] = [
    ("no bytes", |path, _| {
        std::fs::remove_file(log(path)).unwrap();
        change(path, Vec::clear);
    }),
    ("random bytes", |path, random| {
        change(path, |bytes| random.fill(bytes));
    }),
    ("a bit of the header", |path, random| {
        checkpoint(path);
        change(path, |bytes| {
            bytes[random.usize(..100)] ^= 1 << random.u8(..8)
        });
    }),
    ("a version that no program has", |path, random| {
        checkpoint(path);
        change(path, |bytes| bytes[60] = random.u8(0x80..));
    }),
    ("the version of an older program", |path, random| {
        checkpoint(path);
        change(path, |bytes| bytes[63] = random.u8(..bytes[63]));
    }),
    ("a column of another name", |path, _| {
        checkpoint(path);
        change(path, |bytes| {
            let name = b"    error TEXT";
            let mut places =
                (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name));
            let (first, more) = (places.next().unwrap(), places.next());
            assert_eq!(more, None);
            bytes[first + 4] = b'x';
        });
    }),
    ("a hundred bits anywhere", |path, random| {
        checkpoint(path);
        change(path, |bytes| {
            for _ in 0..100 {
                let at = random.usize(4096..bytes.len());
                bytes[at] ^= 1 << random.u8(..8);
            }
        });
    }),
    ("a page of zeros", |path, random| {
        checkpoint(path);
        change(path, |bytes| {
            let page = random.usize(1..bytes.len() / 4096) * 4096;
            bytes[page..page + 4096].fill(0);
        });
    }),
    ("pages in each other's place", |path, random| {
        checkpoint(path);
        change(path, |bytes| {
            for _ in 0..5 {
                let page = random.usize(2..bytes.len() / 4096) * 4096;
                bytes.copy_within(page..page + 4096, page - 4096);
            }
        });
    }),
    ("cut short", |path, random| {
        checkpoint(path);
        change(path, |bytes| bytes.truncate(random.usize(1..bytes.len())));
    }),
    ("a log that is cut short", |path, random| {
        change(&log(path), |bytes| {
            bytes.truncate(random.usize(1..bytes.len()))
        });
    }),
    ("a log with a bit of another kind", |path, random| {
        change(&log(path), |bytes| {
            let at = random.usize(..bytes.len());
            bytes[at] ^= 1 << random.u8(..8);
        });
    }),
    ("a log of random bytes", |path, random| {
        change(&log(path), |bytes| random.fill(bytes));
    }),
];

#[test]
fn whatever_is_damaged_the_next_one_works() {
    let cases: Vec<(&str, Damage, u64)> = DAMAGES
        .into_iter()
        .flat_map(|(name, damage)| [1, 2, 3].map(|seed| (name, damage, seed)))
        .collect();
    side_by_side(&cases, |(name, damage, seed)| {
        let server = Server::start([OK]);
        let mut spooled = Spooled::killed(WAITING);
        damage(&spooled.file(), &mut fastrand::Rng::with_seed(*seed));
        spooled.configure(&server.url(), "", "drain = 2s");
        // Damage that is found late costs the run that finds it its spool; the next one mends it.
        let fresh = spooled.send(&["fresh"]);
        assert!(matches!(fresh.code, 0 | 75), "{name} {seed}: {fresh:?}");
        let flushed = spooled.run(&["flush"]);
        // Nothing notices a bit that is wrong in the middle of a text, such as the name of a file.
        let faithful = !name.contains("bit");
        assert!(flushed.code == 0 || !faithful, "{name} {seed}: {flushed:?}");
        let requests = server.requests();
        let ids: Vec<&str> = requests
            .iter()
            .map(|request| request.header("webhook-id").unwrap())
            .collect();
        let came = ids.contains(&"fresh");
        assert!(
            came || fresh.code == 75 || !faithful,
            "{name} {seed}: {fresh:?}"
        );
        if faithful {
            spooled.check_given(&requests);
        }
        let aside = std::fs::read_dir(spooled.file().parent().unwrap()).unwrap();
        let kept = aside
            .map(|file| file.unwrap().file_name())
            .any(|file| file.to_string_lossy().contains(".damaged-"));
        let said = format!("{}{}", fresh.stderr, flushed.stderr).contains("the spool was damaged");
        assert_eq!(kept, said, "{name} {seed}: {fresh:?} {flushed:?}");
        spooled.check_numbers();
        let last = spooled.send(&["last"]);
        last.expect_line(0, &["1 event, 1 delivery: delivered"]);
    });
}

#[test]
fn a_spool_that_another_program_holds_is_done_without_until_it_is_free() {
    let mut spooled = Spooled::waiting(1);
    spooled.configure(&dead_url(), "", "drain = 100ms");
    let other = rusqlite::Connection::open(spooled.file()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let other = Mutex::new(other);
    let command = spooled.command(&["stream"]);
    let ended = spooled.stream(command, "s", 40, |number, _| {
        if number == 35 {
            // Long enough for all of them to be taken into memory.
            std::thread::sleep(Duration::from_secs(3));
            other.lock().unwrap().execute_batch("COMMIT").unwrap();
        }
    });
    drop(other);
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
    let told = "events are kept in memory only: process ";
    let named = format!("process {} (", std::process::id());
    assert!(ended.stderr.contains(told), "{ended:?}");
    assert!(ended.stderr.contains(&named), "{ended:?}");
    assert_eq!(spooled.safe(), 41, "{ended:?}");

    let server = Server::start([OK]);
    spooled.configure(&server.url(), "", "");
    spooled
        .run(&["flush"])
        .expect_line(0, &["41 deliveries: all delivered"]);
    assert_eq!(spooled.check_arrived(&server.requests()), 0);
    spooled.check_numbers();
}
