//! The one way to standard output of the commands that print something.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::console::stderr;
use crate::exit::Exit;
use crate::text;

/// Something could not be written.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints `text` as it is. A reader that has gone away, such as `head`, wants no more; any other error is
/// said once, and `exit` knows of it.
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

/// Prints `text` with everything that could steer a terminal made visible.
pub fn show(text: &str) {
    print(text::visible_lines(text));
}

/// The same for JSON.
pub fn show_json(text: &str) {
    print(text::visible_json(text));
}

/// How the program ends that did its work with `exit`: what it could not print is missing all the same.
pub fn exit(exit: Exit) -> Exit {
    if FAILED.load(Ordering::Relaxed) {
        Exit::Io
    } else {
        exit
    }
}
