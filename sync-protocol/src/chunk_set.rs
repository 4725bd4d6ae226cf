//! Which chunks of a blob there are: the bitmap that both ends keep, and its runs on the wire.

use crate::blob::{CHUNK_BYTES, chunk_count};

/// A set of a blob's chunks, by number from 0.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkSet {
    count: u32,
    // Invariant: just as many bytes as `count` bits take, and no bit beyond `count`.
    bits: Vec<u8>,
}

impl ChunkSet {
    /// Returns the empty set of a blob of so many bytes.
    pub fn of_size(size_bytes: u64) -> Self {
        Self::empty(chunk_count(size_bytes))
    }

    /// Returns the empty set of a blob of so many chunks.
    pub fn empty(count: u32) -> Self {
        Self {
            count,
            bits: vec![0; count.div_ceil(8) as usize],
        }
    }

    /// Takes up a stored bitmap; `None` if it is not one of so many chunks.
    pub fn from_bits(count: u32, bits: &[u8]) -> Option<Self> {
        let mut set = Self::empty(count);
        let beyond = (count..count.next_multiple_of(8)).any(|at| bit(bits, at));
        if bits.len() != set.bits.len() || beyond {
            return None;
        }
        set.bits.copy_from_slice(bits);
        Some(set)
    }

    /// Returns the bitmap: a chunk's bit is `1 << n % 8` of byte `n / 8`.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Returns how many chunks the blob has.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Returns how many of them are in the set.
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Returns whether none of them is.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|byte| *byte == 0)
    }

    /// Returns whether all of them are.
    pub fn is_full(&self) -> bool {
        self.len() == self.count
    }

    /// Returns whether a chunk is in the set.
    pub fn contains(&self, chunk: u32) -> bool {
        chunk < self.count && bit(&self.bits, chunk)
    }

    /// Adds a chunk; says whether the blob has it and the set did not.
    pub fn insert(&mut self, chunk: u32) -> bool {
        let is_news = chunk < self.count && !bit(&self.bits, chunk);
        if is_news {
            self.bits[chunk as usize / 8] |= 1 << (chunk % 8);
        }
        is_news
    }

    /// Takes a chunk out; says whether it was in the set.
    pub fn remove(&mut self, chunk: u32) -> bool {
        let was_in = self.contains(chunk);
        if was_in {
            self.bits[chunk as usize / 8] &= !(1 << (chunk % 8));
        }
        was_in
    }

    /// Lists the chunks that are not in the set.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.count).filter(|chunk| !bit(&self.bits, *chunk))
    }

    /// Returns the lengths of the runs of chunks that are in the set (may be 0), that are not, and so on.
    pub(crate) fn runs(&self) -> Vec<u32> {
        let mut runs = vec![0];
        let mut is_in = true;
        for chunk in 0..self.count {
            if bit(&self.bits, chunk) != is_in {
                is_in = !is_in;
                runs.push(0);
            }
            *runs.last_mut().expect("there is one from the start") += 1;
        }
        runs
    }

    /// Reads such lengths; `None` if they go beyond `count_max` chunks.
    pub(crate) fn from_runs(runs: &[u64], count_max: u32) -> Option<Self> {
        let count = runs
            .iter()
            .try_fold(0u64, |sum, run| sum.checked_add(*run))?;
        let count = u32::try_from(count).ok().filter(|it| *it <= count_max)?;
        let mut set = Self::empty(count);
        let mut chunk = 0;
        for (place, run) in runs.iter().enumerate() {
            for _ in 0..*run {
                if place % 2 == 0 {
                    set.insert(chunk);
                }
                chunk += 1;
            }
        }
        Some(set)
    }

    /// Returns how many bytes the chunks of the set have, in a blob of `size_bytes`.
    pub fn bytes(&self, size_bytes: u64) -> u64 {
        let whole = u64::from(self.len()) * CHUNK_BYTES as u64;
        let spare = u64::from(self.count) * CHUNK_BYTES as u64 - size_bytes;
        let has_last = self.count > 0 && self.contains(self.count - 1);
        whole - if has_last { spare } else { 0 }
    }
}

fn bit(bits: &[u8], at: u32) -> bool {
    bits.get(at as usize / 8)
        .is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in_whichever_way_it_went(
            count in 0u32..70,
            chunks in proptest::collection::btree_set(0u32..70, 0..70),
            gone in proptest::collection::btree_set(0u32..70, 0..9),
        ) {
            let mut set = ChunkSet::empty(count);
            let mut expected = BTreeSet::new();
            for chunk in chunks {
                prop_assert_eq!(set.insert(chunk), chunk < count);
                prop_assert!(!set.insert(chunk), "once");
                if chunk < count {
                    expected.insert(chunk);
                }
            }
            for chunk in gone {
                prop_assert_eq!(set.remove(chunk), expected.remove(&chunk));
            }
            let missing: BTreeSet<u32> = set.missing().collect();
            prop_assert!(missing.is_disjoint(&expected));
            prop_assert_eq!(missing.len() + expected.len(), count as usize);
            prop_assert_eq!(set.len() as usize, expected.len());
            prop_assert_eq!(set.is_full(), missing.is_empty());
            let runs: Vec<u64> = set.runs().iter().map(|run| u64::from(*run)).collect();
            prop_assert_eq!(ChunkSet::from_runs(&runs, count), Some(set.clone()));
            prop_assert_eq!(ChunkSet::from_bits(count, set.bits()), Some(set.clone()));
        }
    }

    #[test]
    fn runs_and_bits_that_do_not_fit_are_no_set() {
        assert_eq!(ChunkSet::from_runs(&[1, 2], 2), None);
        assert_eq!(ChunkSet::from_runs(&[u64::MAX, 1], 2048), None);
        assert_eq!(ChunkSet::from_bits(9, &[0]), None);
        assert_eq!(ChunkSet::from_bits(9, &[0, 2]), None);
        assert!(ChunkSet::from_bits(9, &[0, 1]).is_some());
    }

    #[test]
    fn the_last_chunk_has_the_bytes_that_are_left() {
        let size = 2 * CHUNK_BYTES as u64 + 10;
        let mut set = ChunkSet::of_size(size);
        assert_eq!(set.bytes(size), 0);
        set.insert(2);
        assert_eq!(set.bytes(size), 10);
        set.insert(0);
        set.insert(1);
        assert_eq!(set.bytes(size), size);
    }
}
