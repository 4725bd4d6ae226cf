//! The bodies of packs: what a push, a feed or snapshot frame and the answer to a comparison carry.
//!
//! Ids of documents and devices and names of kinds stand once in a table at the head of the body;
//! what follows names them by position. Times of receipt are written as the difference to the one
//! before, in the order of the body (`PROTOCOL.md`, 5.2). Changes stand in it as they are, or are taken apart
//! (`chunks`) and stand at its head.

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, WallTime};

use crate::chunks::{Apart, Together};
use crate::limits::{
    CHANGE_BYTES_MAX, COMPARE_DOCUMENTS_MAX, DOCUMENT_FRAME_CHANGES_MAX, FEED_ENTRIES_MAX,
    KIND_BYTES_MAX, PACK_UNPACKED_BYTES_MAX, PUSH_CHANGES_MAX, PUSH_DOCUMENTS_MAX,
    SNAPSHOT_DOCUMENTS_MAX,
};
use crate::wire::{Reader, Writer, check_count, number};
use crate::{
    ComparedDocument, DecodeError, Entry, FeedChange, Held, PackForm, PushChange, PushDocument,
    SnapshotDocument,
};

/// Size of a hash where hashes stand side by side in one byte string.
const HASH_BYTES: usize = 32;

/// Kinds of feed entries on the wire.
const CHANGE: u64 = 0;
const ATTACH: u64 = 1;
const DETACH: u64 = 2;
const OWN: u64 = 3;

/// Values that stand once at the head of a body, in the order of their first use.
struct Table<T>(Vec<T>);

impl<T: Copy + Eq> Table<T> {
    fn place(&mut self, value: T) -> u64 {
        // Searched from the end: neighbours in a feed share authors and documents.
        let found = self.0.iter().rposition(|known| *known == value);
        number(found.unwrap_or_else(|| {
            self.0.push(value);
            self.0.len() - 1
        }))
    }
}

impl<T: Copy> Table<T> {
    fn at(&self, from: &mut Reader<'_>) -> Result<T, DecodeError> {
        let place = usize::try_from(from.uint()?).ok();
        let value = place.and_then(|place| self.0.get(place)).copied();
        value.ok_or_else(|| from.malformed())
    }
}

/// What a body being written has named so far.
struct BodyWriter<'a> {
    documents: Table<DocumentId>,
    devices: Table<DeviceId>,
    kinds: Table<&'a str>,
    received: WallTime,
    /// The changes that are taken apart, if that is asked for.
    apart: Option<Apart>,
    /// The body after its tables.
    rest: Writer,
}

impl<'a> BodyWriter<'a> {
    fn new(form: PackForm) -> Self {
        Self {
            apart: (form == PackForm::Apart).then(Apart::default),
            documents: Table(Vec::new()),
            devices: Table(Vec::new()),
            kinds: Table(Vec::new()),
            received: WallTime(0),
            rest: Writer::new(),
        }
    }

    fn change(&mut self, change: &FeedChange) {
        let difference = change.received.0.wrapping_sub(self.received.0);
        self.received = change.received;
        let author = self.devices.place(change.author);
        self.rest.array(3).uint(author).int(difference);
        self.chunk(&change.bytes);
    }

    /// Writes one raw change, or that it is the next of those taken apart.
    fn chunk(&mut self, bytes: &[u8]) {
        let apart = self.apart.as_mut();
        if apart.is_some_and(|apart| apart.take(bytes)) {
            self.rest.null();
        } else {
            self.rest.bytes(bytes);
        }
    }

