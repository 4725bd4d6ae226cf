//! Programs killed at any moment, under load: nothing that was called saved or acknowledged is missing, as a
//! reader sees who knows only SQL.

use std::io::Write as _;

use tests::kills::{Blow, Figures, fill, run, strike};

#[test]
fn killed_at_any_moment_no_side_has_lost_what_it_called_saved_or_acknowledged() {
    let figures = run(tests::gridbeat(), 8, 8, 1).unwrap();
    let Figures {
        saved,
        acknowledged,
        ..
    } = figures;
    let expected = Figures {
        relay_kills: 8,
        device_kills: 8,
        lost_saved: 0,
        lost_acknowledged: 0,
        ..figures
    };
    assert_eq!(figures, expected);
    assert!(saved > 50 && acknowledged >= saved, "{figures:?}");
}

/// `cargo run -p tests --bin kills -- calls` does this for every call.
#[test]
fn a_relay_killed_or_failing_as_it_makes_durable_has_lost_nothing_it_acknowledged() {
    for (blow, step, times) in [
        (Blow::Kill, 4, 3),
        (Blow::Fail("EIO"), 7, 2),
        (Blow::Fail("ENOSPC"), 7, 1),
    ] {
        let figures = strike(tests::gridbeat(), "fsync", blow, step, times).unwrap();
        let lost = (
            figures.history.lost_saved,
            figures.history.lost_acknowledged,
        );
        assert_eq!(lost, (0, 0), "{blow:?}: {figures:?}");
        assert_eq!(figures.met, times, "{blow:?}: {figures:?}");
    }
}

/// `cargo run -p tests --bin kills -- full` does this 50 times.
#[test]
fn a_disk_that_fills_again_and_again_costs_nothing_and_nobody_has_to_start_again() {
    let Some(figures) = fill(tests::gridbeat(), 4, 1).unwrap() else {
        let _ = writeln!(std::io::stderr(), "skipped: no disk may be mounted here");
        return;
    };
    let lost = (
        figures.history.lost_saved,
        figures.history.lost_acknowledged,
    );
    assert_eq!(lost, (0, 0), "{figures:?}");
    assert!(figures.history.saved > 0, "nothing was saved: {figures:?}");
}
