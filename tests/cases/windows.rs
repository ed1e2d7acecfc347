//! Windows in which nothing is sent: past and future ones, and misplaced parts.

use super::timing::{CHAT, World};
use crate::sandbox::Sandbox;

#[test]
fn windows_in_the_past_are_a_warning() {
    for (keys, rest, warnings) in [
        (
            "mute_until = 2026-11-28 11:00",
            "",
            &[":5: `mute_until` has passed (Sat 2026-11-28 11:00 UTC), so it mutes nothing"][..],
        ),
        (
            "mute_start = 2026-11-01 08:00\nmute_until = 2026-11-28T11:59:59Z",
            "",
            &[":6: `mute_until` has passed (Sat 2026-11-28 11:59:59 UTC)"],
        ),
        ("mute_until = 2026-11-28 12:01", "", &[]),
        (
            "mute = 2026-11-27, 22:00-06:00 UTC",
            "",
            &[":5: `mute`: `2026-11-27` has passed, so it mutes nothing"],
        ),
        (
            "mute = 2025-12-24..2025-12-26, 2026-11-28 08:00-12:00, 12-24..01-02, 2026-11-28",
            "",
            &[
                ":5: `mute`: `2025-12-24..2025-12-26`, `2026-11-28 08:00-12:00` have passed, so they mute nothing",
            ],
        ),
        // A time of day that started yesterday may still apply; a leap day on a Monday comes in 2044.
        ("mute = 2026-11-27 22:00-13:00 UTC, Mon 02-29", "", &[]),
        // In Auckland, the day has ended.
        (
            "mute = 2026-11-28 Pacific/Auckland",
            "",
            &[":5: `mute`: `2026-11-28 Pacific/Auckland` has passed"],
        ),
        (
            "mute = time:moves",
            "[time:moves]\ndates = 2026-11-27, 2026-12-01, 2026-11-26\ntimes = 08:00-18:00\nzone = UTC",
            &[":7: `dates`: `2026-11-27`, `2026-11-26` have passed"],
        ),
        (
            "mute = time:move",
            "[time:move]\nmute_start = 2026-11-27 08:00\nmute_until = 2026-11-28 08:00\nzone = UTC",
            &[":8: `mute_until` has passed (Sat 2026-11-28 08:00 UTC)"],
        ),
    ] {
        let world = World::new(&format!("{CHAT}{keys}"), rest);
        world.at("2026-11-28T12:00:00Z");
        let checked = world.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{keys}: {}", checked.stderr);
        let found = checked.stderr.lines().count();
        assert_eq!(found, warnings.len(), "{keys}: {}", checked.stderr);
        for warning in warnings {
            assert!(
                checked.stderr.contains(warning) && checked.stderr.contains("warning: "),
                "{keys}: {}",
                checked.stderr
            );
        }
    }
}

#[test]
fn the_next_window_is_named() {
    for (mute, line) in [
        (
            "22:00-06:00 Europe/Berlin",
            "not muted now; next from Sat 2026-11-28 21:00 UTC until Sun 2026-11-29 05:00 UTC, when events are kept",
        ),
        // Overlapping and adjacent windows are merged.
        (
            "Sun UTC, 22:00-00:00 UTC, Mon UTC",
            "not muted now; next from Sat 2026-11-28 22:00 UTC until Tue 2026-12-01 00:00 UTC",
        ),
        (
            "02-29 UTC",
            "not muted now; next from Tue 2028-02-29 00:00 UTC until Wed 2028-03-01 00:00 UTC",
        ),
        ("2020-01-01 UTC", "not muted: all its windows have passed"),
        (
            "10:00-14:00 UTC",
            "muted until Sat 2026-11-28 14:00 UTC; events are kept",
        ),
    ] {
        let world = World::new(&format!("{CHAT}mute = {mute}"), "");
        world.at("2026-11-28T12:00:00Z");
        let checked = world.run(&["check-config"]).stdout;
        assert!(checked.contains(&format!("  {line}")), "{mute}: {checked}");
    }
    let world = World::new(
        &format!(
            "{CHAT}mute_start = 2026-12-24 18:00\nmute_until = 2027-01-02 08:00\nmuted = drop\ndigest = 1h"
        ),
        "",
    );
    world.at("2026-11-28T12:00:00Z");
    world
        .sandbox
        .file("event", r#"{"event": "runner_on_failed"}"#);
    let routes = world.run(&["routes", "event"]).stdout;
    let rules = "not muted now; next from Thu 2026-12-24 18:00 UTC until Sat 2027-01-02 08:00 UTC, when events are dropped; \
        events are sent together every 1h, next at Sat 2026-11-28 13:00 UTC";
    assert!(routes.contains(rules), "{routes}");
}

#[test]
fn a_part_of_a_named_window_in_the_wrong_key_is_redirected() {
    for (key, text) in [
        (
            "times = 22:00-06:00 UTC",
            "`22:00-06:00 UTC` does not fit `times`; use `zone = UTC` for that part",
        ),
        (
            "days = Sat 22:00 - 06:00",
            "`Sat 22:00 - 06:00` does not fit `days`; use `times = 22:00-06:00` for that part",
        ),
        (
            "dates = Mon 2026-12-24 Europe/Berlin",
            "`Mon 2026-12-24 Europe/Berlin` does not fit `dates`; use `days = Mon` and `zone = Europe/Berlin` for that part",
        ),
        (
            "times = 22:00",
            "`22:00` is not a time of day; write a start and an end",
        ),
        (
            "days = Sat Sunn",
            "`Sat Sunn` is not a day; write days such as",
        ),
    ] {
        let config = format!(
            "[notifier:ops]\ntype = webhook\nmute = time:own\nurl = http://127.0.0.1:1/\n[time:own]\n{key}\n"
        );
        let checked = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(checked.code, 78, "{key}");
        let line = format!(":6: {text}");
        assert!(checked.stderr.contains(&line), "{key}: {}", checked.stderr);
    }
}
