//! A forwarder between real sockets on the loopback: what gets through, and by which port.
//!
//! Nothing here measures time or sleeps; waits are for things counted or received. How packets
//! are paced and dropped is tested without sockets, in `src/shaper.rs` and `src/link.rs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use gridbeat_badlink::{Forwarder, LinkLog, LinkStep, Profile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn udp_socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(ANY).await.expect("the loopback has ports");
    let address = socket.local_addr().expect("a bound socket has an address");
    (socket, address)
}

async fn tcp_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY)
        .await
        .expect("the loopback has ports");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    (listener, address)
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (size_bytes, from) = socket
        .recv_from(&mut buffer)
        .await
        .expect("the socket is open");
    (buffer[..size_bytes].to_vec(), from)
}

/// A client's and a server's socket with a forwarder between them.
async fn datagrams(profile: Profile) -> (UdpSocket, Forwarder, UdpSocket) {
    let (server, target) = udp_socket().await;
    let forwarder = Forwarder::udp(ANY, target, profile)
        .await
        .expect("the loopback has ports");
    let (client, _) = udp_socket().await;
    client
        .connect(forwarder.local_addr())
        .await
        .expect("any address can be connected");
    (client, forwarder, server)
}

/// Both ends of a connection through a forwarder.
async fn connection(profile: Profile) -> (TcpStream, Forwarder, TcpStream) {
    let (listener, target) = tcp_listener().await;
    let forwarder = Forwarder::tcp(ANY, target, profile)
        .await
        .expect("the loopback has ports");
    let client = TcpStream::connect(forwarder.local_addr())
        .await
        .expect("the forwarder listens");
    let (server, _) = listener.accept().await.expect("the forwarder dials");
    (client, forwarder, server)
}

#[tokio::test]
async fn datagrams_of_many_clients_are_echoed_each_to_its_own() {
    let (client, forwarder, server) = datagrams(Profile::lan()).await;
    let (other, _) = udp_socket().await;
    other.connect(forwarder.local_addr()).await.unwrap();
    client.send(b"").await.unwrap();
    other.send(b"two").await.unwrap();
    for _ in 0..2 {
        let (bytes, from) = receive(&server).await;
        server
            .send_to(&[b"echo ", &bytes[..]].concat(), from)
            .await
            .unwrap();
    }
    assert_eq!(receive(&client).await.0, b"echo ");
    assert_eq!(receive(&other).await.0, b"echo two");
    let stats = forwarder.stats();
    assert_eq!(
        (stats.up.delivered_packets, stats.up.delivered_bytes),
        (2, 3)
    );
    assert_eq!(
        (stats.down.delivered_packets, stats.down.delivered_bytes),
        (2, 13)
    );
    assert_eq!((stats.clients, stats.undeliverable), (2, 0));
}

#[tokio::test]
async fn what_is_sent_while_the_link_is_down_never_arrives_and_what_is_sent_later_does() {
    let (client, forwarder, server) = datagrams(Profile::lan()).await;
    forwarder.set_up(false);
    assert!(!forwarder.is_up());
    for _ in 0..3 {
        client.send(b"down").await.unwrap();
    }
    forwarder
        .stats_when(|stats| stats.up.dropped_outage == 3)
        .await;
    forwarder.set_up(true);
    assert!(forwarder.is_up());
    client.send(b"up").await.unwrap();
    assert_eq!(receive(&server).await.0, b"up");
    let ups: Vec<_> = forwarder.history().iter().map(|change| change.up).collect();
    assert_eq!(ups, [true, false, true]);
}

#[tokio::test]
async fn after_a_hand_over_the_server_sees_another_port_and_answers_find_the_client() {
    let (client, forwarder, server) = datagrams(Profile::lan()).await;
    client.send(b"before").await.unwrap();
    let (_, old) = receive(&server).await;
    forwarder.handover();
    client.send(b"after").await.unwrap();
    let (bytes, new) = receive(&server).await;
    assert_eq!(bytes, b"after");
    assert_ne!(old, new);
    server.send_to(b"answer", new).await.unwrap();
    assert_eq!(receive(&client).await.0, b"answer");
    assert_eq!(forwarder.stats().handovers, 1);
}

