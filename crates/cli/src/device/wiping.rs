//! The end of a device that was revoked: its keys and its file go.
//!
//! By then the relay has all that the device had, and its signed statement that the records are gone. Not here:
//! handing over and signing, which the engine does by itself; overwriting (`device-core`).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use gridbeat_device::{Device, Leave};
use gridbeat_sync_protocol::Grant;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// What a person is told at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Farewell {
    /// In English.
    pub(crate) en: String,
    /// In Chinese.
    pub(crate) zh: String,
}

/// How long to wait, in sync but without a grant, for what the relay may say behind its greeting: it travels
/// with it, so that is enough even if a packet is lost.
const NOTICE_WAIT: Duration = Duration::from_secs(5);

/// How long to wait, once the relay has said that the device was revoked, for its word that it has everything:
/// 16 MiB, the room of the quarantine, at the rate of a poor link, and a little.
const SURRENDER_WAIT: Duration = Duration::from_secs(120);

/// Returns whether the end has come for a device that has met its relay. One that is granted nothing may have
/// been revoked, and is about to be told.
pub(super) async fn comes(
    device: &Device,
    leaving: &mut broadcast::Receiver<Leave>,
    is_in_sync: bool,
) -> bool {
    let scopes = device.scopes().await.unwrap_or_default();
    let mut patience = if is_in_sync && scopes.iter().all(|scope| scope.grant == Grant::None) {
        NOTICE_WAIT
    } else {
        // What has come already is taken up all the same.
        Duration::ZERO
    };
    loop {
        match tokio::time::timeout(patience, leaving.recv()).await {
            Ok(Ok(Leave::Acknowledged)) => return is_due(device, &Leave::Acknowledged).await,
            Ok(Ok(Leave::Noticed { scope: None, .. })) if is_in_sync => patience = SURRENDER_WAIT,
            Ok(Ok(Leave::Noticed { .. } | Leave::Left { .. }) | Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) | Err(_) => return false,
        }
    }
}

/// Returns whether this is the time to wipe: not while something waits that was saved after the statement.
pub(super) async fn is_due(device: &Device, news: &Leave) -> bool {
    let outbox = device.outbox().await;
    *news == Leave::Acknowledged && outbox.is_ok_and(|outbox| outbox.changes == 0)
}

/// Destroys `secrets` in their order, then the file; returns what to tell.
pub(super) async fn wipe(device: Device, secrets: Vec<PathBuf>) -> anyhow::Result<Farewell> {
    let wiped = device.wipe(secrets).await;
    wiped.context("the device was revoked and is to be wiped: remove its folder by hand")?;
    Ok(Farewell {
        en: "this device is no longer allowed: what it had is handed over, its records, its file and its keys are \
             destroyed"
            .to_owned(),
        zh: "本设备的使用权限已被撤销：所存内容已上交，记录、数据文件和密钥均已销毁".to_owned(),
    })
}
