//! Whom a relay serves, whom a device believes, and what a person is told otherwise.

use gridbeat_device::{Device, DeviceBundle, SyncProblem, SyncState};
use gridbeat_relay::{By, Operator};

use super::world::{RelayAtHome, config, in_sync, save, state};

/// Waits until the device has a problem; returns its code.
async fn problem(device: &Device) -> String {
    let state = state(device, "a problem", |state| {
        matches!(state, SyncState::Problem { .. })
    });
    let SyncState::Problem {
        what: SyncProblem::TurnedAway(reason),
        ..
    } = state.await
    else {
        panic!("another problem");
    };
    assert!(!reason.en.is_empty() && !reason.zh.is_empty(), "{reason:?}");
    reason.code
}

async fn open(dir: &tempfile::TempDir, bundle: DeviceBundle) -> Device {
    Device::open(config(dir.path(), bundle)).await.unwrap()
}

#[tokio::test]
async fn a_device_believes_no_relay_of_another_authority() {
    let dir = tempfile::tempdir().unwrap();
    let ours = RelayAtHome::start().await;
    let other = RelayAtHome::start().await;
    let mut bundle = ours.enrol(ours.addr()).await;
    bundle.relay = other.addr().to_string();
    let device = open(&dir, bundle).await;
    assert_eq!(problem(&device).await, "relay_certificate_refused");
}

#[tokio::test]
async fn a_relay_serves_no_device_of_another_authority() {
    let dir = tempfile::tempdir().unwrap();
    let ours = RelayAtHome::start().await;
    let other = RelayAtHome::start().await;
    let mut bundle = ours.enrol(ours.addr()).await;
    bundle.relay = other.addr().to_string();
    bundle.pins = other.enrol(other.addr()).await.pins;
    let device = open(&dir, bundle).await;
    assert_eq!(problem(&device).await, "device_certificate_refused");
}

#[tokio::test]
async fn a_certificate_alone_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = relay.enrol(relay.addr()).await;
    relay.handle().revoke(bundle.device).await.unwrap();
    let device = open(&dir, bundle).await;
    assert_eq!(problem(&device).await, "device_revoked");
}

#[tokio::test]
async fn a_device_that_is_revoked_is_told_at_once_and_does_not_come_back_by_its_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let device = relay.device(dir.path(), relay.addr()).await;
    assert!(relay.handle().revoke(device.id()).await.unwrap());
    assert_eq!(problem(&device).await, "device_revoked");

    // It has tickets of the session before; they bring it no further than to the same words.
    device.sync_once(std::time::Duration::from_secs(5)).await;
    assert_eq!(problem(&device).await, "device_revoked");
    assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 0);

    // It has wiped itself. Let in again, it begins anew.
    relay.let_in_again(device.id());
    let report = device.sync_once(super::world::PATIENCE).await;
    assert!(report.is_in_sync, "{report:?}");
    save(&device, "井盖缺失").await;
    in_sync(&device).await;
    assert_eq!(relay.handle().counters().await.unwrap().changes_accepted, 1);
}

#[tokio::test]
async fn an_operator_in_another_process_ends_the_open_connection_of_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let device = relay.device(dir.path(), relay.addr()).await;
    let mut operator = Operator::open(&relay.config()).unwrap();
    operator.act_as(By::new("王调度", "手机丢失").unwrap());
    assert!(operator.revoke(device.id()).unwrap());
    assert_eq!(problem(&device).await, "device_revoked");
}
