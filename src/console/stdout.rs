//! The only path to standard output, for commands that print something.

use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

use crate::console::stderr;
use crate::exit::Exit;
use crate::secret;
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

/// A part of what is printed, by its appearance on a terminal.
pub enum Styled {
    Plain(String),
    /// Less important than the rest.
    Dim(String),
    Good(String),
    /// Unexpected, but nothing is lost.
    Warn(String),
    Bad(String),
}

impl Styled {
    /// Returns the text of this part.
    pub fn text(&self) -> &str {
        match self {
            Styled::Plain(text)
            | Styled::Dim(text)
            | Styled::Good(text)
            | Styled::Warn(text)
            | Styled::Bad(text) => text,
        }
    }

    /// Returns a part of the same appearance with another text.
    pub fn with(&self, text: String) -> Styled {
        match self {
            Styled::Plain(_) => Styled::Plain(text),
            Styled::Dim(_) => Styled::Dim(text),
            Styled::Good(_) => Styled::Good(text),
            Styled::Warn(_) => Styled::Warn(text),
            Styled::Bad(_) => Styled::Bad(text),
        }
    }
}

/// Prints `parts` like `show`, secrets masked; in colour on a terminal that has it, unless `NO_COLOR` is set.
pub fn show_styled(parts: &[Styled]) {
    let mut output = anstream::AutoStream::new(Vec::new(), choice());
    for part in parts {
        let style = match part {
            Styled::Plain(_) => Style::new(),
            Styled::Dim(_) => Style::new().dimmed(),
            Styled::Good(_) => AnsiColor::Green.on_default().bold(),
            Styled::Warn(_) => AnsiColor::Yellow.on_default().bold(),
            Styled::Bad(_) => AnsiColor::Red.on_default().bold(),
        };
        let text = text::visible_lines(&secret::redact(part.text()));
        // Writing to memory cannot fail.
        let _ = write!(output, "{style}{text}{style:#}");
    }
    print(output.into_inner());
}

/// Returns whether standard output gets colours.
fn choice() -> anstream::ColorChoice {
    anstream::AutoStream::choice(&std::io::stdout())
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
