//! A seeded day that needs no file: requests as officers report them, and rides through the areas.
//!
//! Volumes, categories and texts follow `patterns`, places `townships`. Every request lies inside its
//! area; the same seed gives the same day. Not here: link logs (crate `badlink` makes those up).

mod patterns;
mod reports;
mod rides;
mod townships;

use std::time::Duration;

use gridbeat_base::WallTime;
use jiff::civil::{Date, Time, date, time};

use super::map::CityMap;

pub(super) use reports::reports;
pub(super) use rides::rides;
pub use townships::zhenhai;

/// When a shift begins. The one observed began then, and was one of two (domain brief, 3.1).
pub(super) const SHIFT_FROM: Time = time(7, 30, 0, 0);

/// How long a shift is: eight hours.
pub(super) const SHIFT: Duration = Duration::from_secs(8 * 3_600);

/// Where Zhenhai's clocks hang.
pub(super) const TIME_ZONE: &str = "Asia/Shanghai";

/// What a made-up day should be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyntheticOptions {
    /// Which day. Default: 2026-03-17, a Tuesday in spring.
    pub date: Date,
    /// How many requests. Default: 400, a normal day of a district.
    pub requests: usize,
    /// How many devices get a link and a track. Default: 12.
    pub devices: usize,
    /// How long a run of the demo is, and so how long each link's part. Default: 60 s.
    pub run: Duration,
}

impl Default for SyntheticOptions {
    fn default() -> Self {
        Self {
            date: date(2026, 3, 17),
            requests: 400,
            devices: 12,
            run: Duration::from_mins(1),
        }
    }
}

/// Returns the first moment of a day's shift in the zone of a map, and the moment after its last.
pub(super) fn shift_of(map: &CityMap, day: Date) -> (WallTime, WallTime) {
    let from = map.wall_of(day.to_datetime(SHIFT_FROM));
    (from, from.plus(SHIFT))
}
