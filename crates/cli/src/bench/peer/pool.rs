//! Devices that are enrolled beforehand, at a relay whose folder every relay of the workloads begins as a copy of.
//!
//! The harness gives a client an address and an empty folder; a device needs an identity besides. So those are made
//! once, by the enrolment that every device goes through, and lie in a folder that all processes on this
//! machine share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use gridbeat_base::Scope;
use gridbeat_device::DeviceBundle;

use crate::bench::field::{enrol_ahead, relay_config, tell};

/// Devices that may take part in a fan-in.
const FAN_MAX: usize = 200;

const RELAY: &str = "relay";

/// Who a device of the workloads is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Who {
    /// The officer whose shift it is.
    Officer,
    /// Another device of the same cell, which holds nothing yet.
    Newcomer,
    /// One of those that come back at once, each with a cell of its own.
    Fan(usize),
}

impl Who {
    fn name(self) -> String {
        match self {
            Self::Officer => "officer".to_owned(),
            Self::Newcomer => "newcomer".to_owned(),
            Self::Fan(number) => format!("fan-{number:03}"),
        }
    }

    /// Returns the scope whose documents it holds.
    pub(super) fn scope(self) -> anyhow::Result<Scope> {
        Ok(match self {
            Self::Officer | Self::Newcomer => Scope::new("cell")?,
            Self::Fan(_) => Scope::new(&self.name())?,
        })
    }
}

/// The folder with the relay and the devices.
#[derive(Clone, Debug)]
pub(super) struct Pool(PathBuf);

impl Pool {
    /// Opens the folder, or makes everything in it.
    pub(super) async fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = path.map_or_else(
            || std::env::temp_dir().join("gridbeat-bench-pool"),
            Path::to_owned,
        );
        if !path.join(RELAY).exists() {
            fill(&path).await?;
        }
        Ok(Self(path))
    }

    /// Makes a relay's folder as a copy, if there is none yet.
    pub(super) fn relay(&self, folder: &Path) -> anyhow::Result<()> {
        if folder.exists() {
            return Ok(());
        }
        copy(&self.0.join(RELAY), folder)
    }

    /// Returns the identity of a device that reaches the relay at `relay`.
    pub(super) fn bundle(&self, who: Who, relay: &str) -> anyhow::Result<DeviceBundle> {
        let path = self.0.join(who.name());
        if !path.exists() {
            bail!(
                "there is no device {}; at most {FAN_MAX} come back at once",
                who.name()
            );
        }
        let mut bundle = DeviceBundle::read(&path)?;
        relay.clone_into(&mut bundle.relay);
        Ok(bundle)
    }
}

async fn fill(path: &Path) -> anyhow::Result<()> {
    tell("enrolling the devices of the workloads");
    let place = path.parent().context("a folder lies in another")?;
    fs::create_dir_all(place)?;
    // Moved into place as a whole, so that a stop in between leaves nothing half.
    let made = tempfile::tempdir_in(place)?;
    let devices: Vec<Who> = [Who::Officer, Who::Newcomer]
        .into_iter()
        .chain((0..FAN_MAX).map(Who::Fan))
        .collect();
    let scopes = devices.iter().map(|who| who.scope());
    let scopes: Vec<Scope> = scopes.collect::<Result<_, _>>()?;
    let config = relay_config(&made.path().join(RELAY));
    let bundles = enrol_ahead(&config, &scopes).await?;
    for (who, bundle) in devices.iter().zip(bundles) {
        bundle.write(&made.path().join(who.name()))?;
    }
    let made = made.keep();
    if fs::rename(&made, path).is_err() {
        // Somebody else was quicker.
        fs::remove_dir_all(&made)?;
    }
    Ok(())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
