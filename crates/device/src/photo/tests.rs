//! Photos made here, turned, bent and cut.

use std::io::Cursor;

use gridbeat_base::{Media, Random};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

/// Exif as a camera writes it: little-endian, which way is up, its maker, and a place in words.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II\x2a\0\x08\0\0\0\x02\0".to_vec();
    exif.extend(b"\x0f\x01\x02\0\x04\0\0\0ACME");
    exif.extend([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    exif.extend([0; 4]);
    exif.extend(b"GPS 29.9518 121.7172");
    exif
}

/// Red above, blue below, a little noise: what is up can be told.
fn scene(width: u32, height: u32) -> RgbImage {
    let mut random = Random::from_number(24);
    RgbImage::from_fn(width, height, |_, y| {
        let noise = random.bytes::<1>()[0] / 8;
        if y < height / 2 {
            Rgb([220, noise, 20])
        } else {
            Rgb([20, noise, 220])
        }
    })
}

fn bytes_of(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A JPEG with what cameras and apps put into one.
fn jpeg(width: u32, height: u32, orientation: u8) -> Vec<u8> {
    let plain = bytes_of(scene(width, height), ImageFormat::Jpeg);
    let mut bytes = vec![0xff, 0xd8];
    for (marker, content) in [
        (0xe1, exif(orientation)),
        (
            0xe1,
            b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta GPS>".to_vec(),
        ),
        (0xe2, b"MPF\0GPS".to_vec()),
        (0xed, b"Photoshop 3.0\0GPS".to_vec()),
        (0xfe, b"by ACME, GPS".to_vec()),
    ] {
        bytes.extend([0xff, marker]);
        bytes.extend(u16::try_from(content.len() + 2).unwrap().to_be_bytes());
        bytes.extend(content);
    }
    bytes.extend(&plain[2..]);
    // A film of the moment, as some phones put it behind the end.
    bytes.extend(b"ftypmp42 GPS ACME");
    bytes
}

fn decoded(bytes: &[u8]) -> RgbImage {
    image::load_from_memory(bytes).unwrap().into_rgb8()
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

fn is_red(pixel: &Rgb<u8>) -> bool {
    pixel[0] > 120 && pixel[2] < 120
}

#[test]
fn a_photo_gets_a_preview_and_a_thumbnail_within_their_bounds_and_stays_as_it_is() {
    let original = jpeg(3_000, 2_000, 1);
    let photo = Photo::of(original.clone()).unwrap();
    assert_eq!(photo.original, original);
    assert_eq!((photo.width_px, photo.height_px), (3_000, 2_000));
    for (bytes, side, max) in [
        (&photo.preview, PREVIEW_SIDE_PX, PREVIEW_BYTES_MAX),
        (&photo.thumbnail, THUMBNAIL_SIDE_PX, THUMBNAIL_BYTES_MAX),
    ] {
        assert_eq!(Media::of(bytes), Media::Jpeg);
        assert!(bytes.len() <= max, "{} of {max}", bytes.len());
        let picture = decoded(bytes);
        assert!(picture.width() <= side && picture.width() * 2 / 3 == picture.height());
        assert!(is_red(picture.get_pixel(picture.width() / 2, 1)));
        for told in [&b"Exif"[..], b"GPS", b"ACME"] {
            assert!(has(&original, told) && !has(bytes, told));
        }
    }
    assert_eq!(decoded(&photo.preview).width(), PREVIEW_SIDE_PX);
    assert_eq!(Photo::of(original).unwrap(), photo, "the same again");
}

#[test]
fn whatever_way_the_camera_was_held_the_smaller_pictures_stand_upright() {
    for orientation in 1..=8 {
        let photo = Photo::of(jpeg(400, 300, orientation)).unwrap();
        let is_turned = orientation >= 5;
        let size = if is_turned { (300, 400) } else { (400, 300) };
        assert_eq!((photo.width_px, photo.height_px), size, "{orientation}");
        let preview = decoded(&photo.preview);
        assert_eq!(preview.dimensions(), size, "{orientation}");
        // Where the stored picture's upper edge comes to lie, by the standard.
        let (width, height) = size;
        let (x, y) = match orientation {
            1 | 2 => (width / 2, 2),
            3 | 4 => (width / 2, height - 3),
            5 | 8 => (2, height / 2),
            _ => (width - 3, height / 2),
        };
        assert!(is_red(preview.get_pixel(x, y)), "{orientation}");
        assert!(!is_red(preview.get_pixel(width - 1 - x, height - 1 - y)));
    }
}

#[test]
fn noise_is_made_coarser_and_smaller_until_it_fits() {
    let mut random = Random::from_number(5);
    let noise = RgbImage::from_fn(1_400, 1_400, |_, _| Rgb(random.bytes::<3>()));
    let photo = Photo::of(bytes_of(noise, ImageFormat::Png)).unwrap();
    assert!(photo.preview.len() <= PREVIEW_BYTES_MAX);
    assert!(photo.thumbnail.len() <= THUMBNAIL_BYTES_MAX);
}

#[test]
fn a_small_photo_is_not_made_larger_and_what_is_clear_is_white() {
    let clear = RgbaImage::from_pixel(40, 30, Rgba([0, 0, 0, 0]));
    let photo = Photo::of(bytes_of(clear, ImageFormat::Png)).unwrap();
    let preview = decoded(&photo.preview);
    assert_eq!(preview.dimensions(), (40, 30));
    assert!(preview.get_pixel(5, 5).0.iter().all(|part| *part > 250));
    let one = RgbImage::from_pixel(1, 2_000, Rgb([9, 9, 9]));
    let photo = Photo::of(bytes_of(one, ImageFormat::Png)).unwrap();
    assert_eq!(
        decoded(&photo.thumbnail).dimensions(),
        (1, THUMBNAIL_SIDE_PX)
    );
}

#[test]
fn what_is_no_photo_is_told_by_what_is_wrong_with_it() {
    let mut huge = bytes_of(scene(8, 8), ImageFormat::Png);
    // 40,000 by 40,000 by its header: five gigabytes, if somebody decoded it.
    huge[16..24].copy_from_slice(&[0, 0, 0x9c, 0x40, 0, 0, 0x9c, 0x40]);
    let check = metadata::crc32(&huge[12..29]).to_be_bytes();
    huge[29..33].copy_from_slice(&check);
    let mut wide = jpeg(8, 8, 1);
    let frame = wide
        .windows(2)
        .position(|pair| pair == [0xff, 0xc0])
        .unwrap();
    wide[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let too_long = [jpeg(8, 8, 1), vec![0; PHOTO_BYTES_MAX]].concat();
    for (bytes, expected) in [
        (
            b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(),
            PhotoError::Media { media: Media::WebP },
        ),
        (
            b"<svg>".to_vec(),
            PhotoError::Media {
                media: Media::Other,
            },
        ),
        (
            Vec::new(),
            PhotoError::Media {
                media: Media::Other,
            },
        ),
        (
            too_long.clone(),
            PhotoError::Bytes {
                size_bytes: too_long.len(),
            },
        ),
        (
            huge,
            PhotoError::Pixels {
                width_px: 40_000,
                height_px: 40_000,
            },
        ),
        (
            wide,
            PhotoError::Pixels {
                width_px: 65_535,
                height_px: 65_535,
            },
        ),
        (jpeg(8, 8, 1)[..40].to_vec(), PhotoError::Damaged),
    ] {
        let error = Photo::of(bytes).unwrap_err();
        assert_eq!(error, expected);
        assert!(error.words().en.is_ascii() && !error.words().zh.is_ascii());
        assert_eq!(error.remedy(), Remedy::FixInput);
    }
}

#[test]
fn bent_and_cut_photos_are_an_error_or_a_photo_within_its_bounds() {
    let mut random = Random::from_number(7);
    for whole in [jpeg(90, 60, 6), bytes_of(scene(90, 60), ImageFormat::Png)] {
        for _ in 0..300 {
            let mut bent = whole.clone();
            for _ in 0..=random.below(4) {
                let at = usize::try_from(random.below(bent.len() as u64)).unwrap();
                bent[at] = random.bytes::<1>()[0];
            }
            let cut = usize::try_from(random.below(2 * bent.len() as u64)).unwrap();
            bent.truncate(cut.max(20));
            if let Ok(photo) = Photo::of(bent.clone()) {
                assert!(photo.preview.len() <= PREVIEW_BYTES_MAX);
                assert!(photo.thumbnail.len() <= THUMBNAIL_BYTES_MAX);
            }
            if let Ok(stripped) = without_metadata(&bent) {
                assert!(stripped.len() <= bent.len() + 64);
            }
        }
    }
}

#[test]
fn without_its_metadata_a_photo_has_the_same_pixels_and_stands_as_it_stood() {
    for orientation in [1, 6] {
        let original = jpeg(120, 80, orientation);
        let stripped = without_metadata(&original).unwrap();
        for told in [&b"GPS"[..], b"ACME", b"xmpmeta", b"Photoshop", b"MPF"] {
            assert!(has(&original, told) && !has(&stripped, told));
        }
        assert_eq!(has(&stripped, b"Exif"), orientation != 1);
        assert_eq!(decoded(&stripped), decoded(&original));
        let (before, after) = (
            Photo::of(original).unwrap(),
            Photo::of(stripped.clone()).unwrap(),
        );
        assert_eq!(after.preview, before.preview);
        assert_eq!(without_metadata(&stripped).unwrap(), stripped);
    }
}

#[test]
fn a_png_loses_its_words_and_keeps_which_way_is_up() {
    let plain = bytes_of(scene(60, 40), ImageFormat::Png);
    assert_eq!(without_metadata(&plain).unwrap(), plain);
    let (head, rest) = plain.split_at(33);
    let mut told = head.to_vec();
    for (name, content) in [
        (b"tEXt", b"Comment\0GPS ACME".to_vec()),
        (b"eXIf", exif(8)[6..].to_vec()),
        (b"prVt", b"ACME".to_vec()),
    ] {
        let named = [&name[..], &content].concat();
        told.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        told.extend(&named);
        told.extend(metadata::crc32(&named).to_be_bytes());
    }
    told.extend(rest);
    told.extend(b"GPS behind the end");
    let stripped = without_metadata(&told).unwrap();
    assert!(!has(&stripped, b"GPS") && !has(&stripped, b"ACME"));
    assert_eq!(decoded(&stripped), decoded(&plain));
    let (before, after) = (Photo::of(told).unwrap(), Photo::of(stripped).unwrap());
    assert_eq!((after.width_px, after.height_px), (40, 60));
    assert_eq!(after.preview, before.preview);
    assert!(without_metadata(&plain[..plain.len() - 1]).is_err());
}
