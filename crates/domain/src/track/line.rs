//! The shorter line for a map, and the length on the ground: of good fixes alone, without the drift of a receiver that
//! stands.

use geo::Simplify as _;
use geo_types::{Coord, LineString};
use gridbeat_base::Position;

use super::{Marks, TrackPoint};

/// Metres of a degree of latitude, on the sphere of the earth's mean radius.
const DEGREE_M: f64 = 6_371_008.8 * core::f64::consts::PI / 180.0;

/// Returns the positions of a line from which no good fix of an officer who moves is further than the tolerance, in
/// metres: Douglas and Peucker's. The first and the last of these fixes are in it, and nothing but such fixes.
///
/// Metres are taken on a plane at the track's first good latitude: 0.1 % off 10 km away from it.
pub fn simplified(points: &[TrackPoint], tolerance_m: f64) -> Vec<Position> {
    let good: Vec<Position> = moving(points).collect();
    let Some(first) = good.first() else {
        return Vec::new();
    };
    let narrow = first.latitude_deg().to_radians().cos();
    let plane: Vec<Coord<f64>> = good
        .iter()
        .map(|position| Coord {
            x: (position.longitude_deg() - first.longitude_deg()) * DEGREE_M * narrow,
            y: (position.latitude_deg() - first.latitude_deg()) * DEGREE_M,
        })
        .collect();
    let kept = LineString::new(plane.clone()).simplify(tolerance_m.max(0.0));
    // Those that stay are some of the points, in their order.
    let mut kept = kept.0.into_iter().peekable();
    let mut is_kept = |at: &Coord<f64>| kept.next_if_eq(at).is_some();
    good.iter()
        .zip(&plane)
        .filter(|(_, at)| is_kept(at))
        .map(|(position, _)| *position)
        .collect()
}

/// Returns the length of a track on the ground, in metres: great circles between good fixes, without the drift of a
/// receiver that stands.
pub fn length_m(points: &[TrackPoint]) -> f64 {
    let moving: Vec<Position> = moving(points).collect();
    let steps = moving.windows(2).map(|pair| pair[0].distance_m(pair[1]));
    steps.sum()
}

fn moving(points: &[TrackPoint]) -> impl Iterator<Item = Position> {
    let moves = |point: &&TrackPoint| !point.marks.is_bad() && !point.marks.has(Marks::STILL);
    points.iter().filter(moves).map(|point| point.position)
}
