//! The smaller pictures of a photo.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gridbeat_base::Media;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb, RgbImage,
    imageops,
};

use super::{
    PHOTO_PIXELS_MAX, PREVIEW_BYTES_MAX, PREVIEW_SIDE_PX, Photo, PhotoError, THUMBNAIL_BYTES_MAX,
    THUMBNAIL_SIDE_PX,
};

/// Most memory that a decoder may take for the picture it gives, in bytes: 4 a pixel.
const DECODED_BYTES_MAX: u64 = 4 * PHOTO_PIXELS_MAX;

/// The qualities of JPEG that are tried in turn, until a picture has few enough bytes.
const QUALITIES: [u8; 5] = [75, 62, 50, 38, 26];

/// Makes the smaller pictures of a photo that may be one.
pub(super) fn make(original: Vec<u8>) -> Result<Photo, PhotoError> {
    let (preview, (width_px, height_px)) = contained(|| upright(&original))?;
    let thumbnail = shrunk(&preview, THUMBNAIL_SIDE_PX);
    Ok(Photo {
        preview: coded(preview, PREVIEW_BYTES_MAX)?,
        thumbnail: coded(thumbnail, THUMBNAIL_BYTES_MAX)?,
        original,
        width_px,
        height_px,
    })
}

/// Decodes something. A decoder that panics on bytes that somebody bent is as good as one that finds them damaged: it leaves
/// nothing behind.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, PhotoError>) -> Result<T, PhotoError> {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or(Err(PhotoError::Damaged))
}

/// Reads a photo's header.
pub(super) fn decoder(photo: &[u8]) -> Result<impl ImageDecoder + '_, PhotoError> {
    let format = match Media::of(photo) {
        Media::Png => ImageFormat::Png,
        Media::Jpeg | Media::WebP | Media::Heic | Media::Other => ImageFormat::Jpeg,
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(photo), format);
    reader.limits(limits);
    reader.into_decoder().map_err(|_| PhotoError::Damaged)
}

/// Decodes a photo, and makes it as small as a preview and upright; returns its own size as well.
fn upright(original: &[u8]) -> Result<(RgbImage, (u32, u32)), PhotoError> {
    let mut decoder = decoder(original)?;
    let (width_px, height_px) = decoder.dimensions();
    let too_many = PhotoError::Pixels {
        width_px,
        height_px,
    };
    if u64::from(width_px) * u64::from(height_px) > PHOTO_PIXELS_MAX {
        return Err(too_many);
    }
    // One that cannot be read turns nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| {
        if matches!(error, ImageError::Limits(_)) {
            too_many
        } else {
            PhotoError::Damaged
        }
    })?;
    let mut small = DynamicImage::ImageRgb8(shrunk(&opaque(decoded), PREVIEW_SIDE_PX));
    small.apply_orientation(orientation);
    let size = match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height_px, width_px),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width_px, height_px),
    };
    Ok((small.into_rgb8(), size))
}

/// Lays what can be seen through on white.
fn opaque(decoded: DynamicImage) -> RgbImage {
    if !decoded.color().has_alpha() {
        return decoded.into_rgb8();
    }
    let seen = decoded.into_rgba8();
    let mut opaque = RgbImage::new(seen.width(), seen.height());
    for (to, from) in opaque.pixels_mut().zip(seen.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let on_white = |part: u32| ((part * alpha + 255 * (255 - alpha)) / 255).min(255) as u8;
        *to = Rgb([red, green, blue].map(on_white));
    }
    opaque
}

/// Makes a picture smaller until its longest side is one of so many pixels; never larger.
fn shrunk(picture: &RgbImage, side_px: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= side_px {
        return picture.clone();
    }
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(side_px) / u64::from(longest);
        u32::try_from(side).unwrap_or(side_px).max(1)
    };
    let (width, height) = (scaled(width), scaled(height));
    if longest < 2 * side_px {
        // What takes each pixel once makes steps where there are few for each.
        imageops::resize(picture, width, height, FilterType::Triangle)
    } else {
        imageops::thumbnail(picture, width, height)
    }
}

/// Codes a picture as JPEG in at most so many bytes: coarser first, then smaller.
fn coded(mut picture: RgbImage, bytes_max: usize) -> Result<Vec<u8>, PhotoError> {
    loop {
        for quality in QUALITIES {
            let mut bytes = Vec::new();
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
            // Writing to memory fails for a side alone that JPEG cannot have, and it is smaller.
            let coded = picture.write_with_encoder(encoder);
            coded.map_err(|_| PhotoError::Damaged)?;
            if bytes.len() <= bytes_max || picture.width().max(picture.height()) <= 8 {
                return Ok(bytes);
            }
        }
        let longest = picture.width().max(picture.height());
        picture = shrunk(&picture, longest * 3 / 4);
    }
}
