//! Raw changes taken apart and laid side by side, so that a pack carries of each what the reader cannot make.
//!
//! A change chunk of Automerge has a head, and columns of its operations. Here like stands beside like: one stream for
//! the first ops of all changes, one for the keys of all their operations, and so on. Left out are the chunk's magic
//! bytes, checksum and length, and every dependency and actor that the pack has named before. What was taken apart is
//! put together again at once and compared, so a change that does not come back byte by byte is not taken (`PROTOCOL.md`,
//! 5.4). Not here: what the operations mean, and whether they may be.
//!
//! long because taking apart and putting together are read side by side, and their tests are a third of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::DecodeError;
use crate::limits::{
    CHANGE_BYTES_MAX, DOCUMENT_FRAME_CHANGES_MAX, PACK_UNPACKED_BYTES_MAX, SHAPE_COLUMNS_MAX,
};
use crate::wire::{Reader, Writer, number};

/// How every chunk begins, by Automerge's format.
const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Bytes of the hash that stand behind the magic bytes.
const CHECKSUM_BYTES: usize = 4;

/// The type of a chunk that is one uncompressed change.
const CHANGE: u8 = 1;

const HASH_BYTES: usize = 32;

/// An actor as our devices mint them. Others are not taken apart.
const ACTOR_BYTES: usize = 16;

/// The highest specification of a column that is taken apart: those of Automerge's changes end at 0x73, and each takes
/// one byte.
const SPEC_MAX: u64 = 127;

/// The columns of keys and of values: what people wrote, and ids. Each has a stream of its own. The others say of which
/// sort the operations are; they belong together, since changes of one sort have them alike.
const KEYS: u64 = 0x15;
const VALUES: u64 = 0x57;

/// Digits of an id within a key, as our documents name the entries of their lists; half as many bytes.
const ID_DIGITS: usize = 32;
const ID_BYTES: usize = ID_DIGITS / 2;

/// What stands for a dependency that is not in the pack; its bytes are in a stream of their own.
const ELSEWHERE: u64 = 0;

/// A chunk's parts.
#[derive(Debug, Default)]
struct Parts<'a> {
    deps: Vec<&'a [u8]>,
    actor: &'a [u8],
    seq: u64,
    start_op: u64,
    time: i64,
    message: &'a [u8],
    others: Vec<&'a [u8]>,
    columns: Vec<(u64, Cow<'a, [u8]>)>,
}

impl<'a> Parts<'a> {
    /// Takes a chunk apart, leniently: whether the parts make up the same chunk is seen by [`Self::chunk`].
    fn of(chunk: &'a [u8]) -> Option<Self> {
        let rest = chunk.strip_prefix(&MAGIC)?.get(CHECKSUM_BYTES..)?;
        let mut from = Bytes(rest.strip_prefix(&[CHANGE])?);
        let mut parts = Self::default();
        from.uint()?;
        for _ in 0..from.uint()? {
            parts.deps.push(from.take(HASH_BYTES)?);
        }
        parts.actor = from.prefixed()?;
        parts.seq = from.uint()?;
        parts.start_op = from.uint()?;
        parts.time = from.int()?;
        parts.message = from.prefixed()?;
        for _ in 0..from.uint()? {
            parts.others.push(from.prefixed()?);
        }
        let mut lengths = Vec::new();
        for _ in 0..from.uint()? {
            lengths.push((from.uint()?, from.uint()?));
        }
        for (spec, length) in lengths {
            let data = from.take(usize::try_from(length).ok()?)?;
            parts.columns.push((spec, data.into()));
        }
        let actors = [parts.actor]
            .into_iter()
            .chain(parts.others.iter().copied());
        let is_ours = actors.into_iter().all(|actor| actor.len() == ACTOR_BYTES)
            && parts.columns.iter().all(|(spec, _)| *spec <= SPEC_MAX);
        (is_ours && parts.columns.len() <= SHAPE_COLUMNS_MAX && from.0.is_empty()).then_some(parts)
    }

