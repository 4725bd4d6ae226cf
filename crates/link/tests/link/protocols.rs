//! Who gets into which of a relay's two protocols, over real sockets: every pair of a protocol and a
//! certificate, and whoever tries to get from one into the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gridbeat_base::{DeviceId, Redacted, WallTime};
use gridbeat_link::{
    DeviceBundle, End, EnrolTls, Identified, RelayTls, asks_to_enrol, device_tls, device_uri,
    relay_tls,
};
use gridbeat_sync_protocol::{ALPN, ENROL_ALPN, EnrolCode, Invitation, Pin};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ED25519, SanType,
};
use rustls::RootCertStore;
use rustls::client::{ClientSessionMemoryCache, ClientSessionStore as _, Resumption};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::sync::mpsc;

pub(super) const NAME: &str = "relay.example";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn device() -> DeviceId {
    DeviceId::from_bytes([7; 16])
}

/// An authority that vouches for a relay and its devices.
pub(super) struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = params.self_signed(&key).unwrap().into();
        let issuer = Issuer::new(params, key);
        Self { root, issuer }
    }

    fn pin(&self) -> Pin {
        Pin::of(&self.root)
    }

    pub(super) fn relay(&self, name: &str) -> RelayTls {
        let ever = CertificateParams::default();
        self.relay_of(name, ever.not_before.into(), ever.not_after.into())
    }

    /// A relay whose certificate is good from one moment to another.
    fn relay_of(&self, name: &str, from: SystemTime, to: SystemTime) -> RelayTls {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from.into(), to.into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().into();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let roots = std::slice::from_ref(&self.root);
        relay_tls(roots, &self.root, vec![certificate], key, DAY * 180).unwrap()
    }

    /// The bundle of a device whose certificate ended so long ago, or ends tomorrow.
    pub(super) fn bundle(&self, expired: Option<Duration>) -> DeviceBundle {
        let mut params = CertificateParams::default();
        let uri = device_uri(device()).as_str().try_into().unwrap();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - DAY * 400).into();
        params.not_after = expired.map_or(now + DAY, |ago| now - ago).into();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().into();
        DeviceBundle {
            relay: String::new(),
            server_name: NAME.to_owned(),
            pins: vec![self.root.clone()],
            device: device(),
            certificates: vec![certificate],
            key: Redacted::new(key.serialize_pem()),
            issued: WallTime(0),
            renew_after: WallTime(0),
            not_after: WallTime(0),
        }
    }
}

/// What a relay made of a connection.
#[derive(Debug, PartialEq)]
enum Seen {
    /// No handshake came about.
    Refused,
    /// One of the sync protocol, by a device.
    Sync(Option<DeviceId>),
    /// One of the enrolment protocol, by a device or somebody without a certificate.
    Enrol(Option<DeviceId>),
}

/// A relay's socket, without a relay behind it.
struct Port {
    addr: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    _endpoint: Endpoint,
}

impl Port {
    fn open(tls: RelayTls) -> Self {
        let config = ServerConfig::with_crypto(Arc::clone(&tls.crypto));
        let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (see, seen) = mpsc::unbounded_channel();
        let listening = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = listening.accept().await {
                let (tls, see) = (tls.clone(), see.clone());
                tokio::spawn(async move {
                    let connecting = incoming.accept().unwrap();
                    let (what, connection) = look(connecting, &tls).await;
                    see.send(what).unwrap();
                    if let Some(connection) = connection {
                        connection.closed().await;
                    }
                });
            }
        });
        Self {
            addr: endpoint.local_addr().unwrap(),
            seen,
            _endpoint: endpoint,
        }
    }

    async fn seen(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }
}

async fn look(mut connecting: quinn::Connecting, tls: &RelayTls) -> (Seen, Option<Connection>) {
    let Ok(data) = connecting.handshake_data().await else {
        return (Seen::Refused, None);
    };
    let is_enrolment = asks_to_enrol(data);
    let Ok(connection) = connecting.await else {
        return (Seen::Refused, None);
    };
    let device = |found: Option<Identified>| found.map(|identified| identified.device);
    let seen = if is_enrolment {
        Seen::Enrol(device(tls.identify_renewing(&connection).unwrap()))
    } else {
        Seen::Sync(device(tls.identify(&connection).unwrap()))
    };
    (seen, Some(connection))
}

