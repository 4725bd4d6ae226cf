//! Personal values that never reach a log.
//!
//! Names, positions, free text and keys travel as [`Redacted`], whose `Debug` and `Display` print
//! `…`. Whoever needs the value says so with [`Redacted::reveal`], which is easy to search for.

use core::fmt;

/// A value that prints as `…`.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Wraps a personal value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value, for use where a person may see it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_value_prints_as_an_ellipsis() {
        let name = Redacted::new("张三");
        assert_eq!(format!("{name} {name:?}"), "… …");
        assert_eq!(*name.reveal(), "张三");
    }
}
