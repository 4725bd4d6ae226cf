//! The simulator's own promises: good seeds are green, the same seed goes the same way, and a
//! planted bug is caught. `gridbeat sim` runs many more seeds.

use gridbeat_sim::{Canary, Death, Faults, Left, Options, commits, run, run_dying, run_twice};

#[test]
fn a_quiet_world_syncs_everything_it_saves() {
    let options = Options {
        faults: Faults::none(),
        ..Options::default()
    };
    let outcome = run(1, &options, false);
    assert_eq!(outcome.violations, [] as [String; 0]);
    let tally = outcome.tally;
    assert!(tally.saved > 20, "{tally:?}");
    assert!(tally.acknowledged >= tally.saved, "{tally:?}");
    assert_eq!((tally.device_crashes, tally.relay_crashes), (0, 0));
}

#[test]
fn every_promise_holds_after_any_storm_and_each_seed_goes_one_way() {
    let mut snapshot_frames = 0;
    for seed in 0..16 {
        let outcome = run_twice(seed, &Options::default());
        snapshot_frames += outcome.tally.snapshot_frames;
        assert_eq!(
            outcome.violations,
            [] as [String; 0],
            "replay: gridbeat sim --first {seed} --seeds 1 --trace"
        );
    }
    assert!(snapshot_frames > 20, "{snapshot_frames}");
}

/// `gridbeat sim --exhaustive` does this for every commit.
#[test]
fn whoever_dies_at_a_commit_has_lost_nothing_whatever_is_left_of_it() {
    let commits = commits(1);
    assert!(commits > 100, "{commits}");
    for commit in (1..=commits).step_by(23) {
        for left in Left::ALL {
            let death = Death { commit, left };
            let outcome = run_dying(1, death);
            assert_eq!(outcome.violations, [] as [String; 0], "{death:?}");
            let tally = outcome.tally;
            let deaths = tally.device_crashes + tally.relay_crashes;
            assert_eq!(deaths, 1, "{death:?}");
        }
    }
}

/// Counts the seeds in which a planted bug is noticed.
fn caught(canary: Canary) -> usize {
    let options = Options {
        canary: Some(canary),
        ..Options::default()
    };
    (0..6)
        .filter(|seed| !run(*seed, &options, false).violations.is_empty())
        .count()
}

#[test]
fn a_disk_that_lies_about_a_commit_is_caught() {
    assert!(caught(Canary::LostCommit) > 0);
}

#[test]
fn a_phone_that_forgets_what_it_saved_is_caught() {
    assert!(caught(Canary::LostSave) > 0);
}

#[test]
fn a_time_of_receipt_altered_on_the_way_is_caught() {
    assert!(caught(Canary::AlteredFeed) > 0);
}
