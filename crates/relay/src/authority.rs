//! The relay's private certificate authority: made on first use, it issues the relay's own
//! certificate and its devices'.
//!
//! A directory holds it. `root.key` signs; who has it can become any device or the relay, so it is
//! for its owner alone and may lie on another machine than the relay: the relay itself needs the
//! other files only. `next.key` and `next.pem`, if there, are the root that comes after: devices are
//! told of it in advance, so that the change of roots locks nobody out.
//!
//! Not here: which devices are known and what they may do (`relay-store`), the device's end of
//! things (`gridbeat-link`), enrolment by code.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{DeviceId, Random, Redacted, Remedy, WallTime};
use gridbeat_link::{
    DeviceBundle, ENDPOINT_KEY_BYTES, EndpointKey, device_uri, read_private, write_private,
};
use gridbeat_sync_protocol::Signer;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How long a device's certificate is good: the longest lease of the engine's rules (section 8). A
/// device that never calls again loses access by itself after it.
pub const DEVICE_LIFETIME: Duration = Duration::from_secs(30 * DAY_S);

/// How long the relay's own certificate is good. Long, because a device whose clock runs ahead would
/// refuse it; it is issued anew at a start with less than half of this left.
const RELAY_LIFETIME: Duration = Duration::from_secs(5 * 365 * DAY_S);

/// How long a root is good: longer than any relay runs without its operator thinking of it.
const ROOT_LIFETIME: Duration = Duration::from_secs(30 * 365 * DAY_S);

/// How far back a certificate's beginning is set, for devices whose clock runs behind.
const BACKDATE: Duration = Duration::from_secs(7 * DAY_S);

const DAY_S: u64 = 24 * 60 * 60;

const ROOT: &str = "root";
const NEXT: &str = "next";
const RELAY: &str = "relay";
const ENDPOINT_KEY: &str = "endpoint.key";
const RECEIPT_KEY: &str = "receipt.key";
const SERVER_NAME: &str = "server-name";

/// The certificate authority of one relay.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    server_name: String,
    roots: Vec<CertificateDer<'static>>,
}

/// What a relay shows its devices.
#[derive(Debug)]
pub struct RelayIdentity {
    /// Its certificate.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The certificate's key.
    pub key: PrivateKeyDer<'static>,
    /// The key its connection ids follow from.
    pub endpoint: EndpointKey,
    /// Who signs its receipts.
    pub receipts: Signer,
}

impl Authority {
    /// Opens the authority in `dir`, or makes one there for a relay called `server_name`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be used, or what lies there is no authority, or is one for a relay of
    /// another name.
    pub fn open_or_create(
        dir: &Path,
        server_name: &str,
        now: WallTime,
    ) -> Result<Self, AuthorityError> {
        if !dir.join(pem_name(ROOT)).exists() {
            fs::create_dir_all(dir)?;
            make_root(dir, ROOT, now)?;
            fs::write(dir.join(SERVER_NAME), server_name)?;
        }
        let authority = Self::open(dir)?;
        if authority.server_name != server_name {
            return Err(AuthorityError::OtherName {
                asked: server_name.to_owned(),
                found: authority.server_name,
            });
        }
        Ok(authority)
    }

