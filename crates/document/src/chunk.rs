//! Reads the header of one raw change chunk without trusting or decoding its operations.
//!
//! The format is Automerge's: magic bytes, checksum, chunk type, length; then dependencies, actor,
//! sequence number, first op, time, message, other actors, columns. Only the one spelling that
//! Automerge itself writes is taken: numbers in their shortest form, nothing after the end. Not
//! here: whether the change may be applied (`gate`).

use core::ops::Range;

use gridbeat_base::{ChangeHash, Remedy};
use sha2::{Digest as _, Sha256};

/// The first bytes of every Automerge chunk.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// The chunk type of one uncompressed change. No other type travels or is stored.
const CHANGE_CHUNK: u8 = 1;

/// The bit of a column's specification that says it is compressed; never set in a change chunk.
const COLUMN_DEFLATED: u64 = 0b1000;

/// What the bytes of a change say about it before any operation is decoded.
#[derive(Clone, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) hash: ChangeHash,
    pub(crate) deps: Vec<ChangeHash>,
    pub(crate) actor: &'a [u8],
    pub(crate) seq: u64,
    pub(crate) start_op: u64,
    /// Seconds since 1970, as its author's clock said.
    pub(crate) time: i64,
    pub(crate) has_message: bool,
    pub(crate) columns: Vec<(u64, &'a [u8])>,
    pub(crate) extra: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Reads one whole chunk and checks its checksum.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut reader = Reader { rest: bytes };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(ParseError::NotAChunk);
        }
        let checksum = reader.take(4)?;
        if reader.take(1)? != [CHANGE_CHUNK] {
            return Err(ParseError::NotAChange);
        }
        let length = reader.size()?;
        if reader.rest.len() != length {
            return Err(ParseError::WrongLength);
        }
        let hash: [u8; 32] = Sha256::digest(&bytes[MAGIC.len() + checksum.len()..]).into();
        if hash[..4] != *checksum {
            return Err(ParseError::BadChecksum);
        }
        let deps = reader.many(|reader| {
            let hash = reader.take(32)?;
            Ok(ChangeHash::new(
                hash.try_into().map_err(|_| ParseError::Truncated)?,
            ))
        })?;
        let actor = reader.prefixed()?;
        let seq = reader.unsigned()?;
        let start_op = reader.unsigned()?;
        let time = reader.signed()?;
        let has_message = !reader.prefixed()?.is_empty();
        reader.many(|reader| reader.prefixed().map(drop))?;
        let specs = reader.many(|reader| Ok((reader.unsigned()?, reader.size()?)))?;
        let mut columns = Vec::with_capacity(specs.len());
        for (spec, length) in specs {
            if spec & COLUMN_DEFLATED != 0 {
                return Err(ParseError::CompressedColumn);
            }
            columns.push((spec, reader.take(length)?));
        }
        Ok(Self {
            hash: ChangeHash::new(hash),
            deps,
            actor,
            seq,
            start_op,
            time,
            has_message,
            columns,
            extra: reader.rest,
        })
    }
}

/// A cursor over bytes nobody vouches for.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(ParseError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads an unsigned LEB128 number in its shortest form.
    pub(crate) fn unsigned(&mut self) -> Result<u64, ParseError> {
        let length = self.number_length()?;
        let bytes = self.take(length)?;
        if length > 1 && bytes[length - 1] == 0 {
            return Err(ParseError::BadNumber);
        }
        bytes.iter().rev().try_fold(0_u64, |number, byte| {
            number
                .checked_mul(128)
                .and_then(|number| number.checked_add(u64::from(byte & 0x7f)))
                .ok_or(ParseError::BadNumber)
        })
    }

    /// Reads a signed LEB128 number that fits 64 bits.
    pub(crate) fn signed(&mut self) -> Result<i64, ParseError> {
        let length = self.number_length()?;
        let bytes = self.take(length)?;
        let last = bytes[length - 1];
        let negative = last & 0x40 != 0;
        let mut number = if negative { -1_i128 } else { 0 };
        for byte in bytes.iter().rev() {
            number = (number << 7) | i128::from(byte & 0x7f);
        }
        i64::try_from(number).map_err(|_| ParseError::BadNumber)
    }

    fn size(&mut self) -> Result<usize, ParseError> {
        usize::try_from(self.unsigned()?).map_err(|_| ParseError::BadNumber)
    }

    /// Reads bytes that follow their own length.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], ParseError> {
        let length = self.size()?;
        self.take(length)
    }

    /// Reads items that follow their own count. Each takes at least a byte, so a count that the
    /// remaining bytes cannot hold ends early and nothing is allocated ahead.
    fn many<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let count = self.size()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn number_length(&self) -> Result<usize, ParseError> {
        let Range { end, .. } = 0..self.rest.len().min(10);
        self.rest[..end]
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .map(|last| last + 1)
            .ok_or(ParseError::BadNumber)
    }
}

/// Why bytes are not one raw change chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// They do not begin as an Automerge chunk does.
    #[error("not an Automerge chunk")]
    NotAChunk,
    /// They are a document, a compressed change or a bundle.
    #[error("not an uncompressed change")]
    NotAChange,
    /// The chunk's length is not the number of bytes it has.
    #[error("chunk has another length than it says")]
    WrongLength,
    /// The checksum does not fit the content.
    #[error("chunk has a wrong checksum")]
    BadChecksum,
    /// The bytes end inside a field.
    #[error("chunk ends inside a field")]
    Truncated,
    /// A number is longer than it must be or than 64 bits.
    #[error("chunk has a malformed number")]
    BadNumber,
    /// A column is unknown, or columns are out of order.
    #[error("chunk has a column out of place")]
    BadColumn,
    /// A column is compressed.
    #[error("chunk has a compressed column")]
    CompressedColumn,
}

impl ParseError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(self) -> Remedy {
        Remedy::Report
    }
}
