//! The clock and the dice of the machine, for the shells; the cores are handed what they give.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gridbeat_base::{Monotonic, Now, Random, WallTime};

/// The machine's clocks.
///
/// The monotonic one counts the time a phone was suspended where the system offers such a clock
/// (`CLOCK_BOOTTIME`: Linux, Android, FreeBSD); elsewhere it is the standard library's, which on
/// some systems stands still meanwhile, so that a wait takes longer.
#[derive(Clone, Copy)]
pub struct Clock {
    origin: Reading,
}

#[derive(Clone, Copy)]
enum Reading {
    Boot(Duration),
    Standard(Instant),
}

impl Clock {
    /// Starts the monotonic clock: its origin is this moment.
    pub fn start() -> Self {
        Self {
            origin: boot_time().map_or_else(|| Reading::Standard(Instant::now()), Reading::Boot),
        }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        Now {
            wall: wall_time(),
            monotonic: self.monotonic(),
        }
    }

    /// Reads the monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic(match self.origin {
            Reading::Boot(origin) => boot_time().unwrap_or(origin).saturating_sub(origin),
            Reading::Standard(origin) => origin.elapsed(),
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("monotonic", &self.monotonic())
            .finish()
    }
}

/// Starts a stream of random numbers seeded by the operating system.
///
/// # Panics
///
/// When the operating system gives no randomness: no id, key or session would be safe then.
pub fn random_from_system() -> Random {
    let mut seed = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut seed)
        .expect("the operating system gives random numbers");
    Random::from_seed(seed)
}

fn wall_time() -> WallTime {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    WallTime(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn boot_time() -> Option<Duration> {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .ok()
        .map(Duration::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const fn boot_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_at_zero_and_never_goes_back() {
        let clock = Clock::start();
        let first = clock.monotonic();
        assert!(first.0 < Duration::from_secs(60));
        assert!(clock.monotonic() >= first);
    }

    #[test]
    fn two_streams_from_the_system_differ() {
        assert_ne!(random_from_system().number(), random_from_system().number());
    }
}
