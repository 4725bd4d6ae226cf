//! The boxes in which everything within a distance of a place lies.

use gridbeat_base::Position;

/// Metres of a degree of latitude, a little less than anywhere on the sphere that distances are
/// measured on (111,195), so that a box is never too small.
const DEGREE_M: f64 = 111_000.0;

/// Beyond this latitude a box holds every longitude.
const LATITUDE_MAX_DEG: f64 = 89.0;

const E7: f64 = 1e7;

/// A box in ten-millionths of a degree, ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Box {
    pub(crate) latitude_e7: (i64, i64),
    pub(crate) longitude_e7: (i64, i64),
}

/// Returns the boxes around what lies within `radius_m`: two where it crosses the date line.
pub(crate) fn boxes(center: Position, radius_m: f64) -> Vec<Box> {
    let (latitude, longitude) = (center.latitude_deg(), center.longitude_deg());
    let half = radius_m / DEGREE_M;
    let latitude_e7 = (
        to_e7((latitude - half).max(-90.0)),
        to_e7((latitude + half).min(90.0)),
    );
    let furthest = latitude.abs() + half;
    // The widest a circle gets, at its latitude nearest to a pole.
    let half = if furthest >= LATITUDE_MAX_DEG {
        180.0
    } else {
        half / furthest.to_radians().cos()
    };
    let ranges = if half >= 180.0 {
        vec![(-180.0, 180.0)]
    } else if longitude - half < -180.0 {
        vec![
            (-180.0, longitude + half),
            (longitude - half + 360.0, 180.0),
        ]
    } else if longitude + half > 180.0 {
        vec![
            (longitude - half, 180.0),
            (-180.0, longitude + half - 360.0),
        ]
    } else {
        vec![(longitude - half, longitude + half)]
    };
    ranges
        .into_iter()
        .map(|(west, east)| Box {
            latitude_e7,
            longitude_e7: (to_e7(west), to_e7(east)),
        })
        .collect()
}

fn to_e7(degrees: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 1.8e9 by the bounds above"
    )]
    {
        (degrees * E7).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use gridbeat_base::Random;

    use super::*;

    fn holds(boxes: &[Box], position: Position) -> bool {
        let (latitude, longitude) = (
            i64::from(position.latitude_e7()),
            i64::from(position.longitude_e7()),
        );
        boxes.iter().any(|found| {
            (found.latitude_e7.0..=found.latitude_e7.1).contains(&latitude)
                && (found.longitude_e7.0..=found.longitude_e7.1).contains(&longitude)
        })
    }

    #[test]
    fn what_is_within_the_distance_is_within_a_box() {
        let mut random = Random::from_number(5);
        let centers = [
            (29.95, 121.71),
            (0.0, 179.9999),
            (60.0, -179.9999),
            (89.9, 10.0),
            (-85.0, 0.0),
        ];
        for (latitude, longitude) in centers {
            let center = Position::from_degrees(latitude, longitude).unwrap();
            for radius_m in [100.0, 10_000.0, 400_000.0] {
                let boxes = boxes(center, radius_m);
                for _ in 0..2_000 {
                    let latitude_e7 = random.below(1_800_000_001) as i64 - 900_000_000;
                    let longitude_e7 = random.below(3_600_000_001) as i64 - 1_800_000_000;
                    let near = Position::from_degrees(
                        (latitude + latitude_e7 as f64 / 9e8 * radius_m / 100_000.0)
                            .clamp(-90.0, 90.0),
                        wrap(longitude + longitude_e7 as f64 / 9e8 * radius_m / 50_000.0),
                    )
                    .unwrap();
                    if near.distance_m(center) <= radius_m {
                        assert!(holds(&boxes, near), "{latitude} {longitude} {radius_m}");
                    }
                }
            }
        }
    }

    fn wrap(degrees: f64) -> f64 {
        (degrees + 180.0).rem_euclid(360.0) - 180.0
    }
}
