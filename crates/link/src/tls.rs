//! TLS 1.3 on both ends: mutual, private roots, resumption with early data.
//!
//! Built by hand because the convenient constructors of quinn trust, store and accept otherwise.
//! Three traps, read in rustls 0.23.46, and what is done about each:
//!
//! - **A client certificate is not verified again on resumption.** The server restores the chain it
//!   once verified. [`RelayTls::identify`] therefore runs the verifier on every session, so that an
//!   expired certificate or a removed root ends resumption too; and whoever is identified is still
//!   looked up in the relay's own table before anything is served.
//! - **Early data can be replayed.** It is accepted only with stateful resumption, whose tickets the
//!   server takes out of its store at first use; what it carries is idempotent all the same.
//! - **A ticket is spent by an attempt that nobody answered.** [`DeviceTls::fresh`] resumes nothing
//!   and so spends none; it still keeps the tickets it is given.
//!
//! Not here: the enrolment protocol (`enrol_tls`), transport settings (`transport`), issuing certificates
//! (`relay`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::{DeviceId, Remedy, WallTime};
use gridbeat_sync_protocol::{ALPN, PublicKey};
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, NamedGroup, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::by_protocol::ByProtocol;
use crate::signed_time::AsOfSigned;
use crate::{
    BundleError, DeviceBundle, IdentityError, device_of_certificate, enrol_tls, key_of_certificate,
    tunnel,
};

/// Sessions a relay remembers for resumption: 10,000 devices with two tickets each. One takes about
/// 0.8 KB (a P-256 client certificate and a secret), so 16 MB when full; the oldest goes first, and
/// whose ticket is gone makes a full handshake.
const SESSIONS_MAX: usize = 20_000;

/// Tickets a relay hands out after each handshake. One is spent by the next dial; the second is for
/// the dial after one that died half-way.
const TICKETS: usize = 2;

/// Tickets a device keeps: what rustls keeps for one server.
const TICKETS_KEPT: usize = 8;

/// QUIC carries early data outside TLS records, so the only values allowed are none and this
/// (RFC 9001, 4.6.1).
const EARLY_DATA: u32 = u32::MAX;

/// A device's TLS settings. Keep them for as long as the process lives: they hold its tickets.
#[derive(Clone)]
pub struct DeviceTls {
    /// Resumes the last session if it can, with early data.
    pub resuming: Arc<QuicClientConfig>,
    /// Makes a full handshake, and spends no ticket.
    pub fresh: Arc<QuicClientConfig>,
    /// The name the relay's certificate must carry.
    pub server_name: String,
}

impl fmt::Debug for DeviceTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Makes a device's TLS settings from its bundle.
///
/// # Errors
///
/// When a pin, certificate, key or name of the bundle is unusable.
pub fn device_tls(bundle: &DeviceBundle) -> Result<DeviceTls, TlsError> {
    ServerName::try_from(bundle.server_name.as_str())?;
    let tickets = Arc::new(ClientSessionMemoryCache::new(TICKETS_KEPT));
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // rustls's word for a verifier that is not its own
        .with_custom_certificate_verifier(AsOfSigned::new(roots(&bundle.pins)?, bundle.issued)?)
        .with_client_auth_cert(bundle.certificates.clone(), bundle.private_key()?)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = true;
    config.time_provider = Arc::new(NotBefore::of(bundle.issued));
    // One configuration in two copies: a ticket is good only where verifier and key are the very same.
    let mut fresh = config.clone();
    fresh.resumption = resumption(Arc::new(Unspent(Arc::clone(&tickets))));
    config.resumption = resumption(tickets);
    Ok(DeviceTls {
        resuming: Arc::new(config.try_into()?),
        fresh: Arc::new(fresh.try_into()?),
        server_name: bundle.server_name.clone(),
    })
}

/// A relay's TLS settings, for sync and for enrolment.
#[derive(Clone)]
pub struct RelayTls {
    /// For quinn.
    pub crypto: Arc<dyn quinn::crypto::ServerConfig>,
    /// For the TCP connections of devices whose network lets no UDP through; QUIC runs inside.
    pub tunnel: TlsAcceptor,
    verifier: Arc<dyn ClientCertVerifier>,
    /// How long after its end a certificate still serves to ask for another.
    grace: Duration,
}

impl fmt::Debug for RelayTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayTls").finish_non_exhaustive()
    }
}

/// Makes a relay's TLS settings from the certificates that vouch for devices, and its own with those
/// between it and `root`, by which an invited device knows it. For so long as `grace` after its end, a
/// device's certificate still serves to ask for another, and for nothing else.
///
/// # Errors
///
/// When a certificate or the key is unusable, or nothing vouches for devices.
pub fn relay_tls(
    device_roots: &[CertificateDer<'static>],
    root: &CertificateDer<'static>,
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    grace: Duration,
) -> Result<RelayTls, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(device_roots)?), provider())
            .build()?;
    let enrol = enrol_tls::server_settings(
        Arc::clone(&verifier),
        root,
        certificates.clone(),
        key.clone_key(),
        grace,
    )?;
    let tunnel = tunnel::server_settings(certificates.clone(), key.clone_key())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = EARLY_DATA;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    config.send_tls13_tickets = TICKETS;
    let crypto = ByProtocol {
        sync: Arc::new(config.try_into()?),
        enrol: Arc::new(enrol),
    };
    Ok(RelayTls {
        crypto: Arc::new(crypto),
        tunnel,
        verifier,
        grace,
    })
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identified {
    /// The device.
    pub device: DeviceId,
    /// The key in its certificate that it signs pushes by, if there is one.
    pub key: Option<PublicKey>,
}

