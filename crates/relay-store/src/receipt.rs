//! The relay's signed account of what it took in: one receipt after the other, each naming the one
//! before.
//!
//! A receipt is a statement in CBOR behind a context of its own, and a signature over both. Together
//! they say of every entry of every feed, and of every change, when and by what it came. Not here:
//! what devices sign (`gridbeat-sync-protocol`), how receipts are written and verified.

use core::fmt;

use gridbeat_base::{ChangeHash, DeviceId, Digest, DocumentId, Incarnation, Scope, WallTime};
use gridbeat_relay_core::EntryKind;
use gridbeat_sync_protocol::{BatchHash, PublicKey, SUITE, Signature, Verdict};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use sha2::{Digest as _, Sha256};

use crate::commit::{ATTACH, CHANGE, DETACH, entry_columns};

/// What the bytes of every receipt begin with, so that no signature of a receipt is one of anything else.
const CONTEXT: &[u8] = b"gridbeat receipt\0";

/// Kinds of receipts.
const BEGINS: u64 = 0;
const BATCH: u64 = 1;
const PLACED: u64 = 2;
const OPERATED: u64 = 3;
const REMOVED: u64 = 4;

/// Names one receipt: the SHA-256 of its bytes.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ReceiptHash(pub(crate) [u8; 32]);

impl ReceiptHash {
    /// Returns the name of a receipt's bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Debug for ReceiptHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Receipt {
    /// Its number; the first is 1.
    pub(crate) number: u64,
    /// The one before; `None` for the first.
    pub(crate) previous: Option<ReceiptHash>,
    /// When the relay received what it is about.
    pub(crate) received: WallTime,
    pub(crate) what: Receipted,
}

/// What a receipt is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Receipted {
    /// Another life of the database begins, or another key.
    Begins {
        incarnation: Incarnation,
        /// The key that signs from here on, this one too.
        key: PublicKey,
        /// What was there before there were receipts.
        before: Before,
    },
    /// A device's push was answered.
    Batch {
        hash: BatchHash,
        /// The key it is signed by; `None` if it is not signed.
        key: Option<PublicKey>,
        /// Whether the device came from another life of the database.
        recovers: bool,
        /// One for each change, runs of equal ones together.
        verdicts: Vec<(Answered, u64)>,
        /// What it added to the feed of its scope.
        entries: Option<FeedRange>,
    },
    /// What the same commit added to feeds besides: changes in further scopes of their documents, and what
    /// operators placed.
    Placed(Vec<FeedRange>),
    /// An operator did something.
    Operated {
        /// The entry of the operators' log.
        number: u64,
        /// Its hash.
        hash: [u8; 32],
    },
    /// A device stated what it removed.
    Removed {
        /// The statement whole, for it is short and nothing else answers for it.
        statement: Vec<u8>,
        /// The key and the signature, if it is signed.
        signed: Option<(PublicKey, Signature)>,
    },
}

/// What was there before the first receipt, as numbers and one hash.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Before {
    pub(crate) changes: u64,
    pub(crate) entries: u64,
    pub(crate) hash: [u8; 32],
}

/// A verdict, with the code of the rule if it is a refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Answered {
    Accepted,
    Known,
    Incomplete,
    Refused(String),
}

impl From<&Verdict> for Answered {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accepted => Self::Accepted,
            Verdict::Known => Self::Known,
            Verdict::Incomplete => Self::Incomplete,
            Verdict::Refused(reason) => Self::Refused(reason.code.clone()),
        }
    }
}

/// Consecutive entries of one feed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FeedRange {
    pub(crate) scope: Scope,
    /// The scope's number in the file.
    pub(crate) scope_id: i64,
    pub(crate) first: u64,
    pub(crate) entries: Vec<FeedEntry>,
}

/// One entry of a feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FeedEntry {
    pub(crate) what: EntryKind,
    pub(crate) document: DocumentId,
    /// The scope's digest after it.
    pub(crate) digest: Digest,
}

