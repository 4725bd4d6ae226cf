//! A device's private key, made on the device.
//!
//! One Ed25519 key shakes hands and signs what is pushed (`PROTOCOL.md`, 4.10). It is kept as PKCS #8 PEM,
//! which every TLS library reads. Not here: where it is kept (`bundle`, `device`).

use gridbeat_base::{Random, Redacted};
use gridbeat_sync_protocol::Signer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::bundle::pem;

/// What stands before the 32 secret bytes in PKCS #8 (RFC 8410, 7).
const HEAD: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Makes a device's private key, as PKCS #8 PEM.
pub fn make_device_key(random: &mut Random) -> Redacted<String> {
    let seed: [u8; 32] = random.bytes();
    Redacted::new(pem("PRIVATE KEY", &[HEAD.as_slice(), &seed].concat()))
}

/// Returns what signs by a private key in PEM; `None` if it is not an Ed25519 key, or no key at all.
pub fn signer_of(key: &Redacted<String>) -> Option<Signer> {
    match PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()) {
        // Only this form, among those there are, holds such a key.
        Ok(PrivateKeyDer::Pkcs8(key)) => Signer::from_pkcs8(key.secret_pkcs8_der()),
        Ok(_) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;

    #[test]
    fn a_key_made_here_is_read_by_others_and_signs() {
        let key = make_device_key(&mut Random::from_number(1));
        let signer = signer_of(&key).unwrap();
        let read = KeyPair::from_pem(key.reveal()).unwrap();
        assert_eq!(read.public_key_raw(), signer.public_key().bytes());
        let other = make_device_key(&mut Random::from_number(2));
        assert_ne!(signer_of(&other).unwrap().public_key(), signer.public_key());
    }

    #[test]
    fn what_is_no_such_key_signs_nothing() {
        let other = KeyPair::generate().unwrap().serialize_pem();
        for text in [other, String::new(), "no key".to_owned()] {
            assert!(signer_of(&Redacted::new(text)).is_none());
        }
    }
}