    /// Opens the authority in `dir`.
    ///
    /// # Errors
    ///
    /// When there is none, or it is damaged.
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let mut roots = vec![read_certificate(dir, ROOT)?];
        if dir.join(pem_name(NEXT)).exists() {
            roots.push(read_certificate(dir, NEXT)?);
        }
        Ok(Self {
            server_name: fs::read_to_string(dir.join(SERVER_NAME))?.trim().to_owned(),
            dir: dir.to_owned(),
            roots,
        })
    }

    /// Returns the roots that vouch for devices and the relay: the present, then the next if there is.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Returns the name in the relay's certificate.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Reads the relay's certificate and keys; makes them first, or anew, when they are missing or
    /// have less than half their time left.
    ///
    /// # Errors
    ///
    /// When files cannot be read or written, or the root key is needed and not there.
    pub fn relay_identity(
        &self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<RelayIdentity, AuthorityError> {
        let due = self.dir.join("relay.renew-after-ms");
        let renew_after = fs::read_to_string(&due)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(i64::MIN);
        if now.millis() >= renew_after {
            let names = [SanType::DnsName(self.server_name.as_str().try_into()?)];
            let (certificate, key) = self.issue(
                &self.server_name,
                names,
                ExtendedKeyUsagePurpose::ServerAuth,
                now,
                RELAY_LIFETIME,
            )?;
            write_private(&self.dir.join(key_name(RELAY)), key.as_bytes())?;
            fs::write(self.dir.join(pem_name(RELAY)), certificate.pem())?;
            fs::write(&due, now.plus(RELAY_LIFETIME / 2).millis().to_string())?;
        }
        let endpoint = self.secret::<ENDPOINT_KEY_BYTES>(ENDPOINT_KEY, random)?;
        Ok(RelayIdentity {
            certificates: vec![read_certificate(&self.dir, RELAY)?],
            key: PrivateKeyDer::from_pem_slice(&read_private(&self.dir.join(key_name(RELAY)))?)
                .map_err(|_| AuthorityError::Damaged {
                    file: key_name(RELAY),
                })?,
            endpoint: EndpointKey::from_bytes(endpoint),
            receipts: self.receipts(random)?,
        })
    }

    /// Returns who signs the relay's receipts; draws the key first if there is none.
    ///
    /// # Errors
    ///
    /// When its file cannot be read or written.
    pub fn receipts(&self, random: &mut Random) -> Result<Signer, AuthorityError> {
        Ok(Signer::from_seed(&self.secret(RECEIPT_KEY, random)?))
    }

    /// Reads a secret of its own file; draws it first if there is none.
    fn secret<const N: usize>(
        &self,
        name: &str,
        random: &mut Random,
    ) -> Result<[u8; N], AuthorityError> {
        let path = self.dir.join(name);
        if !path.exists() {
            write_private(&path, &random.bytes::<N>())?;
        }
        let secret = read_private(&path)?.try_into();
        secret.map_err(|_| AuthorityError::Damaged {
            file: name.to_owned(),
        })
    }

    /// Issues what `device` needs to reach the relay at `relay` (`host:port`).
    ///
    /// The certificate alone opens nothing: the device must also be in the relay's table.
    ///
    /// # Errors
    ///
    /// When the root key is missing or damaged.
    pub fn issue_device(
        &self,
        device: DeviceId,
        relay: &str,
        now: WallTime,
        lifetime: Duration,
    ) -> Result<DeviceBundle, AuthorityError> {
        let (certificate, key) = self.issue(
            &device.to_string(),
            [SanType::URI(device_uri(device).as_str().try_into()?)],
            ExtendedKeyUsagePurpose::ClientAuth,
            now,
            lifetime,
        )?;
        Ok(DeviceBundle {
            relay: relay.to_owned(),
            server_name: self.server_name.clone(),
            pins: self.roots.clone(),
            device,
            certificates: vec![certificate.into()],
            key: Redacted::new(key),
            issued: now,
        })
    }

    /// Makes the root that comes after the present one, so that bundles issued from here on know it.
    ///
    /// # Errors
    ///
    /// When files cannot be written.
    pub fn prepare_next_root(&mut self, now: WallTime) -> Result<(), AuthorityError> {
        if self.roots.len() == 1 {
            self.roots.push(make_root(&self.dir, NEXT, now)?);
        }
        Ok(())
    }

    /// Makes the next root the present one. Devices without it in their bundle are locked out, and
    /// certificates issued under the old root are no longer good.
    ///
    /// # Errors
    ///
    /// When there is no next root, or files cannot be moved.
    pub fn promote_next_root(&mut self) -> Result<(), AuthorityError> {
        if self.roots.len() < 2 {
            return Err(AuthorityError::NoNextRoot);
        }
        // The key first: a stop in between leaves a root without its key, which the next issue names.
        fs::rename(self.dir.join(key_name(NEXT)), self.dir.join(key_name(ROOT)))?;
        fs::rename(self.dir.join(pem_name(NEXT)), self.dir.join(pem_name(ROOT)))?;
        fs::write(self.dir.join("relay.renew-after-ms"), "0")?;
        self.roots.remove(0);
        Ok(())
    }

    fn issue<const N: usize>(
        &self,
        name: &str,
        alternative_names: [SanType; N],
        usage: ExtendedKeyUsagePurpose,
        now: WallTime,
        lifetime: Duration,
    ) -> Result<(rcgen::Certificate, String), AuthorityError> {
        let root_key = read_private(&self.dir.join(key_name(ROOT)))?;
        let root_key = KeyPair::from_pem(&String::from_utf8_lossy(&root_key))?;
        let root = fs::read_to_string(self.dir.join(pem_name(ROOT)))?;
        let issuer = Issuer::from_ca_cert_pem(&root, root_key)?;

        // A device signs what it pushes by the same key (`PROTOCOL.md`, 4.10).
        let algorithm = if usage == ExtendedKeyUsagePurpose::ClientAuth {
            &PKCS_ED25519
        } else {
            &PKCS_ECDSA_P256_SHA256
        };
        let key = KeyPair::generate_for(algorithm)?;
        let mut params = params(name, now, lifetime);
        params.subject_alt_names = alternative_names.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // What keeps a device's certificate from passing as a relay's.
        params.extended_key_usages = vec![usage];
        Ok((params.signed_by(&key, &issuer)?, key.serialize_pem()))
    }
}

