//! Typical mistakes: the line that each is found in, and what to write in its place.

mod connections;
mod places;
mod words;

use crate::sandbox::Sandbox;

/// Lines of a notifier, the number of the wrong one, and what is said of it.
type Mistake = (&'static str, usize, &'static str);

/// Checks configurations, each with one mistake that is said in one line.
#[track_caller]
fn expect(code: i32, severity: &str, mistakes: &[Mistake]) {
    for (config, line, said) in mistakes {
        let sandbox = Sandbox::with_config(config);
        let checked = sandbox.run(&["check-config"]);
        let begin = format!(
            "ansible-notify: {severity}{}:{line}: {said}",
            sandbox.path("plugin_config.ini").display()
        );
        assert!(checked.stderr.starts_with(&begin), "{begin}: {checked:?}");
        assert_eq!(
            (checked.code, checked.stderr.lines().count()),
            (code, 1),
            "{config}: {checked:?}"
        );
    }
}
