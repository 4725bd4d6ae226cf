//! The seeded random choices of a link.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// A seeded stream of choices. The same seed makes the same choices on every platform.
#[derive(Clone, Debug)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// Starts stream `stream` of a seed; the streams of a seed are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Draws a number below `end`, which must not be zero. The bias is under 2⁻²⁴ for any `end`
    /// under 2⁴⁰ (18 minutes of nanoseconds).
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    /// Answers `true` `per_mille` times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u16) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// Draws a duration of at most `longest`, in nanoseconds.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.below(longest.saturating_add(1)))
    }
}
