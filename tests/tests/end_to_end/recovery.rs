//! A relay that loses its disk, a device that was copied, and what was refused: over real sockets, on real files.

use std::path::Path;

use gridbeat_base::Install;
use gridbeat_device::{Device, DeviceBundle, LinkPolicy};
use gridbeat_relay::{By, OperatorError, backup, recovered, restore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{PATIENCE, RelayAtHome, config, converge, in_sync, lists, save};

/// Returns what an admin page answers with, without its head.
async fn page(relay: &RelayAtHome, path: &str) -> (String, serde_json::Value) {
    let admin = relay.handle().admin_addr();
    let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap_or_default().to_owned();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_relay_that_lost_its_disk_gets_back_all_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = RelayAtHome::start().await;
    let mut bundles = Vec::new();
    for _ in 0..2 {
        bundles.push(relay.enrol(relay.addr()).await);
    }
    let [a_again, b_again] = [0, 1].map(|at| config(dir.path(), bundles[at].clone()));
    let a = Device::open(config(dir.path(), bundles[0].clone()))
        .await
        .unwrap();
    let b = Device::open(config(dir.path(), bundles[1].clone()))
        .await
        .unwrap();
    let gone = relay.device(dir.path(), relay.addr()).await;
    in_sync(&a).await;
    in_sync(&b).await;
    save(&a, "before the backup").await;
    converge(&[&a, &b, &gone], 1).await;
    let file = dir.path().join("backup.db");
    let made = backup(&relay.config(), &file, By::default()).unwrap();
    assert_eq!(made.changes, 1);

    // After the backup: work by each, and one of them leaves the scope when its work is acknowledged.
    b.close().await;
    save(&a, "after the backup").await;
    a.close().await;
    save(&gone, "by one who leaves").await;
    in_sync(&gone).await;
    relay.grant(gone.id(), []);
    lists(&gone, 0).await;
    assert_eq!(gone.kept().await.unwrap().changes, 1);
    let while_running = restore(&relay.config(), &file, By::default());
    assert!(
        matches!(while_running, Err(OperatorError::Running)),
        "{while_running:?}"
    );

    relay.stop().await;
    let at = relay.config();
    // On a thread of its own: meanwhile the runtime lets the old relay's socket go.
    let done = tokio::task::spawn_blocking(move || restore(&at, &file, By::default()));
    let done = done.await.unwrap().unwrap();
    assert_eq!(done.changes, 1);
    relay.start_again().await;
    let [a, b] = [a_again, b_again].map(|config| async { Device::open(config).await.unwrap() });
    let (a, b) = (a.await, b.await);
    let mut held = Vec::new();
    for device in [&a, &b, &gone] {
        lists(device, 3).await;
        in_sync(device).await;
        held.push(device.fingerprint().await.unwrap());
    }
    assert!(held.iter().all(|it| *it == held[0]), "{held:?}");
    let report = recovered(&relay.config()).unwrap();
    let brought = |device: &Device| {
        let lines = report.brought.iter();
        let mine = lines.filter(|line| line.device == device.id());
        mine.map(|line| line.changes).sum::<u64>()
    };
    assert_eq!(brought(&a) + brought(&b) + brought(&gone), 2, "{report:?}");
    assert!(brought(&gone) > 0, "{report:?}");
    assert!(report.silent.is_empty(), "{report:?}");
    assert_eq!(report.incarnation, done.incarnation);
}

#[tokio::test]
async fn what_a_relay_refused_can_be_read_over_http_and_holds_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let honest = relay.device(dir.path(), relay.addr()).await;
    let bundle = relay.enrol(relay.addr()).await;
    let device = Device::open(config(dir.path(), bundle.clone()))
        .await
        .unwrap();
    in_sync(&device).await;
    device.close().await;
    let device = on_request(dir.path(), bundle).await;
    save(&device, "too late").await;
    relay.grant(device.id(), []);
    device.sync_once(PATIENCE).await;
    save(&honest, "in time").await;
    in_sync(&honest).await;
    lists(&honest, 1).await;

    let refused = device.refused().await.unwrap();
    assert_eq!(refused.len(), 1);
    let (status, listed) = page(&relay, "/quarantine").await;
    assert!(status.contains("200"), "{status}");
    let first = &listed[0];
    assert_eq!(first["rule"], refused[0].reason.code.as_str());
    assert_eq!(first["zh"], refused[0].reason.zh.as_str());
    assert_eq!(first["change"], refused[0].change.to_string());
    assert!(!listed.to_string().contains("too late"), "no content");
    let (_, shown) = page(&relay, &format!("/quarantine/{}", first["id"])).await;
    assert_eq!(shown["says"]["seq"], 1);
    assert!(shown["says"]["operations"].as_u64().unwrap() > 0);
    let (status, _) = page(&relay, "/quarantine/77777").await;
    assert!(status.contains("404"), "{status}");
    let (status, _) = page(&relay, "/quarantine?device=x").await;
    assert!(status.contains("400"), "{status}");
}

#[tokio::test]
async fn a_copied_device_goes_on_and_operators_see_both_installations() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = relay.enrol(relay.addr()).await;
    let original = Device::open(config(dir.path(), bundle.clone()))
        .await
        .unwrap();
    in_sync(&original).await;
    save(&original, "before the copy").await;
    in_sync(&original).await;
    original.close().await;
    let mut copied = config(other.path(), bundle.clone());
    copied.install = Install::new([77; 16]);
    let from = config(dir.path(), bundle.clone()).path;
    std::fs::copy(&from, &copied.path).unwrap();

    let copy = Device::open(copied).await.unwrap();
    assert!(copy.opening().was_restored);
    let original = Device::open(config(dir.path(), bundle)).await.unwrap();
    in_sync(&original).await;
    save(&original, "typed on the original").await;
    save(&copy, "typed on the copy").await;
    converge(&[&original, &copy], 3).await;
    // Where devices stand is written with the next commit.
    save(&original, "one more").await;
    converge(&[&original, &copy], 4).await;
    let (_, clones) = page(&relay, "/clones").await;
    assert_eq!(clones[0]["device"], original.id().to_string());
    assert_ne!(clones[0]["one"], clones[0]["other"]);
    let rows = relay.handle().devices().await.unwrap();
    assert_eq!(rows[0].clones.len(), 1);
}

async fn on_request(dir: &Path, bundle: DeviceBundle) -> Device {
    let mut config = config(dir, bundle);
    config.link = LinkPolicy::OnRequest;
    Device::open(config).await.unwrap()
}
