//! Where officers are: real datagrams over UDP and over a WebSocket, to those that may know.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use gridbeat_base::{DeviceId, Position, Verb, Verbs};
use gridbeat_device::{Device, Path, SeenDevice, Whereabouts};

use super::tcp::Firewall;
use super::world::{RelayAtHome, config, in_sync, within};

fn whereabouts(longitude_deg: f64) -> Whereabouts {
    Whereabouts {
        position: Position::from_degrees(29.951_843_7, longitude_deg).unwrap(),
        accuracy_dm: 48,
        speed_cm_s: Some(412),
        heading_deg: Some(271),
        battery_percent: Some(63),
        receiver_time: None,
    }
}

/// Waits until a device sees others as it should.
async fn sees(
    device: &Device,
    what: &str,
    wanted: impl Fn(&[SeenDevice]) -> bool,
) -> Vec<SeenDevice> {
    let mut changes = device.position_changes();
    let seen = async {
        loop {
            changes.mark_unchanged();
            let seen = device.positions().await.unwrap();
            if wanted(&seen) {
                return seen;
            }
            changes.changed().await.unwrap();
        }
    };
    within(what, seen).await
}

fn is_at(device: DeviceId, place: Whereabouts) -> impl Fn(&[SeenDevice]) -> bool {
    move |seen| {
        let its = seen.iter().find(|seen| seen.device == device);
        its.is_some_and(|seen| seen.fix.position == place.position)
    }
}

/// An officer, one who dispatches, and one who may only look on.
async fn three(relay: &RelayAtHome, dir: &std::path::Path, via: SocketAddr) -> [Device; 3] {
    let report = Verbs::of(&[Verb::Report, Verb::Edit]);
    let mut devices = Vec::new();
    for verbs in [report, Verbs::WORK, Verbs::READ] {
        let bundle = relay.enrol_for(via, verbs).await;
        let device = Device::open(config(dir, bundle)).await.unwrap();
        in_sync(&device).await;
        device.watch_positions(true).await.unwrap();
        devices.push(device);
    }
    devices.try_into().unwrap()
}

async fn a_duty(relay: &RelayAtHome, [officer, dispatcher, onlooker]: &[Device; 3]) {
    let mut sighted = relay.handle().sighted();
    officer
        .share_position(whereabouts(121.717_265_9))
        .await
        .unwrap();
    let seen = sees(
        dispatcher,
        "where he is",
        is_at(officer.id(), whereabouts(121.717_265_9)),
    )
    .await;
    let [seen] = seen.try_into().unwrap();
    assert!(seen.is_exact && !seen.is_stale);
    assert_eq!(
        (seen.fix.battery_percent, seen.fix.waiting),
        (Some(63), Some(0))
    );
    let console = within("the console", sighted.recv()).await.unwrap();
    assert_eq!(console.seen.map(|seen| seen.fix), Some(seen.fix));

    let roughly = |seen: &[SeenDevice]| seen.len() == 1;
    let rough = sees(onlooker, "roughly where", roughly).await[0];
    let apart_m = rough.fix.position.distance_m(seen.fix.position);
    assert!(
        !rough.is_exact && apart_m > 1.0 && apart_m < 150.0,
        "{apart_m}"
    );
    assert_eq!(
        (rough.fix.speed_cm_s, rough.fix.battery_percent),
        (None, None)
    );
    assert_eq!(officer.positions().await.unwrap(), []);

    officer
        .share_position(whereabouts(121.717_365_9))
        .await
        .unwrap();
    let elsewhere = is_at(officer.id(), whereabouts(121.717_365_9));
    sees(dispatcher, "where he went", elsewhere).await;
    officer.hide_position().await.unwrap();
    sees(dispatcher, "that he is off duty", <[_]>::is_empty).await;
    sees(onlooker, "that he is off duty", <[_]>::is_empty).await;
    assert_eq!(relay.handle().positions().await.unwrap(), []);
}

#[tokio::test]
async fn an_officer_on_duty_is_seen_by_those_who_may_and_off_duty_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let devices = three(&relay, dir.path(), relay.addr()).await;
    a_duty(&relay, &devices).await;
}

#[tokio::test]
async fn positions_come_where_no_udp_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let relay = RelayAtHome::start().await;
    let firewall = Firewall::new(&relay, 0).await;
    let devices = three(&relay, dir.path(), firewall.addr()).await;
    assert_eq!(devices[0].link_report().path, Some(Path::WebSocket));
    a_duty(&relay, &devices).await;
}

#[tokio::test]
async fn a_relay_that_starts_anew_learns_where_everybody_is_from_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = RelayAtHome::start().await;
    let [officer, dispatcher, _] = three(&relay, dir.path(), relay.addr()).await;
    let place = whereabouts(121.717_265_9);
    officer.share_position(place).await.unwrap();
    sees(&dispatcher, "where he is", is_at(officer.id(), place)).await;
    assert!(relay.stop().await);
    relay.start_again().await;
    let mut sighted = relay.handle().sighted();
    let told = within("him to tell it again", async {
        loop {
            let known = relay.handle().positions().await.unwrap();
            let known: BTreeMap<_, _> = known.iter().map(|it| (it.device, it.seen)).collect();
            if let Some(seen) = known.get(&officer.id()) {
                return seen.map(|seen| seen.fix.position);
            }
            sighted.recv().await.unwrap();
        }
    })
    .await;
    assert_eq!(told, Some(place.position));
}
