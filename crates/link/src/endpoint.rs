//! A relay's key that survives its restart.
//!
//! A relay that was restarted knows none of the connections its devices still hold. From this key it
//! makes the same connection ids and the same stateless-reset tokens as before, so that the first
//! packet of such a connection is answered by a reset (RFC 9000, 10.3) and the device dials anew
//! within one round trip, where it would otherwise probe a connection nobody remembers.

use std::sync::Arc;

use gridbeat_base::Redacted;
use quinn::EndpointConfig;
use quinn::crypto::{CryptoError, HmacKey};
use quinn_proto::HashedConnectionIdGenerator;

/// Length of an [`EndpointKey`].
pub const ENDPOINT_KEY_BYTES: usize = 32;

const RESET_CONTEXT: &str = "gridbeat 2026 relay stateless reset";
const ID_CONTEXT: &str = "gridbeat 2026 relay connection ids";

/// The secret a relay keeps for its endpoint.
#[derive(Clone, Debug)]
pub struct EndpointKey(Redacted<[u8; ENDPOINT_KEY_BYTES]>);

impl EndpointKey {
    /// Makes a key from random bytes that nobody else knows.
    pub const fn from_bytes(bytes: [u8; ENDPOINT_KEY_BYTES]) -> Self {
        Self(Redacted::new(bytes))
    }

    /// Returns the bytes to keep.
    pub const fn reveal(&self) -> &[u8; ENDPOINT_KEY_BYTES] {
        self.0.reveal()
    }

    /// Returns endpoint settings that follow from the key.
    pub fn endpoint_config(&self) -> EndpointConfig {
        let reset = blake3::derive_key(RESET_CONTEXT, self.reveal());
        let ids = blake3::derive_key(ID_CONTEXT, self.reveal());
        let (id_key, _) = ids.split_first_chunk().expect("32 bytes hold 8");
        let id_key = u64::from_le_bytes(*id_key);
        let mut config = EndpointConfig::new(Arc::new(ResetKey(reset)));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(id_key)));
        config
    }
}

/// Keyed BLAKE3 in the place of an HMAC: any pseudo-random function of 16 bytes or more will do.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let hash = blake3::keyed_hash(&self.0, data);
        signature_out.copy_from_slice(hash.as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Comparing two `blake3::Hash` takes the same time wherever they differ.
        let expected = blake3::keyed_hash(&self.0, data);
        match blake3::Hash::from_slice(signature) {
            Ok(signature) if signature == expected => Ok(()),
            Ok(_) | Err(_) => Err(CryptoError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_data_alone() {
        let key = ResetKey([1; 32]);
        let mut signature = vec![0; key.signature_len()];
        key.sign(b"connection", &mut signature);
        assert!(key.verify(b"connection", &signature).is_ok());
        assert!(key.verify(b"another", &signature).is_err());
        assert!(key.verify(b"connection", &signature[1..]).is_err());
        assert!(ResetKey([2; 32]).verify(b"connection", &signature).is_err());
    }

    #[test]
    fn a_key_prints_nothing_of_itself() {
        let printed = format!("{:?}", EndpointKey::from_bytes([0x5a; 32]));
        assert_eq!(printed, "EndpointKey(…)");
    }
}
