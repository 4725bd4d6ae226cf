//! What a blob's bytes are, by their first ones: what somebody calls them says nothing.

/// A sort of content, told by its first bytes alone.
///
/// Whether the rest is good is not looked at: whoever decodes it must expect anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Media {
    /// JPEG (ISO/IEC 10918-1).
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
    /// WebP (RFC 9649).
    WebP,
    /// HEIF with HEVC, as phones' cameras make (ISO/IEC 23008-12).
    Heic,
    /// Anything else: a track, or what no photo is.
    Other,
}

/// How many first bytes tell it.
pub const MEDIA_BYTES: u16 = 12;

impl Media {
    /// Tells what begins by these bytes; [`MEDIA_BYTES`] are enough.
    pub fn of(first: &[u8]) -> Self {
        let (head, behind) = first.split_at(first.len().min(4));
        let (next, brand) = behind.split_at(behind.len().min(4));
        let brand = brand.get(..4).unwrap_or_default();
        match (head, next) {
            ([0xff, 0xd8, 0xff, _], _) => Self::Jpeg,
            (b"\x89PNG", b"\r\n\x1a\n") => Self::Png,
            (b"RIFF", _) if brand == b"WEBP" => Self::WebP,
            // The first brand of a file that a camera makes; others put it behind `mif1`.
            (_, b"ftyp") if [b"heic", b"heix", b"mif1"].iter().any(|it| *it == brand) => Self::Heic,
            _ => Self::Other,
        }
    }

    /// Returns its media type, as in HTTP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Heic => "image/heic",
            Self::Other => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_by_its_first_bytes() {
        for (first, expected) in [
            (&b"\xff\xd8\xff\xe0\0\x10JFIF"[..], Media::Jpeg),
            (b"\x89PNG\r\n\x1a\n\0\0\0\r", Media::Png),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Media::WebP),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Media::Heic),
            (b"\0\0\0\x18ftypisom\0\0\0\0", Media::Other),
            (b"RIFF\x24\0\0\0WAVEfmt ", Media::Other),
            (b"\x89PNG", Media::Other),
            (b"\xff\xd8", Media::Other),
            (b"<html>", Media::Other),
            (b"", Media::Other),
        ] {
            assert_eq!(Media::of(first), expected, "{first:?}");
            let enough = &first[..first.len().min(usize::from(MEDIA_BYTES))];
            assert_eq!(Media::of(enough), expected, "{first:?}");
        }
        assert_eq!(Media::of(b"\xff\xd8\xff\xdb").name(), "image/jpeg");
    }
}
