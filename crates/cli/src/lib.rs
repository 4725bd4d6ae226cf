//! What the binary `gridbeat` is made of, as a library, so that tests and benches reach it too.
//!
//! - [`bench`]: the figures the engine is held to, measured
//! - [`input`]: a day of patrol as the user hands it over, in files or as a seeded shift of our own

pub mod bench;
pub mod input;
