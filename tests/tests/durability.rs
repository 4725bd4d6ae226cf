//! What an officer saw saved stays saved: processes that are killed, disks that fail or are full, and
//! files that are not ours.
//!
//! - `victim`: a short piece of work in a process of its own, and what must be true of its file after
//! - `injection`: that process killed, or its disk failing, at every call that writes, by `strace`
//! - `blows`: how a process is struck
//! - `full`: a real disk that is full at every size
//! - `kills`: a relay and devices killed under load, again and again
//! - `foreign`: files that are not ours stay as they are, to the byte
//!
//! Not here: a simulated disk that fails at each commit (`crates/device-core/tests`), many devices
//! and a relay that fail at random (`crates/sim`).

pub(crate) mod blows;
mod foreign;
mod full;
mod injection;
mod kills;
pub(crate) mod victim;
