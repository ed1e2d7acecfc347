//! Mistakes in the keys, and what the commands explain.

use super::{CHAT, NIGHT, World};
use crate::sandbox::Sandbox;

#[test]
fn mistakes_are_reported_with_their_place() {
    for (keys, text) in [
        (
            "after = 0",
            "3: `after` must be a whole number from 1 to 1000, not `0`",
        ),
        (
            "repeat = often",
            "3: `repeat` must be a duration such as 500ms, 30s, 5m or 72h, not `often`",
        ),
        (
            "digest = daily",
            "3: `digest` must be a time such as `1h`, `1d at 08:00`",
        ),
        (
            "digest = 1d at 08:00 Europe/Berln",
            "3: `digest`: `Europe/Berln` is not a time zone",
        ),
        (
            "mute = Satt",
            "3: `mute`: `Satt` is not a day, time, date or time zone; write windows such as",
        ),
        (
            "mute = 22:00",
            "3: `mute`: `22:00` is not a time of day; write a start and an end",
        ),
        (
            "mute = 08:00-08:00",
            "3: `mute`: `08:00-08:00` starts and ends at the same time",
        ),
        (
            "mute = Europe/Berlin",
            "3: `mute`: `Europe/Berlin` is not a window",
        ),
        (
            "mute = Mon Tue",
            "3: `mute`: `Mon Tue` has two parts of the same kind",
        ),
        ("mute = 2026-02-30", "3: `mute`: `2026-02-30` is not a date"),
        ("mute = Mon-Sun", "3: `mute`: its windows cover all times"),
        (
            "mute = time:nite",
            "3: `mute`: section [time:nite] does not exist; did you mean `time:night`?",
        ),
        (
            "mute_start = soon",
            "3: `mute_start` must be a time such as",
        ),
        (
            "mute_start = 2026-12-01 08:00",
            "3: `mute_start` requires `mute_until`",
        ),
        (
            "mute_start = 2026-12-02 08:00\nmute_until = 2026-12-01 08:00",
            "4: `mute_until` must be later than `mute_start`",
        ),
        ("muted = drop", "3: `muted` requires `mute`"),
        ("mute = time:bad", "`mute`: [time:bad] has a mistake"),
    ] {
        let config = format!(
            "[notifier:ops]\ntype = webhook\n{keys}\nurl = http://127.0.0.1:1/\n[time:night]\ntimes = 22:00-06:00\n[time:bad]\ntimes = late\n"
        );
        let outcome = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{keys}");
        assert!(outcome.stderr.contains(text), "{keys}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(":8: `late` is not a time of day")
                || outcome.stderr.contains(":9: `late` is not a time of day"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn check_config_and_routes_explain_what_would_happen_now() {
    let world = World::new(&format!("{CHAT}after = 3\nrepeat = 4h\n{NIGHT}"), "");
    world.at("2026-11-28T12:00:00Z");
    let checked = world.run(&["check-config"]).stdout;
    for line in [
        "  failures are sent only after 3 in a row (`after`)\n",
        "  the same failure is not sent again for 4h (`repeat`)\n",
        "  muted until Mon 2026-11-30 05:00 UTC; events are kept\n",
    ] {
        assert!(checked.contains(line), "{checked}");
    }
    world.at("2026-11-30T12:00:00Z");
    world
        .sandbox
        .file("event", r#"{"event": "runner_on_failed"}"#);
    let routes = world.run(&["routes", "event"]).stdout;
    assert!(
        routes.contains("matches its trigger `failed`; failures are sent only after 3"),
        "{routes}"
    );
    let next = "; not muted now; next from Mon 2026-11-30 21:00 UTC until Tue 2026-12-01 05:00 UTC, when events are kept";
    assert!(routes.contains(next), "{routes}");
    let checked = world.run(&["check-config"]).stdout;
    assert!(checked.contains(&next[2..]), "{checked}");
}

#[test]
fn a_time_without_a_unit_is_a_warning() {
    for (keys, time) in [
        (
            "repeat = 4",
            Some("`repeat`: 4 means 4 seconds; write `4s`, or the unit that you mean"),
        ),
        ("digest = 3600", Some("`digest`: 3600 means 3600 seconds")),
        (
            "on = error, missing\nexpect = site.yml every 24 within 1h",
            Some("`expect`: 24 means 24 seconds"),
        ),
        (
            "on = error, overdue\noverdue_after = 90",
            Some("`overdue_after`: 90 means 90 seconds"),
        ),
        ("repeat = 4h\ntimeout = 1.5s\ndigest = 1d at 08:00", None),
        (
            "repeat = 0\ntimeout = 30\ngroup_wait = 2\ngroup_by = run",
            None,
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\nurl = http://localhost/\n{keys}\n"
        ));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{keys}: {checked:?}");
        match time {
            Some(warning) => assert!(checked.stderr.contains(warning), "{keys}: {checked:?}"),
            None => assert_eq!(checked.stderr, "", "{keys}"),
        }
    }
}
