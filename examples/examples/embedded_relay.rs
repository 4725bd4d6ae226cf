//! A relay inside a program of yours, on a thread of its own, without a socket.
//!
//! The relay is a state machine and a store. Whatever carries frames in order can carry them for it: here
//! two channels, in an app a test rig, a serial line, or another server's connection. The loop in [`serve`] is
//! all there is to it: one input, then every output. Stopped and started, it goes on from
//! its file.
//!
//! `cargo run -p examples --example embedded_relay`
#![expect(clippy::print_stdout, reason = "an example speaks to a person")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use gridbeat_base::{DeviceId, Install, Monotonic, Now, Random, Scope, Verbs, WallTime};
use gridbeat_device_core::{Config, Device, Output, SyncState};
use gridbeat_domain::{PatrolIntent, Transport};
use gridbeat_relay_core::{self as relay, Relay, SessionId};
use gridbeat_relay_store::{Registry as _, SqliteStore, Store as _, StoreOptions};
use gridbeat_sync_protocol::{decode, encode};

/// What the wire carries: encoded frames.
type Bytes = Vec<u8>;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let (officer, cell) = (DeviceId::from_bytes([7; 16]), Scope::new("澥浦镇-03")?);
    let relay_file = folder.path().join("relay.db");
    enrol(&relay_file, officer, &cell, now(began))?;

    let config = Config::new(officer, Install::from_bytes([1; 16]));
    let file = folder.path().join("device.db");
    let kinds = gridbeat_domain::kinds();
    let random = Random::from_number(1);
    let mut device = Device::open(&file, config, kinds, random, now(began))?;

    // The first session tells the device what it may do; the second relay takes what was saved.
    sync(&mut device, &relay_file, began)?;
    let start = PatrolIntent::Start {
        shift: "中班".into(),
        transport: Transport::Bicycle,
        by: "李巡查".into(),
    };
    let intent = serde_json::to_vec(&start)?;
    let saved = device.create(now(began), "patrol", &cell, &intent)?;
    ensure!(matches!(
        device.sync_state(),
        SyncState::Offline { waiting: 1 }
    ));
    println!("Saved patrol {} without a relay", saved.document);
    let frames = sync(&mut device, &relay_file, began)?;
    ensure!(device.outbox()?.changes == 0, "the relay has it");
    println!("The relay on its thread has it after {frames} frames");
    Ok(())
}

/// Enrols a device in the relay's file, as an operator does.
fn enrol(path: &Path, device: DeviceId, scope: &Scope, now: Now) -> anyhow::Result<()> {
    let mut random = Random::from_number(2);
    let mut store = SqliteStore::open(path, StoreOptions::default(), &mut random)?;
    let grants = BTreeMap::from([(scope.clone(), Verbs::WORK.into())]);
    store.add_device(device, "李巡查", &grants, now.wall)?;
    Ok(())
}

/// Starts a relay, connects the device to it until both are in sync, and lets both go.
fn sync(device: &mut Device, relay_file: &Path, began: Instant) -> anyhow::Result<usize> {
    let (up, from_device) = channel();
    let (down, from_relay) = channel();
    let (path, id) = (PathBuf::from(relay_file), device.device());
    let relay = thread::spawn(move || serve(&path, id, &from_device, &down, began));

    let mut frames = 0;
    device.connected(now(began))?;
    loop {
        while let Some(output) = device.poll_output() {
            match output {
                Output::Send { frame, .. } => {
                    frames += 1;
                    up.send(encode(&frame))?;
                }
                Output::Close(reason) => anyhow::bail!("the session ended: {reason:?}"),
                // An app shows these.
                Output::Changed { .. }
                | Output::State(_)
                | Output::Blobs { .. }
                | Output::Leave(_)
                | Output::Positions => {}
            }
        }
        if matches!(device.sync_state(), SyncState::InSync { .. }) {
            break;
        }
        let bytes: Bytes = from_relay.recv().context("the relay is gone")?;
        frames += 1;
        device.handle_frame(now(began), decode(&bytes)?)?;
    }
    device.disconnected(now(began));
    // The wire ends, and so does the relay.
    drop(up);
    relay.join().expect("the relay does not panic")?;
    Ok(frames)
}

/// Runs a relay for one device, until its wire ends.
fn serve(
    path: &Path,
    device: DeviceId,
    from_device: &Receiver<Bytes>,
    to_device: &Sender<Bytes>,
    began: Instant,
) -> anyhow::Result<()> {
    let mut random = Random::from_number(3);
    let mut store = SqliteStore::open(path, StoreOptions::default(), &mut random)?;
    let kinds = gridbeat_domain::kinds();
    let mut relay = Relay::new(relay::Config::default(), kinds, store.incarnation());
    let session = SessionId(1);
    relay.connected(now(began), session, device, None);
    while let Ok(bytes) = from_device.recv() {
        relay.handle_frame(now(began), session, decode(&bytes)?);
        while let Some(output) = relay.poll_output() {
            match output {
                relay::Output::Send { frame, .. } => {
                    // A device that has gone comes back, and asks again for what it lacks.
                    let _ = to_device.send(encode(&frame));
                }
                relay::Output::Run { task, work } => {
                    let answer = store.run(&work);
                    relay.handle_answer(now(began), task, answer);
                }
                relay::Output::Close { .. } => return Ok(()),
                relay::Output::Committed { .. }
                | relay::Output::Placed { .. }
                | relay::Output::CloneSuspected { .. }
                | relay::Output::Sighted(_)
                | relay::Output::StoreFailed { .. } => {}
            }
        }
    }
    relay.disconnected(now(began), session);
    Ok(())
}

fn now(began: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = wall.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0));
    Now {
        wall: WallTime(millis),
        monotonic: Monotonic(began.elapsed()),
    }
}