impl Receipt {
    /// Returns the bytes that are signed and hashed.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder::new(CONTEXT.to_vec());
        self.write(&mut out).expect("memory takes every byte");
        out.into_writer()
    }

    fn write(&self, out: &mut Encoder<Vec<u8>>) -> Written {
        let (kind, fields) = match &self.what {
            Receipted::Begins { .. } => (BEGINS, 5),
            Receipted::Batch { .. } => (BATCH, 5),
            Receipted::Placed(_) => (PLACED, 1),
            Receipted::Operated { .. } => (OPERATED, 2),
            Receipted::Removed { .. } => (REMOVED, 3),
        };
        out.array(5 + fields)?.u64(SUITE)?.u64(self.number)?;
        bytes_or_null(out, self.previous.as_ref().map(|it| it.0.as_slice()))?;
        out.i64(self.received.millis())?.u64(kind)?;
        match &self.what {
            Receipted::Begins {
                incarnation,
                key,
                before,
            } => {
                out.bytes(incarnation.bytes())?.bytes(key.bytes())?;
                out.u64(before.changes)?.u64(before.entries)?;
                out.bytes(&before.hash)?;
            }
            Receipted::Batch {
                hash,
                key,
                recovers,
                verdicts,
                entries,
            } => {
                out.bytes(hash.bytes())?;
                bytes_or_null(out, key.as_ref().map(|key| key.bytes().as_slice()))?;
                out.bool(*recovers)?.array(verdicts.len() as u64)?;
                for (verdict, count) in verdicts {
                    write_verdict(out, verdict, *count)?;
                }
                match entries {
                    Some(range) => range.write(out)?,
                    None => {
                        out.null()?;
                    }
                }
            }
            Receipted::Placed(ranges) => {
                out.array(ranges.len() as u64)?;
                ranges.iter().try_for_each(|range| range.write(out))?;
            }
            Receipted::Operated { number, hash } => {
                out.u64(*number)?.bytes(hash)?;
            }
            Receipted::Removed { statement, signed } => {
                out.bytes(statement)?;
                let signed = signed.as_ref();
                bytes_or_null(out, signed.map(|(key, _)| key.bytes().as_slice()))?;
                bytes_or_null(out, signed.map(|(_, by)| by.bytes().as_slice()))?;
            }
        }
        Ok(())
    }

    /// Reads a receipt; `None` if the bytes are none, or could be written otherwise.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut from = Decoder::new(bytes.strip_prefix(CONTEXT)?);
        let fields = from.array().ok()??;
        if from.u64().ok()? != SUITE {
            return None;
        }
        let number = from.u64().ok()?;
        let previous = optional(&mut from, fixed)?.map(ReceiptHash);
        let received = WallTime(from.i64().ok()?);
        let what = match (from.u64().ok()?, fields) {
            (BEGINS, 10) => Receipted::Begins {
                incarnation: Incarnation::new(fixed(&mut from)?),
                key: PublicKey::from_bytes(&fixed(&mut from)?)?,
                before: Before {
                    changes: from.u64().ok()?,
                    entries: from.u64().ok()?,
                    hash: fixed(&mut from)?,
                },
            },
            (BATCH, 10) => Receipted::Batch {
                hash: BatchHash::from_bytes(fixed(&mut from)?),
                key: optional(&mut from, |from| PublicKey::from_bytes(&fixed(from)?))?,
                recovers: from.bool().ok()?,
                verdicts: list(&mut from, read_verdict)?,
                entries: optional(&mut from, FeedRange::read)?,
            },
            (PLACED, 6) => Receipted::Placed(list(&mut from, FeedRange::read)?),
            (OPERATED, 7) => Receipted::Operated {
                number: from.u64().ok()?,
                hash: fixed(&mut from)?,
            },
            (REMOVED, 8) => {
                let statement = from.bytes().ok()?.to_vec();
                let key = optional(&mut from, |from| PublicKey::from_bytes(&fixed(from)?))?;
                let signature =
                    optional(&mut from, |from| Some(Signature::from_bytes(fixed(from)?)))?;
                let signed = match (key, signature) {
                    (Some(key), Some(signature)) => Some((key, signature)),
                    (None, None) => None,
                    (Some(_), None) | (None, Some(_)) => return None,
                };
                Receipted::Removed { statement, signed }
            }
            _ => return None,
        };
        let receipt = Self {
            number,
            previous,
            received,
            what,
        };
        (receipt.to_bytes() == bytes).then_some(receipt)
    }

    /// Returns what it says was added to feeds.
    pub(crate) fn ranges(&self) -> &[FeedRange] {
        match &self.what {
            Receipted::Begins { .. } | Receipted::Operated { .. } | Receipted::Removed { .. } => {
                &[]
            }
            Receipted::Batch { entries, .. } => entries.as_slice(),
            Receipted::Placed(ranges) => ranges,
        }
    }
}

type Written = Result<(), minicbor::encode::Error<core::convert::Infallible>>;

fn bytes_or_null(out: &mut Encoder<Vec<u8>>, bytes: Option<&[u8]>) -> Written {
    match bytes {
        Some(bytes) => out.bytes(bytes)?,
        None => out.null()?,
    };
    Ok(())
}

fn write_verdict(out: &mut Encoder<Vec<u8>>, verdict: &Answered, count: u64) -> Written {
    let (number, code) = match verdict {
        Answered::Accepted => (0, None),
        Answered::Known => (1, None),
        Answered::Incomplete => (2, None),
        Answered::Refused(code) => (3, Some(code)),
    };
    out.array(2 + u64::from(code.is_some()))?;
    out.u8(number)?.u64(count)?;
    if let Some(code) = code {
        out.str(code)?;
    }
    Ok(())
}

