//! A device's process that is killed, or whose disk fails, at every single call that writes.
//!
//! n goes up until a run meets no n-th call. How a blow is dealt is in `blows`.

use tempfile::TempDir;

use super::blows::{Blow, CALLS_MAX, strike};
use super::victim::{FILE, TEST, Told, check};

/// The calls by which SQLite and we make things durable, or move and cut files.
const DURABLE: &[&str] = &["fsync", "fdatasync", "rename", "ftruncate"];

/// One run that met its n-th call.
struct Run {
    told: Told,
    nth: usize,
}

/// Runs the victim once for each `step`-th call of a kind, checks its file after each run, and hands
/// each run to `look`. Returns how many runs there were.
fn every(call: &str, blow: Blow, step: usize, look: &mut dyn FnMut(&Run)) -> usize {
    for (runs, nth) in (1..CALLS_MAX).step_by(step).enumerate() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("device.db");
        let (output, was_met) = strike((TEST, FILE), &path, call, blow, nth);
        let told = Told::read(&String::from_utf8_lossy(&output.stdout));
        let what = format!("{blow:?} at {call} {nth}: {told:?}");
        if matches!(blow, Blow::Kill) && was_met {
            assert!(!told.is_done, "{what}");
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(told.is_done && output.status.success(), "{what}\n{errors}");
        }
        check(&path, &told);
        if !was_met {
            assert!(told.failed.is_empty(), "{what}");
            assert_eq!(told.saved.len(), 5, "{what}");
            return runs;
        }
        look(&Run { told, nth });
    }
    panic!("{call} was called {CALLS_MAX} times");
}

#[test]
fn a_process_killed_at_any_call_that_makes_durable_has_lost_nothing_it_called_saved() {
    let mut last = 0;
    let runs: usize = DURABLE
        .iter()
        .map(|call| {
            every(call, Blow::Kill, 1, &mut |run| {
                last = last.max(run.told.saved.len());
            })
        })
        .sum();
    assert!(runs >= 10, "only {runs} places to be killed at");
    assert_eq!(last, 5, "nobody was killed at the end");
}

#[test]
fn a_process_killed_between_any_two_writes_leaves_nothing_half() {
    // Each write of a transaction is much like the next: every third, for the time it takes.
    let runs = every("pwrite64", Blow::Kill, 3, &mut |_| {});
    assert!(runs >= 10, "only {runs} places to be killed at");
}

#[test]
fn a_disk_that_fails_to_flush_once_is_told_and_nothing_called_saved_is_lost() {
    for error in ["EIO", "ENOSPC"] {
        let mut reported = 0;
        for call in ["fsync", "fdatasync"] {
            every(call, Blow::Fail(error), 1, &mut |run| {
                reported += run.told.failed.len();
                let known = ["FixSetup", "FreeSpace"];
                let failed = &run.told.failed;
                assert!(
                    failed.iter().all(|remedy| known.contains(&remedy.as_str())),
                    "{failed:?}"
                );
                assert_eq!(run.told.saved.len(), 5, "at {call} {}", run.nth);
            });
        }
        assert!(reported >= 5, "{error}: {reported} failures were told");
    }
}

#[test]
fn a_write_that_finds_no_space_is_told_and_the_same_device_goes_on() {
    let mut full = 0;
    every("pwrite64", Blow::Fail("ENOSPC"), 3, &mut |run| {
        let failed = &run.told.failed;
        full += failed
            .iter()
            .filter(|remedy| *remedy == "FreeSpace")
            .count();
        assert_eq!(run.told.saved.len(), 5, "at write {}", run.nth);
    });
    assert!(full >= 5, "{full} failures were told");
}
