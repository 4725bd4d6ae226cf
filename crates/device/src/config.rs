//! What a device is opened with.

use std::fmt;
use std::path::PathBuf;

use gridbeat_base::{DeviceId, Install};
use gridbeat_device_core::BeforeCommit;
use gridbeat_document::Kinds;
use gridbeat_link::DeviceBundle;

/// What a device is opened with.
pub struct Config {
    /// The device's file; made if it is not there.
    pub path: PathBuf,
    /// The device, as enrolled. A file belongs to one device for ever.
    pub device: DeviceId,
    /// The installation: see [`install_from_file`](crate::install_from_file).
    pub install: Install,
    /// The kinds of documents the app knows.
    pub kinds: Kinds,
    /// How to reach the relay; `None` for a device that works alone.
    pub bundle: Option<DeviceBundle>,
    /// When to have a link.
    pub link: LinkPolicy,
    /// Most bytes the database file may grow to; `None` for what the disk holds.
    pub file_size_max_bytes: Option<u64>,
    /// For simulations of dying disks; `None` otherwise.
    pub before_commit: Option<BeforeCommit>,
}

impl Config {
    /// Makes the configuration of a device that keeps a link to the relay of its bundle.
    pub fn new(path: PathBuf, bundle: DeviceBundle, install: Install, kinds: Kinds) -> Self {
        Self {
            path,
            device: bundle.device,
            install,
            kinds,
            bundle: Some(bundle),
            link: LinkPolicy::Always,
            file_size_max_bytes: None,
            before_commit: None,
        }
    }

    /// Makes the configuration of a device that works alone.
    pub const fn alone(path: PathBuf, device: DeviceId, install: Install, kinds: Kinds) -> Self {
        Self {
            path,
            device,
            install,
            kinds,
            bundle: None,
            link: LinkPolicy::OnRequest,
            file_size_max_bytes: None,
            before_commit: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("path", &self.path)
            .field("device", &self.device)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// When to have a link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkPolicy {
    /// Always, as far as there is a network.
    Always,
    /// Only while [`Device::sync_once`](crate::Device::sync_once) works: for apps in the background.
    OnRequest,
}
