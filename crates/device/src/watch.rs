//! A query whose records are given again whenever they have become others.

use gridbeat_device_core::{Query, ReadError, Record};
use tokio::sync::watch;

use crate::{CallError, Device};

/// A watched query: see [`Device::watch`].
#[derive(Debug)]
pub struct Watch {
    device: Device,
    query: Query,
    changed: watch::Receiver<u64>,
    shown: Option<Vec<Record>>,
}

impl Watch {
    pub(crate) const fn new(device: Device, query: Query, changed: watch::Receiver<u64>) -> Self {
        Self {
            device,
            query,
            changed,
            shown: None,
        }
    }

    /// Returns the query's records: at once the first time, then when they are others than those
    /// returned last. Changes that come close together may be shown as one.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; [`CallError::Closed`] once the device is closed.
    pub async fn next(&mut self) -> Result<&[Record], CallError<ReadError>> {
        loop {
            if self.shown.is_some() && self.changed.changed().await.is_err() {
                return Err(CallError::Closed);
            }
            self.changed.mark_unchanged();
            let records = self.device.query(self.query.clone()).await?;
            if self.shown.as_ref() != Some(&records) {
                return Ok(self.shown.insert(records));
            }
        }
    }
}
