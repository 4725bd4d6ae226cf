//! The seeded world: the very cores that ship, on real SQLite files, in a storm and then a calm.
//!
//! - `options`: the shape of a run, and which faults may happen
//! - `world`: events in order of time; `devices` and `relay`: the two sides of it
//! - `network`, `files`: links and disks, good and bad
//! - `storm`: what people do and what goes wrong
//! - `photos`: photos that are taken, sent and opened
//! - `hostile`, `forge`: a device that turned, and the changes it forges
//! - `again`: what was said once is said again, and changes nothing
//! - `steps`, `checks`: what must hold at every step, and afterwards
//! - `versions`: programs that speak an older version of the protocol
//! - `leave`: devices that are moved or revoked, records that are handed over
//!
//! One seed is one run, the same on every machine: [`run`] twice gives the same trace. Replay a
//! seed with `gridbeat sim --first SEED --seeds 1 --trace`. Not here: quinn and TLS, which have
//! end-to-end tests of their own, and a hostile relay, which is fuzzed.

mod actions;
mod again;
mod checks;
mod devices;
mod files;
mod forge;
mod hostile;
mod leave;
mod network;
mod node;
mod options;
mod photos;
mod positions;
mod relay;
mod steps;
mod storm;
mod trace;
mod versions;
mod world;

pub use options::{Canary, Death, Faults, Left, Options};
pub use world::Tally;

use core::time::Duration;
use std::path::PathBuf;

use gridbeat_base::Random;

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// A number over everything that happened: the same for the same seed and program.
    pub trace: u64,
    /// What was promised and did not hold; empty in a good run.
    pub violations: Vec<String>,
    /// What happened, in numbers.
    pub tally: Tally,
    /// How much time passed in the simulated city, over all runs of the seed.
    pub simulated: Duration,
    /// How many commits devices and the relay made, or died at, after all was set up.
    pub commits: u64,
    /// The lines of the trace, if they were asked for.
    pub lines: Vec<String>,
}

/// Runs one seed: a storm, then a calm, then every check.
///
/// # Panics
///
/// If the temporary folder cannot be written: the simulator needs real files.
pub fn run(seed: u64, options: &Options, keep_trace: bool) -> Outcome {
    let folder = tempfile::Builder::new()
        .prefix("gridbeat-sim-")
        .tempdir_in(memory_folder())
        .expect("the simulator needs a temporary folder");
    let mut options = options.clone();
    storm::swarm(&mut Random::from_number(!seed), &mut options);
    let (storm, calm) = (options.storm, options.calm);
    let mut world = world::World::new(seed, options, folder.path(), keep_trace);
    world.set_up(folder.path());
    world.run_until(storm);
    world.calm();
    world.run_until(storm + calm);
    // What comes now is checking: nobody is there who would start again whoever dies of it.
    let commits = world.doom.commits();
    world.doom.arm(None);
    world.say_again();
    world.run_until(storm + calm + again::ANSWERS);
    world.check_again();
    world.check();
    Outcome {
        seed,
        trace: world.trace.number(),
        violations: world.violations,
        tally: world.tally,
        simulated: storm + calm + world.nights,
        commits,
        lines: world.trace.into_lines(),
    }
}

/// Of how many seeds in a row [`run_seed`] runs one twice.
pub const TWICE_EVERY: u64 = 10;

/// Runs one seed; every [`TWICE_EVERY`]th twice, to see whether it goes the same way.
pub fn run_seed(seed: u64, options: &Options) -> Outcome {
    if seed.is_multiple_of(TWICE_EVERY) {
        run_twice(seed, options)
    } else {
        run(seed, options, false)
    }
}

/// Runs one seed twice and adds a violation if it did not go the same way.
pub fn run_twice(seed: u64, options: &Options) -> Outcome {
    let mut outcome = run(seed, options, false);
    let again = run(seed, options, false);
    outcome.simulated += again.simulated;
    if outcome.trace != again.trace {
        outcome.violations.push(format!(
            "seed {seed} went two ways: something in it is not seeded"
        ));
    }
    outcome
}

/// Returns how many commits devices and the relay make in the script of one seed, without any fault: at
/// each of them whoever makes it may die, see [`run_dying`].
pub fn commits(seed: u64) -> u64 {
    run(seed, &quiet(None), false).commits
}

/// Runs the script of one seed with one death and no other fault.
pub fn run_dying(seed: u64, death: Death) -> Outcome {
    run(seed, &quiet(Some(death)), false)
}

/// How long the script of [`run_dying`] takes, in simulated time: its actions are the same as in a storm, and what the
/// relay does when nobody calls is left out.
const SCRIPT: Duration = Duration::from_hours(1);

fn quiet(death: Option<Death>) -> Options {
    Options {
        storm: SCRIPT,
        faults: Faults::none(),
        death,
        ..Options::default()
    }
}

/// Files in memory where there are any: the simulator tests order and atomicity, not the disk.
fn memory_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}
