//! One question to a relay on the enrolment protocol: a dial, a request, an answer.
//!
//! From a socket of its own, so that no session notices. Not here: what to do with the answer (`enrol`,
//! `renew`).

use std::sync::Arc;
use std::time::Duration;

use gridbeat_link::{End, EnrolTls, ExchangeError, Outage, ask, device_transport, finish};
use gridbeat_sync_protocol::{EnrolAnswer, EnrolRequest};

use crate::dial::{Port, resolve};

/// How long an answer is waited for: a handshake, a question and its answer are four round trips of at most
/// 2.5 s, with one packet lost.
const PATIENCE: Duration = Duration::from_secs(15);

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
    let port = Port::open(address).map_err(ExchangeError::Ended)?;
    let crypto = Arc::<quinn::crypto::rustls::QuicClientConfig>::clone(&tls.crypto);
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(device_transport(Outage::new())));
    let connecting = port
        .endpoint
        .connect_with(config, address, &tls.server_name)
        .map_err(|error| {
            tracing::warn!(%error, "cannot dial");
            ExchangeError::Ended(End::Silent)
        })?;
    port.first_flight.release();
    let connected = connecting.await;
    let connection = connected.map_err(|error| ExchangeError::Ended(End::of(&error)))?;
    let answer = ask(&connection, request).await;
    finish(&connection);
    answer
}
