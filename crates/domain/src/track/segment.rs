//! A segment of a track as bytes: columns beside each other, each as differences, packed by zstd.
//!
//! Lossless. Form: `docs/tracks.md`. Reading is bounded in every dimension and never panics, whatever the bytes.

use gridbeat_base::{Position, Remedy, WallTime};

use super::{Marks, TrackPoint, length_m};

/// Most points of a segment: five hours and a half at one in 5 s.
pub const POINTS_MAX: usize = 4096;

/// The first bytes of a segment: a name and the version of its form.
const MAGIC: &[u8; 4] = b"GBT\x01";

/// Columns of a point: time, latitude, longitude, accuracy, speed, marks.
const COLUMNS: usize = 6;

/// A segment is small and made once an hour: the last per cent is worth the time.
const ZSTD_LEVEL: i32 = 19;

/// How often differences of differences may be taken; beyond two, noise grows.
const ORDER_MAX: u8 = 2;

/// A finished piece of a track: its bytes, which are a blob, and what a patrol says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The blob.
    pub bytes: Vec<u8>,
    /// How many points it has.
    pub points: u32,
    /// The earliest time in it.
    pub from: WallTime,
    /// The latest.
    pub to: WallTime,
    /// Its length on the ground, in metres.
    pub length_m: u32,
}

/// Bytes that are no segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TrackError {
    /// They are something else.
    #[error("this is no track")]
    NotATrack,
    /// They are of a later version.
    #[error("this track was made by a later version of the program")]
    LaterVersion,
    /// They end too soon, go on behind their end, or contradict themselves.
    #[error("the track is damaged")]
    Damaged,
    /// There are none, or more than [`POINTS_MAX`].
    #[error("a segment has 1 to {POINTS_MAX} points, not {0}")]
    Points(u64),
}

impl TrackError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::NotATrack | Self::Points(_) => Remedy::FixInput,
            Self::LaterVersion => Remedy::FixSetup,
            Self::Damaged => Remedy::Restore,
        }
    }
}

impl Segment {
    /// Packs points as they are, in their order.
    ///
    /// # Errors
    ///
    /// [`TrackError::Points`].
    pub fn of(points: &[TrackPoint]) -> Result<Self, TrackError> {
        if points.is_empty() || points.len() > POINTS_MAX {
            return Err(TrackError::Points(points.len() as u64));
        }
        let times = || points.iter().map(|point| point.time);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a length is not negative, and 4,096 steps round the earth fit"
        )]
        let length_m = length_m(points).round() as u32;
        Ok(Self {
            bytes: encode(points),
            points: u32::try_from(points.len()).unwrap_or(u32::MAX),
            from: times().min().unwrap_or_default(),
            to: times().max().unwrap_or_default(),
            length_m,
        })
    }

    /// Reads the points of a segment's bytes, which may be anybody's.
    ///
    /// # Errors
    ///
    /// [`TrackError`].
    pub fn read(bytes: &[u8]) -> Result<Vec<TrackPoint>, TrackError> {
        let (magic, mut rest) = bytes.split_first_chunk().ok_or(TrackError::NotATrack)?;
        if magic[..3] != MAGIC[..3] {
            return Err(TrackError::NotATrack);
        }
        if magic != MAGIC {
            return Err(TrackError::LaterVersion);
        }
        let count = number(&mut rest)?;
        let points = usize::try_from(count).unwrap_or(usize::MAX);
        if points == 0 || points > POINTS_MAX {
            return Err(TrackError::Points(count));
        }
        let mut columns = Vec::with_capacity(COLUMNS);
        for _ in 0..COLUMNS {
            columns.push(read_column(&mut rest, points)?);
        }
        if !rest.is_empty() {
            return Err(TrackError::Damaged);
        }
        let point = |place: usize| point_of(std::array::from_fn(|column| columns[column][place]));
        (0..points).map(point).collect()
    }
}

fn encode(points: &[TrackPoint]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_number(&mut bytes, points.len() as u64);
    for column in 0..COLUMNS {
        let values: Vec<i64> = points
            .iter()
            .map(|point| values_of(point)[column])
            .collect();
        put_column(&mut bytes, &values);
    }
    bytes
}

/// Returns the numbers of a point: what is not known is 0, and what is, one more than it is.
fn values_of(point: &TrackPoint) -> [i64; COLUMNS] {
    let known = |value: Option<u16>| value.map_or(0, |value| i64::from(value) + 1);
    [
        point.time.millis(),
        point.position.latitude_e7().into(),
        point.position.longitude_e7().into(),
        known(point.accuracy_dm),
        known(point.speed_cm_s),
        point.marks.bits().into(),
    ]
}

