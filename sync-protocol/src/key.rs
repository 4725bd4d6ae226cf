//! Keys that sign and are verified: Ed25519 (RFC 8032) under one suite's number.
//!
//! Signing needs no randomness: the same key and bytes give the same signature everywhere. What is
//! signed begins with a context, so that a signature for one purpose, or of TLS with the same key,
//! never passes for another. Not here: what is signed (`batch`), where keys lie (the shells).

use core::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

/// The suite of Ed25519 signatures over SHA-256 hashes; others may come (`PROTOCOL.md`, 4.11).
pub const SUITE: u64 = 1;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What stands before a secret key in PKCS #8 of either version (RFC 8410, 7 and 10.3), behind the
/// outer length and the version.
const PKCS8_HEAD: [u8; 11] = [
    0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What stands before a public key in a certificate (RFC 8410, 4).
const PUBLIC_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Signs as one device or one relay. Prints as `…`.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// Makes one from 32 secret bytes that nobody else uses.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads a private key in PKCS #8, DER; `None` if it is not an Ed25519 key.
    pub fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let [0x30, length, 0x02, 0x01, 0x00 | 0x01, rest @ ..] = der else {
            return None;
        };
        if usize::from(*length) + 2 != der.len() {
            return None;
        }
        let seed = rest.strip_prefix(&PKCS8_HEAD)?.first_chunk::<32>()?;
        Some(Self::from_seed(seed))
    }

    /// Returns the key that its signatures are verified by.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs bytes, which begin with the context of what they are.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// A key that signatures are verified by.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Makes one from its 32 bytes; `None` if they are no key, or one that anybody can sign for.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// Reads a certificate's subject public key info, DER; `None` if it is not an Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let bytes = der.strip_prefix(&PUBLIC_HEAD)?;
        Self::from_bytes(bytes.try_into().ok()?)
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns whether a signature over bytes is this key's. Stricter than RFC 8032 asks: of two
    /// verifiers, none takes what the other refuses.
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(bytes, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.bytes().iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A signature.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// Makes one from its bytes, which may be anybody's.
    pub const fn from_bytes(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns its bytes.
    pub const fn bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "{first:02x}{second:02x}…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNED: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn hex<const N: usize>(digits: &str) -> [u8; N] {
        let pair = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
        core::array::from_fn(pair)
    }

    #[test]
    fn signatures_are_those_of_the_standard() {
        let signer = Signer::from_seed(&hex(SEED));
        assert_eq!(signer.public_key().bytes(), &hex::<32>(PUBLIC));
        assert_eq!(signer.sign(&[0x72]).bytes(), &hex::<64>(SIGNED));
    }

    #[test]
    fn a_signature_is_good_for_its_bytes_and_its_key_alone() {
        let (one, other) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
        let signature = one.sign(b"bytes");
        assert!(one.public_key().verifies(b"bytes", &signature));
        assert!(!one.public_key().verifies(b"byte", &signature));
        assert!(!other.public_key().verifies(b"bytes", &signature));
        for place in 0..SIGNATURE_BYTES {
            let mut bytes = *signature.bytes();
            bytes[place] ^= 1;
            let forged = Signature::from_bytes(bytes);
            assert!(!one.public_key().verifies(b"bytes", &forged), "{place}");
        }
    }

    #[test]
    fn keys_are_read_from_what_certificates_and_their_key_files_hold() {
        let signer = Signer::from_seed(&hex(SEED));
        let public = signer.public_key();
        let (mut first, mut second) = (vec![0x30, 0x2e, 2, 1, 0], vec![0x30, 0x51, 2, 1, 1]);
        for der in [&mut first, &mut second] {
            der.extend_from_slice(&PKCS8_HEAD);
            der.extend_from_slice(&hex::<32>(SEED));
        }
        second.extend_from_slice(&[0x81, 0x21, 0x00]);
        second.extend_from_slice(public.bytes());
        for der in [first, second] {
            assert_eq!(Signer::from_pkcs8(&der).unwrap().public_key(), public);
            for end in 0..der.len() {
                assert!(Signer::from_pkcs8(&der[..end]).is_none(), "{end}");
            }
        }
        let mut spki = PUBLIC_HEAD.to_vec();
        spki.extend_from_slice(public.bytes());
        assert_eq!(PublicKey::from_spki(&spki), Some(public));
        assert_eq!(PublicKey::from_spki(&spki[..40]), None);
        assert_eq!(PublicKey::from_bytes(&[0; 32]), None, "a weak key");
    }
}
