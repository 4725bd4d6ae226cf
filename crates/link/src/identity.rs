//! The device a certificate names.
//!
//! A device's certificate carries its id as the URI `urn:uuid:…` (RFC 9562) among its subject's
//! alternative names, exactly once. Not here: whether the certificate is genuine (`tls`), what the
//! device may do (the relay's own table).

use gridbeat_base::{DeviceId, Remedy};
use gridbeat_sync_protocol::PublicKey;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

const PREFIX: &str = "urn:uuid:";

/// Returns the URI that stands for a device in its certificate.
pub fn device_uri(device: DeviceId) -> String {
    format!("{PREFIX}{device}")
}

/// Reads which device a certificate names.
///
/// # Errors
///
/// When it is no certificate, or names no device or several.
pub fn device_of_certificate(certificate: &CertificateDer<'_>) -> Result<DeviceId, IdentityError> {
    let parsed =
        EndEntityCert::try_from(certificate).map_err(|_| IdentityError::NotACertificate)?;
    let mut devices = parsed
        .valid_uri_names()
        .filter_map(|uri| uri.strip_prefix(PREFIX)?.parse().ok());
    let device = devices.next().ok_or(IdentityError::NoDevice)?;
    if devices.next().is_some() {
        return Err(IdentityError::SeveralDevices);
    }
    Ok(device)
}

/// Reads the key that a certificate's owner signs pushes by; `None` if it is not an Ed25519 one.
///
/// # Errors
///
/// When it is no certificate.
pub fn key_of_certificate(
    certificate: &CertificateDer<'_>,
) -> Result<Option<PublicKey>, IdentityError> {
    let parsed =
        EndEntityCert::try_from(certificate).map_err(|_| IdentityError::NotACertificate)?;
    Ok(PublicKey::from_spki(&parsed.subject_public_key_info()))
}

/// Why a certificate names no device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The peer showed none.
    #[error("no certificate was shown")]
    NoCertificate,
    /// Not an X.509 certificate, or a broken one.
    #[error("not a certificate")]
    NotACertificate,
    /// No URI `urn:uuid:…` in it: issued for something else.
    #[error("the certificate names no device")]
    NoDevice,
    /// Two devices in one certificate: never issued by us.
    #[error("the certificate names several devices")]
    SeveralDevices,
}

impl IdentityError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        Remedy::FixSetup
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(uris: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().into()
    }

    #[test]
    fn a_certificate_names_its_device() {
        let device = DeviceId::from_bytes([7; 16]);
        let named = certificate(&["https://example.org", &device_uri(device)]);
        assert_eq!(device_of_certificate(&named), Ok(device));
    }

    #[test]
    fn a_certificate_that_names_none_or_two_is_refused() {
        let uri = device_uri(DeviceId::from_bytes([7; 16]));
        for (uris, error) in [
            (vec![], IdentityError::NoDevice),
            (vec!["urn:uuid:nonsense"], IdentityError::NoDevice),
            (
                vec![uri.as_str(), uri.as_str()],
                IdentityError::SeveralDevices,
            ),
        ] {
            assert_eq!(device_of_certificate(&certificate(&uris)), Err(error));
        }
        let noise = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(
            device_of_certificate(&noise),
            Err(IdentityError::NotACertificate)
        );
    }
}
