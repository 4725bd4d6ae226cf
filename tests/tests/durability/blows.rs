//! A process of this binary that is killed, or whose disk fails, at its n-th call of one kind.
//!
//! `strace` counts the calls and acts at the n-th: it kills the process on entering it, or lets the call
//! fail once.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use tests::output;

/// More calls of one kind than any victim has; reaching it means that a run never ends well.
pub(crate) const CALLS_MAX: usize = 500;

/// The number of the signal that nobody can catch.
const SIGKILL: i32 = 9;

/// What happens at the n-th call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blow {
    Kill,
    Fail(&'static str),
}

/// When a run is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    /// Before the victim starts: there is an empty folder.
    Before,
    /// After its end.
    After,
}

/// Strikes a victim at every call of one kind, in a folder of its own each time, until a run meets no n-th
/// one and ends well. Returns how many calls there were.
pub(crate) fn strike_every(
    victim: (&str, &str),
    call: &str,
    blow: Blow,
    look: &mut dyn FnMut(Moment, &Path),
) -> usize {
    for nth in 1..CALLS_MAX {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("device.db");
        look(Moment::Before, &path);
        let (output, was_met) = strike(victim, &path, call, blow, nth);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(was_met || output.status.success(), "{errors}");
        look(Moment::After, &path);
        if !was_met {
            return nth - 1;
        }
    }
    panic!("{call} was called {CALLS_MAX} times");
}

/// Runs a victim, a test of this binary that works on the file in its environment, under a blow at the
/// n-th call. Returns what became of it, and whether there was an n-th call.
pub(crate) fn strike(
    (test, variable): (&str, &str),
    path: &Path,
    call: &str,
    blow: Blow,
    nth: usize,
) -> (Output, bool) {
    let log = path.with_file_name("strace.log");
    let act = match blow {
        Blow::Kill => "signal=SIGKILL".to_owned(),
        Blow::Fail(error) => format!("error={error}"),
    };
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "--signal=none", "-o"])
        .arg(&log)
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:{act}:when={nth}"))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, path);
    let output = output(&mut strace)
        .expect("strace is installed: it is what makes disks fail (`apt-get install strace`)");
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let was_met = match blow {
        // strace dies of what its child died of.
        Blow::Kill => output.status.signal() == Some(SIGKILL),
        Blow::Fail(_) => log.contains("(INJECTED)"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("strace:"),
        "strace does not work here: {errors}"
    );
    (output, was_met)
}