    /// Puts the chunk together, and returns it with its hash.
    fn chunk(&self) -> (Vec<u8>, [u8; HASH_BYTES]) {
        let mut body = Vec::new();
        uint(&mut body, number(self.deps.len()));
        for dep in &self.deps {
            body.extend_from_slice(dep);
        }
        prefixed(&mut body, self.actor);
        uint(&mut body, self.seq);
        uint(&mut body, self.start_op);
        int(&mut body, self.time);
        prefixed(&mut body, self.message);
        uint(&mut body, number(self.others.len()));
        for other in &self.others {
            prefixed(&mut body, other);
        }
        uint(&mut body, number(self.columns.len()));
        for (spec, data) in &self.columns {
            uint(&mut body, *spec);
            uint(&mut body, number(data.len()));
        }
        for (_, data) in &self.columns {
            body.extend_from_slice(data);
        }
        let mut hashed = vec![CHANGE];
        uint(&mut hashed, number(body.len()));
        hashed.extend(body);
        let hash: [u8; HASH_BYTES] = Sha256::digest(&hashed).into();
        let mut chunk = MAGIC.to_vec();
        chunk.extend_from_slice(&hash[..CHECKSUM_BYTES]);
        chunk.extend(hashed);
        (chunk, hash)
    }
}

/// What changes of one pack refer to, on both ends.
#[derive(Debug, Default)]
struct Known {
    /// Of each change: its actor, its number, its first op.
    changes: Vec<(usize, u64, u64)>,
    time: i64,
}

impl Known {
    /// Returns the change so many places back.
    fn back(&self, places: u64) -> Option<(usize, u64, u64)> {
        let places = usize::try_from(places).ok()?;
        let at = self.changes.len().checked_sub(places)?;
        self.changes.get(at).copied()
    }
}

/// The streams that every change has a part in, in the order of the wire.
#[derive(Debug, Default)]
struct Streams<T> {
    shapes: T,
    deps: T,
    hashes: T,
    actors: T,
    seqs: T,
    starts: T,
    times: T,
    messages: T,
    lengths: T,
    keys: T,
    ids: T,
    values: T,
    /// All other columns.
    sorts: T,
}

impl<T> Streams<T> {
    /// Returns the streams in the order of the wire.
    const fn all(&self) -> [&T; 13] {
        [
            &self.shapes,
            &self.deps,
            &self.hashes,
            &self.actors,
            &self.seqs,
            &self.starts,
            &self.times,
            &self.messages,
            &self.lengths,
            &self.keys,
            &self.ids,
            &self.values,
            &self.sorts,
        ]
    }
}

impl Streams<Vec<u8>> {
    /// Writes a column of keys, the digits of ids in it as bytes.
    fn put_keys(&mut self, column: &[u8]) {
        let (mut gaps, mut gap, mut length) = (Vec::new(), 0, 0);
        let mut rest = column;
        while let [first, others @ ..] = rest {
            if let Some(id) = rest.first_chunk().and_then(id_of) {
                gaps.push(gap);
                gap = 0;
                self.ids.extend_from_slice(&id);
                rest = &rest[ID_DIGITS..];
            } else {
                self.keys.push(*first);
                gap += 1;
                length += 1;
                rest = others;
            }
        }
        uint(&mut self.lengths, length);
        uint(&mut self.lengths, number(gaps.len()));
        for gap in gaps {
            uint(&mut self.lengths, gap);
        }
    }
}