/// Dials and waits until the relay's answer to the certificate has come: a client of TLS 1.3 believes itself
/// connected before.
async fn dial(crypto: Arc<QuicClientConfig>, addr: SocketAddr) -> Result<Connection, End> {
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint
        .connect_with(ClientConfig::new(crypto), addr, NAME)
        .unwrap();
    let connection = connecting.await.map_err(|error| End::of(&error))?;
    let refused = async { Err(End::of(&connection.closed().await)) };
    // The handshake is confirmed by the relay (RFC 9001, 4.1.2) in the packet that also lets streams be opened
    // anew; a round trip of a datagram-free connection is seen in the path's statistics.
    let confirmed = async {
        while connection.stats().frame_rx.handshake_done == 0 {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    tokio::select! {
        ended = refused => ended,
        confirmed = confirmed => confirmed.map(|()| connection.clone()),
    }
}

/// The settings of somebody who asks for what they like, without a certificate or with one.
fn anybody(
    authority: &Authority,
    protocols: &[&[u8]],
    with: Option<&DeviceBundle>,
) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match with {
        Some(bundle) => builder
            .with_client_auth_cert(bundle.certificates.clone(), bundle.private_key().unwrap())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.enable_early_data = true;
    config
}

fn quic(config: rustls::ClientConfig) -> Arc<QuicClientConfig> {
    Arc::new(config.try_into().unwrap())
}

fn invited(pins: &[Pin]) -> Arc<QuicClientConfig> {
    let code = EnrolCode::from_bytes([9; 16]);
    let invitation = Invitation::new("127.0.0.1:1", NAME, pins, code).unwrap();
    EnrolTls::invited(&invitation).unwrap().crypto
}

#[tokio::test]
async fn without_a_certificate_the_enrolment_protocol_is_open_and_nothing_else_is() {
    let authority = Authority::new();
    let mut port = Port::open(authority.relay(NAME));
    dial(invited(&[authority.pin()]), port.addr).await.unwrap();
    assert_eq!(port.seen().await, Seen::Enrol(None));
    for protocols in [vec![ALPN], vec![ALPN, ENROL_ALPN], vec![ENROL_ALPN, ALPN]] {
        let config = quic(anybody(&authority, &protocols, None));
        let refused = dial(config, port.addr).await.unwrap_err();
        assert_eq!(refused, End::OurCertificate, "{protocols:?}");
        assert_eq!(port.seen().await, Seen::Refused);
    }
    let other = dial(quic(anybody(&authority, &[b"h3"], None)), port.addr).await;
    assert_eq!(other.unwrap_err(), End::NoCommonVersion);
}

#[tokio::test]
async fn a_certificate_opens_sync_until_it_expires_and_enrolment_for_180_days_more() {
    let authority = Authority::new();
    let mut port = Port::open(authority.relay(NAME));
    for (expired, in_sync, in_enrolment) in [
        (None, Ok(()), Ok(())),
        (Some(DAY), Err(End::OurLease), Ok(())),
        (Some(DAY * 179), Err(End::OurLease), Ok(())),
        (Some(DAY * 181), Err(End::OurLease), Err(End::OurLease)),
    ] {
        let bundle = authority.bundle(expired);
        let sync = dial(device_tls(&bundle).unwrap().fresh, port.addr).await;
        assert_eq!(sync.map(drop), in_sync, "{expired:?}");
        let expected = if in_sync.is_ok() {
            Seen::Sync(Some(device()))
        } else {
            Seen::Refused
        };
        assert_eq!(port.seen().await, expected, "{expired:?}");
        let enrolment = dial(EnrolTls::renewing(&bundle).unwrap().crypto, port.addr).await;
        assert_eq!(enrolment.map(drop), in_enrolment, "{expired:?}");
        let expected = if in_enrolment.is_ok() {
            Seen::Enrol(Some(device()))
        } else {
            Seen::Refused
        };
        assert_eq!(port.seen().await, expected, "{expired:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_opens_neither() {
    let (ours, other) = (Authority::new(), Authority::new());
    let mut port = Port::open(ours.relay(NAME));
    for expired in [None, Some(DAY)] {
        let foreign = other.bundle(expired);
        for protocol in [ALPN, ENROL_ALPN] {
            let config = quic(anybody(&ours, &[protocol], Some(&foreign)));
            let refused = dial(config, port.addr).await.unwrap_err();
            // An expired one is not even told so: nobody here vouched for it.
            assert!(
                matches!(refused, End::OurCertificate | End::OurLease),
                "{refused:?}"
            );
            assert_eq!(port.seen().await, Seen::Refused);
        }
    }
}

#[tokio::test]
async fn an_invited_device_tells_a_relay_nothing_that_has_no_pinned_root_or_another_name() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (relay, what) in [
        (other.relay(NAME), "root"),
        (ours.relay("else.example"), "name"),
    ] {
        let mut port = Port::open(relay);
        let refused = dial(invited(&[ours.pin()]), port.addr).await.unwrap_err();
        assert_eq!(refused, End::TheirCertificate, "{what}");
        assert_eq!(port.seen().await, Seen::Refused, "{what}");
    }
    // Of two pins, one is enough.
    let mut port = Port::open(ours.relay(NAME));
    let tls = invited(&[other.pin(), ours.pin()]);
    dial(tls, port.addr).await.unwrap();
    assert_eq!(port.seen().await, Seen::Enrol(None));
}

#[tokio::test]
async fn enrolment_gives_no_ticket_and_takes_no_early_data_for_one_of_sync() {
    let authority = Authority::new();
    let mut port = Port::open(authority.relay(NAME));
    let bundle = authority.bundle(None);
    let tickets = Arc::new(ClientSessionMemoryCache::new(8));
    let mut sync = anybody(&authority, &[ALPN], Some(&bundle));
    sync.resumption = Resumption::store(Arc::<ClientSessionMemoryCache>::clone(&tickets));
    // A ticket is good only where verifier and key are the very same.
    let mut enrol = sync.clone();
    enrol.alpn_protocols = vec![ENROL_ALPN.to_vec()];
    let (sync, enrol) = (quic(sync), quic(enrol));

    // Before there is any ticket, an enrolment makes none.
    for _ in 0..2 {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = ClientConfig::new(Arc::<QuicClientConfig>::clone(&enrol));
        let connecting = endpoint.connect_with(config, port.addr, NAME).unwrap();
        let connecting = connecting.into_0rtt().map(drop).expect_err("no ticket");
        let connection = connecting.await.unwrap();
        while connection.stats().frame_rx.handshake_done == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(port.seen().await, Seen::Enrol(Some(device())));
    }

    // A ticket of sync carries early data to sync, and not to enrolment.
    for (config, is_early) in [(&sync, true), (&enrol, false)] {
        let connection = dial(Arc::clone(&sync), port.addr).await.unwrap();
        assert_eq!(port.seen().await, Seen::Sync(Some(device())));
        let name: ServerName<'static> = NAME.try_into().unwrap();
        // A ticket comes soon after the handshake.
        loop {
            if let Some(ticket) = tickets.take_tls13_ticket(&name) {
                break tickets.insert_tls13_ticket(name, ticket);
            }
            tokio::task::yield_now().await;
        }
        drop(connection);
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let config = ClientConfig::new(Arc::<QuicClientConfig>::clone(config));
        let connecting = endpoint.connect_with(config, port.addr, NAME).unwrap();
        let Ok((connection, accepted)) = connecting.into_0rtt() else {
            panic!("there is a ticket");
        };
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(b"early").await.unwrap();
        assert_eq!(accepted.await, is_early);
        let expected = if is_early { Seen::Sync } else { Seen::Enrol };
        assert_eq!(port.seen().await, expected(Some(device())));
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_years_keeps_no_device_from_its_relay() {
    let authority = Authority::new();
    let now = SystemTime::now();
    let year = DAY * 365;
    let wall = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        WallTime(0).plus(since)
    };
    // What the device knows, and what the relay's certificate says, beside what the device's clock shows.
    for (signed, from, to, is_believed) in [
        // Right.
        (now - DAY * 3, now - DAY * 30, now + year, true),
        // Five years ahead: to the device it seems that the relay's certificate ended four years ago.
        (now - year * 5, now - year * 6, now - year * 4, true),
        // Five years behind: it seems that it begins in five years.
        (now + year * 5, now + year * 5, now + year * 6, true),
        // Five years ahead, and the relay has another certificate since they met.
        (
            now - year * 5,
            now - year * 5 + DAY * 20,
            now - year * 4,
            true,
        ),
        // The device met the relay after this certificate had ended: somebody has its old key.
        (now - DAY * 3, now - year, now - DAY * 4, false),
        // A certificate of the future.
        (now - DAY * 3, now + year * 2, now + year * 3, false),
    ] {
        let mut port = Port::open(authority.relay_of(NAME, from, to));
        let bundle = DeviceBundle {
            issued: wall(signed),
            ..authority.bundle(None)
        };
        for crypto in [
            device_tls(&bundle).unwrap().fresh,
            EnrolTls::renewing(&bundle).unwrap().crypto,
        ] {
            let dialled = dial(crypto, port.addr).await;
            assert_eq!(dialled.is_ok(), is_believed, "{signed:?} {from:?} {to:?}");
            if !is_believed {
                assert_eq!(dialled.unwrap_err(), End::TheirCertificate);
            }
            let _ = port.seen().await;
        }
    }
}
