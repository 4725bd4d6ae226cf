//! What somebody may do in a scope: a set of seven verbs, stored and sent as one byte.
//!
//! The engine knows the verbs and nothing of roles: a role is a name for a set of them, given by whoever
//! knows the trade. Which change takes which verb is a kind's to say. Not here: who holds what.

use core::fmt;
use core::str::FromStr;

/// One thing that a grant may allow in a scope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verb {
    /// Receive the scope's documents.
    Read = 0,
    /// Begin new ones.
    Report = 1,
    /// Change what is there: fields, notes, work on the matter.
    Edit = 2,
    /// Say whether a matter is real or done.
    Check = 3,
    /// Decide who is to do it.
    Dispatch = 4,
    /// End it.
    Close = 5,
    /// Change what the scope itself is about: reference data, and other kinds that ask for it.
    Administer = 6,
}

impl Verb {
    /// Every verb, in the order of their bits.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Report,
        Self::Edit,
        Self::Check,
        Self::Dispatch,
        Self::Close,
        Self::Administer,
    ];

    /// Returns the word for it in files, on the command line and in JSON.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Report => "report",
            Self::Edit => "edit",
            Self::Check => "check",
            Self::Dispatch => "dispatch",
            Self::Close => "close",
            Self::Administer => "administer",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Verb {
    type Err = VerbsError;

    fn from_str(word: &str) -> Result<Self, VerbsError> {
        let found = Self::ALL.into_iter().find(|verb| verb.id() == word);
        found.ok_or_else(|| VerbsError::UnknownVerb {
            // Enough to recognise it by, however long it is.
            word: word.chars().take(32).collect(),
        })
    }
}

/// A set of verbs.
///
/// Whatever else is in it, [`Verb::Read`] is too: nobody changes what he may not see.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Verbs(
    // Invariant: of the bits 0 to 6; bit 0 is set unless all are clear. Only `closed` makes one.
    u8,
);

impl Verbs {
    /// No verb: no grant.
    pub const NONE: Self = Self(0);
    /// Read, and nothing else.
    pub const READ: Self = Self::of(&[]).with(Verb::Read);
    /// Everything that is done to documents: all but [`Verb::Administer`].
    pub const WORK: Self = Self(0b11_1111);
    /// Every verb.
    pub const ALL: Self = Self(0b111_1111);

    /// Returns the set of these verbs.
    pub const fn of(verbs: &[Verb]) -> Self {
        let mut set = Self::NONE;
        let mut rest = verbs;
        while let [verb, further @ ..] = rest {
            set = set.with(*verb);
            rest = further;
        }
        set
    }

    /// Returns the set of a byte: bit 0 is [`Verb::Read`], and so on in the order of [`Verb::ALL`].
    ///
    /// # Errors
    ///
    /// [`VerbsError::UnknownBits`] if bit 7 is set.
    pub const fn from_bits(bits: u8) -> Result<Self, VerbsError> {
        if bits > Self::ALL.0 {
            return Err(VerbsError::UnknownBits { bits });
        }
        Ok(Self::closed(bits))
    }

    /// Returns the set of those bits that stand for a verb: what a later version may add is left out.
    pub const fn known(bits: u64) -> Self {
        Self::closed(bits.to_le_bytes()[0] & Self::ALL.0)
    }

    /// Returns the set as a byte.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Returns the set with one verb more.
    #[must_use]
    pub const fn with(self, verb: Verb) -> Self {
        Self::closed(self.0 | verb.bit())
    }

