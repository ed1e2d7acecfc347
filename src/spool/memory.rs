//! State kept between runs: how each playbook ended, and the threads of conversations.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::fields;
use super::scope::DestinationId;

/// Result of a run of a playbook.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ended {
    /// Identifies the playbook.
    pub key: String,
    pub run: String,
    pub status: String,
    /// Selection of tasks that ran; empty for all.
    pub scope: String,
    /// Hosts it ran on, and those where it failed; a failed run without failed hosts failed as a whole.
    pub hosts: Vec<String>,
    pub failed: Vec<String>,
}

/// State of a playbook before a run, and the failures left after it.
#[derive(Debug, Default, PartialEq)]
pub struct Before {
    /// Status of the previous run. None after a success that does not cover everything that had failed.
    pub previous: Option<String>,
    /// Hosts that failed and have not succeeded since.
    pub still_failing: Vec<String>,
}

const ERROR: &str = "error";

/// Stores the result of a run and returns the state before it. A repeated call for the same run returns the
/// same answer.
pub fn end_run(connection: &Connection, ended: &Ended) -> rusqlite::Result<Before> {
    let known = connection
        .prepare_cached("SELECT run, status, previous FROM playbook WHERE key = ?1")?
        .query_row([&ended.key], |row| {
            let run = fields::text(row, 0)?.unwrap_or_default();
            fields::text(row, if run == ended.run { 2 } else { 1 })
        })
        .optional()?;
    let before: Option<String> = known.flatten();
    let failed = ended.status == ERROR;
    // Older versions record a success without regard to the hosts.
    if before.as_deref() != Some(ERROR) {
        connection
            .prepare_cached("DELETE FROM failing WHERE key = ?1")?
            .execute([&ended.key])?;
    }
    let mut mend = connection
        .prepare_cached("DELETE FROM failing WHERE key = ?1 AND ?2 IN (scope, '') AND host = ?3")?;
    let mut note = connection.prepare_cached(
        "INSERT OR REPLACE INTO failing (key, scope, host, updated) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let whole = String::new();
    let well = ended.hosts.iter().chain((!failed).then_some(&whole));
    for host in well {
        mend.execute(params![ended.key, ended.scope, host])?;
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let as_a_whole = failed && ended.failed.is_empty();
    for host in ended.failed.iter().chain(as_a_whole.then_some(&whole)) {
        note.execute(params![ended.key, ended.scope, host, now])?;
    }
    let left: Vec<String> = connection
        .prepare_cached("SELECT DISTINCT host FROM failing WHERE key = ?1 ORDER BY host")?
        .query_map([&ended.key], |row| {
            Ok(fields::text(row, 0)?.unwrap_or_default())
        })?
        .collect::<rusqlite::Result<_>>()?;
    let status = if left.is_empty() {
        &ended.status
    } else {
        ERROR
    };
    let previous = before.filter(|_| failed || left.is_empty());
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO playbook (key, run, status, previous) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![ended.key, ended.run, status, previous])?;
    Ok(Before {
        previous,
        still_failing: left.into_iter().filter(|host| !host.is_empty()).collect(),
    })
}

/// Returns the stored values of a destination's threads, by key.
pub fn threads(
    connection: &Connection,
    destination: DestinationId,
    keys: &[String],
) -> rusqlite::Result<HashMap<String, String>> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM thread WHERE destination = ?1 AND key = ?2")?;
    let mut found = HashMap::new();
    for key in keys {
        let value = statement
            .query_row(params![destination, key], |row| fields::sound_text(row, 0))
            .optional()?;
        found.extend(value.flatten().map(|value| (key.clone(), value)));
    }
    Ok(found)
}

/// Stores a thread of a destination. It is deleted like finished entries, by its last use.
pub fn set_thread(
    connection: &Connection,
    destination: DestinationId,
    key: &str,
    value: &str,
) -> rusqlite::Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    connection
        .prepare_cached(
            "INSERT INTO thread (destination, key, value, updated) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET value = excluded.value, updated = excluded.updated",
        )?
        .execute(params![destination, key, value, now])?;
    Ok(())
}

/// Start of the key under which the recipients reached by a delivery are kept, before its id.
const REACHED: &str = "reached ";

/// Returns the key of the thread that lists the recipients reached by a delivery.
pub fn reached_key(delivery: i64) -> String {
    format!("{REACHED}{delivery}")
}

