//! Keys by which runs of the same playbook are recognised.

use super::Run;

impl Run {
    /// Returns a key that identifies the playbook, or all those of one command line, and the inventory; the
    /// same in each of their runs, and empty if nothing identifies them.
    pub fn playbook_key(&self) -> String {
        if self.playbooks.len() > 1 {
            return self.key_of(&self.playbooks.join(" + "));
        }
        self.own_key()
    }

    /// Returns the key that the current playbook has when run alone.
    pub fn own_key(&self) -> String {
        let playbook = self.path.as_ref().or(self.playbook.as_ref());
        let name = playbook.cloned().or_else(|| self.command());
        name.map_or_else(String::new, |name| self.key_of(&name))
    }

    /// Returns the keys of the playbooks before the current one: Ansible continued, so they succeeded.
    pub fn earlier_keys(&self) -> Vec<String> {
        let earlier = self.playbooks.iter();
        let earlier = earlier.take_while(|path| Some(*path) != self.path.as_ref());
        earlier.map(|path| self.key_of(path)).collect()
    }

    fn key_of(&self, playbook: &str) -> String {
        let mut key = playbook.to_owned();
        for inventory in &self.inventory {
            key.push_str(" @ ");
            key.push_str(inventory);
        }
        key
    }
}
