//! Wall time for people, monotonic time for waiting, and the hybrid logical clock for order.
//!
//! Nothing here reads a clock: every entry point that needs the time takes a [`Now`]. Order comes
//! from [`Hlc`] alone; wall time is shown to people and never decides anything.

use core::fmt;
use core::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How far ahead of this device's wall clock a stamp from elsewhere may push its own clock.
///
/// One minute is more than the error of any phone that met a network this year, and little enough
/// that one runaway clock cannot carry the others along (`threats`, 4.4).
pub const HLC_AHEAD_MAX: Duration = Duration::from_secs(60);

/// A moment as people name it: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    Hash,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct WallTime(#[n(0)] pub i64);

impl WallTime {
    /// Returns this moment in milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the moment `later` after this one, or the last one there is.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(later.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

/// A moment for waiting: time since an origin that stays the same while the process lives.
///
/// The shells take it from a clock that counts suspend; the simulator from its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// Returns the moment `later` after this one.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// Returns how long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of one input, by both clocks, as the caller read them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Now {
    /// For people and stamps; may be wrong by years, may jump.
    pub wall: WallTime,
    /// For waiting; never goes back.
    pub monotonic: Monotonic,
}

/// A hybrid logical stamp: 48 bits of milliseconds since 1970, then a 16-bit counter.
///
/// Stamps of one clock rise strictly; a stamp taken after another was seen is greater than it,
/// within [`HLC_AHEAD_MAX`]. Source: Kulkarni et al., "Logical Physical Clocks", 2014.
#[derive(
    Clone,
    Copy,
    Default,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    Hash,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Hlc(#[n(0)] u64);

impl Hlc {
    /// Makes a stamp from its 64 bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the stamp's 64 bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the first stamp of a wall-clock millisecond; times before 1970 count as 1970.
    pub fn at(wall: WallTime) -> Self {
        let millis = u64::try_from(wall.millis()).unwrap_or(0);
        Self(millis.min((1 << 48) - 1) << 16)
    }

    /// Returns the stamp's wall-clock part.
    pub fn wall(self) -> WallTime {
        WallTime(i64::try_from(self.0 >> 16).unwrap_or(i64::MAX))
    }

    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// One device's hybrid logical clock. Its last stamp is saved with each change it stamps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HlcClock {
    last: Hlc,
}

impl HlcClock {
    /// Goes on from the last stamp that was saved.
    pub const fn from_last(last: Hlc) -> Self {
        Self { last }
    }

    /// Returns the last stamp given or seen.
    pub const fn last(self) -> Hlc {
        self.last
    }

    /// Gives the next stamp: the wall clock, or just after the last stamp if that is later.
    pub fn tick(&mut self, wall: WallTime) -> Hlc {
        self.last = Hlc::at(wall).max(self.last.next());
        self.last
    }

    /// Takes note of a stamp from elsewhere, but of none more than [`HLC_AHEAD_MAX`] ahead of `wall`.
    ///
    /// A stamp further ahead is left to the fold, which orders it by its receipt.
    pub fn observe(&mut self, seen: Hlc, wall: WallTime) {
        if seen <= Hlc::at(wall.plus(HLC_AHEAD_MAX)) {
            self.last = self.last.max(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_though_the_wall_clock_falls_back() {
        let mut clock = HlcClock::default();
        let first = clock.tick(WallTime(5_000));
        let second = clock.tick(WallTime(1_000));
        assert!(second > first);
        assert_eq!(second.wall(), WallTime(5_000));
    }

    #[test]
    fn a_stamp_follows_what_was_seen() {
        let mut clock = HlcClock::default();
        let seen = Hlc::at(WallTime(40_000));
        clock.observe(seen, WallTime(1_000));
        assert!(clock.tick(WallTime(1_000)) > seen);
    }

    #[test]
    fn a_runaway_stamp_does_not_carry_the_clock_along() {
        let mut clock = HlcClock::default();
        clock.observe(Hlc::at(WallTime(10_000_000)), WallTime(1_000));
        assert_eq!(clock.tick(WallTime(1_000)), Hlc::at(WallTime(1_000)));
    }

    #[test]
    fn wall_times_at_the_ends_of_the_scale_do_not_overflow() {
        assert_eq!(Hlc::at(WallTime(-1)), Hlc::default());
        assert!(Hlc::at(WallTime(i64::MAX)) > Hlc::at(WallTime(0)));
        let mut clock = HlcClock::from_last(Hlc::from_bits(u64::MAX));
        assert_eq!(clock.tick(WallTime(0)), Hlc::from_bits(u64::MAX));
        assert_eq!(
            WallTime(i64::MAX).plus(Duration::from_secs(1)),
            WallTime(i64::MAX)
        );
    }
}
