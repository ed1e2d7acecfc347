//! Secrets of tests hold the word `canary`: a search for it finds any that got out.

use super::{Outcome, Sandbox};

impl Sandbox {
    /// Runs what shows a configuration and delivers `event.json`: no secret is printed or stored.
    #[track_caller]
    pub fn expect_no_canary(&self) {
        for arguments in [
            &["check-config"][..],
            &["check-config", "--connect"],
            &["send", "event.json", "--dry-run"],
            &["send", "event.json"],
            &["test"],
            &["history", "--json"],
        ] {
            let printed = self.run_on_spool(arguments).printed();
            assert!(!printed.is_empty(), "{arguments:?}");
            assert!(!printed.contains("canary"), "{arguments:?}: {printed}");
        }
        self.expect_no_canary_stored();
    }

    /// No spool in this directory holds a secret, nor its Base64.
    #[track_caller]
    pub fn expect_no_canary_stored(&self) {
        let entries = std::fs::read_dir(self.root()).unwrap();
        let states = entries.map(|entry| entry.unwrap().path().join("ansible-notify"));
        let mut spools = 0;
        for folder in states.filter(|folder| folder.is_dir()) {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let bytes = std::fs::read(&path).unwrap();
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains("canary"), "{}", path.display());
                assert!(!text.contains("Y2FuYXJ5"), "{}", path.display());
                spools += usize::from(path.ends_with("spool.db") && !bytes.is_empty());
            }
        }
        assert!(spools > 0, "no spool in {}", self.root().display());
    }
}

impl Outcome {
    /// Everything that it printed.
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
