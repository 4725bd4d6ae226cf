//! One port, two protocols: a client gets the TLS settings of the protocol it asks for.
//!
//! rustls takes one configuration a connection, and quinn chooses it before the client has said
//! anything. Enrolment must let in clients without a certificate, and sync must not; early data is for
//! sync alone. One configuration for both would have to allow all of it to everybody, and sort out later
//! who was what. So a session here waits for the client's first message, reads which protocols it asks
//! for, and hands the message to the settings of that one. Those verify the whole of it again: a
//! misreading here can only end in a failed handshake.
//!
//! The settings of sync are used but for clients that ask for enrolment and not for sync: whoever asks for
//! both is treated as strictly as if enrolment did not exist. Not here: those settings (`tls`).

use std::any::Any;
use std::sync::Arc;

use gridbeat_sync_protocol::{ALPN, ENROL_ALPN};
use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError};

/// Bytes of a client's first message that are waited for. Ours have 300 to 1,900; one that goes on for
/// longer is left to the settings of sync, which have limits of their own.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// The number of a client's first message among TLS's (RFC 8446, 4).
const CLIENT_HELLO: u8 = 1;

/// The number of the extension that names protocols (RFC 7301, 3.1).
const PROTOCOLS: u16 = 16;

/// The settings of a relay's two protocols.
pub(crate) struct ByProtocol {
    pub(crate) sync: Arc<QuicServerConfig>,
    pub(crate) enrol: Arc<QuicServerConfig>,
}

impl ServerConfig for ByProtocol {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        // They follow from the version and the id alone (RFC 9001, 5.2).
        self.sync.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.sync.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let sync = Arc::clone(&self.sync);
        Box::new(Undecided {
            session: sync.start_session(version, params),
            hello: Some(Hello {
                bytes: Vec::new(),
                enrol: Arc::clone(&self.enrol),
                version,
                params: *params,
            }),
        })
    }
}

/// Returns whether a connection is one of the enrolment protocol, from what its handshake has told.
pub fn asks_to_enrol(handshake_data: Box<dyn Any>) -> bool {
    handshake_data
        .downcast::<HandshakeData>()
        .is_ok_and(|data| data.protocol.as_deref() == Some(ENROL_ALPN))
}

/// A client's first message, as far as it has come, and what it may turn out to be for.
struct Hello {
    bytes: Vec<u8>,
    enrol: Arc<QuicServerConfig>,
    version: u32,
    params: TransportParameters,
}

/// A session under the settings of sync, until the client's first message asks for others.
struct Undecided {
    session: Box<dyn Session>,
    /// `None` once it is decided.
    hello: Option<Hello>,
}

impl Session for Undecided {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(hello) = &mut self.hello else {
            return self.session.read_handshake(buf);
        };
        hello.bytes.extend_from_slice(buf);
        let Some(is_for_enrolment) = decide(&hello.bytes) else {
            return Ok(false);
        };
        let Hello {
            bytes,
            enrol,
            version,
            params,
        } = self.hello.take().expect("it was there two lines above");
        if is_for_enrolment {
            self.session = enrol.start_session(version, &params);
        }
        self.session.read_handshake(&bytes)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.session.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.session.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(output, label, context)
    }
}

/// Decides whose settings a client gets that begins with these bytes; `None` while more of them are to
/// come. Whatever cannot be read is for the strict ones to refuse.
fn decide(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes;
    let (Some(kind), Some(length)) = (number(&mut rest, 1), number(&mut rest, 3)) else {
        return if bytes.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            Some(false)
        } else {
            None
        };
    };
    if kind != usize::from(CLIENT_HELLO) || length > HELLO_BYTES_MAX {
        return Some(false);
    }
    let hello = rest.get(..length)?;
    Some(wants_enrolment_alone(hello).unwrap_or(false))
}

