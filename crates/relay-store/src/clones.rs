//! Which devices were heard from two installations: one of them is a copy, or a backup put on another phone.
//!
//! A row a pair, written with the device's mark. Both go on working: this is for operators. Not here: telling
//! one installation from another (`install`, which each device keeps outside of its file).

use gridbeat_base::{DeviceId, Install, WallTime};
use gridbeat_relay_core::{Mark, StoreFault};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::error::fault;
use crate::value::from_sql;
use crate::{SqliteReader, SqliteStore};

/// Pairs on record for one device: an officer's phone that is replaced each week for a year has fewer.
pub const CLONE_PAIRS_MAX: usize = 64;

/// Two installations of one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloneRow {
    /// The device.
    pub device: DeviceId,
    /// One installation.
    pub one: Install,
    /// The other.
    pub other: Install,
    /// When the second of them was heard first.
    pub first: WallTime,
    /// When one of them was heard last after the other.
    pub last: WallTime,
    /// How often one was heard after the other. 1 is a phone that was replaced, or a copy's first call; more is
    /// two that are both in use.
    pub times: u64,
}

macro_rules! clones {
    ($($name:ident),*) => {$(
        impl $name {
            /// Lists the devices that were heard from two installations, all or one device's.
            ///
            /// # Errors
            ///
            /// [`StoreFault`].
            pub fn clones(&self, device: Option<DeviceId>) -> Result<Vec<CloneRow>, StoreFault> {
                list(self.connection(), device)
            }
        }
    )*};
}

clones!(SqliteStore, SqliteReader);

/// Takes note of the installations a mark names, beside the one heard before. To be called before the mark is
/// written.
pub(crate) fn note(tx: &Transaction<'_>, mark: &Mark) -> rusqlite::Result<()> {
    let before: Option<[u8; 16]> = tx
        .prepare_cached("SELECT install FROM mark WHERE device = ?1")?
        .query_row([mark.device.bytes()], |row| row.get(0))
        .optional()?;
    let before = before.map(Install::from_bytes);
    let others = mark.others.iter().copied().chain(before);
    let mut noted: Vec<Install> = Vec::new();
    for other in others.filter(|other| *other != mark.install) {
        if !noted.contains(&other) {
            pair(tx, mark, other)?;
            noted.push(other);
        }
    }
    Ok(())
}

fn pair(tx: &Transaction<'_>, mark: &Mark, other: Install) -> rusqlite::Result<()> {
    let (one, other) = if mark.install.bytes() < other.bytes() {
        (mark.install, other)
    } else {
        (other, mark.install)
    };
    let most = i64::try_from(CLONE_PAIRS_MAX).unwrap_or(i64::MAX);
    tx.prepare_cached(
        "INSERT INTO clone SELECT ?1, ?2, ?3, ?4, ?4, 1
         WHERE (SELECT count(*) FROM clone WHERE device = ?1) < ?5
             OR EXISTS (SELECT 1 FROM clone WHERE device = ?1 AND one = ?2 AND other = ?3)
         ON CONFLICT DO UPDATE SET last = ?4, times = times + 1",
    )?
    .execute(params![
        mark.device.bytes(),
        one.bytes(),
        other.bytes(),
        mark.seen.millis(),
        most,
    ])?;
    Ok(())
}

fn list(connection: &Connection, device: Option<DeviceId>) -> Result<Vec<CloneRow>, StoreFault> {
    let mut find = connection
        .prepare_cached(
            "SELECT device, one, other, first, last, times FROM clone
             WHERE ?1 IS NULL OR device = ?1 ORDER BY device, first",
        )
        .map_err(fault)?;
    let rows = find
        .query_map([device.map(|device| *device.bytes())], |row| {
            let clone = CloneRow {
                device: DeviceId::from_bytes(row.get(0)?),
                one: Install::from_bytes(row.get(1)?),
                other: Install::from_bytes(row.get(2)?),
                first: WallTime(row.get(3)?),
                last: WallTime(row.get(4)?),
                times: 0,
            };
            Ok((clone, row.get::<_, i64>(5)?))
        })
        .map_err(fault)?;
    rows.map(|row| {
        let (clone, times) = row.map_err(fault)?;
        Ok(CloneRow {
            times: from_sql(times)?,
            ..clone
        })
    })
    .collect()
}
