//! The few CBOR shapes that frames are made of: numbers, bytes, texts, records and lists.
//!
//! A record is an array whose positions are its keys. Elements a reader does not know are skipped,
//! so a later version may add some at the end. Lists are bounded before they are read. Lengths are
//! always definite (`PROTOCOL.md`, 2). Not here: what the records mean.

use core::convert::Infallible;

use gridbeat_base::Scope;
use minicbor::data::Type;
use minicbor::encode::Error;
use minicbor::{Decoder, Encoder};

use crate::DecodeError;

/// Bytes reserved for a list before its first element is read; what is really there grows it.
const LIST_RESERVED_MAX: usize = 256;

/// Makes CBOR in memory.
pub(crate) struct Writer(Encoder<Vec<u8>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }

    /// Begins an array; the next `count` values are its elements.
    pub(crate) fn array(&mut self, count: usize) -> &mut Self {
        done(self.0.array(number(count)));
        self
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        done(self.0.u64(value));
        self
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        done(self.0.i64(value));
        self
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        done(self.0.bytes(value));
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        done(self.0.str(value));
        self
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        done(self.0.bool(value));
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        done(self.0.null());
        self
    }

    /// Writes a list, each element by `write`.
    pub(crate) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.array(items.len());
        for item in items {
            write(self, item);
        }
    }
}

fn done<T>(result: Result<T, Error<Infallible>>) {
    result.map(|_| ()).expect("memory takes every byte");
}

pub(crate) fn number(count: usize) -> u64 {
    u64::try_from(count).expect("a size fits 64 bits")
}

/// Reads CBOR that a stranger made.
pub(crate) struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Returns the error for bytes that are not what must stand here.
    pub(crate) fn malformed(&self) -> DecodeError {
        DecodeError::Malformed {
            at: self.0.position(),
        }
    }

    /// Checks that nothing follows.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.0.position() == self.0.input().len() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    fn take<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Option<T>,
    ) -> Result<T, DecodeError> {
        read(&mut self.0).ok_or_else(|| self.malformed())
    }

    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.take(|d| d.u64().ok())
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take(|d| d.u16().ok())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take(|d| d.u32().ok())
    }

    pub(crate) fn int(&mut self) -> Result<i64, DecodeError> {
        self.take(|d| d.i64().ok())
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        self.take(|d| d.bool().ok())
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], DecodeError> {
        self.take(|d| d.bytes().ok())
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(|d| d.bytes().ok()?.try_into().ok())
    }

    pub(crate) fn text(&mut self, part: &'static str, max: usize) -> Result<&'b str, DecodeError> {
        let text = self.take(|d| d.str().ok())?;
        check_count(part, text.len(), max)?;
        Ok(text)
    }

    pub(crate) fn scope(&mut self) -> Result<Scope, DecodeError> {
        self.take(|d| Scope::new(d.str().ok()?).ok())
    }

    /// Reads a value or null.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.0.datatype().ok() == Some(Type::Null) {
            self.take(|d| d.null().ok())?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Reads a record of `known` elements, and skips those that follow.
    pub(crate) fn record<T>(
        &mut self,
        known: u64,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let count = self.array()?;
        self.rest(count, known, read)
    }

    /// Reads a record whose first element says what it is: `read` gets it, and returns how many
    /// elements after it are known and how to read them.
    pub(crate) fn variant<T>(
        &mut self,
        read: impl FnOnce(&mut Self, u64) -> Result<(u64, T), DecodeError>,
    ) -> Result<T, DecodeError> {
        self.variant_of(|from, kind, _| read(from, kind))
    }

    /// As [`Self::variant`]; `read` also gets how many elements there are after the first.
    pub(crate) fn variant_of<T>(
        &mut self,
        read: impl FnOnce(&mut Self, u64, u64) -> Result<(u64, T), DecodeError>,
    ) -> Result<T, DecodeError> {
        let count = self.array()?;
        let after = count.checked_sub(1).ok_or_else(|| self.malformed())?;
        let kind = self.uint()?;
        let (known, value) = read(self, kind, after)?;
        self.rest(after, known, |_| Ok(value))
    }

    /// Reads a record whose length says what it holds: `read` gets the length, and returns how many
    /// elements it has read.
    pub(crate) fn counted<T>(
        &mut self,
        read: impl FnOnce(&mut Self, u64) -> Result<(u64, T), DecodeError>,
    ) -> Result<T, DecodeError> {
        let count = self.array()?;
        if count == 0 {
            return Err(self.malformed());
        }
        let (known, value) = read(self, count)?;
        self.rest(count, known, |_| Ok(value))
    }

    /// Returns whether a number that is not negative stands next.
    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self.0.datatype(),
            Ok(Type::U8 | Type::U16 | Type::U32 | Type::U64)
        )
    }

    /// Returns whether a list or a record stands next.
    pub(crate) fn is_array(&self) -> bool {
        matches!(self.0.datatype(), Ok(Type::Array))
    }

    fn rest<T>(
        &mut self,
        count: u64,
        known: u64,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        if count < known {
            return Err(self.malformed());
        }
        let value = read(self)?;
        for _ in known..count {
            // PROTOCOL 2.3: elements after the known ones are skipped.
            self.take(|d| d.skip().ok())?;
        }
        Ok(value)
    }

    /// Reads a list of at most `max` elements, each by `read`.
    pub(crate) fn list<T>(
        &mut self,
        part: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::try_from(self.array()?).unwrap_or(usize::MAX);
        check_count(part, count, max)?;
        let mut items = Vec::with_capacity(count.min(LIST_RESERVED_MAX));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn array(&mut self) -> Result<u64, DecodeError> {
        self.take(|d| d.array().ok().flatten())
    }
}

/// Checks that there is not more of something than may be.
pub(crate) const fn check_count(
    part: &'static str,
    count: usize,
    max: usize,
) -> Result<(), DecodeError> {
    if count > max {
        return Err(DecodeError::TooMany { part, count, max });
    }
    Ok(())
}
