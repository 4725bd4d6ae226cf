//! The trace of a run: one number that differs as soon as anything happened differently.

use core::fmt;
use core::hash::{Hash as _, Hasher as _};
use std::collections::hash_map::DefaultHasher;

/// A running hash over everything that happened, in order; and, if asked for, the lines themselves.
#[derive(Debug)]
pub(crate) struct Trace {
    // `DefaultHasher::new` has fixed keys: the same lines give the same number in every process.
    hasher: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep_lines: bool) -> Self {
        Self {
            hasher: DefaultHasher::new(),
            lines: keep_lines.then(Vec::new),
        }
    }

    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        line.hash(&mut self.hasher);
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
