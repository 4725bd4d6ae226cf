//! The relay's private certificate authority: what issues the relay's own certificate and its devices'.
//!
//! A directory holds it. `issuer.pem` has the issuing key, its certificate and those before it whose
//! devices may still come; `relay.pem` the relay's key and certificate; `roots.pem` the certificates alone
//! of the root that vouches for the issuing key, and of the one that comes after, if there is:
//! devices are told of it in advance, so that a change of roots locks nobody out. The keys of the roots lie in
//! a folder of their own (`root`), which the relay does not need.
//!
//! Devices show their certificate alone, since the relay trusts the issuing certificates directly. Not
//! here: which devices are known and what they may do (`relay-store`), the device's end of things
//! (`gridbeat-link`).
//!
//! Long because half of it is tests of what an authority goes through.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{DeviceId, Random, WallTime};
use gridbeat_link::{ENDPOINT_KEY_BYTES, EndpointKey, device_uri, read_private, write_private};
use gridbeat_relay_store::LEASE_GRACE;
use gridbeat_sync_protocol::{Pin, PublicKey, Signer};
use rcgen::{
    ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData,
    SanType, SignatureAlgorithm,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::{
    AuthorityError, DAY_S, damaged, end_of, key_ids, params, read_certificates, read_key, to_pem,
    write_certificates,
};
use crate::root::RootFolder;

/// How long a lease is if nothing else is said: three weeks, in the middle of what is allowed.
pub const LEASE_DAYS_DEFAULT: u64 = 21;

/// Shortest lease: whoever is away for a fortnight need not be renewed by an operator.
pub const LEASE_DAYS_MIN: u64 = 14;

/// Longest lease: a device that never calls again loses access by itself after it.
pub const LEASE_DAYS_MAX: u64 = 30;

/// A lease is renewed from a third of its life on: two thirds are left for a device that is away.
const RENEW_PART: u32 = 3;

/// How long before the end of the issuing certificate the operator is warned.
const ISSUER_WARNING: Duration = Duration::from_secs(90 * DAY_S);

const ROOTS: &str = "roots.pem";
const ISSUER: &str = "issuer.pem";
const RELAY: &str = "relay.pem";
const ENDPOINT_KEY: &str = "endpoint.key";
const RECEIPT_KEY: &str = "receipt.key";
const SERVER_NAME: &str = "server-name";

/// The certificate authority of one relay, without its root's key.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    server_name: String,
    roots: Vec<CertificateDer<'static>>,
    // Invariant: at least one, the present one first.
    issuers: Vec<CertificateDer<'static>>,
    issuer_ends: WallTime,
}

/// What a relay shows its devices.
#[derive(Debug)]
pub struct RelayIdentity {
    /// Its certificate, then the issuing one.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The certificate's key.
    pub key: PrivateKeyDer<'static>,
    /// The key its connection ids follow from.
    pub endpoint: EndpointKey,
    /// Who signs its receipts.
    pub receipts: Signer,
}

/// A device's certificate, which is good for a while.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// When it was issued.
    pub issued: WallTime,
    /// From when on it may be renewed.
    pub renew_after: WallTime,
    /// When it ends.
    pub not_after: WallTime,
}