/// Deletes threads last used before this time (milliseconds since 1970), but not the recipients reached by a
/// delivery that is still pending.
pub fn forget_threads(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM thread WHERE updated < ?1 AND NOT (substr(key, 1, length(?2)) = ?2 AND EXISTS
                (SELECT 1 FROM delivery
                 WHERE id = CAST(substr(key, length(?2) + 1) AS INTEGER) AND state = 0))",
        )?
        .execute(params![before, REACHED])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{deliveries, history, schema};
    use super::*;
    use crate::spool::Scope;

    fn spool() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::bring_up_to_date(&mut connection).unwrap();
        connection
    }

    /// Returns a run of site.yml on these hosts; `!` marks those that failed.
    fn run(run: &str, scope: &str, hosts: &str) -> Ended {
        let name = |host: &str| host.trim_end_matches('!').to_owned();
        let failed: Vec<String> = hosts
            .split(' ')
            .filter(|host| host.ends_with('!'))
            .map(name)
            .collect();
        Ended {
            key: "site.yml".to_owned(),
            run: run.to_owned(),
            status: if failed.is_empty() {
                "success"
            } else {
                "error"
            }
            .to_owned(),
            scope: scope.to_owned(),
            hosts: hosts.split(' ').map(name).collect(),
            failed,
        }
    }

    #[test]
    fn a_run_knows_how_the_one_before_it_ended() {
        let spool = spool();
        let end = |ended: &Ended| end_run(&spool, ended).unwrap().previous;
        assert_eq!(end(&run("r1", "", "h1!")), None);
        let other = Ended {
            key: "other.yml".to_owned(),
            ..run("r2", "", "h1")
        };
        assert_eq!(end(&other), None);
        for _ in 0..2 {
            assert_eq!(end(&run("r3", "", "h1")).unwrap(), "error");
        }
        assert_eq!(end(&run("r4", "", "h1!")).unwrap(), "success");
    }

    #[test]
    fn only_what_covers_a_failure_mends_it() {
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[("", "h1! h2"), ("", "h1 h2")], "recovered"),
            (&[("", "h1! h2"), ("", "h2")], "h1"),
            (&[("", "h1! h2"), ("", "h2"), ("", "h1")], "recovered"),
            (&[("", "h1! h2!"), ("", "h1")], "h2"),
            (&[("", "h1! h2!"), ("", "h1"), ("", "h2")], "recovered"),
            (&[("", "h1!"), ("tags a", "h1")], "h1"),
            (&[("tags a", "h1!"), ("tags b", "h1")], "h1"),
            (&[("tags a", "h1!"), ("tags a", "h1")], "recovered"),
            (&[("tags a", "h1!"), ("", "h1 h2")], "recovered"),
        ];
        for (runs, expected) in cases {
            let spool = spool();
            let mut last = Before::default();
            for (number, (scope, hosts)) in runs.iter().enumerate() {
                last = end_run(&spool, &run(&number.to_string(), scope, hosts)).unwrap();
            }
            let told = match last.previous.as_deref() {
                Some("error") => "recovered".to_owned(),
                _ => last.still_failing.join(" "),
            };
            assert_eq!(told, expected, "{runs:?}");
        }
    }

    #[test]
    fn a_run_that_failed_as_a_whole_is_mended_by_any_of_its_scope() {
        let spool = spool();
        let mut broken = run("r1", "", "");
        broken.status = "error".to_owned();
        broken.hosts.clear();
        end_run(&spool, &broken).unwrap();
        assert_eq!(
            end_run(&spool, &run("r2", "tags a", "h1"))
                .unwrap()
                .previous,
            None
        );
        assert_eq!(
            end_run(&spool, &run("r3", "", "h1"))
                .unwrap()
                .previous
                .unwrap(),
            "error"
        );
    }

    #[test]
    fn what_an_older_program_noted_counts() {
        let spool = spool();
        let note = |status: &str| {
            let sql =
                "INSERT OR REPLACE INTO playbook (key, run, status) VALUES ('site.yml', 'old', ?1)";
            spool.execute(sql, [status]).unwrap();
        };
        note("error");
        assert_eq!(
            end_run(&spool, &run("r1", "", "h1"))
                .unwrap()
                .previous
                .unwrap(),
            "error"
        );
        end_run(&spool, &run("r2", "", "h2!")).unwrap();
        note("success");
        let before = end_run(&spool, &run("r3", "", "h1")).unwrap();
        assert_eq!(
            (before.previous.unwrap().as_str(), before.still_failing),
            ("success", Vec::new())
        );
    }

    #[test]
    fn a_thread_is_one_destinations_and_forgotten_with_the_rest() {
        let spool = spool();
        let destination = |name: &str| {
            let key = deliveries::DestinationKey {
                search: String::new(),
                name: name.to_owned(),
                scope: Scope::Configured,
                needs: Vec::new(),
                own: false,
            };
            deliveries::destination(&spool, &key).unwrap()
        };
        let (first, second) = (destination("first"), destination("second"));
        for value in ["old", "new"] {
            set_thread(&spool, first, "task-1", value).unwrap();
        }
        let keys = ["task-1", "task-2"].map(str::to_owned);
        let found = threads(&spool, first, &keys).unwrap();
        assert_eq!(found, HashMap::from([("task-1".into(), "new".into())]));
        assert!(threads(&spool, second, &keys).unwrap().is_empty());
        history::prune(&spool, 0, 10).unwrap();
        assert_eq!(threads(&spool, first, &keys).unwrap().len(), 1);
        history::prune(&spool, i64::MAX, 10).unwrap();
        assert!(threads(&spool, first, &keys).unwrap().is_empty());
    }

    #[test]
    fn recipients_reached_are_kept_as_long_as_their_delivery_is_pending() {
        let spool = spool();
        spool
            .execute_batch(
                "INSERT INTO destination (id, search, name, run, needs) VALUES (1, '', 'n', '', '');
                 INSERT INTO event (id, event_id, created, callback, host, task)
                    VALUES (1, 'a', 0, '', '', ''), (2, 'b', 0, '', '', '');
                 INSERT INTO delivery (id, event, destination, state) VALUES (12, 1, 1, 0), (13, 2, 1, 2);",
            )
            .unwrap();
        let keys = [12, 13, 14].map(reached_key);
        for key in &keys {
            set_thread(&spool, DestinationId(1), key, "{}").unwrap();
        }
        // What an older program stored.
        assert_eq!(keys[0], "reached 12");
        forget_threads(&spool, i64::MAX).unwrap();
        let left = threads(&spool, DestinationId(1), &keys).unwrap();
        assert_eq!(left.keys().collect::<Vec<_>>(), [&keys[0]]);
    }
}