impl RelayTls {
    /// Tells which device is at the other end, and verifies its certificate, resumed or not.
    ///
    /// On a resumed session the answer is there with the first packet; otherwise it is `None`
    /// until the handshake is complete.
    ///
    /// # Errors
    ///
    /// When the certificate is not, or no longer, good, or names no device.
    pub fn identify(&self, connection: &quinn::Connection) -> Result<Option<Identified>, TlsError> {
        identify(connection, |first, between| {
            let now = UnixTime::now();
            self.verifier.verify_client_cert(first, between, now)
        })
    }

    /// Tells which device asks for another certificate on a connection of the enrolment protocol whose
    /// handshake is complete, by one that is good or has expired within the grace; `None` if it showed none.
    ///
    /// # Errors
    ///
    /// When the certificate is not good otherwise, or names no device.
    pub fn identify_renewing(
        &self,
        connection: &quinn::Connection,
    ) -> Result<Option<Identified>, TlsError> {
        identify(connection, |first, between| {
            let now = UnixTime::now();
            let strict = self.verifier.as_ref();
            enrol_tls::verify_or_expired(strict, first, between, now, self.grace)
        })
    }
}

fn identify(
    connection: &quinn::Connection,
    verify: impl FnOnce(
        &CertificateDer<'_>,
        &[CertificateDer<'_>],
    ) -> Result<ClientCertVerified, rustls::Error>,
) -> Result<Option<Identified>, TlsError> {
    let Some(identity) = connection.peer_identity() else {
        return Ok(None);
    };
    let chain = identity
        .downcast::<Vec<CertificateDer<'static>>>()
        .map_err(|_| IdentityError::NoCertificate)?;
    let (first, between) = chain.split_first().ok_or(IdentityError::NoCertificate)?;
    verify(first, between)?;
    Ok(Some(Identified {
        device: device_of_certificate(first)?,
        key: key_of_certificate(first)?,
    }))
}

pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(pins: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for pin in pins {
        roots.add(pin.clone())?;
    }
    Ok(roots)
}

fn resumption(store: Arc<dyn ClientSessionStore>) -> Resumption {
    Resumption::store(store).tls12_resumption(Tls12Resumption::Disabled)
}

/// The machine's clock, but never earlier than a moment that is known to have passed: a phone whose
/// battery was empty wakes up in 1970, and would find every certificate not yet valid.
#[derive(Debug)]
pub(crate) struct NotBefore(u64);

impl NotBefore {
    /// Makes the clock of a device that knows the relay's time at one moment.
    pub(crate) fn of(passed: WallTime) -> Self {
        Self(u64::try_from(passed.millis() / 1000).unwrap_or(0))
    }
}

impl TimeProvider for NotBefore {
    fn current_time(&self) -> Option<UnixTime> {
        let floor = UnixTime::since_unix_epoch(Duration::from_secs(self.0));
        Some(UnixTime::now().max(floor))
    }
}

/// A store that takes tickets in and gives none out.
#[derive(Debug)]
struct Unspent(Arc<ClientSessionMemoryCache>);

impl ClientSessionStore for Unspent {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// Why TLS cannot be set up, or whom it could not identify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate or key is unusable, or not (or no longer) good.
    #[error("a certificate or key is not good")]
    Certificate(#[from] rustls::Error),
    /// The roots are unusable.
    #[error("the root certificates are not good")]
    Roots(#[from] VerifierBuilderError),
    /// The bundle is unusable.
    #[error("the device's bundle is of no use")]
    Bundle(#[from] BundleError),
    /// The relay's name is no name.
    #[error("the relay's server name is not a valid name")]
    ServerName(#[from] InvalidDnsNameError),
    /// A certificate names no device.
    #[error("the peer is no device")]
    Identity(#[from] IdentityError),
    /// The library lacks the cipher that QUIC starts with: a fault of this build.
    #[error("no cipher suite for QUIC's first packets")]
    NoInitialCipherSuite(#[from] NoInitialCipherSuite),
}

impl TlsError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Certificate(_)
            | Self::Roots(_)
            | Self::Bundle(_)
            | Self::ServerName(_)
            | Self::Identity(_) => Remedy::FixSetup,
            Self::NoInitialCipherSuite(_) => Remedy::Report,
        }
    }

    /// Returns whether a certificate would be good if it had not expired.
    pub const fn is_expiry(&self) -> bool {
        use rustls::CertificateError::{Expired, ExpiredContext};
        matches!(
            self,
            Self::Certificate(rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. }
            ))
        )
    }
}
