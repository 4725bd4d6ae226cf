//! What was carried, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of frames that a connection, or several, carried: what the application handed over, without
/// what QUIC and UDP add.
#[derive(Debug, Default)]
pub struct Traffic {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_frames: AtomicU64,
    received_frames: AtomicU64,
}

/// The counts of a [`Traffic`] at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TrafficCounts {
    /// Bytes of frames sent, with their lengths on the control stream.
    pub sent_bytes: u64,
    /// Bytes of frames received, likewise.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent_frames: u64,
    /// Frames received.
    pub received_frames: u64,
}

impl Traffic {
    /// Returns the counts so far.
    pub fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_frames: self.sent_frames.load(Ordering::Relaxed),
            received_frames: self.received_frames.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sent_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
        self.received_frames.fetch_add(1, Ordering::Relaxed);
    }
}
