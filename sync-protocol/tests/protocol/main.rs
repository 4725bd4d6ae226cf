//! The behaviour of the protocol, through its public API.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests may, as the tests may"
)]

mod arbitrary;
mod blobs;
mod bringing;
mod device_rules;
mod disorder;
mod enrol;
mod frames;
mod golden;
mod hostile;
mod meaning;
mod positions;
mod reconciliation;
mod relay_rules;
mod session_pair;
mod specification;
mod support;
mod windows;
