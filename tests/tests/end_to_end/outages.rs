//! Links that go away and come back, and what is left of a connection then.

use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_device::Device;

use super::world::{RelayAtHome, converge, save, within};

/// Datagrams swallowed before the link comes back: a good dozen questions, and the timers of QUIC have
/// doubled several times.
const SWALLOWED: u64 = 16;

async fn bad_link(relay: &RelayAtHome) -> Forwarder {
    let listen = "127.0.0.1:0".parse().unwrap();
    Forwarder::udp(listen, relay.addr(), Profile::lan())
        .await
        .unwrap()
}

/// Waits until the link has swallowed so much from the device.
async fn swallowed(link: &Forwarder, count: u64) {
    let before = link.stats().up.dropped_outage;
    let enough = link.stats_when(|stats| stats.up.dropped_outage >= before + count);
    within("packets into the void", enough).await;
}

async fn two_devices(relay: &RelayAtHome, link: &Forwarder) -> (tempfile::TempDir, Device, Device) {
    let dir = tempfile::tempdir().unwrap();
    let ours = relay.device(dir.path(), link.local_addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    (dir, ours, theirs)
}

#[tokio::test]
async fn a_connection_outlives_an_outage_and_both_ways_flow_again() {
    let relay = RelayAtHome::start().await;
    let link = bad_link(&relay).await;
    let (_dir, ours, theirs) = two_devices(&relay, &link).await;

    link.set_up(false);
    for number in 0..10 {
        save(&ours, &format!("from the tunnel {number}")).await;
        save(&theirs, &format!("from outside {number}")).await;
    }
    swallowed(&link, SWALLOWED).await;
    link.set_up(true);
    converge(&[&ours, &theirs], 20).await;

    let report = ours.link_report();
    assert!(report.asks > 0, "{report:?}");
    assert_eq!(
        report.dials - report.rivals,
        1,
        "the connection was kept: {report:?}"
    );
}

#[tokio::test]
async fn a_device_finds_a_relay_that_was_started_again_behind_its_back() {
    let mut relay = RelayAtHome::start().await;
    let link = bad_link(&relay).await;
    let (_dir, ours, theirs) = two_devices(&relay, &link).await;

    // The relay stops without the device hearing of it, and knows nothing of its connection after.
    link.set_up(false);
    relay.stop().await;
    save(&ours, "nobody hears").await;
    relay.start_again().await;
    link.set_up(true);
    converge(&[&ours, &theirs], 1).await;
}

#[tokio::test]
async fn a_device_on_another_network_keeps_its_connection() {
    let relay = RelayAtHome::start().await;
    let link = bad_link(&relay).await;
    let (_dir, ours, theirs) = two_devices(&relay, &link).await;
    for number in 0..5 {
        ours.network_changed();
        link.handover();
        save(&ours, &format!("on the move {number}")).await;
        converge(&[&ours, &theirs], number + 1).await;
    }
}

#[tokio::test]
async fn a_link_that_loses_and_reorders_brings_everything() {
    let relay = RelayAtHome::start().await;
    let link = bad_link(&relay).await;
    let (_dir, ours, theirs) = two_devices(&relay, &link).await;
    link.set_profile(&Profile::lossy());
    for number in 0..30 {
        save(&ours, &format!("through the noise {number}")).await;
    }
    converge(&[&ours, &theirs], 30).await;
}