    /// Returns what is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self::closed(self.0 | other.0)
    }

    /// Returns whether the verb is in the set.
    pub const fn contains(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    /// Returns whether no verb is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether it has any verb that changes documents.
    pub const fn may_change(self) -> bool {
        self.0 & !Verb::Read.bit() != 0
    }

    /// Returns the first verb of `needed` that is not in the set; [`Verb::Read`] only if it is all that is needed.
    pub fn lacks(self, needed: Self) -> Option<Verb> {
        let mut missing = needed.iter().filter(|verb| !self.contains(*verb));
        let first = missing.next();
        match first {
            Some(Verb::Read) => missing.next().or(first),
            _ => first,
        }
    }

    /// Lists its verbs, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL
            .into_iter()
            .filter(move |verb| self.contains(*verb))
    }

    const fn closed(bits: u8) -> Self {
        if bits == 0 {
            Self::NONE
        } else {
            Self(bits | Verb::Read.bit())
        }
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        verbs.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The verbs with commas between them; `none` for the empty set.
impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let words: Vec<&str> = self.iter().map(Verb::id).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads what [`Display`](fmt::Display) writes, spaces beside the commas allowed.
impl FromStr for Verbs {
    type Err = VerbsError;

    fn from_str(words: &str) -> Result<Self, VerbsError> {
        if words == "none" {
            return Ok(Self::NONE);
        }
        words.split(',').map(|word| word.trim().parse()).collect()
    }
}

/// Why something is no set of verbs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerbsError {
    /// The word is no verb.
    #[error(
        "{word:?} is no verb: the verbs are read, report, edit, check, dispatch, close, administer"
    )]
    UnknownVerb {
        /// Its beginning.
        word: String,
    },
    /// The byte has a bit that stands for no verb.
    #[error("{bits:#04x} has a bit that stands for no verb")]
    UnknownBits {
        /// The byte.
        bits: u8,
    },
}

impl VerbsError {
    /// Returns what the caller should do about this error.
    pub const fn remedy(&self) -> crate::Remedy {
        crate::Remedy::FixInput
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_reads_back_from_its_byte_and_its_words() {
        for bits in 0..=127 {
            let set = Verbs::from_bits(bits).unwrap();
            assert_eq!(Verbs::from_bits(set.bits()), Ok(set));
            assert_eq!(set.to_string().parse(), Ok(set), "{set}");
            assert_eq!(set.iter().collect::<Verbs>(), set);
        }
    }

    #[test]
    fn bits_stand_in_the_order_of_the_contract() {
        for (place, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(Verbs::NONE.with(verb).bits(), 1 << place | 1);
            assert_eq!(verb.id().parse(), Ok(verb));
        }
        assert_eq!(
            Verbs::ALL.to_string(),
            "read,report,edit,check,dispatch,close,administer"
        );
        assert_eq!(Verbs::NONE.to_string(), "none");
        assert_eq!(Verbs::WORK.lacks(Verbs::ALL), Some(Verb::Administer));
        assert_eq!(
            Verbs::NONE.lacks(Verbs::of(&[Verb::Close])),
            Some(Verb::Close)
        );
        assert_eq!(Verbs::NONE.lacks(Verbs::READ), Some(Verb::Read));
    }

    #[test]
    fn whoever_may_change_may_read() {
        assert_eq!(
            Verbs::from_bits(0b10),
            Ok(Verbs::of(&[Verb::Read, Verb::Report]))
        );
        assert_eq!(Verbs::known(u64::MAX), Verbs::ALL);
        assert!(Verbs::of(&[Verb::Close]).contains(Verb::Read));
        assert!(!Verbs::READ.may_change() && !Verbs::NONE.may_change());
        assert!(Verbs::NONE.is_empty() && !Verbs::NONE.contains(Verb::Read));
        assert_eq!(
            "close , edit".parse(),
            Ok(Verbs::of(&[Verb::Edit, Verb::Close]))
        );
    }

    #[test]
    fn what_is_no_verb_is_named() {
        for bad in ["", "read,", "write", "Read", "read;edit"] {
            let error = bad.parse::<Verbs>().unwrap_err();
            assert!(error.to_string().contains("the verbs are"), "{bad}");
        }
        assert_eq!(
            Verbs::from_bits(128),
            Err(VerbsError::UnknownBits { bits: 128 })
        );
    }
}
