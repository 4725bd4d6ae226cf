//! What fuzzing does with bytes: the body of every target, as a function that panics if a promise breaks.
//!
//! - `input`: an input's bytes, taken piece by piece
//! - `wire`: frames and packs
//! - `scene`: one document, and changes built on it with a right checksum
//! - `gate`: any change at the gate
//! - `world`: devices and a relay, and a link that bends what it carries
//! - `link`: a relay among hostile devices, a device under a hostile relay
//! - `evidence`: a relay's database in which somebody wrote
//! - `enrolment`: anybody where a relay enrols devices; `ledger`: what may be answered there
//! - `track`: segments of tracks from anybody
//! - `seeds`: the inputs to begin with, from real runs
//!
//! `tests/fuzz` hands these to libFuzzer, `tests` replays the committed inputs through them. Not here:
//! how inputs are found.

mod enrolment;
mod evidence;
mod gate;
mod input;
mod ledger;
mod link;
mod scene;
mod seeds;
mod track;
mod wire;
mod world;

pub use seeds::seeds;

/// One target: its name, and what it does with an input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is its folder's in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Runs one input, which may be any bytes.
    ///
    /// # Panics
    ///
    /// If something that is promised does not hold.
    pub run: fn(&[u8]),
}

/// Every target there is.
pub const TARGETS: [Target; 10] = [
    Target {
        name: "frame",
        run: wire::frame,
    },
    Target {
        name: "pack",
        run: wire::pack,
    },
    Target {
        name: "count",
        run: gate::count,
    },
    Target {
        name: "gate",
        run: gate::refuse_or_admit,
    },
    Target {
        name: "merge",
        run: gate::merge,
    },
    Target {
        name: "relay",
        run: link::relay,
    },
    Target {
        name: "device",
        run: link::device,
    },
    Target {
        name: "evidence",
        run: evidence::evidence,
    },
    Target {
        name: "enrolment",
        run: enrolment::enrolment,
    },
    Target {
        name: "track",
        run: track::track,
    },
];
