//! A photo as a device keeps it: the original to the byte, a preview and a thumbnail made of it.
//!
//! What a photo is gets decided by its first bytes, and whether it may be decoded by its header, before anything is
//! decoded. Preview and thumbnail stand upright and have no metadata, so that what others see first says nothing of where
//! or by whose camera it was taken. The original is never changed: it is evidence.
//!
//! - `reduced`: decoding, the smaller pictures
//! - `metadata`: an original without its metadata, without coding it anew
//!
//! Not here: sending (each is a blob), and which record refers to them (its kind). Memory while one is made: 3 to 4 bytes
//! a pixel, twice that for a progressive JPEG.

mod metadata;
mod reduced;
#[cfg(test)]
mod tests;

use gridbeat_base::{BlobHash, Media, Remedy};
use gridbeat_device_core::{SaveError, Saved};
use gridbeat_document::Words;

use crate::Failure;

pub use metadata::without_metadata;

/// Most bytes of an original, as for every blob that goes over the link.
pub const PHOTO_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most pixels of an original: the cameras of phones make 12 to 50 million.
pub const PHOTO_PIXELS_MAX: u64 = 50_000_000;

/// The longest side of a preview, in pixels: it fills the screen of a handset.
pub const PREVIEW_SIDE_PX: u32 = 1_280;

/// Most bytes of a preview: five seconds at 256 kbit/s.
pub const PREVIEW_BYTES_MAX: usize = 150 * 1024;

/// The longest side of a thumbnail, in pixels: one of a list.
pub const THUMBNAIL_SIDE_PX: u32 = 160;

/// Most bytes of a thumbnail: a fifth of a second at 256 kbit/s.
pub const THUMBNAIL_BYTES_MAX: usize = 6 * 1024;

/// A photo with its smaller pictures, each a JPEG that stands upright and has no metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Photo {
    /// The bytes as the camera gave them.
    pub original: Vec<u8>,
    /// At most [`PREVIEW_SIDE_PX`] and [`PREVIEW_BYTES_MAX`], never larger than the original is.
    pub preview: Vec<u8>,
    /// At most [`THUMBNAIL_SIDE_PX`] and [`THUMBNAIL_BYTES_MAX`].
    pub thumbnail: Vec<u8>,
    /// How wide it is when it stands upright, in pixels.
    pub width_px: u32,
    /// How high it is then, in pixels.
    pub height_px: u32,
}

impl Photo {
    /// Makes the smaller pictures of a photo: JPEG or PNG. Takes a quarter of a second for 12 million pixels on
    /// one core of a server, and several times that on a phone.
    ///
    /// # Errors
    ///
    /// [`PhotoError`]: whoever took it must hand in another.
    pub fn of(original: Vec<u8>) -> Result<Self, PhotoError> {
        check(&original)?;
        reduced::make(original)
    }
}

/// The names of a photo's blobs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PhotoBlobs {
    /// Of the original.
    pub original: BlobHash,
    /// Of the preview.
    pub preview: BlobHash,
    /// Of the thumbnail.
    pub thumbnail: BlobHash,
}

/// A photo that is durable on this device, with the edit that refers to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PhotoTaken {
    /// The edit.
    pub saved: Saved,
    /// The names of its blobs.
    pub blobs: PhotoBlobs,
}

/// What was handed in is no photo that can be shown smaller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PhotoError {
    /// It is neither JPEG nor PNG, by its first bytes. It can be attached as it is, as any blob.
    #[error("neither JPEG nor PNG, but {}", .media.name())]
    Media {
        /// What it is.
        media: Media,
    },
    /// It has more bytes than [`PHOTO_BYTES_MAX`].
    #[error("a photo has at most {PHOTO_BYTES_MAX} bytes, not {size_bytes}")]
    Bytes {
        /// How many it has.
        size_bytes: usize,
    },
    /// It has more pixels than [`PHOTO_PIXELS_MAX`] by its header, or takes too much memory.
    #[error("a photo has at most {PHOTO_PIXELS_MAX} pixels, not {width_px} × {height_px}")]
    Pixels {
        /// How wide it is, in pixels.
        width_px: u32,
        /// How high it is, in pixels.
        height_px: u32,
    },
    /// It is not what its first bytes say, or not whole.
    #[error("the photo is damaged")]
    Damaged,
}

impl PhotoError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        Remedy::FixInput
    }

    /// Returns what to tell the person, in English and Chinese.
    pub const fn words(&self) -> Words {
        let (en, zh) = match self {
            Self::Media { .. } => (
                "only JPEG and PNG photos can be shown: set the camera to JPEG",
                "仅支持JPEG和PNG照片，请将相机设为JPEG格式",
            ),
            Self::Bytes { .. } => (
                "the photo is larger than 32 MiB: take it with fewer pixels",
                "照片超过32 MiB，请降低分辨率后重拍",
            ),
            Self::Pixels { .. } => (
                "the photo has more than 50 million pixels: take it with fewer",
                "照片超过5000万像素，请降低分辨率后重拍",
            ),
            Self::Damaged => (
                "the photo is damaged: take it again",
                "照片已损坏，请重新拍摄",
            ),
        };
        Words { en, zh }
    }
}

/// A photo was not taken into a record: nothing was saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhotoSaveError {
    /// It is no photo that can be shown smaller.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// The record did not take it, or the device's storage.
    #[error(transparent)]
    Save(#[from] SaveError),
}

impl PhotoSaveError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Photo(source) => source.remedy(),
            Self::Save(source) => source.remedy(),
        }
    }
}

impl Failure for PhotoSaveError {
    fn remedy(&self) -> Remedy {
        Self::remedy(self)
    }
}

/// Says whether bytes may be a photo; what they are, and how many.
fn check(bytes: &[u8]) -> Result<Media, PhotoError> {
    match Media::of(bytes) {
        media @ (Media::Jpeg | Media::Png) if bytes.len() <= PHOTO_BYTES_MAX => Ok(media),
        Media::Jpeg | Media::Png => Err(PhotoError::Bytes {
            size_bytes: bytes.len(),
        }),
        media @ (Media::WebP | Media::Heic | Media::Other) => Err(PhotoError::Media { media }),
    }
}
