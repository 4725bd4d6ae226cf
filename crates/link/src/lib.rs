//! The QUIC link as both shells use it: what a device and a relay must agree on, or set up alike.
//!
//! - [`bundle`](DeviceBundle): the file that lets one device reach one relay
//! - [`identity`](device_of_certificate): the device a certificate names
//! - [`tls`](relay_tls): TLS 1.3 on both ends, mutual, private roots, resumption with early data
//! - [`signed_time`](device_tls): what time it is for a relay's certificate, where a clock is wrong by years
//! - [`enrol_tls`](EnrolTls): TLS for devices that have no certificate, or one that has expired
//! - [`exchange`](ask): one question and one answer of enrolment
//! - [`device_key`](make_device_key): a device's private key
//! - [`by_protocol`](asks_to_enrol): which of the two a client gets
//! - [`transport`](relay_transport): windows, timeouts, limits
//! - [`outage`](Outage): what congestion control must know about a link that was gone
//! - [`probe`](Probe): the datagrams that ask whether the link is back
//! - [`endpoint`](EndpointKey): a relay's key that survives its restart
//! - [`frames`](Frames): frames on streams and in datagrams
//! - [`traffic`](Traffic): what was carried, counted; `allowance`: how many datagrams of a device are taken
//! - [`first_flight`](FirstFlight): a first packet that carries all there is to say
//! - [`moving_socket`](MovingSocket): a socket that is exchanged under its connections
//! - [`tunnel`](tunnel_endpoint): QUIC's datagrams over a WebSocket, where no UDP gets through
//! - [`tunnel_socket`](tunnel_endpoint), [`relay_socket`](RelaySocket): how they reach either end
//! - [`end`](End): why a connection was closed, and how to close one
//! - [`system`](Clock): the clock and the dice of the machine
//! - [`private_file`](write_private): files nobody else may read
//!
//! Rules: the engine's section 3 and `PROTOCOL.md`. Not here: what is sent (the cores), when to dial
//! (`device`), whom to serve (`relay`).

mod allowance;
mod bundle;
mod by_protocol;
mod device_key;
mod end;
mod endpoint;
mod enrol_tls;
mod exchange;
mod first_flight;
mod frames;
mod identity;
mod moving_socket;
mod outage;
mod private_file;
mod probe;
mod relay_socket;
mod signed_time;
mod system;
mod tls;
mod traffic;
mod transport;
mod tunnel;
mod tunnel_socket;

pub use bundle::{BUNDLE_PINS_MAX, BundleError, DeviceBundle};
pub use by_protocol::asks_to_enrol;
pub use device_key::{make_device_key, signer_of};
pub use end::{End, close, finish, lease_over};
pub use endpoint::{ENDPOINT_KEY_BYTES, EndpointKey};
pub use enrol_tls::EnrolTls;
pub use exchange::{Asked, ExchangeError, ask};
pub use first_flight::{DeviceEndpoint, FirstFlight, Under, device_endpoint, tunnel_endpoint};
pub use frames::{Event, Frames, Role, Unstarted};
pub use identity::{IdentityError, device_of_certificate, device_uri, key_of_certificate};
pub use moving_socket::MovingSocket;
pub use outage::{Outage, OutageAware};
pub use private_file::{read_private, write_private};
pub use probe::Probe;
pub use relay_socket::RelaySocket;
pub use system::{Clock, random_from_system};
pub use tls::{DeviceTls, Identified, RelayTls, TlsError, device_tls, relay_tls};
pub use traffic::{Traffic, TrafficCounts};
pub use transport::{device_transport, relay_transport};
