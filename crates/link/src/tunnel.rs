//! QUIC's datagrams over a WebSocket, for networks that let no UDP through.
//!
//! One binary message carries one datagram, and nothing else is said (`PROTOCOL.md`, 6.6). QUIC runs inside as
//! over UDP, with the same mutual TLS, streams and lanes: nothing above knows. So the outer TLS is
//! trusted with nothing and its certificate is not looked at: who is at the other end, the handshake inside
//! says, and a proxy may end the outer one. A captive portal answers with a page in the place of the
//! upgrade, and is no way.
//!
//! Little waits in front of TCP, because a lane's priority cannot help what was handed over. Not here: how datagrams
//! reach an endpoint (`tunnel_socket` for a device's, `relay_socket`), when to take this way (`device`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::TlsError;
use crate::tls::provider;

/// The path of the upgrade.
pub(crate) const TUNNEL_PATH: &str = "/gridbeat/datagrams";

/// Longest datagram: what a path of Ethernet carries. QUIC here never makes one longer.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 1500;

/// Bytes that TCP may hold and has not sent: four datagrams, so that what is urgent waits for little.
const UNSENT_BYTES_MAX: u32 = 6 * 1024;

/// How long either end may be silent: several heartbeats of an idle device, which asks every 25 s.
const SILENT_MAX: Duration = Duration::from_secs(120);

/// A connection on which the upgrade is done.
pub(crate) type Upgraded<S> = WebSocketStream<S>;

/// Makes the way to a relay at `host`, found at `address`.
pub(crate) async fn open(
    host: &str,
    address: SocketAddr,
) -> io::Result<Upgraded<tokio_rustls::client::TlsStream<TcpStream>>> {
    let tcp = TcpStream::connect(address).await?;
    prepare(&tcp)?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let config = client_settings().map_err(io::Error::other)?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    let url = format!("wss://{host}{TUNNEL_PATH}");
    let upgrade = tokio_tungstenite::client_async_with_config(url, tls, Some(limits()));
    let (upgraded, _) = upgrade.await.map_err(io::Error::other)?;
    Ok(upgraded)
}

/// Takes in a device's connection, up to its upgrade.
pub(crate) async fn accept(
    tls: &TlsAcceptor,
    tcp: TcpStream,
) -> io::Result<Upgraded<tokio_rustls::server::TlsStream<TcpStream>>> {
    prepare(&tcp)?;
    let tls = tls.accept(tcp).await?;
    let upgrade = tokio_tungstenite::accept_hdr_async_with_config(tls, on_path, Some(limits()));
    upgrade.await.map_err(io::Error::other)
}

#[expect(
    clippy::result_large_err,
    reason = "the form of a callback of the library"
)]
fn on_path(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == TUNNEL_PATH {
        return Ok(response);
    }
    let mut nothing = ErrorResponse::new(None);
    *nothing.status_mut() = StatusCode::NOT_FOUND;
    Err(nothing)
}

/// Carries datagrams both ways until either end has enough, says something else, or is silent for too long.
/// What comes is handed on to `came`, as `of` makes it.
pub(crate) async fn carry<S, T>(
    upgraded: Upgraded<S>,
    mut outgoing: mpsc::Receiver<Bytes>,
    came: mpsc::Sender<T>,
    of: impl Fn(Bytes) -> T,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = upgraded.split();
    let up = async {
        while let Some(datagram) = outgoing.recv().await {
            sink.feed(Message::Binary(datagram)).await?;
            while let Ok(datagram) = outgoing.try_recv() {
                sink.feed(Message::Binary(datagram)).await?;
            }
            sink.flush().await?;
        }
        sink.close().await
    };
    let down = async {
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENT_MAX, stream.next()).await {
            match message {
                Message::Binary(datagram) if datagram.len() <= DATAGRAM_BYTES_MAX => {
                    if came.send(of(datagram)).await.is_err() {
                        return;
                    }
                }
                // The library answers the one and has no use for the other.
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Text(_) | Message::Close(_) | Message::Frame(_) => {
                    return;
                }
            }
        }
    };
    tokio::select! {
        ended = up => {
            let ended: Result<(), tungstenite::Error> = ended;
            if let Err(error) = ended {
                tracing::debug!(%error, "a way over TCP ended");
            }
        }
        () = down => {}
    }
}

/// Makes a relay's settings for the outer TLS.
pub(crate) fn server_settings(
    certificates: Vec<CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
) -> Result<TlsAcceptor, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client_settings() -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // rustls's word for a verifier that is not its own
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Lets anybody carry datagrams: they are sealed already.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Small packets go at once, and little is held unsent.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    // By the rate at which packets arrive, as QUIC itself; a system without it keeps its own.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(tcp).set_tcp_congestion(b"bbr");
    Ok(())
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_message_size(Some(DATAGRAM_BYTES_MAX))
        .max_frame_size(Some(DATAGRAM_BYTES_MAX))
}
