//! One question to a relay on the enrolment protocol: a dial, a request, an answer.
//!
//! From a socket of its own, so that no session notices, and over TCP where UDP brings no answer. Not here: what to do with the answer (`enrol`,
//! `renew`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gridbeat_link::{End, EnrolTls, ExchangeError, Outage, ask, device_transport, finish};
use gridbeat_sync_protocol::{EnrolAnswer, EnrolRequest};

use crate::dial::{Port, race, resolve};
use crate::paths::Order;

/// How long an answer is waited for: a handshake, a question and its answer are four round trips of at most
/// 2.5 s, with one packet lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long UDP is alone: what most relays have answered by then. Whoever is asked twice answers the same.
const WEB_SOCKET_BEHIND: Duration = Duration::from_secs(2);

/// Asks the relay at `relay` (`host:port`).
///
/// # Errors
///
/// [`ExchangeError`]; what the relay made of the request is then not known. Asking again does no harm.
pub(crate) async fn ask_relay(
    relay: &str,
    tls: &EnrolTls,
    request: &EnrolRequest,
) -> Result<EnrolAnswer, ExchangeError> {
    let asking = dial_and_ask(relay, tls, request);
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.unwrap_or(Err(ExchangeError::Ended(End::Silent)))
}

async fn dial_and_ask(
    relay: &str,
    tls: &EnrolTls,
    request: &EnrolRequest,
) -> Result<EnrolAnswer, ExchangeError> {
    let address = resolve(relay).await.map_err(ExchangeError::Ended)?;
    let udp = async { ask_from(Port::open(address)?, address, tls, request).await };
    let web_socket = async {
        let port = Port::open_web_socket(relay, address).await?;
        ask_from(port, address, tls, request).await
    };
    let order = Order {
        lead: WEB_SOCKET_BEHIND,
        ..Order::UDP_FIRST
    };
    let asked = race(order, udp, web_socket).await;
    asked.unwrap_or_else(|end| Err(ExchangeError::Ended(end)))
}

/// Asks from a socket. No answer at all is an error of its own: the other way may have one.
async fn ask_from(
    port: Port,
    address: SocketAddr,
    tls: &EnrolTls,
    request: &EnrolRequest,
) -> Result<Result<EnrolAnswer, ExchangeError>, End> {
    let crypto = Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(&tls.crypto);
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(device_transport(Outage::new())));
    let connecting = port
        .endpoint
        .connect_with(config, address, &tls.server_name)
        .map_err(|error| {
            tracing::warn!(%error, "cannot dial");
            End::Silent
        })?;
    port.first_flight.release();
    let connection = match connecting.await.map_err(|error| End::of(&error)) {
        Ok(connection) => connection,
        Err(End::Silent) => return Err(End::Silent),
        Err(end) => return Ok(Err(ExchangeError::Ended(end))),
    };
    let answer = ask(&connection, request).await;
    finish(&connection);
    Ok(answer)
}
