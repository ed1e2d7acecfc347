//! State that the processes of one `ansible-notify run` share about its run.

/// A run in the command of `ansible-notify run`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wrapped {
    /// Key that identifies the command: the same in each of its runs.
    pub key: String,
    /// True if another process reported the start of the run.
    pub is_started: bool,
}
