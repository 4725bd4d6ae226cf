//! A relay's door, over real sockets: what a certificate that has run out opens.
//!
//! A session of such a device does not come about at all: TLS turns it away, before a frame is read. Not here: who is
//! let in but may not (`matrix`).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::Verbs;
use gridbeat_device::DeviceBundle;
use gridbeat_link::{
    DeviceEndpoint, End, EnrolTls, Outage, ask, device_endpoint, device_tls, device_transport,
};
use gridbeat_sync_protocol::{EnrolAnswer, EnrolRequest};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection};

use crate::end_to_end::world::{RelayAtHome, aged, scope, within};

/// Older than any lease, and young enough to be renewed.
const AGE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// A relay that listens.
pub(super) struct Door(RelayAtHome);

impl Door {
    pub(super) async fn open() -> Self {
        Self(RelayAtHome::start().await)
    }

    /// Has a device of these verbs, whose certificate has run out, try to begin a session, and to renew. Returns what
    /// came of each, in the words of the table.
    pub(super) async fn tries_expired(&self, verbs: Verbs) -> (String, String) {
        let bundle = self.0.enrol(self.0.addr()).await;
        self.0.grant(bundle.device, [(scope(), verbs.into())]);
        let bundle = aged(&self.0, &bundle, AGE);
        let crypto = device_tls(&bundle).unwrap().fresh;
        let session = match dial(&bundle, crypto).await {
            (Ok(connection), _socket) => {
                End::of(&within("the end of a session", connection.closed()).await)
            }
            (Err(end), _socket) => end,
        };
        assert_eq!(session, End::OurLease);
        let crypto = EnrolTls::renewing(&bundle).unwrap().crypto;
        let (connection, _socket) = dial(&bundle, crypto).await;
        let asked = ask(connection.as_ref().unwrap(), &EnrolRequest::Renew);
        let renewal = match within("a certificate", asked).await.unwrap() {
            EnrolAnswer::Issued(issued) if issued.device == bundle.device => "ok".to_owned(),
            EnrolAnswer::Refused { reason, .. } => reason.code,
            answer @ (EnrolAnswer::Issued(_) | EnrolAnswer::Waiting { .. }) => {
                panic!("{answer:?}")
            }
        };
        ("lease".to_owned(), renewal)
    }
}

async fn dial(
    bundle: &DeviceBundle,
    crypto: Arc<QuicClientConfig>,
) -> (Result<Connection, End>, DeviceEndpoint) {
    let socket = device_endpoint((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let mut config = ClientConfig::new(crypto);
    config.transport_config(Arc::new(device_transport(Outage::new())));
    let address: SocketAddr = bundle.relay.parse().unwrap();
    let endpoint = &socket.endpoint;
    let connecting = endpoint.connect_with(config, address, &bundle.server_name);
    let connecting = connecting.unwrap();
    socket.first_flight.release();
    let connection = within("a handshake", connecting).await;
    (connection.map_err(|error| End::of(&error)), socket)
}
