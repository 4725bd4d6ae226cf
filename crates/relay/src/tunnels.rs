//! Accepts the TCP connections of devices whose network lets no UDP through.
//!
//! What they carry are QUIC's datagrams: who the device is, and whether it is served, is decided there like anywhere
//! (`listener`). Here only how many are let in, and for how long they may take to get that far.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gridbeat_link::{RelaySocket, RelayTls};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::listener::{Counted, ListenerCounts};

/// How long TLS and the upgrade may take: three round trips of the slowest usable link, with two losses.
const UPGRADE_MAX: Duration = Duration::from_secs(20);

/// Connections on their way to be upgraded, at most; others wait in the system's queue.
const UPGRADES_MAX: usize = 256;

/// How long to wait when the system has no more to give, such as files.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

/// Accepts on one TCP socket.
pub(crate) struct Tunnels {
    pub(crate) socket: Arc<RelaySocket>,
    pub(crate) tls: RelayTls,
    pub(crate) counts: Arc<ListenerCounts>,
    pub(crate) connections_max: usize,
}

impl Tunnels {
    /// Accepts until its task is ended, and what it carries with it.
    pub(crate) async fn run(self, listener: TcpListener) {
        let upgrades = Arc::new(Semaphore::new(UPGRADES_MAX));
        let mut carried = tokio::task::JoinSet::new();
        loop {
            while carried.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&upgrades).acquire_owned().await else {
                unreachable!("the semaphore is never closed")
            };
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::debug!(%error, "a TCP connection was not accepted");
                    tokio::time::sleep(PAUSE_AFTER_FAULT).await;
                    continue;
                }
            };
            if self.counts.tunnels.load(Ordering::Relaxed) >= self.connections_max {
                continue;
            }
            let (socket, tls) = (Arc::clone(&self.socket), self.tls.tunnel.clone());
            let counts = Arc::clone(&self.counts);
            carried.spawn(async move {
                let accepted = socket.accept(&tls, tcp);
                let accepted = tokio::time::timeout(UPGRADE_MAX, accepted).await;
                drop(place);
                match accepted {
                    Ok(Ok(carrying)) => {
                        let _open = Counted::new(&counts, |counts| &counts.tunnels);
                        carrying.await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a TCP connection of no device"),
                    Err(_) => {}
                }
            });
        }
    }
}
