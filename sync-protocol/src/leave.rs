//! Leaving: the relay's notice, and the device's signed word that it has removed a scope's documents.
//!
//! The statement of a removal travels whole, for it may be made in one session and delivered in a later
//! one. The device signs it when it sends it, by the key it has then. Rules: `PROTOCOL.md`, 4.12 to
//! 4.14. Not here: what is removed when (`device-core`), how long a notice lasts (`relay-core`).

use core::fmt;

use gridbeat_base::{DeviceId, Digest, Incarnation, Install, Scope, WallTime};
use sha2::{Digest as _, Sha256};

use crate::batch::read_suite;
use crate::limits::REMOVAL_BYTES_MAX;
use crate::wire::{Reader, Writer, check_count};
use crate::{DecodeError, PublicKey, SUITE, Signature, Signer};

/// What the bytes of every statement of a removal begin with, so that no signature of one is a signature
/// of anything else.
const CONTEXT: &[u8] = b"gridbeat removed\0";

/// The relay says that the device is leaving.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// The scope that is left; `None` if it is everything, because the device was revoked.
    pub scope: Option<Scope>,
    /// The scope's last sequence number when the grant ended; 0 for everything.
    pub seq: u64,
    /// Until when what was saved in the scope is still judged by the grant that ended, by the relay's
    /// clock. For everything: when the device was revoked; what it hands over is only kept.
    pub deadline: WallTime,
}

/// A statement of removal on its way to the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removed {
    /// The statement's bytes, see [`RemovalStatement`].
    pub statement: Vec<u8>,
    /// The device's signature; `None` from a device without a signing key.
    pub signature: Option<Signature>,
}

/// The relay has kept a statement of removal, durably.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Noted {
    /// The statement's name.
    pub removal: RemovalHash,
}

/// What a device states when it has removed a scope's documents, or everything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemovalStatement {
    /// The device.
    pub device: DeviceId,
    /// The installation that held them.
    pub install: Install,
    /// The scope; `None` for everything on the device.
    pub scope: Option<Scope>,
    /// The relay's incarnation that the numbers belong to, if the device knew one.
    pub incarnation: Option<Incarnation>,
    /// The last entry of the scope's feed that was applied; 0 for everything.
    pub seq: u64,
    /// The scope's digest when leaving began; [`Digest::EMPTY`] for everything.
    pub digest: Digest,
    /// How many documents the device held of the scope then.
    pub documents: u64,
    /// How many documents were removed from the device: the others are in another scope that is granted.
    pub removed: u64,
    /// How many changes of the scope the device keeps, because the relay did not take them.
    pub kept: u64,
    /// When the last of it was removed, by the device's wall clock.
    pub at: WallTime,
}

/// Names a statement of removal: the SHA-256 of its bytes.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct RemovalHash([u8; 32]);

/// A statement of removal as it is kept: what it says, its bytes, and who answers for them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemovalProof {
    /// What it says.
    pub statement: RemovalStatement,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Their name.
    pub hash: RemovalHash,
    /// The key and the signature, if it is signed.
    pub signed: Option<(PublicKey, Signature)>,
}

impl RemovalHash {
    /// Makes one from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the name of a statement's bytes.
    pub fn of(statement: &[u8]) -> Self {
        Self(Sha256::digest(statement).into())
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for RemovalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RemovalHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "{first:02x}{second:02x}…")
    }
}

impl RemovalStatement {
    /// Returns the bytes that are signed and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(11).uint(SUITE);
        out.bytes(self.device.bytes()).bytes(self.install.bytes());
        write_scope(&mut out, self.scope.as_ref());
        match &self.incarnation {
            Some(incarnation) => out.bytes(incarnation.bytes()),
            None => out.null(),
        };
        out.uint(self.seq).bytes(&self.digest.bytes());
        out.uint(self.documents).uint(self.removed).uint(self.kept);
        out.int(self.at.millis());
        [CONTEXT, &out.into_bytes()].concat()
    }

    /// Reads the bytes of a statement, which may be anybody's.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_count("bytes of a removal", bytes.len(), REMOVAL_BYTES_MAX)?;
        let body = bytes.strip_prefix(CONTEXT);
        let mut from = Reader::new(body.ok_or(DecodeError::Malformed { at: 0 })?);
        let statement = from.record(11, |from| {
            read_suite(from)?;
            Ok(Self {
                device: DeviceId::from_bytes(from.fixed()?),
                install: Install::from_bytes(from.fixed()?),
                scope: from.optional(Reader::scope)?,
                incarnation: from.optional(|from| from.fixed().map(Incarnation::from_bytes))?,
                seq: from.uint()?,
                digest: Digest::from_bytes(from.fixed()?),
                documents: from.uint()?,
                removed: from.uint()?,
                kept: from.uint()?,
                at: WallTime(from.int()?),
            })
        })?;
        from.end()?;
        Ok(statement)
    }
}

