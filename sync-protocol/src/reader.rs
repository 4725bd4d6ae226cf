//! Frames on a stream that carries many: each behind its length.
//!
//! The length is four bytes, big-endian, and is checked before anything is allocated
//! (`PROTOCOL.md`, 6.2). Not here: what the frames mean, and the stream itself.

use crate::DecodeError;
use crate::limits::{
    DOCUMENT_FRAME_BYTES_MAX, ENROL_ANSWER_BYTES_MAX, ENROL_REQUEST_BYTES_MAX, FRAME_BYTES_MAX,
};

/// Bytes of the length before each frame.
const PREFIX_BYTES: usize = 4;

/// Takes in a stream piece by piece and gives out the bytes of each frame.
///
/// Holds at most one frame that is not whole, besides what was handed in last.
#[derive(Clone, Debug)]
pub struct FrameReader {
    bytes_max: usize,
    /// What has come in and was not given out; starts with a length.
    pending: Vec<u8>,
    /// How much at the start of `pending` was given out.
    taken: usize,
}

impl FrameReader {
    /// Reads what a relay sends, which may carry whole documents.
    pub const fn for_device() -> Self {
        Self::new(DOCUMENT_FRAME_BYTES_MAX)
    }

    /// Reads what a device sends.
    pub const fn for_relay() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }

    /// Reads what anybody sends who wants to enrol.
    pub const fn for_enrol_request() -> Self {
        Self::new(ENROL_REQUEST_BYTES_MAX)
    }

    /// Reads what a relay answers to that.
    pub const fn for_enrol_answer() -> Self {
        Self::new(ENROL_ANSWER_BYTES_MAX)
    }

    const fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            pending: Vec::new(),
            taken: 0,
        }
    }

    /// Takes in the next bytes of the stream.
    pub fn handle(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.taken);
        self.taken = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// Gives out the bytes of the next whole frame; call until it returns `None`.
    ///
    /// # Errors
    ///
    /// [`DecodeError::FrameTooLarge`] as soon as a length beyond the limit has come in; the stream is
    /// then of no more use.
    pub fn poll_frame(&mut self) -> Result<Option<&[u8]>, DecodeError> {
        let rest = &self.pending[self.taken..];
        let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        // PROTOCOL 6.2: the length is checked before the frame is waited for.
        if bytes > self.bytes_max {
            return Err(DecodeError::FrameTooLarge {
                bytes,
                max: self.bytes_max,
            });
        }
        if rest.len() < bytes {
            return Ok(None);
        }
        let start = self.taken + PREFIX_BYTES;
        self.taken = start + bytes;
        Ok(Some(&self.pending[start..self.taken]))
    }

    /// Checks that the stream did not end within a frame.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] if it did.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.taken == self.pending.len() {
            Ok(())
        } else {
            Err(DecodeError::Truncated)
        }
    }
}

/// Adds a frame's bytes to `out`, behind their length.
///
/// # Panics
///
/// If the frame is 4 GiB or larger, which no frame is.
pub fn write_prefixed(frame: &[u8], out: &mut Vec<u8>) {
    let bytes = u32::try_from(frame.len()).expect("a frame is far below 4 GiB");
    out.reserve(PREFIX_BYTES + frame.len());
    out.extend_from_slice(&bytes.to_be_bytes());
    out.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(reader: &mut FrameReader) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = reader.poll_frame().unwrap() {
            frames.push(frame.to_vec());
        }
        frames
    }

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut() {
        let frames = [vec![1; 3], vec![], vec![2; 300], vec![3]];
        let mut stream = Vec::new();
        frames
            .iter()
            .for_each(|frame| write_prefixed(frame, &mut stream));
        for piece in [1, 2, 5, 7, 64, stream.len()] {
            let mut reader = FrameReader::for_relay();
            let mut seen = Vec::new();
            for bytes in stream.chunks(piece) {
                reader.handle(bytes);
                seen.extend(read_all(&mut reader));
            }
            assert_eq!(seen, frames, "pieces of {piece}");
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_once() {
        let mut reader = FrameReader::for_relay();
        reader.handle(&u32::MAX.to_be_bytes());
        assert_eq!(
            reader.poll_frame(),
            Err(DecodeError::FrameTooLarge {
                bytes: 4_294_967_295,
                max: FRAME_BYTES_MAX
            })
        );
        let mut reader = FrameReader::for_device();
        reader.handle(&(2u32 << 20).to_be_bytes());
        assert_eq!(reader.poll_frame(), Ok(None));
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_told() {
        let mut reader = FrameReader::for_device();
        reader.handle(&[0, 0, 0, 2, 9]);
        assert_eq!(reader.poll_frame(), Ok(None));
        assert_eq!(reader.finish(), Err(DecodeError::Truncated));
    }
}
