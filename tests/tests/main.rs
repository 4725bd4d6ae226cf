//! The promises of Gridbeat to its users, one module each, in one binary.
//!
//! `tidy` holds the promises to its contributors: who depends on whom, what files look like.

mod tidy;
