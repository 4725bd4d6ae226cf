//! The relay over a real SQLite file, in conversation with hand-fed devices.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set up fails by that"
)]

mod admission;
mod device;
mod feed;
mod greeting;
mod haste;
mod leaving;
mod note;
mod positions;
mod quarantine;
mod recovery;
mod repair;
mod storm;
mod trouble;
mod verbs;
mod world;
