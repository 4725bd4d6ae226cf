//! The key a device's file is encrypted with.

use gridbeat_base::Redacted;
use zeroize::{Zeroize as _, Zeroizing};

/// Length of a [`DatabaseKey`].
pub const DATABASE_KEY_BYTES: usize = 32;

/// A key for a device's file: 256 random bits, used as they are, without a derivation that would slow
/// every opening down.
///
/// It prints as `…`, and its memory is overwritten when it is dropped. What SQLite copies of it while
/// it opens the file is beyond us.
#[derive(Debug)]
pub struct DatabaseKey(Redacted<Zeroizing<[u8; DATABASE_KEY_BYTES]>>);

impl DatabaseKey {
    /// Makes a key from random bytes that nobody else knows, and overwrites them.
    pub fn take(bytes: &mut [u8; DATABASE_KEY_BYTES]) -> Self {
        let key = Self(Redacted::new(Zeroizing::new(*bytes)));
        bytes.zeroize();
        key
    }

    /// Returns the bytes, for whoever keeps them.
    pub fn reveal(&self) -> &[u8; DATABASE_KEY_BYTES] {
        self.0.reveal()
    }

    /// Returns the key as SQLCipher's literal of a raw key: `x'…'`.
    pub(crate) fn literal(&self) -> Zeroizing<String> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // All of its room at once: a string that grows leaves its beginning behind.
        let mut literal = Zeroizing::new(String::with_capacity(2 * DATABASE_KEY_BYTES + 3));
        literal.push_str("x'");
        for byte in self.reveal() {
            for digit in [byte >> 4, byte & 0xf] {
                literal.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        literal.push('\'');
        literal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_printed_as_nothing_and_written_as_a_literal() {
        let mut bytes = [0x0f; DATABASE_KEY_BYTES];
        bytes[0] = 0xa9;
        let key = DatabaseKey::take(&mut bytes);
        assert_eq!(bytes, [0; DATABASE_KEY_BYTES]);
        assert_eq!(format!("{key:?}"), "DatabaseKey(…)");
        assert_eq!(*key.literal(), format!("x'a9{}'", "0f".repeat(31)));
    }
}
