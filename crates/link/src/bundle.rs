//! The file that lets one device reach one relay: made at enrolment, it stays on the device.
//!
//! JSON, so that any program can make one; unknown fields are errors, so that a newer file is not
//! half understood. It holds the device's private key, and is therefore read and written as a
//! [private file](crate::write_private). Not here: how it gets onto the device.

use std::io;
use std::path::Path;

use gridbeat_base::{DeviceId, Redacted, Remedy, WallTime};
use gridbeat_sync_protocol::{Issued, Signer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use crate::{
    IdentityError, device_of_certificate, key_of_certificate, read_private, signer_of,
    write_private,
};

/// Most root certificates a device trusts: the relay's present authority and its next.
pub const BUNDLE_PINS_MAX: usize = 2;

/// What a device needs to reach its relay and be known there.
#[derive(Clone, Debug)]
pub struct DeviceBundle {
    /// The relay's UDP address: `host:port`, where host is a name or a number.
    pub relay: String,
    /// The name in the relay's certificate; need not be its host name.
    pub server_name: String,
    /// The only roots trusted: the relay's authority and, before a change, the next. At least one.
    pub pins: Vec<CertificateDer<'static>>,
    /// The device.
    pub device: DeviceId,
    /// The device's certificate, then those between it and a root, if any.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The private key of the first certificate, as PKCS #8 PEM.
    pub key: Redacted<String>,
    /// When the certificate was issued: the device's clock is not believed to be earlier.
    pub issued: WallTime,
    /// From when on the certificate may be renewed, by the relay's clock.
    pub renew_after: WallTime,
    /// When the certificate ends, by the relay's clock.
    pub not_after: WallTime,
}

/// The bundle as it lies in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleFile {
    relay: String,
    server_name: String,
    pins: Vec<String>,
    device: DeviceId,
    certificates: Vec<String>,
    key: String,
    issued_ms: WallTime,
    renew_after_ms: WallTime,
    not_after_ms: WallTime,
}

