//! Photos of a shift: made-up bytes of the size that a phone's camera makes for a report.
//!
//! They follow from the seed and the report, and differ all: nothing is sent twice for being the same.

use gridbeat_base::{BlobHash, Random};
use serde_json::{Value, json};

/// Every third report has a photo.
pub(super) const EVERY: usize = 3;

/// Bytes at least, and how many more at most.
const BYTES: (u64, u64) = (60_000, 180_000);

/// Makes the photo of a report: its bytes in hexadecimal, and the intent that adds it.
pub(super) fn of(seed: u64, report: usize) -> (String, Value) {
    let mut random = Random::from_number(seed ^ 0x0f07_0000 ^ ((report as u64) << 32));
    let (least, more) = BYTES;
    let size = usize::try_from(least + random.below(more)).unwrap_or(usize::MAX);
    // As JPEG begins.
    let mut bytes = vec![0xff, 0xd8, 0xff];
    while bytes.len() < size {
        bytes.extend(random.bytes::<32>());
    }
    let hash = BlobHash::from_bytes(*blake3::hash(&bytes).as_bytes());
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (
        hex,
        json!({ "do": "add_photo", "hash": hash, "role": "near" }),
    )
}