    fn changes(&mut self, changes: &[FeedChange]) {
        self.rest.array(changes.len());
        for change in changes {
            self.change(change);
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        let mut head = Writer::new();
        head.array(4 + usize::from(self.apart.is_some()));
        if let Some(apart) = &self.apart {
            apart.write(&mut head);
        }
        head.list(&self.documents.0, |out, id| {
            out.bytes(id.bytes());
        });
        head.list(&self.devices.0, |out, id| {
            out.bytes(id.bytes());
        });
        head.list(&self.kinds.0, |out, kind| {
            out.text(kind);
        });
        let mut bytes = head.into_bytes();
        bytes.extend(self.rest.into_bytes());
        bytes
    }
}

/// What the head of a body being read has named.
struct BodyReader<'b> {
    documents: Table<DocumentId>,
    devices: Table<DeviceId>,
    kinds: Table<&'b str>,
    received: WallTime,
    together: Option<Together<'b>>,
    /// How many more changes the body may hold.
    changes_left: usize,
}

impl<'b> BodyReader<'b> {
    /// Reads a body: its tables, then a list of at most `max` elements, each by `read`.
    fn read<T>(
        body: &'b [u8],
        form: PackForm,
        part: &'static str,
        max: usize,
        changes_max: usize,
        mut read: impl FnMut(&mut Self, &mut Reader<'b>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut from = Reader::new(body);
        let is_apart = form == PackForm::Apart;
        let items = from.record(4 + u64::from(is_apart), |from| {
            let together = is_apart.then(|| Together::read(from)).transpose()?;
            let id = |from: &mut Reader<'b>| from.fixed().map(DocumentId::from_bytes);
            let documents = Table(from.list("documents of a table", max, id)?);
            let id = |from: &mut Reader<'b>| from.fixed().map(DeviceId::from_bytes);
            let devices = Table(from.list("devices of a table", changes_max, id)?);
            let kind = |from: &mut Reader<'b>| kind(from);
            let kinds = Table(from.list("kinds of a table", max, kind)?);
            let mut tables = Self {
                documents,
                devices,
                kinds,
                received: WallTime(0),
                together,
                changes_left: changes_max,
            };
            let items = from.list(part, max, |from| read(&mut tables, from))?;
            tables.together.map_or(Ok(()), |together| together.end())?;
            Ok(items)
        })?;
        from.end()?;
        Ok(items)
    }

    fn change(&mut self, from: &mut Reader<'b>) -> Result<FeedChange, DecodeError> {
        from.record(3, |from| {
            let author = self.devices.at(from)?;
            self.received = WallTime(self.received.0.wrapping_add(from.int()?));
            Ok(FeedChange {
                bytes: self.bytes(from)?,
                author,
                received: self.received,
            })
        })
    }

    fn changes(&mut self, from: &mut Reader<'b>) -> Result<Vec<FeedChange>, DecodeError> {
        let max = self.changes_left;
        from.list("changes", max, |from| self.change(from))
    }

    /// Reads one raw change.
    fn bytes(&mut self, from: &mut Reader<'b>) -> Result<Vec<u8>, DecodeError> {
        let left = self.changes_left.checked_sub(1);
        self.changes_left = left.ok_or(DecodeError::TooMany {
            part: "changes",
            count: 1,
            max: 0,
        })?;
        let bytes = match &mut self.together {
            None => from.bytes()?.to_vec(),
            Some(together) => match from.optional(Reader::bytes)? {
                Some(whole) => whole.to_vec(),
                None => together.next()?,
            },
        };
        check_count("bytes of a change", bytes.len(), CHANGE_BYTES_MAX)?;
        Ok(bytes)
    }
}

/// Reads a kind's name.
pub(crate) fn kind<'b>(from: &mut Reader<'b>) -> Result<&'b str, DecodeError> {
    from.text("bytes of a kind's name", KIND_BYTES_MAX)
}

/// Writes the body of a push.
pub(crate) fn write_push(documents: &[PushDocument], form: PackForm) -> Vec<u8> {
    let mut out = BodyWriter::new(form);
    out.rest.array(documents.len());
    for document in documents {
        let id = out.documents.place(document.document);
        let kind = out.kinds.place(&document.kind);
        let version = u64::from(document.schema_version);
        out.rest.array(4).uint(id).uint(kind).uint(version);
        out.rest.array(document.changes.len());
        for change in &document.changes {
            if let Some(author) = change.recovered_from {
                let author = out.devices.place(author);
                out.rest.array(2);
                out.chunk(&change.bytes);
                out.rest.uint(author);
            } else {
                out.rest.array(1);
                out.chunk(&change.bytes);
            }
        }
    }
    out.into_bytes()
}

