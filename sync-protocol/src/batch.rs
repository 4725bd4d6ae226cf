//! What a device signs of each push, and what others need to verify it.
//!
//! The statement of a batch says who pushed which changes, in which order, when, and which batch of
//! this device the relay had acknowledged before. It is made from the push and its seal at both ends,
//! so only the seal travels. Rules: `PROTOCOL.md`, 4.10 and 4.11. Not here: keys (`key`).

use core::fmt;

use gridbeat_base::{ChangeHash, DeviceId, DocumentId, Hlc, Install, Scope, WallTime};
use sha2::{Digest as _, Sha256};

use crate::body::kind;
use crate::key::{PublicKey, SUITE, Signature, Signer};
use crate::limits::PUSH_CHANGES_MAX;
use crate::wire::{Reader, Writer};
use crate::{DecodeError, PushChange, PushDocument};

/// What the bytes of every statement of a batch begin with, so that no signature of a batch is one of
/// anything else.
const CONTEXT: &[u8] = b"gridbeat batch\0";

/// Bytes of a batch's hash that name it in a later batch: enough that nobody finds two batches with
/// one name (2^80 attempts), and an eighth of what a seal adds to a push.
pub const BATCH_MARK_BYTES: usize = 20;

/// Bytes of a change's chunk before those that its hash is made of: magic and checksum.
const CHUNK_HEAD_BYTES: usize = 8;

/// Names one batch: the SHA-256 of its statement.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct BatchHash([u8; 32]);

impl BatchHash {
    /// Makes one from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns what names it in a later batch.
    pub fn mark(&self) -> BatchMark {
        let (mark, _) = self.0.split_first_chunk().expect("a mark is shorter");
        BatchMark(*mark)
    }
}

/// The first bytes of a batch's hash, as a later batch names it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct BatchMark([u8; BATCH_MARK_BYTES]);

impl BatchMark {
    /// Makes one from its bytes.
    pub const fn from_bytes(bytes: [u8; BATCH_MARK_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; BATCH_MARK_BYTES] {
        &self.0
    }
}

macro_rules! print_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("…")
            }
        }
    )*};
}

print_hex!(BatchHash, BatchMark);

/// Where a batch stands in its device's own account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BatchStamp {
    /// Rises with every batch of an installation; some may be missing. After a crash, or in a copy, a
    /// number may be used again: the batch's hash tells them apart.
    pub number: u64,
    /// The device's hybrid logical clock.
    pub clock: Hlc,
    /// The device's wall clock.
    pub wall: WallTime,
    /// The latest batch that the device knows to be acknowledged; `None` before the first.
    pub previous: Option<BatchMark>,
}

/// What a push carries so that the relay can prove who pushed it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seal {
    /// Where the batch stands.
    pub stamp: BatchStamp,
    /// The device's signature of the batch's statement.
    pub signature: Signature,
}

/// What is signed of a push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchStatement {
    /// The device that pushed.
    pub device: DeviceId,
    /// The installation it pushed from.
    pub install: Install,
    /// Where it stands; all zero if it is not signed.
    pub stamp: BatchStamp,
    /// The scope it was pushed in.
    pub scope: Scope,
    /// The documents, in the push's order.
    pub documents: Vec<BatchDocument>,
}

/// One document in a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchDocument {
    /// The document.
    pub document: DocumentId,
    /// Its kind's name.
    pub kind: String,
    /// The schema version of its genesis.
    pub schema_version: u16,
    /// The changes, each with its author if that is another device than the one that pushed.
    pub changes: Vec<(ChangeHash, Option<DeviceId>)>,
}

/// A push's statement as it is kept: its bytes, their name, and who answers for them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BatchProof {
    /// The statement's bytes.
    pub statement: Vec<u8>,
    /// Their name.
    pub hash: BatchHash,
    /// The key and the signature, if it is signed.
    pub signed: Option<(PublicKey, Signature)>,
}

impl PushChange {
    /// Returns the change's name, as its bytes give it: what they are is not looked at.
    pub fn hash(&self) -> ChangeHash {
        let named = self.bytes.get(CHUNK_HEAD_BYTES..).unwrap_or_default();
        ChangeHash::new(Sha256::digest(named).into())
    }
}

impl BatchStatement {
    /// Makes the statement of a push.
    pub fn of_push(
        device: DeviceId,
        install: Install,
        stamp: BatchStamp,
        scope: &Scope,
        documents: &[PushDocument],
    ) -> Self {
        let changes = |push: &PushDocument| {
            let changes = push.changes.iter();
            changes
                .map(|change| (change.hash(), change.recovered_from))
                .collect()
        };
        let documents = documents.iter().map(|push| BatchDocument {
            document: push.document,
            kind: push.kind.clone(),
            schema_version: push.schema_version,
            changes: changes(push),
        });
        Self {
            device,
            install,
            stamp,
            scope: scope.clone(),
            documents: documents.collect(),
        }
    }

