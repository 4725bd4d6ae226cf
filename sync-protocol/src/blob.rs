//! A blob (a photo, a track) in verified pieces.
//!
//! A blob is named by the BLAKE3 hash of its bytes, whose tree over chunks of 16 KiB lets each chunk be verified by
//! itself against the name: a slice is a chunk behind the pairs of hashes on the way to it from the root, as Bao and
//! `bao-tree` encode it. What proves that somebody holds a blob is a keyed hash of it under a nonce that was just
//! made up. All hashing is the crate `blake3`'s; only the walk through its tree is here (decision 0022).
//! Not here: who may have which blob (`relay-core`), where bytes lie (the stores).

use core::fmt;
use std::io::{self, Read};

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use gridbeat_base::{BlobHash, Remedy};

use crate::limits::{BLOB_BYTES_MAX, SLICE_BYTES_MAX};

/// Bytes of a chunk, but for the last of a blob: half a second at 256 kbit/s. What is being sent when a link is cut
/// is sent again, and what is under way delays whatever is more urgent; each hash beside it adds 64 bytes.
pub const CHUNK_BYTES: usize = 16 * 1024;

/// Bytes of a pair of hashes.
const PAIR_BYTES: usize = 64;

/// Returns how many chunks a blob of so many bytes has; at least one.
pub fn chunk_count(size_bytes: u64) -> u32 {
    let count = size_bytes.div_ceil(CHUNK_BYTES as u64).max(1);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns whether a blob may have so many bytes: at least one, at most [`BLOB_BYTES_MAX`].
pub const fn is_blob_size(size_bytes: u64) -> bool {
    size_bytes > 0 && size_bytes <= BLOB_BYTES_MAX
}

/// Returns the name of a blob's bytes.
pub fn blob_hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// The inner hashes of one blob's tree, from which its slices are made: 64 bytes for each chunk but the first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlobTree {
    hash: BlobHash,
    size_bytes: u64,
    hashes: Vec<u8>,
}

/// A blob's bytes are not what they are said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the bytes of a blob are not those of its name")]
pub struct BlobError;

impl BlobError {
    /// Returns what the caller should do about this error: get the blob from somebody else.
    pub const fn remedy(self) -> Remedy {
        Remedy::Restore
    }
}

impl BlobTree {
    /// Makes the tree of a blob, from all of its bytes.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if they are not the `size_bytes` bytes of that name.
    pub fn of(hash: BlobHash, size_bytes: u64, bytes: impl Read) -> Result<Self, BlobError> {
        if !is_blob_size(size_bytes) {
            return Err(BlobError);
        }
        let mut bytes = bytes;
        let mut hashes = Vec::with_capacity(hashes_bytes(size_bytes));
        let found = Node::root(size_bytes).hash_all(&mut bytes, &mut hashes);
        let is_longer = bytes.read(&mut [0]).map_or(true, |more| more > 0);
        if is_longer || found.ok() != Some(*hash.bytes()) {
            return Err(BlobError);
        }
        Ok(Self {
            hash,
            size_bytes,
            hashes,
        })
    }

    /// Takes up a tree whose hashes were stored; `None` if a blob of that size has others in number.
    pub fn from_hashes(hash: BlobHash, size_bytes: u64, hashes: Vec<u8>) -> Option<Self> {
        let fits = is_blob_size(size_bytes) && hashes.len() == hashes_bytes(size_bytes);
        fits.then_some(Self {
            hash,
            size_bytes,
            hashes,
        })
    }

    /// Returns the hashes, to be stored.
    pub fn hashes(&self) -> &[u8] {
        &self.hashes
    }

    /// Returns the blob's name.
    pub const fn hash(&self) -> BlobHash {
        self.hash
    }

    /// Returns how many bytes the blob has.
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Makes the slice of a chunk.
    ///
    /// # Errors
    ///
    /// [`BlobError`] if the bytes are not the chunk's: it is verified before it goes out.
    pub fn slice(&self, chunk: u32, bytes: &[u8]) -> Result<Vec<u8>, BlobError> {
        if chunk >= chunk_count(self.size_bytes) {
            return Err(BlobError);
        }
        let mut slice = Vec::with_capacity(SLICE_BYTES_MAX);
        let (mut node, mut place) = (Node::root(self.size_bytes), 0);
        while let Some((left, right)) = node.children() {
            let pair = self.hashes.get(place..place + PAIR_BYTES);
            slice.extend_from_slice(pair.ok_or(BlobError)?);
            // In pre-order the pairs of the left side come first.
            place += PAIR_BYTES;
            node = if right.holds(chunk) {
                place += hashes_bytes(left.bytes);
                right
            } else {
                left
            };
        }
        slice.extend_from_slice(bytes);
        verify_slice(self.hash, self.size_bytes, chunk, &slice)?;
        Ok(slice)
    }
}