impl Streams<Bytes<'_>> {
    /// Reads what `put_keys` wrote, which may make no more than so many bytes.
    fn take_keys(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let length = usize::try_from(self.lengths.uint()?).ok()?;
        let mut left = Bytes(self.keys.take(length)?);
        let mut column = Vec::new();
        for _ in 0..self.lengths.uint()? {
            let gap = usize::try_from(self.lengths.uint()?).ok()?;
            column.extend_from_slice(left.take(gap)?);
            for byte in self.ids.take(ID_BYTES)? {
                column.push(DIGITS[usize::from(byte >> 4)]);
                column.push(DIGITS[usize::from(byte & 0xf)]);
            }
        }
        column.extend_from_slice(left.0);
        (column.len() <= bytes_max).then_some(column)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Returns the bytes that these digits stand for, if they all are digits.
fn id_of(digits: &[u8; ID_DIGITS]) -> Option<[u8; ID_BYTES]> {
    let mut id = [0; ID_BYTES];
    for (byte, [high, low]) in id.iter_mut().zip(digits.as_chunks().0) {
        let of = |digit| DIGITS.iter().position(|known| known == digit);
        *byte = u8::try_from(of(high)? << 4 | of(low)?).ok()?;
    }
    Some(id)
}

/// Takes changes apart.
#[derive(Debug, Default)]
pub(crate) struct Apart {
    known: Known,
    hashes: BTreeMap<[u8; HASH_BYTES], usize>,
    /// The actors named so far, side by side.
    actors: Vec<[u8; ACTOR_BYTES]>,
    /// How many other actors a change names, and its columns.
    shapes: Vec<(usize, Vec<u64>)>,
    streams: Streams<Vec<u8>>,
}

impl Apart {
    /// Takes a change apart; `false` if it would not come back as it is, and must travel whole.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> bool {
        let Some(parts) = Parts::of(chunk) else {
            return false;
        };
        let (again, hash) = parts.chunk();
        if again != chunk {
            return false;
        }
        let shape = (
            parts.others.len(),
            parts.columns.iter().map(|(spec, _)| *spec).collect(),
        );
        let shape = place(&mut self.shapes, shape);
        uint(&mut self.streams.shapes, shape);
        let actor = self.actor(parts.actor);
        uint(&mut self.streams.actors, number(actor));
        for other in &parts.others {
            let other = self.actor(other);
            uint(&mut self.streams.actors, number(other));
        }
        uint(&mut self.streams.deps, number(parts.deps.len()));
        let mut before = None;
        for dep in &parts.deps {
            let found = self.hashes.get(*dep);
            let places = found.map_or(ELSEWHERE, |at| number(self.known.changes.len() - at));
            uint(&mut self.streams.deps, places);
            if places == ELSEWHERE {
                self.streams.hashes.extend_from_slice(dep);
            } else {
                before = before.or_else(|| self.known.back(places));
            }
        }
        let expected = Expected::after(before, actor);
        let seq = parts.seq.wrapping_sub(expected.seq);
        uint(&mut self.streams.seqs, folded(seq.cast_signed()));
        let start = parts.start_op.wrapping_sub(expected.start_op);
        uint(&mut self.streams.starts, folded(start.cast_signed()));
        let later = parts.time.wrapping_sub(self.known.time);
        uint(&mut self.streams.times, folded(later));
        self.known.time = parts.time;
        prefixed(&mut self.streams.messages, parts.message);
        for (spec, data) in &parts.columns {
            let streams = &mut self.streams;
            match *spec {
                KEYS => streams.put_keys(data),
                VALUES => {
                    uint(&mut streams.lengths, number(data.len()));
                    streams.values.extend_from_slice(data);
                }
                _ => prefixed(&mut streams.sorts, data),
            }
        }
        self.hashes.insert(hash, self.known.changes.len());
        self.known.changes.push((actor, parts.seq, parts.start_op));
        true
    }

    fn actor(&mut self, actor: &[u8]) -> usize {
        let actor = actor
            .try_into()
            .expect("only actors of this size are taken");
        let found = self.actors.iter().rposition(|known| *known == actor);
        found.unwrap_or_else(|| {
            self.actors.push(actor);
            self.actors.len() - 1
        })
    }

    /// Writes all that was taken as one element.
    pub(crate) fn write(&self, out: &mut Writer) {
        out.array(15);
        out.list(&self.shapes, |out, (others, specs)| {
            out.array(1 + specs.len()).uint(number(*others));
            for spec in specs {
                out.uint(*spec);
            }
        });
        out.bytes(self.actors.as_flattened());
        for stream in self.streams.all() {
            out.bytes(stream);
        }
    }
}

/// What the number and the first op of a change are told as the difference to.
struct Expected {
    seq: u64,
    start_op: u64,
}

impl Expected {
    /// Returns what follows the first of its dependencies that is in the pack.
    fn after(before: Option<(usize, u64, u64)>, actor: usize) -> Self {
        let seq = match before {
            Some((its_actor, seq, _)) if its_actor == actor => seq.wrapping_add(1),
            _ => 1,
        };
        let start_op = before.map_or(0, |(_, _, start_op)| start_op);
        Self { seq, start_op }
    }
}

