//! Trends over time: failures by day, slow tasks, hosts that fail, and failed attempts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::answer::Answer;
use super::problem::{Problem, bad};
use super::routes::{Asked, Form};
use super::view;
use crate::spool::record::trends::{Day, FailingHost, SlowTask};
use crate::spool::{FailedAttempts, Trends, Unseen};
use crate::system::clock;

/// Days that are shown, and the most.
const DAYS: i64 = 30;
const MAX_DAYS: i64 = 366;
/// Rows of each table, and playbooks with a plot of their own.
const ROWS: usize = 10;
const PLOTS: usize = 8;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Size of a plot, in its own units: of a day, and of the highest bar.
const WIDTH: i64 = 10;
const HEIGHT: i64 = 40;

/// Runs of a day.
#[derive(Clone, Debug, Default, Serialize)]
struct Sum {
    /// Date in UTC.
    day: String,
    runs: i64,
    failed: i64,
    canceled: i64,
    /// Total duration, in milliseconds.
    took: i64,
}

/// Bar of a plot: the failed runs of a day.
#[derive(Serialize)]
struct Bar {
    x: i64,
    y: i64,
    height: i64,
    /// Times between which its runs began.
    since: String,
    until: String,
    #[serde(flatten)]
    sum: Sum,
}

/// Plot of a playbook, or of all.
#[derive(Serialize)]
struct Plot {
    /// Name of the runs; None for all.
    name: Option<String>,
    runs: i64,
    failed: i64,
    /// Day with the most failures.
    worst: Option<Sum>,
    width: i64,
    height: i64,
    bars: Vec<Bar>,
}

impl Plot {
    /// Draws the sums of these days, which are given by their number since 1970.
    fn of(name: Option<String>, days: &BTreeMap<i64, Sum>, (first, last): (i64, i64)) -> Plot {
        let most = days.values().map(|sum| sum.failed).max().unwrap_or(0);
        let bar = |(day, sum): (&i64, &Sum)| {
            let height = (sum.failed * HEIGHT + most - 1)
                .checked_div(most)
                .unwrap_or(0);
            Bar {
                x: (day - first) * WIDTH,
                y: HEIGHT - height,
                height,
                since: view::time(day * DAY),
                until: view::time((day + 1) * DAY),
                sum: sum.clone(),
            }
        };
        let worst = days.values().max_by_key(|sum| sum.failed);
        Plot {
            name,
            runs: days.values().map(|sum| sum.runs).sum(),
            failed: days.values().map(|sum| sum.failed).sum(),
            worst: worst.filter(|sum| sum.failed > 0).cloned(),
            width: (last - first + 1) * WIDTH,
            height: HEIGHT,
            bars: days.iter().map(bar).collect(),
        }
    }
}

/// Adds up days by name, and all of them for the name None.
fn plots(days: &[Day], span: (i64, i64)) -> Vec<Plot> {
    let mut names: BTreeMap<Option<&str>, BTreeMap<i64, Sum>> = BTreeMap::new();
    for day in days {
        for name in [None, Some(day.name.as_str())] {
            let number = day.start.div_euclid(DAY);
            let sum = names.entry(name).or_default().entry(number).or_default();
            sum.day = date(day.start);
            sum.runs += day.runs;
            sum.failed += day.failed;
            sum.canceled += day.canceled;
            sum.took += day.took;
        }
    }
    let plots = names.into_iter();
    let mut plots: Vec<Plot> = plots
        .map(|(name, days)| Plot::of(name.map(str::to_owned), &days, span))
        .collect();
    plots.sort_by_key(|plot| (plot.name.is_some(), -plot.failed));
    plots.retain(|plot| plot.name.is_none() || plot.failed > 0);
    plots.truncate(PLOTS + 1);
    plots
}

fn date(milliseconds: i64) -> String {
    view::time(milliseconds)[..10].to_owned()
}

/// A day of a playbook, for programs.
#[derive(Serialize)]
struct DayOf<'a> {
    playbook: &'a str,
    #[serde(flatten)]
    sum: Sum,
}

