//! Tracks: where an officer was, fix by fix, in segments that are never changed.
//!
//! - `track` (here): a point and what may be amiss with it
//! - `recorder`: judges fixes as they come, marks and counts what is bad, cuts segments
//! - `segment`: the bytes of a segment
//! - `line`: the shorter line for a map, and the length on the ground
//!
//! Nothing that a receiver gave is dropped or changed: a bad fix is marked, counted, and left out of lines and lengths.
//! Form and figures: `docs/tracks.md`. Not here: sending (a segment is a blob), coverage.

mod line;
mod recorder;
mod segment;

use core::fmt;

use gridbeat_base::{Position, WallTime};

pub use line::{length_m, simplified};
pub use recorder::{Limits, Quality, Recorder};
pub use segment::{POINTS_MAX, Segment, TrackError};

/// One fix as the receiver gave it, and what is known of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TrackPoint {
    /// When, by the receiver.
    pub time: WallTime,
    /// Where, to 1e-7 degree.
    pub position: Position,
    /// The radius within which the receiver believes to be, in decimetres; `None` if it does not say.
    pub accuracy_dm: Option<u16>,
    /// Its speed over ground, in cm/s; `None` if it does not say.
    pub speed_cm_s: Option<u16>,
    /// What may be amiss.
    pub marks: Marks,
}

/// What may be amiss with a fix: a set.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
pub struct Marks(u8);

impl Marks {
    /// The receiver itself was too unsure of it.
    pub const INACCURATE: Self = Self(1);
    /// Nobody gets there in that time from the last good one.
    pub const JUMP: Self = Self(2);
    /// Its time is not after the one before.
    pub const OUT_OF_ORDER: Self = Self(4);
    /// The system says that an app made it up.
    pub const MOCKED: Self = Self(8);
    /// Nothing was recorded for too long before it. The fix itself is good.
    pub const AFTER_GAP: Self = Self(16);
    /// The officer stands: what seems to be movement is the receiver's drift. The fix itself is good.
    pub const STILL: Self = Self(32);

    /// Every mark there is, with its name in data and figures.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::INACCURATE, "inaccurate"),
        (Self::JUMP, "jump"),
        (Self::OUT_OF_ORDER, "out_of_order"),
        (Self::MOCKED, "mocked"),
        (Self::AFTER_GAP, "after_gap"),
        (Self::STILL, "still"),
    ];

    const BAD: u8 = 1 | 2 | 4 | 8;

    /// Returns these marks and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all of those are among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether the fix is left out of lines and lengths.
    pub const fn is_bad(self) -> bool {
        self.0 & Self::BAD != 0
    }

    /// Returns them as bits, in the order of [`Self::ALL`] from the lowest.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns the marks of these bits; a later version may have more, which are kept.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = Self::ALL.iter().filter(|(mark, _)| self.has(*mark));
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}
