//! Recorded runs can be found again.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::schema;
use super::results::{self, ResultFilter};
use super::runs::{self, Found, RecordedRun, RunFilter, RunState};
use super::*;

fn spool() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::bring_up_to_date(&mut connection).unwrap();
    connection
}

/// Events of a run of a playbook, numbered in their order, a second apart.
struct Story {
    run: Arc<RunAbout>,
    rows: Vec<Recorded>,
}

impl Story {
    fn of(id: &str, playbook: &str) -> Story {
        let run = Run {
            id: id.to_owned(),
            playbook: Some(playbook.to_owned()),
            path: Some(format!("/srv/{playbook}")),
            ..Run::default()
        };
        Story {
            run: Arc::new(RunAbout::of(&run)),
            rows: Vec::new(),
        }
    }

    fn then(mut self, what: What) -> Story {
        let seq = self.rows.len() as i64 + 1;
        self.rows.push(Recorded {
            run: self.run.clone(),
            time: seq * 1000,
            seq,
            what,
        });
        self
    }

    /// Adds the result of a task on a host, after 200 ms.
    fn result(self, task: &str, host: &str, outcome: Outcome) -> Story {
        let failed = outcome.is_bad();
        self.then(What::Result(Box::new(NewResult {
            task: about(task),
            host: host.to_owned(),
            outcome,
            duration: Some(200),
            is_item: false,
            is_hidden: false,
            is_cut: false,
            detail: failed.then(|| NewDetail {
                message: Some(format!("no {task}")),
                item: None,
                result: Some(r#"{"rc":1}"#.to_owned()),
            }),
        })))
    }

    fn item(mut self, task: &str, host: &str, outcome: Outcome) -> Story {
        self = self.result(task, host, outcome);
        if let Some(What::Result(result)) = self.rows.last_mut().map(|row| &mut row.what) {
            result.is_item = true;
        }
        self
    }

    fn end(self, status: Status) -> Story {
        self.then(What::End(Box::new(NewEnd {
            status,
            exit_code: Some(0),
            reason: None,
            rescued: 1,
        })))
    }

    fn write(self, spool: &Connection) {
        let rows = self.rows;
        let is_partial = false;
        write(spool, &Record { rows, is_partial }).unwrap();
    }
}

fn about(name: &str) -> Arc<TaskAbout> {
    Arc::new(TaskAbout {
        key: name.to_owned(),
        play: "all".to_owned(),
        name: name.to_owned(),
        ..TaskAbout::default()
    })
}

fn listed(spool: &Connection, filter: RunFilter) -> Vec<RecordedRun> {
    runs::list(spool, Path::new("/nowhere"), &filter).unwrap()
}

fn ids(spool: &Connection, filter: RunFilter) -> Vec<String> {
    listed(spool, filter)
        .into_iter()
        .map(|run| run.id)
        .collect()
}

#[test]
fn a_run_is_found_with_its_tasks_hosts_and_results() {
    use Outcome::{Changed, Failed, Ok, Skipped};
    let spool = spool();
    let story = || {
        Story::of("r1", "site.yml")
            .then(What::Run)
            .then(What::Task(about("install")))
            .item("install", "web1", Ok)
            .item("install", "web1", Failed)
            .result("install", "web1", Failed)
            .result("install", "web2", Changed)
            .result("restart", "web2", Skipped)
    };
    story().write(&spool);
    // Sent again, because the answer was lost.
    story().write(&spool);
    let run = listed(&spool, RunFilter::default()).remove(0);
    assert_eq!((run.id.as_str(), run.name.as_str()), ("r1", "site.yml"));
    assert_eq!((run.state, run.ended), (RunState::Canceled, None));
    assert_eq!((run.started, run.seen, run.took()), (1000, 7000, 6000));
    assert_eq!((run.hosts, run.tasks), (2, 2));
    assert_eq!(run.reason.as_deref(), Some("web1: install: no install"));
    assert_eq!(run.run.path.as_deref(), Some("/srv/site.yml"));
    let expected = Counts {
        changed: 1,
        failed: 1,
        skipped: 1,
        ..Counts::default()
    };
    assert_eq!(run.counts, expected);

    let tasks = results::tasks(&spool, run.number).unwrap();
    let names: Vec<_> = tasks.iter().map(|task| task.name.as_deref()).collect();
    assert_eq!(names, [Some("install"), Some("restart")]);
    let install = &tasks[0];
    assert_eq!((install.started, install.ended), (2000, Some(6000)));
    assert_eq!((install.longest, install.counts.all()), (200, 2));
    assert_eq!(tasks[1].started, 6800);

    let hosts = results::hosts(&spool, run.number).unwrap();
    let counts: Vec<_> = hosts
        .iter()
        .map(|host| (host.name.as_str(), host.counts.failed, host.counts.all()))
        .collect();
    assert_eq!(counts, [("web1", 1, 1), ("web2", 0, 2)]);
}

#[test]
fn results_are_chosen_by_outcome_task_host_and_page() {
    use Outcome::{Changed, Failed, Ok, Unreachable};
    let spool = spool();
    Story::of("r0", "other.yml")
        .result("install", "web1", Failed)
        .write(&spool);
    Story::of("r1", "site.yml")
        .result("install", "web1", Ok)
        .item("install", "web2", Failed)
        .result("install", "web2", Failed)
        .result("restart", "web1", Changed)
        .result("restart", "web3", Unreachable)
        .write(&spool);
    let run = listed(&spool, RunFilter::default()).remove(0).number;
    let install = results::tasks(&spool, run).unwrap()[0].number;
    let events = |filter: ResultFilter| -> Vec<i64> {
        let found = results::results(&spool, run, &filter).unwrap();
        found.iter().map(|result| result.event).collect()
    };
    let all = ResultFilter::default;
    assert_eq!(events(all()), [1, 3, 4, 5]);
    assert_eq!(
        events(ResultFilter {
            items: true,
            ..all()
        }),
        [1, 2, 3, 4, 5]
    );
    assert_eq!(
        events(ResultFilter {
            outcomes: vec![Failed, Unreachable],
            ..all()
        }),
        [3, 5]
    );
    assert_eq!(
        events(ResultFilter {
            task: Some(install),
            ..all()
        }),
        [1, 3]
    );
    assert_eq!(
        events(ResultFilter {
            host: Some("web1".into()),
            ..all()
        }),
        [1, 4]
    );
    assert_eq!(
        events(ResultFilter {
            host: Some("web9".into()),
            ..all()
        }),
        [0_i64; 0]
    );
    assert_eq!(
        events(ResultFilter {
            after: Some(1),
            most: 2,
            ..all()
        }),
        [3, 4]
    );

    let listed = results::results(&spool, run, &all()).unwrap().remove(1);
    assert_eq!(listed.message.as_deref(), Some("no install"));
    assert_eq!(
        (listed.name.as_deref(), listed.result),
        (Some("install"), None)
    );
    let whole = results::result(&spool, run, 3).unwrap().unwrap();
    assert_eq!(
        (whole.host.as_deref(), whole.outcome),
        (Some("web2"), Some(Failed))
    );
    assert_eq!(whole.result.as_deref(), Some(r#"{"rc":1}"#));
    assert!(results::result(&spool, run, 9).unwrap().is_none());
}

#[test]
fn runs_are_chosen_by_state_playbook_host_time_and_page() {
    let spool = spool();
    for (number, playbook, host, status) in [
        (1, "site.yml", "web1", Some(Status::Success)),
        (2, "site.yml", "web2", Some(Status::Error)),
        (3, "backup.yml", "db1", None),
        (4, "site.yml", "web1", Some(Status::Canceled)),
    ] {
        let mut story = Story::of(&format!("{number}"), playbook).result("t", host, Outcome::Ok);
        if let Some(status) = status {
            story = story.end(status);
        }
        for row in &mut story.rows {
            row.time += number * 10_000;
        }
        story.write(&spool);
    }
    let all = RunFilter::default;
    assert_eq!(ids(&spool, all()), ["4", "3", "2", "1"]);
    let of_state = |state| RunFilter {
        state: Some(state),
        ..all()
    };
    assert_eq!(ids(&spool, of_state(RunState::Ok)), ["1"]);
    assert_eq!(ids(&spool, of_state(RunState::Failed)), ["2"]);
    assert_eq!(ids(&spool, of_state(RunState::Canceled)), ["4", "3"]);
    assert!(ids(&spool, of_state(RunState::Running)).is_empty());
    for playbook in ["site.yml", "/srv/site.yml"] {
        let filter = RunFilter {
            playbook: Some(playbook.to_owned()),
            ..all()
        };
        assert_eq!(ids(&spool, filter), ["4", "2", "1"]);
    }
    assert_eq!(
        ids(
            &spool,
            RunFilter {
                host: Some("web1".into()),
                ..all()
            }
        ),
        ["4", "1"]
    );
    assert_eq!(
        ids(
            &spool,
            RunFilter {
                since: Some(30_000),
                ..all()
            }
        ),
        ["4", "3"]
    );
    let page = listed(&spool, RunFilter { most: 2, ..all() });
    let after = page.last().map(|run| run.number);
    assert_eq!(ids(&spool, RunFilter { after, ..all() }), ["2", "1"]);
    let ended = listed(&spool, of_state(RunState::Ok)).remove(0);
    assert_eq!(
        (ended.ended, ended.rescued, ended.took()),
        (Some(12_000), 1, 1000)
    );
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let spool = spool();
    for id in ["abc1", "abd2", "x", "x1"] {
        Story::of(id, "site.yml").then(What::Run).write(&spool);
    }
    let find = |id: &str| match runs::find(&spool, Path::new("/nowhere"), id).unwrap() {
        Found::One(run) => run.id,
        Found::Several(runs) => format!("{} runs", runs.len()),
        Found::None => "none".to_owned(),
    };
    for (id, found) in [
        ("abc", "abc1"),
        ("ab", "2 runs"),
        ("x", "x"),
        ("last", "x1"),
        ("%", "none"),
        ("", "none"),
    ] {
        assert_eq!(find(id), found, "{id}");
    }
}

#[test]
fn sums_of_days_survive_their_runs() {
    let spool = spool();
    for (id, status) in [
        ("1", Some(Status::Success)),
        ("2", Some(Status::Error)),
        ("3", None),
    ] {
        let mut story =
            Story::of(id, "site.yml").result(&format!("t{id}"), "web1", Outcome::Failed);
        if let Some(status) = status {
            story = story.end(status);
        }
        story.write(&spool);
    }
    let nowhere = Path::new("/nonexistent");
    let before = trends::days(&spool, nowhere, 0).unwrap();
    assert_eq!(
        (before[0].runs, before[0].failed, before[0].canceled),
        (3, 1, 1)
    );
    assert_eq!((before.len(), before[0].took), (1, 2000));
    let mut steps = 0;
    while prune::forget_some(&spool, Path::new("/nowhere"), 1500).unwrap() {
        steps += 1;
        assert!(steps < 10);
    }
    assert_eq!(ids(&spool, RunFilter::default()), ["2", "1"]);
    while forget_one(&spool, Path::new("/nowhere")).unwrap() {}
    assert_eq!(trends::days(&spool, nowhere, 0).unwrap(), before);
    for table in ["run", "host", "task", "result", "detail"] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = spool.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(count, 0, "{table}");
    }
}