fn make_root(
    dir: &Path,
    stem: &str,
    now: WallTime,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = params("Gridbeat relay authority", now, ROOT_LIFETIME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = params.self_signed(&key)?;
    write_private(&dir.join(key_name(stem)), key.serialize_pem().as_bytes())?;
    fs::write(dir.join(pem_name(stem)), certificate.pem())?;
    Ok(certificate.into())
}

fn params(name: &str, now: WallTime, lifetime: Duration) -> CertificateParams {
    let at = |wall: WallTime| {
        let since = u64::try_from(wall.millis()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(since)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let backdate = i64::try_from(BACKDATE.as_millis()).unwrap_or(0);
    params.not_before = at(WallTime(now.millis().saturating_sub(backdate)));
    params.not_after = at(now.plus(lifetime));
    params.use_authority_key_identifier_extension = true;
    params
}

fn read_certificate(dir: &Path, stem: &str) -> Result<CertificateDer<'static>, AuthorityError> {
    let name = pem_name(stem);
    CertificateDer::from_pem_slice(&fs::read(dir.join(&name))?)
        .map_err(|_| AuthorityError::Damaged { file: name })
}

fn pem_name(stem: &str) -> String {
    format!("{stem}.pem")
}

fn key_name(stem: &str) -> String {
    format!("{stem}.key")
}

/// Why the authority could not be opened, or did not issue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file could not be read or written; `PermissionDenied` also when others may read a key.
    #[error("a file of the authority cannot be used")]
    File(#[from] io::Error),
    /// A certificate could not be made: a bad name, or a damaged root key.
    #[error("the certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A file does not hold what its name says.
    #[error("`{file}` is damaged")]
    Damaged {
        /// The file's name within the authority's directory.
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
    /// There is no next root to promote.
    #[error("no next root was prepared")]
    NoNextRoot,
}

impl AuthorityError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::File(_) | Self::Certificate(_) | Self::OtherName { .. } | Self::NoNextRoot => {
                Remedy::FixSetup
            }
            Self::Damaged { .. } => Remedy::Restore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridbeat_link::{device_of_certificate, device_tls, key_of_certificate, relay_tls};

    const NOW: WallTime = WallTime(1_790_000_000_000);
    const NAME: &str = "relay.gridbeat";

    fn device() -> DeviceId {
        DeviceId::from_bytes([9; 16])
    }

    #[test]
    fn an_authority_made_once_is_opened_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::open_or_create(dir.path(), NAME, NOW).unwrap();
        let opened = Authority::open_or_create(dir.path(), NAME, NOW).unwrap();
        assert_eq!(made.roots(), opened.roots());
        let error = Authority::open_or_create(dir.path(), "other.name", NOW).unwrap_err();
        assert!(matches!(error, AuthorityError::OtherName { .. }), "{error}");
    }

    #[test]
    fn what_it_issues_makes_both_ends_of_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NAME, NOW).unwrap();
        let bundle = authority
            .issue_device(device(), "127.0.0.1:1", NOW, DEVICE_LIFETIME)
            .unwrap();
        assert_eq!(device_of_certificate(&bundle.certificates[0]), Ok(device()));
        device_tls(&bundle).unwrap();
        let signer = bundle.signer().unwrap().unwrap();
        let certified = key_of_certificate(&bundle.certificates[0]);
        assert_eq!(certified, Ok(Some(signer.public_key())));
        let identity = authority
            .relay_identity(NOW, &mut Random::from_number(1))
            .unwrap();
        relay_tls(authority.roots(), identity.certificates, identity.key).unwrap();
    }

    #[test]
    fn a_relay_keeps_its_certificate_until_half_its_time_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(dir.path(), NAME, NOW).unwrap();
        let mut random = Random::from_number(1);
        let mut certificate = |now| {
            authority
                .relay_identity(now, &mut random)
                .unwrap()
                .certificates
        };
        let first = certificate(NOW);
        assert_eq!(certificate(NOW.plus(RELAY_LIFETIME / 3)), first);
        assert_ne!(certificate(NOW.plus(RELAY_LIFETIME / 2)), first);
    }

    #[test]
    fn the_next_root_is_told_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut authority = Authority::open_or_create(dir.path(), NAME, NOW).unwrap();
        assert!(matches!(
            authority.promote_next_root(),
            Err(AuthorityError::NoNextRoot)
        ));
        authority.prepare_next_root(NOW).unwrap();
        let bundle = authority
            .issue_device(device(), "127.0.0.1:1", NOW, DEVICE_LIFETIME)
            .unwrap();
        assert_eq!(bundle.pins.len(), 2);
        authority.promote_next_root().unwrap();
        assert_eq!(authority.roots(), &bundle.pins[1..]);
        assert_eq!(
            Authority::open(dir.path()).unwrap().roots(),
            &bundle.pins[1..]
        );
    }
}
