//! Writing to the record of runs, inside the transaction that accepts the events.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Counts, NewDetail, NewEnd, NewResult, Record, Recorded, RunAbout, TaskAbout, What};

/// Bits of `result.flags` with the number of its outcome.
pub const OUTCOME: i64 = 7;
/// Bit for an item of a loop.
pub const ITEM: i64 = 8;
/// Bit for a result whose content Ansible hid.
pub const HIDDEN: i64 = 16;
/// Bit for a result that was cut.
pub const CUT: i64 = 32;

/// Records events. One that was recorded before changes nothing.
pub fn write(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    let runs = record
        .rows
        .chunk_by(|one, other| one.run.id == other.run.id);
    for rows in runs {
        write_run(connection, rows, record.is_partial)?;
    }
    Ok(())
}

/// Records events of one run.
fn write_run(connection: &Connection, rows: &[Recorded], is_partial: bool) -> rusqlite::Result<()> {
    let Some(last) = rows.last() else {
        return Ok(());
    };
    let times = rows.iter().map(|row| row.time);
    let (first, seen) = (times.clone().min(), times.max());
    let span = (first.unwrap_or(last.time), seen.unwrap_or(last.time));
    let mut batch = Batch {
        connection,
        run: run(connection, &last.run, span, is_partial)?,
        tasks: HashMap::new(),
        hosts: HashMap::new(),
        tallies: HashMap::new(),
        new_tasks: 0,
        new_hosts: 0,
        reason: None,
    };
    let mut end = None;
    for row in rows {
        match &row.what {
            What::Run => {}
            What::Task(task) => {
                batch.task(task, row.time, row.seq)?;
            }
            What::Result(result) => batch.result(row, result)?,
            What::End(ended) => end = Some((row.time, ended)),
        }
    }
    batch.finish()?;
    match end {
        Some((time, ended)) => set_end(connection, batch.run, time, ended),
        None => Ok(()),
    }
}

/// Returns the number of a run; adds it if it is new. The more complete description stays: the surrounding
/// `ansible-notify run` knows less about its run than the plugin in it.
fn run(
    connection: &Connection,
    run: &RunAbout,
    (first, seen): (i64, i64),
    is_partial: bool,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO run (run_id, name, about, started, seen, partial)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (run_id) DO UPDATE SET
                name = CASE WHEN length(excluded.about) >= length(about) THEN excluded.name ELSE name END,
                about = CASE WHEN length(excluded.about) >= length(about) THEN excluded.about ELSE about END,
                started = min(started, excluded.started), seen = max(seen, excluded.seen),
                partial = max(partial, excluded.partial)
             RETURNING id",
        )?
        .query_row(
            params![run.id, run.name, run.about, first, seen, is_partial],
            |row| row.get(0),
        )
}

/// Records the end of a run; a later one replaces it.
fn set_end(connection: &Connection, run: i64, time: i64, end: &NewEnd) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE run SET ended = ?2, status = ?3, exit_code = ?4, reason = ?5, rescued = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            run,
            time,
            end.status.name(),
            end.exit_code,
            end.reason,
            end.rescued
        ])?;
    Ok(())
}

/// Results of a task that one transaction adds.
#[derive(Default)]
struct Tally {
    counts: Counts,
    started: i64,
    ended: i64,
    longest: i64,
    /// Highest number of an event.
    seq: i64,
}

/// Events of one run that one transaction adds.
struct Batch<'a> {
    connection: &'a Connection,
    run: i64,
    /// Numbers of the tasks and hosts so far.
    tasks: HashMap<&'a str, i64>,
    hosts: HashMap<&'a str, i64>,
    tallies: HashMap<i64, Tally>,
    new_tasks: i64,
    new_hosts: i64,
    /// The first failure, in case the run has none yet.
    reason: Option<String>,
}

impl<'a> Batch<'a> {
    /// Returns the number of a task; adds it if it is new.
    fn task(&mut self, task: &'a TaskAbout, time: i64, seq: i64) -> rusqlite::Result<i64> {
        let id = match self.tasks.get(task.key.as_str()) {
            Some(id) => *id,
            None => {
                let id = match self.find_task(&task.key)? {
                    Some(id) => id,
                    None => self.add_task(task, time)?,
                };
                self.tasks.insert(&task.key, id);
                id
            }
        };
        let tally = self.tallies.entry(id).or_insert_with(|| Tally {
            started: time,
            ..Tally::default()
        });
        tally.started = tally.started.min(time);
        tally.seq = tally.seq.max(seq);
        Ok(id)
    }

    fn find_task(&self, key: &str) -> rusqlite::Result<Option<i64>> {
        self.connection
            .prepare_cached("SELECT id FROM task WHERE run = ?1 AND key = ?2")?
            .query_row(params![self.run, key], |row| row.get(0))
            .optional()
    }

