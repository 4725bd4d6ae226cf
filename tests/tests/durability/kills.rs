//! Programs killed at any moment, under load: nothing that was called saved or acknowledged is missing, as a
//! reader sees who knows only SQL.

use tests::kills::{Figures, run};

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
