//! Photos of a shift: made-up pictures as JPEG, of the size that a phone's camera makes for a report.
//!
//! They follow from the seed and the report, and differ all: nothing is sent twice for being the same.

use std::io::Cursor;

use gridbeat_base::Random;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// Every third report has a photo.
pub(super) const EVERY: usize = 3;

/// Pixels of the shorter side at least, and how many more at most: 60 to 230 kB.
const SIDE_PX: (u32, u64) = (300, 300);

/// The quality at which a phone keeps its photos.
const QUALITY: u8 = 90;

/// Makes the photo of a report: its bytes in hexadecimal, and the intent that adds it, but for its names.
pub(super) fn of(seed: u64, report: usize) -> (String, Value) {
    let mut random = Random::from_number(seed ^ 0x0f07_0000 ^ ((report as u64) << 32));
    let (least, more) = SIDE_PX;
    let side = least + u32::try_from(random.below(more)).unwrap_or(0);
    // Sky above, street below, and grain as of a small lens.
    let picture = RgbImage::from_fn(side * 4 / 3, side, |_, y| {
        let grain = random.bytes::<1>()[0] / 6;
        let light = u8::try_from(180 - y * 120 / side).unwrap_or(60);
        Rgb([light, light.saturating_add(grain), 90 + grain])
    });
    let mut bytes = Cursor::new(Vec::new());
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    picture
        .write_with_encoder(encoder)
        .expect("memory takes a JPEG of any such size");
    let hex = bytes.get_ref().iter().map(|byte| format!("{byte:02x}"));
    (hex.collect(), json!({ "do": "add_photo", "role": "near" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_differ_and_have_the_size_of_photos() {
        let photos = [of(1, 0).0, of(1, 3).0, of(2, 0).0];
        for (place, photo) in photos.iter().enumerate() {
            assert!(photo.starts_with("ffd8ff"));
            let size = photo.len() / 2;
            assert!((40_000..300_000).contains(&size), "{size}");
            assert!(!photos[..place].contains(photo));
        }
        assert_eq!(of(1, 0).0, photos[0]);
    }
}