impl DeviceBundle {
    /// Makes the bundle of a device from what the relay at `relay` (`host:port`) issued for its key.
    ///
    /// # Errors
    ///
    /// When what was issued does not fit together, or is for another key.
    pub fn from_issued(
        relay: &str,
        issued: &Issued,
        key: &Redacted<String>,
    ) -> Result<Self, BundleError> {
        let certificates =
            |ders: &[Vec<u8>]| ders.iter().cloned().map(CertificateDer::from).collect();
        let bundle = Self {
            relay: relay.to_owned(),
            server_name: issued.server_name.clone(),
            pins: certificates(&issued.pins),
            device: issued.device,
            certificates: certificates(&issued.certificates),
            key: key.clone(),
            issued: issued.issued,
            renew_after: issued.renew_after,
            not_after: issued.not_after,
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// Reads and checks a bundle's file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, others may read it too, or it is no bundle.
    pub fn read(path: &Path) -> Result<Self, BundleError> {
        Self::from_json(&read_private(path)?)
    }

    /// Writes the bundle's file, for its owner alone.
    ///
    /// # Errors
    ///
    /// As the file system says.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        Ok(write_private(path, self.to_json().as_bytes())?)
    }

    /// Reads and checks a bundle.
    ///
    /// # Errors
    ///
    /// When it is no bundle, or its parts do not belong together.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        let file: BundleFile = serde_json::from_slice(json)?;
        let certificates = |field, texts: &[String]| {
            texts
                .iter()
                .map(|text| CertificateDer::from_pem_slice(text.as_bytes()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| BundleError::NotPem { field })
        };
        let bundle = Self {
            pins: certificates("pins", &file.pins)?,
            certificates: certificates("certificates", &file.certificates)?,
            relay: file.relay,
            server_name: file.server_name,
            device: file.device,
            key: Redacted::new(file.key),
            issued: file.issued_ms,
            renew_after: file.renew_after_ms,
            not_after: file.not_after_ms,
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// Writes the bundle as JSON. It holds the private key: keep it to its owner.
    pub fn to_json(&self) -> String {
        let texts = |certificates: &[CertificateDer<'_>]| {
            let text = |der: &CertificateDer<'_>| pem("CERTIFICATE", der);
            certificates.iter().map(text).collect()
        };
        let file = BundleFile {
            relay: self.relay.clone(),
            server_name: self.server_name.clone(),
            pins: texts(&self.pins),
            device: self.device,
            certificates: texts(&self.certificates),
            key: self.key.reveal().clone(),
            issued_ms: self.issued,
            renew_after_ms: self.renew_after,
            not_after_ms: self.not_after,
        };
        serde_json::to_string_pretty(&file).expect("strings and numbers are always JSON")
    }

    /// Returns the private key.
    ///
    /// # Errors
    ///
    /// When the bundle's key is none.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, BundleError> {
        PrivateKeyDer::from_pem_slice(self.key.reveal().as_bytes())
            .map_err(|_| BundleError::NotPem { field: "key" })
    }

    /// Returns what signs the device's pushes: its private key, if that is an Ed25519 one. The relay finds
    /// the other half in the certificate.
    ///
    /// # Errors
    ///
    /// When the bundle's key is none.
    pub fn signer(&self) -> Result<Option<Signer>, BundleError> {
        self.private_key()?;
        Ok(signer_of(&self.key))
    }

    fn check(&self) -> Result<(), BundleError> {
        if self.pins.is_empty() || self.pins.len() > BUNDLE_PINS_MAX {
            return Err(BundleError::Pins {
                count: self.pins.len(),
            });
        }
        let first = self
            .certificates
            .first()
            .ok_or(IdentityError::NoCertificate)?;
        let named = device_of_certificate(first)?;
        if named != self.device {
            return Err(BundleError::OtherDevice {
                named,
                device: self.device,
            });
        }
        match self.signer()? {
            Some(signer) if key_of_certificate(first)? != Some(signer.public_key()) => {
                Err(BundleError::OtherKey)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// DER as text (RFC 7468).
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = base64(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..4 {
            if digit <= chunk.len() {
                let index = (bits >> (18 - 6 * digit)) & 63;
                text.push(char::from(DIGITS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Why a bundle is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file system refused.
    #[error("the bundle's file cannot be used")]
    File(#[from] io::Error),
    /// Not JSON, or not these fields; the source names line and column.
    #[error("not a device bundle")]
    NotABundle(#[from] serde_json::Error),
    /// A field that should hold PEM does not.
    #[error("`{field}` is not PEM")]
    NotPem {
        /// The field.
        field: &'static str,
    },
    /// No root, or more than [`BUNDLE_PINS_MAX`].
    #[error("there must be one or two pins, not {count}")]
    Pins {
        /// How many there are.
        count: usize,
    },
    /// Its certificate names no device.
    #[error("the bundle's certificate is of no use")]
    Identity(#[from] IdentityError),
    /// Its certificate has another key.
    #[error("the bundle's certificate is for another key")]
    OtherKey,
    /// Its certificate names another device.
    #[error("the bundle is for device {device}, but its certificate names {named}")]
    OtherDevice {
        /// The device in the certificate.
        named: DeviceId,
        /// The device in the bundle.
        device: DeviceId,
    },
}

impl BundleError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::File(_)
            | Self::NotABundle(_)
            | Self::NotPem { .. }
            | Self::Pins { .. }
            | Self::Identity(_)
            | Self::OtherKey
            | Self::OtherDevice { .. } => Remedy::FixSetup,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::device_uri;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certified(device: DeviceId, key: &KeyPair) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(device_uri(device).try_into().unwrap())];
        params.self_signed(key).unwrap().into()
    }

    fn bundle(device: DeviceId, named: DeviceId) -> DeviceBundle {
        let key = KeyPair::generate().unwrap();
        let certificate = certified(named, &key);
        DeviceBundle {
            relay: "127.0.0.1:4433".into(),
            server_name: "relay.example".into(),
            pins: vec![certificate.clone()],
            device,
            certificates: vec![certificate],
            key: Redacted::new(key.serialize_pem()),
            issued: WallTime(1_700_000_000_000),
            renew_after: WallTime(1_700_600_000_000),
            not_after: WallTime(1_701_800_000_000),
        }
    }

    #[test]
    fn a_bundle_reads_back_from_its_file() {
        let device = DeviceId::from_bytes([3; 16]);
        let written = bundle(device, device);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("device.json");
        written.write(&path).unwrap();
        let read = DeviceBundle::read(&path).unwrap();
        assert_eq!(read.device, device);
        assert_eq!(read.pins, written.pins);
        assert_eq!(read.certificates, written.certificates);
        assert_eq!(read.issued, written.issued);
        assert!(
            !format!("{read:?}").contains("PRIVATE"),
            "the key is not printed"
        );
    }

    #[test]
    fn the_key_of_a_bundle_signs_for_the_certificate_beside_it() {
        let device = DeviceId::from_bytes([3; 16]);
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = certified(device, &key);
        let mut bundle = bundle(device, device);
        assert!(
            bundle.signer().unwrap().is_none(),
            "a key that only shakes hands"
        );
        assert_eq!(key_of_certificate(&bundle.certificates[0]), Ok(None));
        bundle.key = Redacted::new(key.serialize_pem());
        let signer = bundle.signer().unwrap().unwrap();
        assert_eq!(
            key_of_certificate(&certificate),
            Ok(Some(signer.public_key()))
        );
    }

    #[test]
    fn a_bundle_whose_parts_do_not_belong_together_is_refused() {
        let (one, other) = (DeviceId::from_bytes([3; 16]), DeviceId::from_bytes([4; 16]));
        let read = |bundle: &DeviceBundle| DeviceBundle::from_json(bundle.to_json().as_bytes());
        assert!(matches!(
            read(&bundle(one, other)),
            Err(BundleError::OtherDevice { .. })
        ));
        let mut unpinned = bundle(one, one);
        unpinned.pins.clear();
        assert!(matches!(
            read(&unpinned),
            Err(BundleError::Pins { count: 0 })
        ));
        let mut keyless = bundle(one, one);
        keyless.key = Redacted::new("no key".into());
        assert!(matches!(
            read(&keyless),
            Err(BundleError::NotPem { field: "key" })
        ));
    }

    #[test]
    fn a_newer_bundle_is_not_half_understood() {
        let device = DeviceId::from_bytes([3; 16]);
        let json = bundle(device, device).to_json();
        let newer = json.replacen('{', "{\"colour\": 1,", 1);
        let error = DeviceBundle::from_json(newer.as_bytes()).unwrap_err();
        let BundleError::NotABundle(source) = error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains("colour"), "{source}");
    }
}