    /// Returns the bytes that are signed and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(9).uint(SUITE);
        out.bytes(self.device.bytes()).bytes(self.install.bytes());
        let stamp = &self.stamp;
        out.uint(stamp.number).uint(stamp.clock.bits());
        out.int(stamp.wall.millis());
        write_previous(&mut out, stamp.previous);
        out.text(self.scope.as_str());
        out.list(&self.documents, |out, document| {
            out.array(4).bytes(document.document.bytes());
            out.text(&document.kind);
            out.uint(u64::from(document.schema_version));
            out.list(&document.changes, |out, (hash, author)| {
                if let Some(author) = author {
                    out.array(2).bytes(hash.bytes()).bytes(author.bytes());
                } else {
                    out.bytes(hash.bytes());
                }
            });
        });
        [CONTEXT, &out.into_bytes()].concat()
    }

    /// Reads the bytes of a statement, which may be anybody's.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = bytes.strip_prefix(CONTEXT);
        let mut from = Reader::new(body.ok_or(DecodeError::Malformed { at: 0 })?);
        let statement = from.record(9, |from| {
            read_suite(from)?;
            Ok(Self {
                device: DeviceId::from_bytes(from.fixed()?),
                install: Install::from_bytes(from.fixed()?),
                stamp: BatchStamp {
                    number: from.uint()?,
                    clock: Hlc::from_bits(from.uint()?),
                    wall: WallTime(from.int()?),
                    previous: read_previous(from)?,
                },
                scope: from.scope()?,
                // Of a push that was signed when it might have more documents, too.
                documents: from.list("documents", PUSH_CHANGES_MAX, read_document)?,
            })
        })?;
        from.end()?;
        Ok(statement)
    }

    /// Signs the statement: what goes into the push, and the batch's name.
    pub fn seal(&self, signer: &Signer) -> (Seal, BatchHash) {
        let bytes = self.to_bytes();
        let seal = Seal {
            stamp: self.stamp,
            signature: signer.sign(&bytes),
        };
        (seal, hash_of(&bytes))
    }

    /// Returns the statement as it is kept, if the signature is good; without one it is kept unsigned.
    pub fn prove(&self, signed: Option<(PublicKey, Signature)>) -> Option<BatchProof> {
        let proof = BatchProof::of_bytes(self.to_bytes(), signed);
        proof.is_good().then_some(proof)
    }
}

impl BatchProof {
    /// Makes one of what was kept; see [`Self::is_good`].
    pub fn of_bytes(statement: Vec<u8>, signed: Option<(PublicKey, Signature)>) -> Self {
        Self {
            hash: hash_of(&statement),
            statement,
            signed,
        }
    }

    /// Returns whether the signature, if there is one, is the key's over the statement.
    pub fn is_good(&self) -> bool {
        self.signed
            .as_ref()
            .is_none_or(|(key, signature)| key.verifies(&self.statement, signature))
    }
}

fn hash_of(bytes: &[u8]) -> BatchHash {
    BatchHash(Sha256::digest(bytes).into())
}

fn read_document(from: &mut Reader<'_>) -> Result<BatchDocument, DecodeError> {
    from.record(4, |from| {
        Ok(BatchDocument {
            document: DocumentId::from_bytes(from.fixed()?),
            kind: kind(from)?.to_owned(),
            schema_version: from.u16()?,
            changes: from.list("changes", PUSH_CHANGES_MAX, |from| {
                if !from.is_array() {
                    return Ok((ChangeHash::new(from.fixed()?), None));
                }
                from.record(2, |from| {
                    let hash = ChangeHash::new(from.fixed()?);
                    Ok((hash, Some(DeviceId::from_bytes(from.fixed()?))))
                })
            })?,
        })
    })
}

/// Writes a push's seal. The wall clock is written as what it is apart from the logical one.
pub(crate) fn write_seal(out: &mut Writer, seal: &Seal) {
    let stamp = &seal.stamp;
    let apart = stamp.wall.0.wrapping_sub(stamp.clock.wall().0);
    out.array(6).uint(SUITE).uint(stamp.number);
    out.uint(stamp.clock.bits()).int(apart);
    write_previous(out, stamp.previous);
    out.bytes(seal.signature.bytes());
}

/// Reads a push's seal.
pub(crate) fn read_seal(from: &mut Reader<'_>) -> Result<Seal, DecodeError> {
    from.record(6, |from| {
        read_suite(from)?;
        let number = from.uint()?;
        let clock = Hlc::from_bits(from.uint()?);
        Ok(Seal {
            stamp: BatchStamp {
                number,
                clock,
                wall: WallTime(clock.wall().0.wrapping_add(from.int()?)),
                previous: read_previous(from)?,
            },
            signature: Signature::from_bytes(from.fixed()?),
        })
    })
}

pub(crate) fn read_suite(from: &mut Reader<'_>) -> Result<(), DecodeError> {
    let suite = from.uint()?;
    // PROTOCOL 2.3: what a suite that the reader does not know has signed cannot be skipped.
    if suite == SUITE {
        Ok(())
    } else {
        Err(DecodeError::UnknownSuite { suite })
    }
}

fn write_previous(out: &mut Writer, previous: Option<BatchMark>) {
    match previous {
        Some(mark) => out.bytes(mark.bytes()),
        None => out.null(),
    };
}

fn read_previous(from: &mut Reader<'_>) -> Result<Option<BatchMark>, DecodeError> {
    from.optional(|from| from.fixed().map(BatchMark))
}