/// Puts changes together, in the order in which they were taken apart.
#[derive(Debug)]
pub(crate) struct Together<'b> {
    known: Known,
    /// The hashes of the changes so far, side by side.
    hashes: Vec<[u8; HASH_BYTES]>,
    actors: &'b [[u8; ACTOR_BYTES]],
    shapes: Vec<(u64, Vec<u64>)>,
    streams: Streams<Bytes<'b>>,
    /// How many more bytes may come of the pack.
    bytes_left: usize,
}

impl<'b> Together<'b> {
    /// Reads what [`Apart::write`] wrote, which may be anybody's.
    pub(crate) fn read(from: &mut Reader<'b>) -> Result<Self, DecodeError> {
        const SHAPES: &str = "shapes of changes";
        from.record(15, |from| {
            let shapes = from.list(SHAPES, DOCUMENT_FRAME_CHANGES_MAX, |from| {
                let shape = from.list(SHAPES, 1 + SHAPE_COLUMNS_MAX, Reader::uint)?;
                let (others, specs) = shape.split_first().ok_or_else(|| from.malformed())?;
                if specs.iter().any(|spec| *spec > SPEC_MAX) {
                    return Err(from.malformed());
                }
                Ok((*others, specs.to_vec()))
            })?;
            let (actors, rest) = from.bytes()?.as_chunks::<ACTOR_BYTES>();
            if !rest.is_empty() {
                return Err(from.malformed());
            }
            let mut stream = || from.bytes().map(Bytes);
            let streams = Streams {
                shapes: stream()?,
                deps: stream()?,
                hashes: stream()?,
                actors: stream()?,
                seqs: stream()?,
                starts: stream()?,
                times: stream()?,
                messages: stream()?,
                lengths: stream()?,
                keys: stream()?,
                ids: stream()?,
                values: stream()?,
                sorts: stream()?,
            };
            Ok(Self {
                known: Known::default(),
                hashes: Vec::new(),
                actors,
                shapes,
                streams,
                bytes_left: PACK_UNPACKED_BYTES_MAX,
            })
        })
    }

    /// Puts the next change together.
    pub(crate) fn next(&mut self) -> Result<Vec<u8>, DecodeError> {
        let (chunk, hash) = self.parts().ok_or(DecodeError::PackCorrupt)?;
        // PROTOCOL 5.3: a reference of a byte stands for 32, so what comes of a pack is bounded too.
        let left = self.bytes_left.checked_sub(chunk.len());
        self.bytes_left = left.ok_or_else(|| DecodeError::PackTooLarge {
            bytes: number(PACK_UNPACKED_BYTES_MAX + 1),
            max: number(PACK_UNPACKED_BYTES_MAX),
        })?;
        self.hashes.push(hash);
        Ok(chunk)
    }

    fn parts(&mut self) -> Option<(Vec<u8>, [u8; HASH_BYTES])> {
        let streams = &mut self.streams;
        let shape = usize::try_from(streams.shapes.uint()?).ok()?;
        let (others, specs) = self.shapes.get(shape)?;
        let mut parts = Parts::default();
        let mut actor = || -> Option<(usize, &'b [u8])> {
            let at = usize::try_from(streams.actors.uint()?).ok()?;
            Some((at, self.actors.get(at)?))
        };
        let (author, bytes) = actor()?;
        parts.actor = bytes;
        let mut bytes_left = CHANGE_BYTES_MAX;
        for _ in 0..*others {
            bytes_left = bytes_left.checked_sub(ACTOR_BYTES)?;
            parts.others.push(actor()?.1);
        }
        let mut before = None;
        for _ in 0..streams.deps.uint()? {
            bytes_left = bytes_left.checked_sub(HASH_BYTES)?;
            let places = streams.deps.uint()?;
            if places == ELSEWHERE {
                parts.deps.push(streams.hashes.take(HASH_BYTES)?);
            } else {
                before = before.or(Some(self.known.back(places)?));
                let at = self
                    .hashes
                    .len()
                    .checked_sub(usize::try_from(places).ok()?)?;
                parts.deps.push(self.hashes.get(at)?);
            }
        }
        let expected = Expected::after(before, author);
        let seq = unfolded(streams.seqs.uint()?).cast_unsigned();
        parts.seq = expected.seq.wrapping_add(seq);
        let start = unfolded(streams.starts.uint()?).cast_unsigned();
        parts.start_op = expected.start_op.wrapping_add(start);
        parts.time = self
            .known
            .time
            .wrapping_add(unfolded(streams.times.uint()?));
        parts.message = streams.messages.prefixed()?;
        for spec in specs {
            let data = match *spec {
                KEYS => streams.take_keys(bytes_left)?.into(),
                VALUES => {
                    let length = usize::try_from(streams.lengths.uint()?).ok()?;
                    streams.values.take(length)?.into()
                }
                _ => Cow::from(streams.sorts.prefixed()?),
            };
            bytes_left = bytes_left.checked_sub(data.len())?;
            parts.columns.push((*spec, data));
        }
        self.known.time = parts.time;
        let change = (author, parts.seq, parts.start_op);
        self.known.changes.push(change);
        Some(parts.chunk())
    }

