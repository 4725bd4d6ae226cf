//! What a device is opened with.

use std::fmt;
use std::io;
use std::path::PathBuf;

use gridbeat_base::{DeviceId, Install};
use gridbeat_device_core::{BeforeCommit, DatabaseKey, Uploads};
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
    /// Where the file's key comes from; a file that is made is encrypted with it.
    pub key: KeySource,
    /// The kinds of documents the app knows.
    pub kinds: Kinds,
    /// How to reach the relay; `None` for a device that works alone.
    pub bundle: Option<DeviceBundle>,
    /// Where the bundle is kept when its certificate was renewed; `None` for nowhere: the device then renews
    /// the one it is opened with each time, and not at all once that ended long ago. Default: `None`.
    pub bundle_file: Option<PathBuf>,
    /// When to have a link.
    pub link: LinkPolicy,
    /// Which photos and other blobs go up, until [`Device::set_uploads`](crate::Device::set_uploads) says otherwise: what an app
    /// that does not know its network yet must not send goes here. Default: all.
    pub uploads: Uploads,
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
            key: KeySource::None,
            kinds,
            bundle: Some(bundle),
            bundle_file: None,
            link: LinkPolicy::Always,
            uploads: Uploads::All,
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
            key: KeySource::None,
            kinds,
            bundle: None,
            bundle_file: None,
            link: LinkPolicy::OnRequest,
            uploads: Uploads::All,
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

/// Where the key of the device's file comes from.
pub enum KeySource {
    /// Nowhere: the file is plain.
    None,
    /// Here it is.
    Key(DatabaseKey),
    /// The system's key store has it: asked once, on the file's own thread, which may wait for a person's
    /// finger. Its error keeps the file closed.
    Asked(Box<dyn FnOnce() -> io::Result<DatabaseKey> + Send>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key(…)",
            Self::Asked(_) => "Asked(…)",
        })
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
