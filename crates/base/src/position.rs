//! A point on the ground, in whole ten-millionths of a degree.
//!
//! WGS 84, which agrees with CGCS2000 (EPSG:4490) to about a metre: less than any phone's fix. Not
//! here: GCJ-02 and BD-09, which exist only at the display edge and are never stored.

use core::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

const E7: f64 = 1e7;

/// Where something is: WGS 84 degrees, held as whole ten-millionths (a step is at most 1.2 cm), so
/// that equal positions compare, hash and merge alike on every platform.
#[derive(Clone, Copy, Eq, Hash, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(try_from = "Degrees", into = "Degrees")]
#[cbor(array)]
pub struct Position {
    // Invariant: within ±90 and ±180 degrees; every constructor checks it. A decoded one is
    // checked by `is_valid` at the gate.
    #[n(0)]
    latitude_e7: i32,
    #[n(1)]
    longitude_e7: i32,
}

/// The form in JSON: `{"latitude_deg": 29.95, "longitude_deg": 121.71}`.
#[derive(Serialize, Deserialize)]
struct Degrees {
    latitude_deg: f64,
    longitude_deg: f64,
}

impl Position {
    /// Makes a position from degrees.
    ///
    /// # Errors
    ///
    /// [`PositionError`] if a number is not finite, or beyond ±90 or ±180.
    pub fn from_degrees(latitude_deg: f64, longitude_deg: f64) -> Result<Self, PositionError> {
        if !(latitude_deg.abs() <= 90.0 && longitude_deg.abs() <= 180.0) {
            return Err(PositionError {
                latitude_deg,
                longitude_deg,
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 1.8e9, checked above"
        )]
        Ok(Self {
            latitude_e7: (latitude_deg * E7).round() as i32,
            longitude_e7: (longitude_deg * E7).round() as i32,
        })
    }

    /// Makes a position from ten-millionths of a degree.
    ///
    /// # Errors
    ///
    /// [`PositionError`] if it is beyond ±90 or ±180 degrees.
    pub fn from_e7(latitude_e7: i32, longitude_e7: i32) -> Result<Self, PositionError> {
        let position = Self {
            latitude_e7,
            longitude_e7,
        };
        if position.is_valid() {
            Ok(position)
        } else {
            Err(PositionError {
                latitude_deg: position.latitude_deg(),
                longitude_deg: position.longitude_deg(),
            })
        }
    }

    /// Tells whether the position is on the globe; a decoded one may not be.
    pub const fn is_valid(self) -> bool {
        self.latitude_e7.unsigned_abs() <= 900_000_000
            && self.longitude_e7.unsigned_abs() <= 1_800_000_000
    }

    /// Returns the latitude in ten-millionths of a degree, north positive.
    pub const fn latitude_e7(self) -> i32 {
        self.latitude_e7
    }

    /// Returns the longitude in ten-millionths of a degree, east positive.
    pub const fn longitude_e7(self) -> i32 {
        self.longitude_e7
    }

    /// Returns the latitude in degrees.
    pub fn latitude_deg(self) -> f64 {
        f64::from(self.latitude_e7) / E7
    }

    /// Returns the longitude in degrees.
    pub fn longitude_deg(self) -> f64 {
        f64::from(self.longitude_e7) / E7
    }

    /// Returns the distance on the ground in metres, by the haversine formula on a sphere of
    /// 6,371,008.8 m (the mean radius of WGS 84; at most 0.6 % off the ellipsoid).
    pub fn distance_m(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (
            self.latitude_deg().to_radians(),
            other.latitude_deg().to_radians(),
        );
        let d_lon = (other.longitude_deg() - self.longitude_deg()).to_radians();
        let h = ((lat_b - lat_a) / 2.0).sin().powi(2)
            + lat_a.cos() * lat_b.cos() * (d_lon / 2.0).sin().powi(2);
        2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
    }
}

impl fmt::Debug for Position {
    // A position says where a person was: it never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<Position> for geo_types::Point<f64> {
    fn from(position: Position) -> Self {
        Self::new(position.longitude_deg(), position.latitude_deg())
    }
}

impl TryFrom<geo_types::Point<f64>> for Position {
    type Error = PositionError;

    fn try_from(point: geo_types::Point<f64>) -> Result<Self, PositionError> {
        Self::from_degrees(point.y(), point.x())
    }
}

impl TryFrom<Degrees> for Position {
    type Error = PositionError;

    fn try_from(degrees: Degrees) -> Result<Self, PositionError> {
        Self::from_degrees(degrees.latitude_deg, degrees.longitude_deg)
    }
}

impl From<Position> for Degrees {
    fn from(position: Position) -> Self {
        Self {
            latitude_deg: position.latitude_deg(),
            longitude_deg: position.longitude_deg(),
        }
    }
}

/// The numbers are not a place on the globe: swapped, missing, or in another unit.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "latitude {latitude_deg}, longitude {longitude_deg} is not on the globe (±90, ±180 degrees)"
)]
pub struct PositionError {
    /// The latitude that was handed in.
    pub latitude_deg: f64,
    /// The longitude that was handed in.
    pub longitude_deg: f64,
}

impl PositionError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> crate::Remedy {
        crate::Remedy::FixInput
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_beyond_the_globe_is_refused() {
        for (lat, lon) in [
            (91.0, 0.0),
            (0.0, 181.0),
            (f64::NAN, 0.0),
            (0.0, f64::INFINITY),
        ] {
            assert!(Position::from_degrees(lat, lon).is_err(), "{lat} {lon}");
        }
        assert!(Position::from_e7(900_000_001, 0).is_err());
        assert!(Position::from_e7(i32::MIN, i32::MIN).is_err());
    }

    #[test]
    fn a_hundred_metres_at_zhenhai_measure_a_hundred_metres() {
        let a = Position::from_degrees(30.0, 121.7).unwrap();
        let b = Position::from_degrees(30.0, 121.7 + 0.00104).unwrap();
        assert!((a.distance_m(b) - 100.0).abs() < 1.0, "{}", a.distance_m(b));
    }

    #[test]
    fn a_position_does_not_print_itself() {
        assert_eq!(
            format!("{:?}", Position::from_degrees(29.9, 121.7).unwrap()),
            "…"
        );
    }

    proptest! {
        #[test]
        fn degrees_points_and_json_come_back(lat in -900_000_000i32..=900_000_000, lon in -1_800_000_000i32..=1_800_000_000) {
            let position = Position::from_e7(lat, lon).unwrap();
            prop_assert_eq!(Position::try_from(geo_types::Point::from(position)).unwrap(), position);
            let json = serde_json::to_string(&position).unwrap();
            prop_assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
        }
    }
}
