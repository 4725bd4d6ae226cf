//! What a device tells about its link: figures, news, and what became of a timed synchronisation.

use std::time::Duration;

use gridbeat_base::WallTime;
use gridbeat_device_core::SyncState;
use gridbeat_link::{End, TrafficCounts};

/// How a connection began.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Handshake {
    /// A full handshake: two round trips until the first acknowledgement.
    Full,
    /// Resumed: the greeting and what waited went out with the first packet. One round trip.
    Early,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Path {
    /// QUIC over UDP.
    Udp,
    /// QUIC inside a WebSocket, because the network lets no UDP through.
    WebSocket,
}

/// Something that happened on the link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LinkNews {
    /// A connection was made.
    Up {
        /// How it began.
        handshake: Handshake,
        /// Which way it goes.
        path: Path,
        /// How long it took from the dial until the relay's part of the handshake was here.
        took: Duration,
    },
    /// The relay did not take the early data; it is sent again on the same connection.
    EarlyRefused,
    /// A connection ended.
    Down {
        /// Why.
        end: End,
    },
    /// The device's certificate was renewed; connections from here on use it.
    Renewed {
        /// When it ends.
        until: WallTime,
    },
    /// The relay told what became of a push: what it accepted is durable.
    Acknowledged {
        /// The push's number in its session.
        push: u64,
        /// How many changes were in it.
        changes: usize,
        /// How long after the push was handed to the transport.
        after: Duration,
    },
}

/// Figures of the link since the device was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LinkReport {
    /// Whether there is a connection, however silent.
    pub is_up: bool,
    /// How the last connection began.
    pub handshake: Option<Handshake>,
    /// Which way the last connection went.
    pub path: Option<Path>,
    /// QUIC's estimate of the round trip of the present connection.
    pub round_trip: Option<Duration>,
    /// Frames carried, and their bytes: the payload inside QUIC.
    pub payload: TrafficCounts,
    /// Bytes in QUIC's datagrams sent, without the headers of what carries them.
    pub udp_sent_bytes: u64,
    /// Bytes in QUIC's datagrams received, likewise.
    pub udp_received_bytes: u64,
    /// How long the phone's radio was kept on, with what a network of LTE keeps it on after the last packet: an
    /// estimate of what the link costs the battery.
    pub radio_on: Duration,
    /// Connections tried.
    pub dials: u64,
    /// Of these, those whose early data the relay took.
    pub early_accepted: u64,
    /// Questions asked of a silent link.
    pub asks: u64,
    /// Rival connections tried beside a silent one.
    pub rivals: u64,
    /// Changes the relay has told the fate of.
    pub acknowledged_changes: u64,
    /// Chunks of blobs handed to connections, those that were sent again counted again.
    pub blob_parts_sent: u64,
}

/// What became of [`Device::sync_once`](crate::Device::sync_once).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SyncReport {
    /// Whether both sides hold the same now.
    pub is_in_sync: bool,
    /// Where synchronisation stands.
    pub state: SyncState,
    /// Changes the relay told the fate of meanwhile.
    pub acknowledged_changes: u64,
    /// Changes that still wait.
    pub waiting: u64,
    /// Attachments that still wait.
    pub blobs_waiting: u64,
    /// Those of them that are held back ([`Device::set_uploads`](crate::Device::set_uploads)).
    pub blobs_held: u64,
    /// How long it took.
    pub took: Duration,
}
