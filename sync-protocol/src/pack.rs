//! Packs: the part of a frame that carries changes, compressed when that helps.
//!
//! A pack names its format, so that a better one can be added without another frame. Unpacking is
//! bounded twice: by the size the pack declares, checked before anything is allocated, and by the
//! bytes that really come out. Not here: what a body holds (`body`).

use std::io::Read as _;

use crate::limits::PACK_UNPACKED_BYTES_MAX;
use crate::wire::{Reader, Writer, number};
use crate::{DecodeError, PackForm};

/// How hard to compress. Beside 3, zstd's own default, 9 makes packs 4 to 6 % smaller and takes 0.5 ms instead of 0.2 ms
/// for a body of 48 KiB; 19 makes them another 3 to 7 % smaller and takes 11 ms, on a phone's battery (measured on the
/// changes of a shift and of a district, taken apart).
const ZSTD_LEVEL: i32 = 9;

/// Largest window a pack may ask the decoder for: 2²², [`PACK_UNPACKED_BYTES_MAX`].
const ZSTD_WINDOW_LOG_MAX: u32 = 22;

/// Bodies below this are not worth a try: the head of a zstd frame takes 9 to 14 bytes.
const COMPRESS_BYTES_MIN: usize = 64;

/// Format 0: the body as it is.
const STORED: u64 = 0;
/// Format 1: the body's size, then one zstd frame.
const ZSTD: u64 = 1;
/// Added to a format whose body has its changes taken apart.
const APART: u64 = 2;

/// Writes a body of this form as a pack, compressed if that is smaller.
pub(crate) fn write(out: &mut Writer, form: PackForm, body: &[u8]) {
    let apart = match form {
        PackForm::Whole => 0,
        PackForm::Apart => APART,
    };
    assert!(
        body.len() <= PACK_UNPACKED_BYTES_MAX,
        "the sessions bound what is sent"
    );
    if body.len() >= COMPRESS_BYTES_MIN {
        let packed =
            zstd::bulk::compress(body, ZSTD_LEVEL).expect("zstd compresses any bytes in memory");
        // The declared size takes up to 5 bytes more than the stored form.
        if packed.len() + 5 < body.len() {
            out.array(3)
                .uint(ZSTD + apart)
                .uint(number(body.len()))
                .bytes(&packed);
            return;
        }
    }
    out.array(2).uint(STORED + apart).bytes(body);
}

/// Reads a pack, and returns its body and the body's form.
pub(crate) fn read(from: &mut Reader<'_>) -> Result<(PackForm, Vec<u8>), DecodeError> {
    from.variant(|from, format| {
        // PROTOCOL 5.1: a format the reader does not know cannot be skipped.
        let form = match format {
            STORED | ZSTD => PackForm::Whole,
            2 | 3 => PackForm::Apart,
            _ => return Err(DecodeError::UnknownPack { format }),
        };
        if format % APART == STORED {
            return Ok((1, (form, from.bytes()?.to_vec())));
        }
        let declared = from.uint()?;
        Ok((2, (form, unpack(declared, from.bytes()?)?)))
    })
}

fn unpack(declared: u64, packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    // PROTOCOL 5.3: the declared size is checked before anything is allocated.
    let size = usize::try_from(declared).unwrap_or(usize::MAX);
    if size > PACK_UNPACKED_BYTES_MAX {
        return Err(DecodeError::PackTooLarge {
            bytes: declared,
            max: number(PACK_UNPACKED_BYTES_MAX),
        });
    }
    let corrupt = |_| DecodeError::PackCorrupt;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
        .map_err(corrupt)?
        .single_frame();
    decoder
        .window_log_max(ZSTD_WINDOW_LOG_MAX)
        .map_err(corrupt)?;
    let mut body = Vec::new();
    // PROTOCOL 5.3: what comes out is bounded too: one byte more than declared is already too much.
    (&mut decoder)
        .take(declared + 1)
        .read_to_end(&mut body)
        .map_err(corrupt)?;
    if body.len() != size || !decoder.finish().is_empty() {
        return Err(DecodeError::PackCorrupt);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(body: &[u8]) -> Vec<u8> {
        let mut out = Writer::new();
        write(&mut out, PackForm::Whole, body);
        out.into_bytes()
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        read(&mut Reader::new(bytes)).map(|(_, body)| body)
    }

    /// A pack of format 1 with any declared size and any content.
    fn forged(declared: u64, content: &[u8]) -> Vec<u8> {
        let mut out = Writer::new();
        out.array(3).uint(ZSTD).uint(declared).bytes(content);
        out.into_bytes()
    }

    #[test]
    fn a_body_comes_back_compressed_or_not() {
        for body in [
            vec![],
            vec![7; 63],
            vec![7; 64],
            vec![7; PACK_UNPACKED_BYTES_MAX],
        ] {
            let bytes = packed(&body);
            assert!(bytes.len() <= body.len() + 5, "{}", bytes.len());
            assert_eq!(unpacked(&bytes).unwrap(), body);
        }
        assert!(packed(&[7; 1000]).len() < 40);
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_declares_or_by_what_comes_out() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 8192, "{}", bomb.len());
        assert_eq!(
            unpacked(&forged(64 << 20, &bomb)),
            Err(DecodeError::PackTooLarge {
                bytes: 64 << 20,
                max: 4 << 20
            })
        );
        assert_eq!(
            unpacked(&forged(1000, &bomb)),
            Err(DecodeError::PackCorrupt)
        );
        assert_eq!(
            unpacked(&forged(4 << 20, &bomb)),
            Err(DecodeError::PackCorrupt)
        );
        assert!(unpacked(&forged(u64::MAX, &bomb)).is_err());
    }

    #[test]
    fn a_pack_that_is_not_exactly_one_whole_frame_is_refused() {
        let one = zstd::bulk::compress(&[1; 100], 3).unwrap();
        assert_eq!(unpacked(&forged(100, &one)).unwrap(), [1; 100]);
        assert_eq!(unpacked(&forged(99, &one)), Err(DecodeError::PackCorrupt));
        assert_eq!(unpacked(&forged(101, &one)), Err(DecodeError::PackCorrupt));
        let two = [one.as_slice(), one.as_slice()].concat();
        assert_eq!(unpacked(&forged(200, &two)), Err(DecodeError::PackCorrupt));
        assert_eq!(unpacked(&forged(100, &two)), Err(DecodeError::PackCorrupt));
        assert_eq!(
            unpacked(&forged(100, &one[..one.len() - 1])),
            Err(DecodeError::PackCorrupt)
        );
        assert_eq!(unpacked(&forged(0, &[])), Err(DecodeError::PackCorrupt));
        assert_eq!(
            unpacked(&forged(100, b"not zstd")),
            Err(DecodeError::PackCorrupt)
        );
    }

    #[test]
    fn a_format_this_program_does_not_know_is_named() {
        let mut out = Writer::new();
        out.array(2).uint(9).bytes(b"columns");
        assert_eq!(
            unpacked(&out.into_bytes()),
            Err(DecodeError::UnknownPack { format: 9 })
        );
    }
}
