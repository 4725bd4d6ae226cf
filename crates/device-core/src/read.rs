//! Answering what screens ask, from rows alone: no document is loaded but for [`Device::view`].

use std::collections::BTreeSet;

use gridbeat_base::{BlobHash, ChangeHash, DocumentId, Position, Scope, WallTime};
use gridbeat_document::View;
use gridbeat_sync_protocol::chunk_count;
use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, named_params};

use crate::store::blobs::{BlobRow, Delivery as BlobDelivery};
use crate::store::{blobs, documents, kept, log, outbox, scopes, sql};
use crate::{
    Attachment, BlobState, BlobsWaiting, Delivery, Device, HistoryEntry, KeptState, Near, Order,
    OutboxState, Query, ReadError, Record, ScopeState, StorageError, near, text,
};

/// The first distance looked at around a place: a few streets.
const NEAR_START_M: f64 = 500.0;

/// How often that is doubled, to 32 km, before everything is looked at: a city is done by then.
const NEAR_DOUBLINGS_MAX: u32 = 6;

/// No two places on the sphere are further apart.
const FURTHEST_M: f64 = 20_100_000.0;

/// The conditions of a query, of a row `r` of `record`. A condition that is NULL holds.
macro_rules! conditions {
    () => {
        "(:kind IS NULL OR r.kind = :kind)
         AND (:is_open IS NULL OR r.is_open = :is_open)
         AND (:status IS NULL OR r.status = :status)
         AND (:category IS NULL OR r.category = :category)
         AND (:attention IS NULL OR r.attention > 0)
         AND (:scope IS NULL OR EXISTS (
             SELECT 1 FROM placement p WHERE p.document = r.document AND p.scope = :scope))
         AND (:text IS NULL OR r.document IN (
             SELECT rowid FROM record_text WHERE record_text MATCH :text))"
    };
}

const NEWEST: &str = concat!(
    "SELECT r.document, r.latitude_e7, r.longitude_e7 FROM record r WHERE ",
    conditions!(),
    " AND (:occurred IS NULL OR (r.occurred, r.document) < (:occurred, :document))
     ORDER BY r.occurred DESC, r.document DESC LIMIT :limit"
);

const IN_BOX: &str = concat!(
    "SELECT r.document, r.latitude_e7, r.longitude_e7
     FROM record_place b CROSS JOIN record r ON r.document = b.document
     WHERE b.latitude_max >= :south AND b.latitude_min <= :north
       AND b.longitude_max >= :west AND b.longitude_min <= :east AND ",
    conditions!()
);

/// A query's conditions as the statements take them.
struct Filter<'q> {
    kind: Option<&'q str>,
    is_open: Option<bool>,
    status: Option<&'q str>,
    category: Option<&'q str>,
    attention: Option<bool>,
    scope: Option<i64>,
    text: Option<String>,
}

/// A record that answers a query: its row and its place.
type Found = (i64, Option<Position>);

impl Device {
    /// Lists the records that answer a query.
    ///
    /// # Errors
    ///
    /// [`ReadError::UnknownDocument`] if the record to go on after is gone, [`ReadError::Storage`].
    pub fn query(&self, query: &Query) -> Result<Vec<Record>, ReadError> {
        let Some(filter) = self.filter(query) else {
            return Ok(Vec::new());
        };
        let db = self.store.reader();
        let after = match query.after {
            Some(document) => Some(
                documents::find(db, document)?.ok_or(ReadError::UnknownDocument { document })?,
            ),
            None => None,
        };
        let found = match (query.order, query.near) {
            (Order::NearestFirst, Some(near)) => nearest(db, &filter, near, after, query.limit)?,
            (Order::NewestFirst, Some(near)) if near.within_m.is_some() => {
                newest_within(db, &filter, near, after, query.limit)?
            }
            (Order::NewestFirst | Order::NearestFirst, _) => {
                newest(db, &filter, after, query.limit)?
            }
        };
        let in_flight = self.in_flight();
        let mut records = Vec::with_capacity(found.len());
        for (document, place) in found {
            let mut record = self.read_record(document, &in_flight)?;
            record.distance_m = query
                .near
                .zip(place)
                .map(|(near, place)| near.position.distance_m(place));
            records.push(record);
        }
        Ok(records)
    }

