//! The quarantine as an operator reads it, on the command line and over HTTP: the same fields in the same JSON.
//!
//! What a refused change would have done is told as far as its bytes say it without being opened: by whom, when,
//! how large. Its content is not shown, for that would mean handing it to the merge library. Not here: where it
//! lies (`gridbeat-relay-store`).

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Scope, WallTime};
use gridbeat_document::Outline;
use gridbeat_relay_core::StoreFault;
use gridbeat_relay_store::{RefusedFilter, RefusedRow, SqliteStore};
use serde::Serialize;

/// Lines a listing gives unless told otherwise: some screens.
pub(crate) const PAGE: u64 = 200;

/// One refused change.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineLine {
    /// Its number, which `show` and `discard` take.
    pub id: i64,
    /// The device that brought it.
    pub device: DeviceId,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// The document it was for.
    pub document: DocumentId,
    /// Its name, if its bytes are a change at all.
    pub change: Option<ChangeHash>,
    /// The code of the rule it broke.
    pub rule: String,
    /// The rule in words, in English; empty for one that an earlier program refused.
    pub en: String,
    /// The rule in words, in Chinese; as `en`.
    pub zh: String,
    /// When it came.
    pub received_ms: WallTime,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// Whether its bytes are here.
    pub has_bytes: bool,
    /// When it was discarded, if it was.
    pub discarded_ms: Option<WallTime>,
    /// By whom.
    pub discarded_by: Option<String>,
    /// Why.
    pub discarded_why: Option<String>,
}

/// One refused change, with what can be told of it.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineDetail {
    /// As it is listed.
    #[serde(flatten)]
    pub line: QuarantineLine,
    /// What its bytes say; `None` if they are not here, or are no change.
    pub says: Option<QuarantineOutline>,
    /// How many changes of its device lie in the quarantine.
    pub device_changes: u64,
    /// Their bytes.
    pub device_bytes: u64,
    /// How often something of its device was refused for which there was no room.
    pub device_beyond: u64,
}

/// What a refused change says of itself. None of it need be true.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantineOutline {
    /// The id it was written under, in hexadecimal digits.
    pub actor: String,
    /// Which change of that id it says it is.
    pub seq: u64,
    /// When its author's clock said it was made, in seconds since 1970.
    pub made_s: i64,
    /// On how many changes it was made.
    pub dependencies: usize,
    /// How many operations its bytes name; `None` if they cannot be counted.
    pub operations: Option<u64>,
    /// How many earlier ones those replace.
    pub replaced: Option<u64>,
    /// Whether it has what no honest change has.
    pub has_extras: bool,
}

impl QuarantineLine {
    /// Lists the quarantine of a relay's database, the latest first.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn list(
        store: &SqliteStore,
        filter: &RefusedFilter,
        limit: u64,
    ) -> Result<Vec<Self>, StoreFault> {
        let rows = store.refused(filter, limit)?;
        Ok(rows.into_iter().map(line).collect())
    }
}

impl QuarantineDetail {
    /// Returns one change of the quarantine of a relay's database.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    pub fn read(store: &SqliteStore, id: i64) -> Result<Option<Self>, StoreFault> {
        show(store, id)
    }
}

fn show(store: &SqliteStore, id: i64) -> Result<Option<QuarantineDetail>, StoreFault> {
    let Some((row, bytes)) = store.refused_change(id)? else {
        return Ok(None);
    };
    let room = store.refused_room(row.device)?;
    Ok(Some(QuarantineDetail {
        says: Outline::read(&bytes).ok().map(outline),
        line: line(row),
        device_changes: room.changes,
        device_bytes: room.bytes,
        device_beyond: room.beyond,
    }))
}

fn line(row: RefusedRow) -> QuarantineLine {
    let (discarded_ms, (by, why)) = match row.discarded {
        Some(it) => (Some(it.at), (Some(it.by), Some(it.why))),
        None => (None, (None, None)),
    };
    QuarantineLine {
        id: row.id,
        device: row.device,
        scope: row.scope,
        document: row.document,
        change: row.hash,
        rule: row.reason.code,
        en: row.reason.en,
        zh: row.reason.zh,
        received_ms: row.received,
        size_bytes: row.size_bytes,
        has_bytes: row.has_bytes,
        discarded_ms,
        discarded_by: by,
        discarded_why: why,
    }
}

fn outline(outline: Outline) -> QuarantineOutline {
    QuarantineOutline {
        actor: outline.actor.iter().map(|it| format!("{it:02x}")).collect(),
        seq: outline.seq,
        made_s: outline.time_s,
        dependencies: outline.dependencies,
        operations: outline.operations,
        replaced: outline.replaced,
        has_extras: outline.has_extras,
    }
}

/// Reads a filter from the part of an address behind its question mark; else says what is wrong with it.
pub(crate) fn filter_of(query: &str) -> Result<RefusedFilter, String> {
    let mut filter = RefusedFilter {
        is_discarded: Some(false),
        ..RefusedFilter::default()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = || format!("{key}: this is not one\n");
        match key {
            "device" => filter.device = Some(value.parse().map_err(|_| wrong())?),
            "document" => filter.document = Some(value.parse().map_err(|_| wrong())?),
            "rule" => filter.rule = Some(value.to_owned()),
            "before" => filter.before = Some(value.parse().map_err(|_| wrong())?),
            "all" => filter.is_discarded = None,
            _ => return Err("known are device, document, rule, before and all\n".to_owned()),
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_can_be_asked_for_by_device_rule_and_place() {
        let device = DeviceId::from_bytes([7; 16]);
        let asked = filter_of(&format!("device={device}&rule=breaks_document&before=12")).unwrap();
        assert_eq!((asked.device, asked.before), (Some(device), Some(12)));
        assert_eq!(asked.rule.as_deref(), Some("breaks_document"));
        assert_eq!(asked.is_discarded, Some(false));
        assert_eq!(filter_of("all").unwrap().is_discarded, None);
        for bad in ["device=x", "before=", "whatever=1", "document=%00"] {
            assert!(filter_of(bad).is_err(), "{bad}");
        }
    }
}
