//! The behaviour of the protocol, through its public API.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests may, as the tests may"
)]

mod session_pair;
mod support;
