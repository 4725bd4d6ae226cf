//! The one source of randomness, seeded by the caller.
//!
//! The shells seed it from the operating system, the simulator from its seed number; so every id,
//! actor and jitter of a simulated run can be replayed. Not here: keys of TLS, which the TLS
//! library draws for itself.

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore as _, SeedableRng as _};

/// A seeded stream of random numbers (`ChaCha12`, cryptographically strong if its seed is).
#[derive(Clone, Debug)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// Starts a stream from 32 bytes that nobody else uses.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Starts a stream from a number, for simulations and tests.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// Draws any 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws a number below `end`; 0 if `end` is 0.
    ///
    /// The bias is below 2⁻³² for every `end` under 2³², which is all that is asked for here.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.number() % end }
    }

    /// Returns `true` in `per_mille` of a thousand draws.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Draws `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Splits off an independent stream, seeded from this one.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut a, mut b) = (Random::from_number(7), Random::from_number(7));
        assert_eq!(a.bytes::<16>(), b.bytes::<16>());
        assert_eq!(a.fork().number(), b.fork().number());
        assert_ne!(a.number(), Random::from_number(8).number());
    }

    #[test]
    fn below_stays_below_and_takes_zero() {
        let mut random = Random::from_number(1);
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(7) < 7));
        assert!(!random.chance(0));
        assert!(random.chance(1000));
    }
}
