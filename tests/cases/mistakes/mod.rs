//! Typical mistakes: the reported line, and the advice.

mod connections;
mod places;
mod words;

use crate::sandbox::Sandbox;

/// Lines of a notifier, the number of the wrong one, and the message about it.
type Mistake = (&'static str, usize, &'static str);

/// Checks configurations, each with one mistake that is reported in one line.
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
