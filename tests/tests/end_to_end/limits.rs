//! Limits of the link, met by a device that speaks QUIC and TLS as it should, and nothing else: each is a
//! refusal in words, and whoever works beside it notices nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use gridbeat_device::{Device, DeviceBundle};
use gridbeat_link::{DeviceEndpoint, End, Outage, device_endpoint, device_tls, device_transport};
use gridbeat_relay::{RelayConfig, start};
use gridbeat_sync_protocol::limits::{FRAME_BYTES_MAX, PUSHES_OUT_MAX};
use quinn::{Connection, SendStream};
use tempfile::TempDir;

use super::world::{RelayAtHome, converge, in_sync, save, within};

/// A connection by a device's certificate that no session was begun on.
struct Bare {
    connection: Connection,
    _socket: DeviceEndpoint,
}

async fn dial(bundle: &DeviceBundle) -> Bare {
    let tls = device_tls(bundle).unwrap();
    let socket = device_endpoint((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    socket.first_flight.release();
    let crypto = Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(&tls.fresh);
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(device_transport(Outage::new())));
    let address: SocketAddr = bundle.relay.parse().unwrap();
    let connecting = socket
        .endpoint
        .connect_with(config, address, &tls.server_name)
        .unwrap();
    let connection = within("a handshake", connecting).await.unwrap();
    Bare {
        connection,
        _socket: socket,
    }
}

impl Bare {
    /// Waits for the end of the connection, which must have words; returns its code, and the words.
    async fn words(&self) -> (String, String) {
        let end = End::of(&within("the end", self.connection.closed()).await);
        let End::Words(close) = end else {
            panic!("an end without words: {end:?}");
        };
        assert!(!close.reason.en.is_empty() && !close.reason.zh.is_empty());
        (close.reason.code, close.reason.en)
    }

    async fn stream(&self) -> SendStream {
        within("a stream", self.connection.open_uni())
            .await
            .unwrap()
    }
}

/// A relay with an officer at work, and a bundle for somebody else.
async fn beside_an_officer(dir: &TempDir) -> (RelayAtHome, Device, DeviceBundle) {
    let relay = RelayAtHome::start().await;
    let officer = relay.device(dir.path(), relay.addr()).await;
    save(&officer, "井盖缺失").await;
    in_sync(&officer).await;
    let bundle = relay.enrol(relay.addr()).await;
    (relay, officer, bundle)
}

/// Checks that the officer's work goes on.
async fn goes_on(officer: Device) {
    save(&officer, "井盖缺失").await;
    converge(&[&officer], 2).await;
    officer.close().await;
}

#[tokio::test]
async fn a_frame_beyond_its_limit_ends_the_connection_in_words() {
    let dir = TempDir::new().unwrap();
    let (_relay, officer, bundle) = beside_an_officer(&dir).await;
    let bare = dial(&bundle).await;
    let mut stream = bare.stream().await;
    // It may be stopped half-way.
    let _ = stream.write_all(&vec![0; FRAME_BYTES_MAX + 1]).await;
    let _ = stream.finish();
    let (code, words) = bare.words().await;
    assert_eq!(code, "frame_unreadable");
    assert!(words.contains("where 262144 are allowed"), "{words}");
    goes_on(officer).await;
}

#[tokio::test]
async fn a_length_beyond_the_limit_is_refused_before_anything_is_sent_of_it() {
    let dir = TempDir::new().unwrap();
    let (_relay, officer, bundle) = beside_an_officer(&dir).await;
    let bare = dial(&bundle).await;
    let (mut control, _) = within("a stream", bare.connection.open_bi()).await.unwrap();
    control.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    let (code, words) = bare.words().await;
    assert_eq!(code, "frame_unreadable");
    assert!(words.contains("where 262144 are allowed"), "{words}");
    goes_on(officer).await;
}

#[tokio::test]
async fn frames_that_never_end_are_not_held_without_bound() {
    let dir = TempDir::new().unwrap();
    let (_relay, officer, bundle) = beside_an_officer(&dir).await;
    let bare = dial(&bundle).await;
    let mut held = Vec::new();
    let flood = async {
        loop {
            let mut stream = bare.connection.open_uni().await?;
            stream.write_all(&vec![0; FRAME_BYTES_MAX]).await?;
            held.push(stream);
        }
    };
    let flooded: anyhow::Result<()> = within("the end", flood).await;
    flooded.unwrap_err();
    let (code, words) = bare.words().await;
    assert_eq!(code, "frame_unreadable");
    assert!(words.contains("bytes under way"), "{words}");
    goes_on(officer).await;
}

#[tokio::test]
async fn no_more_streams_open_than_pushes_may_be_out() {
    let dir = TempDir::new().unwrap();
    let (_relay, officer, bundle) = beside_an_officer(&dir).await;
    let bare = dial(&bundle).await;
    let mut held = Vec::new();
    for _ in 0..PUSHES_OUT_MAX {
        let mut stream = bare.stream().await;
        stream.write_all(&[1]).await.unwrap();
        held.push(stream);
    }
    // Another one waits for one of these to end.
    let mut one_more = Box::pin(bare.connection.open_uni());
    let waits =
        std::future::poll_fn(|context| Poll::Ready(one_more.as_mut().poll(context).is_pending()));
    assert!(waits.await, "a stream more");
    goes_on(officer).await;
}

#[tokio::test]
async fn a_relay_that_is_full_says_so_and_when_to_come_again() {
    let dir = TempDir::new().unwrap();
    let mut relay = RelayAtHome::start().await;
    let mut first = relay.enrol(relay.addr()).await;
    let mut second = relay.enrol(relay.addr()).await;
    relay.stop().await;
    let config = RelayConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin: "127.0.0.1:0".parse().unwrap(),
        data: relay.folder().to_owned(),
        connections_max: 1,
        ..RelayConfig::default()
    };
    let full = start(config, gridbeat_domain::kinds()).await.unwrap();
    first.relay = full.addr().to_string();
    second.relay.clone_from(&first.relay);
    let officer = Device::open(super::world::config(dir.path(), first))
        .await
        .unwrap();
    in_sync(&officer).await;
    let bare = dial(&second).await;
    assert_eq!(bare.words().await.0, "relay_full");
    save(&officer, "井盖缺失").await;
    converge(&[&officer], 1).await;
    officer.close().await;
    full.stop().await;
}