/// Verifies a slice, which may be anybody's, and returns the chunk's bytes.
///
/// # Errors
///
/// [`BlobError`] if it is not that chunk of the blob of that name and size, and nothing else.
pub fn verify_slice(
    hash: BlobHash,
    size_bytes: u64,
    chunk: u32,
    slice: &[u8],
) -> Result<Vec<u8>, BlobError> {
    if !is_blob_size(size_bytes) || chunk >= chunk_count(size_bytes) {
        return Err(BlobError);
    }
    let (mut node, mut expected, mut rest) = (Node::root(size_bytes), *hash.bytes(), slice);
    while let Some((left, right)) = node.children() {
        let (pair, behind) = rest.split_first_chunk::<PAIR_BYTES>().ok_or(BlobError)?;
        let (of_left, of_right) = halves(pair);
        if node.merge(&of_left, &of_right) != expected {
            return Err(BlobError);
        }
        rest = behind;
        (node, expected) = if right.holds(chunk) {
            (right, of_right)
        } else {
            (left, of_left)
        };
    }
    if rest.len() as u64 != node.bytes || node.hash_leaf(rest) != expected {
        return Err(BlobError);
    }
    Ok(rest.to_vec())
}

/// A nonce under which somebody is to prove that he holds a blob.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct BlobNonce([u8; 32]);

/// What proves it: the blob's BLAKE3 hash, keyed by the nonce.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Possession([u8; 32]);

impl BlobNonce {
    /// Makes one of bytes that nobody can have foreseen.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Possession {
    /// Makes one from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Makes the proof from all bytes of a blob.
    ///
    /// # Errors
    ///
    /// What reading them gives.
    pub fn of(nonce: &BlobNonce, bytes: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::new_keyed(&nonce.0);
        hasher.update_reader(bytes)?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }
}

impl fmt::Debug for BlobNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Possession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A node of a blob's tree, by the bytes below it.
#[derive(Clone, Copy)]
struct Node {
    start: u64,
    bytes: u64,
    is_root: bool,
}

impl Node {
    const fn root(bytes: u64) -> Self {
        Self {
            start: 0,
            bytes,
            is_root: true,
        }
    }

    /// Returns the nodes below; `None` for a leaf, which is one of our chunks.
    fn children(self) -> Option<(Self, Self)> {
        if self.bytes <= CHUNK_BYTES as u64 {
            return None;
        }
        let left = left_subtree_len(self.bytes);
        let child = |start, bytes| Self {
            start,
            bytes,
            is_root: false,
        };
        Some((
            child(self.start, left),
            child(self.start + left, self.bytes - left),
        ))
    }

    /// Returns whether a chunk that is below the parent is below this node, if it is the right one of two.
    const fn holds(self, chunk: u32) -> bool {
        chunk as u64 * CHUNK_BYTES as u64 >= self.start
    }

    fn hash_leaf(self, bytes: &[u8]) -> ChainingValue {
        if self.is_root {
            return *blake3::hash(bytes).as_bytes();
        }
        let mut hasher = Hasher::new();
        hasher.set_input_offset(self.start).update(bytes);
        hasher.finalize_non_root()
    }

    fn merge(self, left: &ChainingValue, right: &ChainingValue) -> ChainingValue {
        if self.is_root {
            *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
        } else {
            merge_subtrees_non_root(left, right, Mode::Hash)
        }
    }

    /// Reads all bytes below, adds the pairs of hashes in pre-order, and returns the node's own hash.
    fn hash_all(self, from: &mut impl Read, hashes: &mut Vec<u8>) -> io::Result<ChainingValue> {
        let Some((left, right)) = self.children() else {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            from.take(self.bytes).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != self.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(self.hash_leaf(&bytes));
        };
        let place = hashes.len();
        hashes.extend([0; PAIR_BYTES]);
        let of_left = left.hash_all(from, hashes)?;
        let of_right = right.hash_all(from, hashes)?;
        let pair = [of_left, of_right].concat();
        hashes[place..place + PAIR_BYTES].copy_from_slice(&pair);
        Ok(self.merge(&of_left, &of_right))
    }
}

fn halves(pair: &[u8; PAIR_BYTES]) -> (ChainingValue, ChainingValue) {
    let (mut left, mut right) = ([0; 32], [0; 32]);
    left.copy_from_slice(&pair[..32]);
    right.copy_from_slice(&pair[32..]);
    (left, right)
}

