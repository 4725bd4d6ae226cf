//! Sessions as they go when the link is fine: converge, resume, stop and start.

use std::io::Cursor;

use gridbeat_base::Media;
use gridbeat_device::{
    CallError, Config, Device, Handshake, LinkPolicy, PhotoBlobs, PhotoError, PhotoSaveError,
    Query, SyncState,
};
use gridbeat_domain::{IncidentIntent, PhotoRole, kinds};
use image::{ImageFormat, Rgb, RgbImage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{
    PATIENCE, RelayAtHome, config, converge, in_sync, lists, save, scope, state, within,
};

#[tokio::test]
async fn what_one_officer_saves_another_sees() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let ours = relay.device(dir.path(), relay.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;

    for number in 0..20 {
        save(&ours, &format!("井盖缺失 {number}")).await;
        save(&theirs, &format!("路灯不亮 {number}")).await;
    }
    converge(&[&ours, &theirs], 40).await;

    // Both edit one record at the same time.
    let (document, _) = ours.fingerprint().await.unwrap()[0].clone();
    let describe = |text: &str| {
        let description = text.to_owned();
        serde_json::to_vec(&IncidentIntent::Describe { description }).unwrap()
    };
    ours.edit(document, describe("井盖缺失，已围挡"))
        .await
        .unwrap();
    theirs
        .edit(document, describe("井盖缺失，有人受伤"))
        .await
        .unwrap();
    converge(&[&ours, &theirs], 40).await;
    let view = |device: &Device| {
        let device = device.clone();
        async move { device.view(document).await.unwrap() }
    };
    assert_eq!(view(&ours).await, view(&theirs).await);
}

#[tokio::test]
async fn a_watched_query_shows_what_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let ours = relay.device(dir.path(), relay.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    let mut watch = ours.watch(Query::default());
    assert_eq!(
        within("the first list", watch.next()).await.unwrap().len(),
        0
    );
    save(&theirs, "垃圾满溢").await;
    assert_eq!(within("their report", watch.next()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_second_session_greets_with_its_first_packet() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = relay.enrol(relay.addr()).await;
    let mut on_request = config(dir.path(), bundle);
    on_request.link = LinkPolicy::OnRequest;
    let device = Device::open(on_request).await.unwrap();
    assert_eq!(device.sync_state(), SyncState::Offline { waiting: 0 });

    let first = device.sync_once(PATIENCE).await;
    assert!(first.is_in_sync, "{first:?}");
    assert_eq!(device.link_report().handshake, Some(Handshake::Full));
    state(&device, "the end of the link", is_offline).await;

    save(&device, "非法小广告").await;
    let second = device.sync_once(PATIENCE).await;
    assert!(second.is_in_sync, "{second:?}");
    assert_eq!((second.acknowledged_changes, second.waiting), (1, 0));
    let report = device.link_report();
    assert_eq!(report.handshake, Some(Handshake::Early));
    assert_eq!((report.dials, report.early_accepted), (2, 1));
}

#[tokio::test]
async fn one_session_brings_every_photo_up() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let mut on_request = config(dir.path(), relay.enrol(relay.addr()).await);
    on_request.link = LinkPolicy::OnRequest;
    let device = Device::open(on_request).await.unwrap();
    assert!(device.sync_once(PATIENCE).await.is_in_sync);
    state(&device, "the end of the link", is_offline).await;
    save(&device, "井盖破损").await;
    let (document, _) = device.fingerprint().await.unwrap()[0].clone();
    for number in 0..12_u8 {
        let photo = vec![number; 1_000 + usize::from(number) * 9_000];
        let hash = device.put_blob(photo).await.unwrap();
        let role = PhotoRole::Near;
        let add = IncidentIntent::AddPhoto {
            hash,
            role,
            position: None,
            preview: None,
            thumbnail: None,
        };
        let add = serde_json::to_vec(&add).unwrap();
        device.edit(document, add).await.unwrap();
    }
    let report = device.sync_once(PATIENCE).await;
    assert!(report.is_in_sync, "{report:?}");
    assert_eq!((report.waiting, report.blobs_waiting), (0, 0));
    assert_eq!(device.link_report().dials, 2);
}

/// A photo as a camera makes it.
fn jpeg() -> Vec<u8> {
    let picture = RgbImage::from_fn(1_600, 1_200, |x, y| {
        Rgb([(x / 8) as u8, (y / 8) as u8, (x * y / 64) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn a_photo_is_seen_small_by_another_officer_and_is_whole_at_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let ours = relay.device(dir.path(), relay.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    save(&ours, "路灯不亮").await;
    converge(&[&ours, &theirs], 1).await;
    let (document, _) = ours.fingerprint().await.unwrap()[0].clone();
    let photo = |blobs: &PhotoBlobs| {
        let add = IncidentIntent::AddPhoto {
            hash: blobs.original,
            role: PhotoRole::Near,
            position: None,
            preview: Some(blobs.preview),
            thumbnail: Some(blobs.thumbnail),
        };
        serde_json::to_vec(&add).unwrap()
    };
    let page = ours.take_photo(document, b"<html>".to_vec(), photo).await;
    let CallError::Failed(PhotoSaveError::Photo(error)) = page.unwrap_err() else {
        panic!("no photo");
    };
    let media = Media::Other;
    assert_eq!(error, PhotoError::Media { media });
    assert_eq!(ours.attachments(document).await.unwrap(), []);

    let taken = ours.take_photo(document, jpeg(), photo).await.unwrap();
    let kept = ours.get_blob(taken.blobs.original).await.unwrap();
    assert_eq!(kept, Some(jpeg()), "to the byte");
    let report = ours.sync_once(PATIENCE).await;
    assert!(report.is_in_sync && report.blobs_waiting == 0, "{report:?}");
    converge(&[&ours, &theirs], 1).await;
    assert_eq!(theirs.attachments(document).await.unwrap().len(), 3);
    let thumbnail = taken.blobs.thumbnail;
    assert!(theirs.want_blob(document, thumbnail).await.unwrap());
    let shown = async {
        while theirs.get_blob(thumbnail).await.unwrap().is_none() {
            theirs.sync_once(PATIENCE).await;
        }
    };
    within("the thumbnail", shown).await;
    let whole = theirs.get_blob(taken.blobs.original).await.unwrap();
    assert_eq!(whole, None, "nobody opened it");
}

#[tokio::test]
async fn a_device_without_a_relay_works_alone() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let device = relay.device(dir.path(), relay.addr()).await;
    let id = device.id();
    device.close().await;

    let path = dir.path().join(format!("{id}.gridbeat"));
    let install = gridbeat_base::Install::from_bytes(*id.bytes());
    let alone = Config::alone(path, id, install, kinds());
    let device = Device::open(alone).await.unwrap();
    save(&device, "占道经营").await;
    lists(&device, 1).await;
    assert_eq!(device.sync_state(), SyncState::Offline { waiting: 1 });
    assert!(!device.opening().was_unclean);
}

#[tokio::test]
async fn a_relay_that_stops_and_starts_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = RelayAtHome::start().await;
    let ours = relay.device(dir.path(), relay.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    save(&ours, "before").await;
    converge(&[&ours, &theirs], 1).await;

    assert!(relay.stop().await, "it drains in time");
    for device in [&ours, &theirs] {
        state(device, "the end of the link", is_offline).await;
    }
    save(&ours, "meanwhile").await;
    relay.start_again().await;
    converge(&[&ours, &theirs], 2).await;
}

/// On two threads, because it is there that a stream of early data may still be about when the one in
/// its place begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_forgot_the_session_answers_on_the_same_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = RelayAtHome::start().await;
    let bundle = relay.enrol(relay.addr()).await;
    let mut on_request = config(dir.path(), bundle);
    on_request.link = LinkPolicy::OnRequest;
    let device = Device::open(on_request).await.unwrap();
    assert!(device.sync_once(PATIENCE).await.is_in_sync);
    for round in 1..=40 {
        state(&device, "the end of the link", is_offline).await;
        relay.stop().await;
        relay.start_again().await;
        save(&device, &format!("early {round}")).await;
        let met = device.sync_once(PATIENCE).await;
        assert_eq!((met.is_in_sync, met.acknowledged_changes), (true, 1));
        let report = device.link_report();
        assert_eq!(
            report.handshake,
            Some(Handshake::Full),
            "its tickets are gone"
        );
        assert_eq!(report.dials, 1 + round, "it did not dial again");
    }
}

#[tokio::test]
async fn a_device_that_is_closed_and_opened_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let bundle = relay.enrol(relay.addr()).await;
    let open = || Device::open(config(dir.path(), bundle.clone()));
    let device = open().await.unwrap();
    in_sync(&device).await;
    save(&device, "first").await;
    in_sync(&device).await;
    let clone = device.clone();
    device.close().await;
    assert!(clone.query(Query::default()).await.is_err(), "it is closed");

    let device = open().await.unwrap();
    save(&device, "second").await;
    converge(&[&device], 2).await;
    assert_eq!(device.scopes().await.unwrap()[0].scope, scope());
}

#[tokio::test]
async fn supervisors_and_operators_are_told_how_the_relay_is() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let device = relay.device(dir.path(), relay.addr()).await;
    save(&device, "井盖缺失").await;
    in_sync(&device).await;

    let admin = relay.handle().admin_addr();
    let page = |path: &'static str| async move {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(page("/livez").await.starts_with("HTTP/1.1 200"));
    let ready = page("/readyz").await;
    assert!(ready.ends_with("ready\n"), "{ready}");
    let metrics = page("/metrics").await;
    assert!(
        metrics.contains("application/openmetrics-text"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    for line in [
        "gridbeat_relay_changes_total{verdict=\"accepted\"} 1",
        "gridbeat_relay_sessions 1",
        "gridbeat_relay_handshakes_total{kind=\"full\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
}

fn is_offline(state: &SyncState) -> bool {
    matches!(state, SyncState::Offline { .. })
}
