//! A real disk that is full, at every size from too small for anything to roomy.
//!
//! The disk is a `tmpfs` where the test may mount one (as root); elsewhere SQLite's own limit of the
//! file's size takes its place. Simulated limits at every page are in `crates/device-core/tests`.

use std::path::Path;
use std::process::Command;

use gridbeat_base::Remedy;
use gridbeat_device_core::Device;
use tempfile::TempDir;
use tests::output;

use super::victim::{Told, check, meet_relay, open, report};

/// From a disk on which not even the empty file fits to one that holds a few reports, in KiB.
const SIZES_KIB: std::ops::Range<u64> = 64..1_024;

/// Fine enough that the disk is full in another place of the work each time.
const STEP_KIB: usize = 72;

/// A disk of a certain size that goes when it is dropped.
struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

impl Disk {
    fn of(kib: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let is_mounted = mount(folder.path(), &format!("size={kib}k"));
        Self { folder, is_mounted }
    }

    /// Makes room for all there is to do.
    fn enlarge(&self, device: Option<&mut Device>) {
        if self.is_mounted {
            assert!(mount(self.folder.path(), "remount,size=64m"));
        } else if let Some(device) = device {
            device.set_file_size_max(None).unwrap();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Whether it goes now or with the machine is no matter for what is tested.
            let _ = output(Command::new("umount").arg(self.folder.path()));
        }
    }
}

/// Mounts, or says that this is not allowed here.
fn mount(folder: &Path, options: &str) -> bool {
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(folder);
    output(&mut mount).is_ok_and(|mounted| mounted.status.success())
}

#[test]
fn a_full_disk_is_told_at_every_size_and_costs_nothing_that_was_saved() {
    let (mut refused_to_open, mut refused_to_save) = (0, 0);
    for kib in SIZES_KIB.step_by(STEP_KIB) {
        let disk = Disk::of(kib);
        let path = disk.folder.path().join("device.db");
        let mut device = match open(&path, kib) {
            Ok(device) => device,
            Err(error) => {
                assert_eq!(error.remedy(), Remedy::FreeSpace, "{kib} KiB: {error:?}");
                refused_to_open += 1;
                disk.enlarge(None);
                open(&path, kib).unwrap()
            }
        };
        if !disk.is_mounted {
            device.set_file_size_max(Some(kib * 1_024)).unwrap();
        }
        if let Err(remedy) = meet_relay(&mut device) {
            assert_eq!(remedy, Remedy::FreeSpace);
            disk.enlarge(Some(&mut device));
            meet_relay(&mut device).unwrap();
        }
        let mut told = Told::default();
        // More than fits on the largest of the disks.
        for _ in 0..100 {
            match report(&mut device, 900) {
                Ok(saved) => told
                    .saved
                    .push((saved.document.to_string(), saved.change.to_string())),
                Err(error) => {
                    assert_eq!(error.remedy(), Remedy::FreeSpace, "{kib} KiB: {error:?}");
                    refused_to_save += 1;
                    break;
                }
            }
        }
        let waiting = device.outbox().unwrap().changes;
        assert_eq!(waiting, told.saved.len() as u64, "{kib} KiB");
        disk.enlarge(Some(&mut device));
        report(&mut device, 900).expect("there is room again");
        drop(device);
        check(&path, &told);
    }
    assert!(
        refused_to_save >= 5,
        "{refused_to_save} saves, {refused_to_open} openings"
    );
}