/// Reads a client's first message (RFC 8446, 4.1.2); `None` if it is malformed or names no protocols.
fn wants_enrolment_alone(mut hello: &[u8]) -> Option<bool> {
    const VERSION_AND_RANDOM: usize = 2 + 32;
    take(&mut hello, VERSION_AND_RANDOM)?;
    list(&mut hello, 1)?; // the legacy session id
    list(&mut hello, 2)?; // cipher suites
    list(&mut hello, 1)?; // compressions
    let mut extensions = list(&mut hello, 2)?;
    while !extensions.is_empty() {
        let kind = number(&mut extensions, 2)?;
        let mut content = list(&mut extensions, 2)?;
        if kind != usize::from(PROTOCOLS) {
            continue;
        }
        let mut names = list(&mut content, 2)?;
        let (mut enrolment, mut sync) = (false, false);
        while !names.is_empty() {
            let name = list(&mut names, 1)?;
            enrolment |= name == ENROL_ALPN;
            sync |= name == ALPN;
        }
        return Some(enrolment && !sync);
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a big-endian number of so many bytes.
fn number(bytes: &mut &[u8], length: usize) -> Option<usize> {
    let digits = take(bytes, length)?;
    Some(
        digits
            .iter()
            .fold(0, |number, digit| (number << 8) | usize::from(*digit)),
    )
}

/// Takes bytes that stand behind their length, which has so many bytes itself.
fn list<'a>(bytes: &mut &'a [u8], length_bytes: usize) -> Option<&'a [u8]> {
    let length = number(bytes, length_bytes)?;
    take(bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind_length(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        let mut bytes = length[length.len() - length_bytes..].to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    /// A client's first message that asks for these protocols.
    fn hello(protocols: &[&[u8]]) -> Vec<u8> {
        let names: Vec<u8> = protocols
            .iter()
            .flat_map(|name| behind_length(1, name))
            .collect();
        let mut extensions = vec![0, 43];
        extensions.extend(behind_length(2, &[2, 3, 4])); // supported versions: TLS 1.3
        extensions.extend([0, 16]);
        extensions.extend(behind_length(2, &behind_length(2, &names)));
        let mut body = vec![3; 34];
        body.extend(behind_length(1, &[])); // session id
        body.extend(behind_length(2, &[0x13, 0x01])); // cipher suites
        body.extend(behind_length(1, &[0])); // compressions
        body.extend(behind_length(2, &extensions));
        let mut hello = vec![CLIENT_HELLO];
        hello.extend(behind_length(3, &body));
        hello
    }

    #[test]
    fn only_who_asks_for_enrolment_alone_gets_its_settings() {
        for (protocols, expected) in [
            (vec![ENROL_ALPN], true),
            (vec![b"h3".as_slice(), ENROL_ALPN], true),
            (vec![ALPN], false),
            (vec![ALPN, ENROL_ALPN], false),
            (vec![ENROL_ALPN, ALPN], false),
            (vec![b"h3".as_slice()], false),
            (vec![], false),
        ] {
            assert_eq!(decide(&hello(&protocols)), Some(expected), "{protocols:?}");
        }
    }

    #[test]
    fn a_message_in_pieces_is_waited_for_and_nothing_is_decided_early() {
        let hello = hello(&[ENROL_ALPN]);
        for end in 0..hello.len() {
            assert_eq!(decide(&hello[..end]), None, "{end}");
        }
        let mut longer = hello;
        longer.push(0);
        assert_eq!(decide(&longer), Some(true), "what follows is not read");
    }

    #[test]
    fn what_is_malformed_is_left_to_the_strict_settings() {
        assert_eq!(decide(&[2]), Some(false), "another message");
        assert_eq!(
            decide(&[CLIENT_HELLO, 255, 255, 255]),
            Some(false),
            "too long"
        );
        let good = hello(&[ENROL_ALPN]);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[at] ^= 1 << bit;
                // Reads, waits or refuses, whatever the bit; it never panics.
                let _ = decide(&bent);
            }
            let mut cut = good[..at.max(4)].to_vec();
            let length = (cut.len() - 4).to_be_bytes();
            cut[1..4].copy_from_slice(&length[length.len() - 3..]);
            assert_eq!(decide(&cut), Some(false), "cut to {at}");
        }
    }
}
