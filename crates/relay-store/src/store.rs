//! What a backend is: a place that does tasks, and a table of devices.

use std::collections::BTreeMap;
use std::fmt;

use gridbeat_base::{DeviceId, Scope, WallTime};
use gridbeat_relay_core::{Answer, StoreFault, Task};

use crate::{DeviceRow, Granted};

/// A place that does the relay's tasks.
///
/// Each task is one transaction: whole or not at all, durable when it returns, and seen by every
/// task that begins after it returned. Nothing is held from one task to the next.
pub trait Store: fmt::Debug + Send {
    /// Does one task.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing of the task is then done.
    fn run(&mut self, task: &Task) -> Result<Answer, StoreFault>;
}

/// The devices a relay knows, and what they may do. Every change raises the version of the rights.
pub trait Registry: Store {
    /// Enrols a device, or gives one that is enrolled another name and other grants. A device that
    /// was revoked may come back by this.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn add_device(
        &mut self,
        device: DeviceId,
        name: &str,
        grants: &BTreeMap<Scope, Granted>,
        now: WallTime,
    ) -> Result<(), StoreFault>;

    /// Takes all rights from a device. Returns whether it was enrolled and not yet revoked.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn revoke(&mut self, device: DeviceId, now: WallTime) -> Result<bool, StoreFault>;

    /// Lists all devices in order of their ids, with where they stand.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    fn devices(&self) -> Result<Vec<DeviceRow>, StoreFault>;
}
