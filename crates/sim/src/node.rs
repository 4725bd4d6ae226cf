//! One simulated phone: its file, its clock, its link, and what it has told its officer.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gridbeat_base::{
    ChangeHash, DeviceId, DocumentId, Install, Monotonic, Now, Random, Scope, WallTime,
};
use gridbeat_device_core::{Config, Device, OpenError};
use gridbeat_relay_core::SessionId;
use gridbeat_sync_protocol::{Signer, VERSION_NEWEST};

use crate::files::Files;
use crate::network::Link;
use crate::options::{Death, Left};
use crate::photos::Taken;

/// 2026-06-01T00:00:00Z: the simulated city's clocks start here.
pub(crate) const EPOCH: WallTime = WallTime(1_780_272_000_000);

/// A countdown that makes one commit fail: the moment a phone or a server dies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fuse {
    left: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
    doom: Doom,
}

impl Fuse {
    /// Makes one for a phone or the relay of a world.
    pub(crate) fn of(doom: &Doom) -> Self {
        Self {
            left: Arc::default(),
            fails: Arc::default(),
            doom: doom.clone(),
        }
    }

    /// Lets the `commits`-th commit from here fail; 0 for none.
    pub(crate) fn set(&self, commits: u64) {
        self.left.store(commits, Ordering::Relaxed);
    }

    /// Lets every commit fail from here on, though nobody dies by it; or lets them succeed again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }

    /// Tells whether the fuse has burnt down since it was set.
    pub(crate) fn has_blown(&self) -> bool {
        self.left.load(Ordering::Relaxed) == u64::MAX
    }

    /// Counts a commit; `false` if it is the one to fail, or comes after it.
    pub(crate) fn commit(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        if left == u64::MAX || self.fails.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(death) = self.doom.count() {
            self.left.store(u64::MAX, Ordering::Relaxed);
            return death.left != Left::Nothing;
        }
        match left {
            0 => true,
            1 => {
                self.left.store(u64::MAX, Ordering::Relaxed);
                false
            }
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                true
            }
        }
    }
}

/// Counts the commits of a whole world, and lets whoever makes one of them die by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doom(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    commits: u64,
    death: Option<Death>,
    /// Whether the log of who died ends in the middle of its commit.
    is_torn: bool,
}

impl Doom {
    /// Begins to count.
    pub(crate) fn arm(&self, death: Option<Death>) {
        *self.counted() = Counted {
            death,
            ..Counted::default()
        };
    }

    /// Returns how many commits there were since.
    pub(crate) fn commits(&self) -> u64 {
        self.counted().commits
    }

    /// Tells whether somebody has died whose log ends in the middle of a commit; once.
    pub(crate) fn take_torn(&self) -> bool {
        core::mem::take(&mut self.counted().is_torn)
    }

    /// Tells whether the commit that was just made is torn: then nobody was told of it.
    pub(crate) fn is_torn(&self) -> bool {
        self.counted().is_torn
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one; returns the death it is, if it is one.
    fn count(&self) -> Option<Death> {
        let mut counted = self.counted();
        counted.commits += 1;
        let commits = counted.commits;
        let death = counted.death.filter(|death| death.commit == commits)?;
        counted.is_torn = death.left == Left::Part;
        Some(death)
    }
}

/// A copy of a phone's file put aside, and what was saved by then.
#[derive(Debug)]
pub(crate) struct Backup {
    pub(crate) copy: PathBuf,
    pub(crate) saved: BTreeSet<(DocumentId, ChangeHash)>,
    pub(crate) photos: BTreeSet<Taken>,
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
    /// How much too fast it runs, in millionths.
    pub(crate) clock_drift_ppm: i64,
    /// The newest version of the protocol that its program speaks.
    pub(crate) speaks: u16,
    pub(crate) session: Option<SessionId>,
    /// The scopes it was enrolled for.
    pub(crate) scopes: Vec<Scope>,
    /// Every change its officer was told is saved, and that no restored backup took away.
    pub(crate) saved: BTreeSet<(DocumentId, ChangeHash)>,
    /// Those of them whose documents left the device since, with a grant or with everything.
    pub(crate) left: BTreeSet<(DocumentId, ChangeHash)>,
    /// Every photo its officer was told is saved and attached, and that no restored backup took away.
    pub(crate) photos: BTreeSet<Taken>,
    /// Those of them whose documents left the device since.
    pub(crate) photos_left: BTreeSet<Taken>,
    /// Whether its scopes are others than at first.
    pub(crate) is_moved: bool,
    /// When it was last moved.
    pub(crate) moved: Duration,
    /// Whether it was revoked.
    pub(crate) is_revoked: bool,
    /// When the relay was last told so.
    pub(crate) revoked: Duration,
    /// How many changes its officer has seen of each document: it may never fall.
    pub(crate) seen: BTreeMap<DocumentId, usize>,
    pub(crate) backup: Option<Backup>,
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
            clock_drift_ppm: 0,
            speaks: VERSION_NEWEST,
            session: None,
            scopes,
            saved: BTreeSet::new(),
            left: BTreeSet::new(),
            photos: BTreeSet::new(),
            photos_left: BTreeSet::new(),
            is_moved: false,
            moved: Duration::ZERO,
            is_revoked: false,
            revoked: Duration::ZERO,
            seen: BTreeMap::new(),
            backup: None,
            wakes: None,
        }
    }

    /// Reads this phone's clocks at a true time.
    pub(crate) fn now(&self, time: Duration) -> Now {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let drift = millis.saturating_mul(self.clock_drift_ppm) / 1_000_000;
        Now {
            wall: WallTime(EPOCH.millis() + millis + self.clock_error_ms + drift),
            monotonic: Monotonic(time),
        }
    }

    /// Starts the app on the living file.
    pub(crate) fn open(&mut self, time: Duration) -> Result<(), OpenError> {
        self.fuse.set(0);
        self.fuse.fail(false);
        let fuse = self.fuse.clone();
        let mut config = Config::new(self.device, self.install);
        config.signer = Some(signer(self.device));
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

/// Returns the key of a phone, and of its copies: it follows from the device, and so from the seed.
pub(crate) fn signer(device: DeviceId) -> Signer {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(device.bytes());
    Signer::from_seed(&seed)
}
