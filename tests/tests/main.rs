//! The promises of Gridbeat to its users, one module each, in one binary.
//!
//! `tidy` holds the promises to its contributors: who depends on whom, what files look like. Each
//! module is marked `cfg(test)`, by which clippy knows that its helpers may `unwrap`.

#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod tidy;
