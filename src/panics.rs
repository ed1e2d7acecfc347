//! Panics: a bug in the program or a library affects only the piece of work in which it shows. Anywhere
//! else it ends the process, with one line, because the state it left behind is unknown.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use crate::console::stderr;
use crate::exit::Exit;

thread_local! {
    /// Number of `caught` calls this thread is in.
    static CAUGHT: Cell<usize> = const { Cell::new(0) };
}

/// Guard for the time inside a call of `caught`.
struct Caught;

impl Caught {
    fn enter() -> Caught {
        CAUGHT.set(CAUGHT.get() + 1);
        Caught
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        CAUGHT.set(CAUGHT.get() - 1);
    }
}

/// Replaces Rust's own message, which shows source paths of the build machine.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        if CAUGHT.get() == 0 {
            stderr::say(format!("{}; exiting", reason(panic.payload())));
            std::process::exit(Exit::Unexpected as i32);
        }
    }));
}

/// Returns the result of `work`, or an error if it panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _caught = Caught::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| reason(&*payload))
}

/// Same as `caught`, for a future.
pub async fn caught_async<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match caught(|| work.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Err(reason) => Poll::Ready(Err(reason)),
    })
    .await
}

/// Returns the kind of a panic. Text after a colon or in quotes may come from the data being processed.
fn reason(payload: &(dyn Any + Send)) -> String {
    let literal = payload.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or_default();
    let kind = text.split([':', '`', '"', '\n']).next().unwrap_or_default();
    let kind = if kind.trim().is_empty() {
        "unknown"
    } else {
        kind.trim()
    };
    format!("internal error ({kind})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_holds_nothing_of_the_data() {
        let empty: &[u8] = &[];
        let index = empty.len();
        let reason = caught(|| empty[index]).unwrap_err();
        assert_eq!(reason, "internal error (index out of bounds)");
        let reason = caught(|| panic!("`secret` is no number")).unwrap_err();
        assert_eq!(reason, "internal error (unknown)");
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(CAUGHT.get(), 0);
    }
}
