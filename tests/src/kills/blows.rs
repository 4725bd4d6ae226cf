//! A relay that is killed, or whose disk fails, at the n-th call that makes durable; and a disk that is full for
//! relay and devices together.
//!
//! `strace` counts the calls of one kind in each life of the relay and acts at the n-th. Who checks is the same
//! reader of plain SQL as after a kill.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::ensure;
use gridbeat_base::Random;

use super::{DEVICES, Figures, World, start_relay, start_relay_by};

/// The calls by which a relay makes things durable.
pub const DURABLE: [&str; 2] = ["fdatasync", "fsync"];

/// Commits of the relay without one call of a kind: with that, such calls come no more in this life.
const COMMITS_WITHOUT: u32 = 10;

/// Lines that devices go on for after a call failed.
const LINES_AFTER: u32 = 15;

/// The disk that relay and devices share in [`fill`], in MiB.
const DISK_MIB: u64 = 32;

/// Lines that devices say after the first of them was told that the disk is full.
const LINES_WHILE_FULL: u32 = 25;

/// What happens at the n-th call.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    /// The process dies on entering it.
    Kill,
    /// It returns this error, once.
    Fail(&'static str),
}

/// What was done, and what came of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlowFigures {
    /// How many blows were met.
    pub met: u32,
    /// What the history says, as after kills.
    pub history: Figures,
}

/// Strikes a relay under load so many times: at the first call of a kind, and at each `step`-th after it.
///
/// # Errors
///
/// As [`super::run`].
pub fn strike(
    program: &Path,
    call: &str,
    blow: Blow,
    step: usize,
    times: u32,
) -> anyhow::Result<BlowFigures> {
    let folder = tempfile::tempdir()?;
    let mut world = World::start(program, folder.path())?;
    world.meet_all()?;
    let mut met = 0;
    for nth in (1..).step_by(step).take(times as usize) {
        let log = folder.path().join(format!("strace-{nth}.log"));
        world.stop_relay()?;
        let struck = start_struck(program, folder.path(), &log, call, blow, nth)?;
        world.go_on_with(struck)?;
        if !world.wait_for(blow, &log)? {
            // It is behind the last call of this kind.
            break;
        }
        met += 1;
    }
    world.stop_relay()?;
    let relay = start_relay(program, folder.path())?.0;
    world.go_on_with(relay)?;
    let history = world.finish()?;
    Ok(BlowFigures { met, history })
}

/// Starts the relay under `strace`, which stays out of the way: the process is the relay itself.
fn start_struck(
    program: &Path,
    folder: &Path,
    log: &Path,
    call: &str,
    blow: Blow,
    nth: usize,
) -> anyhow::Result<Child> {
    let mut strace = Command::new("strace");
    let act = match blow {
        Blow::Kill => "signal=SIGKILL".to_owned(),
        Blow::Fail(error) => {
            // Stops at the calls that are traced alone, where no signal could be given.
            strace.arg("--seccomp-bpf");
            format!("error={error}")
        }
    };
    strace
        .args(["-D", "-f", "-qq", "--signal=none", "-o"])
        .arg(log)
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={call}:{act}:when={nth}"))
        .arg(program);
    // A relay that dies while it opens its database says nothing; it died all the same.
    start_relay_by(strace, folder).map(|(child, _)| child)
}

/// Fills the disk that a relay and its devices share, and frees it again, so many times.
///
/// Returns `None` where no disk may be mounted.
///
/// # Errors
///
/// As [`super::run`], and if anybody has to be started again to recover.
pub fn fill(program: &Path, cycles: u32, seed: u64) -> anyhow::Result<Option<BlowFigures>> {
    let disk = Disk {
        folder: tempfile::tempdir()?,
    };
    if !disk.mount()? {
        return Ok(None);
    }
    let folder = disk.folder.path();
    let mut world = World::start(program, folder)?;
    world.meet_all()?;
    let mut random = Random::from_number(seed);
    for _ in 0..cycles {
        let left = usize::try_from(random.below(96 * 1024))?;
        let ballast = disk.fill(left)?;
        // What was reserved in the logs is soon used up.
        let before = *world.full.get_or_insert_default();
        while world.full == Some(before) {
            world.hear(true)?;
        }
        for _ in 0..LINES_WHILE_FULL {
            world.hear(true)?;
        }
        fs::remove_file(ballast)?;
        for number in 0..DEVICES {
            world.check_device(number)?;
        }
        world.check_relay()?;
        ensure!(
            world.relay.try_wait()?.is_none(),
            "the relay ended at a full disk"
        );
    }
    let history = world.finish()?;
    Ok(Some(BlowFigures {
        met: cycles,
        history,
    }))
}

struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn mount(&self) -> anyhow::Result<bool> {
        let mut mount = Command::new("mount");
        let size = format!("size={DISK_MIB}m");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]);
        let mounted = crate::output(mount.arg(self.folder.path()))?;
        Ok(mounted.status.success())
    }

    /// Fills the disk but for so many bytes; returns the file to remove.
    fn fill(&self, left: usize) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("ballast");
        let mut file = fs::File::create(&path)?;
        let piece = [0x55; 64 * 1024];
        let mut written = 0_u64;
        while let Ok(count) = file.write(&piece) {
            written += count as u64;
        }
        file.set_len(written.saturating_sub(left as u64))?;
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes with the machine at the latest.
        let _ = crate::output(Command::new("umount").arg("-l").arg(self.folder.path()));
    }
}

impl World {
    /// Lets every device meet the relay, and begin to work.
    fn meet_all(&mut self) -> anyhow::Result<()> {
        while self.met.len() < DEVICES {
            self.hear(true)?;
        }
        Ok(())
    }

    /// Kills the relay if it lives, and checks what it leaves.
    fn stop_relay(&mut self) -> anyhow::Result<()> {
        self.relay.kill()?;
        self.relay.wait()?;
        self.check_relay()
    }

    /// Lets devices work until the blow was met, or the relay makes no more calls that could meet it.
    fn wait_for(&mut self, blow: Blow, log: &Path) -> anyhow::Result<bool> {
        let (mut calls, mut commits) = (0, 0);
        while commits < COMMITS_WITHOUT {
            // What is saved from here on and acknowledged took a commit.
            let before: BTreeSet<String> = self.all_saved().cloned().collect();
            while self.history.acknowledged.is_subset(&before) {
                self.hear(true)?;
                let was_met = match blow {
                    Blow::Kill => self.relay.try_wait()?.is_some(),
                    Blow::Fail(_) => fs::read_to_string(log)?.contains("(INJECTED)"),
                };
                if was_met {
                    for _ in 0..LINES_AFTER {
                        self.hear(true)?;
                    }
                    return Ok(true);
                }
            }
            let so_far = fs::read_to_string(log)?.lines().count();
            commits = if so_far == calls { commits + 1 } else { 0 };
            calls = so_far;
        }
        Ok(false)
    }
}
