//! What is remembered from one run to the next: how a playbook ended, and where a conversation goes on.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

/// Stores how a run of a playbook ended, and gives how the run before it ended. Said twice of the same
/// run, it gives the same answer.
pub fn end_run(
    connection: &Connection,
    key: &str,
    run_id: &str,
    status: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "INSERT INTO playbook (key, run, status) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET
                previous = CASE WHEN run = excluded.run THEN previous ELSE status END,
                run = excluded.run, status = excluded.status",
        )?
        .execute(params![key, run_id, status])?;
    connection
        .prepare_cached("SELECT previous FROM playbook WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
}

/// What is known of some of a destination's threads, by key.
pub fn threads(
    connection: &Connection,
    destination: i64,
    keys: &[String],
) -> rusqlite::Result<HashMap<String, String>> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM thread WHERE destination = ?1 AND key = ?2")?;
    let mut found = HashMap::new();
    for key in keys {
        let value = statement
            .query_row(params![destination, key], |row| row.get(0))
            .optional()?;
        found.extend(value.map(|value| (key.clone(), value)));
    }
    Ok(found)
}

/// Remembers a thread of a destination. It is forgotten like what was delivered, by its last use.
pub fn set_thread(
    connection: &Connection,
    destination: i64,
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

#[cfg(test)]
mod tests {
    use super::super::{deliveries, history, schema};
    use super::*;

    fn spool() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::bring_up_to_date(&mut connection).unwrap();
        connection
    }

    #[test]
    fn a_run_knows_how_the_one_before_it_ended() {
        let spool = spool();
        let end = |key, run, status| end_run(&spool, key, run, status).unwrap();
        assert_eq!(end("site.yml", "r1", "error"), None);
        assert_eq!(end("site.yml", "r1", "canceled"), None);
        assert_eq!(end("other.yml", "r2", "success"), None);
        for _ in 0..2 {
            assert_eq!(end("site.yml", "r3", "success").unwrap(), "canceled");
        }
        assert_eq!(end("site.yml", "r4", "error").unwrap(), "success");
    }

    #[test]
    fn a_thread_is_one_destinations_and_forgotten_with_the_rest() {
        let spool = spool();
        let destination = |name: &str| {
            let key = deliveries::DestinationKey {
                search: String::new(),
                name: name.to_owned(),
                run: String::new(),
                needs: String::new(),
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
}
