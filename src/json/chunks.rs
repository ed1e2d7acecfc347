//! Reads an input (a pipe, a file or a terminal) in chunks as they arrive.

use std::io::{Read, Result};

use tokio::sync::mpsc;

/// Number of bytes read at a time: all that a burst leaves in a pipe.
const PIECE: usize = 64 << 10;

/// Reads an input in chunks on its own thread, so that the event loop never blocks on it.
pub fn read<R: Read>(
    open: impl FnOnce() -> Result<R> + Send + 'static,
) -> mpsc::Receiver<Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut input = match open() {
            Ok(input) => input,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        let mut piece = vec![0; PIECE];
        loop {
            let (read, ends) = match input.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => (Ok(piece[..length].to_vec()), false),
                Err(error) => (Err(error), true),
            };
            if sender.blocking_send(read).is_err() || ends {
                break;
            }
        }
    });
    receiver
}