impl<'a> From<&'a Day> for DayOf<'a> {
    fn from(day: &'a Day) -> DayOf<'a> {
        DayOf {
            playbook: &day.name,
            sum: Sum {
                day: date(day.start),
                runs: day.runs,
                failed: day.failed,
                canceled: day.canceled,
                took: day.took,
            },
        }
    }
}

impl Asked<'_> {
    /// Shows what changed in the last days.
    pub(super) async fn trends(&self, query: Option<&str>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Page {
            days: i64,
            since: String,
            plots: Vec<Plot>,
            tasks: Vec<SlowTask>,
            hosts: Vec<FailingHost>,
            notifiers: Vec<FailedAttempts>,
        }
        #[derive(Serialize)]
        struct Api<'a> {
            days: Vec<DayOf<'a>>,
            tasks: &'a [SlowTask],
            hosts: &'a [FailingHost],
            notifiers: &'a [FailedAttempts],
        }
        let days = days(query).map_err(bad)?;
        let now = clock::now();
        let today = now.as_millisecond().div_euclid(DAY);
        let first = today - days + 1;
        let found = self.trends_since(first * DAY, now).await?;
        let path = format!("trends?days={days}");
        if self.form == Form::Api {
            let data = Api {
                days: found.days.iter().map(DayOf::from).collect(),
                tasks: &found.tasks,
                hosts: &found.hosts,
                notifiers: &found.notifiers,
            };
            return Ok(self.reply("", &path, data));
        }
        let data = Page {
            days,
            since: date(first * DAY),
            plots: plots(&found.days, (first, today)),
            tasks: found.tasks,
            hosts: found.hosts,
            notifiers: found.notifiers,
        };
        Ok(self.reply("trends", &path, data))
    }

    async fn trends_since(&self, since: i64, now: Timestamp) -> Result<Trends, Problem> {
        let now = now.as_millisecond();
        match self.viewer.trends(since, now, ROWS).await {
            Err(Unseen::Missing(_)) => Ok(Trends::default()),
            found => Ok(found?),
        }
    }
}

/// Reads the number of days from a query.
fn days(query: Option<&str>) -> Result<i64, String> {
    let mut days = None;
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "days" {
            return Err(format!("unknown parameter `{name}`"));
        }
        let number = value.parse().ok();
        let number = number.filter(|days| (1..=MAX_DAYS).contains(days));
        let number =
            number.ok_or_else(|| format!("`days` must be from 1 to {MAX_DAYS}, not `{value}`"))?;
        if days.replace(number).is_some() {
            return Err("`days` is given twice".to_owned());
        }
    }
    Ok(days.unwrap_or(DAYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_day_with_runs() {
        let day = |number: i64, name: &str, runs, failed| Day {
            start: number * DAY,
            name: name.to_owned(),
            runs,
            failed,
            canceled: 0,
            took: 1000,
        };
        let found = [
            day(100, "site.yml", 4, 1),
            day(101, "site.yml", 3, 3),
            day(101, "well.yml", 5, 0),
        ];
        let plots = plots(&found, (100, 102));
        let names: Vec<_> = plots.iter().map(|plot| plot.name.as_deref()).collect();
        assert_eq!(
            names,
            [None, Some("site.yml")],
            "nothing failed in the other"
        );
        let all = &plots[0];
        assert_eq!((all.runs, all.failed, all.width), (12, 4, 30));
        let worst = all.worst.as_ref().unwrap();
        assert_eq!((worst.day.as_str(), worst.runs), ("1970-04-12", 8));
        let heights: Vec<i64> = all.bars.iter().map(|bar| bar.height).collect();
        assert_eq!(heights, [14, 40]);
    }

    #[test]
    fn days_have_a_limit() {
        assert_eq!(days(None), Ok(30));
        assert_eq!(days(Some("days=7")), Ok(7));
        for wrong in ["days=0", "days=367", "days=x", "days=1&days=1", "week=1"] {
            assert!(days(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