    /// Checks that nothing is left over: a pack has one way to be written.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        let mut all = self.streams.all().into_iter();
        if all.all(|stream| stream.0.is_empty()) {
            Ok(())
        } else {
            Err(DecodeError::PackCorrupt)
        }
    }
}

/// Returns the place of a value in a table, behind which it is put if it is not there.
fn place<T: PartialEq>(table: &mut Vec<T>, value: T) -> u64 {
    let found = table.iter().rposition(|known| *known == value);
    number(found.unwrap_or_else(|| {
        table.push(value);
        table.len() - 1
    }))
}

/// A cursor over a stream. Numbers are LEB128, as Automerge writes them.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn uint(&mut self) -> Option<u64> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let part = u64::from(byte & 0x7f);
            if part > u64::MAX >> shift {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn int(&mut self) -> Option<i64> {
        let mut value: i64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64_u32.saturating_sub(shift + 7);
                return Some((value << unused) >> unused);
            }
        }
        None
    }

    fn prefixed(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.uint()?).ok()?;
        self.take(length)
    }
}

fn uint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn int(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        let is_last = (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0);
        if is_last {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    uint(out, number(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Folds a signed number so that small ones of either sign are small: 0, -1, 1, -2 …
const fn folded(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unfolded(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What [`Parts`] borrows.
    #[derive(Clone, Debug)]
    struct Made {
        /// Places back of the change it depends on, modulo what there is; 0 for one that is elsewhere.
        deps: Vec<u8>,
        actor: u8,
        seq: u64,
        start_op: u64,
        time: i64,
        message: Vec<u8>,
        others: Vec<u8>,
        columns: Vec<(u8, Vec<u8>)>,
    }

    fn made() -> impl Strategy<Value = Made> {
        let numbers = (any::<u64>(), any::<u64>(), any::<i64>());
        let lists = (vec(0..4_u8, 0..3), vec(any::<u8>(), 0..3));
        let text = prop_oneof![
            vec(any::<u8>(), 0..40),
            "[0-9a-g]{0,100}".prop_map(String::into_bytes),
            "([a-z]?[0-9a-f]{32}){0,3}g?".prop_map(String::into_bytes),
        ];
        let columns = vec(
            (prop_oneof![0..=127_u8, Just(0x15), Just(0x57)], text),
            0..6,
        );
        (lists, 0..3_u8, numbers, vec(0..3_u8, 0..3), columns).prop_map(
            |((deps, message), actor, (seq, start_op, time), others, columns)| Made {
                deps,
                actor,
                seq,
                start_op,
                time,
                message,
                others,
                columns,
            },
        )
    }

    /// Makes chunks that build on one another.
    fn chunks(all: &[Made]) -> Vec<Vec<u8>> {
        let (mut chunks, mut hashes) = (Vec::new(), Vec::new());
        let actors: Vec<_> = (0..3).map(|actor| [actor; ACTOR_BYTES]).collect();
        for made in all {
            let elsewhere = [0xee; HASH_BYTES];
            let dep = |places: &u8| -> &[u8] {
                let back = hashes.len().checked_sub(usize::from(*places));
                let found = back.and_then(|at| hashes.get(at));
                found.map_or(&elsewhere, <[u8; HASH_BYTES]>::as_slice)
            };
            let actor = |actor: &u8| actors[usize::from(*actor)].as_slice();
            let parts = Parts {
                deps: made.deps.iter().map(dep).collect(),
                actor: actor(&made.actor),
                seq: made.seq,
                start_op: made.start_op,
                time: made.time,
                message: &made.message,
                others: made.others.iter().map(actor).collect(),
                columns: made
                    .columns
                    .iter()
                    .map(|(spec, data)| (u64::from(*spec), data.as_slice().into()))
                    .collect(),
            };
            let (chunk, hash) = parts.chunk();
            chunks.push(chunk);
            hashes.push(hash);
        }
        chunks
    }

    fn written(apart: &Apart) -> Vec<u8> {
        let mut out = Writer::new();
        apart.write(&mut out);
        out.into_bytes()
    }

    proptest! {
        #[test]
        fn changes_come_back_byte_by_byte_in_their_order(all in vec(made(), 0..12)) {
            let chunks = chunks(&all);
            let mut apart = Apart::default();
            for chunk in &chunks {
                prop_assert!(apart.take(chunk));
            }
            let bytes = written(&apart);
            let mut reader = Reader::new(&bytes);
            let mut together = Together::read(&mut reader).unwrap();
            for chunk in &chunks {
                prop_assert_eq!(&together.next().unwrap(), chunk);
            }
            prop_assert_eq!(together.end(), Ok(()));
            prop_assert!(together.next().is_err());
        }

        #[test]
        fn what_is_bent_is_taken_as_it_is_or_travels_whole(
            all in vec(made(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut chunk = chunks(&all).pop().unwrap();
            *at.get_mut(&mut chunk) = byte;
            let mut apart = Apart::default();
            if apart.take(&chunk) {
                let bytes = written(&apart);
                let mut together = Together::read(&mut Reader::new(&bytes)).unwrap();
                prop_assert_eq!(together.next(), Ok(chunk));
            }
        }

        #[test]
        fn bytes_of_anybody_are_read_within_bounds(
            all in vec(made(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut apart = Apart::default();
            for chunk in chunks(&all) {
                apart.take(&chunk);
            }
            let mut bytes = written(&apart);
            *at.get_mut(&mut bytes) = byte;
            if let Ok(mut together) = Together::read(&mut Reader::new(&bytes)) {
                while let Ok(chunk) = together.next() {
                    prop_assert!(chunk.len() <= 2 * CHANGE_BYTES_MAX);
                }
            }
        }
    }

    #[test]
    fn what_a_pack_names_again_and_again_is_bounded_by_what_comes_of_it() {
        // A dependency on what the pack brought takes one byte, and makes 32.
        let first = chunks(&[Made {
            deps: vec![],
            actor: 0,
            seq: 1,
            start_op: 1,
            time: 0,
            message: vec![],
            others: vec![],
            columns: vec![],
        }]);
        let hash: [u8; HASH_BYTES] = Sha256::digest(&first[0][8..]).into();
        let many = Parts {
            deps: vec![hash.as_slice(); 2_000],
            actor: &[0; ACTOR_BYTES],
            ..Parts::default()
        };
        let (many, _) = many.chunk();
        let mut apart = Apart::default();
        assert!(apart.take(&first[0]));
        let count = PACK_UNPACKED_BYTES_MAX / many.len() + 2;
        for _ in 0..count {
            // The same places back name another change each time, so it is told from each anew.
            apart.hashes.insert(hash, apart.known.changes.len() - 1);
            assert!(apart.take(&many));
        }
        let bytes = written(&apart);
        assert!(bytes.len() < PACK_UNPACKED_BYTES_MAX / 10);
        let mut together = Together::read(&mut Reader::new(&bytes)).unwrap();
        let too_large = (0..=count).find_map(|_| together.next().err());
        assert!(matches!(too_large, Some(DecodeError::PackTooLarge { .. })));
    }

    #[test]
    fn a_change_of_another_shape_of_ids_travels_whole() {
        let parts = Parts {
            actor: &[7; ACTOR_BYTES + 1],
            ..Parts::default()
        };
        assert!(!Apart::default().take(&parts.chunk().0));
        assert!(!Apart::default().take(b"not a chunk"));
    }
}
