//! The behaviour of the link through its public interface.
//!
//! The modules are marked `cfg(test)`, by which clippy knows that their helpers may `unwrap`.

#[cfg(test)]
mod moving;
#[cfg(test)]
mod protocols;
