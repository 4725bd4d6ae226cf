//! The frames that tell where devices are, and their bytes. Rules: `PROTOCOL.md`, 4.23 to 4.26.
//!
//! A position is worth something while it is new, so it is never queued, never repeated and never kept in a record: the
//! next one takes its place. Where somebody was is in his tracks, which are read by other rights.

use gridbeat_base::{DeviceId, Position, WallTime};

use crate::DecodeError;
use crate::wire::{Reader, Writer};

/// The largest heading: north is 0, east 90.
const HEADING_DEG_MAX: u16 = 359;

/// The largest charge of a battery.
const BATTERY_PERCENT_MAX: u8 = 100;

/// How many parts a fix has on the wire.
const FIX_PARTS: u64 = 9;

/// Where a device is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fix {
    /// The device's wall clock when the fix was made.
    pub device_time: WallTime,
    /// The clock of the receiver of satellites then, if it has one.
    pub receiver_time: Option<WallTime>,
    /// The position.
    pub position: Position,
    /// The radius around it that the device is in, most likely, in decimetres.
    pub accuracy_dm: u32,
    /// How fast it moves, in centimetres a second.
    pub speed_cm_s: Option<u32>,
    /// Whereto, in degrees from north over east, 0 to 359.
    pub heading_deg: Option<u16>,
    /// The charge of its battery, 0 to 100.
    pub battery_percent: Option<u8>,
    /// How many changes wait on it for the relay.
    pub waiting: Option<u64>,
}

/// The device tells where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Here {
    /// Rises within a session, over this and [`Gone`].
    pub number: u64,
    /// How long before this was sent the fix was made, in milliseconds, by a clock that nobody sets.
    pub age_ms: u64,
    /// Where it is.
    pub fix: Fix,
}

/// The device tells nobody any more where it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gone {
    /// Rises within a session, over this and [`Here`].
    pub number: u64,
}

/// Whether the device is to be told where others are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watch {
    /// Whether it is.
    pub is_wanted: bool,
}

/// Where devices are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Positions {
    /// The relay's clock.
    pub now: WallTime,
    /// Each device once.
    pub sightings: Vec<Sighting>,
}

/// Where one device was last, as far as the reader may know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// The device.
    pub device: DeviceId,
    /// When the fix was made, or when the device told that it tells no more: by the relay's clock.
    pub taken: WallTime,
    /// The fix; `None` if the device tells nobody any more.
    pub seen: Option<Seen>,
}

/// What is known of where a device was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Whether the fix is as it was told, and not made coarse for the reader.
    pub is_exact: bool,
    /// The fix.
    pub fix: Fix,
}

pub(crate) fn write_here(out: &mut Writer, here: &Here) {
    out.uint(here.number).uint(here.age_ms);
    write_fix(out, &here.fix);
}

pub(crate) fn read_here(from: &mut Reader<'_>) -> Result<Here, DecodeError> {
    Ok(Here {
        number: from.uint()?,
        age_ms: from.uint()?,
        fix: from.record(FIX_PARTS, read_fix)?,
    })
}

pub(crate) fn write_positions(out: &mut Writer, positions: &Positions) {
    out.int(positions.now.0);
    out.list(&positions.sightings, |out, sighting| {
        out.array(3).bytes(sighting.device.bytes());
        out.int(sighting.taken.0);
        match &sighting.seen {
            Some(seen) => write_fix(out.array(2).bool(seen.is_exact), &seen.fix),
            None => {
                out.null();
            }
        }
    });
}

pub(crate) fn read_positions(
    from: &mut Reader<'_>,
    sightings_max: usize,
) -> Result<Positions, DecodeError> {
    Ok(Positions {
        now: WallTime(from.int()?),
        sightings: from.list("sightings", sightings_max, |from| {
            from.record(3, |from| {
                Ok(Sighting {
                    device: DeviceId::from_bytes(from.fixed()?),
                    taken: WallTime(from.int()?),
                    seen: from.optional(|from| from.record(2, read_seen))?,
                })
            })
        })?,
    })
}

fn read_seen(from: &mut Reader<'_>) -> Result<Seen, DecodeError> {
    Ok(Seen {
        is_exact: from.bool()?,
        fix: from.record(FIX_PARTS, read_fix)?,
    })
}

fn write_fix(out: &mut Writer, fix: &Fix) {
    out.array(9).int(fix.device_time.0);
    write_optional(out, fix.receiver_time.map(WallTime::millis), Writer::int);
    out.int(i64::from(fix.position.latitude_e7()));
    out.int(i64::from(fix.position.longitude_e7()));
    out.uint(u64::from(fix.accuracy_dm));
    write_optional(out, fix.speed_cm_s.map(u64::from), Writer::uint);
    write_optional(out, fix.heading_deg.map(u64::from), Writer::uint);
    write_optional(out, fix.battery_percent.map(u64::from), Writer::uint);
    write_optional(out, fix.waiting, Writer::uint);
}

fn read_fix(from: &mut Reader<'_>) -> Result<Fix, DecodeError> {
    let device_time = WallTime(from.int()?);
    let receiver_time = from.optional(Reader::int)?.map(WallTime);
    let (latitude_e7, longitude_e7) = (degrees(from)?, degrees(from)?);
    let position = Position::from_e7(latitude_e7, longitude_e7).map_err(|_| from.malformed())?;
    Ok(Fix {
        device_time,
        receiver_time,
        position,
        accuracy_dm: from.u32()?,
        speed_cm_s: from.optional(Reader::u32)?,
        heading_deg: from.optional(|from| at_most(from, HEADING_DEG_MAX))?,
        battery_percent: from.optional(|from| at_most(from, BATTERY_PERCENT_MAX))?,
        waiting: from.optional(Reader::uint)?,
    })
}

fn degrees(from: &mut Reader<'_>) -> Result<i32, DecodeError> {
    let value = from.int()?;
    i32::try_from(value).map_err(|_| from.malformed())
}

/// Reads a number that is at most `max`, which fits.
fn at_most<T: TryFrom<u16> + Into<u16> + Copy>(
    from: &mut Reader<'_>,
    max: T,
) -> Result<T, DecodeError> {
    let value = from.u16()?;
    let fitting = T::try_from(value).ok().filter(|_| value <= max.into());
    fitting.ok_or_else(|| from.malformed())
}

fn write_optional<T>(
    out: &mut Writer,
    value: Option<T>,
    write: impl FnOnce(&mut Writer, T) -> &mut Writer,
) {
    match value {
        Some(value) => write(out, value),
        None => out.null(),
    };
}