    /// Returns one record; `None` if the device holds no such document.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn record(&self, document: DocumentId) -> Result<Option<Record>, ReadError> {
        match documents::find(self.store.reader(), document)? {
            Some(id) => Ok(Some(self.read_record(id, &self.in_flight())?)),
            None => Ok(None),
        }
    }

    /// Returns a document's whole content, conflicts included.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn view(&self, document: DocumentId) -> Result<View, ReadError> {
        let loaded = documents::load(self.store.reader(), &self.kinds, document)?
            .ok_or(ReadError::UnknownDocument { document })?;
        Ok(loaded.view())
    }

    /// Returns every change of a document, in an order in which each follows what it depends on.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub fn history(&self, document: DocumentId) -> Result<Vec<HistoryEntry>, ReadError> {
        let db = self.store.reader();
        let id = documents::find(db, document)?.ok_or(ReadError::UnknownDocument { document })?;
        let rows = log::history(db, id)?;
        let entry = |row: log::HistoryRow| HistoryEntry {
            change: row.entry.hash,
            author: row.entry.author,
            saved: row.wall,
            received: row.entry.received,
            intent: row.intent,
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Lists the scopes the device holds, by name.
    pub fn scopes(&self) -> Vec<ScopeState> {
        let state = |(scope, row): (&Scope, &scopes::ScopeRow)| ScopeState {
            scope: scope.clone(),
            grant: row.grant,
            verbs: row.verbs,
            cursor: row.cursor,
            digest: row.digest,
            documents: row.documents,
        };
        self.book.scopes.iter().map(state).collect()
    }

    /// Says what waits for the relay.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn outbox(&self) -> Result<OutboxState, ReadError> {
        let waiting = outbox::load(self.store.reader())?;
        Ok(OutboxState {
            changes: waiting.len() as u64,
            bytes: waiting.iter().map(|row| row.size).sum(),
            oldest: waiting.iter().map(|row| row.hlc.wall()).min(),
        })
    }

    /// Says what is kept aside of documents that have left.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn kept(&self) -> Result<KeptState, ReadError> {
        let (changes, bytes) = kept::total(self.store.reader())?;
        Ok(KeptState { changes, bytes })
    }

    /// Returns a blob that is here as a whole; `None` if there is none of this hash.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn get_blob(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(blobs::find(self.store.reader(), hash)?)
    }

    /// Lists the blobs that a document refers to, in order of their hashes, and how far each is: `3 of 3 received` is
    /// what the relay said.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn attachments(&self, document: DocumentId) -> Result<Vec<Attachment>, ReadError> {
        let db = self.store.reader();
        let rows = blobs::of_document(db, document)?;
        let attachment = |(row, delivery, is_wanted): (BlobRow, BlobDelivery, bool)| {
            let of = row.size_bytes.map_or(0, chunk_count);
            let kept = row.kept().len();
            let state = match delivery {
                BlobDelivery::Received => BlobState::Received {
                    is_here: row.is_whole,
                },
                BlobDelivery::Refused => BlobState::Refused,
                BlobDelivery::ToSend if kept > 0 => BlobState::Sending { kept, of },
                BlobDelivery::ToSend => BlobState::Here,
                BlobDelivery::Idle if is_wanted => BlobState::Fetching {
                    held: blobs::held(db, row.id, of)?.len(),
                    of: row.size_bytes.map(chunk_count),
                },
                BlobDelivery::Idle => BlobState::Elsewhere,
            };
            Ok(Attachment {
                hash: row.hash,
                size_bytes: row.size_bytes,
                media: blobs::media(db, row.id)?,
                state,
            })
        };
        rows.into_iter().map(attachment).collect()
    }

    /// Says how many attachments wait for the relay, and how many bytes of them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn blobs_waiting(&self) -> Result<BlobsWaiting, ReadError> {
        let bytes_max = self.uploads.bytes_max();
        let (blobs, bytes, held) = blobs::waiting(self.store.reader(), bytes_max)?;
        Ok(BlobsWaiting { blobs, bytes, held })
    }

    /// Lists the blobs that were put here, that no document refers to any more, and that the relay never had, each with
    /// its size: of what was refused, or of a scope that was left. They stay until [`Self::drop_blob`].
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn blobs_left(&self) -> Result<Vec<(BlobHash, u64)>, ReadError> {
        Ok(blobs::left(self.store.reader())?)
    }

    /// Returns every document with its heads, own unsent changes included, in order of id.
    ///
    /// # Errors
    ///
    /// [`ReadError::Storage`].
    pub fn fingerprint(&self) -> Result<Vec<(DocumentId, Vec<ChangeHash>)>, ReadError> {
        Ok(documents::fingerprint(self.store.reader())?)
    }

    /// Makes a query's conditions; `None` if nothing can answer it.
    fn filter<'q>(&self, query: &'q Query) -> Option<Filter<'q>> {
        let scope = match &query.scope {
            Some(scope) => Some(self.book.scopes.get(scope)?.id),
            None => None,
        };
        let text = match query.text.as_deref().map(str::trim) {
            None | Some("") => None,
            // What is typed but holds no letter or digit is in no record.
            Some(typed) => Some(text::to_match(typed)?),
        };
        Some(Filter {
            kind: query.kind.as_deref(),
            is_open: query.is_open,
            status: query.status.as_deref(),
            category: query.category.as_deref(),
            attention: query.needs_attention.then_some(true),
            scope,
            text,
        })
    }

    fn read_record(&self, id: i64, in_flight: &BTreeSet<i64>) -> Result<Record, StorageError> {
        let db = self.store.reader();
        let (mut record, received) = sql::first(
            db,
            "SELECT d.uuid, r.kind, r.status, r.is_open, r.category, r.latitude_e7, r.longitude_e7,
                 r.occurred, r.attention, d.body, r.received
             FROM record r JOIN document d ON d.id = r.document WHERE r.document = ?1",
            [id],
            read_row,
        )?
        .ok_or_else(|| sql::impossible("record.document"))?;
        record.scopes = scopes::placements(db, id)?
            .iter()
            .filter_map(|placement| self.book.scope(placement.scope))
            .map(|(scope, _)| scope.clone())
            .collect();
        record.scopes.sort_unstable();
        let waiting = outbox::of_document(db, id)?;
        record.delivery = if waiting.is_empty() {
            Delivery::Received { at: received }
        } else if waiting.iter().all(|row| in_flight.contains(&row.change)) {
            Delivery::Sent
        } else {
            Delivery::OnDevice
        };
        Ok(record)
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<(Record, Option<WallTime>)> {
    let record = Record {
        document: sql::document_id(row, 0)?,
        kind: row.get(1)?,
        scopes: Vec::new(),
        status: row.get(2)?,
        is_open: row.get(3)?,
        category: row.get(4)?,
        position: place(row, 5)?,
        occurred: WallTime(row.get(7)?),
        attention: row.get(8)?,
        body: row.get(9)?,
        delivery: Delivery::OnDevice,
        distance_m: None,
    };
    Ok((record, row.get::<_, Option<i64>>(10)?.map(WallTime)))
}

fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Position>> {
    let latitude: Option<i32> = row.get(column)?;
    let longitude: Option<i32> = row.get(column + 1)?;
    let place = latitude.zip(longitude);
    Ok(place.and_then(|(latitude, longitude)| Position::from_e7(latitude, longitude).ok()))
}

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    Ok((row.get(0)?, place(row, 1)?))
}