/// Reads the body of a push.
pub(crate) fn read_push(body: &[u8], form: PackForm) -> Result<Vec<PushDocument>, DecodeError> {
    let part = "documents of a push";
    BodyReader::read(
        body,
        form,
        part,
        PUSH_DOCUMENTS_MAX,
        PUSH_CHANGES_MAX,
        |tables, from| {
            from.record(4, |from| {
                Ok(PushDocument {
                    document: tables.documents.at(from)?,
                    kind: tables.kinds.at(from)?.to_owned(),
                    schema_version: from.u16()?,
                    changes: {
                        let max = tables.changes_left;
                        from.list("changes", max, |from| push_change(tables, from))?
                    },
                })
            })
        },
    )
}

fn push_change<'b>(
    tables: &mut BodyReader<'b>,
    from: &mut Reader<'b>,
) -> Result<PushChange, DecodeError> {
    from.counted(|from, count| {
        let bytes = tables.bytes(from)?;
        let recovered_from = match count {
            1 => None,
            _ => Some(tables.devices.at(from)?),
        };
        Ok((
            count.min(2),
            PushChange {
                bytes,
                recovered_from,
            },
        ))
    })
}

/// Writes the body of a feed frame.
pub(crate) fn write_feed(entries: &[Entry], form: PackForm) -> Vec<u8> {
    let mut out = BodyWriter::new(form);
    out.rest.array(entries.len());
    for entry in entries {
        match entry {
            Entry::Change { document, change } => {
                let id = out.documents.place(*document);
                out.rest.array(3).uint(CHANGE).uint(id);
                out.change(change);
            }
            Entry::Attach {
                document,
                kind,
                schema_version,
                changes,
            } => {
                let id = out.documents.place(*document);
                let kind = out.kinds.place(kind);
                let version = u64::from(*schema_version);
                out.rest
                    .array(5)
                    .uint(ATTACH)
                    .uint(id)
                    .uint(kind)
                    .uint(version);
                out.changes(changes);
            }
            Entry::Detach { document } => {
                let id = out.documents.place(*document);
                out.rest.array(2).uint(DETACH).uint(id);
            }
            Entry::Own { count } => {
                out.rest.array(2).uint(OWN).uint(*count);
            }
        }
    }
    out.into_bytes()
}

/// Reads the body of a feed frame.
pub(crate) fn read_feed(body: &[u8], form: PackForm) -> Result<Vec<Entry>, DecodeError> {
    let (part, changes_max) = ("entries of a feed frame", DOCUMENT_FRAME_CHANGES_MAX);
    BodyReader::read(
        body,
        form,
        part,
        FEED_ENTRIES_MAX,
        changes_max,
        |tables, from| {
            from.variant(|from, kind| {
                Ok(match kind {
                    CHANGE => {
                        let document = tables.documents.at(from)?;
                        let change = tables.change(from)?;
                        (2, Entry::Change { document, change })
                    }
                    ATTACH => {
                        let entry = Entry::Attach {
                            document: tables.documents.at(from)?,
                            kind: tables.kinds.at(from)?.to_owned(),
                            schema_version: from.u16()?,
                            changes: tables.changes(from)?,
                        };
                        (4, entry)
                    }
                    DETACH => {
                        let document = tables.documents.at(from)?;
                        (1, Entry::Detach { document })
                    }
                    OWN => (
                        1,
                        Entry::Own {
                            count: from.uint()?,
                        },
                    ),
                    // PROTOCOL 2.3: an entry the reader does not know cannot be skipped.
                    _ => return Err(DecodeError::UnknownEntry { kind }),
                })
            })
        },
    )
}

