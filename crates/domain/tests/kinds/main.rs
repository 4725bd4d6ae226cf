//! What the trade's kinds promise, through the document crate's public API.

#![expect(clippy::unwrap_used, reason = "a test may fail by it")]

mod incident;
mod patrol;
mod replica;
mod track;