fn newest(
    db: &Connection,
    filter: &Filter<'_>,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<Found>, StorageError> {
    let occurred = match after {
        Some(document) => occurred(db, document)?,
        None => None,
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut params = filter.params();
    params.extend(named_params! {":occurred": occurred, ":document": after, ":limit": limit});
    sql::all(db, NEWEST, params.as_slice(), found)
}

fn newest_within(
    db: &Connection,
    filter: &Filter<'_>,
    near: Near,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<Found>, StorageError> {
    let mut timed = Vec::new();
    for (distance_m, found) in within(db, filter, near.position, near.within_m)? {
        if near.within_m.is_none_or(|within_m| distance_m <= within_m) {
            timed.push((occurred(db, found.0)?, found));
        }
    }
    timed.sort_by_key(|(occurred, found)| core::cmp::Reverse((*occurred, found.0)));
    if let Some(after) = after {
        let mark = (occurred(db, after)?, after);
        timed.retain(|(occurred, found)| (*occurred, found.0) < mark);
    }
    timed.truncate(limit);
    Ok(timed.into_iter().map(|(_, found)| found).collect())
}

fn nearest(
    db: &Connection,
    filter: &Filter<'_>,
    near: Near,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<Found>, StorageError> {
    let furthest_m = near.within_m.unwrap_or(FURTHEST_M).min(FURTHEST_M);
    let mark = match after {
        Some(document) => {
            position(db, document)?.map(|place| (near.position.distance_m(place), document))
        }
        None => None,
    };
    let mut radius_m = NEAR_START_M.min(furthest_m);
    for doubling in 0.. {
        let mut ranked = within(db, filter, near.position, Some(radius_m))?;
        ranked.retain(|(distance_m, found)| {
            *distance_m <= radius_m
                && mark.is_none_or(|mark| {
                    mark.0
                        .total_cmp(distance_m)
                        .then(mark.1.cmp(&found.0))
                        .is_lt()
                })
        });
        if ranked.len() >= limit || radius_m >= furthest_m {
            ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.0.cmp(&b.1.0)));
            ranked.truncate(limit);
            return Ok(ranked.into_iter().map(|(_, found)| found).collect());
        }
        radius_m = if doubling < NEAR_DOUBLINGS_MAX {
            (radius_m * 2.0).min(furthest_m)
        } else {
            furthest_m
        };
    }
    unreachable!("the radius reaches the furthest distance")
}

/// Returns what lies in the boxes around a circle, with its distance from the middle.
fn within(
    db: &Connection,
    filter: &Filter<'_>,
    center: Position,
    radius_m: Option<f64>,
) -> Result<Vec<(f64, Found)>, StorageError> {
    let mut ranked = Vec::new();
    for area in near::boxes(center, radius_m.unwrap_or(FURTHEST_M)) {
        let ((south, north), (west, east)) = (area.latitude_e7, area.longitude_e7);
        let mut params = filter.params();
        params.extend(named_params! {
            ":south": south, ":north": north, ":west": west, ":east": east,
        });
        for found in sql::all(db, IN_BOX, params.as_slice(), found)? {
            if let Some(place) = found.1 {
                ranked.push((center.distance_m(place), found));
            }
        }
    }
    Ok(ranked)
}

fn occurred(db: &Connection, document: i64) -> Result<Option<i64>, StorageError> {
    sql::first(
        db,
        "SELECT occurred FROM record WHERE document = ?1",
        [document],
        |row| row.get(0),
    )
}

fn position(db: &Connection, document: i64) -> Result<Option<Position>, StorageError> {
    let found = sql::first(
        db,
        "SELECT latitude_e7, longitude_e7 FROM record WHERE document = ?1",
        [document],
        |row| place(row, 0),
    )?;
    Ok(found.flatten())
}

impl Filter<'_> {
    fn params(&self) -> Vec<(&'static str, &dyn ToSql)> {
        vec![
            (":kind", &self.kind),
            (":is_open", &self.is_open),
            (":status", &self.status),
            (":category", &self.category),
            (":attention", &self.attention),
            (":scope", &self.scope),
            (":text", &self.text),
        ]
    }
}