/// Returns how many bytes the pairs of hashes of a blob have, or of a part of one that is a node of its tree.
fn hashes_bytes(size_bytes: u64) -> usize {
    (chunk_count(size_bytes) as usize - 1) * PAIR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at / 7 + at % 251) as u8).collect()
    }

    fn chunk(bytes: &[u8], n: u32) -> &[u8] {
        bytes.chunks(CHUNK_BYTES).nth(n as usize).unwrap()
    }

    fn tree(bytes: &[u8]) -> BlobTree {
        BlobTree::of(blob_hash(bytes), bytes.len() as u64, bytes).unwrap()
    }

    #[test]
    fn every_chunk_of_any_blob_goes_over_in_a_slice() {
        for size in [
            1,
            1023,
            CHUNK_BYTES - 1,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            5 * CHUNK_BYTES + 3,
        ] {
            let bytes = blob(size);
            let (hash, tree) = (blob_hash(&bytes), tree(&bytes));
            for n in 0..chunk_count(size as u64) {
                let slice = tree.slice(n, chunk(&bytes, n)).unwrap();
                let back = verify_slice(hash, size as u64, n, &slice);
                assert_eq!(back.as_deref(), Ok(chunk(&bytes, n)), "{size} {n}");
            }
        }
    }

    #[test]
    fn slices_are_those_that_bao_tree_makes() {
        // BLAKE3 of slices that bao-tree 0.17 made over groups of 16 KiB: size, chunk, first bytes.
        for (size, n, expected) in [
            (32868, 0, "f8de9d5b7ef1c293"),
            (32868, 1, "6e96e9024039c5fd"),
            (32868, 2, "23799076f3cb5449"),
            (5000000, 0, "9246d2767cc751b1"),
            (5000000, 153, "16690ae81fdaf368"),
            (5000000, 305, "9339e3437648e0d2"),
        ] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 253) as u8).collect();
            let slice = tree(&bytes).slice(n, chunk(&bytes, n)).unwrap();
            let found = blake3::hash(&slice).to_hex();
            assert_eq!(&found[..16], expected, "{size} {n}");
        }
    }

    #[test]
    fn the_largest_slice_fits_its_limit() {
        let bytes = blob(usize::try_from(BLOB_BYTES_MAX).unwrap());
        let tree = tree(&bytes);
        let count = chunk_count(BLOB_BYTES_MAX);
        for n in [0, 1, count - 1] {
            let slice = tree.slice(n, chunk(&bytes, n)).unwrap();
            assert_eq!(slice.len(), SLICE_BYTES_MAX);
        }
    }

    #[test]
    fn no_slice_passes_for_another_chunk_size_or_blob_and_none_that_was_touched() {
        let bytes = blob(3 * CHUNK_BYTES + 9);
        let (hash, size, tree) = (blob_hash(&bytes), bytes.len() as u64, tree(&bytes));
        let slice = tree.slice(1, chunk(&bytes, 1)).unwrap();
        let passes = |hash, size, n, slice: &[u8]| verify_slice(hash, size, n, slice).is_ok();
        assert!(passes(hash, size, 1, &slice));
        for n in [0, 2, 3, 4, u32::MAX] {
            assert!(!passes(hash, size, n, &slice), "{n}");
        }
        assert!(!passes(blob_hash(&[1]), size, 1, &slice));
        for wrong in [0, 1, CHUNK_BYTES as u64, BLOB_BYTES_MAX + 1, u64::MAX] {
            assert!(!passes(hash, wrong, 1, &slice), "{wrong}");
        }
        for at in (0..slice.len()).step_by(97) {
            let mut touched = slice.clone();
            touched[at] ^= 1;
            assert!(!passes(hash, size, 1, &touched), "{at}");
            assert!(!passes(hash, size, 1, &slice[..at]), "{at}");
        }
        assert!(!passes(hash, size, 1, &[slice.as_slice(), &[0]].concat()));
        assert_eq!(tree.slice(1, chunk(&bytes, 0)), Err(BlobError));
        assert_eq!(tree.slice(9, chunk(&bytes, 0)), Err(BlobError));
        assert_eq!(tree.slice(1, &chunk(&bytes, 1)[1..]), Err(BlobError));
    }

    #[test]
    fn a_tree_is_made_of_the_blobs_own_bytes_alone() {
        let bytes = blob(2 * CHUNK_BYTES);
        let (hash, size) = (blob_hash(&bytes), bytes.len() as u64);
        assert_eq!(BlobTree::of(hash, size - 1, &bytes[..]), Err(BlobError));
        assert_eq!(BlobTree::of(hash, size + 1, &bytes[..]), Err(BlobError));
        assert_eq!(BlobTree::of(blob_hash(&[]), 0, &bytes[..0]), Err(BlobError));
        let made = tree(&bytes);
        let stored = BlobTree::from_hashes(hash, size, made.hashes().to_vec());
        assert_eq!(stored, Some(made));
        assert_eq!(BlobTree::from_hashes(hash, size, vec![0; 63]), None);
    }

    #[test]
    fn possession_is_proven_by_the_whole_blob_under_that_nonce() {
        let bytes = blob(CHUNK_BYTES + 1);
        let (one, other) = (
            BlobNonce::from_bytes([1; 32]),
            BlobNonce::from_bytes([2; 32]),
        );
        let proof = Possession::of(&one, &bytes[..]).unwrap();
        assert_eq!(Possession::of(&one, &bytes[..]).unwrap(), proof);
        assert_ne!(Possession::of(&other, &bytes[..]).unwrap(), proof);
        assert_ne!(Possession::of(&one, &bytes[1..]).unwrap(), proof);
    }
}
