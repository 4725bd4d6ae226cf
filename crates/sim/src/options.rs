//! What one run is made of: how many devices, how long the storm, which faults.

use core::time::Duration;

/// The shape of a run. The defaults are those of the test suite.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the storm lasts, in simulated time.
    pub storm: Duration,
    /// How long the calm may take until everything is in sync: the promise of
    /// `docs/guarantees.md`.
    pub calm: Duration,
    /// How many user actions are spread over the storm.
    pub actions: u64,
    /// Which faults may happen.
    pub faults: Faults,
    /// A fault of our own that must be caught; `None` in honest runs.
    pub canary: Option<Canary>,
    /// One commit at which whoever makes it dies, beside the deaths of the storm.
    pub death: Option<Death>,
}

/// A death at one commit of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Death {
    /// Which commit, over all devices and the relay, counted from 1 once all is set up.
    pub commit: u64,
    /// What of it is on the disk afterwards. Nobody was told of it in any case.
    pub left: Left,
}

/// What a death leaves of a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// All of it.
    All,
    /// All but the last bytes of the log, which were still being written.
    Part,
}

impl Left {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::All, Self::Part];
}

impl Default for Options {
    fn default() -> Self {
        Self {
            storm: Duration::from_secs(6 * 60 * 60),
            calm: Duration::from_secs(10 * 60),
            actions: 60,
            faults: Faults::all(),
            canary: None,
            death: None,
        }
    }
}

/// Which faults may happen in the storm. How often each does is drawn per seed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Faults {
    /// Connections are cut, with everything in flight.
    pub cuts: bool,
    /// Nothing passes for a while, one way or both.
    pub partitions: bool,
    /// Frames overtake each other where the transport allows it.
    pub reordering: bool,
    /// First flights are replayed by the network, as 0-RTT data can be.
    pub replays: bool,
    /// Devices die at a commit, or between two steps.
    pub device_crashes: bool,
    /// The relay dies at a commit, or between two steps.
    pub relay_crashes: bool,
    /// The last bytes of a write-ahead log are garbage after a crash.
    pub torn_logs: bool,
    /// Files may not grow for a while.
    pub full_disks: bool,
    /// Wall clocks jump, by seconds or by years, and run too fast or too slow.
    pub clock_jumps: bool,
    /// A device comes back with an older copy of its file.
    pub device_restores: bool,
    /// The relay comes back with an older copy of its database.
    pub relay_restores: bool,
    /// A device's file is copied to another phone, and both go on.
    pub clones: bool,
    /// A device loses the right to write in a scope.
    pub downgrades: bool,
    /// A device turned: it pushes forged changes beside its honest ones.
    pub hostile: bool,
    /// A device is moved to other scopes.
    pub moves: bool,
    /// A record is handed to another scope.
    pub handovers: bool,
    /// A device is revoked, and is to hand over what it has and wipe itself.
    pub revocations: bool,
    /// A disk cannot be written for a while, a device's or the relay's.
    pub failing_disks: bool,
    /// Nobody has a link for hours or weeks.
    pub nights: bool,
    /// Some devices, or the relay, speak an older version of the protocol.
    pub old_versions: bool,
    /// An operator clears blobs away that nothing refers to, or that stand still.
    pub clearing: bool,
}

impl Faults {
    /// Every fault there is.
    pub const fn all() -> Self {
        Self {
            cuts: true,
            partitions: true,
            reordering: true,
            replays: true,
            device_crashes: true,
            relay_crashes: true,
            torn_logs: true,
            full_disks: true,
            clock_jumps: true,
            device_restores: true,
            relay_restores: true,
            clones: true,
            downgrades: true,
            hostile: true,
            moves: true,
            handovers: true,
            revocations: true,
            failing_disks: true,
            nights: true,
            old_versions: true,
            clearing: true,
        }
    }

    /// A quiet world.
    pub const fn none() -> Self {
        Self {
            cuts: false,
            partitions: false,
            reordering: false,
            replays: false,
            device_crashes: false,
            relay_crashes: false,
            torn_logs: false,
            full_disks: false,
            clock_jumps: false,
            device_restores: false,
            relay_restores: false,
            clones: false,
            downgrades: false,
            hostile: false,
            moves: false,
            handovers: false,
            revocations: false,
            failing_disks: false,
            nights: false,
            old_versions: false,
            clearing: false,
        }
    }
}

/// A bug planted outside the engine, to show that the checks can fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Canary {
    /// The relay's disk says that a commit is durable, and has forgotten it.
    LostCommit,
    /// A device's disk forgets the last thing it saved.
    LostSave,
    /// What comes down to a device says another time of receipt than the relay has.
    AlteredFeed,
}