#[tokio::test]
async fn answers_to_the_old_port_get_through_while_the_overlap_lasts() {
    let overlap = Duration::from_hours(1);
    let profile = Profile {
        handover_overlap: overlap,
        ..Profile::lan()
    };
    let (client, forwarder, server) = datagrams(profile).await;
    client.send(b"before").await.unwrap();
    let (_, old) = receive(&server).await;
    forwarder.handover();
    client.send(b"after").await.unwrap();
    receive(&server).await;
    server.send_to(b"late", old).await.unwrap();
    assert_eq!(receive(&client).await.0, b"late");
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_is_reached_again() {
    let (client, forwarder, server) = datagrams(Profile::lan()).await;
    client.send(b"first").await.unwrap();
    let (_, from) = receive(&server).await;
    // Bound to another peer, its port refuses the forwarder's datagrams as if it were gone.
    server.connect(client.local_addr().unwrap()).await.unwrap();
    client.send(b"into the void").await.unwrap();
    let void = forwarder.stats_when(|stats| stats.up.delivered_packets == 2);
    void.await;
    server.connect(from).await.unwrap();
    client.send(b"again").await.unwrap();
    assert_eq!(receive(&server).await.0, b"again");
}

#[tokio::test]
async fn the_logs_outages_are_told_to_whoever_subscribed() {
    let step = |bandwidth_kbps| LinkStep {
        duration: Duration::from_millis(20),
        bandwidth_kbps,
        latency: Duration::ZERO,
    };
    let log = LinkLog::new(vec![step(1000), step(0)]).unwrap();
    let (_client, forwarder, _server) = datagrams(Profile::mobile(log, 1)).await;
    let mut changes = forwarder.changes();
    let first = changes.next().await.unwrap();
    let second = changes.next().await.unwrap();
    assert_ne!(first.up, second.up);
    assert_eq!(second.at - first.at, Duration::from_millis(20));
    let third = forwarder.next_change().await;
    assert!(third.at > second.at);
    drop(forwarder);
    while changes.next().await.is_some() {}
}

#[tokio::test]
async fn another_profile_takes_effect_at_once() {
    let (client, forwarder, server) = datagrams(Profile::lan()).await;
    let dead = Profile {
        log: LinkLog::constant(0),
        ..Profile::lan()
    };
    forwarder.set_profile(&dead);
    client.send(b"lost").await.unwrap();
    forwarder
        .stats_when(|stats| stats.up.dropped_outage == 1)
        .await;
    forwarder.set_profile(&Profile::lan());
    client.send(b"found").await.unwrap();
    assert_eq!(receive(&server).await.0, b"found");
}

#[tokio::test]
async fn a_streams_bytes_come_out_unchanged_both_ways_and_so_does_its_end() {
    let way = gridbeat_badlink::Way {
        extra_latency: Duration::from_millis(5),
        jitter: Duration::from_millis(5),
        loss_per_mille: 500,
        duplicate_per_mille: 500,
        reorder_per_mille: 500,
        queue_bytes: 4000,
        ..gridbeat_badlink::Way::CLEAN
    };
    let log = LinkLog::constant(16_000);
    let profile = Profile {
        up: way,
        down: way,
        ..Profile::mobile(log, 3)
    };
    let (mut client, forwarder, mut server) = connection(profile).await;
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|number| (number.wrapping_mul(number) >> 7) as u8)
        .collect();
    let sent = bytes.clone();
    let echo = tokio::spawn(async move {
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        server.write_all(&received).await.unwrap();
    });
    let (mut reads, mut writes) = client.split();
    let mut received = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writes.write_all(&sent).await?;
            writes.shutdown().await
        },
        reads.read_to_end(&mut received)
    );
    written.unwrap();
    read.unwrap();
    echo.await.unwrap();
    assert!(received == bytes);
    let stats = forwarder.stats();
    assert_eq!(
        (stats.up.dropped(), stats.up.duplicated, stats.up.reordered),
        (0, 0, 0)
    );
    // The answer to the opening has crossed too.
    assert_eq!(stats.down.delivered_bytes, 300_060);
}

#[tokio::test]
async fn a_stream_stalls_while_the_link_is_down_and_goes_on_where_it_was() {
    let (mut client, forwarder, mut server) = connection(Profile::lan()).await;
    client.write_all(b"a").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'a');
    let opened = forwarder.stats().up.offered_packets;
    forwarder.set_up(false);
    client.write_all(b"patience").await.unwrap();
    let stats = forwarder
        .stats_when(|stats| stats.up.offered_packets > opened)
        .await;
    assert_eq!(stats.up.delivered_packets, opened);
    forwarder.set_up(true);
    let mut received = [0; 8];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"patience");
}

#[tokio::test]
async fn a_cut_and_a_hand_over_reset_connections_and_later_ones_work() {
    let (mut client, forwarder, mut server) = connection(Profile::lan()).await;
    forwarder.cut();
    assert!(client.read_u8().await.is_err());
    assert!(server.read_u8().await.is_err());

    let (listener, target) = tcp_listener().await;
    let forwarder = Forwarder::tcp(ANY, target, Profile::lan()).await.unwrap();
    let mut client = TcpStream::connect(forwarder.local_addr()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"a").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'a');
    forwarder.handover();
    let error = client.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    let mut client = TcpStream::connect(forwarder.local_addr()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.write_all(b"b").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'b');
}

#[tokio::test]
async fn a_connection_to_a_server_that_is_away_is_reset() {
    // Bound but not listening: the port is held, and refuses connections.
    let server = TcpSocket::new_v4().unwrap();
    server.bind(ANY).unwrap();
    let target = server.local_addr().unwrap();
    let forwarder = Forwarder::tcp(ANY, target, Profile::lan()).await.unwrap();
    let mut client = TcpStream::connect(forwarder.local_addr()).await.unwrap();
    assert!(client.read_u8().await.is_err());
}

#[tokio::test]
async fn one_link_carries_datagrams_and_streams_at_one_port() {
    let (listener, server) = loop {
        let (listener, target) = tcp_listener().await;
        // Another process may hold the same port for datagrams; then the next one will do.
        if let Ok(server) = UdpSocket::bind(target).await {
            break (listener, server);
        }
    };
    let target = listener.local_addr().unwrap();
    let forwarder = Forwarder::both(ANY, target, Profile::lan()).await.unwrap();
    let (client, _) = udp_socket().await;
    client
        .send_to(b"datagram", forwarder.local_addr())
        .await
        .unwrap();
    assert_eq!(receive(&server).await.0, b"datagram");
    let mut client = TcpStream::connect(forwarder.local_addr()).await.unwrap();
    client.write_all(b"s").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b's');
    assert_eq!(forwarder.stats().clients, 2);
}

#[tokio::test]
async fn stopped_or_dropped_a_forwarder_ends_its_tasks_with_packets_under_way() {
    for is_stopped in [true, false] {
        let (client, forwarder, _server) = datagrams(Profile::slow()).await;
        client.send(b"never mind").await.unwrap();
        forwarder
            .stats_when(|stats| stats.up.offered_packets == 1)
            .await;
        let mut changes = forwarder.changes();
        if is_stopped {
            forwarder.stop().await;
        } else {
            drop(forwarder);
        }
        // The end of the subscription comes when the last task has let go.
        assert_eq!(changes.next().await, None);
    }
}