impl Removed {
    /// Makes one of a statement's bytes, signed if there is a key.
    pub fn new(statement: Vec<u8>, signer: Option<&Signer>) -> Self {
        let signature = signer.map(|signer| signer.sign(&statement));
        Self {
            statement,
            signature,
        }
    }
}

impl RemovalProof {
    /// Makes one of bytes that may be anybody's; `None` if they are no statement, or the signature is
    /// not the key's over them.
    pub fn of_bytes(bytes: Vec<u8>, signed: Option<(PublicKey, Signature)>) -> Option<Self> {
        let statement = RemovalStatement::from_bytes(&bytes).ok()?;
        let is_good = signed
            .as_ref()
            .is_none_or(|(key, signature)| key.verifies(&bytes, signature));
        is_good.then(|| Self {
            statement,
            hash: RemovalHash::of(&bytes),
            bytes,
            signed,
        })
    }
}

pub(crate) fn write_notice(out: &mut Writer, notice: &Notice) {
    write_scope(out, notice.scope.as_ref());
    out.uint(notice.seq).int(notice.deadline.millis());
}

pub(crate) fn read_notice(from: &mut Reader<'_>) -> Result<Notice, DecodeError> {
    Ok(Notice {
        scope: from.optional(Reader::scope)?,
        seq: from.uint()?,
        deadline: WallTime(from.int()?),
    })
}

pub(crate) fn write_noted(out: &mut Writer, noted: &Noted) {
    out.bytes(noted.removal.bytes());
}

pub(crate) fn write_removed(out: &mut Writer, removed: &Removed) {
    out.bytes(&removed.statement);
    match &removed.signature {
        Some(signature) => out.bytes(signature.bytes()),
        None => out.null(),
    };
}

pub(crate) fn read_removed(from: &mut Reader<'_>) -> Result<Removed, DecodeError> {
    let statement = from.bytes()?;
    check_count("bytes of a removal", statement.len(), REMOVAL_BYTES_MAX)?;
    Ok(Removed {
        statement: statement.to_vec(),
        signature: from.optional(|from| from.fixed().map(Signature::from_bytes))?,
    })
}

fn write_scope(out: &mut Writer, scope: Option<&Scope>) {
    match scope {
        Some(scope) => out.text(scope.as_str()),
        None => out.null(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> RemovalStatement {
        RemovalStatement {
            device: DeviceId::from_bytes([1; 16]),
            install: Install::new([2; 16]),
            scope: Some(Scope::new(&"网".repeat(21)).unwrap()),
            incarnation: Some(Incarnation::new([3; 16])),
            seq: u64::MAX,
            digest: Digest::from_bytes([4; 16]),
            documents: u64::MAX,
            removed: u64::MAX,
            kept: u64::MAX,
            at: WallTime(i64::MIN),
        }
    }

    #[test]
    fn a_statement_comes_back_as_it_was_and_fits_its_limit() {
        let everything = RemovalStatement {
            scope: None,
            incarnation: None,
            ..statement()
        };
        for statement in [statement(), everything] {
            let bytes = statement.to_bytes();
            assert!(bytes.len() <= REMOVAL_BYTES_MAX, "{}", bytes.len());
            assert_eq!(RemovalStatement::from_bytes(&bytes), Ok(statement));
            for end in 0..bytes.len() {
                assert!(RemovalStatement::from_bytes(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn a_signature_is_good_for_its_statement_and_its_key_alone() {
        let (one, other) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let removed = Removed::new(statement().to_bytes(), Some(&one));
        let signature = removed.signature.unwrap();
        let prove = |bytes: &[u8], key: PublicKey| {
            RemovalProof::of_bytes(bytes.to_vec(), Some((key, signature)))
        };
        assert!(prove(&removed.statement, one.public_key()).is_some());
        assert!(prove(&removed.statement, other.public_key()).is_none());
        let later = RemovalStatement {
            kept: 0,
            ..statement()
        };
        assert!(prove(&later.to_bytes(), one.public_key()).is_none());
        assert!(prove(b"gridbeat batch\0", one.public_key()).is_none());
    }
}
