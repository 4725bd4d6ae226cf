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

/// The devices a relay knows, and what they may do. Every change raises the version of the rights, and what is
/// done is put into the operators' log in the same transaction.
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

    /// Orders a device to hand over and wipe itself: takes all rights from it if it has any yet, and puts the
    /// order on record. Returns whether it is known.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn wipe(&mut self, device: DeviceId, now: WallTime) -> Result<bool, StoreFault>;

    /// Gives a device another name. Returns whether it is known.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn rename(&mut self, device: DeviceId, name: &str, now: WallTime) -> Result<bool, StoreFault>;

    /// Grants a device something in a scope, in place of what it had there; no verbs withdraw what it had.
    /// Returns whether that changed anything: not for a device that is unknown or revoked.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn grant(
        &mut self,
        device: DeviceId,
        scope: &Scope,
        granted: &Granted,
        now: WallTime,
    ) -> Result<bool, StoreFault>;

    /// Moves what a device is granted in one scope to another, in one step, in place of what it had there.
    /// Returns whether it had anything in the first.
    ///
    /// # Errors
    ///
    /// [`StoreFault`]; nothing is then changed.
    fn move_grant(
        &mut self,
        device: DeviceId,
        from: &Scope,
        to: &Scope,
        now: WallTime,
    ) -> Result<bool, StoreFault>;

    /// Lists all devices in order of their ids, with where they stand.
    ///
    /// # Errors
    ///
    /// [`StoreFault`].
    fn devices(&self) -> Result<Vec<DeviceRow>, StoreFault>;
}
