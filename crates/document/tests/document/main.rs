//! How documents behave, through the crate's public API.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it says"
)]

mod forge;
mod gate;
mod hostile;
mod life;
mod merge;
mod support;
