//! What time it is for a relay's certificate, on a phone whose clock may be wrong by years.
//!
//! A device knows one moment that has passed for sure: the relay signed it into the device's own certificate. A battery
//! that was empty wakes up in 1970; a hand that slipped sets 2035. So the clock counts only between that moment and the
//! last one at which the device could renew its certificate at all, and a relay's certificate that was or will be good
//! at some moment between is taken.
//!
//! What that costs: a key that was stolen from a relay serves, beyond its certificate's end, against devices that have not
//! met the relay since before. Not here: whether the certificate is of a pinned authority (rustls).

use std::sync::Arc;
use std::time::Duration;

use gridbeat_base::WallTime;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::TlsError;
use crate::tls::provider;

/// How long after it was issued a certificate serves to ask for another: the longest lease, and the grace after it.
const RENEWABLE: Duration = Duration::from_secs((30 + 180) * 24 * 60 * 60);

/// Verifies a relay's certificate as of a time that may be.
#[derive(Debug)]
pub(crate) struct AsOfSigned {
    strict: Arc<WebPkiServerVerifier>,
    signed: UnixTime,
}

impl AsOfSigned {
    /// Makes one for a device whose certificate the relay signed at that moment.
    pub(crate) fn new(roots: RootCertStore, signed: WallTime) -> Result<Arc<Self>, TlsError> {
        let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let signed = u64::try_from(signed.millis() / 1000).unwrap_or(0);
        Ok(Arc::new(Self {
            strict: strict.build()?,
            signed: UnixTime::since_unix_epoch(Duration::from_secs(signed)),
        }))
    }

    fn latest(&self) -> UnixTime {
        let latest = Duration::from_secs(self.signed.as_secs()).saturating_add(RENEWABLE);
        UnixTime::since_unix_epoch(latest)
    }
}

impl ServerCertVerifier for AsOfSigned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |at| {
            let (inner, name) = (self.strict.as_ref(), server_name);
            inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, at)
        };
        let (signed, latest) = (self.signed, self.latest());
        let now = now.max(signed);
        let verified = verify(now.min(latest));
        match verified {
            // Good at some moment that may be now.
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) if signed <= not_after => verify(not_after),
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) if not_before <= now.max(latest) => verify(not_before),
            verified => verified,
        }
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