/// Writes the body of a snapshot frame.
pub(crate) fn write_snapshot(documents: &[SnapshotDocument], form: PackForm) -> Vec<u8> {
    let mut out = BodyWriter::new(form);
    out.rest.array(documents.len());
    for document in documents {
        let id = out.documents.place(document.document);
        let kind = out.kinds.place(&document.kind);
        let version = u64::from(document.schema_version);
        out.rest.array(4).uint(id).uint(kind).uint(version);
        out.changes(&document.changes);
    }
    out.into_bytes()
}

/// Reads the body of a snapshot frame.
pub(crate) fn read_snapshot(
    body: &[u8],
    form: PackForm,
) -> Result<Vec<SnapshotDocument>, DecodeError> {
    let (part, changes_max) = ("documents of a snapshot", DOCUMENT_FRAME_CHANGES_MAX);
    BodyReader::read(
        body,
        form,
        part,
        SNAPSHOT_DOCUMENTS_MAX,
        changes_max,
        |tables, from| {
            from.record(4, |from| {
                Ok(SnapshotDocument {
                    document: tables.documents.at(from)?,
                    kind: tables.kinds.at(from)?.to_owned(),
                    schema_version: from.u16()?,
                    changes: tables.changes(from)?,
                })
            })
        },
    )
}

/// Writes the body of the answer to a comparison.
pub(crate) fn write_compared(documents: &[ComparedDocument], form: PackForm) -> Vec<u8> {
    let mut out = BodyWriter::new(form);
    out.rest.array(documents.len());
    for document in documents {
        let id = out.documents.place(document.document);
        out.rest.array(2).uint(id);
        let Some(held) = &document.held else {
            out.rest.null();
            continue;
        };
        let kind = out.kinds.place(&held.kind);
        let version = u64::from(held.schema_version);
        out.rest.array(5).uint(kind).uint(version);
        write_hashes(&mut out.rest, &held.heads);
        write_hashes(&mut out.rest, &held.lacks);
        out.changes(&held.changes);
    }
    out.into_bytes()
}

/// Reads the body of the answer to a comparison.
pub(crate) fn read_compared(
    body: &[u8],
    form: PackForm,
) -> Result<Vec<ComparedDocument>, DecodeError> {
    let (part, changes_max) = ("documents of a comparison", DOCUMENT_FRAME_CHANGES_MAX);
    BodyReader::read(
        body,
        form,
        part,
        COMPARE_DOCUMENTS_MAX,
        changes_max,
        |tables, from| {
            from.record(2, |from| {
                let document = tables.documents.at(from)?;
                let held = from.optional(|from| {
                    from.record(5, |from| {
                        Ok(Held {
                            kind: tables.kinds.at(from)?.to_owned(),
                            schema_version: from.u16()?,
                            heads: read_hashes(from, PACK_UNPACKED_BYTES_MAX / HASH_BYTES)?,
                            lacks: read_hashes(from, PACK_UNPACKED_BYTES_MAX / HASH_BYTES)?,
                            changes: tables.changes(from)?,
                        })
                    })
                })?;
                Ok(ComparedDocument { document, held })
            })
        },
    )
}

/// Writes hashes side by side in one byte string.
pub(crate) fn write_hashes(out: &mut Writer, hashes: &[ChangeHash]) {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.bytes()).collect();
    out.bytes(&bytes);
}

/// Reads at most `max` hashes that stand side by side in one byte string.
pub(crate) fn read_hashes(
    from: &mut Reader<'_>,
    max: usize,
) -> Result<Vec<ChangeHash>, DecodeError> {
    let (hashes, rest) = from.bytes()?.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() {
        return Err(from.malformed());
    }
    check_count("hashes", hashes.len(), max)?;
    Ok(hashes.iter().map(|hash| ChangeHash::new(*hash)).collect())
}
