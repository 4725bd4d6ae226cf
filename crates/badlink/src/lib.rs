//! A bad mobile link on the loopback: a seeded user-space forwarder for UDP and TCP.
//!
//! For the demo, tests and benchmarks of anything that talks over a network. A [`Forwarder`] stands
//! between a device and its server and treats what passes as a [`Profile`] says: the bandwidth of
//! a recorded or made-up [`LinkLog`] over time, latency, jitter, loss, duplication, reordering,
//! outages, deep queues, and another source port after a hand-over.
//!
//! - `log`, `sabre`, `synthetic`: bandwidth over time, read or made up; `profile`: the rest; `presets`: links by name
//! - `curve`, `capacity`: what a link has let through at an instant, in exact whole numbers
//! - `shaper`: one direction; `link`: both; `stats`: what they count; all without clock or socket
//! - `forwarder`, `driver`, `udp`, `tcp`: the sockets and tasks around a link
//!
//! The choices are seeded and the instants exact; only when the sockets are served hangs on the
//! machine (tokio's timers step in milliseconds). What it cannot do: keep a device's `connect`
//! by TCP from returning at once (its first bytes wait for the round trip instead); limit the size
//! of datagrams; carry ECN marks.
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! use gridbeat_badlink::{Forwarder, LinkLog, Profile, Synthetic};
//!
//! let log = LinkLog::synthetic(7, &Synthetic::rough(std::time::Duration::from_mins(2)))?;
//! let link = Forwarder::udp("127.0.0.1:0".parse()?, server, Profile::mobile(log, 7)).await?;
//! let mut changes = link.changes();
//! // Point the device at `link.local_addr()`, and tell it of each return:
//! while let Some(change) = changes.next().await {
//!     if change.up { /* device.network_changed(None) */ }
//! }
//! # Ok(())
//! # }
//! ```

mod capacity;
mod curve;
mod dice;
mod driver;
mod forwarder;
mod link;
mod log;
mod presets;
mod profile;
mod sabre;
mod shaper;
mod stats;
mod synthetic;
mod tcp;
mod udp;

pub use forwarder::{Forwarder, ForwarderError, LinkChanges};
pub use link::{Link, LinkChange, LinkEvent};
pub use log::{
    BANDWIDTH_KBPS_MAX, LATENCY_MAX, LOG_LENGTH_MAX, LinkLog, LinkLogError, LinkStep,
    OUTAGE_UNDER_KBPS, Outage,
};
pub use profile::{Direction, Handover, Profile, Way};
pub use sabre::LinkFileError;
pub use shaper::{Carriage, Delivery, Refusal, Shaper};
pub use stats::{Stats, Traffic};
pub use synthetic::Synthetic;
