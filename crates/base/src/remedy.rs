//! What a caller should do about an error.
//!
//! Every public error of Gridbeat answers `remedy()` with one of these, so that an app can act on
//! an error it has never seen. Not here: the words for people, which the apps own.

/// What to do about an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// The same call may succeed later, here; nothing needs to change.
    RetryHere,
    /// The connection is gone or useless: make another. Nothing that was saved is affected.
    Reconnect,
    /// What was handed in is wrong: the person or program that made it must change it.
    FixInput,
    /// The disk or the file is full: free space, then repeat the call.
    FreeSpace,
    /// The file or its place is wrong: another file, other permissions, a newer program.
    FixSetup,
    /// The file is damaged: keep it, and open a restored or fresh one.
    Restore,
    /// A bug here or at the peer, or an attack: report it; repeating will not help.
    Report,
}
