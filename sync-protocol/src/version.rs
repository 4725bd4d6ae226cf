//! Which versions of the protocol this program speaks, and which one a session takes.

use crate::{PackForm, Versions};

/// The newest version this program speaks.
pub const VERSION_NEWEST: u16 = 5;

/// The oldest version this program speaks.
pub const VERSION_OLDEST: u16 = 1;

/// The version from which on leaving is spoken of: notices, removals and their acknowledgements.
pub const VERSION_OF_LEAVING: u16 = 2;

/// The version from which on changes may travel taken apart.
pub const VERSION_OF_APART: u16 = 3;

/// The version from which on a scope may come as a snapshot first.
pub const VERSION_OF_SNAPSHOTS: u16 = 3;

/// The version from which on blobs travel: offers, parts and what is asked for.
pub const VERSION_OF_BLOBS: u16 = 4;

/// The version from which on devices tell where they are.
pub const VERSION_OF_POSITIONS: u16 = 5;

/// The version from which on blobs of one chunk are brought, without being offered.
pub const VERSION_OF_BRINGING: u16 = 5;

/// The name of the protocol in TLS's application-layer negotiation (ALPN).
pub const ALPN: &[u8] = b"gridbeat/1";

impl PackForm {
    /// Returns the smallest form in sessions of a version.
    pub(crate) const fn of_version(version: u16) -> Self {
        if version >= VERSION_OF_APART {
            Self::Apart
        } else {
            Self::Whole
        }
    }

    /// Returns whether sessions of a version have this form.
    pub(crate) const fn is_of(self, version: u16) -> bool {
        matches!(self, Self::Whole) || version >= VERSION_OF_APART
    }
}

impl Versions {
    /// The versions this program speaks.
    pub const SPOKEN: Self = Self {
        newest: VERSION_NEWEST,
        oldest: VERSION_OLDEST,
    };

    /// Returns whether `version` is in the range.
    pub const fn contain(self, version: u16) -> bool {
        self.oldest <= version && version <= self.newest
    }

    /// Returns the newest version in both ranges.
    pub fn common(self, other: Self) -> Option<u16> {
        // PROTOCOL 3.2: a session takes the newest version that both speak.
        let newest = self.newest.min(other.newest);
        (self.contain(newest) && other.contain(newest)).then_some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: (u16, u16), b: (u16, u16), expected: Option<u16>) {
        let range = |(oldest, newest)| Versions { newest, oldest };
        assert_eq!(range(a).common(range(b)), expected);
        assert_eq!(range(b).common(range(a)), expected);
    }

    #[test]
    fn a_session_takes_the_newest_version_that_both_speak() {
        check((1, 1), (1, 1), Some(1));
        check((1, 3), (2, 5), Some(3));
        check((1, 2), (1, 5), Some(2));
        check((1, 2), (3, 5), None);
        check((5, 1), (1, 5), None);
    }
}