    fn add_task(&mut self, task: &TaskAbout, time: i64) -> rusqlite::Result<i64> {
        let texts = [&task.play, &task.name, &task.action, &task.path, &task.role];
        let [play, name, action, path, role] = texts.map(|text| self.text(text));
        self.new_tasks += 1;
        self.connection
            .prepare_cached(
                "INSERT INTO task (run, key, play, name, action, path, role, handler, started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .insert(params![
                self.run,
                task.key,
                play?,
                name?,
                action?,
                path?,
                role?,
                task.is_handler,
                time
            ])
    }

    /// Returns the number of a text, None for an empty one; adds it if it is new.
    fn text(&self, text: &str) -> rusqlite::Result<Option<i64>> {
        if text.is_empty() {
            return Ok(None);
        }
        let known = self
            .connection
            .prepare_cached("SELECT id FROM name WHERE text = ?1")?
            .query_row([text], |row| row.get(0))
            .optional()?;
        if known.is_some() {
            return Ok(known);
        }
        let mut add = self
            .connection
            .prepare_cached("INSERT INTO name (text) VALUES (?1)")?;
        add.insert([text]).map(Some)
    }

    /// Returns the number of a host in the run; adds it if it is new.
    fn host(&mut self, name: &'a str) -> rusqlite::Result<i64> {
        if let Some(id) = self.hosts.get(name) {
            return Ok(*id);
        }
        let known = self
            .connection
            .prepare_cached("SELECT id FROM host WHERE run = ?1 AND name = ?2")?
            .query_row(params![self.run, name], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                self.new_hosts += 1;
                self.connection
                    .prepare_cached("INSERT INTO host (run, name) VALUES (?1, ?2)")?
                    .insert(params![self.run, name])?
            }
        };
        self.hosts.insert(name, id);
        Ok(id)
    }

    fn result(&mut self, row: &'a Recorded, result: &'a NewResult) -> rusqlite::Result<()> {
        let began = row.time - result.duration.unwrap_or(0);
        let task = self.task(&result.task, began, row.seq)?;
        let host = self.host(&result.host)?;
        let detail = match &result.detail {
            Some(detail) => Some(self.detail(detail)?),
            None => None,
        };
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        let flags = result.outcome as i64
            | flag(result.is_item, ITEM)
            | flag(result.is_hidden, HIDDEN)
            | flag(result.is_cut, CUT);
        let added = self
            .connection
            .prepare_cached(
                "INSERT OR IGNORE INTO result (task, host, seq, time, duration, flags, detail)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                task,
                host,
                row.seq,
                row.time,
                result.duration,
                flags,
                detail
            ])?;
        if added == 0 {
            // A repeated event.
            return self.take_back(detail);
        }
        if result.is_item {
            return Ok(());
        }
        let tally = self.tallies.entry(task).or_default();
        tally.counts.add(result.outcome);
        tally.ended = tally.ended.max(row.time);
        tally.longest = tally.longest.max(result.duration.unwrap_or(0));
        if result.outcome.is_bad() {
            self.note_failure(host, result)?;
        }
        Ok(())
    }

    fn detail(&self, detail: &NewDetail) -> rusqlite::Result<i64> {
        self.connection
            .prepare_cached("INSERT INTO detail (message, item, result) VALUES (?1, ?2, ?3)")?
            .insert(params![detail.message, detail.item, detail.result])
    }

    fn take_back(&self, detail: Option<i64>) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("DELETE FROM detail WHERE id = ?1")?
            .execute([detail])?;
        Ok(())
    }

    fn note_failure(&mut self, host: i64, result: &NewResult) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("UPDATE host SET failed = 1 WHERE id = ?1 AND failed = 0")?
            .execute([host])?;
        if self.reason.is_none() {
            let message = result
                .detail
                .as_ref()
                .and_then(|one| one.message.as_deref());
            let message = message.unwrap_or_else(|| result.outcome.name());
            let text = format!("{}: {}: {message}", result.host, result.task.name);
            self.reason = Some(text);
        }
        Ok(())
    }

    /// Adds the counts to those of the tasks and of the run.
    fn finish(&self) -> rusqlite::Result<()> {
        let mut update = self.connection.prepare_cached(
            "UPDATE task SET ok = ok + ?2, changed = changed + ?3, failed = failed + ?4,
                unreachable = unreachable + ?5, skipped = skipped + ?6, ignored = ignored + ?7,
                started = min(started, ?8), ended = max(ended, ?9), longest = max(longest, ?10),
                seq = max(seq, ?11) WHERE id = ?1",
        )?;
        for (task, tally) in &self.tallies {
            let counts = &tally.counts;
            update.execute(params![
                task,
                counts.ok,
                counts.changed,
                counts.failed,
                counts.unreachable,
                counts.skipped,
                counts.ignored,
                tally.started,
                tally.ended,
                tally.longest,
                tally.seq
            ])?;
        }
        let sum = |of: fn(&Counts) -> i64| -> i64 {
            self.tallies.values().map(|tally| of(&tally.counts)).sum()
        };
        self.connection
            .prepare_cached(
                "UPDATE run SET ok = ok + ?2, changed = changed + ?3, failed = failed + ?4,
                    unreachable = unreachable + ?5, skipped = skipped + ?6, ignored = ignored + ?7,
                    tasks = tasks + ?8, hosts = hosts + ?9, reason = coalesce(reason, ?10)
                 WHERE id = ?1",
            )?
            .execute(params![
                self.run,
                sum(|counts| counts.ok),
                sum(|counts| counts.changed),
                sum(|counts| counts.failed),
                sum(|counts| counts.unreachable),
                sum(|counts| counts.skipped),
                sum(|counts| counts.ignored),
                self.new_tasks,
                self.new_hosts,
                self.reason
            ])?;
        Ok(())
    }
}
