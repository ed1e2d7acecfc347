//! Programs that `doctor` runs: without input, and killed if they hang.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time within which a program must answer: Python may be slow on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval between checks for its end.
const LOOK: Duration = Duration::from_millis(20);
/// Largest answer, in bytes.
const MOST: u64 = 1 << 20;

/// Runs a program, and returns its standard output and standard error.
pub fn output(command: &mut Command) -> Result<(String, String), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    let printed = printed(&mut child);
    wait(&mut child)?;
    Ok(printed.join().unwrap_or_default())
}

/// Reads its output on a thread, so that it never blocks on writing.
fn printed(child: &mut Child) -> std::thread::JoinHandle<(String, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = std::thread::spawn(move || stderr.map(text_of).unwrap_or_default());
    std::thread::spawn(move || {
        let output = stdout.map(text_of).unwrap_or_default();
        (output, errors.join().unwrap_or_default())
    })
}

fn text_of(from: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    let mut from = from;
    let _ = from.by_ref().take(MOST).read_to_end(&mut bytes);
    // The rest is discarded, but must not block it.
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for it; kills it if it takes too long.
fn wait(child: &mut Child) -> Result<(), String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if began.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not answer within {PATIENCE:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}
