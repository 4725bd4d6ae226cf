//! Networks that let no UDP through, or only its beginning: devices go over TCP then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gridbeat_badlink::{Forwarder, Profile};
use gridbeat_device::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};

use super::world::{RelayAtHome, converge, save, within};

/// A firewall: TCP passes, and of each UDP flow the first datagrams.
pub(super) struct Firewall {
    tcp: Forwarder,
    udp: JoinHandle<()>,
}

impl Firewall {
    /// Lets so many datagrams of a flow pass to the relay, and those that come back meanwhile.
    pub(super) async fn new(relay: &RelayAtHome, passes: usize) -> Self {
        loop {
            let listen = "127.0.0.1:0".parse().unwrap();
            let tcp = Forwarder::tcp(listen, relay.addr(), Profile::lan());
            let tcp = tcp.await.unwrap();
            // Somebody else may have the port already.
            if let Ok(front) = UdpSocket::bind(tcp.local_addr()).await {
                let udp = tokio::spawn(swallow(front, relay.addr(), passes));
                return Self { tcp, udp };
            }
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.tcp.local_addr()
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        self.udp.abort();
    }
}

async fn swallow(front: UdpSocket, relay: SocketAddr, passes: usize) {
    let front = Arc::new(front);
    let mut flows: BTreeMap<SocketAddr, (Arc<UdpSocket>, Arc<AtomicUsize>)> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = [0; 2_048];
    loop {
        let (length, device) = front.recv_from(&mut datagram).await.unwrap();
        if let Entry::Vacant(place) = flows.entry(device) {
            let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            back.connect(relay).await.unwrap();
            let flow = (Arc::new(back), Arc::new(AtomicUsize::new(passes)));
            answers.spawn(answer(Arc::clone(&front), device, flow.clone()));
            place.insert(flow);
        }
        let (back, left) = &flows[&device];
        if left.load(Ordering::Relaxed) > 0 {
            left.fetch_sub(1, Ordering::Relaxed);
            back.send(&datagram[..length]).await.unwrap();
        }
    }
}

/// Passes a flow's answers on while it is open.
async fn answer(
    front: Arc<UdpSocket>,
    device: SocketAddr,
    (back, left): (Arc<UdpSocket>, Arc<AtomicUsize>),
) {
    let mut datagram = [0; 2_048];
    while let Ok(length) = back.recv(&mut datagram).await {
        if left.load(Ordering::Relaxed) > 0 {
            front.send_to(&datagram[..length], device).await.unwrap();
        }
    }
}

#[tokio::test]
async fn where_no_udp_gets_through_a_device_enrols_and_syncs_over_a_web_socket() {
    let relay = RelayAtHome::start().await;
    let firewall = Firewall::new(&relay, 0).await;
    let dir = tempfile::tempdir().unwrap();
    let ours = relay.device(dir.path(), firewall.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    assert_eq!(ours.link_report().path, Some(Path::WebSocket));
    assert_eq!(theirs.link_report().path, Some(Path::Udp));

    for number in 0..5 {
        save(&ours, &format!("behind the firewall {number}")).await;
        save(&theirs, &format!("on the street {number}")).await;
    }
    converge(&[&ours, &theirs], 10).await;
}

#[tokio::test]
async fn a_network_that_lets_udp_begin_and_then_nothing_is_found_out() {
    let relay = RelayAtHome::start().await;
    let dir = tempfile::tempdir().unwrap();
    let theirs = relay.device(dir.path(), relay.addr()).await;
    // Nothing but the first packet; a handshake and no more; a greeting, and some of what is said then.
    for (round, passes) in [1, 3, 9].into_iter().enumerate() {
        let firewall = Firewall::new(&relay, passes).await;
        let ours = relay.device(dir.path(), firewall.addr()).await;
        for number in 0..20 {
            save(&ours, &format!("{passes} pass, {number}")).await;
        }
        converge(&[&ours, &theirs], 20 * (round + 1)).await;
        let report = ours.link_report();
        assert_eq!(report.path, Some(Path::WebSocket), "{report:?}");
        ours.close().await;
    }
}

#[tokio::test]
async fn a_web_socket_that_breaks_is_dialled_again_and_a_device_on_another_network_dials_anew() {
    let relay = RelayAtHome::start().await;
    let firewall = Firewall::new(&relay, 0).await;
    let dir = tempfile::tempdir().unwrap();
    let ours = relay.device(dir.path(), firewall.addr()).await;
    let theirs = relay.device(dir.path(), relay.addr()).await;
    for number in 0..3 {
        firewall.tcp.handover();
        save(&ours, &format!("after a break {number}")).await;
        converge(&[&ours, &theirs], 2 * number + 1).await;
        ours.network_changed(Some("office"));
        save(&ours, &format!("in another network {number}")).await;
        converge(&[&ours, &theirs], 2 * number + 2).await;
    }
}

#[tokio::test]
async fn whoever_speaks_something_else_to_the_relays_tcp_port_is_hung_up_on() {
    let relay = RelayAtHome::start().await;
    let mut stranger = TcpStream::connect(relay.addr()).await.unwrap();
    let request = b"GET /gridbeat/datagrams HTTP/1.1\r\nHost: relay\r\n\r\n";
    stranger.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let hung_up = within("the end", stranger.read_to_end(&mut answer)).await;
    // An alert of TLS at most.
    assert!(hung_up.is_err() || answer.len() < 16, "{answer:?}");

    let dir = tempfile::tempdir().unwrap();
    let ours = relay.device(dir.path(), relay.addr()).await;
    save(&ours, "still served").await;
    converge(&[&ours], 1).await;
}
