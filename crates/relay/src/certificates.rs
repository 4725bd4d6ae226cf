//! What the authority's certificates have in common, how they lie in files, and what can be wrong with those.
//!
//! Only certificates that this program made are read here; those of strangers are TLS's to verify.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{Random, Remedy, WallTime};
use gridbeat_link::write_private;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

/// Seconds of a day.
pub(crate) const DAY_S: u64 = 24 * 60 * 60;

/// How far back a certificate's beginning is set, for devices whose clock runs behind.
const BACKDATE: Duration = Duration::from_secs(7 * DAY_S);

/// Bytes of a certificate's serial number, the first bit 0: more than 64 random bits, as RFC 5280's
/// readers ask for.
const SERIAL_BYTES: usize = 16;

/// Reads the key of a file that holds one and certificates.
pub(crate) fn read_key(text: &[u8]) -> Result<KeyPair, rcgen::Error> {
    let text = String::from_utf8_lossy(text);
    let end = text.find("-----BEGIN CERTIFICATE").unwrap_or(text.len());
    KeyPair::from_pem(&text[..end])
}

/// What all certificates have in common.
pub(crate) fn params(
    name: &str,
    now: WallTime,
    not_after: WallTime,
    random: &mut Random,
) -> CertificateParams {
    let at = |wall: WallTime| {
        let since_s = u64::try_from(wall.millis() / 1000).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_s)
    };
    let mut serial = random.bytes::<SERIAL_BYTES>();
    serial[0] = serial[0] & 0x7f | 0x40; // positive, and always of the same length
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let backdate = i64::try_from(BACKDATE.as_millis()).unwrap_or(0);
    params.not_before = at(WallTime(now.millis().saturating_sub(backdate)));
    params.not_after = at(not_after);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn write_certificates(
    path: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<(), AuthorityError> {
    let text: String = certificates.iter().map(|der| to_pem(der)).collect();
    Ok(write_private(path, text.as_bytes())?)
}

pub(crate) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    pem::encode(&pem::Pem::new("CERTIFICATE", certificate.to_vec()))
}

/// Reads the certificates of a file that holds one at least.
pub(crate) fn read_certificates(
    name: &str,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(damaged(name)),
    }
}

/// When a certificate of ours ends.
pub(crate) fn end_of(
    name: &str,
    certificate: &CertificateDer<'_>,
) -> Result<WallTime, AuthorityError> {
    let seconds = parse(name, certificate)?.validity().not_after.timestamp();
    Ok(WallTime(seconds.saturating_mul(1_000)))
}

/// The keys a certificate of ours names: its own, and its issuer's.
#[derive(Default)]
pub(crate) struct KeyIds {
    pub(crate) subject: Option<Vec<u8>>,
    pub(crate) issuer: Option<Vec<u8>>,
}

pub(crate) fn key_ids(
    name: &str,
    certificate: &CertificateDer<'_>,
) -> Result<KeyIds, AuthorityError> {
    let mut ids = KeyIds::default();
    for extension in parse(name, certificate)?.extensions() {
        let parsed = extension.parsed_extension();
        if let ParsedExtension::SubjectKeyIdentifier(id) = parsed {
            ids.subject = Some(id.0.to_vec());
        } else if let ParsedExtension::AuthorityKeyIdentifier(id) = parsed {
            ids.issuer = id.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
    }
    Ok(ids)
}

fn parse<'c>(
    name: &str,
    certificate: &'c CertificateDer<'_>,
) -> Result<X509Certificate<'c>, AuthorityError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    parsed.map(|(_, parsed)| parsed).map_err(|_| damaged(name))
}

pub(crate) fn damaged(file: &str) -> AuthorityError {
    AuthorityError::Damaged {
        file: file.to_owned(),
    }
}

/// Why the authority could not be opened, or did not issue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file could not be read or written; `PermissionDenied` also when others may read a key.
    #[error("a file of the authority cannot be used")]
    File(#[from] io::Error),
    /// A certificate could not be made: a bad name, or a damaged key.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A file does not hold what its name says.
    #[error("`{file}` is damaged")]
    Damaged {
        /// The file's name within the authority's directory or the root's folder.
        file: String,
    },
    /// The authority was made for a relay of another name; devices look for that one.
    #[error("the authority is for a relay called `{found}`, not `{asked}`")]
    OtherName {
        /// The name asked for.
        asked: String,
        /// The name it was made for.
        found: String,
    },
    /// The folder holds no root.
    #[error("there is no root in {}: name the folder it was moved to", folder.display())]
    NoRoot {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder holds the root of another relay, or one that was replaced.
    #[error("the root in {} is not the one of this relay", folder.display())]
    OtherRoot {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no next root to promote.
    #[error("no next root was prepared: gridbeat relay prepare-root makes one")]
    NoNextRoot,
    /// The issuing certificate has ended.
    #[error("the issuing certificate has ended: make another with gridbeat relay renew-issuer")]
    IssuerEnded,
}

impl AuthorityError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::File(_)
            | Self::Certificate(_)
            | Self::OtherName { .. }
            | Self::NoRoot { .. }
            | Self::OtherRoot { .. }
            | Self::NoNextRoot
            | Self::IssuerEnded => Remedy::FixSetup,
            Self::Damaged { .. } => Remedy::Restore,
        }
    }
}