fn read_verdict(from: &mut Decoder<'_>) -> Option<(Answered, u64)> {
    let fields = from.array().ok()??;
    let (number, count) = (from.u8().ok()?, from.u64().ok()?);
    let verdict = match (number, fields) {
        (0, 2) => Answered::Accepted,
        (1, 2) => Answered::Known,
        (2, 2) => Answered::Incomplete,
        (3, 3) => Answered::Refused(from.str().ok()?.to_owned()),
        _ => return None,
    };
    Some((verdict, count))
}

impl FeedRange {
    fn write(&self, out: &mut Encoder<Vec<u8>>) -> Written {
        out.array(4)?.str(self.scope.as_str())?.i64(self.scope_id)?;
        out.u64(self.first)?.array(self.entries.len() as u64)?;
        for entry in &self.entries {
            let (what, change) = entry_columns(entry.what);
            out.array(4)?.i64(what)?.bytes(entry.document.bytes())?;
            out.u64(change)?.bytes(&entry.digest.bytes())?;
        }
        Ok(())
    }

    fn read(from: &mut Decoder<'_>) -> Option<Self> {
        if from.array().ok()?? != 4 {
            return None;
        }
        Some(Self {
            scope: Scope::new(from.str().ok()?).ok()?,
            scope_id: from.i64().ok()?,
            first: from.u64().ok()?,
            entries: list(from, |from| {
                if from.array().ok()?? != 4 {
                    return None;
                }
                let what = from.i64().ok()?;
                let document = DocumentId::from_bytes(fixed(from)?);
                let change = from.u64().ok()?;
                Some(FeedEntry {
                    what: match what {
                        ATTACH => EntryKind::Attach { upto: change },
                        DETACH => EntryKind::Detach,
                        CHANGE => EntryKind::Change { n: change },
                        _ => return None,
                    },
                    document,
                    digest: Digest::from_bytes(fixed(from)?),
                })
            })?,
        })
    }
}

fn fixed<const N: usize>(from: &mut Decoder<'_>) -> Option<[u8; N]> {
    from.bytes().ok()?.try_into().ok()
}

fn optional<T>(
    from: &mut Decoder<'_>,
    read: impl FnOnce(&mut Decoder<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if from.datatype().ok()? == Type::Null {
        from.null().ok()?;
        return Some(None);
    }
    read(from).map(Some)
}

/// Reads a list; takes memory as its elements come, whatever its length says.
fn list<T>(
    from: &mut Decoder<'_>,
    mut read: impl FnMut(&mut Decoder<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = from.array().ok()??;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(from)?);
    }
    Some(items)
}

/// What stood in the log and in the feeds before the first receipt, row by row, for one hash of it all.
#[derive(Default)]
pub(crate) struct BeforeHasher {
    rows: Before,
    sum: Sha256,
}

/// A change as the hash of what was before takes it in.
#[derive(Debug)]
pub(crate) struct BeforeChange<'a> {
    pub(crate) document: DocumentId,
    pub(crate) kind: &'a str,
    pub(crate) schema_version: i64,
    pub(crate) n: i64,
    pub(crate) hash: ChangeHash,
    pub(crate) author: DeviceId,
    pub(crate) brought_by: DeviceId,
    pub(crate) received: i64,
}

impl BeforeHasher {
    /// Takes in a change; in order of documents and numbers, and before all entries.
    pub(crate) fn change(&mut self, change: &BeforeChange<'_>) {
        self.rows.changes += 1;
        self.text(change.kind);
        for part in [change.schema_version, change.n, change.received] {
            self.sum.update(part.to_be_bytes());
        }
        self.sum.update(change.document.bytes());
        self.sum.update(change.hash.bytes());
        self.sum.update(change.author.bytes());
        self.sum.update(change.brought_by.bytes());
    }

    /// Takes in an entry; in order of scopes and sequence numbers.
    pub(crate) fn entry(&mut self, scope: &str, seq: i64, columns: (i64, i64), entry: EntryIds) {
        self.rows.entries += 1;
        self.text(scope);
        for part in [seq, columns.0, columns.1] {
            self.sum.update(part.to_be_bytes());
        }
        self.sum.update(entry.document.bytes());
        self.sum.update(entry.digest.bytes());
    }

    fn text(&mut self, text: &str) {
        self.sum.update((text.len() as u64).to_be_bytes());
        self.sum.update(text.as_bytes());
    }

    /// Returns the numbers and the hash.
    pub(crate) fn finish(self) -> Before {
        if self.rows == Before::default() {
            return self.rows;
        }
        Before {
            hash: self.sum.finalize().into(),
            ..self.rows
        }
    }
}

/// The document of an entry and the scope's digest after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryIds {
    pub(crate) document: DocumentId,
    pub(crate) digest: Digest,
}