#[tokio::test]
async fn the_oldest_of_too_many_connections_of_a_device_is_ended_in_words() {
    let dir = TempDir::new().unwrap();
    let (_relay, officer, bundle) = beside_an_officer(&dir).await;
    let oldest = dial(&bundle).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(dial(&bundle).await);
    }
    assert_eq!(oldest.words().await.0, "too_many_connections");
    goes_on(officer).await;
}

#[tokio::test]
async fn a_flood_of_dials_keeps_nobody_out() {
    let dir = TempDir::new().unwrap();
    let (relay, officer, bundle) = beside_an_officer(&dir).await;
    let tls = device_tls(&bundle).unwrap();
    let DeviceEndpoint {
        endpoint,
        first_flight,
        ..
    } = device_endpoint((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    first_flight.release();
    // More than are let in unproven, all at once; none is waited for.
    let mut dials = Vec::new();
    for _ in 0..400 {
        let crypto = Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(&tls.fresh);
        let mut config = quinn::ClientConfig::new(crypto);
        config.transport_config(Arc::new(device_transport(Outage::new())));
        dials.push(
            endpoint
                .connect_with(config, relay.addr(), &tls.server_name)
                .unwrap(),
        );
    }
    let late = relay.device(dir.path(), relay.addr()).await;
    in_sync(&late).await;
    drop(dials);
    goes_on(officer).await;
}