impl Authority {
    /// Opens the authority in `dir`, or makes one there for a relay called `server_name`, with its root in
    /// the folder `root`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be used, or what lies there is no authority, or is one for a relay of
    /// another name.
    pub fn open_or_create(
        dir: &Path,
        root: &Path,
        server_name: &str,
        now: WallTime,
        random: &mut Random,
    ) -> Result<Self, AuthorityError> {
        // Written last, so that a stop in between is made good here.
        if !dir.join(SERVER_NAME).exists() {
            fs::create_dir_all(dir)?;
            let folder = RootFolder::at(root);
            let certificate = folder.open_or_create(now, random)?;
            write_certificates(&dir.join(ROOTS), &[certificate])?;
            write_issuer(dir, &folder, &[], now, random)?;
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
        let server_name = fs::read_to_string(dir.join(SERVER_NAME))?;
        let roots = read_certificates(ROOTS, &fs::read(dir.join(ROOTS))?)?;
        let issuers = read_certificates(ISSUER, &read_private(&dir.join(ISSUER))?)?;
        Ok(Self {
            dir: dir.to_owned(),
            server_name: server_name.trim().to_owned(),
            roots,
            issuer_ends: end_of(ISSUER, &issuers[0])?,
            issuers,
        })
    }

    /// Returns the roots a relay is known by: the present, then the next if there is.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// Returns the pins of the roots, for an invitation.
    pub fn pins(&self) -> Vec<Pin> {
        self.roots.iter().map(|root| Pin::of(root)).collect()
    }

    /// Returns the certificates that vouch for devices: the present issuing one, then those before it.
    pub fn issuers(&self) -> &[CertificateDer<'static>] {
        &self.issuers
    }

    /// Returns when the issuing certificate ends. Without another by then, no device reaches the relay.
    pub const fn issuer_ends(&self) -> WallTime {
        self.issuer_ends
    }

    /// Returns whether that is so near that another should be made.
    pub fn is_issuer_due(&self, now: WallTime) -> bool {
        self.issuer_ends <= now.plus(ISSUER_WARNING)
    }

    /// Returns the name in the relay's certificate.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Reads the relay's certificate and keys; makes them first, or anew when there is another issuing
    /// certificate.
    ///
    /// # Errors
    ///
    /// When files cannot be read or written, or are damaged.
    pub fn relay_identity(
        &self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<RelayIdentity, AuthorityError> {
        let path = self.dir.join(RELAY);
        if !path.exists() || !self.is_current(&read_private(&path)?)? {
            let key = KeyPair::generate()?;
            let mut params = params(&self.server_name, now, self.issuer_ends, random);
            params.subject_alt_names =
                vec![SanType::DnsName(self.server_name.as_str().try_into()?)];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let certificate = params.signed_by(&key, &self.issuer()?)?;
            let text = key.serialize_pem() + &certificate.pem();
            write_private(&path, text.as_bytes())?;
        }
        let text = read_private(&path)?;
        let mut certificates = read_certificates(RELAY, &text)?;
        certificates.push(self.issuers[0].clone());
        let endpoint = self.secret::<ENDPOINT_KEY_BYTES>(ENDPOINT_KEY, random)?;
        Ok(RelayIdentity {
            certificates,
            key: PrivateKeyDer::from_pem_slice(&text).map_err(|_| damaged(RELAY))?,
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

    /// Whether the relay's certificate is by the present issuing key.
    fn is_current(&self, text: &[u8]) -> Result<bool, AuthorityError> {
        let relay = read_certificates(RELAY, text)?;
        let of_relay = key_ids(RELAY, &relay[0])?;
        let of_issuer = key_ids(ISSUER, &self.issuers[0])?;
        Ok(of_relay.issuer.is_some() && of_relay.issuer == of_issuer.subject)
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
        read_private(&path)?.try_into().map_err(|_| damaged(name))
    }

    /// Certifies a device's key for a while. The certificate alone opens nothing: the device must also be
    /// in the relay's table, with that key.
    ///
    /// # Errors
    ///
    /// When the issuing key is damaged, or its certificate has ended.
    pub fn certify(
        &self,
        device: DeviceId,
        key: &PublicKey,
        now: WallTime,
        lifetime: Duration,
        random: &mut Random,
    ) -> Result<Lease, AuthorityError> {
        if self.issuer_ends <= now {
            return Err(AuthorityError::IssuerEnded);
        }
        let not_after = whole_seconds(now.plus(lifetime).min(self.issuer_ends));
        let mut params = params(&device.to_string(), now, not_after, random);
        params.subject_alt_names = vec![SanType::URI(device_uri(device).as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // What keeps a device's certificate from passing as a relay's.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&DeviceKey(key), &self.issuer()?)?;
        Ok(Lease {
            certificate: certificate.into(),
            issued: now,
            renew_after: now.plus(lifetime / RENEW_PART),
            not_after,
        })
    }

    /// Makes another issuing key by the root in the folder `root`. Devices of the key before are served as
    /// ever; a running relay takes the new one when it is started again.
    ///
    /// # Errors
    ///
    /// When the folder does not hold this relay's root, or files cannot be written.
    pub fn renew_issuer(
        &mut self,
        root: &Path,
        now: WallTime,
        random: &mut Random,
    ) -> Result<(), AuthorityError> {
        let root = RootFolder::at(root);
        root.check(&self.roots[0])?;
        let mut kept = Vec::new();
        for issuer in &self.issuers {
            if end_of(ISSUER, issuer)?.plus(LEASE_GRACE) > now {
                kept.push(issuer.clone());
            }
        }
        write_issuer(&self.dir, &root, &kept, now, random)?;
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    /// Makes the root that comes after the present one, so that devices which enrol or renew from here on
    /// know it. Returns whether there was none yet: one that devices were told of is never replaced by another.
    ///
    /// # Errors
    ///
    /// When the folder does not hold this relay's root, or files cannot be written.
    pub fn prepare_next_root(
        &mut self,
        root: &Path,
        now: WallTime,
        random: &mut Random,
    ) -> Result<bool, AuthorityError> {
        if self.roots.len() > 1 {
            return Ok(false);
        }
        let root = RootFolder::at(root);
        root.check(&self.roots[0])?;
        let next = root.prepare_next(now, random)?;
        self.write_roots(vec![self.roots[0].clone(), next])?;
        Ok(true)
    }

    /// Makes the next root the present one, and another issuing key by it. Devices that do not know it are
    /// locked out; the certificates of those that do stay good.
    ///
    /// # Errors
    ///
    /// When there is no next root, the folder does not hold it, or files cannot be moved.
    pub fn promote_next_root(
        &mut self,
        root: &Path,
        now: WallTime,
        random: &mut Random,
    ) -> Result<(), AuthorityError> {
        let [_, next] = self.roots.as_slice() else {
            return Err(AuthorityError::NoNextRoot);
        };
        let next = next.clone();
        // Each step is safe to be the last one, and the next call goes on from there.
        let folder = RootFolder::at(root);
        folder.promote_next(&next)?;
        write_issuer(&self.dir, &folder, &self.issuers, now, random)?;
        self.write_roots(vec![next])?;
        *self = Self::open(&self.dir)?;
        Ok(())
    }

    fn write_roots(&mut self, roots: Vec<CertificateDer<'static>>) -> Result<(), AuthorityError> {
        write_certificates(&self.dir.join(ROOTS), &roots)?;
        self.roots = roots;
        Ok(())
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
        let text = read_private(&self.dir.join(ISSUER))?;
        let certificates = read_certificates(ISSUER, &text)?;
        Ok(Issuer::from_ca_cert_der(
            &certificates[0],
            read_key(&text)?,
        )?)
    }
}

/// A device's public key as certificates hold it.
struct DeviceKey<'k>(&'k PublicKey);

impl PublicKeyData for DeviceKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// Writes another issuing key and its certificate before those there were.
fn write_issuer(
    dir: &Path,
    root: &RootFolder,
    earlier: &[CertificateDer<'static>],
    now: WallTime,
    random: &mut Random,
) -> Result<(), AuthorityError> {
    let issuing = root.issue(now, random)?;
    let mut text = issuing.key_pem + &issuing.certificate.pem();
    text.extend(earlier.iter().map(|certificate| to_pem(certificate)));
    Ok(write_private(&dir.join(ISSUER), text.as_bytes())?)
}

/// Certificates tell time in whole seconds.
const fn whole_seconds(at: WallTime) -> WallTime {
    WallTime(at.0 - at.0.rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridbeat_link::{
        DeviceBundle, device_of_certificate, device_tls, key_of_certificate, make_device_key,
        relay_tls, signer_of,
    };
    use gridbeat_sync_protocol::Issued;

    const NOW: WallTime = WallTime(1_790_000_000_000);
    const NAME: &str = "relay.gridbeat";
    const LEASE: Duration = Duration::from_secs(LEASE_DAYS_DEFAULT * DAY_S);

    struct Place {
        dir: tempfile::TempDir,
        random: Random,
    }

    impl Place {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                random: Random::from_number(1),
            }
        }

        fn authority_dir(&self) -> PathBuf {
            self.dir.path().join("authority")
        }

        fn root(&self) -> PathBuf {
            self.dir.path().join("root")
        }

        fn open(&mut self) -> Authority {
            let (dir, root) = (self.authority_dir(), self.root());
            Authority::open_or_create(&dir, &root, NAME, NOW, &mut self.random).unwrap()
        }

        fn certificates(&mut self, authority: &Authority) -> Vec<CertificateDer<'static>> {
            let identity = authority.relay_identity(NOW, &mut self.random);
            identity.unwrap().certificates
        }

        fn lease(&mut self, authority: &Authority, now: WallTime) -> Lease {
            let key = Signer::from_seed(&[7; 32]).public_key();
            let lease = authority.certify(device(), &key, now, LEASE, &mut self.random);
            lease.unwrap()
        }
    }

    fn device() -> DeviceId {
        DeviceId::from_bytes([9; 16])
    }

    #[test]
    fn an_authority_made_once_is_opened_ever_after() {
        let mut place = Place::new();
        let made = place.open();
        let opened = place.open();
        assert_eq!(made.roots(), opened.roots());
        assert_eq!(made.issuers(), opened.issuers());
        let (dir, root) = (place.authority_dir(), place.root());
        let other = Authority::open_or_create(&dir, &root, "other.name", NOW, &mut place.random);
        let error = other.unwrap_err();
        assert!(matches!(error, AuthorityError::OtherName { .. }), "{error}");
    }

    #[test]
    fn what_it_issues_makes_both_ends_of_a_link() {
        let mut place = Place::new();
        let authority = place.open();
        let key = make_device_key(&mut place.random);
        let public = signer_of(&key).unwrap().public_key();
        let lease = authority.certify(device(), &public, NOW, LEASE, &mut place.random);
        let lease = lease.unwrap();
        let issued = Issued {
            device: device(),
            server_name: authority.server_name().to_owned(),
            pins: authority.roots().iter().map(|root| root.to_vec()).collect(),
            certificates: vec![lease.certificate.to_vec()],
            issued: lease.issued,
            renew_after: lease.renew_after,
            not_after: lease.not_after,
        };
        let bundle = DeviceBundle::from_issued("127.0.0.1:1", &issued, &key).unwrap();
        assert_eq!(device_of_certificate(&bundle.certificates[0]), Ok(device()));
        device_tls(&bundle).unwrap();
        let signer = bundle.signer().unwrap().unwrap();
        let certified = key_of_certificate(&bundle.certificates[0]);
        assert_eq!(certified, Ok(Some(signer.public_key())));
        let identity = authority.relay_identity(NOW, &mut place.random).unwrap();
        let (certificates, root) = (identity.certificates, &authority.roots()[0]);
        relay_tls(
            authority.issuers(),
            root,
            certificates,
            identity.key,
            LEASE_GRACE,
        )
        .unwrap();
    }

    #[test]
    fn a_relay_works_without_its_root_and_cannot_replace_its_issuing_key_without_it() {
        let mut place = Place::new();
        let mut authority = place.open();
        let elsewhere = place.dir.path().join("safe");
        fs::rename(place.root(), &elsewhere).unwrap();
        place.open();
        place.certificates(&authority);
        place.lease(&authority, NOW);
        let error = authority
            .renew_issuer(&place.root(), NOW, &mut place.random)
            .unwrap_err();
        assert!(matches!(error, AuthorityError::NoRoot { .. }), "{error}");
        authority
            .renew_issuer(&elsewhere, NOW, &mut place.random)
            .unwrap();
        let mut stranger = Place::new();
        stranger.open();
        let error = authority
            .renew_issuer(&stranger.root(), NOW, &mut place.random)
            .unwrap_err();
        assert!(matches!(error, AuthorityError::OtherRoot { .. }), "{error}");
    }

    #[test]
    fn nothing_of_the_root_but_its_certificate_lies_with_the_relay() {
        let mut place = Place::new();
        let authority = place.open();
        place.certificates(&authority);
        let keys = |dir: &Path| -> Vec<(String, usize)> {
            let mut files: Vec<_> = fs::read_dir(dir)
                .unwrap()
                .map(|file| {
                    let file = file.unwrap();
                    let text =
                        String::from_utf8_lossy(&fs::read(file.path()).unwrap()).into_owned();
                    let keys = text.matches("PRIVATE KEY-----\n").count() / 2;
                    (file.file_name().into_string().unwrap(), keys)
                })
                .filter(|(_, keys)| *keys > 0)
                .collect();
            files.sort();
            files
        };
        let expected = [("issuer.pem".to_owned(), 1), ("relay.pem".to_owned(), 1)];
        assert_eq!(keys(&place.authority_dir()), expected);
        assert_eq!(keys(&place.root()), [("root.pem".to_owned(), 1)]);
    }

    #[test]
    fn another_issuing_key_takes_the_relays_certificate_with_it_and_keeps_the_devices() {
        let mut place = Place::new();
        let mut authority = place.open();
        let first = place.certificates(&authority);
        assert_eq!(place.certificates(&authority), first);
        assert!(!authority.is_issuer_due(NOW));
        let near = authority.issuer_ends().plus(Duration::from_secs(DAY_S));
        assert!(authority.is_issuer_due(near));
        let root = place.root();
        authority
            .renew_issuer(&root, NOW, &mut place.random)
            .unwrap();
        let second = place.certificates(&authority);
        assert_ne!(second[0], first[0]);
        assert_eq!(second[1..], authority.issuers()[..1]);
        assert_eq!(
            authority.issuers()[1],
            first[1],
            "devices of before are served"
        );
        let long_after = authority.issuer_ends().plus(LEASE_GRACE);
        authority
            .renew_issuer(&root, long_after, &mut place.random)
            .unwrap();
        assert_eq!(
            authority.issuers().len(),
            1,
            "those that nobody can renew by are gone"
        );
    }

    #[test]
    fn a_lease_ends_in_time_and_never_after_what_vouches_for_it() {
        let mut place = Place::new();
        let authority = place.open();
        let lease = place.lease(&authority, NOW.plus(Duration::from_millis(1)));
        assert_eq!(lease.not_after, NOW.plus(LEASE));
        assert_eq!(
            end_of("lease", &lease.certificate).unwrap(),
            lease.not_after
        );
        let third = Duration::from_secs(7 * DAY_S);
        assert_eq!(lease.renew_after, lease.issued.plus(third));
        assert_ne!(
            lease,
            place.lease(&authority, NOW),
            "no two have one number"
        );
        let ends = authority.issuer_ends();
        let day_before = WallTime(ends.0 - 86_400_000);
        assert_eq!(place.lease(&authority, day_before).not_after, ends);
        let key = Signer::from_seed(&[7; 32]).public_key();
        let error = authority.certify(device(), &key, ends, LEASE, &mut place.random);
        assert!(matches!(error, Err(AuthorityError::IssuerEnded)));
    }

    #[test]
    fn the_next_root_is_told_before_it_is_used() {
        let mut place = Place::new();
        let mut authority = place.open();
        let root = place.root();
        assert!(matches!(
            authority.promote_next_root(&root, NOW, &mut place.random),
            Err(AuthorityError::NoNextRoot)
        ));
        authority
            .prepare_next_root(&root, NOW, &mut place.random)
            .unwrap();
        let told = authority.roots().to_vec();
        assert_eq!(told.len(), 2);
        // Its key may lie elsewhere meanwhile: it is not made anew.
        let (next, apart) = (root.join("next.pem"), place.dir.path().join("next.pem"));
        fs::rename(&next, &apart).unwrap();
        let again = authority.prepare_next_root(&root, NOW, &mut place.random);
        assert!(!again.unwrap());
        assert_eq!(authority.roots(), told);
        fs::rename(&apart, &next).unwrap();
        let issuers = authority.issuers().to_vec();
        // As after a stop behind the first step.
        fs::rename(root.join("next.pem"), root.join("root.pem")).unwrap();
        let mut authority = Authority::open(&place.authority_dir()).unwrap();
        authority
            .promote_next_root(&root, NOW, &mut place.random)
            .unwrap();
        assert_eq!(authority.roots(), &told[1..]);
        assert_eq!(
            authority.issuers()[1..],
            issuers,
            "the devices' certificates stay good"
        );
        assert_eq!(
            Authority::open(&place.authority_dir()).unwrap().roots(),
            &told[1..]
        );
    }
}
