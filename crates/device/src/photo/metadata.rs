//! An original without its metadata: where it was taken, by which camera, and what apps wrote into it.
//!
//! What the picture needs stays as it is, byte for byte, and nothing is coded anew: of JPEG the segments that the decoder
//! reads (tables, frame, scans, JFIF, the profile of colours, Adobe's transform), of PNG the chunks that say what its
//! pixels are. Everything else goes, what nobody knows as well: thumbnails, notes of makers, films behind the end. Which way
//! is up is kept, alone, where it is another than as stored.

use gridbeat_base::Media;
use image::ImageDecoder as _;
use image::metadata::Orientation;

use super::reduced::{contained, decoder};
use super::{PhotoError, check};

/// The marker of a JPEG segment that begins a scan; what follows it are coded pixels.
const SCAN: u8 = 0xda;
const END: u8 = 0xd9;
const JFIF: u8 = 0xe0;
const EXIF: u8 = 0xe1;
const PROFILE: u8 = 0xe2;
const ADOBE: u8 = 0xee;
const COMMENT: u8 = 0xfe;

/// The ancillary chunks of PNG that say how its pixels look, and those of moving ones.
const PNG_KEPT: [&[u8; 4]; 14] = [
    b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"hIST", b"pHYs",
    b"sPLT", b"acTL", b"fcTL", b"fdAT",
];

/// Bytes of a PNG's signature, and of what a chunk has beside its content.
const PNG_HEAD_BYTES: usize = 8;
const PNG_CHUNK_BYTES: usize = 12;

/// Returns a photo (JPEG or PNG) without its metadata, for handing it to others. The pixels stay as they are, to the bit.
///
/// # Errors
///
/// [`PhotoError`]; [`PhotoError::Damaged`] too for one that is cut off.
pub fn without_metadata(photo: &[u8]) -> Result<Vec<u8>, PhotoError> {
    let media = check(photo)?;
    let orientation = contained(|| match decoder(photo)?.orientation() {
        Ok(Orientation::NoTransforms) | Err(_) => Ok(None),
        Ok(orientation) => Ok(Some(orientation.to_exif())),
    })?;
    let stripped = if media == Media::Png {
        png(photo, orientation)
    } else {
        jpeg(photo, orientation)
    };
    stripped.ok_or(PhotoError::Damaged)
}

fn jpeg(photo: &[u8], orientation: Option<u8>) -> Option<Vec<u8>> {
    let mut rest = photo.strip_prefix(&[0xff, 0xd8])?;
    let mut out = vec![0xff, 0xd8];
    let mut is_told = orientation.is_none();
    loop {
        // Any number of bytes 0xff may stand before a marker.
        let filled = rest.iter().take_while(|byte| **byte == 0xff).count();
        let marker = *rest.get(filled).filter(|_| filled > 0)?;
        rest = rest.get(filled + 1..)?;
        if marker == END {
            out.extend([0xff, END]);
            return Some(out);
        }
        let (size, _) = rest.split_first_chunk::<2>()?;
        let (segment, behind) = rest.split_at_checked(u16::from_be_bytes(*size).into())?;
        rest = behind;
        if marker != JFIF && !is_told {
            // As soon as the standard allows: JFIF is the first if it is there.
            out.extend(jpeg_exif(orientation.unwrap_or(1)));
            is_told = true;
        }
        if jpeg_needs(marker, segment.get(2..)?) {
            out.extend([0xff, marker]);
            out.extend(segment);
        }
        if marker == SCAN {
            let pixels = scan_bytes(rest);
            out.extend(&rest[..pixels]);
            rest = &rest[pixels..];
        }
    }
}

fn jpeg_needs(marker: u8, content: &[u8]) -> bool {
    match marker {
        JFIF => content.starts_with(b"JFIF\0"),
        PROFILE => content.starts_with(b"ICC_PROFILE\0"),
        ADOBE => content.starts_with(b"Adobe"),
        // APP1 to APP15, JPG0 to JPG13 and comments.
        EXIF..=COMMENT => false,
        _ => true,
    }
}

/// Returns how many bytes of coded pixels there are before the next marker that is none of restarting.
fn scan_bytes(bytes: &[u8]) -> usize {
    let ends = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    bytes.windows(2).position(ends).unwrap_or(bytes.len())
}

/// Makes the segment that says which way is up, and nothing else.
fn jpeg_exif(orientation: u8) -> Vec<u8> {
    let exif = tiff(orientation);
    let size = 2 + 6 + u16::try_from(exif.len()).expect("a few bytes");
    let mut segment = vec![0xff, EXIF];
    segment.extend(size.to_be_bytes());
    segment.extend(b"Exif\0\0");
    segment.extend(exif);
    segment
}

/// Exif with one entry: tag 0x0112, one SHORT.
fn tiff(orientation: u8) -> Vec<u8> {
    let mut tiff = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0]);
    tiff
}

fn png(photo: &[u8], orientation: Option<u8>) -> Option<Vec<u8>> {
    let (head, mut rest) = photo.split_at_checked(PNG_HEAD_BYTES)?;
    let mut out = head.to_vec();
    loop {
        let (size, _) = rest.split_first_chunk::<4>()?;
        let size = usize::try_from(u32::from_be_bytes(*size)).ok()?;
        let (chunk, behind) = rest.split_at_checked(size.checked_add(PNG_CHUNK_BYTES)?)?;
        rest = behind;
        let name = chunk.get(4..8)?;
        // A capital first letter: no picture without it.
        let is_critical = name[0].is_ascii_uppercase();
        if is_critical || PNG_KEPT.iter().any(|kept| *kept == name) {
            out.extend(chunk);
        }
        if name == b"IHDR" {
            out.extend(orientation.map(png_exif).unwrap_or_default());
        }
        if name == b"IEND" {
            return Some(out);
        }
    }
}

fn png_exif(orientation: u8) -> Vec<u8> {
    let mut named = b"eXIf".to_vec();
    named.extend(tiff(orientation));
    let size = u32::try_from(named.len() - 4).expect("a few bytes");
    let mut chunk = size.to_be_bytes().to_vec();
    chunk.extend(&named);
    chunk.extend(crc32(&named).to_be_bytes());
    chunk
}

/// The check of PNG's chunks (ISO 3309), for a few bytes.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}
