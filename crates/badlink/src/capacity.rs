//! One direction's share of a link over its life: a curve, forced outages, changed profiles.
//!
//! Amounts are in *shares*: thousandths of a grain (`curve`), so that a direction's share of the
//! log, in thousandths, stays whole. The amount served never falls and never jumps, whatever is
//! changed, so places in a queue stay valid across changes.

use std::sync::Arc;
use std::time::Duration;

use crate::curve::{Curve, GRAINS_PER_BYTE, Nanos, ceiling};

/// Shares in a byte.
pub(crate) const SHARES_PER_BYTE: i128 = GRAINS_PER_BYTE * 1000;

/// Largest share of the log's bandwidth a direction may have, in thousandths: a thousandfold keeps
/// the sums of a century within 128 bits.
const PER_MILLE_MAX: u32 = 1_000_000;

/// What one direction of a link has served, and when it will have served more.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    curve: Arc<Curve>,
    per_mille: i128,
    /// When the curve begins.
    origin: Nanos,
    /// What must be added to what the curve has served.
    base: i128,
    /// What was served when the link was forced down; `None` while it is not.
    frozen: Option<i128>,
}

impl Capacity {
    /// Starts serving `per_mille` of a curve that begins at `origin`.
    pub(crate) fn new(curve: Arc<Curve>, per_mille: u32, origin: Nanos) -> Self {
        let per_mille = i128::from(per_mille.min(PER_MILLE_MAX));
        Self {
            curve,
            per_mille,
            origin,
            base: 0,
            frozen: None,
        }
    }

    /// Returns the shares served until `at`.
    pub(crate) fn served(&self, at: Nanos) -> i128 {
        self.frozen.unwrap_or_else(|| self.flowing(at))
    }

    /// Returns the first instant at which `shares` are served, as things stand; `None` if never.
    pub(crate) fn time_of(&self, shares: i128) -> Option<Nanos> {
        if self.frozen.is_some() || self.per_mille == 0 {
            return None;
        }
        let grains = ceiling(shares - self.base, self.per_mille);
        self.curve.time_of(grains)?.checked_add(self.origin)
    }

    /// Returns what will be served when the next outage begins; all that was served, if one is
    /// on at `at`; `None` if the link never goes down again.
    pub(crate) fn served_before_outage(&self, at: Nanos) -> Option<i128> {
        if !self.is_up(at) {
            return Some(self.served(at));
        }
        let outage = self
            .curve
            .next_change(at - self.origin)?
            .checked_add(self.origin)?;
        Some(self.flowing(outage))
    }

    /// Tells whether anything is served at `at`.
    pub(crate) fn is_up(&self, at: Nanos) -> bool {
        self.frozen.is_none() && self.per_mille > 0 && self.curve.is_up(at - self.origin)
    }

    /// Returns the log's round trip at `at`.
    pub(crate) fn latency(&self, at: Nanos) -> Duration {
        self.curve.latency(at.saturating_sub(self.origin))
    }

    /// Returns the rate at `at` in bytes a second.
    pub(crate) fn bytes_per_second(&self, at: Nanos) -> u64 {
        let bits = i128::from(self.curve.rate(at - self.origin)) * self.per_mille;
        u64::try_from(bits / 8000).unwrap_or(u64::MAX)
    }

    /// Forces the link down at `at`, or lets it flow again.
    pub(crate) fn set_forced_down(&mut self, at: Nanos, down: bool) {
        match (self.frozen, down) {
            (None, true) => self.frozen = Some(self.flowing(at)),
            (Some(frozen), false) => {
                self.base += frozen - self.flowing(at);
                self.frozen = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Serves `per_mille` of another curve from `at` on, which begins then.
    pub(crate) fn replace(&mut self, at: Nanos, curve: Arc<Curve>, per_mille: u32) {
        let base = self.flowing(at);
        *self = Self {
            base,
            frozen: self.frozen,
            ..Self::new(curve, per_mille, at)
        };
    }

    /// What would be served until `at` if the link were not forced down.
    fn flowing(&self, at: Nanos) -> i128 {
        self.base + self.curve.served(at - self.origin) * self.per_mille
    }
}
