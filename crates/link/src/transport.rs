//! Windows, timeouts and limits of a QUIC connection, with their reasons.
//!
//! Defaults of quinn are for data centres: 1.25 MB a stream, no bound on a connection, idle after
//! 30 s. Ours are for fifty phones on a bad link and a relay of 64 MB. Both ends are set here, side
//! by side, because a resumed connection sends by the limits of the one before.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::{Outage, OutageAware};

/// How long a connection outlives silence. The engine's rules ask for at least 10 minutes; 20 covers
/// a lunch in a cellar, and keeps a relay from holding the connection of a phone that was switched
/// off for longer (some 20 KB each).
const IDLE_TIMEOUT_MS: u32 = 20 * 60 * 1000;

/// The round trip assumed before the first is measured. It sets the first repeat of a lost first
/// packet: 3 × 150 ms, where quinn's 333 ms would wait for a whole second.
const INITIAL_RTT: Duration = Duration::from_millis(150);

/// Bytes one stream may have on its way: the largest frame of a device always fits, so that none is
/// ever stopped half-way by its own window. A frame with a whole document down may be larger.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes all streams of a connection may have on their way to a relay: two largest frames. Fifty
/// devices that all fill it stay under 25 MB.
const RELAY_WINDOW_BYTES: u32 = 512 * 1024;

/// Bytes all streams may have on their way to a device: 5 Mbit/s at 1.6 s, and one process has
/// few connections.
const DEVICE_WINDOW_BYTES: u32 = 1024 * 1024;

/// Bytes handed to QUIC and not yet acknowledged by the peer. Small, because a lane's priority cannot
/// help what is already handed over: 1 Mbit/s at 1 s. A larger frame is taken piece by piece.
const SEND_WINDOW_BYTES: u64 = 128 * 1024;

/// Streams a device may have open towards the relay beside the control stream: one for each push that
/// may be out, so that an urgent one never waits for a stream.
const RELAY_UNI_STREAMS: u32 = 128;

/// Streams a relay may have open towards a device: one a feed frame in flight, over all scopes.
const DEVICE_UNI_STREAMS: u32 = 64;

/// Datagrams held for a reader that is behind: the newest positions of a squad.
const DATAGRAM_RECEIVE_BYTES: usize = 64 * 1024;

/// Datagrams held for a window that is full: a handful, since an old probe and an old position are no use.
pub(crate) const DATAGRAM_SEND_BYTES: usize = 4 * 1024;

/// Returns the transport settings of a device's connection.
pub fn device_transport(outage: Arc<Outage>) -> TransportConfig {
    let mut config = common(outage);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0)) // a relay opens none
        .max_concurrent_uni_streams(VarInt::from_u32(DEVICE_UNI_STREAMS))
        .receive_window(VarInt::from_u32(DEVICE_WINDOW_BYTES));
    config
}

/// Returns the transport settings of a relay's connection.
pub fn relay_transport(outage: Arc<Outage>) -> TransportConfig {
    let mut config = common(outage);
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1)) // the control stream
        .max_concurrent_uni_streams(VarInt::from_u32(RELAY_UNI_STREAMS))
        .receive_window(VarInt::from_u32(RELAY_WINDOW_BYTES));
    config
}

fn common(outage: Arc<Outage>) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .initial_rtt(INITIAL_RTT)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        // Frames of one lane go out one after the other: half of two frames helps nobody.
        .send_fairness(false)
        // The device asks by probes of its own, whose silence it notices; see `probe`.
        .keep_alive_interval(None)
        // Finding out whether 1,452 bytes pass costs some 5 KB each way on every connection, which
        // is twenty times a greeting; what it gains on a bulk transfer is under one per cent.
        .mtu_discovery_config(None)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        .congestion_controller_factory(Arc::new(OutageAware::new(outage)));
    config
}
