//! The root of a relay's authority: the key that vouches for the relay's issuing key, and nothing else.
//!
//! A folder of its own holds it, `root.pem`, and `next.pem` while a change of roots is under way: each a
//! key and its certificate in one file, for its owner alone. The relay never reads them: whoever takes over
//! the relay does not get them if the folder lies elsewhere, and then the issuing key can be replaced
//! without a visit to any device. Not here: what the relay holds (`authority`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gridbeat_base::{Random, WallTime};
use gridbeat_link::{read_private, write_private};
use rcgen::{BasicConstraints, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::certificates::{AuthorityError, DAY_S, params, read_key};

/// How long a root is good: longer than any relay runs without its operator thinking of it.
const ROOT_LIFETIME: Duration = Duration::from_secs(30 * 365 * DAY_S);

/// How long an issuing certificate is good: who stole its key can pass for the relay until it ends, and an
/// operator has to fetch the root before it does. Two years, and three months of warnings.
const ISSUER_LIFETIME: Duration = Duration::from_secs(2 * 365 * DAY_S);

const ROOT: &str = "root.pem";
const NEXT: &str = "next.pem";

/// The folder of a relay's root.
#[derive(Debug)]
pub(crate) struct RootFolder(PathBuf);

/// A key that issues, and its certificate.
pub(crate) struct Issuing {
    pub(crate) key_pem: String,
    pub(crate) certificate: rcgen::Certificate,
}

impl RootFolder {
    pub(crate) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Makes the root if there is none; returns its certificate.
    pub(crate) fn open_or_create(
        &self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.make(ROOT, now, random)
    }

    /// Makes the root that comes after the present one if there is none; returns its certificate.
    pub(crate) fn prepare_next(
        &self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.make(NEXT, now, random)
    }

    /// Makes the next root the present one, unless that is done already.
    pub(crate) fn promote_next(&self, next: &CertificateDer<'_>) -> Result<(), AuthorityError> {
        let path = self.0.join(NEXT);
        if path.exists() {
            fs::rename(path, self.0.join(ROOT))?;
        }
        self.check(next)
    }

    /// Checks that the root here is the one with that certificate.
    pub(crate) fn check(&self, root: &CertificateDer<'_>) -> Result<(), AuthorityError> {
        let (_, certificate) = self.read(ROOT)?;
        if certificate != *root {
            return Err(AuthorityError::OtherRoot {
                folder: self.0.clone(),
            });
        }
        Ok(())
    }

    /// Makes an issuing key, and vouches for it.
    pub(crate) fn issue(
        &self,
        now: WallTime,
        random: &mut Random,
    ) -> Result<Issuing, AuthorityError> {
        let (key, root) = self.read(ROOT)?;
        let root = Issuer::from_ca_cert_der(&root, key)?;
        let key = KeyPair::generate()?;
        let mut params = params("Gridbeat relay", now, now.plus(ISSUER_LIFETIME), random);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Issuing {
            certificate: params.signed_by(&key, &root)?,
            key_pem: key.serialize_pem(),
        })
    }

    fn make(
        &self,
        name: &str,
        now: WallTime,
        random: &mut Random,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        if !self.0.join(name).exists() {
            fs::create_dir_all(&self.0)?;
            let key = KeyPair::generate()?;
            let mut params = params("Gridbeat root", now, now.plus(ROOT_LIFETIME), random);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let certificate = params.self_signed(&key)?;
            let text = key.serialize_pem() + &certificate.pem();
            write_private(&self.0.join(name), text.as_bytes())?;
        }
        Ok(self.read(name)?.1)
    }

    fn read(&self, name: &str) -> Result<(KeyPair, CertificateDer<'static>), AuthorityError> {
        let path = self.0.join(name);
        if !path.exists() {
            return Err(AuthorityError::NoRoot {
                folder: self.0.clone(),
            });
        }
        let text = read_private(&path)?;
        let certificate =
            CertificateDer::from_pem_slice(&text).map_err(|_| AuthorityError::Damaged {
                file: name.to_owned(),
            })?;
        Ok((read_key(&text)?, certificate))
    }
}
