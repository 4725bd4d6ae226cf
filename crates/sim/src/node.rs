//! One simulated phone: its file, its clock, its link, and what it has told its officer.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gridbeat_base::{
    ChangeHash, DeviceId, DocumentId, Install, Monotonic, Now, Random, Scope, WallTime,
};
use gridbeat_device_core::{Config, Device, OpenError};
use gridbeat_relay_core::SessionId;

use crate::files::Files;
use crate::network::Link;

/// 2026-06-01T00:00:00Z: the simulated city's clocks start here.
pub(crate) const EPOCH: WallTime = WallTime(1_780_272_000_000);

/// A countdown that makes one commit fail: the moment a phone or a server dies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuse(Arc<AtomicU64>);

impl Fuse {
    /// Lets the `commits`-th commit from here fail; 0 for none.
    pub(crate) fn set(&self, commits: u64) {
        self.0.store(commits, Ordering::Relaxed);
    }

    /// Tells whether the fuse has burnt down since it was set.
    pub(crate) fn has_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == u64::MAX
    }

    /// Counts a commit; `false` if it is the one to fail, or comes after it.
    pub(crate) fn commit(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => true,
            u64::MAX => false,
            1 => {
                self.0.store(u64::MAX, Ordering::Relaxed);
                false
            }
            left => {
                self.0.store(left - 1, Ordering::Relaxed);
                true
            }
        }
    }
}

/// A phone.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) device: DeviceId,
    pub(crate) install: Install,
    pub(crate) files: Files,
    pub(crate) core: Option<Device>,
    pub(crate) fuse: Fuse,
    pub(crate) random: Random,
    pub(crate) link: Link,
    /// What its wall clock shows, minus the true time, in milliseconds.
    pub(crate) clock_error_ms: i64,
    pub(crate) session: Option<SessionId>,
    /// The scopes it was enrolled for.
    pub(crate) scopes: Vec<Scope>,
    /// Every change its officer was told is saved, and that no restored backup took away.
    pub(crate) saved: BTreeSet<(DocumentId, ChangeHash)>,
    /// How many changes its officer has seen of each document: it may never fall.
    pub(crate) seen: BTreeMap<DocumentId, usize>,
    /// A copy of its file put aside, and what was saved by then.
    pub(crate) backup: Option<(PathBuf, BTreeSet<(DocumentId, ChangeHash)>)>,
    /// The next moment it wakes by itself.
    pub(crate) wakes: Option<Duration>,
}

impl Node {
    pub(crate) fn new(
        root: &Path,
        number: usize,
        scopes: Vec<Scope>,
        link: Link,
        random: &mut Random,
    ) -> Self {
        let mut random = random.fork();
        Self {
            device: DeviceId::mint(EPOCH, &mut random),
            install: Install::from_bytes(random.bytes()),
            files: Files::new(root.join(format!("device-{number}")), "gridbeat.db"),
            core: None,
            fuse: Fuse::default(),
            random,
            link,
            clock_error_ms: 0,
            session: None,
            scopes,
            saved: BTreeSet::new(),
            seen: BTreeMap::new(),
            backup: None,
            wakes: None,
        }
    }

    /// Reads this phone's clocks at a true time.
    pub(crate) fn now(&self, time: Duration) -> Now {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Now {
            wall: WallTime(EPOCH.millis() + millis + self.clock_error_ms),
            monotonic: Monotonic(time),
        }
    }

    /// Starts the app on the living file.
    pub(crate) fn open(&mut self, time: Duration) -> Result<(), OpenError> {
        self.fuse.set(0);
        let fuse = self.fuse.clone();
        let mut config = Config::new(self.device, self.install);
        config.before_commit = Some(Box::new(move || fuse.commit()));
        let random = self.random.fork();
        let now = self.now(time);
        self.core = Some(Device::open(
            &self.files.path(),
            config,
            gridbeat_domain::kinds(),
            random,
            now,
        )?);
        Ok(())
    }
}
