//! The ids of documents, devices, scopes, changes and blobs.
//!
//! Each is a type of its own, so that one is never taken for another. All are minted on the device
//! that makes the thing, from the injected [`Random`]; a relay mints only its incarnation.

use core::fmt;
use core::str::FromStr;

use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Random, Remedy, WallTime};

/// Longest name of a [`Scope`], in bytes: a 15-digit cell code with a prefix and room to spare.
pub const SCOPE_BYTES_MAX: usize = 64;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Mints an id: a UUID of version 7, so that ids made later sort later.
            pub fn mint(wall: WallTime, random: &mut Random) -> Self {
                let millis = u64::try_from(wall.millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random.bytes()).into_uuid())
            }

            /// Makes an id from its 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Returns the id's 16 bytes.
            pub const fn bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::NotAUuid)
            }
        }

        cbor_bytes!($name, 16);
    };
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Makes one from its bytes.
            pub const fn new(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Makes one from its bytes.
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Returns its bytes.
            pub const fn bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in &self.0[..6] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; $size];
                let digits = text.as_bytes();
                if digits.len() != 2 * $size || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(IdError::NotHex { bytes: $size });
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = core::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
                    *byte = u8::from_str_radix(pair, 16).expect("both are hexadecimal digits");
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        cbor_bytes!($name, $size);
    };
}

macro_rules! cbor_bytes {
    ($name:ident, $size:literal) => {
        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(self.bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(
                d: &mut minicbor::Decoder<'b>,
                ctx: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                Ok(Self::from_bytes(ByteArray::<$size>::decode(d, ctx)?.into()))
            }
        }
    };
}

uuid_id! {
    /// Names one document for ever, on every device and relay.
    DocumentId
}

uuid_id! {
    /// Names one enrolled device; its certificate carries it.
    DeviceId
}

hash_id! {
    /// Names one change: the SHA-256 that Automerge gives it. A genesis change has the same name
    /// in every document of its kind, so a change is found by document *and* hash.
    ChangeHash, 32
}

hash_id! {
    /// Names a blob (a photo, a track segment) by its BLAKE3 hash.
    BlobHash, 32
}

hash_id! {
    /// Names the life of a relay's database; a restore from backup begins another.
    Incarnation, 16
}

hash_id! {
    /// Names one installation of the app: random, kept outside the file that backups copy. A file
    /// that meets a different one was restored or cloned.
    Install, 16
}

/// The unit of replication and of permission: a responsibility grid, a squad, a district's
/// reference data, one person. Opaque to the engine; 1 to [`SCOPE_BYTES_MAX`] bytes of printable text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Scope(Box<str>);

impl Scope {
    /// Makes a scope from its name.
    ///
    /// # Errors
    ///
    /// [`IdError::BadScope`] if the name is empty, too long or has control characters.
    pub fn new(name: &str) -> Result<Self, IdError> {
        if name.is_empty() || name.len() > SCOPE_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(IdError::BadScope);
        }
        Ok(Self(name.into()))
    }

    /// Returns the scope's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Scope {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::new(name)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<C> Encode<C> for Scope {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Scope {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(d.str()?).map_err(minicbor::decode::Error::custom)
    }
}

/// A text is not an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// A document or device id is a UUID: 32 hexadecimal digits, usually with hyphens.
    #[error("not a UUID")]
    NotAUuid,
    /// A hash is written in hexadecimal digits.
    #[error("not {bytes} bytes in hexadecimal digits")]
    NotHex {
        /// How many bytes there must be.
        bytes: usize,
    },
    /// A scope's name is empty, too long, or has control characters.
    #[error("a scope's name has 1 to 64 bytes and no control characters")]
    BadScope,
}

impl IdError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> Remedy {
        Remedy::FixInput
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_sort_later() {
        let mut random = Random::from_number(1);
        let first = DocumentId::mint(WallTime(1_000), &mut random);
        let second = DocumentId::mint(WallTime(2_000), &mut random);
        assert!(first < second);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(first.bytes()[6] >> 4, 7, "version 7");
    }

    #[test]
    fn a_hash_reads_back_what_it_prints_and_refuses_the_rest() {
        let hash = ChangeHash::new([0xab; 32]);
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in [
            "",
            "ab",
            &"zz".repeat(32),
            &"é".repeat(32),
            &"+a".repeat(32),
        ] {
            assert_eq!(
                bad.parse::<ChangeHash>(),
                Err(IdError::NotHex { bytes: 32 }),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_scope_has_a_printable_name() {
        assert!(Scope::new("330211001").is_ok());
        assert!(Scope::new("招宝山街道").is_ok());
        for bad in ["", "a\nb", &"x".repeat(65)] {
            assert_eq!(Scope::new(bad), Err(IdError::BadScope), "{bad:?}");
        }
    }

    #[test]
    fn ids_come_back_from_cbor() {
        let scope = Scope::new("招宝山街道").unwrap();
        let bytes = minicbor::to_vec(&scope).unwrap();
        assert_eq!(minicbor::decode::<Scope>(&bytes).unwrap(), scope);
        let hash = BlobHash::new([7; 32]);
        assert_eq!(
            minicbor::decode::<BlobHash>(&minicbor::to_vec(hash).unwrap()).unwrap(),
            hash
        );
        assert!(minicbor::decode::<Install>(&minicbor::to_vec(hash).unwrap()).is_err());
    }
}
