//! Backups of a relay, their return, and the report of what came back from whom.
//!
//! All of it on the relay's files: a backup while it runs, a return while it does not. Not here: the command line
//! (`cli`), how a copy is made (`gridbeat-relay-store`).

use std::collections::BTreeMap;
use std::path::Path;

use gridbeat_base::{DeviceId, Incarnation, Scope, WallTime};
use gridbeat_link::{Clock, random_from_system};
use gridbeat_relay_store::{Backup, By, Registry as _, Restored, SqliteStore, StoreOptions};
use serde::Serialize;

use crate::authority::Authority;
use crate::config::RelayConfig;
use crate::lock::DataLock;
use crate::operator::OperatorError;

/// What came back after a relay was restored, and who has not called since.
#[derive(Clone, Debug, Serialize)]
pub struct Recovered {
    /// The present life of the database.
    pub incarnation: Incarnation,
    /// When it began; `None` if that is not known.
    pub began_ms: Option<WallTime>,
    /// How many lives the database had before.
    pub lives_before: u64,
    /// Everything received up to then is known to be in a backup.
    pub stable_ms: Option<WallTime>,
    /// What devices brought back, by who brought it and who wrote it.
    pub brought: Vec<BroughtLine>,
    /// The devices that called before this life and have not in it: what they alone hold is still to come.
    pub silent: Vec<SilentLine>,
}

/// What one device brought back of one author's.
#[derive(Clone, Debug, Serialize)]
pub struct BroughtLine {
    /// Who brought it.
    pub device: DeviceId,
    /// What operators call that device; empty for one that the table does not have.
    pub name: String,
    /// Who wrote it.
    pub author: DeviceId,
    /// What operators call that one.
    pub author_name: String,
    /// How many changes.
    pub changes: u64,
    /// Of how many documents.
    pub documents: u64,
    /// The scopes those are in.
    pub scopes: Vec<Scope>,
}

/// A device that has not called.
#[derive(Clone, Debug, Serialize)]
pub struct SilentLine {
    /// The device.
    pub device: DeviceId,
    /// What operators call it.
    pub name: String,
    /// When it was last heard.
    pub seen_ms: WallTime,
}

/// Copies the database of the relay that `config` describes to a file, running or not. Who did so and why is put on
/// record, as with all that follows.
///
/// # Errors
///
/// [`OperatorError`]; no file is then left that was not there.
pub fn backup(config: &RelayConfig, to: &Path, by: By) -> Result<Backup, OperatorError> {
    let (mut store, now) = open_to_act(config, by)?;
    Ok(store.backup(to, now)?)
}

/// Moves the stable mark to a time, by an operator's word that everything received until then is on a standby.
/// Returns the mark.
///
/// # Errors
///
/// [`OperatorError`].
pub fn set_stable(
    config: &RelayConfig,
    as_of: WallTime,
    by: By,
) -> Result<Option<WallTime>, OperatorError> {
    let (mut store, now) = open_to_act(config, by)?;
    Ok(store.set_stable(as_of, now)?)
}

/// Puts a backup in the place of the database of the relay that `config` describes. The relay must not run;
/// what was there is moved aside. The relay's authority must be in its place: its key signs for the return too.
///
/// # Errors
///
/// [`OperatorError::Running`] while a relay runs on these files; else as the copying failed.
pub fn restore(config: &RelayConfig, from: &Path, by: By) -> Result<Restored, OperatorError> {
    std::fs::create_dir_all(&config.data).map_err(OperatorError::Lock)?;
    let lock = DataLock::take(&config.data).map_err(OperatorError::Lock)?;
    let _lock = lock.ok_or(OperatorError::Running)?;
    let now = Clock::start().now().wall;
    let mut random = random_from_system();
    let receipts = Authority::open(&config.authority())?.receipts(&mut random)?;
    let by = (by, Some(receipts));
    let done = SqliteStore::restore(from, &config.database(), by, now, &mut random)?;
    Ok(done)
}

/// Reports what came back since the database of the relay that `config` describes was restored.
///
/// # Errors
///
/// [`OperatorError`].
pub fn recovered(config: &RelayConfig) -> Result<Recovered, OperatorError> {
    let store = open(config)?;
    let (life, lives_before) = store.life()?;
    let devices = store.devices()?;
    let names: BTreeMap<DeviceId, &str> = devices
        .iter()
        .map(|row| (row.device, row.name.as_str()))
        .collect();
    let name = |device: &DeviceId| names.get(device).copied().unwrap_or_default().to_owned();
    let brought = store.brought_back()?;
    let brought = brought
        .into_iter()
        .map(|((device, author), back)| BroughtLine {
            name: name(&device),
            author_name: name(&author),
            device,
            author,
            changes: back.changes,
            documents: back.documents.len() as u64,
            scopes: back.scopes.into_iter().collect(),
        });
    let silent = devices.iter().filter(|row| row.revoked.is_none());
    let silent = silent.filter_map(|row| {
        let (seen, _, _) = row.seen?;
        let is_silent = lives_before > 0 && life.began.is_some_and(|began| seen < began);
        is_silent.then(|| SilentLine {
            device: row.device,
            name: row.name.clone(),
            seen_ms: seen,
        })
    });
    Ok(Recovered {
        incarnation: life.incarnation,
        began_ms: life.began,
        lives_before,
        stable_ms: store.stable()?,
        brought: brought.collect(),
        silent: silent.collect(),
    })
}

/// Opens the database for somebody who acts; returns the time too.
fn open_to_act(config: &RelayConfig, by: By) -> Result<(SqliteStore, WallTime), OperatorError> {
    let now = Clock::start().now().wall;
    let mut random = random_from_system();
    let receipts = Authority::open(&config.authority())?.receipts(&mut random)?;
    let options = StoreOptions {
        receipts: Some((receipts, now)),
        ..StoreOptions::default()
    };
    let mut store = SqliteStore::open(&config.database(), options, &mut random)?;
    store.act_as(by);
    Ok((store, now))
}

fn open(config: &RelayConfig) -> Result<SqliteStore, OperatorError> {
    let mut random = random_from_system();
    let options = StoreOptions {
        now: Some(Clock::start().now().wall),
        ..StoreOptions::default()
    };
    Ok(SqliteStore::open(&config.database(), options, &mut random)?)
}
