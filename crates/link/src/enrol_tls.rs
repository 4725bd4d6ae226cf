//! TLS of the enrolment protocol: a device that has no certificate yet, or one whose lease is over.
//!
//! - **The device** knows the relay by the pins of its invitation: hashes of root certificates, since the
//!   roots themselves would not fit into a QR code. The relay therefore shows its root with its
//!   certificate here. A relay without a pinned root, or under another name, is told nothing at all.
//! - **The relay** lets clients in that show no certificate, or one of its own that has not expired for too
//!   long; a certificate of anybody else's is refused as on the sync protocol.
//! - **Nothing is resumed and nothing is early**: the relay gives no tickets and takes no early data, and
//!   the device asks for neither. A request counts once, and a replay must not count again.
//!
//! Not here: which of the two protocols a client gets (`by_protocol`), what is asked and answered
//! (`sync-protocol`), who may be enrolled (the relay's own tables).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_sync_protocol::{ENROL_ALPN, Invitation};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};

use crate::signed_time::AsOfSigned;
use crate::tls::{NotBefore, provider, roots};
use crate::{DeviceBundle, TlsError};

/// A device's TLS settings for one enrolment, or one renewal.
#[derive(Clone)]
pub struct EnrolTls {
    /// For quinn. Resumes nothing, and sends nothing early.
    pub crypto: Arc<QuicClientConfig>,
    /// The name the relay's certificate must carry.
    pub server_name: String,
}

impl fmt::Debug for EnrolTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrolTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl EnrolTls {
    /// Makes the settings of a device that has an invitation and no certificate.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn invited(invitation: &Invitation) -> Result<Self, TlsError> {
        let verifier = Pinned {
            invitation: invitation.clone(),
            provider: provider(),
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous() // rustls's word for a verifier that is not its own
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Self::new(config, invitation.server_name())
    }

    /// Makes the settings of a device that shows its certificate, expired or not, to get another.
    ///
    /// # Errors
    ///
    /// When a pin, certificate, key or name of the bundle is unusable.
    pub fn renewing(bundle: &DeviceBundle) -> Result<Self, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .dangerous() // rustls's word for a verifier that is not its own
            .with_custom_certificate_verifier(AsOfSigned::new(roots(&bundle.pins)?, bundle.issued)?)
            .with_client_auth_cert(bundle.certificates.clone(), bundle.private_key()?)?;
        config.time_provider = Arc::new(NotBefore::of(bundle.issued));
        Self::new(config, &bundle.server_name)
    }

    fn new(mut config: ClientConfig, server_name: &str) -> Result<Self, TlsError> {
        ServerName::try_from(server_name)?;
        config.alpn_protocols = vec![ENROL_ALPN.to_vec()];
        config.enable_early_data = false;
        config.resumption = Resumption::disabled();
        Ok(Self {
            crypto: Arc::new(config.try_into()?),
            server_name: server_name.to_owned(),
        })
    }
}

/// Makes a relay's settings for the enrolment protocol; `root` is the one that its certificate leads to.
pub(crate) fn server_settings(
    verifier: Arc<dyn ClientCertVerifier>,
    root: &CertificateDer<'static>,
    mut certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    grace: Duration,
) -> Result<QuicServerConfig, TlsError> {
    certificates.push(root.clone());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Expired {
            strict: verifier,
            grace,
        }))
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![ENROL_ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config.try_into()?)
}

/// Verifies a device's certificate as `strict` does, but as of the moment of its expiry if that is not longer
/// ago than `grace`.
pub(crate) fn verify_or_expired(
    strict: &dyn ClientCertVerifier,
    first: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: UnixTime,
    grace: Duration,
) -> Result<ClientCertVerified, Error> {
    let verified = strict.verify_client_cert(first, between, now);
    let Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) =
        verified
    else {
        return verified;
    };
    if now.as_secs().saturating_sub(not_after.as_secs()) > grace.as_secs() {
        return verified;
    }
    strict.verify_client_cert(first, between, not_after)
}

/// Asks for a certificate without insisting on one, and takes one that has expired.
#[derive(Debug)]
struct Expired {
    strict: Arc<dyn ClientCertVerifier>,
    grace: Duration,
}

impl ClientCertVerifier for Expired {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify_or_expired(
            self.strict.as_ref(),
            end_entity,
            intermediates,
            now,
            self.grace,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// Believes a relay whose certificate leads to a root that it shows and whose hash is pinned.
#[derive(Debug)]
struct Pinned {
    invitation: Invitation,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        for shown in intermediates {
            if self.invitation.trusts(shown) {
                roots.add(shown.clone().into_owned())?;
            }
        }
        if roots.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| CertificateError::UnknownIssuer)?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
