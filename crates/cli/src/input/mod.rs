//! The input side of `gridbeat demo` and `gridbeat import`: one day of patrol, from files or made up.
//!
//! Everything ends in one neutral type, [`Day`]: areas, the day's requests, tracks, link logs, and an
//! account of what could not be read. [`Day::from_files`] reads what it was given and makes up the
//! rest, saying so in [`Day::notes`]; [`Day::synthetic`] needs no file at all. The same files and the
//! same seed give the same day.
//!
//! One module a file format, each usable alone:
//!
//! | module | reads | gives |
//! |---|---|---|
//! | `map` | TOML: columns, dates, zone, type-to-category table of a city | [`CityMap`] |
//! | `incidents` | CSV of requests, plain or gzip | [`Incidents`], [`Request`] |
//! | `areas`, `place` | `GeoJSON` polygons, plain or gzip | [`Areas`], [`Area`], [`place_requests`] |
//! | `tracks`, `lay` | CSV of bicycle positions, plain or gzip | [`Trips`], [`Track`] |
//! | `links`, `windows` | link logs: one JSON, a directory, a tar | [`LinkLogs`], [`NamedLink`] |
//! | `synthetic` | nothing | Zhenhai's seven townships and a shift in them |
//!
//! A row that cannot be used is counted under its [`Reason`] with its line number in [`Rejects`]; a
//! file that cannot be used is one [`InputError`] that names the file and what was expected.
//!
//! Not here: documents, officers, edits (the demo makes them of a [`Day`]); any clock or network.

mod areas;
mod day;
mod draw;
mod error;
mod file;
mod incidents;
mod lay;
mod links;
mod map;
mod place;
mod rejects;
mod request;
mod synthetic;
mod tracks;
mod windows;

pub use areas::{AREAS_BYTES_MAX, Area, Areas};
pub use day::{Day, DayError, FileArgs};
pub use error::{InputError, InputProblem};
pub use incidents::{Incidents, busiest_day, read_incidents};
pub use lay::{Moved, Track, lay_tracks};
pub use links::{LINK_LOG_BYTES_MAX, LinkLogs, read_links};
pub use map::{CityMap, Columns, PlaceholderPoint};
pub use place::place_requests;
pub use rejects::{Effect, Input, LINES_MAX, Reason, Reject, Rejects};
pub use request::{PlacedBy, Remark, Request};
pub use synthetic::{SyntheticOptions, zhenhai};
pub use tracks::{GAP, TRIP_MIN, TrackPoint, Trip, Trips, read_trips};
pub use windows::{NamedLink, OUTAGE_MIN, choose_windows};
