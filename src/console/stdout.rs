//! The only path to standard output, for commands that print something.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::console::stderr;
use crate::exit::Exit;
use crate::text;

/// True once something could not be written.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints `text` as is. A reader that is gone, such as `head`, wants no more; any other error is reported
/// once and changes the result of `exit`.
pub fn print(text: impl AsRef<[u8]>) {
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(text.as_ref())
        .and_then(|()| output.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        stderr::say(format!("cannot write to standard output: {error}"));
    }
}

/// Prints `text`, making visible everything that could control a terminal.
pub fn show(text: &str) {
    print(text::visible_lines(text));
}

/// Prints JSON, making visible everything that could control a terminal.
pub fn show_json(text: &str) {
    print(text::visible_json(text));
}

/// Returns how a program ends that was to end with `exit`: an I/O error if something could not be printed.
pub fn exit(exit: Exit) -> Exit {
    if FAILED.load(Ordering::Relaxed) {
        Exit::Io
    } else {
        exit
    }
}
