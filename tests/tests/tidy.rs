//! Rules of the source tree that the compiler and clippy cannot hold, each with what to do about it.
//!
//! - [`arrows`]: who may depend on whom, what is pure, who may name Automerge
//! - [`files`]: heads, lengths, words that have no place, errors that say what to do
//! - [`documents`]: links that lead somewhere, commands that exist, nothing about this machine
//! - [`tree`]: the files of the repository, read once for all of the above
//!
//! The rules themselves are explained in `CONTRIBUTING.md` and `docs/architecture.md`.

mod arrows;
mod documents;
mod files;
mod tree;

/// Fails with every complaint there is, not only the first.
fn report(rule: &str, complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{rule}\n  {}\n",
        complaints.join("\n  ")
    );
}
