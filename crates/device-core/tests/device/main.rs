//! What a device does with its file and with a relay, through its public API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod disk;
mod draft;
mod kept;
mod kind;
mod link;
mod positions;
mod query;
mod refusal;
mod relay;
mod repair;
mod save;
mod snapshot;
mod storm;
mod support;
