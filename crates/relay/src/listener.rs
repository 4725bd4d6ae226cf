//! Accepts connections: who is it, and is there room?
//!
//! A device that resumes is known with its first packet, and what came with that packet is handed on at
//! once; otherwise it is known when the handshake is complete. Being known opens nothing: the brain
//! looks the device up in the relay's own table when it greets. Who asks for enrolment is served elsewhere
//! (`applicants`), and never early. Not here: sessions (`brain`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use gridbeat_link::{
    Frames, Identified, Outage, RelaySocket, RelayTls, Role, Traffic, asks_to_enrol, close,
    lease_over, relay_transport,
};
use gridbeat_sync_protocol::Close;
use quinn::{Connection, Endpoint, Incoming, ServerConfig, ZeroRttAccepted};
use tokio::sync::mpsc;

use crate::applicants::Applicants;
use crate::brain::{Input, refusal};

/// Handshakes under way above which an address must prove itself first (RFC 9000, 8.1.2): it costs
/// honest devices a round trip, and whoever forges addresses everything.
const HANDSHAKES_UNPROVEN_MAX: usize = 256;

/// Attempts held before they are looked at, at most, and their bytes: their early data with them.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_EACH: u64 = 64 * 1024;
const INCOMING_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How long a handshake may take: that of a device on the slowest usable link, with two losses.
const HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// How long a device stays away from a relay without room.
const AWAY_WHEN_FULL: Duration = Duration::from_secs(30);

/// How long a device stays away whose certificate is of no use: somebody has to issue another.
const AWAY_UNKNOWN: Duration = Duration::from_secs(3600);

/// Counts of the listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounts {
    /// Connections open or in handshake.
    pub(crate) connections: AtomicUsize,
    pub(crate) handshakes: AtomicUsize,
    /// Connections that were known with their first packet.
    pub(crate) resumed: AtomicU64,
    /// Connections that were known after a full handshake.
    pub(crate) full: AtomicU64,
    /// Connections without a usable certificate.
    pub(crate) unidentified: AtomicU64,
    /// Connections turned away for lack of room.
    pub(crate) turned_away: AtomicU64,
    /// Devices that come over TCP.
    pub(crate) tunnels: AtomicUsize,
}

/// Accepts connections on one endpoint.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) socket: Arc<RelaySocket>,
    pub(crate) tls: RelayTls,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) counts: Arc<ListenerCounts>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) applicants: Applicants,
    pub(crate) connections_max: usize,
}

/// Who is there once hands are shaken.
enum Caller {
    /// A device that wants to sync.
    Device(Connection, Box<Identified>),
    /// Somebody who wants to enrol, or to renew.
    Applicant(Connection),
}

/// Counts something as long as it lives.
pub(crate) struct Counted(Arc<ListenerCounts>, fn(&ListenerCounts) -> &AtomicUsize);

impl Counted {
    pub(crate) fn new(
        counts: &Arc<ListenerCounts>,
        of: fn(&ListenerCounts) -> &AtomicUsize,
    ) -> Self {
        of(counts).fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts), of)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Listener {
    /// Accepts until the endpoint is closed.
    pub(crate) async fn run(self, endpoint: Endpoint) {
        let mut session = 0;
        while let Some(incoming) = endpoint.accept().await {
            session += 1;
            let handshakes = self.counts.handshakes.load(Ordering::Relaxed);
            if handshakes >= HANDSHAKES_UNPROVEN_MAX && incoming.may_retry() {
                // It fails only for what `may_retry` has ruled out.
                let _ = incoming.retry();
                continue;
            }
            tokio::spawn(self.clone().accept(incoming, session));
        }
    }

    async fn accept(self, incoming: Incoming, session: u64) {
        let _open = Counted::new(&self.counts, |counts| &counts.connections);
        let handshake = Counted::new(&self.counts, |counts| &counts.handshakes);
        let outage = Outage::new();
        let mut config = ServerConfig::clone(&self.config);
        config.transport_config(Arc::new(relay_transport(Arc::clone(&outage))));
        let shaking = self.identify(incoming, Arc::new(config));
        let shaking = tokio::time::timeout(HANDSHAKE_MAX, shaking).await;
        drop(handshake);
        let (connection, identified) = match shaking {
            Ok(Some(Caller::Device(connection, identified))) => (connection, *identified),
            Ok(Some(Caller::Applicant(connection))) => {
                let from = self.socket.real(connection.remote_address());
                return self.applicants.serve(connection, from, &self.tls).await;
            }
            Ok(None) | Err(_) => return,
        };
        if self.counts.connections.load(Ordering::Relaxed) > self.connections_max {
            self.counts.turned_away.fetch_add(1, Ordering::Relaxed);
            let words = refusal(
                "relay_full",
                "the relay has no room for another connection",
                "服务端连接数已满，请稍后再试",
                AWAY_WHEN_FULL,
            );
            return close(&connection, &words);
        }
        let (frames, unstarted) = Frames::open(
            connection.clone(),
            outage,
            Role::Relay,
            Arc::clone(&self.traffic),
            session,
            self.inputs.clone(),
        );
        let up = Input::Up {
            session,
            identified,
            frames,
        };
        if self.inputs.send(up).await.is_ok() {
            unstarted.start();
            connection.closed().await;
        }
    }

    /// Shakes hands, as far as it takes to know the device.
    async fn identify(&self, incoming: Incoming, config: Arc<ServerConfig>) -> Option<Caller> {
        let mut connecting = incoming.accept_with(config).ok()?;
        // The device's first message has been read then, and with it its ticket.
        if asks_to_enrol(connecting.handshake_data().await.ok()?) {
            return connecting.await.ok().map(Caller::Applicant);
        }
        let Ok((connection, complete)) = connecting.into_0rtt() else {
            unreachable!("a server may always send early")
        };
        match self.device_of(&connection, complete).await {
            Ok(identified) => Some(Caller::Device(connection, Box::new(identified?))),
            Err(error) => {
                self.counts.unidentified.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%error, "a connection without a usable certificate");
                if error.is_expiry() {
                    // It may renew by itself, and come again at once.
                    let (reason, retry_after_s) = (lease_over(), 0);
                    close(
                        &connection,
                        &Close {
                            reason,
                            retry_after_s,
                        },
                    );
                    return None;
                }
                let words = refusal(
                    "device_certificate_refused",
                    "the relay does not accept this device's certificate: have the device enrolled again",
                    "服务端不接受本设备的证书，请重新登记设备",
                    AWAY_UNKNOWN,
                );
                close(&connection, &words);
                None
            }
        }
    }

    async fn device_of(
        &self,
        connection: &Connection,
        complete: ZeroRttAccepted,
    ) -> Result<Option<Identified>, gridbeat_link::TlsError> {
        if let Some(device) = self.tls.identify(connection)? {
            self.counts.resumed.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(device));
        }
        complete.await;
        let device = self.tls.identify(connection)?;
        // Without one the handshake failed, and the peer was told by TLS.
        self.counts
            .full
            .fetch_add(u64::from(device.is_some()), Ordering::Relaxed);
        Ok(device)
    }
}

/// Settings of the relay's endpoint. Each connection has transport settings of its own beside.
pub(crate) fn server_config(tls: &RelayTls) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(Arc::clone(&tls.crypto));
    config
        .migration(true) // a bicycle changes networks; rights follow the device, not the address
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_EACH)
        .incoming_buffer_size_total(INCOMING_BYTES_MAX);
    config
}
