//! What the file knows as a whole, each under a key.

use gridbeat_base::{DeviceId, Hlc, Incarnation, Install, WallTime};
use gridbeat_sync_protocol::BatchMark;
use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, params};

use super::sql;
use crate::StorageError;

const DEVICE: &str = "device";
const INSTALL: &str = "install";
const INCARNATION: &str = "incarnation";
const HLC: &str = "hlc";
const RELAY_OFFSET: &str = "relay_offset_ms";
const BATCH: &str = "batch";
const STABLE: &str = "stable_ms";
const RELAY_VERSION: &str = "relay_version";

/// Where the device's own chain of signed batches stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct BatchChain {
    /// The last number given to a batch.
    pub(crate) number: u64,
    /// The acknowledged batch with the highest number.
    pub(crate) acknowledged: Option<(u64, BatchMark)>,
}

/// What the file knows as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) device: Option<DeviceId>,
    pub(crate) install: Option<Install>,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) hlc: Hlc,
    pub(crate) relay_offset_ms: Option<i64>,
    pub(crate) batch: BatchChain,
    pub(crate) stable: Option<WallTime>,
    pub(crate) relay_version: Option<u16>,
}

/// Reads everything.
pub(crate) fn load(db: &Connection) -> Result<Meta, StorageError> {
    Ok(Meta {
        device: value(db, DEVICE)?.map(DeviceId::from_bytes),
        install: value(db, INSTALL)?.map(Install::from_bytes),
        incarnation: value(db, INCARNATION)?.map(Incarnation::from_bytes),
        hlc: value(db, HLC)?
            .map(|bits: i64| Hlc::from_bits(bits.cast_unsigned()))
            .unwrap_or_default(),
        relay_offset_ms: value(db, RELAY_OFFSET)?,
        batch: match value::<Vec<u8>>(db, BATCH)? {
            Some(bytes) => BatchChain::read(&bytes).ok_or_else(|| sql::impossible("meta.batch"))?,
            None => BatchChain::default(),
        },
        stable: value(db, STABLE)?.map(WallTime),
        relay_version: value(db, RELAY_VERSION)?,
    })
}

/// Returns whether the documents' references to blobs are still to be listed, and notes that they are.
pub(crate) fn take_references_due(db: &Connection) -> Result<bool, StorageError> {
    let due = sql::execute(db, "DELETE FROM meta WHERE key = 'references_due'", [])?;
    Ok(due > 0)
}

/// Says whose file it is, on which installation.
pub(crate) fn put_owner(
    db: &Connection,
    device: DeviceId,
    install: Install,
) -> Result<(), StorageError> {
    put(db, DEVICE, device.bytes())?;
    put(db, INSTALL, install.bytes())
}

/// Says which relay the cursors belong to.
pub(crate) fn put_incarnation(db: &Connection, value: Incarnation) -> Result<(), StorageError> {
    put(db, INCARNATION, value.bytes())
}

/// Keeps the last stamp given or seen.
pub(crate) fn put_hlc(db: &Connection, hlc: Hlc) -> Result<(), StorageError> {
    put(db, HLC, sql::hlc_bits(hlc))
}

/// Keeps the relay's clock minus ours.
pub(crate) fn put_relay_offset(db: &Connection, offset_ms: i64) -> Result<(), StorageError> {
    put(db, RELAY_OFFSET, offset_ms)
}

/// Keeps the relay's stable mark, or forgets it.
pub(crate) fn put_stable(db: &Connection, stable: Option<WallTime>) -> Result<(), StorageError> {
    put_or_forget(db, STABLE, stable.map(WallTime::millis))
}

/// Keeps which version of the protocol the relay chose, or forgets it.
pub(crate) fn put_relay_version(db: &Connection, version: Option<u16>) -> Result<(), StorageError> {
    put_or_forget(db, RELAY_VERSION, version)
}

/// Keeps where the chain of batches stands.
pub(crate) fn put_batch(db: &Connection, chain: &BatchChain) -> Result<(), StorageError> {
    put(db, BATCH, chain.to_bytes())
}

impl BatchChain {
    /// The last number; then, if any batch was acknowledged, its number and mark.
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.number.to_be_bytes().to_vec();
        if let Some((number, mark)) = self.acknowledged {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(mark.bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let acknowledged = match rest.split_first_chunk() {
            Some((number, mark)) => {
                let mark = BatchMark::from_bytes(mark.try_into().ok()?);
                Some((u64::from_be_bytes(*number), mark))
            }
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self {
            number: u64::from_be_bytes(*number),
            acknowledged,
        })
    }
}

fn value<T: FromSql>(db: &Connection, key: &str) -> Result<Option<T>, StorageError> {
    sql::first(db, "SELECT value FROM meta WHERE key = ?1", [key], |row| {
        row.get(0)
    })
}

fn put_or_forget(
    db: &Connection,
    key: &str,
    value: Option<impl ToSql>,
) -> Result<(), StorageError> {
    match value {
        Some(value) => put(db, key, value),
        None => sql::execute(db, "DELETE FROM meta WHERE key = ?1", [key]).map(drop),
    }
}

fn put(db: &Connection, key: &str, value: impl ToSql) -> Result<(), StorageError> {
    sql::execute(
        db,
        "INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, value],
    )?;
    Ok(())
}
