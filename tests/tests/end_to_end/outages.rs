//! Links that go away and come back, and what is left of a connection then.

use std::net::{Ipv4Addr, SocketAddr};

use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_device::{Device, DeviceBundle};
use tokio::net::UdpSocket;

use super::world::{RelayAtHome, config, converge, in_sync, save, within};

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
        ours.network_changed(None);
        link.handover();
        save(&ours, &format!("on the move {number}")).await;
        converge(&[&ours, &theirs], number + 1).await;
    }
}

/// What is between a device and its relay, datagram by datagram.
struct Between {
    front: UdpSocket,
    back: UdpSocket,
    relay: SocketAddr,
    device: Option<SocketAddr>,
}

impl Between {
    async fn new(relay: SocketAddr) -> Self {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        Self {
            front: bind().await.unwrap(),
            back: bind().await.unwrap(),
            relay,
            device: None,
        }
    }

    /// Passes one datagram on; says whether it went to the device. What the relay says while it must not be heard is
    /// lost.
    async fn pass(&mut self, relay_is_heard: bool) -> bool {
        let (mut up, mut down) = ([0; 2_048], [0; 2_048]);
        tokio::select! {
            read = self.front.recv_from(&mut up) => {
                let (length, device) = read.unwrap();
                self.device = Some(device);
                self.back.send_to(&up[..length], self.relay).await.unwrap();
                false
            }
            read = self.back.recv_from(&mut down) => {
                let (length, _) = read.unwrap();
                if let Some(device) = self.device.filter(|_| relay_is_heard) {
                    self.front.send_to(&down[..length], device).await.unwrap();
                }
                relay_is_heard
            }
        }
    }

    /// Passes everything on until something has happened.
    async fn until<T>(&mut self, relay_is_heard: bool, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                _ = self.pass(relay_is_heard) => {}
            }
        }
    }
}

/// On one thread, where tasks take turns: in one of the rounds the relay's word that it does not know the connection
/// and the next change of sockets reach the connection together.
#[tokio::test]
async fn a_device_that_changes_networks_while_its_relay_begins_anew_goes_on() {
    let mut relay = RelayAtHome::start().await;
    let mut between = Between::new(relay.addr()).await;
    let dir = tempfile::tempdir().unwrap();
    let bundle = relay.enrol(relay.addr()).await;
    let bundle = DeviceBundle {
        relay: between.front.local_addr().unwrap().to_string(),
        ..bundle
    };
    let device = Device::open(config(dir.path(), bundle)).await.unwrap();
    between.until(true, in_sync(&device)).await;
    for round in 0..12 {
        // The relay goes without the device's hearing of it.
        between.until(false, relay.stop()).await;
        relay.start_again().await;
        device.network_changed(None);
        while !within("the relay's word", between.pass(true)).await {}
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        device.network_changed(None);
        save(&device, &format!("after {round} turns")).await;
        between.until(true, converge(&[&device], round + 1)).await;
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
