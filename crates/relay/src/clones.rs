//! Devices that were heard from two installations, as an operator reads them: the same on the command line and over
//! HTTP. Not here: how it is noticed (`gridbeat-relay-store`).

use gridbeat_base::{DeviceId, WallTime};
use gridbeat_relay_store::CloneRow;
use serde::Serialize;

/// Two installations of one device.
#[derive(Clone, Debug, Serialize)]
pub struct CloneLine {
    /// The device.
    pub device: DeviceId,
    /// One installation.
    pub one: String,
    /// The other.
    pub other: String,
    /// When the second was heard first.
    pub first_ms: WallTime,
    /// When one of them was heard last after the other.
    pub last_ms: WallTime,
    /// How often; 1 may be a phone that was replaced, more is two that are in use.
    pub times: u64,
}

impl From<&CloneRow> for CloneLine {
    fn from(row: &CloneRow) -> Self {
        Self {
            device: row.device,
            one: row.one.to_string(),
            other: row.other.to_string(),
            first_ms: row.first,
            last_ms: row.last,
            times: row.times,
        }
    }
}
