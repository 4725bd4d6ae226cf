//! The sizes a change and a document may have.

/// Most bytes of one raw change.
///
/// A long note is 2 KB, a track segment's summary 10 KB; photos and tracks travel as blobs. Small
/// enough that a change is one piece on a 20 kbit/s link for less than half a minute.
pub const CHANGE_BYTES_MAX: usize = 64 * 1024;

/// Most operations of one change; a letter of text is one.
///
/// Every op takes memory once it is decoded, and run-length encoding lets 66 bytes name as many as
/// take 4 GB (measured with Automerge 0.12). Enough to rewrite a text of nearly 1,000 letters whole.
pub const CHANGE_OPS_MAX: usize = 2_000;

/// Most earlier operations that those of one change may replace together.
///
/// An operation replaces one, or as many as stand in conflict at its place.
pub(crate) const CHANGE_REPLACED_MAX: usize = 4 * CHANGE_OPS_MAX;

/// Most changes of one document.
///
/// A usual one has 8 to 60. Loading, reading and checking cost time in proportion: at this limit 33,
/// 14 and 80 ms, against 0.2, 0.04 and 1 ms for 20 changes (measured, release build, 2 cores). A
/// full document is continued in another.
pub const DOCUMENT_CHANGES_MAX: usize = 5_000;

/// Most bytes of one document as the gate saves it, uncompressed: two hundred times a usual one, and
/// still one write.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Deepest nesting of containers that is read.
///
/// Kinds use two or three levels. Bounded because a reader's stack is.
pub const NESTING_MAX: usize = 16;

/// Most changes that the verdict on an incomplete one names as missing.
///
/// Each of 10,000 changes in one frame may wait for one more than the change before it: named in full, they
/// would take gigabytes.
pub const MISSING_NAMED_MAX: usize = 64;
