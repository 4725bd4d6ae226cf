//! The behaviour of the link through its public interface.
//!
//! The module is marked `cfg(test)`, by which clippy knows that its helpers may `unwrap`.

#[cfg(test)]
mod protocols;
