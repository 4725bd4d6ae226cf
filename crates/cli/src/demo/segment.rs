//! A piece of track as a blob: few bytes a point, named by its hash.
//!
//! Format `GBT1`: the four letters, then as variable-length integers the number of points and, for
//! each, the difference from the point before in milliseconds and ten-millionths of a degree
//! (zigzag). A bicycle's point takes 6 to 8 bytes instead of 16. Not here: what a patrol says of it.

use gridbeat_base::{BlobHash, WallTime};

use crate::input::TrackPoint;

const MAGIC: &[u8; 4] = b"GBT1";

/// A piece of track, packed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// The blob's BLAKE3 hash.
    pub(crate) hash: BlobHash,
    /// The blob.
    pub(crate) bytes: Vec<u8>,
    /// How many points it has.
    pub(crate) points: u32,
    /// Its first point's time.
    pub(crate) from: WallTime,
    /// Its last point's time.
    pub(crate) to: WallTime,
    /// Its length on the ground, in metres.
    pub(crate) length_m: u32,
}

/// Packs a piece of track.
pub(crate) fn encode(points: &[TrackPoint]) -> Segment {
    let mut bytes = MAGIC.to_vec();
    put(&mut bytes, points.len() as u64);
    let mut last = [0_i64; 3];
    for point in points {
        let here = [
            point.time.millis(),
            i64::from(point.position.latitude_e7()),
            i64::from(point.position.longitude_e7()),
        ];
        for (now, before) in here.iter().zip(last) {
            put(&mut bytes, zigzag(now - before));
        }
        last = here;
    }
    let length: f64 = points
        .windows(2)
        .map(|pair| pair[0].position.distance_m(pair[1].position))
        .sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of distances is not negative, and a ride is no 4,000,000 km"
    )]
    let length_m = length.round() as u32;
    Segment {
        hash: BlobHash::from_bytes(*blake3::hash(&bytes).as_bytes()),
        points: u32::try_from(points.len()).unwrap_or(u32::MAX),
        from: points
            .first()
            .map_or_else(WallTime::default, |point| point.time),
        to: points
            .last()
            .map_or_else(WallTime::default, |point| point.time),
        length_m,
        bytes,
    }
}

const fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use gridbeat_base::Position;

    use super::*;

    fn decode(bytes: &[u8]) -> Vec<(i64, i64, i64)> {
        let mut rest = bytes.strip_prefix(MAGIC).unwrap().iter();
        let mut next = || {
            let (mut value, mut shift) = (0_u64, 0);
            for byte in rest.by_ref() {
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            value
        };
        let count = next();
        let mut last = (0, 0, 0);
        let mut points = Vec::new();
        for _ in 0..count {
            let mut step = || {
                let value = next();
                (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
            };
            last = (last.0 + step(), last.1 + step(), last.2 + step());
            points.push(last);
        }
        points
    }

    #[test]
    fn a_track_reads_back_and_takes_few_bytes() {
        let track: Vec<TrackPoint> = (0..100_i32)
            .map(|i| TrackPoint {
                time: WallTime(1_700_000_000_000 + i64::from(i) * 5_000),
                position: Position::from_e7(420_000_000 + i * 300, -710_000_000 - i * 200).unwrap(),
            })
            .collect();
        let segment = encode(&track);
        let points = decode(&segment.bytes);
        assert_eq!(points.len(), 100);
        assert_eq!(points[99], (1_700_000_495_000, 420_029_700, -710_019_800));
        assert!(segment.bytes.len() < 100 * 8, "{}", segment.bytes.len());
        assert!(
            (segment.length_m.cast_signed() - 367).abs() < 10,
            "{}",
            segment.length_m
        );
    }
}
