//! Times and sizes with units, as users write them.

use std::time::Duration;

/// Longest allowed time, in seconds.
pub const LONGEST: u64 = 366 * 86400;

/// Parses a time such as `500ms`, `1.5s`, `30`, `5m`, `72h`, `14d`, at most a year.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let number: f64 = text[..split].trim().parse().ok()?;
    let unit = match &text[split..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    let seconds = number * unit;
    (0.0..=LONGEST as f64)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// Parses a size such as `4096`, `512KiB`, `64MiB` or `1GiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text
        .find(|character: char| character.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let number: u64 = text[..split].trim().parse().ok()?;
    let unit = match &text[split..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Returns a time as users write it.
pub fn duration(time: Duration) -> String {
    let milliseconds = time.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let exact = units
        .iter()
        .find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    match exact {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Returns a size as users write it.
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = units
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.trailing_zeros() >= *unit);
    match exact {
        Some((unit, name)) => format!("{}{name}", bytes >> unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("30", 30_000),
            ("1.5 s", 1500),
            ("2m", 120_000),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "x", "-1s", "5 parsecs", "1e99d", "NaN"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("4096", 4096), ("64MiB", 64 << 20), ("1 GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "1TB", "-1", "99999999999999GiB", "1.5MiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