fn point_of(values: [i64; COLUMNS]) -> Result<TrackPoint, TrackError> {
    let [time, latitude, longitude, accuracy, speed, marks] = values;
    let small = |value: i64| i32::try_from(value).map_err(|_| TrackError::Damaged);
    let known = |value: i64| match value {
        0 => Ok(None),
        _ => u16::try_from(value.wrapping_sub(1)).map(Some),
    };
    let position = Position::from_e7(small(latitude)?, small(longitude)?);
    Ok(TrackPoint {
        time: WallTime(time),
        position: position.map_err(|_| TrackError::Damaged)?,
        accuracy_dm: known(accuracy).map_err(|_| TrackError::Damaged)?,
        speed_cm_s: known(speed).map_err(|_| TrackError::Damaged)?,
        marks: Marks::from_bits(u8::try_from(marks).map_err(|_| TrackError::Damaged)?),
    })
}

/// Writes a column in the order of differences that takes the fewest bytes.
fn put_column(bytes: &mut Vec<u8>, values: &[i64]) {
    let unit = unit_of(values);
    let forms = (0..=ORDER_MAX).map(|order| {
        let mut form = vec![order];
        put_number(&mut form, zigzag(values[0]));
        put_number(&mut form, unit);
        put_planes(&mut form, &residuals(values, unit, order));
        form
    });
    bytes.extend(forms.min_by_key(Vec::len).unwrap_or_default());
}

/// Returns the largest number that divides every difference from the first value; 1 if all are the same.
fn unit_of(values: &[i64]) -> u64 {
    let mut unit = 0_u64;
    for value in values {
        let mut rest = value.wrapping_sub(values[0]).unsigned_abs();
        while rest != 0 {
            (unit, rest) = (rest, unit % rest);
        }
    }
    unit.max(1)
}

/// Returns what is left of the values behind the first, in units from it, after so many differences.
fn residuals(values: &[i64], unit: u64, order: u8) -> Vec<u64> {
    let unit = unit.cast_signed();
    let mut left: Vec<i64> = values[1..]
        .iter()
        .map(|value| value.wrapping_sub(values[0]).wrapping_div(unit))
        .collect();
    for _ in 0..order {
        let mut before = 0;
        for value in &mut left {
            (*value, before) = (value.wrapping_sub(before), *value);
        }
    }
    left.into_iter().map(zigzag).collect()
}

/// Writes numbers byte by byte: the lowest byte of all, then the next of all, as many as the largest takes.
fn put_planes(bytes: &mut Vec<u8>, numbers: &[u64]) {
    let largest = numbers.iter().copied().max().unwrap_or(0);
    let width = (u64::BITS - largest.leading_zeros()).div_ceil(8);
    put_number(bytes, width.into());
    for place in 0..width {
        let plane: Vec<u8> = numbers
            .iter()
            .map(|number| number.to_le_bytes()[place as usize])
            .collect();
        let packed = zstd::bulk::compress(&plane, ZSTD_LEVEL).unwrap_or_else(|_| plane.clone());
        let shorter = if packed.len() < plane.len() {
            packed
        } else {
            plane
        };
        put_number(bytes, shorter.len() as u64);
        bytes.extend(shorter);
    }
}

fn read_column(rest: &mut &[u8], points: usize) -> Result<Vec<i64>, TrackError> {
    let (order, behind) = rest.split_first().ok_or(TrackError::Damaged)?;
    *rest = behind;
    let first = unzigzag(number(rest)?);
    let unit = number(rest)?;
    if *order > ORDER_MAX || unit == 0 {
        return Err(TrackError::Damaged);
    }
    let mut values: Vec<i64> = read_planes(rest, points - 1)?
        .into_iter()
        .map(unzigzag)
        .collect();
    for _ in 0..*order {
        let mut before = 0_i64;
        for value in &mut values {
            before = value.wrapping_add(before);
            *value = before;
        }
    }
    let value = |steps: i64| first.wrapping_add(steps.wrapping_mul(unit.cast_signed()));
    let values = core::iter::once(first).chain(values.into_iter().map(value));
    Ok(values.collect())
}

fn read_planes(rest: &mut &[u8], count: usize) -> Result<Vec<u64>, TrackError> {
    let width = number(rest)?;
    if width > 8 {
        return Err(TrackError::Damaged);
    }
    let mut numbers = vec![0_u64; count];
    for place in 0..width {
        let size = usize::try_from(number(rest)?).unwrap_or(usize::MAX);
        let (packed, behind) = rest.split_at_checked(size).ok_or(TrackError::Damaged)?;
        *rest = behind;
        let plane = if size == count {
            packed.to_vec()
        } else {
            zstd::bulk::decompress(packed, count).map_err(|_| TrackError::Damaged)?
        };
        if plane.len() != count {
            return Err(TrackError::Damaged);
        }
        for (number, byte) in numbers.iter_mut().zip(plane) {
            *number |= u64::from(byte) << (8 * place);
        }
    }
    Ok(numbers)
}

const fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

fn put_number(bytes: &mut Vec<u8>, value: u64) {
    leb128::write::unsigned(bytes, value).expect("memory can be written to");
}

fn number(rest: &mut &[u8]) -> Result<u64, TrackError> {
    leb128::read::unsigned(rest).map_err(|_| TrackError::Damaged)
}
