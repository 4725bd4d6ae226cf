//! What a device is opened with.

use core::fmt;

use gridbeat_base::{DeviceId, Install};
use gridbeat_sync_protocol::Signer;

use crate::{DatabaseKey, Uploads};

/// Called before each commit; `false` makes that commit fail, as a dying disk would.
pub type BeforeCommit = Box<dyn FnMut() -> bool + Send>;

/// What a device is opened with.
pub struct Config {
    /// The device, as enrolled. A file belongs to one device for ever.
    pub device: DeviceId,
    /// The installation: random, kept where backups do not reach. A file that meets another one was
    /// restored or cloned.
    pub install: Install,
    /// Signs what is pushed: by the key in the device's certificate. `None` (the default) for a device
    /// whose relay knows no such key; it is then not signed.
    pub signer: Option<Signer>,
    /// The key of the file, which is made encrypted then; `None` (the default) for a plain file.
    pub key: Option<DatabaseKey>,
    /// Which photos and other blobs go up, until [`Device::set_uploads`](crate::Device::set_uploads) says otherwise. Default: all.
    pub uploads: Uploads,
    /// Most bytes the database file may grow to; `None` for what the disk holds. Reaching it is the
    /// same as a full disk. Never below the size the file has.
    pub file_size_max_bytes: Option<u64>,
    /// For simulations of dying disks; `None` otherwise.
    pub before_commit: Option<BeforeCommit>,
}

impl Config {
    /// Makes a configuration without limits.
    pub const fn new(device: DeviceId, install: Install) -> Self {
        Self {
            device,
            install,
            signer: None,
            key: None,
            uploads: Uploads::All,
            file_size_max_bytes: None,
            before_commit: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("device", &self.device)
            .field("install", &self.install)
            .field("file_size_max_bytes", &self.file_size_max_bytes)
            .finish_non_exhaustive()
    }
}
