//! The sum over documents that tells whether two sides hold the same.
//!
//! A scope's digest is the sum modulo 2¹²⁸ of one term per document; a document's term is the
//! first 16 bytes of the SHA-256 of its id and its sorted heads. So it is kept up to date by
//! subtracting a document's old term and adding its new one, whatever the number of documents.

use core::fmt;

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use crate::{ChangeHash, DocumentId};

/// A sum of document terms modulo 2¹²⁸; zero for no documents. 16 bytes, big-endian, on the wire.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(u128);

impl Digest {
    /// The digest of no documents.
    pub const EMPTY: Self = Self(0);

    /// Returns one document's term, from its id and its heads in any order.
    ///
    /// A document without heads has no term: its digest is [`Self::EMPTY`].
    pub fn of_document(document: DocumentId, heads: &[ChangeHash]) -> Self {
        if heads.is_empty() {
            return Self::EMPTY;
        }
        let mut sorted = heads.to_vec();
        sorted.sort_unstable();
        let mut hasher = Sha256::new();
        hasher.update(document.bytes());
        for head in &sorted {
            hasher.update(head.bytes());
        }
        let hash = hasher.finalize();
        let mut term = [0; 16];
        term.copy_from_slice(&hash[..16]);
        Self(u128::from_be_bytes(term))
    }

    /// Returns a document's item for range reconciliation: its term, and the sum of its changes'
    /// times of receipt in milliseconds.
    ///
    /// A relay that was restored gives changes it gets back another time of receipt. Equal terms
    /// would hide that, and facts are ordered by it.
    #[must_use]
    pub const fn with_receipts(self, sum_ms: i64) -> Self {
        self.plus(Self(
            (sum_ms as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        ))
    }

    /// Makes a digest from its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Returns the digest's 16 bytes.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Returns this digest with a document's term added.
    #[must_use]
    pub const fn plus(self, term: Self) -> Self {
        Self(self.0.wrapping_add(term.0))
    }

    /// Returns this digest with a document's term taken away.
    #[must_use]
    pub const fn minus(self, term: Self) -> Self {
        Self(self.0.wrapping_sub(term.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl<C> Encode<C> for Digest {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Digest {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self::from_bytes(ByteArray::<16>::decode(d, ctx)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn terms_come_off_as_they_went_on() {
        let mut random = Random::from_number(3);
        let document = DocumentId::from_bytes(random.bytes());
        let (a, b) = (
            ChangeHash::new(random.bytes()),
            ChangeHash::new(random.bytes()),
        );
        let old = Digest::of_document(document, &[a]);
        let new = Digest::of_document(document, &[a, b]);
        assert_eq!(
            new,
            Digest::of_document(document, &[b, a]),
            "heads count in any order"
        );
        assert_eq!(Digest::EMPTY.plus(old).plus(new).minus(old), new);
        assert_eq!(Digest::EMPTY.minus(new).plus(new), Digest::EMPTY);
        assert_eq!(Digest::of_document(document, &[]), Digest::EMPTY);
        assert_eq!(Digest::from_bytes(new.bytes()), new);
    }
}
